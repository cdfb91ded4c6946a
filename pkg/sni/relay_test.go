package sni_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// These tests are about the repetition of requests, and the connections for that: the promise in the comment on Transport.

const (
	idle   = 200 * time.Millisecond // the relay forgets its flows after this time without a byte
	lately = 50 * time.Millisecond  // UnsafeReuse
)

// relayed returns a transport to an origin of a.test behind a relay.
func relayed(t *testing.T, over protocol, change ...func(*tlstest.Relay)) (*sni.Transport, *tlstest.Origin, *tlstest.Relay) {
	t.Helper()
	ca := tlstest.NewAuthority(t)
	origin := &tlstest.Origin{HTTP1: over == overTLS1, Plain: over == overPlain, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}}
	origin.Start(t)
	relay := &tlstest.Relay{Origin: origin.Addr}
	for _, f := range change {
		f(relay)
	}
	relay.Start(t)
	tr := newTransport(t, to(targetOver(over, relay.Addr, ca.PEM())))
	tr.UnsafeReuse = lately
	return tr, origin, relay
}

// observe returns a function that returns the last Exchange of a Transport.
func observe(tr *sni.Transport) func() sni.Exchange {
	var mu sync.Mutex
	var last sni.Exchange
	tr.Observe = func(_ context.Context, x *sni.Exchange) {
		mu.Lock()
		defer mu.Unlock()
		last = *x
	}
	return func() sni.Exchange {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

// stream is a body of unknown length that can be read only once.
type stream struct{ io.Reader }

func sendTo(t *testing.T, tr *sni.Transport, method, path string, body io.Reader) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://a.test"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return send(tr, req)
}

func mustSendTo(t *testing.T, tr *sni.Transport, method, path string, body io.Reader) {
	t.Helper()
	if _, err := sendTo(t, tr, method, path, body); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
}

// arrivals returns the requests for a path that reached an origin.
func arrivals(o *tlstest.Origin, path string) (seen []tlstest.Request) {
	for _, r := range o.Requests() {
		if r.URI == path {
			seen = append(seen, r)
		}
	}
	return seen
}

func wantFlows(t *testing.T, relay *tlstest.Relay, want int, when string) {
	t.Helper()
	if n := relay.Flows(); n != want {
		t.Errorf("%d connections %s, want %d", n, when, want)
	}
}

// The other tests rely on the relay, which must act as a gateway does.
func TestRelayForgetsSilently(t *testing.T) {
	t.Parallel()
	got := make(chan string)
	origin := tlstest.Listen(t, func(c net.Conn) {
		b := make([]byte, len("before"))
		io.ReadFull(c, b)
		got <- string(b)
		b, _ = io.ReadAll(c)
		got <- string(b)
	})
	relay := tlstest.NewRelay(t, origin)
	c, err := net.Dial("tcp", relay.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "before")
	if s := <-got; s != "before" {
		t.Errorf("the origin read %q", s)
	}
	relay.Forget(idle)
	c.SetReadDeadline(time.Now().Add(idle))
	var timeout net.Error
	if _, err := c.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("the client was told by %v", err)
	}
	c.SetReadDeadline(time.Time{})
	io.WriteString(c, "after")
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client read %v, want a reset", err)
	}
	if s := <-got; s != "" || relay.Flows() != 1 || relay.Resets() != 1 {
		t.Errorf("the origin read %q; %d flows, %d resets", s, relay.Flows(), relay.Resets())
	}
}

func TestUnsafeRequestIsNotLostToAForgottenFlow(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		for _, blackhole := range []bool{false, true} {
			tr, origin, relay := relayed(t, over, func(r *tlstest.Relay) { r.Blackhole = blackhole })
			last := observe(tr)
			mustSendTo(t, tr, "GET", "/", nil)
			for i, c := range []struct {
				method, name string
				body         io.Reader
				want         string
			}{
				{"POST", "body", strings.NewReader("body"), "body"},
				{"POST", "stream", stream{strings.NewReader("body")}, "body"},
				{"DELETE", "none", nil, ""},
				{"PURGE", "own method", nil, ""},
			} {
				relay.Forget(idle)
				wantFlows(t, relay, i+1, "before "+c.name)
				path := fmt.Sprintf("/%d", i)
				mustSendTo(t, tr, c.method, path, c.body)
				wantFlows(t, relay, i+2, "after "+c.name)
				if seen := arrivals(origin, path); len(seen) != 1 || seen[0].Body != c.want {
					t.Errorf("%s with %s arrived as %+v", c.method, c.name, seen)
				}
				if x := last(); x.Sent != 1 || x.Reused {
					t.Errorf("%s with %s: sent %d times, reused %t", c.method, c.name, x.Sent, x.Reused)
				}
			}
		}
	})
}

func TestSafeRequestOnAForgottenFlowIsRepeatedOnce(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		tr, origin, relay := relayed(t, over)
		last := observe(tr)
		mustSendTo(t, tr, "GET", "/", nil)
		for i, c := range []struct {
			method string
			body   io.Reader
		}{{"GET", nil}, {"HEAD", nil}, {"OPTIONS", nil}, {"GET", strings.NewReader("body")}} {
			relay.Forget(idle)
			path := fmt.Sprintf("/%d", i)
			mustSendTo(t, tr, c.method, path, c.body)
			wantFlows(t, relay, i+2, "after "+c.method)
			if n := relay.Resets(); n != i+1 {
				t.Errorf("%d flows were reset, want %d: it was to go out on the old connection first", n, i+1)
			}
			if seen := arrivals(origin, path); len(seen) != 1 || c.body != nil && seen[0].Body != "body" {
				t.Errorf("%s arrived as %+v", c.method, seen)
			}
			if x := last(); x.Sent != 2 || x.Reused {
				t.Errorf("%s: sent %d times, at last on a reused connection: %t", c.method, x.Sent, x.Reused)
			}
		}
	})
}

// The cause that ended one connection has most likely ended its neighbours.
func TestRepeatedRequestDoesNotTryAnotherConnectionOfBefore(t *testing.T) {
	t.Parallel()
	tr, origin, relay := relayed(t, overTLS1)
	last := observe(tr)
	req, err := http.NewRequestWithContext(t.Context(), "GET", "https://a.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	mustSendTo(t, tr, "GET", "/", nil) // while the first response keeps its connection in use
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	wantFlows(t, relay, 2, "for two requests at once")
	relay.Forget(idle)
	mustSendTo(t, tr, "GET", "/again", nil)
	wantFlows(t, relay, 3, "in the end")
	if x := last(); x.Sent != 2 || x.Reused || len(arrivals(origin, "/again")) != 1 {
		t.Errorf("sent %d times, at last on a reused connection: %t; arrived %d times", x.Sent, x.Reused, len(arrivals(origin, "/again")))
	}
}

// If a part of a body was read, and the body cannot be read again, the rest must not be sent as the whole.
func TestBodyThatIsGoneIsNotSentAgain(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		for _, long := range []bool{false, true} {
			tr, origin, relay := relayed(t, over)
			mustSendTo(t, tr, "GET", "/", nil)
			relay.Forget(idle)
			body := "body"
			if long {
				body = strings.Repeat("x", 1<<20)
			}
			_, err := sendTo(t, tr, "GET", "/again", stream{strings.NewReader(body)})
			switch seen := arrivals(origin, "/again"); {
			case err == nil && len(seen) == 1 && seen[0].Body == body: // for a long body, only if no byte had been read
			case !long || err == nil || len(seen) > 0:
				t.Errorf("%v; it arrived %d times", err, len(seen))
			default:
				wantType(t, err, sni.ConnectionTerminated)
			}
		}
	})
}

// Over HTTP/2, a PING finds a dead flow that nobody resets.
func TestSafeRequestThatFellIntoABlackHoleIsRepeated(t *testing.T) {
	t.Parallel()
	tr, origin, relay := relayed(t, overHTTP2, func(r *tlstest.Relay) { r.Blackhole = true })
	tr.PingTimeout = 2 * idle // a shorter time would keep the flow alive
	last := observe(tr)
	mustSendTo(t, tr, "GET", "/", nil)
	relay.Forget(idle)
	mustSendTo(t, tr, "GET", "/again", nil)
	if n := len(arrivals(origin, "/again")); n != 1 || relay.Resets() != 1 || last().Sent > 2 {
		t.Errorf("it arrived %d times; sent %d times; %d flows met", n, last().Sent, relay.Resets())
	}
	wantFlows(t, relay, 2, "in the end")
}

func TestUnsafeRequestsInSequenceKeepTheirConnection(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		tr, _, relay := relayed(t, over)
		tr.UnsafeReuse = time.Minute
		for range 5 {
			mustSendTo(t, tr, "POST", "/", strings.NewReader("body"))
		}
		wantFlows(t, relay, 1, "for POSTs within UnsafeReuse")
	})
}

func TestUnsafeReuseIsShortByDefault(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		tr, _, relay := relayed(t, over)
		tr.UnsafeReuse = 0
		mustSendTo(t, tr, "POST", "/", nil)
		tr.SetIdleFor(0)
		mustSendTo(t, tr, "POST", "/", nil)
		wantFlows(t, relay, 1, "for POSTs in a row")
		tr.SetIdleFor(500 * time.Millisecond)
		mustSendTo(t, tr, "POST", "/", nil)
		wantFlows(t, relay, 2, "for POSTs with half a second between them")
		mustSendTo(t, tr, "GET", "/", nil)
		wantFlows(t, relay, 2, "with a GET more")
	})
}

func TestNegativeUnsafeReuseGivesEachUnsafeRequestAConnection(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		tr, origin, relay := relayed(t, over)
		tr.UnsafeReuse = -1
		mustSendTo(t, tr, "GET", "/", nil)
		for i := range 3 {
			mustSendTo(t, tr, "POST", "/", nil)
			wantFlows(t, relay, i+2, "after a POST")
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := sendTo(t, tr, "POST", "/", nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		wantFlows(t, relay, 12, "after POSTs at once")
		for range 5 {
			mustSendTo(t, tr, "GET", "/safe", nil)
		}
		wantFlows(t, relay, 12, "after GETs, which share what is there")
		conn := arrivals(origin, "/safe")[0].Conn
		for _, r := range arrivals(origin, "/safe") {
			if r.Conn != conn {
				t.Error("GETs in sequence went out on several connections")
			}
		}
	})
}

// Bytes on an idle connection over HTTP/1.1, such as the beginning of an alert, must not count as a sign of life for a POST.
func TestBytesOnAnIdleConnectionAreNoSignOfLife(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	leaf := tlstest.Leaf(t, ca, "a.test")
	var posts, conns atomic.Int32
	hangUp, half := make(chan struct{}), make(chan struct{})
	address := tlstest.Listen(t, func(c net.Conn) {
		first := conns.Add(1) == 1
		tlsConn := tls.Server(c, serverConfig(leaf))
		b := make([]byte, 4<<10)
		n, _ := tlsConn.Read(b)
		if strings.HasPrefix(string(b[:n]), "POST") {
			posts.Add(1)
		}
		io.WriteString(tlsConn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		if first {
			<-hangUp
			c.Write([]byte{21, 3, 3}) // the beginning of an alert
			close(half)
			tlsConn.Read(b) // a POST on this connection is not answered
			return
		}
		io.Copy(io.Discard, c)
	})
	tr := newTransport(t, to(sni.Target{Addresses: []string{address}, Roots: sni.RootsFromPEM(ca.PEM())}))
	mustSendTo(t, tr, "GET", "/", nil)
	tr.SetIdleFor(time.Second) // longer than UnsafeReuse
	close(hangUp)
	<-half // over loopback, the bytes have arrived when they are written
	mustSendTo(t, tr, "POST", "/", strings.NewReader("body"))
	if posts.Load() != 1 {
		t.Errorf("the POST arrived %d times", posts.Load())
	}
}

// rude is an origin of a.test. It reads a request for /reset, and resets the connection. It holds a request for /slow until the body has
// arrived.
type rude struct {
	addr   string
	server *http.Server
	slow   chan struct{} // receives when the headers have arrived

	mu   sync.Mutex
	seen map[string]int // by URI
}

func startRude(t *testing.T, ca *devca.Authority, over protocol) *rude {
	t.Helper()
	config := serverConfig(tlstest.Leaf(t, ca, "a.test"))
	if config.NextProtos = []string{"h2", "http/1.1"}; over == overTLS1 {
		config.NextProtos = []string{"http/1.1"}
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	type key struct{}
	o := &rude{addr: l.Addr().String(), slow: make(chan struct{}, 1), seen: map[string]int{}}
	o.server = &http.Server{
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				o.slow <- struct{}{}
			}
			io.Copy(io.Discard, r.Body)
			o.mu.Lock()
			o.seen[r.URL.RequestURI()]++
			o.mu.Unlock()
			if r.URL.Path == "/reset" {
				c := r.Context().Value(key{}).(*tls.Conn).NetConn().(*net.TCPConn)
				c.SetLinger(0)
				c.Close()
			}
		}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, key{}, c) },
	}
	done := make(chan struct{})
	go func() { defer close(done); o.server.Serve(l) }()
	t.Cleanup(func() { o.server.Close(); <-done })
	return o
}

func (o *rude) times(uri string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen[uri]
}

// A request that is sent when the origin closes the connection may have been processed or not. So it must not be sent again unless it is
// safe.
func TestOriginThatHangsUpAfterEachAnswer(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		for name, hangUp := range map[string]func(*tls.Conn){
			"with close_notify":    func(c *tls.Conn) { c.Close() },
			"without close_notify": func(c *tls.Conn) { c.NetConn().Close() },
			"with a reset":         func(c *tls.Conn) { c.NetConn().(*net.TCPConn).SetLinger(0); c.NetConn().Close() },
		} {
			ca := tlstest.NewAuthority(t)
			leaf := tlstest.Leaf(t, ca, "a.test")
			var arrived atomic.Int32
			address := ""
			if over != overHTTP2 {
				address = tlstest.Listen(t, func(raw net.Conn) {
					c := tls.Server(raw, serverConfig(leaf))
					r, err := http.ReadRequest(bufio.NewReader(c))
					if err != nil {
						return
					}
					io.Copy(io.Discard, r.Body)
					arrived.Add(1)
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					hangUp(c)
				})
			} else {
				address = serveFrames(t, leaf, func(c *tls.Conn, stream uint32) bool {
					arrived.Add(1)
					answerFrame(c, stream)
					hangUp(c)
					return false
				})
			}
			tr := newTransport(t, to(sni.Target{Addresses: []string{address}, Roots: sni.RootsFromPEM(ca.PEM())}))
			tr.UnsafeReuse = time.Minute // worse than the default
			lost := 0
			for range 30 {
				before := arrived.Load()
				_, err := sendTo(t, tr, "POST", "/", strings.NewReader("body"))
				if n := arrived.Load() - before; n > 1 || err == nil && n != 1 {
					t.Fatalf("%s: the POST arrived %d times, error %v", name, n, err)
				}
				if err != nil {
					lost++
					wantType(t, err, sni.ConnectionTerminated)
				}
				before = arrived.Load()
				mustSendTo(t, tr, "GET", "/", nil)
				if n := arrived.Load() - before; n != 1 {
					t.Fatalf("%s: the GET arrived %d times", name, n)
				}
			}
			t.Logf("%s: %d of 30 POSTs were lost", name, lost)
		}
	})
}

func TestRequestThatWasReadAndResetIsRepeatedOnlyIfSafeAndOnAReusedConnection(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		origin := startRude(t, ca, over)
		for i, c := range []struct {
			method string
			reused bool
			want   int
		}{
			{"POST", false, 1},
			{"POST", true, 1},
			{"PUT", true, 1},
			{"DELETE", true, 1},
			{"GET", false, 1},
			{"GET", true, 2},
			{"HEAD", true, 2},
		} {
			tr := newTransport(t, to(sni.Target{Addresses: []string{origin.addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
			tr.UnsafeReuse = time.Minute
			last := observe(tr)
			if c.reused {
				mustSendTo(t, tr, "GET", "/", nil)
			}
			path := fmt.Sprintf("/reset?%d", i)
			_, err := sendTo(t, tr, c.method, path, strings.NewReader("body"))
			wantType(t, err, sni.ConnectionTerminated)
			if n := origin.times(path); n != c.want || last().Sent != c.want {
				t.Errorf("%s, reused %t: arrived %d times, sent %d times; want %d", c.method, c.reused, n, last().Sent, c.want)
			}
			if c.method == "POST" && last().Reused != c.reused {
				t.Errorf("the POST was on a reused connection: %t, want %t", last().Reused, c.reused)
			}
		}
	})
}

func TestOriginsOwnLimitIsKept(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		announces, method string
		after             time.Duration
		conns             int
	}{
		{"timeout=0", "GET", 0, 2},
		{"timeout=0", "POST", 0, 2},
		{"timeout=1", "GET", 0, 1},
		{"timeout=1", "POST", 500 * time.Millisecond, 2},
		{"timeout=1", "GET", time.Second, 2},
		{"max=100, Timeout=1", "GET", time.Second, 2},
		// The limit is half of it for requests that are not safe, and a second less for other requests.
		{"timeout=4", "POST", 2 * time.Second, 2},
		{"timeout=4", "GET", 2 * time.Second, 1},
		{"timeout=4", "GET", 3 * time.Second, 2},
		{"", "POST", 2 * time.Second, 1},
	} {
		ca := tlstest.NewAuthority(t)
		origin := &tlstest.Origin{
			HTTP1:        true,
			Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.announces != "" {
					w.Header().Set("Keep-Alive", c.announces)
				}
			}),
		}
		origin.Start(t)
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
		tr.UnsafeReuse, tr.IdleConnTimeout = time.Hour, time.Hour // only the announced time counts
		t.Run(fmt.Sprintf("%s %s after %v", c.announces, c.method, c.after), func(t *testing.T) {
			t.Parallel()
			mustSendTo(t, tr, "GET", "/", nil)
			tr.SetIdleFor(c.after)
			mustSendTo(t, tr, c.method, "/", nil)
			if n := origin.Conns(); n != c.conns {
				t.Errorf("%d connections, want %d", n, c.conns)
			}
		})
	}
}

// Go's server sends GOAWAY if a handler sets Connection: close, even if other requests are on the way.
func TestNothingIsLostOrDoubledAroundAGoAway(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	var answered atomic.Int32
	origin := &tlstest.Origin{
		Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if answered.Add(1)%10 == 0 {
				w.Header().Set("Connection", "close")
			}
		}),
	}
	origin.Start(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	tr.UnsafeReuse = time.Minute
	const workers, each = 4, 100
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				method := []string{"POST", "GET"}[i%2]
				if _, err := sendTo(t, tr, method, fmt.Sprintf("/%d/%d", w, i), strings.NewReader("body")); err != nil {
					t.Errorf("%s: %v", method, err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]int{}
	for _, r := range origin.Requests() {
		if seen[r.URI]++; seen[r.URI] > 1 || r.Body != "body" {
			t.Errorf("%s %s arrived %d times, with body %q", r.Method, r.URI, seen[r.URI], r.Body)
		}
	}
	if len(seen) != workers*each || origin.Conns() < workers*each/20 {
		t.Errorf("%d requests arrived, over %d connections", len(seen), origin.Conns())
	}
}

// A load balancer does this when a server is replaced.
func TestNothingIsLostOrDoubledWhenAnOriginShutsDown(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	first, second := startRude(t, ca, overHTTP2), startRude(t, ca, overHTTP2)
	tr := newTransport(t, to(sni.Target{Addresses: []string{first.addr, second.addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	tr.UnsafeReuse = time.Minute
	mustSendTo(t, tr, "POST", "/", nil)
	body, rest := io.Pipe()
	slow := make(chan error)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/slow", body)
		if err == nil {
			_, err = send(tr, req)
		}
		slow <- err
	}()
	<-first.slow
	down := make(chan error)
	go func() { down <- first.server.Shutdown(t.Context()) }()
	for i := 0; i < 50 || second.times("/?"+fmt.Sprint(i-1)) == 0; i++ { // until the first accepts no more
		uri := fmt.Sprintf("/?%d", i)
		mustSendTo(t, tr, "POST", uri, strings.NewReader("body"))
		if n := first.times(uri) + second.times(uri); n != 1 {
			t.Fatalf("the POST arrived %d times", n)
		}
	}
	rest.Close()
	if err := <-slow; err != nil || first.times("/slow") != 1 {
		t.Errorf("the POST under way: %v, arrived %d times", err, first.times("/slow"))
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// An HTTP/2 server can say that it did not process a request. A POST is repeated only then, and only a few times.
func TestOnlyWhatHTTP2SaysWasNotProcessedIsRepeated(t *testing.T) {
	t.Parallel()
	const (
		noError, internal, refused, cancel, calm = 0x0, 0x2, 0x7, 0x8, 0xb
		rst, goAway                              = 0x3, 0x7
	)
	u32 := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	reset := func(code uint32) func(*tls.Conn, uint32) bool {
		return func(c *tls.Conn, stream uint32) bool {
			frame(c, rst, 0, stream, u32(code))
			return true
		}
	}
	// goes sends GOAWAY whose last stream is below that of the request, and closes the connection if asked to.
	goes := func(below, code uint32, hangUp bool) func(*tls.Conn, uint32) bool {
		return func(c *tls.Conn, stream uint32) bool {
			frame(c, goAway, 0, 0, append(u32(stream-min(below, stream)), u32(code)...))
			return !hangUp
		}
	}
	body := func() io.Reader { return strings.NewReader("body") }
	once := func() io.Reader { return stream{strings.NewReader(strings.Repeat("x", 48<<10))} } // it fits into the first window
	kept := func() io.Reader { return stream{strings.NewReader("body")} }
	for _, c := range []struct {
		name   string
		method string
		body   func() io.Reader
		refuse func(c *tls.Conn, stream uint32) bool // answers the request; false closes the connection
		times  int                                   // how often, before the request is answered
		sent   int
		ok     bool
	}{
		{"refused", "POST", body, reset(refused), 1, 2, true},
		{"refused three times", "POST", body, reset(refused), 3, 4, true},
		{"refused for ever", "POST", body, reset(refused), 100, 4, false},
		{"refused for ever", "GET", body, reset(refused), 100, 4, false},
		{"refused, body gone", "POST", once, reset(refused), 1, 1, false},
		{"refused, body kept", "POST", kept, reset(refused), 1, 2, true},
		{"GOAWAY before it, body kept", "POST", kept, goes(2, noError, false), 1, 2, true},
		{"internal error", "POST", body, reset(internal), 1, 1, false},
		{"cancelled", "POST", body, reset(cancel), 1, 1, false},
		{"enhance your calm", "POST", body, reset(calm), 1, 1, false},
		{"no error, and no answer", "POST", body, reset(noError), 1, 1, false},
		{"GOAWAY before it", "POST", body, goes(2, noError, false), 1, 2, true},
		{"GOAWAY before it, then the end", "POST", body, goes(2, noError, true), 1, 2, true},
		{"GOAWAY before it, body gone", "POST", once, goes(2, noError, false), 1, 1, false},
		{"GOAWAY after it, then the end", "POST", body, goes(0, noError, true), 1, 1, false},
		{"GOAWAY after it, then the end", "GET", body, goes(0, noError, true), 1, 2, true},
		{"the end", "POST", body, func(*tls.Conn, uint32) bool { return false }, 1, 1, false},
		{"the end", "GET", body, func(*tls.Conn, uint32) bool { return false }, 1, 2, true},
		{"the end, twice", "GET", body, func(*tls.Conn, uint32) bool { return false }, 2, 2, false},
	} {
		t.Run(c.method+" "+c.name, func(t *testing.T) {
			t.Parallel()
			ca := tlstest.NewAuthority(t)
			var n atomic.Int32
			address := serveFrames(t, tlstest.Leaf(t, ca, "a.test"), func(conn *tls.Conn, stream uint32) bool {
				if n := int(n.Add(1)); n > 1 && n <= 1+c.times {
					return c.refuse(conn, stream)
				}
				answerFrame(conn, stream)
				return true
			})
			tr := newTransport(t, to(sni.Target{Addresses: []string{address}, Roots: sni.RootsFromPEM(ca.PEM())}))
			tr.UnsafeReuse = time.Minute
			last := observe(tr)
			mustSendTo(t, tr, "GET", "/", nil)
			_, err := sendTo(t, tr, c.method, "/", c.body())
			if (err == nil) != c.ok {
				t.Errorf("error %v, want success %t", err, c.ok)
			}
			if arrived := int(n.Load()) - 1; arrived != c.sent || last().Sent != c.sent {
				t.Errorf("arrived %d times, sent %d times; want %d", arrived, last().Sent, c.sent)
			}
		})
	}
}

// serveFrames is a small HTTP/2 server. It calls request when a request and its body have arrived. If request returns false, it closes
// the connection.
func serveFrames(t *testing.T, leaf tls.Certificate, request func(c *tls.Conn, stream uint32) bool, sent ...func(length int)) (address string) {
	config := serverConfig(leaf)
	config.NextProtos = []string{"h2"}
	var conns sync.Map // a stream may end a moment after its request, so that CloseIdleConnections misses it
	address = tlstest.Listen(t, func(raw net.Conn) {
		conns.Store(raw, nil)
		const (
			data, headers, settings, ping = 0x0, 0x1, 0x4, 0x6
			ack, endStream                = 0x1, 0x1
		)
		c := tls.Server(raw, config)
		defer c.Close()
		if _, err := io.CopyN(io.Discard, c, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
			return
		}
		frame(c, settings, 0, 0, nil)
		head := make([]byte, 9)
		for {
			if _, err := io.ReadFull(c, head); err != nil {
				return
			}
			payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
			if _, err := io.ReadFull(c, payload); err != nil {
				return
			}
			kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
			for _, f := range sent {
				if kind == data {
					f(len(payload))
				}
			}
			switch {
			case kind == settings && flags&ack == 0:
				frame(c, settings, ack, 0, nil)
			case kind == ping && flags&ack == 0:
				frame(c, ping, ack, 0, payload)
			case (kind == headers || kind == data) && flags&endStream != 0:
				if !request(c, stream) {
					return
				}
			}
		}
	})
	t.Cleanup(func() { conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true }) })
	return address
}

// answerFrame answers with 200.
func answerFrame(w io.Writer, stream uint32) {
	const headers, endStreamAndHeaders, status200 = 0x1, 0x5, 0x88
	frame(w, headers, endStreamAndHeaders, stream, []byte{status200})
}

// frame writes an HTTP/2 frame (RFC 9113 section 4.1).
func frame(w io.Writer, kind, flags byte, stream uint32, payload []byte) {
	n := len(payload)
	w.Write(append(binary.BigEndian.AppendUint32([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}, stream), payload...))
}
