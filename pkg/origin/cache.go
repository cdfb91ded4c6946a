package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Cache is a Store that remembers what another one said. It is safe for concurrent
// use; its fields must not change after the first look-up.
//
// A route younger than its TTL is used. For as long again it still is, while it is looked up
// anew beside the request that found it. Past that the request waits for the look-up, for
// StaleWait at most, then goes on with the old route. Only a request for a host of which
// nothing is known has to wait for longer, and fails where the store does.
//
// Where the store fails, the routes that are known are served without asking, until one request
// finds out, beside its own work, whether the store answers again: after about a second, then
// twice that, up to every half minute. What is wrong is logged once a minute, whatever the
// number of requests and hosts, and once when it is over. Hosts of which nothing is known always
// ask, each once a second at most.
//
// For each host at most one look-up is under way. Those that nobody waits for and that refresh
// nothing are cancelled. Where nothing may run on between requests, as in Lambda, each request
// calls [Cache.Begin] and [Cache.Join]. Ages are measured by the wall clock: a sandbox that was
// frozen for an hour finds its entries an hour older.
type Cache struct {
	// Store answers what the cache cannot.
	Store Store

	// TTL is how long a route is used without asking again, less up to a tenth, so that hosts
	// and sandboxes do not ask in step. Zero means 30 seconds; negative means that the store is
	// asked for every request.
	TTL time.Duration

	// NegativeTTL is how long it is remembered that a host has no route or an invalid one.
	// Zero means 5 seconds; negative means not at all.
	NegativeTTL time.Duration

	// MaxStale is for how long after its look-up a route may be served that could not be
	// looked up anew, be it that the store fails or that it has not answered yet. Zero means
	// 24 hours; negative means not at all: beyond the TTL, requests wait for the store.
	MaxStale time.Duration

	// MaxHosts bounds how many hosts with a route of their own are remembered, and, each apart
	// from them, how many hosts under wildcards and how many without a route: strangers who try
	// names cannot displace routes. The least recently used is forgotten; of hosts under wildcards,
	// under which any name has a route, one that was asked for once goes before those that were
	// again, unless these are more than three quarters. Hosts under one wildcard share its route in
	// memory. Zero or less means 10,000.
	MaxHosts int

	// Timeout bounds one look-up. Zero or less means 5 seconds.
	Timeout time.Duration

	// StaleWait is how long a request waits for the look-up of a route that is older than
	// two TTLs, before it goes on with the old one. Zero means a second; negative means not
	// at all.
	StaleWait time.Duration

	// JoinWait is how long Join waits for what is under way. A store that has not answered
	// by then counts as failing; the next time it has twice as long, up to StaleWait, since
	// a slow store is not a dead one. Zero means 250 milliseconds; negative means not at all.
	JoinWait time.Duration

	// Logger gets a warning each minute while the store fails, and word when it answers again.
	// Nil means slog.Default().
	Logger *slog.Logger

	once sync.Once
	ttl  time.Duration // of Cache.TTL, defaults applied; so are the next four
	negativeTTL,
	maxStale,
	staleWait,
	joinWait time.Duration

	routes    *lru.Cache[string, entry]         // by host, of routes for that very host
	wild      *lru.TwoQueueCache[string, entry] // by host, of routes for a wildcard
	misses    *lru.Cache[string, miss]          // by host
	failures  *lru.Cache[string, miss]          // by host of which nothing is known: why not
	wildcards *lru.Cache[string, *Route]        // by pattern: what the entries of wild share

	mu      sync.Mutex
	flights map[string]*flight   // by host: what whoever asks for it may share
	running map[*flight]struct{} // those, and the cancelled that have not ended
	active  int                  // requests that have begun and not joined
	health  health
}

var _ Store = (*Cache)(nil)

// entry is a route and when it was looked up.
type entry struct {
	route *Route
	at    moment
	fresh time.Duration // for how long it is used unasked
}

// miss is why there is no route.
type miss struct {
	err error
	at  moment
}

// What a zero TTL, MaxStale and MaxHosts of a [Cache] stand for.
const (
	DefaultTTL      = 30 * time.Second
	DefaultMaxStale = 24 * time.Hour
	DefaultMaxHosts = 10_000
)

const (
	defaultNegativeTTL = 5 * time.Second
	defaultTimeout     = 5 * time.Second
	defaultStaleWait   = time.Second
	defaultJoinWait    = 250 * time.Millisecond

	// failureTTL is how long a host of which nothing is known is not asked for again after the
	// store has failed to tell: a busy one would otherwise hold each request for the timeout.
	failureTTL = time.Second

	// maxFailures is for how many hosts that is remembered: the busy ones, and not all that strangers
	// ask for, since the errors of the SDK hold the request and its answer, 8 KB and more.
	maxFailures = 100
)

// Lookup implements [Store].
func (c *Cache) Lookup(ctx context.Context, host string) (*Route, error) {
	c.once.Do(c.init)
	now := wallClock()
	e, known := c.known(host)
	if known && within(e.at, now, e.fresh) {
		return e.route, nil
	}
	if m, ok := c.misses.Get(host); ok && within(m.at, now, c.negativeTTL) {
		return nil, m.err
	}
	if m, ok := c.failures.Get(host); ok && within(m.at, now, failureTTL) {
		return nil, m.err
	}
	if known && c.servable(e, now) {
		return c.old(ctx, host, e, now)
	}
	return c.cold(ctx, host)
}

func (c *Cache) init() {
	c.ttl = cmp.Or(c.TTL, DefaultTTL)
	c.negativeTTL = cmp.Or(c.NegativeTTL, defaultNegativeTTL)
	c.maxStale = cmp.Or(c.MaxStale, DefaultMaxStale)
	c.staleWait = max(0, cmp.Or(c.StaleWait, defaultStaleWait))
	c.joinWait = max(0, cmp.Or(c.JoinWait, defaultJoinWait))
	size := c.MaxHosts
	if size <= 0 {
		size = DefaultMaxHosts
	}
	// The only error is for a size that is not positive.
	c.routes, _ = lru.New[string, entry](size)
	c.wild, _ = lru.New2Q[string, entry](max(size, 2)) // which cannot be made smaller
	c.misses, _ = lru.New[string, miss](size)
	c.failures, _ = lru.New[string, miss](maxFailures)
	c.wildcards, _ = lru.New[string, *Route](size)
	c.flights, c.running = map[string]*flight{}, map[*flight]struct{}{}
}

// known returns what is remembered of a host with a route.
func (c *Cache) known(host string) (entry, bool) {
	if e, ok := c.routes.Get(host); ok {
		return e, true
	}
	return c.wild.Get(host)
}

// servable reports whether e, which is not fresh any more, may still be used.
func (c *Cache) servable(e entry, now moment) bool {
	return within(e.at, now, c.maxStale) && !e.route.expired(now.time())
}

// remember keeps the route that was found for a host, and forgets what was known before.
func (c *Cache) remember(host string, route *Route, now moment) {
	e := entry{route: route, at: now, fresh: c.ttl}
	if c.ttl > 0 {
		e.fresh -= rand.N(c.ttl/10 + 1)
	}
	if !route.ExpiresAt.IsZero() {
		e.fresh = min(e.fresh, route.ExpiresAt.Sub(now.time()))
	}
	c.misses.Remove(host)
	c.failures.Remove(host)
	if route.Host == host {
		c.wild.Remove(host)
		c.routes.Add(host, e)
		return
	}
	c.routes.Remove(host)
	if shared, ok := c.wildcards.Get(route.Host); ok && reflect.DeepEqual(shared, route) {
		e.route = shared
	} else {
		c.wildcards.Add(route.Host, route)
	}
	c.wild.Add(host, e)
}

// forget keeps that a host has no route, and none that was known before.
func (c *Cache) forget(host string, err error, now moment) {
	c.routes.Remove(host)
	c.wild.Remove(host)
	c.failures.Remove(host)
	c.misses.Add(host, miss{err, now})
}

// ask turns a panic of the store into an error, and an answer that is none: in the goroutine of
// the look-up they would end the process, and with it every other request.
func (c *Cache) ask(ctx context.Context, host string) (route *Route, err error) {
	defer func() {
		if v := recover(); v != nil {
			route, err = nil, fmt.Errorf("store panicked: %v", v)
		}
	}()
	if route, err = c.Store.Lookup(ctx, host); route == nil && err == nil {
		err = errors.New("store returned neither a route nor an error")
	}
	return route, err
}

func (c *Cache) logger() *slog.Logger {
	if c.Logger != nil {
		return c.Logger
	}
	return slog.Default()
}

// moment is a time by the wall clock, in nanoseconds since 1970: the monotonic clock may stand
// still while a sandbox is frozen.
type moment int64

func wallClock() moment { return moment(time.Now().UnixNano()) }

func (m moment) time() time.Time { return time.Unix(0, int64(m)) }

func (m moment) add(d time.Duration) moment { return m + moment(d) }

func (m moment) since(earlier moment) time.Duration { return time.Duration(m - earlier) }

// within reports whether now is less than d after at, which it never is for a negative d. A
// clock that was set back makes everything too old rather than valid for longer.
func within(at, now moment, d time.Duration) bool {
	age := now.since(at)
	return age >= 0 && age < d
}
