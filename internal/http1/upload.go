package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// An upload sends the body of a request, and the header together with the beginning of the body. The exchange may call its methods
// on nil, for a request without a body.
type upload struct {
	x     *exchange
	f     framing
	start chan bool // receives whether the server wants the body; nil if it is not asked
	done  chan struct{}
	last  atomic.Bool // the last bytes are being sent, or were sent

	writing sync.Mutex // guards the fields below
	w       *bufio.Writer
	headOut bool

	mu     sync.Mutex
	source error // why the body could not be read
	whole  bool  // all of it was sent
}

// errNotWanted is the error of an upload whose server has answered without asking for the body.
var errNotWanted = errors.New("http1: the server did not ask for the body")

// uploadBuffers are for copying bodies.
var uploadBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// newUpload makes the upload of a request whose header was written but not flushed.
func newUpload(x *exchange, f framing) *upload {
	u := &upload{x: x, f: f, w: x.c.w, done: make(chan struct{})}
	if AsksFirst(x.req) {
		u.start = make(chan bool, 1)
	}
	return u
}

// AsksFirst reports whether a request has Expect: 100-continue (RFC 9110 section 10.1.1).
func AsksFirst(req *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(req.Header["Expect"], "100-continue")
}

// run sends header and body. It returns the reason if the server did not get them.
func (u *upload) run() error {
	defer close(u.done)
	err := errNotWanted
	if u.wanted() {
		err = u.send()
	}
	u.x.closeBody()
	u.x.wrote(err)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.whole = err == nil
	return err
}

// flush sends the buffered bytes. u.writing is held.
func (u *upload) flush() error {
	err := u.w.Flush()
	if err == nil && !u.headOut {
		u.headOut = true
		u.x.wroteHead()
	}
	return err
}

// sendHead sends the header alone, unless it was sent already.
func (u *upload) sendHead() error {
	u.writing.Lock()
	defer u.writing.Unlock()
	if u.headOut {
		return nil
	}
	return u.flush()
}

// wanted waits until the server asks for the body, or until its time for that is over.
func (u *upload) wanted() bool {
	if u.start == nil {
		return true
	}
	if u.sendHead() != nil {
		return false
	}
	if u.x.hooks.Wait100Continue != nil {
		u.x.hooks.Wait100Continue()
	}
	timer := time.NewTimer(continueTimeout)
	defer timer.Stop()
	select {
	case yes := <-u.start:
		return yes
	case <-timer.C:
		return true
	}
}

// send copies the body. It sends all that was read before it waits for more.
func (u *upload) send() error {
	buf := uploadBuffers.Get().(*[32 << 10]byte)
	defer uploadBuffers.Put(buf)
	if !inMemory(u.x.req) && u.start == nil {
		timer := time.AfterFunc(headAlone, func() { u.sendHead() })
		defer timer.Stop()
	}
	for sent := int64(0); ; {
		n, err := u.x.req.Body.Read(buf[:])
		if sent += int64(n); u.f.kind == bodyLength && sent > u.f.length {
			return u.broken(fmt.Errorf("http1: the body is longer than its Content-Length, %d", u.f.length))
		}
		if n > 0 {
			if err := u.write(buf[:n], u.f.kind == bodyLength && sent == u.f.length); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) && u.f.kind == bodyLength && sent < u.f.length:
			return u.broken(fmt.Errorf("http1: the body ended after %d of %d bytes: %w", sent, u.f.length, io.ErrUnexpectedEOF))
		case err == io.EOF:
			return u.finish()
		case err != nil:
			return u.broken(err)
		}
	}
}

// write sends a part of the body. last says that it is the end of the request.
func (u *upload) write(p []byte, last bool) error {
	u.writing.Lock()
	defer u.writing.Unlock()
	u.last.Store(last)
	if u.f.kind == bodyChunked {
		u.w.WriteString(strconv.FormatInt(int64(len(p)), 16))
		u.w.WriteString("\r\n")
		u.w.Write(p)
		u.w.WriteString("\r\n")
	} else {
		u.w.Write(p)
	}
	return u.flush()
}

// finish writes the end of a chunked body. The values of trailers are known only now.
func (u *upload) finish() error {
	u.writing.Lock()
	defer u.writing.Unlock()
	if u.f.kind != bodyChunked {
		return nil
	}
	u.w.WriteString("0\r\n")
	for _, name := range slices.Sorted(maps.Keys(u.x.req.Trailer)) {
		for _, value := range u.x.req.Trailer[name] {
			if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
				return u.broken(&RequestError{fmt.Sprintf("the trailer %.40q has a control character", name)})
			}
			u.w.WriteString(name + ": " + value + "\r\n")
		}
	}
	u.w.WriteString("\r\n")
	u.last.Store(true)
	return u.flush()
}

// atItsEnd reports whether the last part of the body is being sent, or was sent.
func (u *upload) atItsEnd() bool { return u == nil || u.last.Load() }

// broken ends the connection. Otherwise the server would take the part that it has for the whole body, or wait for more.
func (u *upload) broken(err error) error {
	u.mu.Lock()
	u.source = err
	u.mu.Unlock()
	u.x.c.Abort()
	return err
}

// proceed starts a body that waits for 100 (Continue).
func (u *upload) proceed() { u.tell(true) }

// abandon ends the wait of a body that the server will not ask for.
func (u *upload) abandon() { u.tell(false) }

func (u *upload) tell(wanted bool) {
	if u != nil && u.start != nil {
		select {
		case u.start <- wanted:
		default: // it knows already
		}
	}
}

// finished reports whether the whole body was sent. If wait is set, it waits a little for that.
func (u *upload) finished(wait bool) bool {
	if u == nil {
		return true
	}
	if wait {
		select {
		case <-u.done:
		default:
			timer := time.NewTimer(lastBytes)
			defer timer.Stop()
			select {
			case <-u.done:
			case <-timer.C:
			}
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.whole
}

// sourceError returns why the body could not be read, and nil if it could.
func (u *upload) sourceError() error {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.source
}
