package sni

import (
	"context"
	"net/http"
	"net/url"
)

// Connect makes a connection for requests to u, unless the pool has one, and sends nothing. DNS, TCP and TLS are then done
// before the request comes. Its errors are those of RoundTrip. A request that is not
// safe still gets a connection of its own if this one is older than UnsafeReuse.
func (t *Transport) Connect(ctx context.Context, u *url.URL) error {
	t.once.Do(t.init)
	req := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}).WithContext(ctx)
	p, budget, _, err := t.prepare(req, nil)
	if err != nil {
		return err
	}
	l, err := p.acquire(ctx, need{safe: true, budget: budget}, nil)
	if err != nil {
		return err
	}
	l.unused()
	return nil
}

// unused returns a conn that nothing was sent on to the pool. Over HTTP/2, it may not be known yet how many requests it
// takes: others wait for that as they do with any new connection.
func (c *conn) unused() {
	t := c.pool.t
	t.mu.Lock()
	defer t.unlock()
	c.awaitingHeader--
	c.busy = false
	c.update()
	c.pool.wake()
}
