package lambdahttp

import (
	"fmt"
	"net/http"
	"strconv"
)

// response is the http.ResponseWriter of handlers. As in net/http, the first final status wins, headers that are set after it have no
// effect, and a response that must not have a body gets none. Its sink gets the body.
type response struct {
	method string
	sink   sink
	header http.Header
	status int         // 0 before it is written
	sent   http.Header // the headers when the status was written
	err    error       // why the response cannot be returned; it stays
}

type sink interface {
	// begin is called once, when the status and the headers are final.
	begin(w *response)

	// write takes a part of the body. It is not called for a response that must not have a body.
	write(w *response, b []byte) (int, error)

	// flush is called if the handler flushes.
	flush(w *response)

	// reset discards what was written.
	reset()
}

func newResponse(method string, s sink) *response {
	return &response{method: method, sink: s, header: make(http.Header)}
}

func (w *response) reset() {
	w.sink.reset()
	*w = *newResponse(w.method, w.sink)
}

// Discarded reports whether everything that is written is discarded, because another reply has begun. [Lifecycle.Fail] gets such a
// writer.
func (w *response) Discarded() bool { return w.sink == discard{} }

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic(fmt.Sprintf("lambdahttp: invalid WriteHeader code %v", status)) // as net/http does
	case w.status != 0 || status < 200:
		return // no front can send an interim response
	}
	w.status = status
	w.sent = w.header.Clone()
	if w.sent == nil {
		w.sent = http.Header{}
	}
	w.sink.begin(w)
}

func (w *response) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.err != nil:
		return 0, w.err
	case w.method == http.MethodHead:
		return len(b), nil
	case !w.bodyAllowed():
		return 0, http.ErrBodyNotAllowed
	}
	return w.sink.write(w, b)
}

// Flush implements http.Flusher.
func (w *response) Flush() {
	w.WriteHeader(http.StatusOK)
	w.sink.flush(w)
}

func (w *response) bodyAllowed() bool {
	return w.method != http.MethodHead && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// declared returns the Content-Length that the handler set, or -1.
func (w *response) declared() int64 {
	n, err := strconv.ParseInt(w.sent.Get("Content-Length"), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// answer is the head of a response, ready for any front.
type answer struct {
	status int
	header http.Header
	binary bool // the body needs base64
}

// perHop are the header fields that hold between the handler and the front alone. The front frames the response itself, and fails at a
// Transfer-Encoding.
var perHop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// answer returns the head of the response. start is the first part of the body. It is empty if there is no body, or if no part is known.
func (w *response) answer(start []byte) *answer {
	a := &answer{status: w.status, header: w.sent}
	for _, name := range perHop {
		delete(a.header, name)
	}
	for name, values := range a.header {
		if len(values) == 0 || !isToken(name) { // names with http.TrailerPrefix too
			delete(a.header, name)
			continue
		}
		for i, v := range values {
			values[i] = fieldValue(v)
		}
	}
	if len(start) > 0 && len(a.header["Content-Type"]) == 0 {
		// Otherwise one front would set text/plain and another application/json.
		a.header.Set("Content-Type", detectType(a.header, start))
	}
	return a
}
