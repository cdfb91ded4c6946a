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

// attempts is the SDK's HTTP client. An attempt does not use up the time of a lookup, so that there is time for another one,
// and it leaves nothing running.
type attempts struct {
	transport *http.Transport
}

const (
	// attemptTime is the least time of an attempt. An attempt gets more if the lookup has more.
	attemptTime = time.Second

	// lostTime is how long a response may take to begin on a connection that was idle. A gateway may have
	// dropped its flow without a sign. It leaves a request that waits for a second the time for another attempt.
	lostTime = 500 * time.Millisecond

	// connectTime bounds the TCP handshake. A lost packet gives no sign.
	connectTime = time.Second

	// handshakeTime bounds the TLS handshake for requests without a deadline.
	handshakeTime = 10 * time.Second
)

var errNoAnswer = errors.New("no answer in time")

// newAttempts returns a client with the settings of t, which it changes.
func newAttempts(t *http.Transport) *attempts {
	// Shorter than the idle timeouts of AWS and its gateways, and by the wall clock: a connection that died
	// while a sandbox was frozen is not used. Longer than ROUTES_TTL, so that a refresh finds a connection.
	t.IdleConnTimeout = 50 * time.Second
	// Over HTTP/1.1 a lost connection ends with its request. Over HTTP/2 the next attempt would use it again.
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

// withRequest returns the context of a dial, which ends with the request that the dial is for, and after limit. net/http would
// finish the dial for a later request. In Lambda that would be work after the response.
func withRequest(ctx context.Context, limit time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	if request, ok := ctx.Value(requestKey{}).(context.Context); ok {
		stop := context.AfterFunc(request, cancel)
		return ctx, func() { stop(); cancel() }
	}
	return ctx, cancel
}

// Do makes one attempt, and returns its response with the whole body. A response that breaks off is an error, so that it is
// retried too.
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
		begun() // the connection before was dead
		if info.Reused {
			lost = time.AfterFunc(lostTime, func() {
				a.CloseIdleConnections() // they may be lost too
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

// CloseIdleConnections closes the connections that are not in use.
func (a *attempts) CloseIdleConnections() { a.transport.CloseIdleConnections() }
