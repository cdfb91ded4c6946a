package proxy

import (
	"net/http"
	"slices"
)

// trailer is what may come behind the body of a request: the fields that were announced. Others
// would reach the origin although nobody has looked at them, and servers that merge trailers into
// headers take them for what was checked (RFC 9110 section 6.5.1).
type trailer struct {
	fields    http.Header // of the request; the server fills it when the body has been read
	announced []string
	err       error // why the request cannot be passed on
}

// newTrailer takes those out of fields that are not to be passed on.
func (h *Handler) newTrailer(fields http.Header) trailer {
	t := trailer{fields: fields, err: h.passRequest(requestTrailer, fields)}
	for name := range fields {
		t.announced = append(t.announced, name)
	}
	return t
}

// keepAnnounced takes out what came without having been announced.
func (t trailer) keepAnnounced() {
	for name := range t.fields {
		if !slices.Contains(t.announced, name) {
			delete(t.fields, name)
		}
	}
}
