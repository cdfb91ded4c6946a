package sni

import (
	"container/list"
	"slices"
	"time"
)

// connList has all connections of a Transport, the idle ones in order of use. It is guarded by
// the Transport's mutex.
type connList struct {
	all     list.List // of *conn; of the idle ones, the last used first
	idle    int
	sweeper *time.Timer
	sweepAt time.Time // zero where the sweeper is not set
}

// add takes in a new connection, which its first request is on.
func (l *connList) add(c *conn) {
	c.element = l.all.PushFront(c)
	if c.h2 != nil {
		c.pool.shared = append(c.pool.shared, c)
	}
	c.busy = c.h1 != nil
	l.sweepFor(c, c.idleAt)
}

// take lets a request have c.
func (l *connList) take(c *conn) {
	c.starting++
	c.busy = c.h1 != nil
	if !c.idle {
		return
	}
	c.idle = false
	l.idle--
	if c.h1 != nil {
		c.pool.idle = without(c.pool.idle, c)
	}
}

// put makes c idle, and returns connections to close where there are now too many.
func (l *connList) put(c *conn) (closing []*conn) {
	t, p := c.pool.t, c.pool
	c.idle = true
	l.idle++
	l.all.MoveToFront(c.element)
	if c.h1 != nil {
		p.idle = append(p.idle, c)
	}
	defer p.wake()
	oldest := func(most int, n int, in func(*conn) bool) {
		for e := l.all.Back(); e != nil && n > most; {
			old := e.Value.(*conn)
			e = e.Prev()
			if old.idle && in(old) {
				l.remove(old)
				closing = append(closing, old)
				n--
			}
		}
	}
	if n := p.idleConns(); n > positive(t.MaxIdleConnsPerTarget, defaultMaxIdlePerTarget) {
		oldest(positive(t.MaxIdleConnsPerTarget, defaultMaxIdlePerTarget), n, func(o *conn) bool { return o.pool == p })
	}
	oldest(positive(t.MaxIdleConns, defaultMaxIdleConns), l.idle, func(*conn) bool { return true })
	l.sweepFor(c, wallClock())
	return closing
}

// remove forgets c. Whoever calls it closes it, unless it is dead already.
func (l *connList) remove(c *conn) {
	if c.gone {
		return
	}
	c.gone = true
	if c.h2 != nil {
		c.h2.share()
	}
	l.all.Remove(c.element)
	if c.idle {
		c.idle = false
		l.idle--
		c.pool.idle = without(c.pool.idle, c)
	}
	if c.h2 != nil {
		c.pool.shared = without(c.pool.shared, c)
	}
	c.pool.conns--
	c.pool.wake()
}

// snapshot returns all connections, for loops in which some of them are removed.
func (l *connList) snapshot() []*conn {
	all := make([]*conn, 0, l.all.Len())
	for e := l.all.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*conn))
	}
	return all
}

// takeIdle removes those of the connections that are idle, for the caller to close. all is a
// copy, since connections are removed.
func (l *connList) takeIdle(all []*conn) (closing []*conn) {
	for _, c := range all {
		closing = append(closing, c.update()...)
		if c.idle {
			l.remove(c)
			closing = append(closing, c)
		}
	}
	return closing
}

// lookEvery is how often the idle connections over HTTP/1.1 are asked whether the origin has hung up.
// Until then their file descriptors are kept for nothing.
const lookEvery = 5 * time.Second

// sweepFor sets the sweeper so that c is looked at in time: when it has been idle for too long or may
// have been hung up on, or, if it is in use, every second. One timer serves all, and is left alone if it
// will ring earlier: setting one for each request would cost more than the sweep.
func (l *connList) sweepFor(c *conn, now time.Time) {
	if c.upgraded {
		return // for hours, and it tells of its end
	}
	var at time.Time
	switch {
	case !c.idle:
		at = now.Add(time.Second)
	case c.h1 != nil:
		at = now.Add(min(lookEvery, c.idleAt.Add(c.idleLimit()).Sub(now)))
	default:
		at = c.idleAt.Add(c.idleLimit())
	}
	if !l.sweepAt.IsZero() && !at.Before(l.sweepAt) {
		return
	}
	l.sweepAt = at
	d := max(at.Sub(now), time.Millisecond)
	if l.sweeper == nil {
		l.sweeper = time.AfterFunc(d, c.pool.t.sweep)
	} else {
		l.sweeper.Reset(d)
	}
}

// sweep closes connections that were unused for too long, or that the origin has hung up on.
func (t *Transport) sweep() {
	const some = 100 // are looked at before requests have their turn again
	t.mu.Lock()
	all := t.conns.snapshot()
	t.mu.Unlock()
	for part := range slices.Chunk(all, some) {
		now := wallClock()
		var closing []*conn
		t.mu.Lock()
		for _, c := range part {
			closing = append(closing, c.update()...)
			if c.idle && (c.expired(now) || c.h1 != nil && !c.alive()) {
				t.conns.remove(c)
				closing = append(closing, c)
			}
		}
		t.mu.Unlock()
		closeAll(closing)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := wallClock()
	t.conns.sweepAt = time.Time{}
	// As long as there is a connection, there is a next time: for one that is in use, in case
	// nobody tells of its end.
	for e := t.conns.all.Front(); e != nil; e = e.Next() {
		t.conns.sweepFor(e.Value.(*conn), now)
	}
}

// oldestIdle returns the idle connection of the pool that was not used for the longest time, and nil if
// there is none.
func (p *pool) oldestIdle() (oldest *conn) {
	for _, all := range [][]*conn{p.idle, p.shared} {
		for _, c := range all {
			if c.idle && (oldest == nil || c.idleAt.Before(oldest.idleAt)) {
				oldest = c
			}
		}
	}
	return oldest
}

// takeStale removes the connection that was idle for the longest time, if there is one that is
// not fit for a request that is not safe.
func (p *pool) takeStale() (closing []*conn) {
	if old := p.oldestIdle(); old != nil && !old.answeredLately(wallClock()) {
		p.t.conns.remove(old)
		closing = append(closing, old)
	}
	return closing
}

// idleConns counts the idle connections of the pool.
func (p *pool) idleConns() int {
	n := len(p.idle)
	for _, c := range p.shared {
		if c.idle {
			n++
		}
	}
	return n
}

func without(all []*conn, c *conn) []*conn {
	if i := slices.Index(all, c); i >= 0 {
		return slices.Delete(all, i, i+1)
	}
	return all
}
