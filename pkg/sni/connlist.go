package sni

import (
	"container/list"
	"slices"
	"time"
)

// connList has all connections of a Transport, the idle ones in order of use. It is guarded by the Transport's mutex.
type connList struct {
	all     list.List // of *conn; among the idle ones, the last used comes first
	idle    int       // how many are idle
	doomed  []*conn   // removed, for Transport.unlock to close
	sweeper *time.Timer
	sweepAt time.Time // zero if the sweeper is not set
}

// unlock releases t.mu and closes the connections that were removed while it was held. It does not wait: over TLS, closing
// takes seconds if the other side does not read.
func (t *Transport) unlock() {
	doomed := t.conns.doomed
	t.conns.doomed = nil
	t.mu.Unlock()
	if len(doomed) > 0 {
		go closeAll(doomed)
	}
}

// closeAll closes connections that are no longer in a pool. No mutex is held: closing may wait.
func closeAll(conns []*conn) {
	for _, c := range conns {
		c.protocol.close()
	}
}

// add takes in a new connection, which has its first request on it.
func (l *connList) add(c *conn) {
	c.element = l.all.PushFront(c)
	if c.h2 != nil {
		c.pool.http2Conns = append(c.pool.http2Conns, c)
	}
	c.begin()
	l.sweepFor(c, c.idleAt)
}

// begin notes that a request gets the conn. t.mu is held.
func (c *conn) begin() { c.busy = c.h2 == nil }

// take gives c to a request.
func (l *connList) take(c *conn) {
	c.awaitingHeader++
	c.begin()
	if !c.idle {
		return
	}
	c.idle = false
	l.idle--
	if c.h2 == nil {
		c.pool.idleHTTP1 = without(c.pool.idleHTTP1, c)
	}
}

// put makes c idle, and closes the oldest idle connections if there are too many now.
func (l *connList) put(c *conn) {
	t, p := c.pool.t, c.pool
	c.idle = true
	l.idle++
	l.all.MoveToFront(c.element)
	if c.h2 == nil {
		p.idleHTTP1 = append(p.idleHTTP1, c)
	}
	closeOldest := func(most int, n int, in func(*conn) bool) {
		for e := l.all.Back(); e != nil && n > most; {
			old := e.Value.(*conn)
			e = e.Prev()
			if old.idle && in(old) {
				l.close(old)
				n--
			}
		}
	}
	if most := positive(t.MaxIdleConnsPerTarget, defaultMaxIdlePerTarget); p.idleConns() > most {
		closeOldest(most, p.idleConns(), func(o *conn) bool { return o.pool == p })
	}
	closeOldest(positive(t.MaxIdleConns, defaultMaxIdleConns), l.idle, func(*conn) bool { return true })
	l.sweepFor(c, wallClock())
	p.wake()
}

// close removes c, and has it closed once the Transport's mutex is released by unlock.
func (l *connList) close(c *conn) {
	if !c.removed {
		l.remove(c)
		l.doomed = append(l.doomed, c)
	}
}

// remove forgets c, which is dead, or which the caller closes.
func (l *connList) remove(c *conn) {
	if c.removed {
		return
	}
	c.removed = true
	if c.h2 != nil {
		c.h2.admitOthers()
		c.pool.http2Conns = without(c.pool.http2Conns, c)
	}
	l.all.Remove(c.element)
	if c.idle {
		c.idle = false
		l.idle--
		c.pool.idleHTTP1 = without(c.pool.idleHTTP1, c)
	}
	c.pool.conns--
	c.pool.wake()
}

// snapshot returns all connections, for loops that remove some of them.
func (l *connList) snapshot() []*conn {
	all := make([]*conn, 0, l.all.Len())
	for e := l.all.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*conn))
	}
	return all
}

// closeIdle closes those of the connections that are idle. all is a copy, since connections are removed.
func (l *connList) closeIdle(all []*conn) {
	for _, c := range all {
		c.update()
		if c.idle {
			l.close(c)
		}
	}
}

// askEvery is how often the idle connections over HTTP/1.1 are asked whether the origin has closed them. Until then, their
// file descriptors are used for nothing.
const askEvery = 5 * time.Second

// sweepFor sets the sweeper so that it looks at c in time: when c has been idle for too long or the origin may have closed
// it, and every second if c is in use. All connections share one timer. It is left alone if it fires earlier: setting it for
// each request would cost more than the sweep.
func (l *connList) sweepFor(c *conn, now time.Time) {
	if c.upgraded {
		return // for hours, and it tells when it ends
	}
	var at time.Time
	switch {
	case !c.idle:
		at = now.Add(time.Second)
	case c.h2 == nil:
		at = now.Add(min(askEvery, c.idleAt.Add(c.idleLimit()).Sub(now)))
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

// sweep closes connections that were idle for too long, or that the origin has closed.
func (t *Transport) sweep() {
	const some = 100 // connections, before requests get the mutex again
	t.mu.Lock()
	all := t.conns.snapshot()
	t.unlock()
	for part := range slices.Chunk(all, some) {
		now := wallClock()
		t.mu.Lock()
		for _, c := range part {
			c.update()
			if c.idle && (c.expired(now) || !c.protocol.alive()) {
				t.conns.close(c)
			}
		}
		t.unlock()
	}
	t.mu.Lock()
	defer t.unlock()
	now := wallClock()
	t.conns.sweepAt = time.Time{}
	// As long as there is a connection, there is a next sweep: for one that is in use, in case nobody tells of its end.
	for e := t.conns.all.Front(); e != nil; e = e.Next() {
		t.conns.sweepFor(e.Value.(*conn), now)
	}
}

// oldestIdle returns the connection of the pool that has been idle for the longest time, and nil if no connection is idle.
func (p *pool) oldestIdle() (oldest *conn) {
	for _, all := range [][]*conn{p.idleHTTP1, p.http2Conns} {
		for _, c := range all {
			if c.idle && (oldest == nil || c.idleAt.Before(oldest.idleAt)) {
				oldest = c
			}
		}
	}
	return oldest
}

// idleConns returns how many connections of the pool are idle.
func (p *pool) idleConns() int {
	n := len(p.idleHTTP1)
	for _, c := range p.http2Conns {
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
