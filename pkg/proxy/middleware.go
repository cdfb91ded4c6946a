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

// ResponseHook sees an answer before any of it goes to the client, and may change its status,
// headers and body. To see the body as it streams, it replaces r.Body by a reader of its own around
// it, whose Close closes it; one that changes the length sets ContentLength to -1 and deletes the
// header. An upgraded connection (status 101) has for its Body an io.ReadWriteCloser, and has
// to keep one. r.Request.Context() is the request's.
//
// An error makes the answer a 502 or the like in place of the origin's; see [Handler.Fail].
type ResponseHook func(r *http.Response) error
