package sni

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sleightproxy/sleight/internal/http1"
)

// A way is a pool as one request may dial for it.
type way struct {
	*pool
	budget
	began time.Time // the search for a connection
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
func (w way) dial(ctx context.Context, n need, x *Exchange) (lease, error) {
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
		c, err := w.dialAddress(ctx, a, len(order)-i, n, x)
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
		// Of a request that had no time, or was given up, the address is not to blame, nor for our want.
		if !errors.Is(err, ErrNoDescriptors) && (request.Err() == nil || time.Since(began) >= time.Second && !errors.Is(request.Err(), context.Canceled)) {
			a.failed()
		}
		if ctx.Err() != nil || errors.Is(err, ErrNoDescriptors) {
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
func (w way) dialAddress(ctx context.Context, a *address, left int, n need, x *Exchange) (lease, error) {
	p := w.pool
	fail := func(errorType ErrorType, err error) (lease, error) {
		return lease{}, &Error{Type: errorType, ServerName: p.key.serverName, Address: a.String(), Unprocessed: true, Err: err}
	}
	ctx, cancel := withShare(ctx, left, w.address)
	defer cancel()
	began := time.Now()
	watched, dns := x.watchDNS(ctx)
	begin := x.passed()
	dialer := p.dialer
	dialer.Timeout = w.connect
	netConn, err := dialer.DialContext(watched, "tcp", a.String())
	if lacksDescriptors(err) {
		if !p.t.freeDescriptors() {
			return fail(ProxyInternalError, fmt.Errorf("%w: %w", ErrNoDescriptors, err))
		}
		netConn, err = dialer.DialContext(watched, "tcp", a.String())
	}
	x.connected(begin, dns)
	switch {
	case lacksDescriptors(err):
		return fail(ProxyInternalError, fmt.Errorf("%w: %w", ErrNoDescriptors, err))
	case err != nil:
		return fail(connectErrorType(err), err)
	}
	now := wallClock()
	c := &conn{pool: p, raw: newRawConn(netConn), address: a, starting: 1, announced: -1, idleAt: now, aliveAt: now}
	c.raw.awaitAcks(p.t.ackTimeout())
	var ready net.Conn = c.raw
	if p.tls != nil {
		begin := x.passed()
		tlsConn, state, err := w.handshake(ctx, c.raw)
		x.shook(begin)
		if err != nil {
			netConn.Close()
			failed := &Error{ServerName: p.key.serverName, Address: a.String(), Unprocessed: true}
			failed.setHandshake(err)
			return lease{}, failed
		}
		ready, c.secure, c.tls = tlsConn, tlsConn, state
	}
	if c.tls != nil && c.tls.NegotiatedProtocol == "h2" {
		if err := w.speakHTTP2(ctx, c); err != nil {
			netConn.Close()
			return fail(connectErrorType(err), err)
		}
		c.h2.alone = n.alone
	} else {
		c.h1 = &http1.Conn{
			Conn: ready, Abort: func() { netConn.Close() }, MaxHeaderBytes: p.t.maxHeader(),
			ResponseTimeout: p.t.ResponseHeaderTimeout, Answered: c.begun, Done: c.ended,
		}
	}
	p.t.mu.Lock()
	p.http1 = c.h1 != nil
	p.failure = nil
	if c.h2 != nil {
		c.h2.unknown = true
		c.h2.shareBy(time.Since(began))
	}
	p.t.conns.add(c)
	p.t.mu.Unlock()
	if c.h2 != nil {
		c.h2.http.SetStateHook(c.h2.changed)
	}
	return c.lease(false), nil
}

// speakHTTP2 hands a connection over to net/http.
func (w way) speakHTTP2(ctx context.Context, c *conn) error {
	c.raw.handed = true
	// net/http begins to write at once, without regard for the context (golang/go#79253).
	stop := context.AfterFunc(ctx, func() { c.raw.Close() })
	resets := newResetWriter(c.secure, c.spend)
	lengths := newLengthReader(resets, resets.ended)
	client, err := w.t.base.NewClientConn(context.WithValue(context.Background(), handOverKey{}, net.Conn(lengths)), w.key.scheme, "origin:443")
	if !stop() { // the failure, if there is one, is of that
		if err == nil {
			client.Close()
		}
		err = context.Cause(ctx)
	}
	c.h2 = &multiplex{conn: c, http: client, lengths: lengths, writer: resets}
	return err
}

// lacksDescriptors reports whether err is for want of file descriptors, of the process or of the system.
// Of a look-up in DNS there is only the text.
func lacksDescriptors(err error) bool {
	return err != nil && (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || strings.Contains(err.Error(), syscall.EMFILE.Error()))
}

// freeDescriptors closes some idle connections of any Target, those that were unused for the longest
// time, and reports whether there were any.
func (t *Transport) freeDescriptors() bool {
	const some = 16
	var closing []*conn
	t.mu.Lock()
	for e := t.conns.all.Back(); e != nil && len(closing) < some; {
		c := e.Value.(*conn)
		if e = e.Prev(); c.idle {
			t.conns.remove(c)
			closing = append(closing, c)
		}
	}
	t.mu.Unlock()
	for _, c := range closing {
		c.raw.Close() // without TLS's last word, for which a request would have to wait
	}
	return len(closing) > 0
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
