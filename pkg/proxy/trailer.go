package proxy

import (
	"net/http"
	"slices"
	"strings"
)

// trailer is what may come behind the body of a request: the fields that were announced. Others
// would reach the origin although nobody has looked at them, and servers that merge trailers into
// headers take them for what was checked (RFC 9110 section 6.5.1).
type trailer struct {
	fields    http.Header // of the request; the server fills it when the body has been read
	announced []string
}

// neverTrailers are fields by which messages are framed, routed or accounted for, and those that the
// proxy sets.
var neverTrailers = []string{"Host", "Content-Length", "Content-Encoding", "Content-Type", "Content-Range", "Authorization", "Cookie", "Forwarded", "Via", "Cdn-Loop", "Max-Forwards", "Expect"}

func newTrailer(fields http.Header) trailer {
	t := trailer{fields: fields}
	for name := range fields {
		if slices.Contains(neverTrailers, name) || slices.Contains(hopByHop, name) || strings.HasPrefix(name, "X-Forwarded-") {
			delete(fields, name)
		} else {
			t.announced = append(t.announced, name)
		}
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
