package origin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lines returns the log since its last call.
func (l *logged) lines() []string { return slices.Collect(strings.Lines(l.take())) }

// A store that has failed for long still gets time to answer. Otherwise nobody would learn that it works again.
func TestPatienceGrowsWithFailuresToItsLimit(t *testing.T) {
	for streak, want := range map[int]time.Duration{0: 1, 1: 2, 3: 8, 4: 10, 64: 10, 1000: 10} {
		h := health{streak: streak}
		if got := h.maxWait(time.Second, 10*time.Second); got != want*time.Second {
			t.Errorf("after %d failures: %v, want %v", streak, got, want*time.Second)
		}
	}
}

func TestKnownRoutesAreServedForADayWhileTheStoreFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		route := &Route{Host: "a.test"}
		c, _ := known(t, route, fails(errDown))
		for range 24*60 - 1 {
			time.Sleep(time.Minute)
			serves(t, c, "a.test", route)
		}
		time.Sleep(time.Minute)
		if r, err := c.Lookup(t.Context(), "a.test"); !errors.Is(err, errDown) {
			t.Errorf("after a day: %+v, %v", r, err)
		}
		if _, err := c.Lookup(t.Context(), "unknown.test"); !errors.Is(err, errDown) || errors.Is(err, ErrNotFound) {
			t.Errorf("never looked up: %v", err)
		}
	})
}

// One lookup must find out that the store is down, and not each of a thousand hosts or requests.
func TestStoreThatFailsIsAskedByOneRequestNowAndThen(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &fakeStore{answer: func(_ context.Context, host string) (*Route, error) { return &Route{Host: host}, nil }}
		c := newCache(s)
		c.TTL = 10 * time.Second
		const hosts = 10
		for i := range hosts {
			c.Lookup(t.Context(), fmt.Sprintf("h%d.test", i))
		}
		var asked []time.Time
		s.set(func(context.Context, string) (*Route, error) { asked = append(asked, time.Now()); return nil, errDown })
		time.Sleep(10 * time.Second)
		for range 2000 {
			for i := range hosts {
				host := fmt.Sprintf("h%d.test", i)
				if r, err := c.Lookup(t.Context(), host); err != nil || r.Host != host {
					t.Fatal(r, err)
				}
				synctest.Wait()
			}
			time.Sleep(100 * time.Millisecond)
		}
		var want []time.Duration
		for d := time.Second; len(want) < len(asked)-1; d = min(2*d, 30*time.Second) {
			want = append(want, d)
		}
		if len(asked) < 8 || len(asked) > 15 {
			t.Errorf("the store was asked %d times in 200 seconds", len(asked))
		}
		for i, d := range want {
			if got := asked[i+1].Sub(asked[i]); got < d*3/4 || got > d*5/4+100*time.Millisecond {
				t.Errorf("attempt %d came after %v, want about %v", i+2, got, d)
			}
		}

		// One success is enough for all.
		s.set(func(_ context.Context, host string) (*Route, error) { return &Route{Host: host, Version: 2}, nil })
		time.Sleep(40 * time.Second)
		c.Lookup(t.Context(), "h0.test")
		synctest.Wait()
		for i := range hosts {
			if r, _ := c.Lookup(t.Context(), fmt.Sprintf("h%d.test", i)); r.Version != 2 {
				t.Fatalf("host %d was not looked up again", i)
			}
		}
	})
}

func TestProbeOfAFailingStoreKeepsNobody(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		route := &Route{Host: "a.test"}
		c, s := known(t, route, fails(errDown))
		time.Sleep(time.Hour)
		serves(t, c, "a.test", route) // and probes
		s.set(hang(nil, nil))
		for range 100 {
			time.Sleep(time.Second)
			serves(t, c, "a.test", route)
		}
		time.Sleep(5 * time.Second) // until the last probe has ended
	})
}

// Each of a hundred hosts would otherwise ask while the first waits for an answer.
func TestOneProbeAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &fakeStore{answer: func(_ context.Context, host string) (*Route, error) { return &Route{Host: host}, nil }}
		c := newCache(s)
		hosts := numbered("h%d.test", 100)
		for _, host := range hosts {
			c.Lookup(t.Context(), host)
		}
		s.set(fails(errDown))
		time.Sleep(30 * time.Second)
		c.Lookup(t.Context(), hosts[0])
		synctest.Wait()
		s.set(hang(nil, nil))
		time.Sleep(1250 * time.Millisecond)
		for _, host := range hosts {
			c.Lookup(t.Context(), host)
		}
		if n := underWay(c); n != 1 {
			t.Errorf("%d look-ups are under way", n)
		}
		time.Sleep(5 * time.Second)
	})
}

// Strangers who try names must not delay the probe that finds the store working.
func TestUnknownHostsDoNotLengthenThePause(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first, second := &Route{Host: "a.test"}, &Route{Host: "a.test"}
		c, s := known(t, first, fails(errDown))
		time.Sleep(30 * time.Second)
		serves(t, c, "a.test", first)
		synctest.Wait()
		for _, host := range numbered("h%d.test", 100) {
			if _, err := c.Lookup(t.Context(), host); !errors.Is(err, errDown) {
				t.Error(err)
			}
		}
		time.Sleep(1250 * time.Millisecond)
		s.set(found(second))
		serves(t, c, "a.test", first)
		synctest.Wait()
		serves(t, c, "a.test", second)
	})
}

func TestPauseBeginsAnewWithTheNextFailure(t *testing.T) {
	var h health
	now := wallClock()
	for range 10 {
		h.failed(now, true)
	}
	h.answered(now)
	if wait := h.maxWait(defaultJoinWait, defaultStaleWait); wait != defaultJoinWait {
		t.Errorf("a store that answers again is waited for for %v", wait)
	}
	h.failed(now, false)
	if wait := h.retryAt.since(now); wait > 2*minPause {
		t.Errorf("asked again after %v", wait)
	}
}

func TestClockSetBackDoesNotPutOffTheProbe(t *testing.T) {
	now := wallClock()
	h := &health{failing: true, pause: maxPause, retryAt: now.add(time.Hour)}
	if ask, probe := h.mayAsk(now); !ask || !probe {
		t.Error("the store is not asked for an hour")
	}
}

// An hour-old failure is no reason to serve an old route without a lookup.
func TestFailureOfLongAgoSaysNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first, second := &Route{Host: "a.test"}, &Route{Host: "a.test"}
		c, s := known(t, first, fails(errDown))
		time.Sleep(30 * time.Second)
		serves(t, c, "a.test", first)
		synctest.Wait()
		s.set(found(second))
		time.Sleep(time.Hour)
		serves(t, c, "a.test", second)
	})
}

func TestHostOfWhichNothingIsKnownIsAskedForOnceASecond(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &fakeStore{answer: func(ctx context.Context, host string) (*Route, error) { <-ctx.Done(); return nil, ctx.Err() }}
		c := newCache(s)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := c.Lookup(t.Context(), "a.test"); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for range 100 { // not five seconds each
			start := time.Now()
			if _, err := c.Lookup(t.Context(), "a.test"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 0 {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		}
		s.want(t, "a.test", 1)
		// The next one asks again, whether the store failed or not.
		time.Sleep(time.Second)
		route := &Route{Host: "a.test"}
		s.set(found(route))
		serves(t, c, "a.test", route)
		s.want(t, "a.test", 2)
	})
}

type advised struct{ error }

func (advised) Advice() string { return "look into it" }

func TestFailingStoreIsLoggedOnceAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &fakeStore{answer: func(_ context.Context, host string) (*Route, error) { return &Route{Host: host}, nil }}
		log := new(logged)
		c := &Cache{Store: s, Logger: log.logger()}
		ask := func() {
			for i := range 50 {
				c.Lookup(t.Context(), fmt.Sprintf("h%d.test", i))
				c.Lookup(t.Context(), fmt.Sprintf("unknown-%d.test", i))
			}
			synctest.Wait()
		}
		for i := range 50 {
			c.Lookup(t.Context(), fmt.Sprintf("h%d.test", i))
		}
		s.set(fails(advised{errDown}))
		time.Sleep(31 * time.Second)
		ask()
		first := log.lines()
		if len(first) != 1 || !strings.Contains(first[0], "level=WARN") || !strings.Contains(first[0], "store is down") || !strings.Contains(first[0], `advice="look into it"`) ||
			!strings.Contains(first[0], "failed_lookups=1 ") {
			t.Errorf("when it begins: %q", first)
		}
		const minutes = 10
		for range minutes * 60 {
			time.Sleep(time.Second)
			ask()
		}
		lasting := log.lines()
		if len(lasting) != minutes {
			t.Errorf("%d lines in %d minutes: %q", len(lasting), minutes, lasting)
		}
		for _, line := range lasting {
			if !strings.Contains(line, "level=WARN") || strings.Contains(line, "failed_lookups=0") || strings.Contains(line, "served_from_memory=0") || strings.Contains(line, "unknown-") {
				t.Errorf("while it lasts: %q", line)
			}
		}
		s.set(func(_ context.Context, host string) (*Route, error) { return &Route{Host: host}, nil })
		for range 60 {
			time.Sleep(time.Second)
			ask()
		}
		if over := log.lines(); len(over) != 1 || !strings.Contains(over[0], "level=INFO") || !strings.Contains(over[0], "lasted=10m") {
			t.Errorf("when it is over: %q", over)
		}
	})
}

// A store that fails every second time must not fill the log either.
func TestFlappingStoreIsLoggedTwiceAMinuteAtMost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n := 0
		s := &fakeStore{}
		s.set(func(context.Context, string) (*Route, error) {
			if n++; n%2 == 0 {
				return nil, errDown
			}
			return nil, ErrNotFound
		})
		log := new(logged)
		c := &Cache{Store: s, Logger: log.logger()}
		for i := range 600 {
			c.Lookup(t.Context(), fmt.Sprintf("h%d.test", i))
			time.Sleep(time.Second)
		}
		if lines := log.lines(); len(lines) < 10 || len(lines) > 20 {
			t.Errorf("%d lines in ten minutes", len(lines))
		}
	})
}

// A request that ends early says nothing about the store.
func TestImpatientRequestsDoNotMakeAFailure(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &fakeStore{answer: hang(nil, nil)}
		log := new(logged)
		c := &Cache{Store: s, Logger: log.logger()}
		for i := range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			c.Lookup(ctx, fmt.Sprintf("h%d.test", i))
			cancel()
			synctest.Wait()
		}
		if lines := log.lines(); lines != nil {
			t.Errorf("%q", lines)
		}
	})
}

// If a stranger hangs up before the probe has a result, the next request must probe. Otherwise strangers could delay the
// probe for known hosts again and again.
func TestProbeOfWhoLeavesIsLeftToTheNext(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first, second := &Route{Host: "a.test"}, &Route{Host: "a.test"}
		c, s := known(t, first, fails(errDown))
		time.Sleep(30 * time.Second)
		serves(t, c, "a.test", first)
		synctest.Wait()
		time.Sleep(1250 * time.Millisecond)
		s.set(hang(nil, nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if r, err := c.Lookup(ctx, "stranger.test"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(r, err)
		}
		synctest.Wait()
		s.set(found(second))
		serves(t, c, "a.test", first)
		synctest.Wait()
		serves(t, c, "a.test", second)
	})
}

// Each host is looked up, since each known route may be as old as the failure.
func TestFailureOfLongAgoSaysNothingOfAnyHost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &fakeStore{answer: func(_ context.Context, host string) (*Route, error) { return &Route{Host: host}, nil }}
		c := newCache(s)
		hosts := numbered("h%d.test", 10)
		for _, host := range hosts {
			c.Lookup(t.Context(), host)
		}
		s.set(fails(errDown))
		time.Sleep(30 * time.Second)
		c.Lookup(t.Context(), hosts[0])
		synctest.Wait()
		s.set(func(_ context.Context, host string) (*Route, error) {
			time.Sleep(5 * time.Millisecond)
			return nil, ErrNotFound // all routes were removed meanwhile
		})
		time.Sleep(time.Hour)
		var all sync.WaitGroup
		for _, host := range hosts { // at the same time
			all.Go(func() {
				if r, err := c.Lookup(t.Context(), host); !errors.Is(err, ErrNotFound) {
					t.Errorf("%s: %v, %v", host, r, err)
				}
			})
		}
		all.Wait()
	})
}
