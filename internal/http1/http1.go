// Package http1 is the client's side of HTTP/1.1 (RFC 9112) on one connection.
//
// A request is written and its answer read on the goroutine that calls [Conn.RoundTrip], and the
// body of the answer on the goroutine that reads it. A goroutine of its own runs only while the body
// of a request is sent, so that an answer is seen that comes before the body's end. Between two
// requests a Conn has no goroutine, no timer and no buffer.
//
// Reading is strict. A proxy that reads an answer otherwise than the server meant it gives one
// client's answer to another. What has one meaning by RFC 9112, but is a sign of a server that has
// lost count, is read, and the connection is not used again: a length beside chunked, a length
// twice, a body that may not be, bytes behind an answer. What has none is an [AnswerError].
//
// Which connection a request goes out on, and what is sent again, is the business of package sni.
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

// A Conn is one connection to a server. It carries one exchange at a time: RoundTrip must not be
// called before Done was, for the exchange before. Its fields must not change after the first call.
type Conn struct {
	// Conn is what requests and answers go over: a *tls.Conn, or the network connection itself.
	Conn net.Conn

	// Abort ends Conn at once, without a word to the server. Any goroutine may call it, more than
	// once.
	Abort func()

	// MaxHeaderBytes bounds each header section of an answer, and its trailer section: names and
	// values, and four bytes for each field.
	MaxHeaderBytes int64

	// ResponseTimeout bounds the wait for the header of the answer after the request was sent. Zero
	// or less means no bound.
	ResponseTimeout time.Duration

	// Answered is called once the header of the final answer was read, before Done may be called.
	// Nil calls nothing.
	Answered func(*http.Response)

	// Done is called when an exchange has ended: its answer was read to the end, or given up. If the
	// Conn is reusable, the next request may go out on it; else it is closed. After a 101 Done is
	// called when the caller has closed the body. It may be called within RoundTrip.
	Done func(reusable bool)

	begun bool // something has come back in the last exchange

	r *bufio.Reader // nil between exchanges
	w *bufio.Writer // likewise
}

const (
	// maxInterim bounds the interim answers (1xx) to one request. Some servers send one every ten
	// seconds to keep a slow request alive.
	maxInterim = 100

	// continueTimeout is for how long a body waits for 100 (Continue). Many servers never send it.
	continueTimeout = time.Second

	// lastWords bounds the wait for what a server has said before it hung up on the writing of a
	// request: most say why.
	lastWords = 50 * time.Millisecond

	// lastBytes bounds the wait for the end of an upload when the answer has been read: the server
	// has seen its last byte, and our own goroutine may not know yet.
	lastBytes = 50 * time.Millisecond

	// headAlone is for how long a header waits for the beginning of its body. Most bodies are there, and
	// go out in one write with it.
	headAlone = time.Millisecond
)

// ErrManyInterim is the error for a server that sends interim answers without end.
var ErrManyInterim = errors.New("http1: the server sends interim answers without end")

// ErrHTTP2 is the error for a server that answers in HTTP/2 (RFC 9113 section 3.4).
var ErrHTTP2 = errors.New("http1: the server speaks HTTP/2")

// ErrUnaskedSwitch is the error for a 101 (Switching Protocols) that was not asked for, or does not
// say to what. Nobody knows what the connection speaks then.
var ErrUnaskedSwitch = errors.New("http1: the server switches protocols, without having been asked, or without saying to what")

var (
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}
	writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 4<<10) }}
)

// exchange is one request and its answer.
type exchange struct {
	c        *Conn
	req      *http.Request
	hooks    *httptrace.ClientTrace // never nil
	stop     func() bool            // takes the hook off the request's context
	keep     bool                   // the connection may be used again, as far as the answer says
	up       *upload                // nil if there is no body to send
	bodyOnce sync.Once
	cut      bool // the server hung up before it had the header of the request

	mu       sync.Mutex // of what follows: the goroutine of the upload writes it too
	answered bool       // the header of the answer is there
	deadline bool       // of reading; it is set
}

var noHooks = &httptrace.ClientTrace{}

// RoundTrip sends req, which [Check] has to accept, and reads the header of its answer. The body of
// the request is closed, at the latest when Done is called. The request's context ends the exchange
// until the answer's body was read to its end.
//
// After a 101 (Switching Protocols) that the request asked for, the answer's body is an
// io.ReadWriteCloser that has CloseWrite too.
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

// Begun reports whether something came back in an exchange that failed. It is for who called RoundTrip.
func (c *Conn) Begun() bool { return c.begun }

// Alive reports whether the server has neither hung up on an idle Conn nor sent anything on it.
// Conn must be in a state in which a Read does not wait: its error has Timeout then. So has ETIMEDOUT, by
// which the system says that it has given the connection up. What TLS itself has to say, such as a session
// ticket, is read and counts for nothing.
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
		// The server may have said why it hung up, and be gone.
		x.cut, x.deadline = true, true
		c.Conn.SetReadDeadline(time.Now().Add(lastWords))
	}
	resp, err := x.readAnswer()
	if sendErr != nil && (isTimeout(err) || errors.Is(err, io.EOF)) {
		err = sendErr // the server has said nothing
	}
	return resp, err
}

// inMemory reports whether a body can be had without waiting for it. Then it needs no goroutine.
func inMemory(req *http.Request) bool {
	const small = 32 << 10 // a large one the server may answer before it has come to an end
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

// settle ends the wait for the header.
func (x *exchange) settle() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answered = true
	if x.deadline {
		x.c.Conn.SetReadDeadline(time.Time{})
	}
}

// readAnswer reads header sections until that of the final answer.
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

// final makes the answer of its header.
func (x *exchange) final(h head) (*http.Response, error) {
	x.settle()
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
	// Who has announced the end of a connection sends nothing more on it (RFC 9112 section 9.6). And a server
	// that has answered before the request's end may hang up instead of reading that end, or take it for another
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

// cause returns what the exchange failed of, where err is what came of that.
func (x *exchange) cause(err error) error {
	if ctx := x.req.Context(); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if source := x.up.sourceError(); source != nil {
		return source
	}
	return err
}

// end ends the exchange. It is called once. read says that the answer was read to its end.
func (x *exchange) end(read bool) {
	c := x.c
	sent := x.up.finished(read)
	cancelled := !x.stop()
	reusable := read && sent && x.keep && !cancelled && c.r.Buffered() == 0
	switch {
	case reusable:
	case read && sent && !cancelled:
		c.Conn.Close() // tells the server, and takes no time: nothing else is left to send
	default:
		c.Abort()
	}
	if sent {
		c.w.Reset(nil)
		writers.Put(c.w)
	} else {
		x.closeBody() // which ends a Read of it that still waits
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

// release gives the reader's buffer back.
func (c *Conn) release() {
	c.r.Reset(nil)
	readers.Put(c.r)
	c.r = nil
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
