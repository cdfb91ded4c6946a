package origin

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeStore answers from a function and counts.
type fakeStore struct {
	mu     sync.Mutex
	calls  map[string]int
	answer func(ctx context.Context, host string) (*Route, error)
}

func (s *fakeStore) Lookup(ctx context.Context, host string) (*Route, error) {
	s.mu.Lock()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.calls[host]++
	answer := s.answer
	s.mu.Unlock()
	return answer(ctx, host)
}

func (s *fakeStore) set(answer func(context.Context, string) (*Route, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *fakeStore) want(t *testing.T, host string, n int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[host] != n {
		t.Errorf("the store was asked %d times for %s, want %d", s.calls[host], host, n)
	}
}

func found(route *Route) func(context.Context, string) (*Route, error) {
	return func(context.Context, string) (*Route, error) { return route, nil }
}

func fails(err error) func(context.Context, string) (*Route, error) {
	return func(context.Context, string) (*Route, error) { return nil, err }
}

var errDown = errors.New("store is down")

func newCache(s Store) *Cache {
	return &Cache{Store: s, Logger: slog.New(slog.DiscardHandler)}
}

func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

func TestRouteIsFreshForItsTTL(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first, second := &Route{Host: "a.test"}, &Route{Host: "a.test"}
		s := &fakeStore{answer: found(first)}
		c := newCache(s)
		for range 3 {
			if r, err := c.Lookup(t.Context(), "a.test"); r != first {
				t.Fatal(r, err)
			}
		}
		s.want(t, "a.test", 1)
		s.set(found(second))
		time.Sleep(27*time.Second - time.Nanosecond) // less up to a tenth
		if r, _ := c.Lookup(t.Context(), "a.test"); r != first {
			t.Error("another route within the TTL")
		}
		synctest.Wait()
		s.want(t, "a.test", 1)
		time.Sleep(34 * time.Second) // more than two TTLs in all
		if r, _ := c.Lookup(t.Context(), "a.test"); r != second {
			t.Error("not asked again")
		}
		s.want(t, "a.test", 2)
	})
}

func TestMissingAndInvalidRoutesAreRememberedForAShorterTime(t *testing.T) {
	for _, answer := range []error{ErrNotFound, &InvalidRouteError{"a.test", "tls_min", "is odd"}} {
		inBubble(t, func(t *testing.T) {
			s := &fakeStore{answer: fails(answer)}
			c := newCache(s)
			for range 3 {
				if _, err := c.Lookup(t.Context(), "a.test"); !errors.Is(err, answer) {
					t.Fatal(err)
				}
			}
			s.want(t, "a.test", 1)
			time.Sleep(5 * time.Second)
			s.set(found(&Route{Host: "a.test"}))
			if _, err := c.Lookup(t.Context(), "a.test"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRemovedRouteIsNotServedAsStale(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &fakeStore{answer: found(&Route{Host: "a.test"})}
		c := newCache(s)
		if _, err := c.Lookup(t.Context(), "a.test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s.set(fails(ErrNotFound))
		if _, err := c.Lookup(t.Context(), "a.test"); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		s.set(fails(errDown))
		time.Sleep(time.Minute)
		if _, err := c.Lookup(t.Context(), "a.test"); !errors.Is(err, errDown) {
			t.Errorf("%v: the removed route came back", err)
		}
	})
}

func TestExpiredRouteIsNeverServed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &fakeStore{answer: found(&Route{Host: "a.test", ExpiresAt: time.Now().Add(10 * time.Second).Truncate(time.Second)})}
		c := newCache(s)
		if _, err := c.Lookup(t.Context(), "a.test"); err != nil {
			t.Fatal(err)
		}
		s.set(fails(errDown))
		time.Sleep(10 * time.Second) // within the TTL
		if r, err := c.Lookup(t.Context(), "a.test"); r != nil || !errors.Is(err, errDown) {
			t.Errorf("%v, %v", r, err)
		}
	})
}

func TestRouteThatExpiresWhileTheStoreIsWaitedForIsNotServed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		route := &Route{Host: "a.test", ExpiresAt: time.Now().Add(time.Hour).Truncate(time.Second)}
		c, _ := known(t, route, hang(nil, nil))
		time.Sleep(time.Until(route.ExpiresAt) - 500*time.Millisecond)
		if r, err := c.Lookup(t.Context(), "a.test"); r != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", r, err)
		}
	})
}

func TestOneLookupInFlightPerHost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		release := make(chan struct{})
		route := &Route{Host: "a.test"}
		s := &fakeStore{answer: func(context.Context, string) (*Route, error) { <-release; return route, nil }}
		c := newCache(s)
		var wg sync.WaitGroup
		for i := range 100 {
			host := []string{"a.test", "b.test"}[i%2]
			wg.Go(func() {
				if r, err := c.Lookup(t.Context(), host); r != route {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		s.want(t, "a.test", 1)
		s.want(t, "b.test", 1)
	})
}

// A request that leaves just after the answer may be late: another lookup may have begun.
func TestWhoLeavesLateDoesNotEndTheNextLookup(t *testing.T) {
	c := newCache(nil)
	c.once.Do(c.init)
	past, next := &flight{host: "a.test", cancel: func() {}, waiters: 1}, &flight{host: "a.test"}
	c.flights["a.test"] = next
	c.leave(past)
	if c.flights["a.test"] != next {
		t.Error("nobody finds the look-up that is under way")
	}
}

func TestOneImpatientCallerDoesNotFailTheOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &fakeStore{answer: func(ctx context.Context, _ string) (*Route, error) {
			select {
			case <-release:
				return &Route{Host: "a.test"}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}}
		c := newCache(s)
		ctx, cancel := context.WithCancel(t.Context())
		impatient, patient := make(chan error, 1), make(chan error, 1)
		go func() { _, err := c.Lookup(ctx, "a.test"); impatient <- err }()
		synctest.Wait()
		go func() { _, err := c.Lookup(t.Context(), "a.test"); patient <- err }()
		synctest.Wait()
		cancel()
		if err := <-impatient; !errors.Is(err, context.Canceled) {
			t.Errorf("impatient: %v", err)
		}
		close(release)
		if err := <-patient; err != nil {
			t.Errorf("patient: %v", err)
		}
	})
}

func TestPanickingStoreFailsOneLookupOnly(t *testing.T) {
	for _, answer := range []func(context.Context, string) (*Route, error){
		func(context.Context, string) (*Route, error) { panic("boom") }, found(nil),
	} {
		if _, err := newCache(&fakeStore{answer: answer}).Lookup(t.Context(), "a.test"); err == nil {
			t.Error("no error")
		}
	}
}

func TestClockSetBackDoesNotProlongARoute(t *testing.T) {
	now := wallClock()
	if within(now, now.add(-time.Hour), time.Minute) {
		t.Error("an entry from the future is fresh")
	}
}

func TestNegativeTTLAsksEveryTime(t *testing.T) {
	s := &fakeStore{answer: found(&Route{Host: "a.test"})}
	c := newCache(s)
	c.TTL = -1
	c.Lookup(t.Context(), "a.test")
	c.Lookup(t.Context(), "a.test")
	s.want(t, "a.test", 2)
}

func TestCacheHitCostsNoAllocation(t *testing.T) {
	for _, route := range []string{"a.x.test", "*.x.test"} {
		c := newCache(&fakeStore{answer: found(&Route{Host: route})})
		for range 2 { // the second lookup of a host under a wildcard moves it
			c.Lookup(t.Context(), "a.x.test")
		}
		if n := testing.AllocsPerRun(100, func() { c.Lookup(t.Context(), "a.x.test") }); n != 0 {
			t.Errorf("%s: %v allocations, want none", route, n)
		}
	}
}

func BenchmarkCacheHit(b *testing.B) {
	c := newCache(&fakeStore{answer: found(&Route{Host: "a.test"})})
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Lookup(ctx, "a.test"); err != nil {
			b.Fatal(err)
		}
	}
}
