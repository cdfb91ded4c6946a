package sni_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

func TestOneConnectionForRequestsInSequence(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(targetOver(over, origin.Addr, ca.PEM())))
		// All spellings of a name share a pool and an SNI, in lower case.
		hosts := []string{"a.test", "A.Test", "a.test.", "a.test:443"}
		if over == overPlain {
			hosts[3] = "a.test:80"
		}
		for _, host := range hosts {
			mustGet(t, tr, "https://"+host+"/")
		}
		if got := origin.Handshakes(); origin.Conns() != 1 || over != overPlain && !slices.Equal(got, []string{"a.test"}) {
			t.Errorf("%d connections, handshakes %q, want one for a.test", origin.Conns(), got)
		}
		if host := origin.Requests()[1].Host; host != "A.Test" {
			t.Errorf("Host arrived as %q, want it as the client wrote it", host)
		}
	})
}

// No request may use a connection of another target.
func TestChangedTargetIsNotServedByTheOldConnection(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		ca, other := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
		certificates := map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test"), "b.test": tlstest.Leaf(t, ca, "b.test")}
		first, second := startOrigin(t, over, certificates), startOrigin(t, over, certificates)
		var target sni.Target
		tr := newTransport(t, sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) { return target, nil }))
		base := targetOver(over, first.Addr, ca.PEM())
		for _, c := range []struct {
			name   string
			change func(*sni.Target)
			want   func(t *testing.T, body string, err error)
		}{
			{"address", func(x *sni.Target) { x.Addresses = []string{second.Addr} }, func(t *testing.T, body string, err error) {
				if err != nil || second.Conns() != 1 {
					t.Errorf("error %v, %d connections to the new address", err, second.Conns())
				}
			}},
			{"roots", func(x *sni.Target) { x.Roots = sni.RootsFromPEM(other.PEM()) }, func(t *testing.T, _ string, err error) {
				wantType(t, err, sni.TLSCertificateError)
			}},
			{"no roots", func(x *sni.Target) { x.Roots = sni.Roots{} }, func(t *testing.T, _ string, err error) {
				wantType(t, err, sni.TLSCertificateError)
			}},
			{"server name", func(x *sni.Target) { x.ServerName = "b.test" }, func(t *testing.T, body string, err error) {
				if err != nil || body != "b.test" {
					t.Errorf("answered by %q, %v", body, err)
				}
			}},
			{"minimum version", func(x *sni.Target) { x.MinVersion = tls.VersionTLS13 }, func(t *testing.T, _ string, err error) {
				if err != nil || first.Handshakes()[len(first.Handshakes())-1] != "a.test" {
					t.Errorf("%v, handshakes %q", err, first.Handshakes())
				}
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				target = base
				mustGet(t, tr, "https://a.test/")
				before := len(first.Handshakes()) + len(second.Handshakes())
				c.change(&target)
				body, err := get(t, tr, "https://a.test/")
				c.want(t, body, err)
				if after := len(first.Handshakes()) + len(second.Handshakes()); after != before+1 {
					t.Errorf("%d new handshakes after the change, want 1", after-before)
				}
			})
		}
	})
}

// Connections and pools stay bounded for any number of hosts.
func TestPoolsAreBoundedAndEvictedOnesCloseTheirConnections(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		certificates := map[string]tls.Certificate{}
		hosts := make([]string, 40)
		for i := range hosts {
			hosts[i] = fmt.Sprintf("h%d.test", i)
			certificates[hosts[i]] = tlstest.Leaf(t, ca, hosts[i])
		}
		origin := startOrigin(t, over, certificates)
		tr := newTransport(t, to(targetOver(over, origin.Addr, ca.PEM())))
		tr.MaxTargets = 3
		tr.IdleConnTimeout = time.Hour // only eviction may close connections
		for _, host := range hosts {
			mustGet(t, tr, "https://"+host+"/")
		}
		origin.WaitConns(t, 3)
		mustGet(t, tr, "https://h39.test/") // the newest is kept
		if n := origin.Conns(); n != len(hosts) {
			t.Errorf("%d connections, want %d", n, len(hosts))
		}
		tr.CloseIdleConnections()
		origin.WaitConns(t, 0)
	})
}

func TestIdleConnectionsAreClosedInTime(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(targetOver(over, origin.Addr, ca.PEM())))
		tr.IdleConnTimeout = 50 * time.Millisecond
		mustGet(t, tr, "https://a.test/")
		origin.WaitConns(t, 0)
	})
}

func TestNegativeIdleConnTimeoutReusesNothing(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(targetOver(over, origin.Addr, ca.PEM())))
		tr.IdleConnTimeout = -1
		mustGet(t, tr, "https://a.test/")
		mustGet(t, tr, "https://a.test/")
		if n := origin.Conns(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
		origin.WaitConns(t, 0)
	})
}

// In a proxy, the header is from a client, and does not permit sending a POST twice.
func TestIdempotencyKeyOfAClientDoesNotWidenRetries(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		for _, body := range []string{"", "body"} {
			for _, header := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
				origin := &tlstest.Origin{HTTP1: over == overTLS1, Plain: over == overPlain, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if r.Method == "POST" {
						panic(http.ErrAbortHandler) // processed, but the client gets no answer
					}
				})}
				origin.Start(t)
				tr := newTransport(t, to(targetOver(over, origin.Addr, ca.PEM())))
				mustGet(t, tr, "https://a.test/") // net/http repeats on reused connections only
				req, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set(header, "1")
				if _, err := send(tr, req); err == nil {
					t.Error("no error")
				}
				posts := 0
				for _, r := range origin.Requests() {
					if r.Method == "POST" {
						if posts++; r.Body != body || r.Header.Get(header) != "1" || over != overHTTP2 && r.Header.Get("Content-Length") != strconv.Itoa(len(body)) {
							t.Errorf("the origin saw %+v", r)
						}
					}
				}
				if posts != 1 {
					t.Errorf("%s, body %q: the origin saw the POST %d times", header, body, posts)
				}
			}
		}
	})
}

func TestConnectionThatWentSilentIsGivenUp(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := tlstest.NewOrigin(t, ca, "a.test")
	var mute atomic.Bool
	relay := tlstest.Listen(t, func(c net.Conn) {
		out, err := net.Dial("tcp", origin.Addr)
		if err != nil {
			return
		}
		defer out.Close()
		first := !mute.Load()
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.Copy(c, out)
			c.Close()
		}()
		b := make([]byte, 64<<10)
		for {
			n, err := c.Read(b)
			if err != nil {
				break
			}
			if !first || !mute.Load() { // only the first connection goes silent
				out.Write(b[:n])
			}
		}
		out.Close()
		<-done
	})
	tr := newTransport(t, to(sni.Target{Addresses: []string{relay}, Roots: sni.RootsFromPEM(ca.PEM())}))
	tr.PingTimeout = 100 * time.Millisecond
	tr.IdleConnTimeout = time.Hour
	mustGet(t, tr, "https://a.test/")
	mute.Store(true)
	post, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := send(tr, post); err == nil {
		t.Error("an answer over a silent connection")
	}
	mustGet(t, tr, "https://a.test/")
}

// Many hosts with one server name share a pool, and its bound.
func TestHostsWithOneServerNameShareConnections(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, over, map[string]tls.Certificate{"internal.test": tlstest.Leaf(t, ca, "internal.test")})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), ServerName: "internal.test"}))
		for i := range 20 {
			mustGet(t, tr, fmt.Sprintf("https://h%d.test/", i))
			if got := origin.Last(t).Host; got != fmt.Sprintf("h%d.test", i) {
				t.Errorf("Host %q", got)
			}
		}
		if n := origin.Conns(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	})
}

// If a target has no addresses, each host itself is dialled, even if all of them have the same server name.
func TestServerNameAloneDoesNotJoinHosts(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, over, map[string]tls.Certificate{"internal.test": tlstest.Leaf(t, ca, "internal.test")})
		tr := newTransport(t, to(sni.Target{Roots: sni.RootsFromPEM(ca.PEM()), ServerName: "internal.test"}))
		for _, host := range []string{"127.0.0.1", "localhost"} {
			mustGet(t, tr, "https://"+host+":"+origin.Port()+"/")
		}
		if n := origin.Conns(); n != 2 {
			t.Errorf("%d connections, want one for each host", n)
		}
		_, err := get(t, tr, "https://no-such-name.invalid:"+origin.Port()+"/")
		wantType(t, err, sni.DNSError)
	})
}

// No work may be left after the reply of a Lambda function.
func TestDiallingEndsWithTheRequestsDeadline(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	dialled := map[int]int{}
	var addresses []string
	closed := make(chan struct{}, 3)
	for i := range 3 {
		addresses = append(addresses, tlstest.Listen(t, func(c net.Conn) {
			mu.Lock()
			dialled[i]++
			mu.Unlock()
			io.Copy(io.Discard, c)
			closed <- struct{}{}
		}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
	_, err := send(newTransport(t, to(sni.Target{Addresses: addresses})), req)
	wantType(t, err, sni.ConnectionTimeout)
	<-closed // the attempt under way ends long before HandshakeTimeout
	mu.Lock()
	defer mu.Unlock()
	if len(dialled) != 1 || dialled[0] != 1 {
		t.Errorf("dialled %v, want the first address alone", dialled)
	}
}

// Two ports are two origins. The port is not part of the server name.
func TestPortIsPartOfWhatIsPooled(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		certificates := map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}
		first, second := startOrigin(t, over, certificates), startOrigin(t, over, certificates)
		tr := newTransport(t, to(targetOver(over, "127.0.0.1", ca.PEM())))
		for range 2 {
			mustGet(t, tr, "https://a.test:"+first.Port()+"/")
			mustGet(t, tr, "https://a.test:"+second.Port()+"/")
		}
		for _, o := range []*tlstest.Origin{first, second} {
			if n := len(o.Requests()); n != 2 || o.Conns() != 1 || over != overPlain && !slices.Equal(o.Handshakes(), []string{"a.test"}) {
				t.Errorf("%d requests over %d connections, handshakes %q", n, o.Conns(), o.Handshakes())
			}
		}
	})
}

// In HAProxy, a health check once changed the server name of traffic.
func TestRequestUnderAnotherNameDoesNotChangeTheNameOfOthers(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test"), "probe.test": tlstest.Leaf(t, ca, "probe.test")})
		names := map[string]string{"probe.internal.test": "probe.test"}
		tr := newTransport(t, sni.TranslatorFunc(func(_ context.Context, host string) (sni.Target, error) {
			return sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), ServerName: names[host]}, nil
		}))
		for range 3 {
			if got := mustGet(t, tr, "https://a.test/"); got != "a.test" {
				t.Errorf("the server name was %q", got)
			}
			if got := mustGet(t, tr, "https://probe.internal.test/"); got != "probe.test" {
				t.Errorf("the probe's server name was %q", got)
			}
		}
		if n := o.Conns(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
}

// A missing or broken bundle fails only its own host.
func TestBrokenRootsFailTheirOwnHostAlone(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "good.test", "empty.test", "garbage.test", "cut.test", "key.test")
	bundles := map[string]string{
		"good.test": ca.PEM(), "empty.test": "", "garbage.test": "\x00\xff", "cut.test": ca.PEM()[:200],
		"key.test": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	}
	tr := newTransport(t, sni.TranslatorFunc(func(_ context.Context, host string) (sni.Target, error) {
		return sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(bundles[host])}, nil
	}))
	tr.RootCAs = ca.Pool() // it would verify all of them
	for range 2 {
		for host := range bundles {
			if host == "good.test" {
				continue
			}
			_, err := get(t, tr, "https://"+host+"/")
			wantType(t, err, sni.ProxyConfigurationError)
		}
		mustGet(t, tr, "https://good.test/")
	}
	if got := o.Handshakes(); !slices.Equal(got, []string{"good.test"}) {
		t.Errorf("handshakes %q", got)
	}
}

// A setting that needs TLS must be refused without TLS.
func TestTargetThatNeedsTLSIsRefusedOverPlainHTTP(t *testing.T) {
	t.Parallel()
	plain := &tlstest.Origin{Plain: true}
	plain.Start(t)
	ca := tlstest.NewAuthority(t)
	for field, target := range map[string]sni.Target{
		"Roots": {Roots: sni.RootsFromPEM(ca.PEM())}, "SPKIPins": {SPKIPins: [][32]byte{{}}}, "ClientCert": {ClientCert: "shop"}, "MinVersion": {MinVersion: tls.VersionTLS13},
	} {
		target.Addresses = []string{plain.Addr}
		tr := newTransport(t, to(target))
		tr.ClientCertificates = certificateMap{"shop": clientLeaf(t, ca, "shop")}
		_, err := get(t, tr, "http://a.test/")
		wantType(t, err, sni.ProxyConfigurationError)
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if plain.Conns() != 0 {
		t.Error("something was dialled")
	}
}

// If only HTTP/2 is allowed, an origin without HTTP/2 must not get HTTP/1.1.
func TestProtocolsAreThoseOfTheTarget(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	certificates := map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}
	silent := &tlstest.Origin{Certificates: certificates, Config: func(c *tls.Config) { c.NextProtos = nil }} // agrees to nothing
	silent.Start(t)
	for _, c := range []struct {
		name   string
		origin *tlstest.Origin
		alpn   []string
		want   string // the protocol, or the type of the error
	}{
		{"both", startOrigin(t, overHTTP2, certificates), nil, "HTTP/2.0"},
		{"both, HTTP/1.1 first", startOrigin(t, overHTTP2, certificates), []string{"http/1.1", "h2"}, "HTTP/2.0"}, // the server chooses
		{"HTTP/1.1", startOrigin(t, overHTTP2, certificates), []string{"http/1.1"}, "HTTP/1.1"},
		{"HTTP/2", startOrigin(t, overHTTP2, certificates), []string{"h2"}, "HTTP/2.0"},
		{"HTTP/2 of who has none", startOrigin(t, overTLS1, certificates), []string{"h2"}, "tls_alert_received"},
		{"HTTP/2 of who says nothing", silent, []string{"h2"}, "tls_protocol_error"},
		{"both of who says nothing", silent, nil, "HTTP/1.1"},
		{"unknown", silent, []string{"h3"}, "proxy_configuration_error"},
	} {
		_, err := get(t, newTransport(t, to(sni.Target{Addresses: []string{c.origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), ALPN: c.alpn})), "https://a.test/")
		if err != nil {
			if e := wantType(t, err, sni.ErrorType(c.want)); e == nil {
				t.Errorf("%s: %v", c.name, err)
			}
		} else if got := c.origin.Last(t).Proto; got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
