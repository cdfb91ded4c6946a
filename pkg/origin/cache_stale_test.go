package origin

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// hang answers with route when its channel is closed. It ends with its context.
func hang(release <-chan struct{}, route *Route) func(context.Context, string) (*Route, error) {
	return func(ctx context.Context, _ string) (*Route, error) {
		select {
		case <-release:
			return route, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// known returns a cache that knows the route of a.test. Its store answers by answer from then on.
func known(t *testing.T, route *Route, answer func(context.Context, string) (*Route, error)) (*Cache, *fakeStore) {
	t.Helper()
	s := &fakeStore{answer: found(route)}
	c := newCache(s)
	if r, err := c.Lookup(t.Context(), route.Host); r != route {
		t.Fatal(r, err)
	}
	s.set(answer)
	return c, s
}

// serves fails the test unless the host has that route at once.
func serves(t *testing.T, c *Cache, host string, want *Route) {
	t.Helper()
	start := time.Now()
	if r, err := c.Lookup(t.Context(), host); r != want || err != nil {
		t.Errorf("%s: %+v, %v; want %+v", host, r, err, want)
	}
	if d := time.Since(start); d != 0 {
		t.Errorf("%s: the request waited for %v", host, d)
	}
}

func TestRequestsGoOnWithTheOldRouteWhileItIsRefreshed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		release := make(chan struct{})
		first, second := &Route{Host: "a.test"}, &Route{Host: "a.test"}
		c, s := known(t, first, hang(release, second))
		time.Sleep(30 * time.Second)
		for range 10 {
			serves(t, c, "a.test", first)
		}
		synctest.Wait()
		s.want(t, "a.test", 2)
		close(release)
		synctest.Wait()
		serves(t, c, "a.test", second)
		s.want(t, "a.test", 2)
	})
}

// A sandbox that was idle for long must not serve a route that was changed long ago.
func TestRouteOlderThanTwoTTLsIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		release := make(chan struct{})
		second := &Route{Host: "a.test"}
		c, _ := known(t, &Route{Host: "a.test"}, hang(release, second))
		time.Sleep(time.Minute)
		time.AfterFunc(999*time.Millisecond, func() { close(release) })
		if r, err := c.Lookup(t.Context(), "a.test"); r != second {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestRequestWaitsForAnOldRouteNoLongerThanStaleWait(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		release := make(chan struct{})
		first, second := &Route{Host: "a.test"}, &Route{Host: "a.test"}
		c, s := known(t, first, hang(release, second))
		time.Sleep(time.Hour)
		start := time.Now()
		if r, err := c.Lookup(t.Context(), "a.test"); r != first || time.Since(start) != time.Second {
			t.Errorf("%+v, %v after %v", r, err, time.Since(start))
		}
		serves(t, c, "a.test", first) // once, not each time
		close(release)                // the lookup has gone on
		synctest.Wait()
		serves(t, c, "a.test", second)
		s.want(t, "a.test", 2)
	})
}

func TestNegativeStaleWaitDoesNotWait(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first := &Route{Host: "a.test"}
		s := &fakeStore{answer: found(first)}
		c := newCache(s)
		c.StaleWait = -1
		c.Lookup(t.Context(), "a.test")
		time.Sleep(time.Hour)
		s.set(fails(errDown))
		serves(t, c, "a.test", first)
		synctest.Wait()
	})
}

func TestClientThatGoesWhileAnOldRouteIsRefreshedLeavesTheRefresh(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		release := make(chan struct{})
		second := &Route{Host: "a.test"}
		c, s := known(t, &Route{Host: "a.test"}, hang(release, second))
		time.Sleep(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if _, err := c.Lookup(ctx, "a.test"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		close(release)
		synctest.Wait()
		serves(t, c, "a.test", second)
		s.want(t, "a.test", 2)
	})
}

func TestChangeToNothingIsSeenByWhoWaits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for _, gone := range []error{ErrNotFound, &InvalidRouteError{"a.test", "tls_min", "is odd"}} {
			c, _ := known(t, &Route{Host: "a.test"}, fails(gone))
			time.Sleep(time.Minute)
			if _, err := c.Lookup(t.Context(), "a.test"); !errors.Is(err, gone) {
				t.Errorf("%v, want %v", err, gone)
			}
		}
	})
}

// Hosts that were looked up together would otherwise be looked up together forever, in each sandbox.
func TestHostsAreNotRefreshedInStep(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &fakeStore{answer: func(_ context.Context, host string) (*Route, error) { return &Route{Host: host}, nil }}
		c := newCache(s)
		const hosts = 1000
		ask := func() (asked int) {
			s.mu.Lock()
			before := 0
			for _, n := range s.calls {
				before += n
			}
			s.mu.Unlock()
			for i := range hosts {
				c.Lookup(t.Context(), fmt.Sprintf("h%d.test", i))
			}
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, n := range s.calls {
				asked += n
			}
			return asked - before
		}
		ask()
		time.Sleep(27 * time.Second)
		for i := range 11 { // spread over the tenth of the TTL
			if n := ask(); n > 200 {
				t.Errorf("%d of %d hosts were asked for within 300 milliseconds, %d", n, hosts, i)
			}
			time.Sleep(300 * time.Millisecond)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for host, n := range s.calls {
			if n != 2 {
				t.Errorf("%s was asked for %d times within the TTL and a bit", host, n)
			}
		}
	})
}

func TestColdMissWaitsUntilTheTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &fakeStore{answer: hang(nil, nil)}
		start := time.Now()
		_, err := newCache(s).Lookup(t.Context(), "a.test")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestLookupEndsWithTheLastWhoWaits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ended := make(chan error, 1)
		s := &fakeStore{answer: func(ctx context.Context, _ string) (*Route, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		}}
		c := newCache(s)
		first, leave := context.WithCancel(t.Context())
		second, leaveToo := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		go func() { _, err := c.Lookup(first, "a.test"); errs <- err }()
		go func() { _, err := c.Lookup(second, "a.test"); errs <- err }()
		synctest.Wait()
		leave()
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("%v: another request waits", err)
		default:
		}
		leaveToo()
		synctest.Wait()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		default:
			t.Error("the look-up goes on for nobody")
		}
		for range 2 {
			if err := <-errs; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		// That says nothing about the store or the host.
		route := &Route{Host: "a.test"}
		s.set(found(route))
		if r, err := c.Lookup(t.Context(), "a.test"); r != route {
			t.Error(err)
		}
	})
}

func TestWithoutMaxStaleRequestsWaitForTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &fakeStore{answer: found(&Route{Host: "a.test"})}
		c := newCache(s)
		c.MaxStale = -1
		c.Lookup(t.Context(), "a.test")
		time.Sleep(30 * time.Second)
		second := &Route{Host: "a.test"}
		s.set(found(second))
		if r, err := c.Lookup(t.Context(), "a.test"); r != second {
			t.Errorf("%+v, %v", r, err)
		}
		time.Sleep(30 * time.Second)
		s.set(fails(errDown))
		if r, err := c.Lookup(t.Context(), "a.test"); !errors.Is(err, errDown) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
