package sni

import (
	"context"
	"errors"
	"slices"
	"time"
)

// need is what a request wants of a connection.
type need struct {
	safe   bool // it may be repeated, and so any connection will do
	fresh  bool // a new connection, not one of the pool
	alone  bool // over HTTP/2: a connection without other requests
	budget budget
}

// acquire returns a connection of the pool for one request: an existing one if the request may go out on it, otherwise a new
// one. The request has to go out on it, or the caller calls unused.
func (p *pool) acquire(ctx context.Context, n need, x *Exchange) (lease, error) {
	began := time.Now() // a repeated request has the whole time again
	var turn *turn      // in the queue, if the request waits there
	defer func() { p.leave(turn) }()
	for {
		step := p.next(n, &turn)
		switch {
		case step.conn != nil:
			if step.wasIdle && !step.conn.protocol.alive() {
				p.discard(step.conn)
				continue
			}
			l := step.conn.lease(true)
			l.observe(ctx, x)
			return l, nil
		case step.dials:
			p.leave(turn)
			turn = nil
			return p.dialFor(ctx, step.group, n, x)
		case step.group != nil:
			select {
			case <-step.group.done:
				if step.group.err != nil {
					return lease{}, step.group.err
				}
			case <-ctx.Done():
				return lease{}, p.endedEarly(ctx)
			}
		default:
			if err := turn.wait(ctx, p, began); err != nil {
				return lease{}, err
			}
		}
	}
}

// endedEarly returns the error of a request whose context has ended before it got a connection.
func (p *pool) endedEarly(ctx context.Context) error {
	return &Error{Type: ConnectionTimeout, ServerName: p.key.serverName, Unprocessed: true, Err: context.Cause(ctx)}
}

// A step is what a request does next to get a connection. The zero step is to wait for its turn in the queue.
type step struct {
	conn    *conn      // it has this one
	wasIdle bool       // conn was idle
	dials   bool       // it dials, for itself and for those who wait on group
	group   *dialGroup // it waits for the dial of another request, unless dials is set
}

// next decides what a request does next. mine is its turn in the queue, which next sets if the request has to wait.
func (p *pool) next(n need, mine **turn) step {
	t := p.t
	t.mu.Lock()
	defer t.unlock()
	full, first := p.full(), p.isFirst(*mine)
	if !n.fresh && (first || p.mayShare(n)) {
		if c := p.pick(n, full); c != nil {
			wasIdle := c.idle
			t.conns.take(c)
			return step{conn: c, wasIdle: wasIdle}
		}
		full = p.full() // pick may have removed some
	}
	if first && full {
		if old := p.oldestIdle(); old != nil { // this request cannot use it
			t.conns.close(old)
			full = p.full()
		} else if n.alone {
			p.retireOneShared()
		}
	}
	if p.maxConns > 0 && (full || !first) {
		if *mine == nil {
			*mine = newTurn(n.alone)
			p.queue = append(p.queue, *mine)
		}
		return step{}
	}
	// If the origin speaks HTTP/2, or nobody knows yet, one request dials for some: a hundred requests at once must not make
	// a hundred handshakes for the ten connections that they need.
	switch {
	case n.fresh || n.alone || p.http1 || p.key.scheme == "http":
		p.conns++
		return step{dials: true}
	case p.dialing != nil && p.dialing.size < maxWaiting:
		p.dialing.size++
		return step{group: p.dialing}
	}
	p.dialing = &dialGroup{done: make(chan struct{}), size: 1}
	p.conns++
	return step{dials: true, group: p.dialing}
}

// full reports whether there are as many connections as there may be. t.mu is held.
func (p *pool) full() bool { return p.maxConns > 0 && p.conns >= p.maxConns }

// retireOneShared retires one of the connections that requests share, to make room for a request that needs a connection of
// its own. It leaves the last one, for the other requests. t.mu is held.
func (p *pool) retireOneShared() {
	var least *conn
	n := 0
	for _, c := range p.http2Conns {
		switch {
		case c.h2.alone || c.removed:
			continue
		case c.retired && c.h2.openBodies == 0:
			return // there will be room soon
		case c.retired:
			continue
		}
		// A body may go on for hours.
		if n++; least == nil || c.h2.openBodies < least.h2.openBodies || c.h2.openBodies == least.h2.openBodies && c.awaitingHeader < least.awaitingHeader {
			least = c
		}
	}
	if n > 1 {
		least.retired = true
	}
}

// pick returns a connection for a request, or nil, and closes those that it finds expired. crowded says that no other
// connection may be made. t.mu is held.
func (p *pool) pick(n need, crowded bool) *conn {
	t, now := p.t, wallClock()
	for _, c := range slices.Backward(slices.Clone(p.http2Conns)) {
		if !c.idle {
			c.update()
		}
		switch {
		case c.removed, c.retired:
		case c.idle && (c.expired(now) || c.h2.http.Available() == 0): // the latter if it is dead, or got a GOAWAY
			t.conns.close(c)
		case c.h2.takes(n.alone, crowded, now) && (n.safe || c.answeredLately(now)):
			return c
		}
	}
	for len(p.idleHTTP1) > 0 {
		c := p.idleHTTP1[len(p.idleHTTP1)-1]
		switch {
		case c.expired(now):
			t.conns.close(c)
		case n.safe || c.answeredLately(now):
			return c
		default: // the others were used longer ago
			return nil
		}
	}
	return nil
}

// discard closes a connection that a request has taken and does not use.
func (p *pool) discard(c *conn) {
	p.t.mu.Lock()
	defer p.t.unlock()
	p.t.conns.close(c)
}

// again returns the HTTP/2 connection that has refused a request, for the request to wait on it until there is room. It
// returns false if that is of no use, and for a nil c. A server tells how many requests it takes at once only when the first
// are on their way, and refuses the others; net/http knows the number by then.
func (t *Transport) again(c *conn) (lease, bool) {
	if c == nil {
		return lease{}, false
	}
	t.mu.Lock()
	defer t.unlock()
	if c.removed || c.retired || c.pool.retired {
		return lease{}, false
	}
	t.conns.take(c)
	return c.lease(true), true
}

// dialFor makes a new connection for a request, and for those who wait on group, which may be nil. The connection counts
// in p.conns already.
func (p *pool) dialFor(ctx context.Context, group *dialGroup, n need, x *Exchange) (l lease, err error) {
	defer func() { p.finishDial(ctx, group, l.conn, err) }() // also if a hook of the caller panics
	if err := p.recentFailure(); err != nil {
		return lease{}, err
	}
	if l, err = p.dial(ctx, n, x); err != nil {
		return lease{}, err
	}
	if !n.safe {
		p.closeStale()
	}
	l.observe(ctx, x)
	return l, nil
}

// closeStale closes the idle connection that a request which is not safe has passed over for a new one. Otherwise a POST a
// second would leave one behind each time.
func (p *pool) closeStale() {
	p.t.mu.Lock()
	defer p.t.unlock()
	if old := p.oldestIdle(); old != nil && !old.answeredLately(wallClock()) {
		p.t.conns.close(old)
	}
}

// A dialGroup is the requests that wait for one dial.
type dialGroup struct {
	done chan struct{}
	size int   // how many requests want the connection, the one that dials included
	err  error // once done; nil also if the dial failed for a reason of the dialing request alone
}

// finishDial ends a dial with the connection or the error that it has led to.
func (p *pool) finishDial(ctx context.Context, group *dialGroup, c *conn, err error) {
	p.t.mu.Lock()
	defer p.t.unlock()
	if c == nil {
		p.conns--
		p.wake()
	}
	if end, ok := ctx.Deadline(); ctx.Err() != nil || ok && !time.Now().Before(end) {
		err = nil // the origin has not caused it
	}
	p.remember(err)
	switch {
	case group == nil:
	case c != nil && c.h2 != nil && c.h2.awaitingSettings:
		c.h2.group = group // until it is known how many requests it takes
	default:
		group.err = err
		group.end(p)
	}
}

// end lets the waiting requests go on. p.t.mu is held.
func (g *dialGroup) end(p *pool) {
	if p.dialing == g {
		p.dialing = nil
	}
	close(g.done)
}

// remember keeps the failure of a handshake: for a moment, other requests have the same error. p.t.mu is held.
func (p *pool) remember(err error) {
	if e, ok := errors.AsType[*Error](err); ok && e != p.failure {
		switch e.Type {
		case TLSCertificateError, TLSAlertReceived, TLSProtocolError:
			p.failure, p.failureAt = e, wallClock()
		}
	}
}

// recentFailure returns the failure of a recent handshake, and nil if there was none: a client that asks again and again must
// not make the origin shake hands each time.
func (p *pool) recentFailure() error {
	d := bound(p.t.RememberFailure, defaultRememberFailure)
	if d == 0 {
		return nil
	}
	p.t.mu.Lock()
	defer p.t.unlock()
	if p.failure == nil {
		return nil
	}
	if age := wallClock().Sub(p.failureAt); age < 0 || age >= d {
		p.failure = nil
		return nil
	}
	return p.failure
}
