package main

import (
	"io"
	"net/http"
	"sync/atomic"
)

// health answers what orchestrators and load balancers ask: /livez, whether the process
// runs, and /readyz, whether it is to get requests. The latter does not try the table: its
// failure is every replica's, and to take all of them out of service would make of stale
// routes none.
type health struct {
	stopping atomic.Bool
}

func (h *health) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if h.stopping.Load() {
			answer(w, http.StatusServiceUnavailable, "shutting down\n")
			return
		}
		answer(w, http.StatusOK, "ok\n")
	})
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	io.WriteString(w, text)
}
