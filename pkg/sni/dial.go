package sni

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"slices"
	"time"
)

// A way is a pool as one request may dial for it.
type way struct {
	*pool
	budget
}

// budget is how long the parts of a dialling may take; zero is no bound.
type budget struct {
	connect, handshake time.Duration
	address            time.Duration // what one address gets, whatever DialTimeout leaves it
}

// budget returns what target has of its own, and the Transport's for the rest.
func (t *Transport) budget(target *Target) budget {
	connect := bound(t.ConnectTimeout, DefaultConnectTimeout)
	handshake := bound(t.HandshakeTimeout, DefaultHandshakeTimeout)
	b := budget{connect: bound(target.ConnectTimeout, connect), handshake: bound(target.HandshakeTimeout, handshake)}
	if target.ConnectTimeout > connect || target.HandshakeTimeout > handshake {
		b.address = b.connect + b.handshake
	}
	return b
}

// dial makes a connection to the first of the addresses that takes one, and puts it into the
// pool, with the caller's request on it. It ends with the request's context: nothing may go
// on after a Lambda function has replied.
func (w way) dial(ctx context.Context, x *Exchange) (lease, error) {
	request := ctx
	order := w.order()
	if d := bound(w.t.DialTimeout, defaultDialTimeout); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(d, time.Duration(len(order))*w.address))
		defer cancel()
	}
	var failures []error
	for i, a := range order {
		began := time.Now()
		c, err := w.dialAddress(ctx, a, len(order)-i, x)
		if err == nil {
			a.reached()
			return c, nil
		}
		failures = append(failures, err)
		var certificate *CertificateError
		if errors.As(err, &certificate) {
			// Who answers under the customer's name with the wrong certificate is a finding; trying
			// on would hide it.
			return lease{}, err
		}
		// Of a request that had no time, or was given up, the address is not to blame.
		if request.Err() == nil || time.Since(began) >= time.Second && !errors.Is(request.Err(), context.Canceled) {
			a.failed()
		}
		if ctx.Err() != nil {
			break
		}
	}
	return lease{}, joinFailures(failures)
}

// joinFailures returns the first failure, which is that of the preferred address, and what
// the others came to in its text.
func joinFailures(failures []error) error {
	var first *Error
	if !errors.As(failures[0], &first) || len(failures) == 1 {
		return failures[0]
	}
	joined := *first
	for _, err := range failures[1:] {
		joined.Err = fmt.Errorf("%w; then %w", joined.Err, err)
	}
	return &joined
}

// order returns the addresses in the order in which to try them: those that failed
// lately come last, the one that failed longest ago first.
func (p *pool) order() []*address {
	d := bound(p.t.AvoidFailed, defaultAvoidFailed)
	if len(p.addresses) == 1 || d == 0 {
		return p.addresses
	}
	now := wallClock()
	type turn struct {
		a      *address
		failed time.Time
	}
	turns := make([]turn, 0, len(p.addresses))
	for _, a := range p.addresses {
		turns = append(turns, turn{a, a.failedWithin(d, now)})
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return a.failed.Compare(b.failed) })
	order := make([]*address, 0, len(turns))
	for _, t := range turns {
		order = append(order, t.a)
	}
	return order
}

// dialAddress connects to one address, with left addresses to go, this one included.
func (w way) dialAddress(ctx context.Context, a *address, left int, x *Exchange) (lease, error) {
	p := w.pool
	fail := func(errorType ErrorType, err error) (lease, error) {
		return lease{}, &Error{Type: errorType, ServerName: p.key.serverName, Address: a.String(), Err: err}
	}
	ctx, cancel := withShare(ctx, left, w.address)
	defer cancel()
	began := time.Now()
	watched, dns := x.watchDNS(ctx)
	begin := x.passed()
	dialer := p.dialer
	dialer.Timeout = w.connect
	netConn, err := dialer.DialContext(watched, "tcp", a.String())
	x.connected(begin, dns)
	if err != nil {
		return fail(connectErrorType(err), err)
	}
	now := wallClock()
	c := &conn{pool: p, raw: newRawConn(netConn), address: a, starting: 1, announced: -1, idleAt: now, aliveAt: now}
	var ready net.Conn = c.raw
	if p.tls != nil {
		begin := x.passed()
		tlsConn, state, err := w.handshake(ctx, c.raw)
		x.shook(begin)
		if err != nil {
			netConn.Close()
			failed := &Error{ServerName: p.key.serverName, Address: a.String()}
			failed.setHandshake(err)
			return lease{}, failed
		}
		ready, c.secure, c.tls, c.http2 = tlsConn, tlsConn, state, state.NegotiatedProtocol == "h2"
	}
	c.raw.handed = true
	// Over HTTP/2, net/http begins to write at once, without regard for the context (golang/go#79253).
	stop := context.AfterFunc(ctx, func() { netConn.Close() })
	c.http, err = p.t.base.NewClientConn(context.WithValue(context.Background(), handOverKey{}, ready), p.key.scheme, "origin:443")
	if !stop() && err == nil {
		c.http.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		netConn.Close()
		return fail(connectErrorType(err), err)
	}
	p.t.mu.Lock()
	p.http1 = !c.http2
	if c.unknown = c.http2; c.unknown {
		c.shareBy(time.Since(began))
	}
	p.t.conns.add(c)
	p.t.mu.Unlock()
	c.http.SetStateHook(c.changed)
	return lease{c, false, c.raw.written.Load()}, nil
}

func (w way) handshake(ctx context.Context, raw net.Conn) (*tls.Conn, *tls.ConnectionState, error) {
	if w.budget.handshake > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.budget.handshake)
		defer cancel()
	}
	hooks := httptrace.ContextClientTrace(ctx)
	if hooks != nil && hooks.TLSHandshakeStart != nil {
		hooks.TLSHandshakeStart()
	}
	c := tls.Client(raw, w.tls)
	err := c.HandshakeContext(ctx)
	state := c.ConnectionState()
	if err == nil && state.NegotiatedProtocol == "" && !w.wantsHTTP1 {
		err = errors.New("the origin does not speak h2, the one protocol of the target")
	}
	if hooks != nil && hooks.TLSHandshakeDone != nil {
		hooks.TLSHandshakeDone(state, err)
	}
	return c, &state, err
}

// withShare bounds ctx by the share of its time that one of several addresses gets: equal
// parts, but at least two seconds, as net.Dialer does it for the addresses of one name, and what the
// Target grants each.
func withShare(ctx context.Context, left int, granted time.Duration) (context.Context, context.CancelFunc) {
	least := max(2*time.Second, granted)
	end, ok := ctx.Deadline()
	if !ok || left < 2 {
		return ctx, func() {}
	}
	remaining := time.Until(end)
	return context.WithTimeout(ctx, min(remaining, max(remaining/time.Duration(left), least)))
}

// handOver is the dialler of the http.Transport: the connection is there already.
func handOver(ctx context.Context, _, _ string) (net.Conn, error) {
	c, ok := ctx.Value(handOverKey{}).(net.Conn)
	if !ok {
		return nil, errors.New("no connection was handed over")
	}
	return c, nil
}

type handOverKey struct{}
