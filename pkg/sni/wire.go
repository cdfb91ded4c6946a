package sni

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// rawConn is the connection below TLS. It knows how much was written to it.
type rawConn struct {
	net.Conn
	written atomic.Int64 // bytes
	handed  bool         // to net/http, which reads it on one goroutine and writes on another

	readFailed chan struct{} // closed once a Read has
	once       sync.Once
}

func newRawConn(c net.Conn) *rawConn { return &rawConn{Conn: c, readFailed: make(chan struct{})} }

func (r *rawConn) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	if err != nil {
		r.once.Do(func() { close(r.readFailed) })
	}
	return n, err
}

// lastWords bounds the wait for what a peer said before it hung up.
const lastWords = 50 * time.Millisecond

// Write, once net/http does it, lets the reader go first where the peer has hung up. Most tell why before they do: by an
// alert, or by GOAWAY, which says that a request can be sent again. A failure to write, which net/http
// would take for the end of it, tells nothing.
func (r *rawConn) Write(p []byte) (int, error) {
	n, err := r.Conn.Write(p)
	r.written.Add(int64(n))
	if r.handed && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)) {
		select {
		case <-r.readFailed:
		case <-time.After(lastWords):
		}
	}
	return n, err
}

// isEmpty reports whether an answer has no body that anybody needs to read.
func isEmpty(req *http.Request, resp *http.Response) bool {
	return resp.ContentLength == 0 || req.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
}

// answerBody tells its connection over HTTP/2 when it has come to its end. net/http tells too, for
// a lock here and there with each request, and not every time.
type answerBody struct {
	io.ReadCloser
	conn  *conn
	ended atomic.Bool
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end()
	}
	return n, err
}

func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

func (b *answerBody) end() {
	if b.ended.Swap(true) {
		return
	}
	c := b.conn
	c.pool.t.mu.Lock()
	c.answered--
	c.idleAt = wallClock()
	closing := c.update()
	c.pool.t.mu.Unlock()
	closeAll(closing)
}

// bothWays is what net/http gives for the body of an answer with 101.
type bothWays interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// upgradedBody is a connection that was given to its request.
type upgradedBody struct {
	bothWays
	conn *conn
}

func (b *upgradedBody) Close() error {
	err := b.bothWays.Close()
	b.conn.pool.t.mu.Lock()
	defer b.conn.pool.t.mu.Unlock()
	b.conn.pool.t.conns.remove(b.conn)
	return err
}

// headerSize is how much of an HTTP/1.1 message a header makes up.
func headerSize(h http.Header) (n int64) {
	for name, values := range h {
		for _, v := range values {
			n += int64(len(name) + len(v) + len(": \r\n"))
		}
	}
	return n
}
