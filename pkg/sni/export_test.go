package sni

import "time"

// Held returns the numbers of things that a transport keeps: hosts with a Target, pools, connections, and idle connections.
func (t *Transport) Held() (hosts, pools, conns, idle int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.targets.order.Len(), len(t.targets.pools), t.conns.all.Len(), t.conns.idle
}

// Sweep runs the sweeper now.
func (t *Transport) Sweep() { t.sweep() }

// ConnectErrorType returns the type of a dialer's error.
var ConnectErrorType = connectErrorType

// Waiting returns the number of requests that wait for a connection because of a bound.
func (t *Transport) Waiting() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.targets.pools {
		n += len(p.queue)
	}
	return n
}

// SharingDial returns the number of requests that want the connection of a dial under way, the dialing request included.
func (t *Transport) SharingDial() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.targets.pools {
		if p.dialing != nil {
			n += p.dialing.size
		}
	}
	return n
}

// SetIdleFor makes all idle connections look as if their last response had come that long ago.
func (t *Transport) SetIdleFor(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.conns.all.Front(); e != nil; e = e.Next() {
		c := e.Value.(*conn)
		c.aliveAt = wallClock().Add(-d)
		c.idleAt = c.aliveAt
	}
}

// Counted returns the number of connections that count towards the bounds of Targets.
func (t *Transport) Counted() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.targets.pools {
		n += p.conns
	}
	return n
}
