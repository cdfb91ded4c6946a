package sni

import (
	"errors"
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
	now     bool         // a Read does not wait; for the one goroutine that has the connection
	stuck   bool         // what TLS had to say meanwhile found no room; likewise

	socket  syscall.RawConn // nil if there is none to ask
	look    look
	awaited time.Duration // what awaitAcks has set

	readFailed chan struct{} // closed once a Read has
	once       sync.Once
}

func newRawConn(c net.Conn) *rawConn {
	r := &rawConn{Conn: c, readFailed: make(chan struct{})}
	if sc, ok := c.(syscall.Conn); ok {
		if socket, err := sc.SyscallConn(); err == nil {
			r.socket = socket
		}
	}
	return r
}

func (r *rawConn) Read(p []byte) (int, error) {
	if r.now {
		return r.readNow(p)
	}
	n, err := r.Conn.Read(p)
	if err != nil {
		r.once.Do(func() { close(r.readFailed) })
	}
	return n, err
}

// errNothing is the error of a Read that does not wait and finds nothing. crypto/tls goes on after an
// error that is temporary.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "nothing has arrived" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// lastWords bounds the wait for what a peer said before it hung up.
const lastWords = 50 * time.Millisecond

// Write, once net/http does it, lets the reader go first if the peer has hung up. Most tell why before they do: by an
// alert, or by GOAWAY, which says that a request can be sent again. A failure to write, which net/http
// would take for the end of it, tells nothing.
func (r *rawConn) Write(p []byte) (int, error) {
	if r.now {
		return r.writeNow(p)
	}
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

// CloseWrite is for a connection without TLS: what came of an Upgrade may end its one direction.
func (r *rawConn) CloseWrite() error {
	if half, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// writeNow writes what crypto/tls answers to what it has read: an alert, or new keys (RFC 8446 section
// 4.6.3). A peer that reads nothing would make it wait for ever, and with it whoever looks.
func (r *rawConn) writeNow(p []byte) (int, error) {
	r.Conn.SetWriteDeadline(time.Now().Add(time.Millisecond))
	defer r.Conn.SetWriteDeadline(time.Time{})
	n, err := r.Conn.Write(p)
	r.written.Add(int64(n))
	r.stuck = r.stuck || err != nil
	return n, err
}

// awaitAcks bounds for how long the peer's kernel may leave unacknowledged what was sent to it. After
// that the path is dead: a peer that is only busy acknowledges. Zero takes the bound away. What fails
// is left as it was: then the origin's other bounds hold.
//
// The kernel counts in the time in which the peer acknowledges but takes no data, its buffer being full
// (RFC 9293 section 3.8.6.1). So there is no bound while a body is sent that may fill it.
func (r *rawConn) awaitAcks(d time.Duration) {
	if r.awaited != d && r.socket != nil {
		r.awaited = d
		r.socket.Control(func(fd uintptr) { setAckTimeout(fd, d) })
	}
}

// isEmpty reports whether an answer has no body that anybody needs to read.
func isEmpty(req *http.Request, resp *http.Response) bool {
	return resp.ContentLength == 0 || req.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
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
