package proxy

import "net/http"

// responseWriter takes down what the client is told, and keeps from it what it would not
// understand.
type responseWriter struct {
	http.ResponseWriter
	x      *exchange
	http10 bool // the client knows no interim answers (RFC 9110 section 15.2)
	closes bool // the connection ends with this answer
}

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *responseWriter) WriteHeader(status int) {
	if status < 200 {
		if !w.http10 {
			w.ResponseWriter.WriteHeader(status)
		}
		return
	}
	header := w.Header()
	if _, ok := header["Content-Type"]; !ok {
		header["Content-Type"] = nil // net/http would make one up where the origin sends none
	}
	if w.closes {
		header["Connection"] = []string{"close"}
	}
	w.x.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) Write(b []byte) (int, error) {
	if w.x.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.x.watch != nil {
		w.x.watch.moving(ErrSlowClient)
	}
	n, err := w.ResponseWriter.Write(b)
	w.x.bytes += int64(n)
	if err != nil && w.x.writeErr == nil {
		w.x.writeErr = err
	}
	return n, err
}

// hijackable reports whether a connection can be taken from its server.
func hijackable(w http.ResponseWriter) bool {
	for {
		if _, ok := w.(http.Hijacker); ok {
			return true
		}
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = inner.Unwrap()
	}
}

// records reports whether w is, or goes through, what takes down the answer of x.
func (x *exchange) records(w http.ResponseWriter) bool {
	for {
		if own, ok := w.(*responseWriter); ok && own.x == x {
			return true
		}
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = inner.Unwrap()
	}
}
