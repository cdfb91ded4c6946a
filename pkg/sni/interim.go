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
	// maxInterim bounds the interim responses (1xx) to one request over HTTP/2. Package http1 has the same bound.
	maxInterim = 100

	// maxPending bounds the headers, in bytes, of the interim responses that the caller has not taken yet. Further ones are
	// dropped.
	maxPending = 64 << 10
)

// hook returns a request over HTTP/2 with hooks of its own before the caller's. The hooks are nil if nobody needs them.
//
// The hook for interim responses is there for three reasons. net/http bounds them only if no hook is set, and a proxy would
// pass them on forever. It takes 101 for an interim response, and a proxy would switch the protocol on the client's connection
// (RFC 9113 section 8.6 forbids 101). And it calls the hook on the goroutine that reads the connection, so that a client that
// takes nothing would delay the responses to all others.
//
// The hook for what was sent is set if watched: net/http tries a request also on connections that are dead, and sends nothing
// then.
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

	mu      sync.Mutex    // guards the fields below
	n       int           // interim responses that have come
	pending []interim     // not passed on yet
	size    int64         // of their headers
	passing chan struct{} // closed when pending is empty; nil if it is
	over    bool          // the final response has come
	err     error         // from the caller's hook
}

type interim struct {
	code   int
	header textproto.MIMEHeader
	size   int64
}

// got takes an interim response, without waiting.
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

// pass calls the caller's hook with one response after the other, until pending is empty.
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

// tell calls the hook, and recovers a panic: nobody else does so on this goroutine, and the process would end.
func (h *hooks) tell(i interim) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the hook for interim answers panicked: %v", p)
		}
	}()
	return h.theirs.Got1xxResponse(i.code, i.header)
}

// finish waits until all interim responses were passed on, so that the final one comes after them. It returns the error of the
// caller's hook. h may be nil.
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

// hasHeard reports whether an interim response has come. It returns false without hooks.
func (h *hooks) hasHeard() bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n > 0
}

// hasWritten reports whether the header of the request was sent. It returns false without hooks.
func (h *hooks) hasWritten() bool { return h != nil && h.wrote.Load() }

func (h *hooks) wroteHeaders() {
	h.wrote.Store(true)
	if h.theirs.WroteHeaders != nil {
		h.theirs.WroteHeaders()
	}
}

// hookedContext has the hooks of this package in place of the caller's. httptrace itself only adds hooks, and drops the error of
// the added ones.
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
