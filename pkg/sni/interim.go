package sni

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"
)

// maxInterim bounds the interim answers (1xx) to one request. Some origins send one every ten seconds
// to keep a slow request alive.
const maxInterim = 100

var errManyInterim = errors.New("the origin sends interim answers without end")

// checkInterim returns the request with a hook of our own before the caller's for interim answers.
// net/http bounds them only where nobody looks at them, and a proxy that passes them on would do so
// for ever. Over HTTP/2 it takes 101 for one, of which a proxy would make a change of protocols on
// the client's connection (RFC 9113 section 8.6 forbids it).
func checkInterim(req *http.Request) *http.Request {
	theirs := httptrace.ContextClientTrace(req.Context())
	if theirs == nil || theirs.Got1xxResponse == nil {
		return req
	}
	c := &interimContext{Context: req.Context(), theirs: theirs, ours: *theirs}
	c.ours.Got1xxResponse = c.got
	return req.WithContext(c)
}

// interimContext has our hook in place of the caller's. httptrace itself only adds hooks to those
// of before, and then drops the error of ours.
type interimContext struct {
	context.Context
	theirs *httptrace.ClientTrace
	ours   httptrace.ClientTrace
	n      atomic.Int32
}

func (c *interimContext) Value(key any) any {
	v := c.Context.Value(key)
	if hooks, ok := v.(*httptrace.ClientTrace); ok && hooks == c.theirs {
		return &c.ours
	}
	return v
}

func (c *interimContext) got(code int, header textproto.MIMEHeader) error {
	switch {
	case code == http.StatusSwitchingProtocols:
		return errUnaskedSwitch
	case c.n.Add(1) > maxInterim:
		return errManyInterim
	}
	return c.theirs.Got1xxResponse(code, header)
}
