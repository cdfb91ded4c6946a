package origin

import (
	"context"
	"fmt"
	"time"
)

// flight is a lookup under way. Several requests may wait for it, or none if it refreshes a route that is still served.
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
	refresh bool // goes on although no request waits
	probe   bool // finds out whether a store that failed answers again
	cut     bool // canceled by Join after JoinWait
}

// lookUpUnknown looks up a host without a route that could be served.
func (c *Cache) lookUpUnknown(ctx context.Context, host string) (*Route, error) {
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
		return nil, fmt.Errorf("origin: lookup of %q: %w", host, context.Cause(ctx))
	}
}

// lookUpStale looks up a host whose known route e is too old to be used without a lookup, and returns e if the lookup takes
// too long or fails.
func (c *Cache) lookUpStale(ctx context.Context, host string, e entry, now moment) (*Route, error) {
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
		return nil, fmt.Errorf("origin: lookup of %q: %w", host, context.Cause(ctx))
	}
	if !c.servable(e, wallClock()) {
		return c.lookUpUnknown(ctx, host)
	}
	c.mu.Lock()
	c.health.served++
	c.mu.Unlock()
	return e.route, nil
}

// start begins a lookup. The mutex is held.
func (c *Cache) start(ctx context.Context, host string) *flight {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	// The lookup keeps the values of the request, such as its ID for the log, but not its deadline.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	f := &flight{host: host, began: wallClock(), cancel: cancel, done: make(chan struct{})}
	c.flights[host] = f
	c.running[f] = struct{}{}
	go c.run(ctx, f)
	return f
}

// run asks the store, and remembers its answer.
func (c *Cache) run(ctx context.Context, f *flight) {
	route, err := c.ask(ctx, f.host)
	f.cancel()
	now := wallClock() // the age begins with the answer
	var toLog *logEntry
	answered := isAnswer(err)

	c.mu.Lock()
	current := c.flights[f.host] == f // otherwise it was canceled, and a newer one may have begun
	switch {
	case answered:
		toLog = c.health.answered(now)
	case current || f.cut:
		if f.cut {
			err = fmt.Errorf("no answer within %v, before the request was over: %w", now.since(f.began).Round(time.Millisecond), err)
		}
		c.health.failed(now, f.probe)
		toLog = c.health.failureEntry(now, err)
	case f.probe:
		c.health.probeAborted(now)
	}
	if current {
		delete(c.flights, f.host)
		switch {
		case err == nil:
			c.remember(f.host, route, now)
		case answered:
			c.forget(f.host, err, now)
		default:
			err = fmt.Errorf("origin: lookup of %q: %w", f.host, err)
			if e, ok := c.known(f.host); !ok || !c.servable(e, now) {
				c.failures.Add(f.host, miss{err, now})
			}
		}
	}
	f.route, f.err = route, err
	delete(c.running, f)
	close(f.done)
	c.mu.Unlock()
	c.log(ctx, toLog)
}

// leave notes that a request waits no longer. The lookup ends if it was for that request alone.
func (c *Cache) leave(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiters--; f.waiters == 0 && !f.refresh {
		c.drop(f)
	}
}

// drop cancels a lookup. No further request can wait for it. The mutex is held.
func (c *Cache) drop(f *flight) {
	if c.flights[f.host] == f {
		delete(c.flights, f.host)
	}
	f.cancel()
}

// slow notes that the store has not answered a request within StaleWait. The lookup goes on, and logs its error when it ends.
func (c *Cache) slow(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health.failed(wallClock(), f.probe)
	f.probe = false // its result is known
}

// Begin notes the start of a request that will call [Cache.Join].
func (c *Cache) Begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active++
}

// Join ends a request of [Cache.Begin]. When it returns, no lookup is running, unless another request is. It waits for
// lookups that refresh a route, and then cancels them. It waits for at most JoinWait, for at most StaleWait since the lookup
// began, and not beyond the end of ctx. A lookup that another request waits for goes on.
func (c *Cache) Join(ctx context.Context) {
	c.once.Do(c.init)
	c.mu.Lock()
	c.active--
	flights, wait := c.leftBehind(), c.health.maxWait(c.joinWait, max(c.joinWait, c.staleWait))
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
		f.cut = wallClock().since(f.began) >= c.joinWait // and not by the end of ctx
		c.drop(f)
	}
	c.mu.Unlock()
	// A store that ignores the end of its context must not delay the response forever.
	end = wallClock().add(defaultJoinWait)
	for _, f := range flights {
		await(context.WithoutCancel(ctx), f, end)
	}
}

// leftBehind returns the lookups that no request waits for, if no request is under way. The mutex is held.
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

// await waits for a lookup to end.
func await(ctx context.Context, f *flight, until moment) {
	timer := time.NewTimer(until.since(wallClock()))
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
	case <-ctx.Done():
	}
}
