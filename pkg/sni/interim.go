package sni

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"

	"github.com/sleightproxy/sleight/internal/http1"
)

const (
	// maxInterim bounds the interim answers (1xx) to one request over HTTP/2, as http1 does for its own.
	maxInterim = 100

	// maxPending bounds the headers of those that have come and that the caller has not taken yet. More
	// are dropped.
	maxPending = 64 << 10
)

// hook returns a request over HTTP/2 with hooks of our own before the caller's.
//
// The one for interim answers: net/http bounds them only if nobody looks at them, and a proxy that
// passes them on would do so for ever. It takes 101 for one, of which a proxy would make a change of
// protocols on the client's connection (RFC 9113 section 8.6 forbids it). And it calls the hook on the goroutine
// that reads the connection, where a client that takes nothing would hold up the answers to all others.
//
// The one for what was sent, if somebody watches: net/http tries a request on connections that are
// dead already, and sends nothing then. The hooks are nil if there is nothing to look for.
func hook(req *http.Request, watched bool) (*http.Request, *hooks) {
	ctx, theirs := req.Context(), httptrace.ContextClientTrace(req.Context())
	interim := theirs != nil && theirs.Got1xxResponse != nil
	if !interim && !watched {
		return req, nil
	}
	h := &hooks{theirs: theirs}
	ours := httptrace.ClientTrace{WroteHeaders: func() { h.wrote.Store(true) }}
	if interim {
		ours = *theirs
		ours.Got1xxResponse = h.got
		ours.WroteHeaders = h.wroteHeaders
		return req.WithContext(&hookedContext{ctx, theirs, &ours}), h
	}
	return req.WithContext(httptrace.WithClientTrace(ctx, &ours)), h
}

type hooks struct {
	theirs *httptrace.ClientTrace
	wrote  atomic.Bool

	mu      sync.Mutex    // of what follows
	n       int           // interim answers that have come
	pending []interim     // not passed on yet
	size    int64         // of their headers
	passing chan struct{} // closed when none is left; nil if that is so
	over    bool          // the final answer is there
	err     error         // of the caller's hook
}

type interim struct {
	code   int
	header textproto.MIMEHeader
	size   int64
}

// got takes an interim answer, without waiting.
func (h *hooks) got(code int, header textproto.MIMEHeader) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	switch {
	case code == http.StatusSwitchingProtocols:
		return http1.ErrUnaskedSwitch
	case h.n > maxInterim:
		return http1.ErrManyInterim
	case h.err != nil || h.over:
		return h.err
	}
	i := interim{code, header, headerSize(http.Header(header))}
	if len(h.pending) > 0 && h.size+i.size > maxPending {
		return nil
	}
	h.pending, h.size = append(h.pending, i), h.size+i.size
	if h.passing == nil {
		h.passing = make(chan struct{})
		go h.pass()
	}
	return nil
}

// pass calls the caller's hook, with one answer after the other, until none is left.
func (h *hooks) pass() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.pending) > 0 && h.err == nil {
		i := h.pending[0]
		h.pending, h.size = h.pending[1:], h.size-i.size
		h.mu.Unlock()
		err := h.tell(i)
		h.mu.Lock()
		h.err = err
	}
	close(h.passing)
	h.passing = nil
}

// tell calls the hook. A panic would end the process: nobody recovers it on this goroutine.
func (h *hooks) tell(i interim) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the hook for interim answers panicked: %v", p)
		}
	}()
	return h.theirs.Got1xxResponse(i.code, i.header)
}

// finish waits until all interim answers were passed on: the final one comes after them. Its error is the
// caller's hook's. Nil hooks have none.
func (h *hooks) finish() error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	h.over = true
	passing := h.passing
	h.mu.Unlock()
	if passing != nil {
		<-passing
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// hasHeard reports whether an interim answer has come, as far as somebody looks.
func (h *hooks) hasHeard() bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n > 0
}

// hasWritten reports whether the header of the request was sent, as far as somebody looks.
func (h *hooks) hasWritten() bool { return h != nil && h.wrote.Load() }

func (h *hooks) wroteHeaders() {
	h.wrote.Store(true)
	if h.theirs.WroteHeaders != nil {
		h.theirs.WroteHeaders()
	}
}

// hookedContext has our hooks in place of the caller's. httptrace itself only adds hooks to those
// of before, and then drops the error of ours.
type hookedContext struct {
	context.Context
	theirs, ours *httptrace.ClientTrace
}

func (c *hookedContext) Value(key any) any {
	v := c.Context.Value(key)
	if hooks, ok := v.(*httptrace.ClientTrace); ok && hooks == c.theirs {
		return c.ours
	}
	return v
}
