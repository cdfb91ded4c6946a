package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// Cache is a Store that remembers what another one said. It is safe for concurrent
// use; its fields must not change after the first look-up.
//
// For each host at most one look-up is under way. It outlives the request that began it,
// since others may wait for it, but not its own timeout. Ages are measured by the
// wall clock: a sandbox that was frozen for an hour finds its entries an hour older.
type Cache struct {
	// Store answers what the cache cannot.
	Store Store

	// TTL is how long a route is used without asking again. Zero means 30 seconds; negative
	// means that the store is asked for every request.
	TTL time.Duration

	// NegativeTTL is how long it is remembered that a host has no route or an invalid one, and
	// how long a failed store is not asked again about a host whose last route is still
	// served. Zero means 5 seconds; negative means not at all.
	NegativeTTL time.Duration

	// MaxStale is for how long after its look-up a route is served while the store fails.
	// Zero means 24 hours; negative means not at all.
	MaxStale time.Duration

	// MaxHosts bounds how many hosts with a route of their own are remembered, and, each apart
	// from them, how many hosts under wildcards and how many without a route: strangers who try
	// names cannot displace routes. The least recently used is forgotten. Hosts under one
	// wildcard share its route in memory. Zero or less means 10,000.
	MaxHosts int

	// Timeout bounds one look-up. Zero or less means 5 seconds.
	Timeout time.Duration

	// Logger gets a warning when a route is served although the store fails. Nil means
	// slog.Default().
	Logger *slog.Logger

	once      sync.Once
	routes    *lru.Cache[string, entry]  // by host, of routes for that very host
	wild      *lru.Cache[string, entry]  // by host, of routes for a wildcard
	misses    *lru.Cache[string, miss]   // by host
	wildcards *lru.Cache[string, *Route] // by pattern: what the entries of wild share
	flights   singleflight.Group
}

var _ Store = (*Cache)(nil)

// entry is a route and when it was looked up. Times are by the wall clock.
type entry struct {
	route   *Route
	at      time.Time
	retryAt time.Time // where the store failed since: when to ask it again
}

type miss struct {
	err error
	at  time.Time
}

const (
	defaultTTL         = 30 * time.Second
	defaultNegativeTTL = 5 * time.Second
	defaultMaxStale    = 24 * time.Hour
	defaultMaxHosts    = 10_000
	defaultTimeout     = 5 * time.Second
)

// Lookup implements [Store].
func (c *Cache) Lookup(ctx context.Context, host string) (*Route, error) {
	c.once.Do(c.init)
	now := wallClock()
	if e, ok := c.known(host); ok && c.fresh(e, now) {
		return e.route, nil
	}
	if m, ok := c.misses.Get(host); ok && within(m.at, now, cmp.Or(c.NegativeTTL, defaultNegativeTTL)) {
		return nil, m.err
	}
	result := c.flights.DoChan(host, func() (any, error) { return c.refresh(context.WithoutCancel(ctx), host) })
	select {
	case r := <-result:
		route, _ := r.Val.(*Route)
		return route, r.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("origin: look-up of %q: %w", host, context.Cause(ctx))
	}
}

func (c *Cache) init() {
	size := c.MaxHosts
	if size <= 0 {
		size = defaultMaxHosts
	}
	// The only error is for a size that is not positive.
	c.routes, _ = lru.New[string, entry](size)
	c.wild, _ = lru.New[string, entry](size)
	c.misses, _ = lru.New[string, miss](size)
	c.wildcards, _ = lru.New[string, *Route](size)
}

// known returns what is remembered of a host with a route.
func (c *Cache) known(host string) (entry, bool) {
	if e, ok := c.routes.Get(host); ok {
		return e, true
	}
	return c.wild.Get(host)
}

// remember keeps what was found out about a host, and forgets what was known before.
func (c *Cache) remember(host string, e entry) {
	c.misses.Remove(host)
	if e.route.Host == host {
		c.wild.Remove(host)
		c.routes.Add(host, e)
		return
	}
	c.routes.Remove(host)
	if shared, ok := c.wildcards.Get(e.route.Host); ok && reflect.DeepEqual(shared, e.route) {
		e.route = shared
	} else {
		c.wildcards.Add(e.route.Host, e.route)
	}
	c.wild.Add(host, e)
}

// fresh reports whether e may be used without asking the store.
func (c *Cache) fresh(e entry, now time.Time) bool {
	if e.route.expired(now) {
		return false
	}
	return within(e.at, now, cmp.Or(c.TTL, defaultTTL)) || now.Before(e.retryAt) && c.servable(e, now)
}

// servable reports whether e may be used while the store fails.
func (c *Cache) servable(e entry, now time.Time) bool {
	return !e.route.expired(now) && within(e.at, now, cmp.Or(c.MaxStale, defaultMaxStale))
}

// refresh asks the store and remembers its answer.
func (c *Cache) refresh(ctx context.Context, host string) (*Route, error) {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	route, err := c.ask(ctx, host)
	now := wallClock() // the age begins when the answer is there
	var invalid *InvalidRouteError
	switch {
	case err == nil:
		c.remember(host, entry{route: route, at: now})
		return route, nil
	case errors.Is(err, ErrNotFound), errors.As(err, &invalid):
		c.routes.Remove(host)
		c.wild.Remove(host)
		c.misses.Add(host, miss{err, now})
		return nil, err
	}
	e, ok := c.known(host)
	if !ok || !c.servable(e, now) {
		return nil, fmt.Errorf("origin: look-up of %q: %w", host, err)
	}
	e.retryAt = now.Add(cmp.Or(c.NegativeTTL, defaultNegativeTTL))
	c.remember(host, e)
	c.logger().LogAttrs(ctx, slog.LevelWarn, "store failed, serving the last known route",
		slog.String("route", e.route.Host), slog.Duration("age", now.Sub(e.at)), slog.Any("error", err))
	return e.route, nil
}

// ask turns a panic of the store into an error: in the goroutine of the look-up it would
// end the process, and with it every other request.
func (c *Cache) ask(ctx context.Context, host string) (route *Route, err error) {
	defer func() {
		if v := recover(); v != nil {
			route, err = nil, fmt.Errorf("store panicked: %v", v)
		}
	}()
	return c.Store.Lookup(ctx, host)
}

func (c *Cache) logger() *slog.Logger {
	if c.Logger != nil {
		return c.Logger
	}
	return slog.Default()
}

// wallClock returns the time without its monotonic reading, which may stand still while
// a sandbox is frozen.
func wallClock() time.Time { return time.Now().Round(0) }

// within reports whether now is less than d after at, which it never is for a negative d. A
// clock that was set back makes everything too old rather than valid for longer.
func within(at, now time.Time, d time.Duration) bool {
	age := now.Sub(at)
	return age >= 0 && age < d
}
