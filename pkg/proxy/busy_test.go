package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// noRoutes is a store without routes.
type noRoutes struct{}

func (noRoutes) Lookup(context.Context, string) (*origin.Route, error) {
	return nil, origin.ErrNotFound
}

// newHandler returns a Handler, with a store without routes if c has no store.
func newHandler(t testing.TB, c Config) *Handler {
	t.Helper()
	if c.Routes == nil {
		c.Routes = noRoutes{}
	}
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// full is a proxy whose requests stay in flight until the test ends them.
type full struct {
	h   *inFlight
	ask func(connection, client netip.AddrPort) bool
}

func fill(most int) *full {
	f := &full{h: &inFlight{most: most, of: map[netip.AddrPort]int{}}}
	f.ask = func(connection, client netip.AddrPort) bool {
		err := f.h.begin(connection, client)
		if err != nil && !errors.Is(err, ErrBusy) {
			panic(err)
		}
		return err == nil
	}
	return f
}

// takes begins more requests than there are places, in turn for each connection, and returns how many places each of them
// got.
func (f *full) takes(connections ...netip.AddrPort) []int {
	got := make([]int, len(connections))
	for range f.h.most + 1 {
		for i, c := range connections {
			if f.ask(c, netip.AddrPortFrom(c.Addr(), 0)) {
				got[i]++
			}
		}
	}
	return got
}

func conn(client, port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(client)}), uint16(port))
}

func TestNoClientTakesAllPlaces(t *testing.T) {
	t.Parallel()
	many := func(client, n int) (all []netip.AddrPort) {
		for port := range n {
			all = append(all, conn(client, port+1))
		}
		return all
	}
	for _, c := range []struct {
		name   string
		most   int
		greedy []netip.AddrPort
		taken  int // the most places that these get together
		others int // the least number of other clients that still get a place
	}{
		{"one connection", 120, many(1, 1), 40, 80},
		{"two connections of one client", 120, many(1, 2), 60, 60},
		{"two clients", 120, append(many(1, 1), many(2, 1)...), 60, 60},
		{"a hundred connections of one client", 120, many(1, 100), 80, 40},
		{"a hundred connections of two clients", 180, append(many(1, 100), many(2, 100)...), 160, 20},
		{"one place", 1, many(1, 1), 1, 0},
		{"two places", 2, many(1, 1), 1, 1},
	} {
		f, sum := fill(c.most), 0
		for _, n := range f.takes(c.greedy...) {
			sum += n
		}
		if sum > c.taken || sum < c.taken*9/10 {
			t.Errorf("%s took %d of %d places, want about %d", c.name, sum, c.most, c.taken)
		}
		got := 0
		for client := 10; client < 250; client++ {
			if f.ask(conn(client, 1), conn(client, 0)) {
				got++
			}
		}
		if got < c.others || sum+got != c.most {
			t.Errorf("beside %s, %d others got a place, want %d; %d of %d are taken", c.name, got, c.others, sum+got, c.most)
		}
	}
}

// Clients behind the same address do not know each other.
func TestOthersAtTheSameAddressHaveRoomBesideTwoGreedyConnections(t *testing.T) {
	t.Parallel()
	f := fill(120)
	f.takes(conn(1, 1)) // in turn, so that the first has the most
	f.takes(conn(1, 2))
	for port := 3; port < 13; port++ {
		if !f.ask(conn(1, port), conn(1, 0)) {
			t.Errorf("connection %d of the address has no place", port)
		}
	}
}

func TestEndedRequestsAreUncounted(t *testing.T) {
	t.Parallel()
	f := fill(50)
	type key struct{ connection, client netip.AddrPort }
	var open []key
	for range 5000 {
		if len(open) > 0 && rand.IntN(2) == 0 {
			i := rand.IntN(len(open))
			f.h.end(open[i].connection, open[i].client)
			open[i] = open[len(open)-1]
			open = open[:len(open)-1]
			continue
		}
		k := key{conn(rand.IntN(5), rand.IntN(4)), conn(rand.IntN(5), 0)}
		if f.ask(k.connection, k.client) {
			open = append(open, k)
		}
		if f.h.n != len(open) || f.h.n > 50 {
			t.Fatalf("%d are counted, and %d are open", f.h.n, len(open))
		}
	}
	for _, k := range open {
		f.h.end(k.connection, k.client)
	}
	if f.h.n != 0 || len(f.h.of) != 0 {
		t.Errorf("%d are counted, of %v", f.h.n, f.h.of)
	}
}

func TestCountingKeysOfClients(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}})
	for _, c := range []struct {
		remote             string
		forwarded          []string
		connection, client string
	}{
		{"192.0.2.1:1234", nil, "192.0.2.1:1234", "192.0.2.1"},
		{"192.0.2.1:1234", []string{"198.51.100.7"}, "192.0.2.1:1234", "192.0.2.1"}, // an untrusted peer's field
		{"192.0.2.1:0", nil, "", "192.0.2.1"},                                       // pkg/lambdahttp
		{"[2001:db8:1:2:3::4]:1234", nil, "[2001:db8:1:2:3::4]:1234", "2001:db8:1:2::"},
		{"[::ffff:192.0.2.1]:1234", nil, "[::ffff:192.0.2.1]:1234", "192.0.2.1"},
		{"@", nil, "", ""}, // a Unix socket
		{"10.1.2.3:1234", nil, "", ""},
		{"10.1.2.3:1234", []string{"198.51.100.7"}, "", "198.51.100.7"},
		{"10.1.2.3:1234", []string{"198.51.100.7:4321"}, "", "198.51.100.7"},
		{"10.1.2.3:1234", []string{"[2001:db8:1:2:3::4]:4321"}, "", "2001:db8:1:2::"},
		{"10.1.2.3:1234", []string{"203.0.113.1, 198.51.100.7"}, "", "198.51.100.7"},
		{"10.1.2.3:1234", []string{"198.51.100.7", "198.51.100.8"}, "", "198.51.100.8"},
		{"10.1.2.3:1234", []string{"203.0.113.1, 198.51.100.7, 10.9.9.9, fd00::1"}, "", "198.51.100.7"},
		{"10.1.2.3:1234", []string{"10.9.9.9"}, "", ""},
		{"10.1.2.3:1234", []string{"198.51.100.7, unknown"}, "", ""},
		{"10.1.2.3:1234", []string{"198.51.100.7" + strings.Repeat(", 10.9.9.9", 20_000)}, "", ""}, // too many to look at
		{"[fd00::1]:1234", []string{"2001:db8:1:2:3::4"}, "", "2001:db8:1:2::"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = c.remote, c.forwarded
		connection, client := h.countingKeys(r, newExchange(h, r))
		got := []string{"", ""}
		if isConnection(connection) {
			got[0] = connection.String()
		}
		if isKnown(client) {
			got[1] = client.Addr().String()
		}
		if got[0] != c.connection || got[1] != c.client {
			t.Errorf("%s, X-Forwarded-For %.60q: counted by connection %q and client %q, want %q and %q", c.remote, c.forwarded, got[0], got[1], c.connection, c.client)
		}
	}
}

// A refused request is refused before the lookup of its route, with advice.
func TestRequestsBeyondTheLimitAreRefused(t *testing.T) {
	t.Parallel()
	held, release := make(chan struct{}), make(chan struct{})
	h := newHandler(t, Config{Limits: Limits{Requests: 4}})
	chain := h.limitRequests(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { held <- struct{}{}; <-release }))
	ask := func(remote string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "http://a.test/", nil)
		r.RemoteAddr = remote
		r, _ = h.Begin(r)
		w := httptest.NewRecorder()
		chain.ServeHTTP(w, r)
		return w
	}
	ended := make(chan struct{})
	for range 2 {
		go func() { ask("192.0.2.1:1000"); ended <- struct{}{} }()
		<-held
	}
	want := func(remote string) {
		t.Helper()
		w := ask(remote)
		if w.Code != 503 || w.Header().Get("Proxy-Status") != "sleight; error=http_request_denied" || w.Header().Get("Retry-After") != "5" {
			t.Errorf("%s: %d %v", remote, w.Code, w.Header())
		}
		if body := w.Body.String(); !strings.Contains(body, "errors.md#busy") || strings.Contains(body, "192.0.2") {
			t.Errorf("%s: %s", remote, body)
		}
	}
	want("192.0.2.1:1000") // it has its share
	for i := range 2 {
		go func() { ask(fmt.Sprintf("192.0.2.%d:1000", i+2)); ended <- struct{}{} }()
		<-held
	}
	want("192.0.2.9:1000")
	close(release)
	for range 4 {
		<-ended
	}
	go ask("192.0.2.1:1000")
	<-held // now there is room again
}
