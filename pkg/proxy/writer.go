package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// responseWriter takes down what the client is told, and keeps from it what it would not
// understand.
type responseWriter struct {
	http.ResponseWriter
	x      *exchange
	http10 bool // the client knows no interim answers (RFC 9110 section 15.2)
	http1  bool
	closes bool // the connection ends with this answer
}

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *responseWriter) WriteHeader(status int) {
	if status < 200 {
		// 100 is said by the server itself, once the body is read.
		if !w.http10 && status != http.StatusContinue {
			w.ResponseWriter.WriteHeader(status)
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
	// Before an answer that leaves the connection open, net/http would read the rest of the request's body:
	// it would take it away from the origin, which has begun to answer, and wait for who sends none.
	if w.closes || w.http1 && w.x.body.unread() {
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

// FlushError is for http.ResponseController. Flushing a header is writing it.
func (w *responseWriter) FlushError() error {
	if w.x.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
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

// linger bounds how long a server reads on after the answer, so that a client which is still sending
// gets to read it.
const linger = 5 * time.Second

// limitRest bounds what the server does after the handler has returned: it sends the end of the answer, and
// may read the end of the request. A client that takes no answers would have it wait for ever; it
// needs only to ask for many small ones at once.
func (w *responseWriter) limitRest(t Timeouts) {
	if w.x.watch != nil {
		t = w.x.watch.timeouts
	} else {
		t = t.of(&origin.Route{})
	}
	if w.x.status == http.StatusSwitchingProtocols || t.Idle < 0 || w.x.watch.cutOff() {
		return
	}
	client, now := http.NewResponseController(w.ResponseWriter), time.Now()
	client.SetWriteDeadline(now.Add(t.Idle))
	if w.http1 && w.x.body.unread() {
		client.SetReadDeadline(now.Add(min(t.Idle, linger)))
	}
}

// hijackable reports whether a connection can be taken from its server.
func hijackable(w http.ResponseWriter) bool {
	for {
		_, ours := w.(*responseWriter) // has the method, but not by itself the connection
		if _, ok := w.(http.Hijacker); ok && !ours {
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
