package sni

import (
	"context"
	"errors"
	"slices"
	"time"
)

// need is what a request wants of a connection.
type need struct {
	safe  bool // it may be repeated, and so any connection will do
	fresh bool // no connection of before
	alone bool // over HTTP/2, no other request may be on it
}

// acquire returns a connection of the pool for one request: one of before that may carry
// it, else a new one. The request has to go out on it.
func (w way) acquire(ctx context.Context, n need, x *Exchange) (lease, error) {
	w.began = time.Now() // of a request that is repeated, the time of the attempt before does not count
	var turn *turn       // in the queue, if there is one
	defer func() { w.leave(turn) }()
	for {
		step := w.next(n, &turn)
		switch {
		case step.conn != nil:
			if step.wasIdle && step.conn.h1 != nil && !step.conn.alive() {
				w.discard(step.conn)
				continue
			}
			l := step.conn.lease(true)
			l.observe(ctx, x)
			return l, nil
		case step.dials:
			w.leave(turn)
			turn = nil
			return w.dialFor(ctx, step.flight, n, x)
		case step.flight != nil:
			select {
			case <-step.flight.done:
				if step.flight.err != nil {
					return lease{}, step.flight.err
				}
			case <-ctx.Done():
				return lease{}, w.gaveUp(ctx)
			}
		default:
			if err := turn.wait(ctx, w); err != nil {
				return lease{}, err
			}
		}
	}
}

// gaveUp returns the error of a request that has not got a connection before its context ended.
func (w way) gaveUp(ctx context.Context) error {
	return &Error{Type: ConnectionTimeout, ServerName: w.key.serverName, Unprocessed: true, Err: context.Cause(ctx)}
}

// A step is what a request does next on its way to a connection.
type step struct {
	conn    *conn   // it has this one; or
	wasIdle bool    // that nobody used
	dials   bool    // it makes one itself; or
	flight  *flight // it waits for another's, or leads one if it dials; or none of these: for its turn
}

// next decides what a request does next. With turn it stands in the queue, or is put there.
func (w way) next(n need, mine **turn) step {
	t, p := w.t, w.pool
	t.mu.Lock()
	var closing []*conn
	defer func() { t.mu.Unlock(); closeAll(closing) }()
	full, first := p.full(), p.isFirst(*mine)
	if !n.fresh && (first || p.mayShare(n)) {
		var s step
		if s.conn, s.wasIdle, closing = p.pick(n, full); s.conn != nil {
			return s
		}
		full = p.full() // some may have turned out to be dead
	}
	if first && full {
		if old := p.oldestIdle(); old != nil { // which is no good for this request
			t.conns.remove(old)
			closing = append(closing, old)
			full = p.full()
		} else if n.alone {
			p.giveUpShared()
		}
	}
	if p.maxConns > 0 && (full || !first) {
		if *mine == nil {
			*mine = newTurn(n.alone)
			p.queue = append(p.queue, *mine)
		}
		return step{}
	}
	// If the origin speaks HTTP/2, or nobody knows yet what it speaks, one dials for some: a hundred
	// requests at once must not make a hundred handshakes for the ten connections that they need.
	switch {
	case n.fresh || n.alone || p.http1 || p.key.scheme == "http":
		p.conns++
		return step{dials: true}
	case p.dialing != nil && p.dialing.passengers < maxWaiting:
		p.dialing.passengers++
		return step{flight: p.dialing}
	}
	p.dialing = &flight{done: make(chan struct{}), passengers: 1}
	p.conns++
	return step{dials: true, flight: p.dialing}
}

// full reports whether there are as many connections as there may be. t.mu is held.
func (p *pool) full() bool { return p.maxConns > 0 && p.conns >= p.maxConns }

// giveUpShared keeps further requests from one of the connections that are shared, so that its place becomes
// free for a request that needs a connection of its own. The last one stays: other requests go on meanwhile.
// t.mu is held.
func (p *pool) giveUpShared() {
	var least *conn
	n := 0
	for _, c := range p.shared {
		switch {
		case c.h2.alone || c.gone:
			continue
		case c.retired && c.h2.reading == 0:
			return // its place will be free
		case c.retired:
			continue
		}
		// Answers that are being read may go on for hours.
		if n++; least == nil || c.h2.reading < least.h2.reading || c.h2.reading == least.h2.reading && c.starting < least.starting {
			least = c
		}
	}
	if n > 1 {
		least.retired = true
	}
}

// pick chooses a connection, and returns those that are to be closed. crowded says that no other may
// be made. t.mu is held.
func (p *pool) pick(n need, crowded bool) (c *conn, wasIdle bool, closing []*conn) {
	t, now := p.t, wallClock()
	take := func(c *conn) bool {
		wasIdle = c.idle
		t.conns.take(c)
		return wasIdle
	}
	for _, c := range slices.Backward(slices.Clone(p.shared)) {
		if !c.idle {
			closing = append(closing, c.update()...)
		}
		switch {
		case c.gone, c.retired:
		case c.idle && (c.expired(now) || c.h2.http.Available() == 0): // or it is dead, or was told to go away
			t.conns.remove(c)
			closing = append(closing, c)
		case c.h2.takes(n.alone, crowded, now) && (n.safe || c.answeredLately(now)):
			return c, take(c), closing
		}
	}
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		switch {
		case c.expired(now):
			t.conns.remove(c)
			closing = append(closing, c)
		case n.safe || c.answeredLately(now):
			return c, take(c), closing
		default: // and those before it were used longer ago
			return nil, false, closing
		}
	}
	return nil, false, closing
}

// discard forgets and closes a connection that was taken, and carries nothing.
func (w way) discard(c *conn) {
	w.t.mu.Lock()
	w.t.conns.remove(c)
	w.t.mu.Unlock()
	closeAll([]*conn{c})
}

// queue returns the HTTP/2 connection that has refused a request, for the request to wait on until
// there is room, and false if that is of no use. Servers tell how many requests they take at
// once only when the first are on their way, and refuse the others; net/http has learned it by then.
func (t *Transport) queue(c *conn) (lease, bool) {
	if c == nil {
		return lease{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.gone || c.retired || c.pool.retired {
		return lease{}, false
	}
	t.conns.take(c)
	return c.lease(true), true
}

// dialFor makes a new connection for a request, and for those who wait on f, which may be nil. Its
// place among the connections of the pool is taken already.
func (w way) dialFor(ctx context.Context, f *flight, n need, x *Exchange) (l lease, err error) {
	defer func() { w.land(ctx, f, l.conn, err) }() // whatever a hook of the caller's does
	if err := w.failedLately(); err != nil {
		return lease{}, err
	}
	if l, err = w.dial(ctx, n, x); err != nil {
		return lease{}, err
	}
	if !n.safe {
		w.displace()
	}
	l.observe(ctx, x)
	return l, nil
}

// displace closes a connection that was passed over for a request that is not safe, in favour of the
// new one. Otherwise a POST a second would leave one behind each time.
func (p *pool) displace() {
	p.t.mu.Lock()
	closing := p.takeStale()
	p.t.mu.Unlock()
	closeAll(closing)
}

// flight is a dialling that others wait for.
type flight struct {
	done       chan struct{}
	passengers int   // who hope for its connection, the one who dials included
	err        error // once done; nil also if it failed for reasons that are none of the others'
}

// land ends a dialling with the connection or the error that came of it.
func (w way) land(ctx context.Context, f *flight, c *conn, err error) {
	p := w.pool
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	if c == nil {
		p.conns--
		p.wake()
	}
	if end, ok := ctx.Deadline(); ctx.Err() != nil || ok && !time.Now().Before(end) {
		err = nil // it was no fault of the origin
	}
	p.remember(err)
	switch {
	case f == nil:
	case c != nil && c.h2 != nil && c.h2.unknown:
		c.h2.waiting = f // until it is known how many requests it takes
	default:
		f.err = err
		f.end(p)
	}
}

// end lets those go on who wait. p.t.mu is held.
func (f *flight) end(p *pool) {
	if p.dialing == f {
		p.dialing = nil
	}
	close(f.done)
}

// remember keeps the failure of a handshake: for a moment, other requests have the same. p.t.mu is held.
func (p *pool) remember(err error) {
	if e, ok := errors.AsType[*Error](err); ok && e != p.failure {
		switch e.Type {
		case TLSCertificateError, TLSAlertReceived, TLSProtocolError:
			p.failure, p.failureAt = e, wallClock()
		}
	}
}

// failedLately returns the failure of a handshake that was lately, and nil if there was none: a
// client that asks again and again must not have the origin shake hands each time.
func (w way) failedLately() error {
	d := bound(w.t.RememberFailure, defaultRememberFailure)
	if d == 0 {
		return nil
	}
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	if w.failure == nil {
		return nil
	}
	if age := wallClock().Sub(w.failureAt); age < 0 || age >= d {
		w.pool.failure = nil
		return nil
	}
	return w.failure
}
