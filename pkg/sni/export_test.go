package sni

// Held counts what a transport holds on to: hosts with a Target, pools, connections, and those of
// them that are idle.
func (t *Transport) Held() (hosts, pools, conns, idle int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.targets.order.Len(), len(t.targets.pools), t.conns.all.Len(), t.conns.idle
}

// Sweep does what the sweeper does in time.
func (t *Transport) Sweep() { t.sweep() }

// ConnectErrorType is the type of an error of the dialler's.
var ConnectErrorType = connectErrorType

// Waiting counts the requests that wait for one of the connections that their Target may have.
func (t *Transport) Waiting() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.targets.pools {
		n += len(p.queue)
	}
	return n
}

// Counted is how many connections count towards the bounds of Targets.
func (t *Transport) Counted() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.targets.pools {
		n += p.conns
	}
	return n
}
