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

// Cache is a Store that remembers the answers of another Store. It is safe for concurrent use. Its fields must not change
// after the first lookup.
//
// A route younger than its TTL is used. A route of up to two TTLs is used too, and is looked up in the background. A request
// for an older route waits for the lookup, for StaleWait at most, and then goes on with the old route. Only a request for an
// unknown host waits longer, and fails if the store fails.
//
// While the store fails, known routes are served without a lookup. One request probes the store in the background: after
// about a second, then after twice that, up to every half minute. For all requests and hosts together, the failure is
// logged once a minute, and its end once. Unknown hosts are always looked up, each once a second at most.
//
// There is at most one lookup for each host at a time. A lookup that no request waits for, and that refreshes no route, is
// canceled. If nothing may run between requests, as in Lambda, each request calls [Cache.Begin] and [Cache.Join]. Ages are
// measured by the wall clock: the entries of a sandbox that was frozen for an hour are an hour older.
type Cache struct {
	// Store is asked for what the cache does not know.
	Store Store

	// TTL is how long a route is used without a lookup, less up to a tenth at random, so that hosts
	// and sandboxes do not ask in step. Zero means 30 seconds. Negative means a lookup for every request.
	TTL time.Duration

	// NegativeTTL is how long the cache remembers that a host has no route or an invalid one.
	// Zero means 5 seconds. Negative means not at all.
	NegativeTTL time.Duration

	// MaxStale is how long after its lookup a route may be served that could not be refreshed,
	// because the store failed or has not answered. Zero means 24 hours. Negative means not at all:
	// beyond the TTL, requests wait for the store.
	MaxStale time.Duration

	// MaxHosts bounds each of three sets of hosts: those with their own route, those under a wildcard,
	// and those without a route. The sets are separate, so that strangers who try names cannot displace
	// routes. The least recently used host is forgotten first. Strangers could fill the set of hosts under
	// wildcards, because any such name has a route. So that set first forgets hosts that were requested
	// only once, unless the others fill more than three quarters of it (2Q). Hosts under one wildcard share its route in memory.
	// Zero or less means 10,000.
	MaxHosts int

	// Timeout bounds one lookup. Zero or less means 5 seconds.
	Timeout time.Duration

	// StaleWait is how long a request waits for the lookup of a route that is older than
	// two TTLs, before it goes on with the old route. Zero means a second. Negative means not at all.
	StaleWait time.Duration

	// JoinWait is how long Join waits for lookups. A store that has not answered by then counts as
	// failing. A slow store is not a dead one, so the next lookup gets twice the time, up to StaleWait.
	// Zero means 250 milliseconds. Negative means not at all.
	JoinWait time.Duration

	// Logger gets a warning each minute while the store fails, and an entry when it answers again.
	// Nil means slog.Default().
	Logger *slog.Logger

	once sync.Once
	ttl  time.Duration // TTL with its default applied, like the next four
	negativeTTL,
	maxStale,
	staleWait,
	joinWait time.Duration

	routes    *lru.Cache[string, entry]         // by host: hosts with their own route
	wild      *lru.TwoQueueCache[string, entry] // by host: hosts under a wildcard
	misses    *lru.Cache[string, miss]          // by host: hosts without a usable route
	failures  *lru.Cache[string, miss]          // by unknown host: why its last lookup failed
	wildcards *lru.Cache[string, *Route]        // by pattern: routes that the entries of wild share

	mu      sync.Mutex
	flights map[string]*flight   // by host: lookups that requests may share
	running map[*flight]struct{} // those, and canceled lookups that have not ended
	active  int                  // requests after Begin and before Join
	health  health
}

var _ Store = (*Cache)(nil)

// entry is a route with the time of its lookup.
type entry struct {
	route *Route
	at    moment
	fresh time.Duration // how long it is used without a lookup
}

// miss is the error of a lookup with its time.
type miss struct {
	err error
	at  moment
}

// Defaults for a zero TTL, MaxStale and MaxHosts of a [Cache].
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

	// failureTTL is how long an unknown host is not looked up again after a failure of the store. Otherwise each
	// request for a busy host would wait for the timeout.
	failureTTL = time.Second

	// maxFailures is how many hosts that applies to: enough for the busy ones. Not all that strangers ask for
	// are kept, since an error of the AWS SDK holds its request and response, 8 KB and more.
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
		return c.lookUpStale(ctx, host, e, now)
	}
	return c.lookUpUnknown(ctx, host)
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
	// The only error is that of a size that is not positive.
	c.routes, _ = lru.New[string, entry](size)
	c.wild, _ = lru.New2Q[string, entry](max(size, 2)) // its least size
	c.misses, _ = lru.New[string, miss](size)
	c.failures, _ = lru.New[string, miss](maxFailures)
	c.wildcards, _ = lru.New[string, *Route](size)
	c.flights, c.running = map[string]*flight{}, map[*flight]struct{}{}
}

// known returns the entry of a host with a route.
func (c *Cache) known(host string) (entry, bool) {
	if e, ok := c.routes.Get(host); ok {
		return e, true
	}
	return c.wild.Get(host)
}

// servable reports whether e, which is no longer fresh, may still be used.
func (c *Cache) servable(e entry, now moment) bool {
	return within(e.at, now, c.maxStale) && !e.route.expired(now.time())
}

// remember stores the route of a host in place of earlier knowledge of it.
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

// forget stores that a host has no usable route, in place of earlier knowledge of it.
func (c *Cache) forget(host string, err error, now moment) {
	c.routes.Remove(host)
	c.wild.Remove(host)
	c.failures.Remove(host)
	c.misses.Add(host, miss{err, now})
}

// ask asks the store. A panic of the store becomes an error, and so does a missing answer. In the goroutine of the lookup
// they would end the process and every other request.
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

// moment is a time by the wall clock, in nanoseconds since 1970. The monotonic clock may stop while a sandbox is frozen.
type moment int64

func wallClock() moment { return moment(time.Now().UnixNano()) }

func (m moment) time() time.Time { return time.Unix(0, int64(m)) }

func (m moment) add(d time.Duration) moment { return m + moment(d) }

func (m moment) since(earlier moment) time.Duration { return time.Duration(m - earlier) }

// within reports whether now is less than d after at. It is false for a negative d. A clock that was set back makes entries
// too old, instead of valid for longer.
func within(at, now moment, d time.Duration) bool {
	age := now.since(at)
	return age >= 0 && age < d
}
