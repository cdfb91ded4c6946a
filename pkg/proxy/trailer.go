package proxy

import (
	"net/http"
	"slices"
)

// trailer is the trailer section of a request. Only announced fields are forwarded. Others would reach the origin unchecked,
// and servers that merge trailers into the header would trust them (RFC 9110 section 6.5.1).
type trailer struct {
	fields    http.Header // of the request; the server fills it at the end of the body
	announced []string
	err       error // why the request cannot be forwarded
}

// newTrailer returns the trailer for the announced fields, and removes those that must not be forwarded.
func (h *Handler) newTrailer(fields http.Header) trailer {
	t := trailer{fields: fields, err: h.passRequest(requestTrailer, fields)}
	for name := range fields {
		t.announced = append(t.announced, name)
	}
	return t
}

// dropUnannounced removes the fields that were not announced.
func (t trailer) dropUnannounced() {
	for name := range t.fields {
		if !slices.Contains(t.announced, name) {
			delete(t.fields, name)
		}
	}
}
