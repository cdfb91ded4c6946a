package proxy

import (
	"net/http"
	"slices"
)

// Middleware puts something around a handler: it may change the request, answer by itself, or
// wrap the http.ResponseWriter. A wrapper has to have an Unwrap method, as http.ResponseController
// wants it, for answers to be flushed and connections upgraded. A request has to be copied before
// it is changed ([http.Request.WithContext] and the like), its Header too.
type Middleware func(http.Handler) http.Handler

// Chain puts middleware around a handler. The first of the list is the outermost: it sees a
// request first.
func Chain(h http.Handler, all ...Middleware) http.Handler {
	for _, m := range slices.Backward(all) {
		h = m(h)
	}
	return h
}
