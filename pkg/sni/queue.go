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
	alone  bool // the request needs a connection over HTTP/2 to itself
}

func newTurn(alone bool) *turn { return &turn{make(chan struct{}, 1), alone} }

// lookAgain is after which time a request looks for room on connections over HTTP/2 although nobody calls it: net/http
// knows a little later than we do that a request has ended, and servers may come to allow more of them.
const lookAgain = 20 * time.Millisecond

// call has the request look again.
func (q *turn) call() {
	select {
	case q.called <- struct{}{}:
	default:
	}
}

// wait waits until it is the request's turn to look again, within the time that the way to a connection
// may take.
func (q *turn) wait(ctx context.Context, w way) error {
	var late <-chan time.Time
	if d := bound(w.t.DialTimeout, defaultDialTimeout); d > 0 {
		timer := time.NewTimer(time.Until(w.began.Add(d)))
		defer timer.Stop()
		late = timer.C
	}
	var again <-chan time.Time
	if w.offersHTTP2 {
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
		return w.limited(nil)
	case <-ctx.Done():
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			return w.limited(cause) // whatever time it was that ran out
		}
		return w.gaveUp(ctx)
	}
}

// limited returns the error of a request that has waited for too long; cause may be nil.
func (w way) limited(cause error) error {
	w.t.mu.Lock()
	err := fmt.Errorf("%w: %d", ErrConnLimit, w.pool.maxConns)
	w.t.mu.Unlock()
	if cause != nil {
		err = fmt.Errorf("%w; %w", err, cause)
	}
	return &Error{Type: ConnectionLimitReached, ServerName: w.key.serverName, Unprocessed: true, Err: err}
}

// isFirst reports whether nobody stands before the turn, which may be nil. t.mu is held.
func (p *pool) isFirst(mine *turn) bool { return len(p.queue) == 0 || p.queue[0] == mine }

// mayShare reports whether a request may take what connections have room for beside others although
// somebody stands before it: who waits for a connection of its own needs none of that. t.mu is held.
func (p *pool) mayShare(n need) bool { return !n.alone && p.queue[0].alone && len(p.shared) > 0 }

// wake calls the first in the queue: a connection may have become free, or room for one. Behind one who needs
// a connection of its own, it also calls the first who does not. t.mu is held.
func (p *pool) wake() {
	if len(p.queue) == 0 {
		return
	}
	p.queue[0].call()
	if p.queue[0].alone && len(p.shared) > 0 {
		if i := slices.IndexFunc(p.queue, func(q *turn) bool { return !q.alone }); i >= 0 {
			p.queue[i].call()
		}
	}
}

// maxConns returns how many connections a Target may have, and 0 if that is not bounded.
func (t *Transport) maxConns(target *Target) int {
	if target.MaxConns != 0 {
		return max(target.MaxConns, 0)
	}
	return max(t.MaxConnsPerTarget, 0)
}

// isOver reports whether there are more connections than there may be, since the bound was lowered. t.mu is held.
func (p *pool) isOver() bool { return p.maxConns > 0 && p.conns > p.maxConns }

// limit sets how many connections the pool may have; zero is no bound. What the newest request says,
// holds for those that wait, too. t.mu is held.
func (p *pool) limit(maxConns int) {
	if p.maxConns != maxConns {
		p.maxConns = maxConns
		p.wake()
	}
}

// leave takes a turn out of the queue, and calls the next.
func (w way) leave(q *turn) {
	if q == nil {
		return
	}
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	if i := slices.Index(w.pool.queue, q); i >= 0 {
		w.pool.queue = slices.Delete(w.pool.queue, i, i+1)
	}
	w.pool.wake()
}
