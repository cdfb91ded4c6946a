package origin

import (
	"context"
	"fmt"
	"time"
)

// flight is a look-up under way. Several requests may wait for it, or none, where it refreshes
// a route that is still served.
type flight struct {
	host   string
	began  moment
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended

	// Set before done is closed.
	route *Route
	err   error

	// Guarded by the cache's mutex.
	waiters int
	refresh bool // goes on although nobody waits
	probe   bool // finds out whether a store that failed answers again
	cut     bool // cancelled by Join, after it had its time
}

// cold looks up a host of which nothing is known that could be served.
func (c *Cache) cold(ctx context.Context, host string) (*Route, error) {
	c.mu.Lock()
	f := c.flights[host]
	if f == nil {
		f = c.start(ctx, host)
		_, f.probe = c.health.mayAsk(f.began)
	}
	f.waiters++
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.route, f.err
	case <-ctx.Done():
		c.leave(f)
		return nil, fmt.Errorf("origin: look-up of %q: %w", host, context.Cause(ctx))
	}
}

// old decides what becomes of a request whose route is too old to be used unasked.
func (c *Cache) old(ctx context.Context, host string, e entry, now moment) (*Route, error) {
	c.mu.Lock()
	f := c.flights[host]
	if f == nil {
		ask, probe := c.health.mayAsk(now)
		if !ask {
			c.health.served++
			c.mu.Unlock()
			return e.route, nil
		}
		f = c.start(ctx, host)
		f.probe = probe
	}
	f.refresh = true
	if within(e.at, now, 2*c.ttl) || c.health.failedLately(now) || c.staleWait == 0 {
		if c.health.failing {
			c.health.served++
		}
		c.mu.Unlock()
		return e.route, nil
	}
	f.waiters++
	c.mu.Unlock()

	timer := time.NewTimer(c.staleWait)
	defer timer.Stop()
	select {
	case <-f.done:
		if isAnswer(f.err) || !c.servable(e, wallClock()) {
			return f.route, f.err
		}
	case <-timer.C:
		c.leave(f)
		c.slow(f)
	case <-ctx.Done():
		c.leave(f)
		return nil, fmt.Errorf("origin: look-up of %q: %w", host, context.Cause(ctx))
	}
	if !c.servable(e, wallClock()) {
		return c.cold(ctx, host)
	}
	c.mu.Lock()
	c.health.served++
	c.mu.Unlock()
	return e.route, nil
}

// start begins a look-up. The mutex is held.
func (c *Cache) start(ctx context.Context, host string) *flight {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	// It keeps what belongs to the request, such as its number for the log, but not its end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	f := &flight{host: host, began: wallClock(), cancel: cancel, done: make(chan struct{})}
	c.flights[host] = f
	c.running[f] = struct{}{}
	go c.fly(ctx, f)
	return f
}

// fly asks the store, and remembers its answer.
func (c *Cache) fly(ctx context.Context, f *flight) {
	route, err := c.ask(ctx, f.host)
	f.cancel()
	now := wallClock() // the age begins when the answer is there
	var say *line
	answered := isAnswer(err)

	c.mu.Lock()
	current := c.flights[f.host] == f // else it was cancelled, and a newer one may have begun
	switch {
	case answered:
		say = c.health.answered(now)
	case current || f.cut:
		if f.cut {
			err = fmt.Errorf("no answer within %v, before the request was over: %w", now.since(f.began).Round(time.Millisecond), err)
		}
		c.health.failed(now, f.probe)
		say = c.health.tell(now, err)
	case f.probe:
		c.health.untold(now)
	}
	if current {
		delete(c.flights, f.host)
		switch {
		case err == nil:
			c.remember(f.host, route, now)
		case answered:
			c.forget(f.host, err, now)
		default:
			err = fmt.Errorf("origin: look-up of %q: %w", f.host, err)
			if e, ok := c.known(f.host); !ok || !c.servable(e, now) {
				c.failures.Add(f.host, miss{err, now})
			}
		}
	}
	f.route, f.err = route, err
	delete(c.running, f)
	close(f.done)
	c.mu.Unlock()
	c.say(ctx, say)
}

// leave is for a request that does not wait any more. A look-up that was for it alone ends.
func (c *Cache) leave(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiters--; f.waiters == 0 && !f.refresh {
		c.drop(f)
	}
}

// drop cancels a look-up, which nobody can come to wait for any more. The mutex is held.
func (c *Cache) drop(f *flight) {
	if c.flights[f.host] == f {
		delete(c.flights, f.host)
	}
	f.cancel()
}

// slow notes that the store has not answered a request that waited for as long as it would. The
// look-up goes on, and says why once it has ended.
func (c *Cache) slow(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health.failed(wallClock(), f.probe)
	f.probe = false // it has told
}

// Begin notes a request that will call Join.
func (c *Cache) Begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active++
}

// Join ends a request of [Cache.Begin]. When it returns, no look-up is under way, unless other
// requests are: it waits for those that refresh a route, for JoinWait at most, for a second in all
// since they began (StaleWait) and not beyond the end of ctx, and then cancels them. What others
// wait for goes on.
func (c *Cache) Join(ctx context.Context) {
	c.once.Do(c.init)
	c.mu.Lock()
	c.active--
	flights, wait := c.leftBehind(), c.health.patience(c.joinWait, max(c.joinWait, c.staleWait))
	c.mu.Unlock()
	if len(flights) == 0 {
		return
	}
	end := wallClock().add(wait)
	for _, f := range flights {
		await(ctx, f, min(end, f.began.add(max(c.staleWait, c.joinWait))))
	}
	c.mu.Lock()
	flights = c.leftBehind()
	for _, f := range flights {
		f.cut = wallClock().since(f.began) >= c.joinWait // rather than by the end of ctx
		c.drop(f)
	}
	c.mu.Unlock()
	// A store that does not end with its context must not keep the answer back for good.
	end = wallClock().add(defaultJoinWait)
	for _, f := range flights {
		await(context.WithoutCancel(ctx), f, end)
	}
}

// leftBehind returns what is under way although no request is. The mutex is held.
func (c *Cache) leftBehind() (flights []*flight) {
	if c.active > 0 {
		return nil
	}
	for f := range c.running {
		if f.waiters == 0 {
			flights = append(flights, f)
		}
	}
	return flights
}

// await waits for a look-up to end.
func await(ctx context.Context, f *flight, until moment) {
	timer := time.NewTimer(until.since(wallClock()))
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
	case <-ctx.Done():
	}
}
