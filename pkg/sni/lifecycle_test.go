package sni_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// held is an origin. The test decides when it answers /held.
type held struct {
	*tlstest.Origin
	began chan struct{}
	let   chan struct{}
}

func startHeld(t *testing.T, over protocol, certificates map[string]tls.Certificate) *held {
	h := &held{began: make(chan struct{}, 100), let: make(chan struct{})}
	h.Origin = &tlstest.Origin{HTTP1: over == overTLS1, Plain: over == overPlain, Certificates: certificates, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "first half, ")
		if r.URL.Path == "/held" {
			http.NewResponseController(w).Flush()
			h.began <- struct{}{}
			<-h.let
		}
		io.WriteString(w, "second half")
	})}
	h.Start(t)
	return h
}

// A change of the target must not break requests under way, and must leave no connection of the earlier target.
func TestRequestUnderWayFinishesAfterAChangeOfItsTarget(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		certificates := map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}
		first := startHeld(t, over, certificates)
		second := startOrigin(t, over, certificates)
		s := &switchable{targetOver(over, first.Addr, ca.PEM())}
		tr := newTransport(t, s)

		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://a.test/held", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		<-first.began
		if over != overHTTP2 {
			mustGet(t, tr, "https://a.test/") // a second connection, idle by now
		}
		s.target.Addresses = []string{second.Addr}
		mustGet(t, tr, "https://a.test/")
		if n := len(second.Requests()); n != 1 {
			t.Errorf("%d requests at the new address, want 1", n)
		}
		first.WaitConns(t, 1) // the connection in use
		close(first.let)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "first half, second half" {
			t.Errorf("%q, %v", body, err)
		}
		first.WaitConns(t, 0)
		mustGet(t, tr, "https://a.test/")
		if n := second.Conns(); n != 1 {
			t.Errorf("%d connections to the new address, want 1", n)
		}
		if _, pools, conns, _ := tr.Held(); pools != 1 || conns != 1 {
			t.Errorf("%d pools and %d connections are held, want one of each", pools, conns)
		}
	})
}

// A pool that two hosts share stays if one of them goes.
func TestPoolStaysForTheHostsThatStillHaveIt(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := startOrigin(t, over, map[string]tls.Certificate{"internal.test": tlstest.Leaf(t, ca, "internal.test")})
		shared := sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), ServerName: "internal.test"}
		targets := map[string]sni.Target{"a.test": shared, "b.test": shared}
		tr := newTransport(t, sni.TranslatorFunc(func(_ context.Context, host string) (sni.Target, error) { return targets[host], nil }))
		mustGet(t, tr, "https://a.test/")
		mustGet(t, tr, "https://b.test/")
		moved := shared
		moved.MinVersion = tls.VersionTLS13
		targets["a.test"] = moved
		mustGet(t, tr, "https://a.test/")
		mustGet(t, tr, "https://b.test/")
		if n := o.Conns(); n != 2 {
			t.Errorf("%d connections, want one for each target", n)
		}
		targets["b.test"] = moved
		mustGet(t, tr, "https://b.test/")
		o.WaitConns(t, 1)
	})
}

// The target changes under load. No request may fail, and no request may use the earlier target after the change.
func TestTargetChangesWhileRequestsRun(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		certificates := map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}
		origins := []*tlstest.Origin{startOrigin(t, over, certificates), startOrigin(t, over, certificates)}
		var current atomic.Int64
		tr := newTransport(t, sni.TranslatorFunc(func(ctx context.Context, _ string) (sni.Target, error) {
			n := current.Load()
			*ctx.Value(generationKey{}).(*int64) = n
			return over.target(sni.Target{Addresses: []string{origins[n%2].Addr}, Roots: sni.RootsFromPEM(ca.PEM() + strings.Repeat("\n", int(n)))}), nil
		}))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 50 {
					var generation int64
					ctx := context.WithValue(t.Context(), generationKey{}, &generation)
					req, err := http.NewRequestWithContext(ctx, "POST", "https://a.test/", strings.NewReader("x"))
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := send(tr, req); err != nil {
						t.Error(err)
					}
					if n := current.Load(); n < 10 && generation == n {
						current.CompareAndSwap(n, n+1)
					}
				}
			})
		}
		wg.Wait()
		if n := len(origins[0].Requests()) + len(origins[1].Requests()); n != 400 {
			t.Errorf("%d requests arrived, want 400", n)
		}
		// Only the last target has connections.
		origins[(current.Load()+1)%2].WaitConns(t, 0)
		if _, pools, conns, _ := tr.Held(); pools != 1 || conns == 0 {
			t.Errorf("%d pools, %d connections", pools, conns)
		}
		closeConnections(tr)
		origins[current.Load()%2].WaitConns(t, 0)
	})
}

type generationKey struct{}

// A middleware that rewrites Host and forgets the URL would send a request for one customer on the verified connection of another.
func TestHostThatIsNotTheURLsIsRefused(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		s := &switchable{targetOver(over, o.Addr, ca.PEM())}
		tr := newTransport(t, s)
		request := func(host string) *http.Request {
			req, err := http.NewRequestWithContext(t.Context(), "GET", "https://a.test/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			return req
		}
		for _, host := range []string{"b.test", "a.test.evil.test", "a..test", "127.0.0.1", "a.test:443:443", "b.test:443"} {
			_, err := send(tr, request(host))
			wantType(t, err, sni.HTTPRequestError)
			if !errors.Is(err, sni.ErrHostMismatch) {
				t.Errorf("%q: %v", host, err)
			}
		}
		if o.Conns() != 0 {
			t.Error("something was dialled")
		}
		for _, host := range []string{"", "a.test", "A.TEST", "a.test.", "a.test:8443"} {
			if _, err := send(tr, request(host)); err != nil {
				t.Errorf("%q: %v", host, err)
			}
		}
		s.target.HostHeader = "b.test"
		for _, host := range []string{"", "a.test", "c.test"} {
			req := request(host)
			if _, err := send(tr, req); err != nil || o.Last(t).Host != "b.test" || req.Host != host {
				t.Errorf("%q: %v, the origin saw %q, the request has %q", host, err, o.Last(t).Host, req.Host)
			}
		}
	})
}

// A hundred requests at a time need ten connections over HTTP/2 if all wait for their responses, and ten handshakes.
func TestRequestsThatComeTogetherShareConnections(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if body, err := get(t, tr, "https://a.test/"); err != nil || body != "a.test" {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
	wg.Wait()
	if n := len(o.Handshakes()); n > 10 {
		t.Errorf("%d handshakes, want 10 at most", n)
	}
}

// An origin that allows few requests on a connection gets more connections, and each request gets its response.
func TestRequestsBeyondTheStreamsOfAConnection(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{
		Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")},
		HTTP2:        &http.HTTP2Config{MaxConcurrentStreams: 4},
	}
	o.Start(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	mustGet(t, tr, "https://a.test/")
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/", strings.NewReader(fmt.Sprint(i)))
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := send(tr, req); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[string]int{}
	for _, r := range o.Requests()[1:] {
		seen[r.Body]++
	}
	for i := range 60 {
		if n := seen[fmt.Sprint(i)]; n != 1 {
			t.Errorf("POST %d was seen %d times", i, n)
		}
	}
}

// sharingDial waits until n requests share a dial.
func sharingDial(t *testing.T, tr *sni.Transport, n int) {
	t.Helper()
	for late := time.Now().Add(10 * time.Second); tr.SharingDial() != n; runtime.Gosched() {
		if time.Now().After(late) {
			t.Fatalf("%d requests share a dial, want %d", tr.SharingDial(), n)
		}
	}
}

// A request that waits for the dial of another must not be canceled with it.
func TestRequestThatWaitsOutlivesTheOneItWaitsFor(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	arrived := make(chan struct{}, 10)
	var let atomic.Bool
	relay := tlstest.Listen(t, func(c net.Conn) {
		arrived <- struct{}{}
		if !let.Load() {
			io.Copy(io.Discard, c)
			return
		}
		passOn(c, o.Addr)
	})
	tr := newTransport(t, to(sni.Target{Addresses: []string{relay}, Roots: sni.RootsFromPEM(ca.PEM())}))
	leader, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(leader, "GET", "https://a.test/", nil)
		_, err := send(tr, req)
		done <- err
	}()
	<-arrived
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if _, err := get(t, tr, "https://a.test/"); err != nil {
				t.Error(err)
			}
		})
	}
	sharingDial(t, tr, 6)
	let.Store(true)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the first request: %v", err)
	}
	wg.Wait()
	if n := len(o.Handshakes()); n != 1 {
		t.Errorf("%d handshakes, want one for the five", n)
	}
}

// If a dial fails, the requests that wait for it must not dial one after another.
func TestFailureToConnectIsSharedByThoseWhoWait(t *testing.T) {
	t.Parallel()
	let := make(chan struct{})
	address, calls := listening(t, func(net.Conn) { <-let })
	tr := newTransport(t, to(sni.Target{Addresses: []string{address}}))
	const requests = 10 // as many as share a dial
	var wg sync.WaitGroup
	var failed atomic.Int64
	for range requests {
		wg.Go(func() {
			_, err := get(t, tr, "https://a.test/")
			if e, ok := errors.AsType[*sni.Error](err); ok && e.Type == sni.ConnectionTerminated {
				failed.Add(1)
			}
		})
	}
	sharingDial(t, tr, requests)
	close(let)
	wg.Wait()
	if n := calls.Load(); failed.Load() != requests || n != 1 {
		t.Errorf("%d of %d requests failed as they should, with %d connections", failed.Load(), requests, n)
	}
}

// If a response was not read to its end, its connection must not serve another request.
func TestAnswerThatIsNotReadToItsEndEndsItsConnection(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{HTTP1: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(make([]byte, 1<<20))
	})}
	o.Start(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	for range 2 {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://a.test/", nil)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if n := o.Conns(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	o.WaitConns(t, 0)
}

// The hooks of net/http/httptrace are called as by net/http.
func TestTraceHooksAreCalled(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(over.target(sni.Target{Addresses: []string{"localhost:" + o.Port()}, Roots: sni.RootsFromPEM(ca.PEM())})))
		var mu sync.Mutex
		var got []string
		note := func(s string) { mu.Lock(); defer mu.Unlock(); got = append(got, s) }
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			DNSStart:             func(httptrace.DNSStartInfo) { note("dns") },
			TLSHandshakeStart:    func() { note("tls") },
			TLSHandshakeDone:     func(s tls.ConnectionState, err error) { note(fmt.Sprint("tls done ", s.ServerName, " ", err)) },
			GotConn:              func(i httptrace.GotConnInfo) { note(fmt.Sprint("conn ", i.Reused)) },
			GotFirstResponseByte: func() { note("answer") },
		})
		for range 2 {
			req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
			if _, err := send(tr, req); err != nil {
				t.Fatal(err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		want := "dns, tls, tls done a.test <nil>, conn false, answer, conn true, answer"
		if over == overPlain {
			want = "dns, conn false, answer, conn true, answer"
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("hooks were called as %s, want %s", s, want)
		}
	})
}

// A deadline ends a request that waits for the dial of another. The error says that time ran out while connecting.
func TestDeadlineWhileAnotherDials(t *testing.T) {
	t.Parallel()
	address, calls := listening(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	tr := newTransport(t, to(sni.Target{Addresses: []string{address}}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
		send(tr, req)
	}()
	sharingDial(t, tr, 1)
	short, stop := context.WithCancelCause(t.Context())
	waited := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(short, "GET", "https://a.test/", nil)
		_, err := send(tr, req)
		waited <- err
	}()
	sharingDial(t, tr, 2)
	stop(context.DeadlineExceeded)
	if e := wantType(t, <-waited, sni.ConnectionTimeout); !e.Timeout() {
		t.Errorf("%v does not say that time ran out", e)
	}
	if n := calls.Load(); n > 1 {
		t.Errorf("%d connections: the second request did not wait for the first", n)
	}
	cancel()
	<-done
}

// Before a server has announced its limit of streams, net/http assumes a hundred. The server would refuse most requests of a burst on a new
// connection, and net/http would deadlock over reservations.
func TestBurstOnANewConnectionToAServerThatTakesFewRequests(t *testing.T) {
	for _, streams := range []int{1, 4, 50} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(fmt.Sprint(method, " ", streams), func(t *testing.T) {
				t.Parallel()
				ca := tlstest.NewAuthority(t)
				o := &tlstest.Origin{
					Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")},
					HTTP2:        &http.HTTP2Config{MaxConcurrentStreams: streams},
				}
				o.Start(t)
				tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
				var wg sync.WaitGroup
				for i := range 100 {
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // otherwise the test would hang
						defer cancel()
						var body io.Reader
						if method == "POST" {
							body = io.MultiReader(strings.NewReader("x"))
						}
						req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("https://a.test/%d", i), body)
						if err != nil {
							t.Error(err)
							return
						}
						if _, err := send(tr, req); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				seen := map[string]int{}
				for _, r := range o.Requests() {
					seen[r.URI]++
				}
				for uri, n := range seen {
					if n != 1 {
						t.Errorf("%s arrived %d times", uri, n)
					}
				}
				if len(seen) != 100 {
					t.Errorf("%d requests arrived, want 100", len(seen))
				}
			})
		}
	}
}

// If an origin allows as many streams as net/http assumes, its announcement changes nothing, and its first response may take long.
func TestSlowFirstAnswerDoesNotKeepOthersWaiting(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	h := &tlstest.Origin{
		Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")},
		HTTP2:        &http.HTTP2Config{MaxConcurrentStreams: 100},
	}
	first, let := make(chan struct{}), make(chan struct{})
	h.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(first)
			<-let
		}
	})
	h.Start(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{h.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	done := make(chan error, 1)
	go func() {
		_, err := get(t, tr, "https://a.test/slow")
		done <- err
	}()
	<-first
	mustGet(t, tr, "https://a.test/")
	mustGet(t, tr, "https://a.test/")
	if n := h.Conns(); n != 1 {
		t.Errorf("%d connections, want the slow request's", n)
	}
	close(let)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// If net/http refuses to send a request, another connection does not help.
func TestRequestThatCannotBeSentIsNotDialledForAgain(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(targetOver(over, o.Addr, ca.PEM())))
		for name, change := range map[string]func(*http.Request){
			"header": func(r *http.Request) { r.Header.Set("X", "a\nb") },
			"method": func(r *http.Request) { r.Method = "A B" },
			"nil":    func(r *http.Request) { r.Header = nil },
		} {
			req, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/", strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			change(req)
			_, err = send(tr, req)
			if e := wantType(t, err, sni.HTTPRequestError); e == nil {
				t.Error(name)
			}
		}
		if n := o.Conns(); n > 3 || len(o.Requests()) != 0 {
			t.Errorf("%d connections for three requests, of which %d arrived", n, len(o.Requests()))
		}
	})
}

// A request that was canceled before it was sent is not a sign of life of the origin.
func TestCancelledRequestIsNoSignOfLife(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		for range 10 { // net/http may see the canceled context early or late
			tr := newTransport(t, to(targetOver(over, o.Addr, ca.PEM())))
			mustGet(t, tr, "https://a.test/")
			before := o.Conns()
			tr.SetIdleFor(time.Second) // longer than UnsafeReuse
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
			send(tr, req)
			req, _ = http.NewRequestWithContext(t.Context(), "POST", "https://a.test/", nil)
			if _, err := send(tr, req); err != nil {
				t.Fatal(err)
			}
			if o.Conns() == before {
				t.Error("the POST went out on a connection that nothing was heard of for too long")
			}
		}
	})
}

// If a hook of the caller panics, the requests that wait for its dial must go on.
func TestPanicOfAHookDoesNotBlockItsTarget(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	for _, hooks := range []*httptrace.ClientTrace{
		{TLSHandshakeStart: func() { panic("hook") }},
		{GotConn: func(httptrace.GotConnInfo) { panic("hook") }},
	} {
		func() {
			defer func() { recover() }()
			req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), hooks), "GET", "https://a.test/", nil)
			send(tr, req)
			t.Error("no panic")
		}()
		mustGet(t, tr, "https://a.test/")
	}
}

// A request target can contain a host, which wins over Host: it would be a request for another customer on a connection that was verified
// for the first.
func TestRequestTargetDoesNotNameAnotherHost(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(targetOver(over, o.Addr, ca.PEM())))
		for name, change := range map[string]func(*http.Request){
			"opaque":           func(r *http.Request) { r.URL.Opaque = "https://evil.test/admin" },
			"opaque authority": func(r *http.Request) { r.URL.Opaque = "//evil.test/x" },
			"path":             func(r *http.Request) { r.URL.Path = "https://evil.test/x" },
			"CONNECT":          func(r *http.Request) { r.Method = "CONNECT" },
		} {
			req, err := http.NewRequestWithContext(t.Context(), "GET", "https://a.test/", nil)
			if err != nil {
				t.Fatal(err)
			}
			change(req)
			_, err = send(tr, req)
			if e := wantType(t, err, sni.HTTPRequestError); e == nil {
				t.Error(name)
			}
		}
		if o.Conns() != 0 {
			t.Error("something was dialled")
		}
		req, _ := http.NewRequestWithContext(t.Context(), "OPTIONS", "https://a.test/", nil)
		req.URL.Path = "*"
		if _, err := send(tr, req); err != nil || o.Conns() != 1 { // net/http's server answers it itself
			t.Errorf("OPTIONS *: %v, %d connections", err, o.Conns())
		}
	})
}
