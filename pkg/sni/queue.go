package sni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A turn is a request's place in the queue for one of the connections that a Target may have.
type turn struct {
	called chan struct{}
	alone  bool // the request needs an HTTP/2 connection of its own
}

func newTurn(alone bool) *turn { return &turn{make(chan struct{}, 1), alone} }

// lookAgain is how often a request looks for room on HTTP/2 connections although nobody calls it: net/http learns a little
// later than we do that a request has ended, and a server may allow more of them later.
const lookAgain = 20 * time.Millisecond

// call has the request look again.
func (q *turn) call() {
	select {
	case q.called <- struct{}{}:
	default:
	}
}

// wait waits until the request has to look again. It fails once the request has looked for a connection for DialTimeout,
// counted from began.
func (q *turn) wait(ctx context.Context, p *pool, began time.Time) error {
	var late <-chan time.Time
	if d := bound(p.t.DialTimeout, defaultDialTimeout); d > 0 {
		timer := time.NewTimer(time.Until(began.Add(d)))
		defer timer.Stop()
		late = timer.C
	}
	var again <-chan time.Time
	if p.offersHTTP2 {
		timer := time.NewTimer(lookAgain)
		defer timer.Stop()
		again = timer.C
	}
	select {
	case <-q.called:
		return nil
	case <-again:
		return nil
	case <-late:
		return p.limitError(nil)
	case <-ctx.Done():
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			return p.limitError(cause) // a timeout
		}
		return p.endedEarly(ctx)
	}
}

// limitError returns the error of a request that has waited for too long. cause may be nil.
func (p *pool) limitError(cause error) error {
	p.t.mu.Lock()
	err := fmt.Errorf("%w: %d", ErrConnLimit, p.maxConns)
	p.t.unlock()
	if cause != nil {
		err = fmt.Errorf("%w; %w", err, cause)
	}
	return &Error{Type: ConnectionLimitReached, ServerName: p.key.serverName, Unprocessed: true, Err: err}
}

// isFirst reports whether no other request comes before the turn, which may be nil. t.mu is held.
func (p *pool) isFirst(mine *turn) bool { return len(p.queue) == 0 || p.queue[0] == mine }

// mayShare reports whether a request may share a connection although another one comes before it: that one waits for a
// connection of its own, and could not use the room. t.mu is held.
func (p *pool) mayShare(n need) bool { return !n.alone && p.queue[0].alone && len(p.http2Conns) > 0 }

// wake calls the first in the queue: a connection may have become free, or there is room for one. If that request needs a
// connection of its own, wake also calls the first one that does not. t.mu is held.
func (p *pool) wake() {
	if len(p.queue) == 0 {
		return
	}
	p.queue[0].call()
	if p.queue[0].alone && len(p.http2Conns) > 0 {
		if i := slices.IndexFunc(p.queue, func(q *turn) bool { return !q.alone }); i >= 0 {
			p.queue[i].call()
		}
	}
}

// maxConns returns how many connections a Target may have, and 0 if there is no bound.
func (t *Transport) maxConns(target *Target) int {
	if target.MaxConns != 0 {
		return max(target.MaxConns, 0)
	}
	return max(t.MaxConnsPerTarget, 0)
}

// isOver reports whether there are more connections than there may be, because the bound was lowered. t.mu is held.
func (p *pool) isOver() bool { return p.maxConns > 0 && p.conns > p.maxConns }

// limit sets how many connections the pool may have; zero is no bound. The bound of the newest request holds also for those
// that wait. t.mu is held.
func (p *pool) limit(maxConns int) {
	if p.maxConns != maxConns {
		p.maxConns = maxConns
		p.wake()
	}
}

// leave takes a turn out of the queue, and calls the next. q may be nil.
func (p *pool) leave(q *turn) {
	if q == nil {
		return
	}
	p.t.mu.Lock()
	defer p.t.unlock()
	if i := slices.Index(p.queue, q); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
	}
	p.wake()
}
