package sni_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// All tests run with a dead proxy in the environment. net/http alone would dial the proxy, and bypass the guard. The variable is set before
// the first request, because net/http reads it only once.
func TestMain(m *testing.M) {
	if os.Getenv(asOrigin) != "" {
		if err := serveAsOrigin(); err != nil {
			log.Fatal(err)
		}
		return
	}
	for _, v := range []string{"HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"} {
		os.Setenv(v, "http://127.0.0.1:1")
	}
	goleak.VerifyTestMain(m)
}

func serverConfig(leaf tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{leaf}}
}

// eitherProtocol offers both protocols if the target has no ALPN, so that the origin of a test chooses.
func eitherProtocol(translate sni.Translator) sni.Translator {
	return sni.TranslatorFunc(func(ctx context.Context, host string) (sni.Target, error) {
		var (
			target sni.Target
			err    error
		)
		if translate != nil {
			target, err = translate.Translate(ctx, host)
		}
		if target.ALPN == nil {
			target.ALPN = []string{"h2", "http/1.1"}
		}
		return target, err
	})
}

// newTransport returns a transport for loopback, with long timeouts for loaded machines. It does not remember failed handshakes. It is
// closed at the end of the test.
func newTransport(t testing.TB, translate sni.Translator) *sni.Transport {
	tr := &sni.Transport{
		Translate: eitherProtocol(translate), RememberFailure: -1, AllowCIDRs: tlstest.Loopback,
		ConnectTimeout: time.Minute, HandshakeTimeout: time.Minute, DialTimeout: 2 * time.Minute,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// to returns a Translator that sends each host to one target.
func to(target sni.Target) sni.Translator {
	return sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) { return target, nil })
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

// protocol is the protocol of an origin, for tests that run over several.
type protocol string

const (
	overTLS1  protocol = "HTTP1"
	overHTTP2 protocol = "HTTP2"
	overPlain protocol = "plain" // HTTP/1.1 without TLS
)

// allProtocols runs a test over each protocol.
func allProtocols(t *testing.T, test func(t *testing.T, over protocol)) {
	overEach(t, test, overTLS1, overHTTP2, overPlain)
}

// overTLS runs a test over the protocols with TLS.
func overTLS(t *testing.T, test func(t *testing.T, over protocol)) {
	overEach(t, test, overTLS1, overHTTP2)
}

// overHTTP1 runs a test over HTTP/1.1, with and without TLS.
func overHTTP1(t *testing.T, test func(t *testing.T, over protocol)) {
	overEach(t, test, overTLS1, overPlain)
}

func overEach(t *testing.T, test func(t *testing.T, over protocol), protocols ...protocol) {
	for _, over := range protocols {
		t.Run(string(over), func(t *testing.T) { t.Parallel(); test(t, over) })
	}
}

// target returns the target, without the settings of TLS if the origin has no TLS.
func (p protocol) target(target sni.Target) sni.Target {
	if p == overPlain {
		target.Scheme, target.Roots = "http", sni.Roots{}
	}
	return target
}

// targetOver returns the Target for an origin of a.test with that protocol.
func targetOver(over protocol, address, roots string) sni.Target {
	return over.target(sni.Target{Addresses: []string{address}, Roots: sni.RootsFromPEM(roots)})
}

func startOrigin(t testing.TB, over protocol, certificates map[string]tls.Certificate) *tlstest.Origin {
	o := &tlstest.Origin{HTTP1: over == overTLS1, Plain: over == overPlain, Certificates: certificates}
	o.Start(t)
	return o
}

func TestDialsOneHostAndNamesAnother(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, over, map[string]tls.Certificate{"one.spec-trust.test": tlstest.Leaf(t, ca, "one.spec-trust.test")})
		tr := newTransport(t, to(targetOver(over, origin.Addr, ca.PEM())))
		mustGet(t, tr, "https://one.spec-trust.test/path?q=1")

		got := origin.Last(t)
		proto, name := "HTTP/1.1", "one.spec-trust.test"
		switch over {
		case overHTTP2:
			proto = "HTTP/2.0"
		case overPlain:
			name = ""
		}
		if got.SNI != name || got.Host != "one.spec-trust.test" || got.Proto != proto || got.URI != "/path?q=1" {
			t.Errorf("the origin saw %+v", got)
		}
	})
}

// nginx, Caddy and plain net/http send the request for b on the connection of a.
func TestTwoHostsAtOneAddressNeverShareAConnection(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		both, err := ca.Leaf([]string{"a.test", "b.test"}) // one certificate for both, as coalescing needs it
		if err != nil {
			t.Fatal(err)
		}
		origin := startOrigin(t, over, map[string]tls.Certificate{"a.test": both, "b.test": both})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))

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
		origin.WantOwnNames(t, 104)
	})
}

// An open connection of one host must not help another host whose certificate does not verify.
func TestUntrustedNeighbourFailsEveryTime(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		ca, evil := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
		origin := startOrigin(t, over, map[string]tls.Certificate{
			"a.test":       tlstest.Leaf(t, ca, "a.test"),
			"evil.test":    tlstest.Leaf(t, evil, "evil.test"),
			"other.test":   tlstest.Leaf(t, ca, "someone-else.test"),
			"expired.test": tlstest.Leaf(t, ca, "expired.test", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
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

func TestMinVersionRefusesOlderOrigins(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := &tlstest.Origin{
		Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")},
		Config:       func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
	}
	origin.Start(t)
	target := sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}
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
	tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), ServerName: "Internal.test."}))
	mustGet(t, tr, "https://shop.test/")
	if r := origin.Last(t); r.SNI != "internal.test" || r.Host != "shop.test" {
		t.Errorf("SNI %q, Host %q", r.SNI, r.Host)
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
	mustGet(t, tr, "http://"+plain.Addr+"/") // an IP address needs no name without TLS

	ca := tlstest.NewAuthority(t)
	secure := tlstest.NewOrigin(t, ca, "localhost")
	tr = newTransport(t, to(sni.Target{Roots: sni.RootsFromPEM(ca.PEM())}))
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
	// The name is the address of a target too.
	tr = newTransport(t, to(sni.Target{Addresses: []string{addr}}))
	if got := mustGet(t, tr, "http://a.test/"); got != "a.test" {
		t.Errorf("Host %q", got)
	}
}

func TestAddressWithoutPortTakesTheURLs(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := tlstest.NewOrigin(t, ca, "a.test")
	tr := newTransport(t, to(sni.Target{Addresses: []string{"127.0.0.1"}, Roots: sni.RootsFromPEM(ca.PEM())}))
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
	dead := tlstest.Refusing(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{dead, origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	mustGet(t, tr, "https://a.test/")

	impostor := &tlstest.Origin{Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, evil, "a.test")}}
	impostor.Start(t)
	tr = newTransport(t, to(sni.Target{Addresses: []string{impostor.Addr, origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	_, err := get(t, tr, "https://a.test/")
	wantType(t, err, sni.TLSCertificateError)
}

// The client decides whether to follow a redirect.
func TestRedirectsAreNotFollowed(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		origin, tr := answering(t, over, http.RedirectHandler("http://169.254.169.254/", http.StatusFound).ServeHTTP)
		mustGet(t, tr, "https://a.test/")
		if n := len(origin.Requests()); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestCompressedBodiesArePassedAsTheyAre(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		origin, tr := answering(t, over, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, "not really gzip")
		})
		if body := mustGet(t, tr, "https://a.test/"); body != "not really gzip" {
			t.Errorf("body %q", body)
		}
		if h, ok := origin.Last(t).Header["Accept-Encoding"]; ok {
			t.Errorf("Accept-Encoding %q was invented", h)
		}
	})
}
