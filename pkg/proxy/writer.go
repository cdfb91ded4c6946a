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

// responseWriter takes down what the client is told, and keeps from it what it would not
// understand.
type responseWriter struct {
	http.ResponseWriter
	x      *exchange
	http10 bool // the client knows no interim answers (RFC 9110 section 15.2)
	closes bool // the connection ends with this answer
	bounds bool // writing has no bound but ours; a WriteTimeout of the server's wins
}

func newResponseWriter(w http.ResponseWriter, r *http.Request, x *exchange) *responseWriter {
	server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	return &responseWriter{
		ResponseWriter: w,
		x:              x,
		http10:         !r.ProtoAtLeast(1, 1),
		// net/http drops the Content-Length that came with a Transfer-Encoding, and any
		// Transfer-Encoding over HTTP/1.0. A proxy in front that goes by what was dropped takes the rest
		// for the next client's request (RFC 9112 section 6.1). What a server in shutdown has set would be
		// lost to interim answers, and to errors.
		closes: r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0) || w.Header().Get("Connection") == "close",
		bounds: server == nil || server.WriteTimeout <= 0,
	}
}

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *responseWriter) WriteHeader(status int) {
	if status < 200 {
		// 100 is said by the server itself, once the body is read.
		if !w.http10 && status != http.StatusContinue && w.interim() {
			w.x.watch.tell(true)
			w.ResponseWriter.WriteHeader(status)
			w.x.watch.tell(false)
		}
		return
	}
	if w.x.status != 0 { // net/http says so in its log
		w.ResponseWriter.WriteHeader(status)
		return
	}
	header := w.Header()
	if _, ok := header["Content-Type"]; !ok {
		header["Content-Type"] = nil // net/http would make one up where the origin sends none
	}
	if w.closes {
		header["Connection"] = []string{"close"}
	}
	if !w.x.http2 && w.x.body.unread() {
		header["Connection"] = []string{"close"}
		linger(w.ResponseWriter)
	}
	w.x.status = status
	w.ResponseWriter.WriteHeader(status)
}

// interim makes the header of an interim answer ready, and reports whether it can be sent. What is wrong with
// it is told as soon as the origin has answered. ReverseProxy calls this while it waits for that.
func (w *responseWriter) interim() bool {
	if w.x.Route == nil { // not the origin's
		return true
	}
	err := w.x.passAnswer(interimHeader, w.Header())
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

// FlushError is for http.ResponseController. Flushing a header is writing it.
func (w *responseWriter) FlushError() error {
	if w.x.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// breakOff sends what there is of an answer that will not be whole. net/http drops what is in its buffers when
// a handler panics, and a client that got nothing on a connection of before sends its request once more, be it
// a POST: RFC 9112 section 9.3.1 forbids that, and curl and browsers do it.
func (w *responseWriter) breakOff() {
	if w.x.status >= 200 {
		w.FlushError()
	}
}

// Hijack implements http.Hijacker. What is sent from then on goes past the writer. What the client has
// sent behind its handshake is in the server's buffer, where ReverseProxy would not look for it.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := buffers.Reader.Buffered(); n > 0 {
		conn = &bufferedConn{conn, io.MultiReader(io.LimitReader(buffers.Reader, int64(n)), conn)}
	}
	w.x.status = http.StatusSwitchingProtocols
	w.x.watch.takenOver()
	return conn, buffers, nil
}

// bufferedConn is a connection of which something was read already.
type bufferedConn struct {
	net.Conn
	reader io.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// CloseWrite tells the client that nothing more comes, where the connection can.
func (c *bufferedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// linger makes an answer that begins before the request's body was read the last of its connection, and
// has net/http's server end its own side first, and wait, before it closes that.
//
// Left open, net/http would read the rest of the body before the answer begins: it would take it away
// from the origin, which has begun to answer, and wait for who sends none. Closed while the client is
// still sending, it would be reset, and the answer lost (RFC 9112 section 9.6). The server waits by
// itself for bodies that were not read to the end, but (as of Go 1.26) not for those that came with
// Expect, or in the last request of a connection.
func linger(w http.ResponseWriter) {
	for inner := range unwrapped(w) {
		w = inner
	}
	http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1)) // which tells w that there is more than was read
}

// lingering bounds for how long a server reads on after the answer.
const lingering = 5 * time.Second

// limitRest bounds what the server does after the handler has returned: it sends the end of the answer, and
// may read the end of the request. A client that takes no answers would have it wait for ever; it
// needs only to ask for many small ones at once. The server takes these deadlines back for the
// connection's next request.
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

// hijackable reports whether a connection can be taken from its server.
func hijackable(w http.ResponseWriter) bool {
	for w := range unwrapped(w) {
		_, ours := w.(*responseWriter) // has the method, but not by itself the connection
		if _, ok := w.(http.Hijacker); ok && !ours {
			return true
		}
	}
	return false
}

// records reports whether w is, or goes through, what takes down the answer of x.
func (x *exchange) records(w http.ResponseWriter) bool {
	for w := range unwrapped(w) {
		if own, ok := w.(*responseWriter); ok && own.x == x {
			return true
		}
	}
	return false
}

// unwrapped returns w, what it wraps, and so on, as http.ResponseController goes through them.
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
