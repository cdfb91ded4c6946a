package origin

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"
)

// These tests are about how much the cache remembers, where, and what it forgets first.

// A scan of random names must not displace routes in use.
func TestMissesDoNotDisplaceRoutes(t *testing.T) {
	s := &fakeStore{answer: func(_ context.Context, host string) (*Route, error) {
		if host == "a.test" {
			return &Route{Host: host}, nil
		}
		return nil, ErrNotFound
	}}
	c := newCache(s)
	c.MaxHosts = 10
	for i := range 100 {
		c.Lookup(t.Context(), "a.test")
		c.Lookup(t.Context(), fmt.Sprintf("h%d.test", i))
	}
	s.want(t, "a.test", 1)
	if n := c.routes.Len() + c.misses.Len(); n != 11 {
		t.Errorf("%d entries, want 11", n)
	}
}

// bigError is as large as an error of the AWS SDK, which holds its request and response.
type bigError [8 << 10]byte

func (*bigError) Error() string { return "down" }

// Strangers who try names while the store fails must not fill the memory with its errors: the process would be killed, and
// its known routes lost.
func TestFailuresForUnknownHostsDoNotFillTheMemory(t *testing.T) {
	var all []weak.Pointer[bigError]
	c := newCache(&fakeStore{answer: func(context.Context, string) (*Route, error) {
		err := new(bigError)
		all = append(all, weak.Make(err))
		return nil, err
	}})
	for _, host := range numbered("h%d.test", 2000) {
		if _, err := c.Lookup(t.Context(), host); err == nil {
			t.Fatal("found")
		}
	}
	runtime.GC()
	n := 0
	for _, err := range all {
		if err.Value() != nil {
			n++
		}
	}
	if n > 200 {
		t.Errorf("%d errors are kept", n)
	}
	runtime.KeepAlive(c)
}

// Any name under a wildcard has a route. Such names must not displace other routes, and must not each keep a copy of the
// wildcard's certificates.
func TestHostsUnderAWildcardAreBoundedAndShareTheirRoute(t *testing.T) {
	s := &fakeStore{answer: func(_ context.Context, host string) (*Route, error) {
		if host == "a.test" {
			return &Route{Host: host}, nil
		}
		return &Route{Host: "*.x.test", Addresses: []string{"lb.test"}}, nil
	}}
	c := newCache(s)
	c.MaxHosts = 10
	var shared *Route
	for i := range 100 {
		c.Lookup(t.Context(), "a.test")
		host := fmt.Sprintf("h%d.x.test", i)
		c.Lookup(t.Context(), host)
		again, err := c.Lookup(t.Context(), host)
		if shared == nil {
			shared = again
		}
		if err != nil || again != shared {
			t.Fatalf("%s has a route of its own: %p, %p, %v", host, again, shared, err)
		}
		s.want(t, host, 1)
	}
	s.want(t, "a.test", 1)
	if c.routes.Len() != 1 || c.wild.Len() != 10 || c.wildcards.Len() != 1 {
		t.Errorf("%d, %d and %d entries", c.routes.Len(), c.wild.Len(), c.wildcards.Len())
	}
}

// Made-up names are requested once. Names in use must be known when the store fails.
func TestScanUnderAWildcardDoesNotDisplaceHostsInUse(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &fakeStore{answer: found(&Route{Host: "*.x.test"})}
		c := newCache(s)
		c.MaxHosts = 100
		for range 2 {
			for _, host := range numbered("shop%d.x.test", 50) {
				c.Lookup(t.Context(), host)
			}
		}
		for _, host := range numbered("h%d.x.test", 1000) {
			c.Lookup(t.Context(), host)
		}
		s.set(func(context.Context, string) (*Route, error) { return nil, errors.New("down") })
		for _, host := range numbered("shop%d.x.test", 50) {
			if _, err := c.Lookup(t.Context(), host); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestOneHostIsBoundEnough(t *testing.T) {
	s := &fakeStore{answer: found(&Route{Host: "*.x.test"})}
	c := newCache(s)
	c.MaxHosts = 1
	for round := range 2 {
		for _, host := range numbered("h%d.x.test", 3) {
			for range 2 { // the second is from memory
				if _, err := c.Lookup(t.Context(), host); err != nil {
					t.Error(err)
				}
			}
			s.want(t, host, round+1)
		}
	}
}

func TestHostThatGetsARouteOfItsOwnLeavesItsWildcard(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		wildcard, own := &Route{Host: "*.x.test"}, &Route{Host: "a.x.test"}
		s := &fakeStore{answer: found(wildcard)}
		c := newCache(s)
		for _, want := range []*Route{wildcard, own, wildcard} {
			s.set(found(want))
			if r, err := c.Lookup(t.Context(), "a.x.test"); r != want {
				t.Errorf("%+v, %v; want %+v", r, err, want)
			}
			time.Sleep(time.Minute)
		}
	})
}

// The old route would otherwise return when the store fails.
func TestHostThatFallsBackToItsWildcardIsNotServedItsOldRouteAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		own, wildcard := &Route{Host: "a.x.test"}, &Route{Host: "*.x.test"}
		c, s := known(t, own, found(wildcard))
		time.Sleep(30 * time.Second)
		serves(t, c, "a.x.test", own) // and looks the host up in the background
		synctest.Wait()
		serves(t, c, "a.x.test", wildcard)
		s.set(fails(errDown))
		time.Sleep(30 * time.Second)
		serves(t, c, "a.x.test", wildcard)
	})
}

// Each answer replaces earlier knowledge. Otherwise the old answer would count again when the clock is set back, or when the
// last answer is displaced.
func TestHostIsRememberedInOnePlaceAlone(t *testing.T) {
	const host = "a.x.test"
	answers := map[string]func(*Cache, moment){
		"own":      func(c *Cache, now moment) { c.remember(host, &Route{Host: host}, now) },
		"wildcard": func(c *Cache, now moment) { c.remember(host, &Route{Host: "*.x.test"}, now) },
		"none":     func(c *Cache, now moment) { c.forget(host, ErrNotFound, now) },
	}
	places := func(c *Cache) (all []string) {
		for name, has := range map[string]bool{
			"own": c.routes.Contains(host), "wildcard": c.wild.Contains(host), "none": c.misses.Contains(host), "failure": c.failures.Contains(host),
		} {
			if has {
				all = append(all, name)
			}
		}
		return all
	}
	for first, before := range answers {
		for then, after := range answers {
			c := newCache(nil)
			c.once.Do(c.init)
			before(c, wallClock())
			c.failures.Add(host, miss{errDown, wallClock()})
			after(c, wallClock())
			if got := places(c); !slices.Equal(got, []string{then}) {
				t.Errorf("%s, then %s: remembered as %q", first, then, got)
			}
		}
	}
}

// Hosts share the route of their wildcard, but not forever.
func TestChangedWildcardIsSeenByItsHosts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first, second := &Route{Host: "*.x.test", Addresses: []string{"one.test"}}, &Route{Host: "*.x.test", Addresses: []string{"two.test"}}
		s := &fakeStore{answer: found(first)}
		c := newCache(s)
		serves(t, c, "a.x.test", first)
		s.set(found(second))
		time.Sleep(time.Minute)
		for range 2 { // from the store, and from memory
			serves(t, c, "a.x.test", second)
			serves(t, c, "b.x.test", second)
		}
	})
}

// BenchmarkCachedRoutes measures the memory of a route, and a lookup among many.
func BenchmarkCachedRoutes(b *testing.B) {
	const routes = 100_000
	pem := strings.Repeat("c", 1500) // about one authority
	for name, route := range map[string]func(host string) *Route{
		"own": func(host string) *Route {
			return &Route{Host: host, Scheme: "https", Addresses: []string{"lb-" + host}}
		},
		"ca_pem": func(host string) *Route {
			return &Route{Host: host, Scheme: "https", Addresses: []string{"lb-" + host}, CAPEM: strings.Clone(pem)}
		},
		"wildcard": func(host string) *Route {
			return &Route{Host: "*.spec-trust.test", Scheme: "https", Addresses: []string{"lb.test"}}
		},
	} {
		b.Run(name, func(b *testing.B) {
			c := newCache(&fakeStore{})
			c.MaxHosts = routes
			c.once.Do(c.init)
			hosts := numbered("customer-%06d.spec-trust.test", routes)
			before := heap()
			for _, host := range hosts {
				host = strings.Clone(host) // like the host of a request
				c.remember(host, route(host), wallClock())
			}
			bytes := heap() - before
			i := 0
			for b.Loop() {
				if i += 7919; i >= routes {
					i -= routes
				}
				if _, err := c.Lookup(b.Context(), hosts[i]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(bytes)/routes, "B/route")
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// numbered returns n hosts.
func numbered(format string, n int) (hosts []string) {
	for i := range n {
		hosts = append(hosts, fmt.Sprintf(format, i))
	}
	return hosts
}
