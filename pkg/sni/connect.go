package sni

import "net/http"

// Connect makes ready a connection on which [Transport.RoundTrip] could send req, unless there is one,
// and sends nothing: DNS, TCP and TLS are then done before the request comes. Its errors are those of
// RoundTrip. A request that is not safe gets a connection of its own all the same where this one is older
// than UnsafeReuse.
func (t *Transport) Connect(req *http.Request) error {
	t.once.Do(t.init)
	way, _, err := t.prepare(req, nil)
	if err != nil {
		return err
	}
	l, err := way.acquire(req.Context(), need{safe: true}, nil)
	if err != nil {
		return err
	}
	l.unused()
	return nil
}

// unused gives a conn back on which nothing was sent. Over HTTP/2, how many requests it takes may not
// be known yet: those that come meanwhile wait for that as they do for any new connection.
func (c *conn) unused() {
	c.pool.t.mu.Lock()
	c.starting--
	c.busy = false
	closing := c.update()
	c.pool.wake()
	c.pool.t.mu.Unlock()
	closeAll(closing)
}
