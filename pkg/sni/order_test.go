package sni

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOrderOfAddressesForgetsFailuresInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pool{t: &Transport{}, addresses: []*address{{host: "a"}, {host: "b"}, {host: "c"}}}
		order := func() (hosts []string) {
			for _, a := range p.order() {
				hosts = append(hosts, a.host)
			}
			return hosts
		}
		want := func(hosts ...string) {
			t.Helper()
			if got := order(); !slices.Equal(got, hosts) {
				t.Errorf("order %q, want %q", got, hosts)
			}
		}
		want("a", "b", "c")
		p.addresses[0].failed()
		want("b", "c", "a")
		time.Sleep(time.Second)
		p.addresses[1].failed()
		want("c", "a", "b") // a has rested for longer
		time.Sleep(defaultAvoidFailed - time.Second)
		want("a", "c", "b")
		p.addresses[1].reached()
		want("a", "b", "c")
	})
}

// The monotonic clock may stop in a frozen sandbox.
func TestAgesAreByTheWallClock(t *testing.T) {
	if s := wallClock().String(); strings.Contains(s, "m=") {
		t.Errorf("%s has a monotonic reading", s)
	}
}

// All addresses share a budget. The first address that hangs must not use it up.
func TestAddressesShareTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := func(total time.Duration, left int, granted time.Duration) time.Duration {
			ctx, cancel := context.WithTimeout(t.Context(), total)
			defer cancel()
			ctx, cancel = withShare(ctx, left, granted)
			defer cancel()
			end, _ := ctx.Deadline()
			return time.Until(end)
		}
		for _, c := range []struct {
			total   time.Duration
			left    int
			granted time.Duration
			want    time.Duration
		}{
			{15 * time.Second, 1, 0, 15 * time.Second},
			{15 * time.Second, 3, 0, 5 * time.Second},
			{15 * time.Second, 30, 0, 2 * time.Second}, // a time that is too short to connect would help nobody
			{time.Second, 3, 0, time.Second},
			{75 * time.Second, 3, 25 * time.Second, 25 * time.Second},
			{50 * time.Second, 3, 25 * time.Second, 25 * time.Second},
		} {
			if got := share(c.total, c.left, c.granted); got != c.want {
				t.Errorf("%v for %d addresses: the first gets %v, want %v", c.total, c.left, got, c.want)
			}
		}
	})
}

// A shorter timeout of a target does not lengthen the budget. A longer one applies to each address.
func TestBudgetOfATarget(t *testing.T) {
	for _, c := range []struct {
		transport *Transport
		target    Target
		want      budget
	}{
		{&Transport{}, Target{}, budget{5 * time.Second, 5 * time.Second, 0}},
		{&Transport{ConnectTimeout: -1, HandshakeTimeout: time.Second}, Target{}, budget{0, time.Second, 0}},
		{&Transport{}, Target{ConnectTimeout: time.Second, HandshakeTimeout: -1}, budget{time.Second, 0, 0}},
		{&Transport{}, Target{ConnectTimeout: 9 * time.Second}, budget{9 * time.Second, 5 * time.Second, 14 * time.Second}},
		{&Transport{}, Target{ConnectTimeout: time.Second, HandshakeTimeout: 9 * time.Second}, budget{time.Second, 9 * time.Second, 10 * time.Second}},
	} {
		if got := c.transport.budget(&c.target); got != c.want {
			t.Errorf("%+v: budget %v, want %v", c.target, got, c.want)
		}
	}
}
