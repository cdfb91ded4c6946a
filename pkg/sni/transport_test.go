package sni_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// All tests run with a dead proxy in the environment (T31): plain net/http would ask the
// dialler for the proxy's address, and so past the guard. It has to be there before the
// first request, since net/http looks only once.
func TestMain(m *testing.M) {
	for _, v := range []string{"HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"} {
		os.Setenv(v, "http://127.0.0.1:1")
	}
	goleak.VerifyTestMain(m)
}

func serverConfig(leaf tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{leaf}}
}

// newTransport makes a transport that may dial loopback and leaves nothing open.
func newTransport(t testing.TB, translate sni.Translator) *sni.Transport {
	tr := &sni.Transport{Translate: translate, AllowCIDRs: tlstest.Loopback}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// to sends every host to one target.
func to(target sni.Target) sni.Translator {
	return sni.Func(func(context.Context, string) (sni.Target, error) { return target, nil })
}

func get(t testing.TB, rt http.RoundTripper, url string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return send(rt, req)
}

func send(rt http.RoundTripper, req *http.Request) (string, error) {
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(body)), err
}

func mustGet(t testing.TB, rt http.RoundTripper, url string) string {
	t.Helper()
	body, err := get(t, rt, url)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	return body
}

// wantType fails the test unless err is an *sni.Error of the type.
func wantType(t testing.TB, err error, want sni.ErrorType) *sni.Error {
	t.Helper()
	var e *sni.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is not an *sni.Error; want type %s", err, want)
	}
	if e.Type != want {
		t.Fatalf("error %v has type %s, want %s", err, e.Type, want)
	}
	return e
}

func bothProtocols(t *testing.T, test func(t *testing.T, http1 bool)) {
	for _, c := range []struct {
		name  string
		http1 bool
	}{{"HTTP1", true}, {"HTTP2", false}} {
		t.Run(c.name, func(t *testing.T) { t.Parallel(); test(t, c.http1) })
	}
}

func startOrigin(t testing.TB, http1 bool, certificates map[string]tls.Certificate) *tlstest.Origin {
	o := &tlstest.Origin{HTTP1: http1, Certificates: certificates}
	o.Start(t)
	return o
}

func TestDialsOneHostAndNamesAnother(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, http1, map[string]tls.Certificate{"one.spec-trust.test": tlstest.Leaf(t, ca, "one.spec-trust.test")})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM()}))
		mustGet(t, tr, "https://one.spec-trust.test/path?q=1")

		got := origin.Last(t)
		proto := "HTTP/2.0"
		if http1 {
			proto = "HTTP/1.1"
		}
		if got.SNI != "one.spec-trust.test" || got.Host != "one.spec-trust.test" || got.Proto != proto || got.URI != "/path?q=1" {
			t.Errorf("the origin saw %+v", got)
		}
	})
}

// T1 of the peers' failures: nginx, Caddy and plain net/http send b's request down a's
// connection here.
func TestTwoHostsAtOneAddressNeverShareAConnection(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		both, err := ca.Leaf([]string{"a.test", "b.test"}) // one certificate: no excuse for coalescing
		if err != nil {
			t.Fatal(err)
		}
		origin := startOrigin(t, http1, map[string]tls.Certificate{"a.test": both, "b.test": both})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM()}))

		check := func(host string) error {
			req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+host+"/", nil)
			if err != nil {
				return err
			}
			if body, err := send(tr, req); err != nil || body != host {
				return fmt.Errorf("%s was answered by %q, %w", host, body, err)
			}
			return nil
		}
		for _, host := range []string{"a.test", "b.test", "a.test", "b.test"} {
			if err := check(host); err != nil {
				t.Fatal(err)
			}
		}
		if got := origin.Handshakes(); !slices.Equal(got, []string{"a.test", "b.test"}) {
			t.Errorf("handshakes in sequence: %q, want one for each host", got)
		}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if err := check([]string{"a.test", "b.test"}[i%2]); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(origin.Requests()); n != 104 {
			t.Errorf("%d requests arrived, want 104", n)
		}
		for _, r := range origin.Requests() {
			if r.SNI != r.Host {
				t.Errorf("SNI %q carried Host %q", r.SNI, r.Host)
			}
		}
	})
}

// T2: a warm pool must not vouch for a neighbour whose own certificate does not verify.
func TestUntrustedNeighbourFailsEveryTime(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca, evil := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
		origin := startOrigin(t, http1, map[string]tls.Certificate{
			"a.test":       tlstest.Leaf(t, ca, "a.test"),
			"evil.test":    tlstest.Leaf(t, evil, "evil.test"),
			"other.test":   tlstest.Leaf(t, ca, "someone-else.test"),
			"expired.test": tlstest.Leaf(t, ca, "expired.test", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM()}))
		for range 5 {
			mustGet(t, tr, "https://a.test/")
			for _, host := range []string{"evil.test", "other.test", "expired.test"} {
				_, err := get(t, tr, "https://"+host+"/")
				wantType(t, err, sni.TLSCertificateError)
			}
		}
		for _, r := range origin.Requests() {
			if r.Host != "a.test" {
				t.Errorf("a request for %q reached the origin", r.Host)
			}
		}
	})
}

func TestOneConnectionForRequestsInSequence(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, http1, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM()}))
		// T7: spellings of one name share one pool and one SNI, in lower case.
		for _, host := range []string{"a.test", "A.Test", "a.test.", "a.test:443"} {
			mustGet(t, tr, "https://"+host+"/")
		}
		if got := origin.Handshakes(); !slices.Equal(got, []string{"a.test"}) {
			t.Errorf("handshakes %q, want one for a.test", got)
		}
		if host := origin.Requests()[1].Host; host != "A.Test" {
			t.Errorf("Host arrived as %q, want it as the client wrote it", host)
		}
	})
}

// T4: no request may ride on a connection that was made under another target.
func TestChangedTargetIsNotServedByTheOldConnection(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca, other := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
		certificates := map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test"), "b.test": tlstest.Leaf(t, ca, "b.test")}
		first, second := startOrigin(t, http1, certificates), startOrigin(t, http1, certificates)
		var target sni.Target
		tr := newTransport(t, sni.Func(func(context.Context, string) (sni.Target, error) { return target, nil }))
		base := sni.Target{Addresses: []string{first.Addr}, RootsPEM: ca.PEM()}
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
			{"roots", func(x *sni.Target) { x.RootsPEM = other.PEM() }, func(t *testing.T, _ string, err error) {
				wantType(t, err, sni.TLSCertificateError)
			}},
			{"no roots", func(x *sni.Target) { x.RootsPEM = "" }, func(t *testing.T, _ string, err error) {
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

func TestMinVersionRefusesOlderOrigins(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := &tlstest.Origin{
		Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")},
		Config:       func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
	}
	origin.Start(t)
	target := sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM()}
	mustGet(t, newTransport(t, to(target)), "https://a.test/")
	if v := origin.Last(t).TLSVersion; v != tls.VersionTLS12 {
		t.Errorf("version %x", v)
	}
	target.MinVersion = tls.VersionTLS13
	_, err := get(t, newTransport(t, to(target)), "https://a.test/")
	wantType(t, err, sni.TLSAlertReceived)
}

func TestServerNameIsVerifiedInPlaceOfTheHost(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := tlstest.NewOrigin(t, ca, "internal.test")
	tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM(), ServerName: "Internal.test."}))
	mustGet(t, tr, "https://shop.test/")
	if r := origin.Last(t); r.SNI != "internal.test" || r.Host != "shop.test" {
		t.Errorf("SNI %q, Host %q", r.SNI, r.Host)
	}
}

// T18: a missing or malformed server name must never come to mean "do not verify".
func TestUnusableTargetIsAnErrorBeforeDialling(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := tlstest.NewOrigin(t, ca, "a.test")
	for _, c := range []struct {
		name, url, field string
		target           sni.Target
	}{
		{"server name is an IP address", "https://a.test/", "ServerName", sni.Target{ServerName: "127.0.0.1"}},
		{"server name is blank", "https://a.test/", "ServerName", sni.Target{ServerName: " "}},
		{"server name has a port", "https://a.test/", "ServerName", sni.Target{ServerName: "a.test:443"}},
		{"host is an IP address", "https://192.0.2.1/", "ServerName", sni.Target{}},
		{"host is an IPv6 address", "https://[2001:db8::1]/", "ServerName", sni.Target{}},
		{"no certificate in the roots", "https://a.test/", "RootsPEM", sni.Target{RootsPEM: "garbage"}},
		{"broken certificate in the roots", "https://a.test/", "RootsPEM", sni.Target{RootsPEM: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}},
		{"version below 1.2", "https://a.test/", "MinVersion", sni.Target{MinVersion: tls.VersionTLS11}},
		{"address with a path", "https://a.test/", "Addresses", sni.Target{Addresses: []string{"lb.test/x"}}},
		{"address with a bad port", "https://a.test/", "Addresses", sni.Target{Addresses: []string{"lb.test:0"}}},
		{"bare IPv6 address with port", "https://a.test/", "Addresses", sni.Target{Addresses: []string{"2001:db8::1:443"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.target.Addresses == nil {
				c.target.Addresses = []string{origin.Addr}
			}
			_, err := get(t, newTransport(t, to(c.target)), c.url)
			e := wantType(t, err, sni.ProxyConfigurationError)
			var bad *sni.TargetError
			if !errors.As(err, &bad) || bad.Field != c.field {
				t.Errorf("error %v, want one about %s", e, c.field)
			}
		})
	}
	if n := origin.Conns(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

func TestHostWithoutTranslationPassesThrough(t *testing.T) {
	t.Parallel()
	plain := &tlstest.Origin{Plain: true}
	plain.Start(t)
	tr := newTransport(t, sni.Static{"mapped.test": "lb.test"})
	mustGet(t, tr, "http://localhost:"+plain.Port()+"/")
	if got := plain.Last(t).Host; got != "localhost:"+plain.Port() {
		t.Errorf("Host %q", got)
	}
	mustGet(t, tr, "http://"+plain.Addr+"/") // an IP address needs no name where there is no TLS

	ca := tlstest.NewAuthority(t)
	secure := tlstest.NewOrigin(t, ca, "localhost")
	tr = newTransport(t, to(sni.Target{RootsPEM: ca.PEM()}))
	mustGet(t, tr, "https://localhost:"+secure.Port()+"/")
	if r := secure.Last(t); r.SNI != "localhost" {
		t.Errorf("SNI %q", r.SNI)
	}
}

func TestIPv6LiteralKeepsItsBrackets(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatalf("this test needs IPv6 on loopback: %v", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) })}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	addr := listener.Addr().String()
	tr := newTransport(t, nil)
	if got := mustGet(t, tr, "http://"+addr+"/"); got != addr {
		t.Errorf("Host %q, want %q", got, addr)
	}
	tr = newTransport(t, to(sni.Target{ServerName: "internal.test"}))
	if got := mustGet(t, tr, "http://"+addr+"/"); got != addr {
		t.Errorf("with a server name: Host %q, want %q", got, addr)
	}
	// And as the address of a target.
	tr = newTransport(t, to(sni.Target{Addresses: []string{addr}}))
	if got := mustGet(t, tr, "http://a.test/"); got != "a.test" {
		t.Errorf("Host %q", got)
	}
}

func TestAddressWithoutPortTakesTheURLs(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := tlstest.NewOrigin(t, ca, "a.test")
	tr := newTransport(t, to(sni.Target{Addresses: []string{"127.0.0.1"}, RootsPEM: ca.PEM()}))
	mustGet(t, tr, "https://a.test:"+origin.Port()+"/")
	if r := origin.Last(t); r.SNI != "a.test" || r.Host != "a.test:"+origin.Port() {
		t.Errorf("SNI %q, Host %q", r.SNI, r.Host)
	}
}

func TestForceHTTPSRefusesPlainHTTP(t *testing.T) {
	t.Parallel()
	plain := &tlstest.Origin{Plain: true}
	plain.Start(t)
	for _, c := range []struct{ url, scheme string }{{"http://a.test/", ""}, {"https://a.test/", "http"}} {
		tr := newTransport(t, to(sni.Target{Addresses: []string{plain.Addr}, Scheme: c.scheme}))
		mustGet(t, tr, c.url)
		tr = newTransport(t, to(sni.Target{Addresses: []string{plain.Addr}, Scheme: c.scheme}))
		tr.ForceHTTPS = true
		_, err := get(t, tr, c.url)
		wantType(t, err, sni.ProxyConfigurationError)
		if !errors.Is(err, sni.ErrPlainHTTP) {
			t.Errorf("%v is not ErrPlainHTTP", err)
		}
	}
	if n := plain.Conns(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestNextAddressIsTriedWhenOneDoesNotAnswer(t *testing.T) {
	t.Parallel()
	ca, evil := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	origin := tlstest.NewOrigin(t, ca, "a.test")
	dead := unusedAddress(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{dead, origin.Addr}, RootsPEM: ca.PEM()}))
	mustGet(t, tr, "https://a.test/")

	impostor := &tlstest.Origin{Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, evil, "a.test")}}
	impostor.Start(t)
	tr = newTransport(t, to(sni.Target{Addresses: []string{impostor.Addr, origin.Addr}, RootsPEM: ca.PEM()}))
	_, err := get(t, tr, "https://a.test/")
	wantType(t, err, sni.TLSCertificateError)
}

func TestErrorsNameTheirCause(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := tlstest.NewOrigin(t, ca, "a.test")
	plain := &tlstest.Origin{Plain: true}
	plain.Start(t)
	for _, c := range []struct {
		name    string
		address string
		want    sni.ErrorType
	}{
		{"nobody listens", unusedAddress(t), sni.ConnectionRefused},
		{"no such name", "no-such-name.invalid:443", sni.DNSError},
		{"private address", "10.0.0.1:443", sni.DestinationIPProhibited},
		{"not TLS", plain.Addr, sni.TLSProtocolError},
		{"hangs up", listen(t, func(c net.Conn) { c.Close() }), sni.ConnectionTerminated},
		{"says nothing", listen(t, func(c net.Conn) { io.Copy(io.Discard, c) }), sni.ConnectionTimeout},
		{"garbage after the handshake", garbageOrigin(t, ca), sni.HTTPProtocolError},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tr := newTransport(t, to(sni.Target{Addresses: []string{c.address}, RootsPEM: ca.PEM()}))
			tr.HandshakeTimeout = 300 * time.Millisecond
			_, err := get(t, tr, "https://a.test/")
			if e := wantType(t, err, c.want); e.ServerName != "a.test" || !strings.Contains(e.Error(), `"a.test"`) {
				t.Errorf("error %v does not name the host", e)
			}
		})
	}
	t.Run("name unknown to the origin", func(t *testing.T) {
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM()}))
		_, err := get(t, tr, "https://b.test/")
		wantType(t, err, sni.TLSAlertReceived)
	})
	t.Run("no answer in time", func(t *testing.T) {
		slow := &tlstest.Origin{Certificates: origin.Certificates, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
		slow.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
		_, err := send(newTransport(t, to(sni.Target{Addresses: []string{slow.Addr}, RootsPEM: ca.PEM()})), req)
		if e := wantType(t, err, sni.HTTPResponseTimeout); !e.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v does not tell that time ran out", err)
		}
	})
	t.Run("translator fails", func(t *testing.T) {
		boom := errors.New("boom")
		_, err := get(t, newTransport(t, sni.Func(func(context.Context, string) (sni.Target, error) { return sni.Target{}, boom })), "https://a.test/")
		if wantType(t, err, sni.ProxyInternalError); !errors.Is(err, boom) {
			t.Errorf("%v does not wrap the cause", err)
		}
	})
	for _, url := range []string{"ftp://a.test/", "https://a..test/", "https://a_b%20c/"} {
		req, err := http.NewRequest("POST", "https://a.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Scheme, req.URL.Host, _ = strings.Cut(strings.TrimSuffix(url, "/"), "://")
		closed := false
		req.Body = closeRecorder{&closed}
		_, err = send(newTransport(t, nil), req)
		wantType(t, err, sni.HTTPRequestError)
		if !closed {
			t.Errorf("%s: the request's body was left open", url)
		}
	}
}

type closeRecorder struct{ closed *bool }

func (closeRecorder) Read([]byte) (int, error) { return 0, io.EOF }
func (c closeRecorder) Close() error           { *c.closed = true; return nil }

// T9: connections and pools stay bounded, however many hosts come by.
func TestPoolsAreBoundedAndEvictedOnesCloseTheirConnections(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		certificates := map[string]tls.Certificate{}
		hosts := make([]string, 40)
		for i := range hosts {
			hosts[i] = fmt.Sprintf("h%d.test", i)
			certificates[hosts[i]] = tlstest.Leaf(t, ca, hosts[i])
		}
		origin := startOrigin(t, http1, certificates)
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM()}))
		tr.MaxTargets = 3
		tr.IdleConnTimeout = time.Hour // only eviction may close
		for _, host := range hosts {
			mustGet(t, tr, "https://"+host+"/")
		}
		origin.WaitConns(t, 3)
		mustGet(t, tr, "https://h39.test/") // the newest is kept
		if n := len(origin.Handshakes()); n != len(hosts) {
			t.Errorf("%d handshakes, want %d", n, len(hosts))
		}
		tr.CloseIdleConnections()
		origin.WaitConns(t, 0)
	})
}

func TestIdleConnectionsAreClosedInTime(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, http1, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM()}))
		tr.IdleConnTimeout = 50 * time.Millisecond
		mustGet(t, tr, "https://a.test/")
		origin.WaitConns(t, 0)
	})
}

func TestNegativeIdleConnTimeoutReusesNothing(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, http1, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM()}))
		tr.IdleConnTimeout = -1
		mustGet(t, tr, "https://a.test/")
		mustGet(t, tr, "https://a.test/")
		if n := origin.Conns(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
		origin.WaitConns(t, 0)
	})
}

// T32: where a redirect leads is the client's decision.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := &tlstest.Origin{
		Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")},
		Handler:      http.RedirectHandler("http://169.254.169.254/", http.StatusFound),
	}
	origin.Start(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM()}))
	mustGet(t, tr, "https://a.test/")
	if n := len(origin.Requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestCompressedBodiesArePassedAsTheyAre(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := &tlstest.Origin{
		Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, "not really gzip")
		}),
	}
	origin.Start(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM()}))
	if body := mustGet(t, tr, "https://a.test/"); body != "not really gzip" {
		t.Errorf("body %q", body)
	}
	if h, ok := origin.Last(t).Header["Accept-Encoding"]; ok {
		t.Errorf("Accept-Encoding %q was invented", h)
	}
}

// T35: the header is a stranger's in a proxy, and no permission to send a POST twice.
func TestIdempotencyKeyOfAClientDoesNotWidenRetries(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		for _, body := range []string{"", "body"} {
			for _, header := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
				origin := &tlstest.Origin{HTTP1: http1, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if r.Method == "POST" {
						panic(http.ErrAbortHandler) // done, but nobody will know
					}
				})}
				origin.Start(t)
				tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM()}))
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
						if posts++; r.Body != body || r.Header.Get(header) != "1" {
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
	relay := listen(t, func(c net.Conn) {
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
			if !first || !mute.Load() { // the first connection falls silent, later ones do not
				out.Write(b[:n])
			}
		}
		out.Close()
		<-done
	})
	tr := newTransport(t, to(sni.Target{Addresses: []string{relay}, RootsPEM: ca.PEM()}))
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

// Many hosts under one server name are one pool, with one bound.
func TestHostsWithOneServerNameShareConnections(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, http1, map[string]tls.Certificate{"internal.test": tlstest.Leaf(t, ca, "internal.test")})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM(), ServerName: "internal.test"}))
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

// Without addresses, each host is dialled itself, whatever name all of them have to prove.
func TestServerNameAloneDoesNotJoinHosts(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, http1, map[string]tls.Certificate{"internal.test": tlstest.Leaf(t, ca, "internal.test")})
		tr := newTransport(t, to(sni.Target{RootsPEM: ca.PEM(), ServerName: "internal.test"}))
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

// Nothing may go on after a Lambda function has replied.
func TestDiallingEndsWithTheRequestsDeadline(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	dialled := map[int]int{}
	var addresses []string
	closed := make(chan struct{}, 3)
	for i := range 3 {
		addresses = append(addresses, listen(t, func(c net.Conn) {
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
	<-closed // the one that was being tried, long before HandshakeTimeout
	mu.Lock()
	defer mu.Unlock()
	if len(dialled) != 1 || dialled[0] != 1 {
		t.Errorf("dialled %v, want the first address alone", dialled)
	}
}

func TestAlertAfterTheHandshakeIsAnAlert(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := &tlstest.Origin{HTTP1: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Config: func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }}
	origin.Start(t)
	_, err := get(t, newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, RootsPEM: ca.PEM()})), "https://a.test/")
	wantType(t, err, sni.TLSAlertReceived)
}

func unusedAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// listen accepts connections, hands each to serve and closes them when the test ends.
func listen(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func garbageOrigin(t testing.TB, ca interface {
	Leaf([]string, ...func(*x509.Certificate)) (tls.Certificate, error)
}) string {
	leaf, err := ca.Leaf([]string{"a.test"})
	if err != nil {
		t.Fatal(err)
	}
	return listen(t, func(c net.Conn) {
		conn := tls.Server(c, serverConfig(leaf))
		conn.Read(make([]byte, 1024))
		io.WriteString(conn, "HTTQ/9 what\r\n\r\n")
		io.Copy(io.Discard, conn)
	})
}
