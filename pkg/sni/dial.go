package sni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sleightproxy/sleight/internal/http1"
)

// budget is how long the parts of a dial may take; zero is no bound.
type budget struct {
	connect, handshake time.Duration
	address            time.Duration // that one address gets at least, also if DialTimeout leaves less
}

// budget returns the timeouts of target, or those of the Transport that target leaves out.
func (t *Transport) budget(target *Target) budget {
	connect := bound(t.ConnectTimeout, DefaultConnectTimeout)
	handshake := bound(t.HandshakeTimeout, DefaultHandshakeTimeout)
	b := budget{connect: bound(target.ConnectTimeout, connect), handshake: bound(target.HandshakeTimeout, handshake)}
	if target.ConnectTimeout > connect || target.HandshakeTimeout > handshake {
		b.address = b.connect + b.handshake
	}
	return b
}

// dial makes a connection to the first address that accepts one, and puts it into the pool with the caller's request on it.
// It ends with the request's context: nothing may go on after a Lambda function has replied.
func (p *pool) dial(ctx context.Context, n need, x *Exchange) (lease, error) {
	request := ctx
	order := p.order()
	if d := bound(p.t.DialTimeout, defaultDialTimeout); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(d, time.Duration(len(order))*n.budget.address))
		defer cancel()
	}
	var failures []error
	for i, a := range order {
		began := time.Now()
		c, err := p.dialAddress(ctx, a, len(order)-i, n, x)
		if err == nil {
			a.reached()
			return c, nil
		}
		failures = append(failures, err)
		var certificate *CertificateError
		if errors.As(err, &certificate) {
			// Somebody answers under the customer's name with the wrong certificate. To try the next address would hide it.
			return lease{}, err
		}
		// Do not mark the address as failed if descriptors were lacking, or if the request was canceled or had less than
		// a second.
		if !errors.Is(err, ErrNoDescriptors) && (request.Err() == nil || time.Since(began) >= time.Second && !errors.Is(request.Err(), context.Canceled)) {
			a.failed()
		}
		if ctx.Err() != nil || errors.Is(err, ErrNoDescriptors) {
			break
		}
	}
	return lease{}, joinFailures(failures)
}

// joinFailures returns the first failure, which is that of the preferred address, with the others in its text.
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

// order returns the addresses in the order to try them: those that failed recently come last, and among these the one that
// failed longest ago comes first.
func (p *pool) order() []*address {
	d := bound(p.t.AvoidFailed, defaultAvoidFailed)
	if len(p.addresses) == 1 || d == 0 {
		return p.addresses
	}
	now := wallClock()
	type candidate struct {
		a      *address
		failed time.Time
	}
	candidates := make([]candidate, 0, len(p.addresses))
	for _, a := range p.addresses {
		candidates = append(candidates, candidate{a, a.failedWithin(d, now)})
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return a.failed.Compare(b.failed) })
	order := make([]*address, 0, len(candidates))
	for _, c := range candidates {
		order = append(order, c.a)
	}
	return order
}

// dialAddress connects to one address. left says how many addresses are left to try, this one included.
func (p *pool) dialAddress(ctx context.Context, a *address, left int, n need, x *Exchange) (lease, error) {
	fail := func(errorType ErrorType, err error) (lease, error) {
		return lease{}, &Error{Type: errorType, ServerName: p.key.serverName, Address: a.String(), Unprocessed: true, Err: err}
	}
	ctx, cancel := withShare(ctx, left, n.budget.address)
	defer cancel()
	began := time.Now()
	netConn, err := p.connect(ctx, a, n.budget.connect, x)
	switch {
	case lacksDescriptors(err):
		return fail(ProxyInternalError, fmt.Errorf("%w: %w", ErrNoDescriptors, err))
	case err != nil:
		return fail(connectErrorType(err), err)
	}
	now := wallClock()
	c := &conn{pool: p, raw: newRawConn(netConn), address: a, awaitingHeader: 1, announced: -1, idleAt: now, aliveAt: now}
	c.raw.awaitAcks(p.t.ackTimeout())
	var ready net.Conn = c.raw
	if p.tls != nil {
		begin := x.passed()
		tlsConn, state, err := p.handshake(ctx, c.raw, n.budget.handshake)
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
		if err := c.speakHTTP2(ctx); err != nil {
			netConn.Close()
			return fail(connectErrorType(err), err)
		}
		c.h2.alone = n.alone
	} else {
		s := &serial{conn: c}
		s.http = &http1.Conn{
			Conn: ready, Abort: func() { netConn.Close() }, MaxHeaderBytes: p.t.maxHeader(),
			ResponseTimeout: p.t.ResponseHeaderTimeout, Answered: s.begun, Done: s.ended,
		}
		c.protocol = s
	}
	p.t.mu.Lock()
	p.http1 = c.h2 == nil
	p.failure = nil
	if c.h2 != nil {
		c.h2.awaitingSettings = true
		c.h2.admitOthersAfter(time.Since(began))
	}
	p.t.conns.add(c)
	p.t.unlock()
	if c.h2 != nil {
		c.h2.http.SetStateHook(c.h2.changed)
	}
	return c.lease(false), nil
}

// connect makes a TCP connection to an address. If there is no file descriptor, it closes idle connections and tries again.
func (p *pool) connect(ctx context.Context, a *address, timeout time.Duration, x *Exchange) (net.Conn, error) {
	watched, dns := x.watchDNS(ctx)
	begin := x.passed()
	defer func() { x.connected(begin, dns) }()
	dialer := p.dialer
	dialer.Timeout = timeout
	c, err := dialer.DialContext(watched, "tcp", a.String())
	if lacksDescriptors(err) && p.t.freeDescriptors() {
		c, err = dialer.DialContext(watched, "tcp", a.String())
	}
	return c, err
}

// lacksDescriptors reports whether err is for want of file descriptors, of the process or of the system. A lookup in DNS
// has it only as text.
func lacksDescriptors(err error) bool {
	return err != nil && (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || strings.Contains(err.Error(), syscall.EMFILE.Error()))
}

// freeDescriptors closes some idle connections of any Target, those that were idle for the longest time, and reports
// whether there were any.
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
	t.unlock()
	for _, c := range closing {
		c.raw.Close() // without TLS's close_notify: the request would have to wait for it
	}
	return len(closing) > 0
}

// withShare bounds ctx by the share of its time that one of several addresses gets: equal parts, but at least two seconds,
// as net.Dialer does it for the addresses of one name, and at least what the Target grants to each.
func withShare(ctx context.Context, left int, granted time.Duration) (context.Context, context.CancelFunc) {
	least := max(2*time.Second, granted)
	end, ok := ctx.Deadline()
	if !ok || left < 2 {
		return ctx, func() {}
	}
	remaining := time.Until(end)
	return context.WithTimeout(ctx, min(remaining, max(remaining/time.Duration(left), least)))
}
