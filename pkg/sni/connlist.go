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
	if c.http2 {
		c.pool.shared = append(c.pool.shared, c)
	}
	l.sweepFor(c, c.idleAt)
}

// take lets a request have c, and reports whether it was idle.
func (l *connList) take(c *conn) (wasIdle bool) {
	c.starting++
	if !c.idle {
		return false
	}
	c.idle = false
	l.idle--
	if !c.http2 {
		c.pool.idle = without(c.pool.idle, c)
	}
	return true
}

// put makes c idle, and returns connections to close where there are now too many.
func (l *connList) put(c *conn) (closing []*conn) {
	t, p := c.pool.t, c.pool
	c.idle = true
	l.idle++
	l.all.MoveToFront(c.element)
	if !c.http2 {
		p.idle = append(p.idle, c)
	}
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
	c.share()
	l.all.Remove(c.element)
	if c.idle {
		c.idle = false
		l.idle--
		c.pool.idle = without(c.pool.idle, c)
	}
	if c.http2 {
		c.pool.shared = without(c.pool.shared, c)
	}
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

// sweepFor sets the sweeper so that c is looked at in time: when it has been idle for too long,
// or, where it is in use, every second. One timer serves all, and is left alone where it will ring
// earlier: setting one for each request would cost more than the sweep.
func (l *connList) sweepFor(c *conn, now time.Time) {
	if c.upgraded {
		return // for hours, and it tells of its end
	}
	at := c.idleAt.Add(c.idleLimit())
	if !c.idle {
		at = now.Add(time.Second)
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

// sweep closes connections that were unused for too long.
func (t *Transport) sweep() {
	now := wallClock()
	t.mu.Lock()
	t.conns.sweepAt = time.Time{}
	var closing []*conn
	for _, c := range t.conns.snapshot() {
		closing = append(closing, c.update()...)
		if c.idle && c.expired(now) {
			t.conns.remove(c)
			closing = append(closing, c)
		}
	}
	// As long as there is a connection, there is a next time: for one that is in use, in case
	// nobody tells of its end.
	for e := t.conns.all.Front(); e != nil; e = e.Next() {
		t.conns.sweepFor(e.Value.(*conn), now)
	}
	t.mu.Unlock()
	closeAll(closing)
}

// takeStale removes the connection that was idle for the longest time, if there is one that is
// not fit for a request that is not safe.
func (p *pool) takeStale() (closing []*conn) {
	now := wallClock()
	var stale *conn
	for _, all := range [][]*conn{p.idle, p.shared} {
		for _, c := range all {
			if c.idle && !c.answeredLately(now) && (stale == nil || c.idleAt.Before(stale.idleAt)) {
				stale = c
			}
		}
	}
	if stale != nil {
		p.t.conns.remove(stale)
		closing = append(closing, stale)
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
