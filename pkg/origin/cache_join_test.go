package origin

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// joins calls Join and wants it to take this long.
func joins(t *testing.T, ctx context.Context, c *Cache, want time.Duration) {
	t.Helper()
	start := time.Now()
	c.Join(ctx)
	if d := time.Since(start); d != want {
		t.Errorf("Join took %v, want %v", d, want)
	}
}

// underWay returns the number of lookups under way.
func underWay(c *Cache) int {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.running)
}

func TestRefreshIsJoinedBeforeTheRequestEnds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first, second := &Route{Host: "a.test"}, &Route{Host: "a.test"}
		c, s := known(t, first, nil)
		release := make(chan struct{})
		s.set(hang(release, second))
		time.Sleep(30 * time.Second)
		c.Begin()
		serves(t, c, "a.test", first)
		time.AfterFunc(200*time.Millisecond, func() { close(release) })
		joins(t, t.Context(), c, 200*time.Millisecond)
		serves(t, c, "a.test", second)
		c.Begin()
		joins(t, t.Context(), c, 0)
	})
}

func TestRefreshThatTakesTooLongIsCutBeforeTheRequestEnds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first := &Route{Host: "a.test"}
		c, s := known(t, first, hang(nil, nil))
		time.Sleep(30 * time.Second)
		// Each further lookup has twice the time, up to StaleWait, since the store may be slow.
		for i, wait := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, time.Second} {
			c.Begin()
			serves(t, c, "a.test", first)
			joins(t, t.Context(), c, wait)
			if n := underWay(c); n != 0 {
				t.Errorf("%d look-ups are under way", n)
			}
			s.want(t, "a.test", i+2)
			// Requests in between do not wait.
			for range 5 {
				c.Begin()
				serves(t, c, "a.test", first)
				joins(t, t.Context(), c, 0)
			}
			s.want(t, "a.test", i+2)
			time.Sleep(jitterAtMost(c))
		}
		route := &Route{Host: "a.test"}
		s.set(found(route))
		c.Begin()
		serves(t, c, "a.test", first)
		joins(t, t.Context(), c, 0)
		serves(t, c, "a.test", route)
	})
}

// jitterAtMost returns the longest time until the next probe.
func jitterAtMost(c *Cache) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.health.pause * 5 / 4
}

// The origin's response may have taken longer than a lookup of a working store.
func TestRefreshIsNotWaitedForTwice(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first := &Route{Host: "a.test"}
		c, _ := known(t, first, hang(nil, nil))
		time.Sleep(30 * time.Second)
		c.Begin()
		serves(t, c, "a.test", first)
		time.Sleep(900 * time.Millisecond)
		joins(t, t.Context(), c, 100*time.Millisecond)

		time.Sleep(jitterAtMost(c))
		c.Begin()
		serves(t, c, "a.test", first)
		time.Sleep(2 * time.Second)
		joins(t, t.Context(), c, 0)
		if n := underWay(c); n != 0 {
			t.Errorf("%d look-ups are under way", n)
		}
	})
}

// No request waits for it, so it would run on after the reply.
func TestRefreshThatARequestHasGivenUpIsCutBeforeItEnds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first := &Route{Host: "a.test"}
		c, _ := known(t, first, hang(nil, nil))
		time.Sleep(time.Hour)
		c.Begin()
		if r, err := c.Lookup(t.Context(), "a.test"); r != first {
			t.Errorf("%+v, %v", r, err)
		}
		joins(t, t.Context(), c, 0)
		if n := underWay(c); n != 0 {
			t.Errorf("%d look-ups are under way", n)
		}
	})
}

func TestJoinEndsWithTheRequestsTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first := &Route{Host: "a.test"}
		c, s := known(t, first, hang(nil, nil))
		time.Sleep(30 * time.Second)
		c.Begin()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		serves(t, c, "a.test", first)
		joins(t, ctx, c, 10*time.Millisecond)
		if n := underWay(c); n != 0 {
			t.Errorf("%d look-ups are under way", n)
		}
		// That says nothing about the store, so it is asked again.
		c.Begin()
		serves(t, c, "a.test", first)
		synctest.Wait()
		s.want(t, "a.test", 3)
		joins(t, t.Context(), c, 250*time.Millisecond)
	})
}

// Several invocations may share a process.
func TestJoinLeavesAloneWhatOthersNeed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first, second := &Route{Host: "a.test"}, &Route{Host: "a.test"}
		release := make(chan struct{})
		c, _ := known(t, first, hang(release, second))
		time.Sleep(30 * time.Second)
		c.Begin() // this request finds an old route
		c.Begin() // this one waits for a lookup
		serves(t, c, "a.test", first)
		waited := make(chan *Route, 1)
		go func() { r, _ := c.Lookup(t.Context(), "b.test"); waited <- r }()
		if n := underWay(c); n != 2 {
			t.Fatalf("%d look-ups are under way", n)
		}
		joins(t, t.Context(), c, 0) // the other request will join it
		if n := underWay(c); n != 2 {
			t.Errorf("%d look-ups are under way", n)
		}
		close(release)
		if r := <-waited; r != second {
			t.Errorf("%+v", r)
		}
		joins(t, t.Context(), c, 0)
	})
}

func TestRequestThatComesWhileAnotherJoinsKeepsTheLookup(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first, second := &Route{Host: "a.test"}, &Route{Host: "a.test"}
		release := make(chan struct{})
		c, s := known(t, first, hang(release, second))
		time.Sleep(30 * time.Second)
		c.Begin()
		serves(t, c, "a.test", first)
		time.AfterFunc(100*time.Millisecond, c.Begin)
		joins(t, t.Context(), c, 250*time.Millisecond)
		if n := underWay(c); n != 1 {
			t.Errorf("%d look-ups are under way, want the other's", n)
		}
		close(release)
		synctest.Wait()
		serves(t, c, "a.test", second)
		s.want(t, "a.test", 2)
		joins(t, t.Context(), c, 0)
	})
}

// Join must not cancel a lookup that was made outside of requests.
func TestJoinDoesNotCancelWhatIsWaitedForOutsideOfRequests(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		route := &Route{Host: "a.test"}
		release := make(chan struct{})
		c := newCache(&fakeStore{answer: hang(release, route)})
		waited := make(chan *Route, 1)
		go func() { r, _ := c.Lookup(t.Context(), "a.test"); waited <- r }()
		synctest.Wait()
		c.Begin()
		joins(t, t.Context(), c, 0)
		close(release)
		if r := <-waited; r != route {
			t.Errorf("%+v", r)
		}
	})
}

func TestStoreThatDoesNotEndDoesNotKeepTheAnswerBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		release := make(chan struct{})
		first := &Route{Host: "a.test"}
		c, _ := known(t, first, func(context.Context, string) (*Route, error) { <-release; return nil, errDown })
		time.Sleep(30 * time.Second)
		c.Begin()
		serves(t, c, "a.test", first)
		joins(t, t.Context(), c, 500*time.Millisecond)
		close(release)
	})
}
