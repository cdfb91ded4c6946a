package proxy

import (
	"bufio"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// responseWriter records the response that the client gets, and adapts it to the client's version of HTTP.
type responseWriter struct {
	http.ResponseWriter
	x      *exchange
	http10 bool // the client does not know interim responses (RFC 9110 section 15.2)
	closes bool // the connection closes after this response
	bounds bool // the proxy sets write deadlines, because the server has no WriteTimeout
}

func newResponseWriter(w http.ResponseWriter, r *http.Request, x *exchange) *responseWriter {
	server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	return &responseWriter{
		ResponseWriter: w,
		x:              x,
		http10:         !r.ProtoAtLeast(1, 1),
		// net/http ignores a Content-Length beside a Transfer-Encoding, and any Transfer-Encoding over HTTP/1.0. A proxy in front
		// that uses the ignored field would take the rest for another client's request (RFC 9112 section 6.1).
		// A server in shutdown sets Connection already. Interim and error responses would clear it.
		closes: r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0) || w.Header().Get("Connection") == "close",
		bounds: server == nil || server.WriteTimeout <= 0,
	}
}

// Unwrap implements the method that http.ResponseController needs.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *responseWriter) WriteHeader(status int) {
	if status < 200 {
		// The server sends 100 itself, at the first read of the body.
		if !w.http10 && status != http.StatusContinue && w.interim() {
			w.x.watch.sendingInterim(true)
			w.ResponseWriter.WriteHeader(status)
			w.x.watch.sendingInterim(false)
		}
		return
	}
	if w.x.status != 0 { // net/http logs the superfluous call
		w.ResponseWriter.WriteHeader(status)
		return
	}
	header := w.Header()
	if _, ok := header["Content-Type"]; !ok {
		header["Content-Type"] = nil // otherwise net/http would guess a Content-Type
	}
	if w.closes {
		header["Connection"] = []string{"close"}
	}
	if !w.x.http2 && w.x.body.unread() {
		header["Connection"] = []string{"close"}
		linger(w.ResponseWriter)
	}
	w.x.status, w.x.headerSent = status, true
	w.ResponseWriter.WriteHeader(status)
}

// interim cleans the header of an interim response, and reports whether it can be sent. cleanFields returns the error with the
// final response, which ReverseProxy still waits for.
func (w *responseWriter) interim() bool {
	if w.x.Route == nil { // it is not from an origin
		return true
	}
	err := w.x.passResponse(interimHeader, w.Header())
	if err != nil && w.x.interimErr == nil {
		w.x.interimErr = err
	}
	return err == nil
}

func (w *responseWriter) Write(b []byte) (int, error) {
	if w.x.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.x.watch != nil {
		w.x.watch.moving(ErrSlowClient)
	}
	n, err := w.ResponseWriter.Write(b)
	w.x.addSent(n)
	if err != nil && w.x.writeErr == nil {
		w.x.writeErr = err
	}
	return n, err
}

// FlushError implements the method that http.ResponseController needs. It writes the header if that is not written yet.
func (w *responseWriter) FlushError() error {
	if w.x.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// flushPartial sends what is buffered of an incomplete response. net/http discards its buffers if a handler panics. A client
// that gets nothing on a reused connection retries the request, even a POST: RFC 9112 section 9.3.1 forbids that, but curl
// and browsers do it.
func (w *responseWriter) flushPartial() {
	if w.x.headerSent { // otherwise net/http would send a 200 of its own
		w.FlushError()
	}
}

// Hijack implements http.Hijacker. Later writes bypass the responseWriter. The server's buffer may have bytes that the client
// sent after its handshake; ReverseProxy does not read them, so the returned connection does.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := buffers.Reader.Buffered(); n > 0 {
		conn = &bufferedConn{conn, io.MultiReader(io.LimitReader(buffers.Reader, int64(n)), conn)}
	}
	w.x.status = http.StatusSwitchingProtocols
	w.x.watch.markHijacked()
	return conn, buffers, nil
}

// bufferedConn is a connection some of whose bytes are in a buffer.
type bufferedConn struct {
	net.Conn
	reader io.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// CloseWrite closes the write side of the connection, or all of it if it cannot close a single side.
func (c *bufferedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// linger is called for a response that begins before the request's body was read. It makes net/http's server close the
// connection after the response: first the write side, and the rest after a pause.
//
// If the connection stayed open, net/http would read the rest of the body before the response. The origin would not get
// that rest, and a client that sends nothing would block the response. If the connection were closed while the client is still
// sending, it would be reset, and the client could lose the response (RFC 9112 section 9.6). The server pauses by itself if
// a body was not read to the end. Up to Go 1.26 it does not if the request has Expect or is the last of its connection.
func linger(w http.ResponseWriter) {
	for inner := range unwrapped(w) {
		w = inner
	}
	http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1)) // tells w that a limit was exceeded
}

// lingering is the longest time that a server reads on after a response.
const lingering = 5 * time.Second

// limitRest sets deadlines for what the server does after the handler has returned: it sends the end of the response, and may
// read the end of the request. Otherwise a client that sends many requests and reads no responses could hold the connection
// for ever. The server resets the deadlines for the next request of the connection.
func (w *responseWriter) limitRest(t Timeouts) {
	if w.x.watch != nil {
		t = w.x.watch.timeouts
	} else {
		t = t.For(&origin.Route{})
	}
	if !w.bounds || w.x.status == http.StatusSwitchingProtocols || t.Idle < 0 || w.x.watch.cutOff() {
		return
	}
	client, now := http.NewResponseController(w.ResponseWriter), time.Now()
	client.SetWriteDeadline(now.Add(t.Idle))
	if !w.x.http2 && w.x.body.unread() {
		client.SetReadDeadline(now.Add(min(t.Idle, lingering)))
	}
}

// hijackable reports whether the server allows to hijack the connection.
func hijackable(w http.ResponseWriter) bool {
	for w := range unwrapped(w) {
		_, ours := w.(*responseWriter) // its Hijack needs the server's
		if _, ok := w.(http.Hijacker); ok && !ours {
			return true
		}
	}
	return false
}

// isRecordedBy reports whether w is or wraps the responseWriter of x.
func (x *exchange) isRecordedBy(w http.ResponseWriter) bool {
	for w := range unwrapped(w) {
		if own, ok := w.(*responseWriter); ok && own.x == x {
			return true
		}
	}
	return false
}

// unwrapped returns w, the writer that it wraps, and so on, in the order of http.ResponseController.
func unwrapped(w http.ResponseWriter) iter.Seq[http.ResponseWriter] {
	return func(yield func(http.ResponseWriter) bool) {
		for yield(w) {
			outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
			if !ok {
				return
			}
			w = outer.Unwrap()
		}
	}
}
