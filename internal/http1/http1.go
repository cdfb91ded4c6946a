// Package http1 is the client's side of HTTP/1.1 (RFC 9112) on one connection.
//
// The goroutine that calls [Conn.RoundTrip] writes the request and reads the header of the response. The goroutine that reads
// the body of the response reads it from the connection. Another goroutine runs only while the body of a request is sent, so
// that a response is seen that comes before the end of the body. Between two requests a Conn has no goroutine, no timer and
// no buffer.
//
// Reading is strict. A proxy that reads a response in another way than the server meant it gives one client's response to
// another. A response with exactly one meaning by RFC 9112 may still be a sign that the server has lost count: a length beside
// chunked, a length twice, a body where none is allowed, bytes after a response. It is read, and the connection is not used
// again. A response without exactly one meaning is an [AnswerError].
//
// Package sni chooses the connection of a request, and what is sent again.
package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"syscall"
	"time"
)

// A Conn is one connection to a server. It carries one exchange at a time: RoundTrip must not be called before Done was called
// for the previous exchange. Its fields must not change after the first call.
type Conn struct {
	// Conn carries the requests and responses: a *tls.Conn, or the network connection itself.
	Conn net.Conn

	// Abort ends Conn at once, and sends nothing to the server. Any goroutine may call it, more than once.
	Abort func()

	// MaxHeaderBytes bounds each header section of a response, and its trailer section: names and values, and four bytes for
	// each field.
	MaxHeaderBytes int64

	// ResponseTimeout bounds the wait for the header of the response after the request was sent. Zero or less means no bound.
	ResponseTimeout time.Duration

	// Answered is called once the header of the final response was read, and before Done. Nil calls nothing.
	Answered func(*http.Response)

	// Done is called when an exchange has ended: its response was read to the end, or closed before that. If the Conn is
	// reusable, the next request may go out on it; otherwise it is closed. After a 101, Done is called when the caller has
	// closed the body. It may be called within RoundTrip.
	Done func(reusable bool)

	begun bool // the server has sent something in the last exchange

	r *bufio.Reader // nil between exchanges
	w *bufio.Writer // nil between exchanges
}

const (
	// maxInterim bounds the interim responses (1xx) to one request. Some servers send one every ten seconds to keep a slow
	// request alive.
	maxInterim = 100

	// continueTimeout is for how long a body waits for 100 (Continue). Many servers never send it.
	continueTimeout = time.Second

	// alertWait bounds the wait for what a server has sent before it closed the connection on which a request was being
	// written: most servers say why.
	alertWait = 50 * time.Millisecond

	// lastBytes bounds the wait for the end of an upload once the response has been read: the server has got the last byte,
	// and the goroutine that sent it may not know yet.
	lastBytes = 50 * time.Millisecond

	// headAlone is for how long a header waits for the beginning of its body. Most bodies are there, and are sent in one write
	// with the header.
	headAlone = time.Millisecond
)

// ErrManyInterim is the error for a server that sends more than a hundred interim responses.
var ErrManyInterim = errors.New("http1: the server sends interim answers without end")

// ErrHTTP2 is the error for a server that answers in HTTP/2 (RFC 9113 section 3.4).
var ErrHTTP2 = errors.New("http1: the server speaks HTTP/2")

// ErrUnaskedSwitch is the error for a 101 (Switching Protocols) that was not asked for, or that names no protocol. Nobody knows
// what the connection speaks then.
var ErrUnaskedSwitch = errors.New("http1: the server switches protocols, without having been asked, or without saying to what")

var (
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}
	writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 4<<10) }}
)

// exchange is one request and its response.
type exchange struct {
	c        *Conn
	req      *http.Request
	hooks    *httptrace.ClientTrace // never nil
	stop     func() bool            // removes the hook from the request's context
	keep     bool                   // the response allows the connection to be used again
	up       *upload                // nil if there is no body to send
	bodyOnce sync.Once
	cut      bool // the server closed the connection before it had the header of the request

	mu       sync.Mutex // guards the fields below, which the goroutine of the upload sets too
	answered bool       // the header of the response was read
	deadline bool       // a read deadline is set
}

var noHooks = &httptrace.ClientTrace{}

// RoundTrip sends req, which [Check] has to accept, and reads the header of its response. It closes the body of the request, at
// the latest when Done is called. The request's context ends the exchange until the body of the response was read to its end.
//
// After a 101 (Switching Protocols) that the request asked for, the body of the response is an io.ReadWriteCloser that has
// CloseWrite too.
func (c *Conn) RoundTrip(req *http.Request) (*http.Response, error) {
	x := &exchange{c: c, req: req, hooks: httptrace.ContextClientTrace(req.Context())}
	if x.hooks == nil {
		x.hooks = noHooks
	}
	c.begun = false
	c.r, c.w = readers.Get().(*bufio.Reader), writers.Get().(*bufio.Writer)
	c.r.Reset(c.Conn)
	c.w.Reset(c.Conn)
	x.stop = context.AfterFunc(req.Context(), c.Abort)
	resp, err := x.run()
	if err != nil {
		err = x.cause(err)
		x.end(false)
		return nil, err
	}
	return resp, nil
}

// Begun reports whether the server has sent something in an exchange that failed. Only the caller of RoundTrip may call it.
func (c *Conn) Begun() bool { return c.begun }

// Alive reports whether an idle Conn is open, and the server has sent nothing on it. Conn must be in a state in which Read does
// not wait; the error of such a Read has Timeout. ETIMEDOUT has Timeout too, and means that the system has given the connection
// up. Records of TLS itself, such as a session ticket, are read and ignored.
func (c *Conn) Alive() bool {
	var b [1]byte
	n, err := c.Conn.Read(b[:])
	var timeout net.Error
	return n == 0 && errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, syscall.ETIMEDOUT)
}

func (x *exchange) run() (*http.Response, error) {
	c := x.c
	f := framingOf(x.req)
	writeHead(c.w, x.req, f, x.hooks)
	var sendErr error
	switch {
	case f.kind == bodyNone:
		x.closeBody()
		if sendErr = c.w.Flush(); sendErr == nil {
			x.wroteHead()
			x.wrote(nil)
		}
	case inMemory(x.req):
		x.up = newUpload(x, f)
		sendErr = x.up.run()
	default:
		x.up = newUpload(x, f)
		go x.up.run()
	}
	if sendErr != nil {
		// The server may have said why it closed the connection.
		x.cut, x.deadline = true, true
		c.Conn.SetReadDeadline(time.Now().Add(alertWait))
	}
	resp, err := x.readAnswer()
	if sendErr != nil && (isTimeout(err) || errors.Is(err, io.EOF)) {
		err = sendErr // the server has said nothing
	}
	return resp, err
}

// inMemory reports whether a body can be read without waiting. It then needs no goroutine.
func inMemory(req *http.Request) bool {
	const small = 32 << 10 // the server may answer before it has read all of a larger one
	return req.GetBody != nil && req.ContentLength > 0 && req.ContentLength <= small && !AsksFirst(req)
}

// wroteHead is called when the header of the request was sent.
func (x *exchange) wroteHead() {
	if x.hooks.WroteHeaders != nil {
		x.hooks.WroteHeaders()
	}
}

// wrote is called when the whole request was sent, or could not be.
func (x *exchange) wrote(err error) {
	if x.hooks.WroteRequest != nil {
		x.hooks.WroteRequest(httptrace.WroteRequestInfo{Err: err})
	}
	if err != nil || x.c.ResponseTimeout <= 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.answered {
		x.deadline = true
		x.c.Conn.SetReadDeadline(time.Now().Add(x.c.ResponseTimeout))
	}
}

// endWait ends the wait for the header.
func (x *exchange) endWait() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answered = true
	if x.deadline {
		x.c.Conn.SetReadDeadline(time.Time{})
	}
}

// readAnswer reads header sections until that of the final response.
func (x *exchange) readAnswer() (*http.Response, error) {
	first := true
	for n := 0; ; n++ {
		if first {
			if _, err := x.c.r.Peek(1); err != nil {
				return nil, err
			}
			x.c.begun = true
			if x.hooks.GotFirstResponseByte != nil {
				x.hooks.GotFirstResponseByte()
			}
			first = false
		}
		h, err := readHead(x.c.r, x.c.MaxHeaderBytes)
		switch {
		case err != nil:
			return nil, err
		case h.status == http.StatusSwitchingProtocols:
			if !switches(x.req.Header) || !switches(h.header) {
				return nil, ErrUnaskedSwitch
			}
			return x.final(h)
		case h.status >= 200:
			return x.final(h)
		case n == maxInterim:
			return nil, ErrManyInterim
		}
		if h.status == http.StatusContinue {
			if x.hooks.Got100Continue != nil {
				x.hooks.Got100Continue()
			}
			x.up.proceed()
		}
		if x.hooks.Got1xxResponse != nil {
			if err := x.hooks.Got1xxResponse(h.status, textproto.MIMEHeader(h.header)); err != nil {
				return nil, err
			}
		}
	}
}

// final makes the response from its header.
func (x *exchange) final(h head) (*http.Response, error) {
	x.endWait()
	x.up.abandon() // a body that still waits for 100 is not wanted
	resp := h.response()
	resp.Request = x.req
	if h.status == http.StatusSwitchingProtocols {
		resp.Body = &switched{x: x}
		if x.c.Answered != nil {
			x.c.Answered(resp)
		}
		x.stop()
		return resp, nil
	}
	f, err := answerFraming(h, x.req.Method, resp)
	if err != nil {
		return nil, err
	}
	// A client that has announced the end of a connection sends nothing more on it (RFC 9112 section 9.6). And a server that
	// has answered before the end of the request may close the connection instead of reading that end, or take it for another
	// request.
	x.keep = f.keep && !x.cut && x.up.atItsEnd() && !x.req.Close && !hasOption(x.req.Header, "close")
	if x.c.Answered != nil {
		x.c.Answered(resp)
	}
	if f.kind == bodyNone {
		resp.Body = http.NoBody
		x.end(true)
		return resp, nil
	}
	resp.Body = newBody(x, resp, f)
	return resp, nil
}

// cause returns the reason of a failure. err is the error that it has led to.
func (x *exchange) cause(err error) error {
	if ctx := x.req.Context(); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if source := x.up.sourceError(); source != nil {
		return source
	}
	return err
}

// end ends the exchange. It is called once. read says that the response was read to its end.
func (x *exchange) end(read bool) {
	c := x.c
	sent := x.up.finished(read)
	cancelled := !x.stop()
	reusable := read && sent && x.keep && !cancelled && c.r.Buffered() == 0
	switch {
	case reusable:
	case read && sent && !cancelled:
		c.Conn.Close() // does not wait: nothing else is left to send
	default:
		c.Abort()
	}
	if sent {
		c.w.Reset(nil)
		writers.Put(c.w)
	} else {
		x.closeBody() // ends a Read that still waits
	}
	c.w = nil
	c.release()
	c.Done(reusable)
}

// closeBody closes the body of the request. It may be called more than once.
func (x *exchange) closeBody() {
	if body := x.req.Body; body != nil {
		x.bodyOnce.Do(func() { body.Close() })
	}
}

// release returns the reader's buffer to the pool.
func (c *Conn) release() {
	c.r.Reset(nil)
	readers.Put(c.r)
	c.r = nil
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
