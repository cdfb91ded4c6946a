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

// rawConn is the connection below TLS. It counts the bytes that are written to it.
type rawConn struct {
	net.Conn
	written atomic.Int64 // bytes
	handed  bool         // net/http has it, and reads it on one goroutine and writes on another
	now     bool         // Read does not wait; only the goroutine that has the connection sets it
	stuck   bool         // a record of TLS could not be written meanwhile; only that goroutine uses it

	socket syscall.RawConn // nil if the connection has no socket
	look   look
	acks   time.Duration // set by awaitAcks

	readFailed chan struct{} // closed once a Read has failed
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

// errNothing is the error of a Read that does not wait and finds nothing. crypto/tls can go on after a temporary error.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "nothing has arrived" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// alertWait bounds the wait for what a peer has sent before it closed the connection.
const alertWait = 50 * time.Millisecond

// Write lets the reader go first if the peer has closed the connection and net/http has it. Most peers say why before they
// close: by an alert, or by GOAWAY, which says that a request can be sent again. net/http would report the failed write, which
// says nothing.
func (r *rawConn) Write(p []byte) (int, error) {
	if r.now {
		return r.writeNow(p)
	}
	n, err := r.Conn.Write(p)
	r.written.Add(int64(n))
	if r.handed && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)) {
		select {
		case <-r.readFailed:
		case <-time.After(alertWait):
		}
	}
	return n, err
}

// CloseWrite ends one direction of a connection without TLS, for an upgraded protocol.
func (r *rawConn) CloseWrite() error {
	if half, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// writeNow writes the answer of crypto/tls to a record that it has read: an alert, or new keys (RFC 8446 section 4.6.3). Without
// the deadline, a peer that reads nothing would make the goroutine wait forever.
func (r *rawConn) writeNow(p []byte) (int, error) {
	r.Conn.SetWriteDeadline(time.Now().Add(time.Millisecond))
	defer r.Conn.SetWriteDeadline(time.Time{})
	n, err := r.Conn.Write(p)
	r.written.Add(int64(n))
	r.stuck = r.stuck || err != nil
	return n, err
}

// awaitAcks bounds for how long the peer's kernel may leave sent data unacknowledged. After that the path is dead: a peer that
// is only busy acknowledges. Zero removes the bound. Errors are ignored, since the other bounds still hold.
//
// The kernel also counts the time in which the peer acknowledges but takes no data, because its buffer is full (RFC 9293
// section 3.8.6.1). So there is no bound while a body is sent that may fill the buffer.
func (r *rawConn) awaitAcks(d time.Duration) {
	if r.acks != d && r.socket != nil {
		r.acks = d
		r.socket.Control(func(fd uintptr) { setAckTimeout(fd, d) })
	}
}

// isEmpty reports whether a response has no body to read.
func isEmpty(req *http.Request, resp *http.Response) bool {
	return resp.ContentLength == 0 || req.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
}

// headerSize returns the size of a header in an HTTP/1.1 message, in bytes.
func headerSize(h http.Header) (n int64) {
	for name, values := range h {
		for _, v := range values {
			n += int64(len(name) + len(v) + len(": \r\n"))
		}
	}
	return n
}
