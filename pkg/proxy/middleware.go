package proxy

import (
	"net/http"
	"slices"
)

// Middleware wraps a handler. It may change the request, respond itself, or wrap the http.ResponseWriter. A wrapper of the
// http.ResponseWriter needs an Unwrap method (see [http.ResponseController]): without it, responses cannot be flushed and
// connections cannot be upgraded. Middleware must copy a request before it changes it ([http.Request.WithContext] and the
// like), and must copy the Header too. To respond with an error, call [Fail]. The handler that Middleware returns is called
// by many goroutines at once.
type Middleware func(http.Handler) http.Handler

// Chain wraps h in middleware. The first is the outermost: it is called first.
func Chain(h http.Handler, all ...Middleware) http.Handler {
	for _, m := range slices.Backward(all) {
		h = m(h)
	}
	return h
}
