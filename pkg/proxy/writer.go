package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

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
		// 100 is said by the server itself, once the body is read.
		if !w.http10 && status != http.StatusContinue {
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

// Hijack implements http.Hijacker. What the client has sent behind its handshake is in the server's
// buffer, where ReverseProxy would not look for it.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := buffers.Reader.Buffered(); n > 0 {
		conn = &bufferedConn{conn, io.MultiReader(io.LimitReader(buffers.Reader, int64(n)), conn)}
	}
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
