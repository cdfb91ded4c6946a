package dynamodb

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"
)

// attempts is the HTTP client below the SDK's. It keeps one attempt from using up the time of a
// look-up, so that there is another, and leaves nothing running behind.
type attempts struct {
	transport *http.Transport
}

const (
	// attemptTime is how long an attempt has at least; more where the look-up has.
	attemptTime = time.Second

	// lostTime is how long an answer has to begin on a connection that was idle: its flow may
	// have been lost meanwhile, of which nobody is told. It leaves a request that waits for a
	// second the time for another attempt.
	lostTime = 500 * time.Millisecond

	// connectTime bounds TCP, which says nothing of a packet that was lost.
	connectTime = time.Second

	// handshakeTime bounds TLS for requests that have no end of their own.
	handshakeTime = 10 * time.Second
)

var errNoAnswer = errors.New("no answer in time")

// newAttempts returns a client with the settings of t, which it changes.
func newAttempts(t *http.Transport) *attempts {
	// Shorter than what AWS and its gateways keep open, and by the wall clock: no connection is
	// tried that died while a sandbox was frozen. Longer than ROUTES_TTL, so that a refresh
	// finds one.
	t.IdleConnTimeout = 50 * time.Second
	// A connection that has one request at a time is given up with it. Over HTTP/2 the next
	// attempt would be made on the one that was lost.
	t.ForceAttemptHTTP2 = false
	dial := t.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, end := withRequest(ctx, connectTime)
		defer end()
		return dial(ctx, network, address)
	}
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := t.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		config := t.TLSClientConfig.Clone()
		if config == nil {
			config = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		config.NextProtos = nil
		if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
			conn.Close()
			return nil, err
		}
		ctx, end := withRequest(ctx, handshakeTime)
		defer end()
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secure, nil
	}
	return &attempts{t}
}

type requestKey struct{}

// withRequest returns ctx, which is of a dial, so that it ends with the request that the dial is
// for. net/http would go on for a later one; in Lambda that is work after the reply.
func withRequest(ctx context.Context, limit time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	if request, ok := ctx.Value(requestKey{}).(context.Context); ok {
		stop := context.AfterFunc(request, cancel)
		return ctx, func() { stop(); cancel() }
	}
	return ctx, cancel
}

// Do sends one attempt, and returns its answer in whole. One that breaks off is an error, and as
// good a reason to try again as any.
func (a *attempts) Do(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	if end, ok := r.Context().Deadline(); ok {
		timer := time.AfterFunc(max(time.Until(end)/2, attemptTime), func() { cancel(errNoAnswer) })
		defer timer.Stop()
	}
	var lost *time.Timer
	begun := func() {
		if lost != nil {
			lost.Stop()
		}
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		begun() // of a connection that net/http has found dead
		if info.Reused {
			lost = time.AfterFunc(lostTime, func() {
				a.CloseIdleConnections() // which are as likely to be lost
				cancel(errNoAnswer)
			})
		}
	}})
	ctx = context.WithValue(ctx, requestKey{}, ctx)
	resp, err := a.transport.RoundTrip(r.WithContext(ctx))
	begun()
	if err == nil {
		var body []byte
		body, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(body))
	}
	if err != nil {
		if errors.Is(context.Cause(ctx), errNoAnswer) {
			err = errNoAnswer
		}
		return nil, err
	}
	return resp, nil
}

// CloseIdleConnections closes what is open and not in use.
func (a *attempts) CloseIdleConnections() { a.transport.CloseIdleConnections() }
