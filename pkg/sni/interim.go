package sni

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"

	"github.com/sleightproxy/sleight/internal/http1"
)

// maxInterim bounds the interim answers (1xx) to one request over HTTP/2, as http1 does for its own.
const maxInterim = 100

// hook returns a request over HTTP/2 with hooks of our own before the caller's.
//
// The one for interim answers: net/http bounds them only if nobody looks at them, and a proxy that
// passes them on would do so for ever. It takes 101 for one, of which a proxy would make a change of
// protocols on the client's connection (RFC 9113 section 8.6 forbids it).
//
// The one for what was sent, if somebody watches: net/http tries a request on connections that are
// dead already, and sends nothing then. What it notes is nil if nobody watches.
func hook(req *http.Request, watched bool) (*http.Request, *atomic.Bool) {
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
		return req.WithContext(&hookedContext{ctx, theirs, &ours}), &h.wrote
	}
	return req.WithContext(httptrace.WithClientTrace(ctx, &ours)), &h.wrote
}

type hooks struct {
	theirs *httptrace.ClientTrace
	n      atomic.Int32
	wrote  atomic.Bool
}

func (h *hooks) got(code int, header textproto.MIMEHeader) error {
	switch {
	case code == http.StatusSwitchingProtocols:
		return http1.ErrUnaskedSwitch
	case h.n.Add(1) > maxInterim:
		return http1.ErrManyInterim
	}
	return h.theirs.Got1xxResponse(code, header)
}

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
