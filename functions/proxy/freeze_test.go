package main_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

// Real time is the subject of these tests: the wall clock while the process is frozen, and the idle timeouts of gateways and
// origins.

// A freezer is a function whose hosts have the same origin. Each host has its own connections.
type freezer struct {
	name   string
	f      *lambdatest.Function
	method string
	hosts  []string

	seen  func(path string) int // how many requests for a path reached the origin
	sent  []string              // paths
	relay *tlstest.Relay        // nil if the function has no relay
}

// newFreezer starts a function whose hosts all have the origin at address.
func newFreezer(t *testing.T, name, method, address string, http1 bool, caPEM string, hosts []string) *freezer {
	t.Helper()
	protocols := []string{"h2"}
	if http1 {
		protocols = []string{"http/1.1"}
	}
	var routes []object
	for _, host := range hosts {
		routes = append(routes, object{"host": host, "origin": address, "ca_pem": caPEM, "protocols": protocols})
	}
	document, err := json.Marshal(object{"routes": routes})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(file, document, 0o600); err != nil {
		t.Fatal(err)
	}
	f := lambdatest.Start(t, lambdatest.Build(t), "ROUTES_FILE="+file, "ORIGIN_ALLOW_CIDRS=127.0.0.0/8", "LOG_LEVEL=debug")
	return &freezer{name: name, f: f, method: method, hosts: hosts}
}

// begin sends a request to each host in turn, each with a path of its own. It returns at once, so that the first event waits for
// the frozen function, as in Lambda. end waits for the responses.
func (z *freezer) begin(t *testing.T) (end func()) {
	t.Helper()
	var events [][]byte
	for _, host := range z.hosts {
		path := fmt.Sprintf("/%s/%d", strings.ReplaceAll(z.name, " ", "-"), len(z.sent))
		z.sent = append(z.sent, path)
		e := event(t, "http-api", host, path)
		if z.method == "GET" {
			e = withoutBody(t, e, z.method)
		}
		events = append(events, e)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i, e := range events {
			var got reply
			r, err := z.f.Invoke(t.Context(), e)
			if err == nil {
				err = json.Unmarshal(r.Body, &got)
			}
			if err != nil || r.Failed || got.StatusCode != 200 {
				t.Errorf("%s %s: %+v, %v", z.name, z.hosts[i], got, err)
			}
		}
	}()
	return func() { <-done }
}

func withoutBody(t *testing.T, event []byte, method string) []byte {
	t.Helper()
	var e object
	if err := json.Unmarshal(event, &e); err != nil {
		t.Fatal(err)
	}
	delete(e, "body")
	delete(e["headers"].(object), "content-length")
	delete(e["headers"].(object), "content-type")
	e["requestContext"].(object)["http"].(object)["method"] = method
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// warm opens the first connection of each host.
func warm(t *testing.T, all []*freezer) {
	t.Helper()
	for _, z := range all {
		z.begin(t)()
	}
}

// round freezes all functions for d, calls frozen, and thaws them with the next requests.
func round(t *testing.T, all []*freezer, d time.Duration, frozen func()) {
	t.Helper()
	for _, z := range all {
		if err := z.f.Freeze(); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(d)
	frozen()
	var ends []func()
	for _, z := range all {
		ends = append(ends, z.begin(t))
		if err := z.f.Thaw(); err != nil {
			t.Fatal(err)
		}
	}
	for _, end := range ends {
		end()
	}
}

// check fails the test if a request did not reach its origin exactly once, or if a function logged a warning. It returns the
// number of requests with the method.
func check(t *testing.T, all []*freezer, method string) int {
	t.Helper()
	n := 0
	for _, z := range all {
		for _, path := range z.sent {
			if times := z.seen(path); times != 1 {
				t.Errorf("%s %s reached the origin %d times", z.method, path, times)
			}
		}
		if z.method == method {
			n += len(z.sent)
		}
		// The log may be late, but its lines are in order.
		if r := invoke(t, z.f, event(t, "http-api", "unmapped.test", "/")); r.StatusCode != 404 {
			t.Errorf("%+v", r)
		}
		if err := z.f.AwaitLog(t.Context(), "unmapped.test"); err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(z.f.Log()) {
			if !strings.Contains(line, `"level":"INFO"`) {
				t.Errorf("%s complained: %s", z.name, line)
			}
		}
	}
	return n
}

func names(n int) (hosts []string) {
	for i := range n {
		hosts = append(hosts, fmt.Sprintf("h%d.spec-trust.test", i))
	}
	return hosts
}

func seenBy(o *tlstest.Origin) func(path string) int {
	return func(path string) (n int) {
		for _, r := range o.Requests() {
			if got, _, _ := strings.Cut(r.URI, "?"); got == path {
				n++
			}
		}
		return n
	}
}

func TestFrozenFunctionLosesAndDoublesNothingIfFlowsAreForgotten(t *testing.T) {
	t.Parallel()
	const (
		frozen = time.Second // longer than sni.Transport.UnsafeReuse
		rounds = 5
	)
	ca := tlstest.NewAuthority(t)
	certificates := map[string]tls.Certificate{}
	hosts := names(10)
	for _, host := range hosts {
		certificates[host] = tlstest.Leaf(t, ca, host)
	}
	var all []*freezer
	for _, c := range []struct {
		name, method string
		http1        bool
	}{
		{"POST 1 over HTTP1", "POST", true},
		{"POST 2 over HTTP1", "POST", true},
		{"POST 1 over HTTP2", "POST", false},
		{"POST 2 over HTTP2", "POST", false},
		{"GET over HTTP1", "GET", true},
		{"GET over HTTP2", "GET", false},
	} {
		o := &tlstest.Origin{HTTP1: c.http1, Certificates: certificates}
		o.Start(t)
		relay := tlstest.NewRelay(t, o.Addr)
		z := newFreezer(t, c.name, c.method, relay.Addr, c.http1, ca.PEM(), hosts)
		z.relay, z.seen = relay, seenBy(o)
		all = append(all, z)
	}
	warm(t, all)
	for n := range rounds {
		for _, z := range all {
			if flows, known := z.relay.Flows(), z.relay.Known(); flows != len(hosts)*(n+1) || known != len(hosts) {
				t.Fatalf("%s, round %d: %d flows so far, %d of them known, want one for each host", z.name, n, flows, known)
			}
		}
		round(t, all, frozen, func() {
			for _, z := range all {
				z.relay.Forget(frozen / 2)
			}
		})
		for _, z := range all {
			if flows := z.relay.Flows(); flows != len(hosts)*(n+2) {
				t.Errorf("%s, round %d: %d flows, want a new one for each host", z.name, n, flows)
			}
			// Safe requests have tried the old connection first. Over HTTP/2, a PING may have tried it earlier.
			if resets := z.relay.Resets(); z.method == "GET" && resets != len(hosts)*(n+1) {
				t.Errorf("%s, round %d: %d flows were reset, want all that were forgotten", z.name, n, resets)
			}
		}
	}
	if n := check(t, all, "POST") - 4*len(hosts); n != 200 {
		t.Errorf("%d POSTs after a freeze, want 200", n)
	}
}

// An origin may close a connection while the function is frozen. If the freeze is short, a POST may still use the connection, so
// the proxy has to check it first.
func TestFrozenFunctionLosesAndDoublesNothingIfTheOriginCloses(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	hosts := names(6)
	for _, c := range []struct{ idle, frozen time.Duration }{
		{300 * time.Millisecond, 700 * time.Millisecond},
		{100 * time.Millisecond, 250 * time.Millisecond},
	} {
		t.Run(c.frozen.String(), func(t *testing.T) {
			t.Parallel()
			var all []*freezer
			var origins []*impatient
			for _, method := range []string{"POST", "GET"} {
				for _, protocol := range []string{"HTTP1", "HTTP2"} {
					o := &impatient{idle: c.idle, seen: map[string]int{}}
					leaf, err := ca.Leaf(hosts)
					if err != nil {
						t.Fatal(err)
					}
					addr := o.start(t, leaf, protocol == "HTTP1")
					z := newFreezer(t, method+" over "+protocol, method, addr, protocol == "HTTP1", ca.PEM(), hosts)
					z.seen = o.times
					origins, all = append(origins, o), append(all, z)
				}
			}
			warm(t, all)
			const rounds = 10
			for range rounds {
				round(t, all, c.frozen, func() {})
			}
			if n := check(t, all, "POST"); n < 60 {
				t.Errorf("%d POSTs, want 60", n)
			}
			for i, o := range origins {
				if n := o.conns(); n < len(hosts)*(rounds+1) {
					t.Errorf("%s: %d connections, want a new one for each request", all[i].name, n)
				}
			}
		})
	}
}

// impatient is an origin that soon closes idle connections.
type impatient struct {
	idle time.Duration
	ping time.Duration // over HTTP/2, sends a PING after so much silence; zero means no PING

	mu     sync.Mutex
	seen   map[string]int // by path
	opened int
}

func (o *impatient) start(t *testing.T, leaf tls.Certificate, http1 bool) (addr string) {
	t.Helper()
	protocols := []string{"h2", "http/1.1"}
	if http1 {
		protocols = protocols[1:]
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{leaf}, NextProtos: protocols})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		IdleTimeout: o.idle,
		HTTP2:       &http.HTTP2Config{SendPingTimeout: o.ping, PingTimeout: time.Minute},
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			o.mu.Lock()
			defer o.mu.Unlock()
			o.seen[r.URL.Path]++
		}),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.opened++
			return ctx
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { server.Close(); <-done })
	return l.Addr().String()
}

func (o *impatient) times(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen[path]
}

func (o *impatient) conns() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.opened
}

// A PING that has waited in the kernel since before the freeze does not show that the connection still works.
func TestPingFromBeforeTheFreezeIsNoSignOfLife(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	hosts := names(5)
	leaf, err := ca.Leaf(hosts)
	if err != nil {
		t.Fatal(err)
	}
	o := &impatient{idle: time.Minute, ping: 200 * time.Millisecond, seen: map[string]int{}}
	// A reset would tell the client. This relay drops packets silently.
	relay := &tlstest.Relay{Origin: o.start(t, leaf, false), Blackhole: true}
	relay.Start(t)
	z := newFreezer(t, "POST", "POST", relay.Addr, false, ca.PEM(), hosts)
	z.seen, z.relay = o.times, relay
	all := []*freezer{z}
	warm(t, all)
	round(t, all, time.Second, func() { relay.Forget(2 * o.ping) })
	check(t, all, "POST")
}
