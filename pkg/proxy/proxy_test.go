package proxy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/proxy"
	"github.com/sleightproxy/sleight/pkg/sni"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a proxy on loopback, with its log.
type bench struct {
	handler *proxy.Handler
	url     string
	log     *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start starts a proxy for the routes. Each change may change its Config.
func start(t testing.TB, routes origin.Store, change ...func(*proxy.Config)) *bench {
	t.Helper()
	b := &bench{log: &lockedBuffer{}}
	c := proxy.Config{
		Routes:    routes,
		Transport: &sni.Transport{ForceHTTPS: true, AllowCIDRs: tlstest.Loopback, HandshakeTimeout: time.Second},
		Logger:    slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&c)
	}
	b.handler = newHandler(t, c)
	server := httptest.NewServer(b.handler)
	t.Cleanup(func() { server.Close(); b.handler.CloseIdleConnections() })
	b.url = server.URL
	return b
}

// newHandler returns a Handler, with a store without routes if c has no store.
func newHandler(t testing.TB, c proxy.Config) *proxy.Handler {
	t.Helper()
	if c.Routes == nil {
		c.Routes = routes(t)
	}
	h, err := proxy.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// lines returns the log lines, decoded from JSON.
func (b *bench) lines(t testing.TB) []map[string]any {
	t.Helper()
	var all []map[string]any
	for d := json.NewDecoder(strings.NewReader(b.log.String())); d.More(); {
		var line map[string]any
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		all = append(all, line)
	}
	return all
}

// routes returns a store of route objects, which have the form of a routes file.
func routes(t testing.TB, all ...map[string]any) origin.Store {
	t.Helper()
	if all == nil {
		all = []map[string]any{}
	}
	document, err := json.Marshal(map[string]any{"routes": all})
	if err != nil {
		t.Fatal(err)
	}
	file, err := origin.ReadRoutes(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

type route = map[string]any

type result struct {
	status int
	header http.Header
	body   string
}

// do sends a request for host to the proxy.
func (b *bench) do(t testing.TB, host string, change ...func(*http.Request)) result {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", b.url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	for _, f := range change {
		f(r)
	}
	// The client must not decompress or follow redirects, because the test is about the proxy.
	resp, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatalf("%s: %v", host, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", host, err)
	}
	return result{resp.StatusCode, resp.Header, string(body)}
}

// want checks an error response of the proxy.
func (r result) want(t *testing.T, status int, errorType string) {
	t.Helper()
	if got := r.header.Get("Proxy-Status"); r.status != status || got != "sleight; error="+errorType {
		t.Errorf("status %d, Proxy-Status %q, want %d, %q; body %q", r.status, got, status, errorType, r.body)
	}
	for _, secret := range []string{"127.0.0.1", "10.1.2.3", "localhost", "goroutine", "lb.invalid", "someone-else.test", "backend.test"} {
		if strings.Contains(r.body, secret) {
			t.Errorf("the body shows %q: %s", secret, r.body)
		}
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Vary": "Accept", "Content-Length": strconv.Itoa(len(r.body))} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(r.header.Get("Content-Security-Policy"), "default-src 'none'; style-src '") {
		t.Errorf("Content-Security-Policy is %q", r.header.Get("Content-Security-Policy"))
	}
	switch r.header.Get("Content-Type") {
	case "application/problem+json":
		var d struct {
			Type, Title, Detail, Next, Error, Retry string
			Status                                  int
		}
		if err := json.Unmarshal([]byte(r.body), &d); err != nil || d.Status != status || d.Error != errorType || !strings.HasPrefix(d.Type, "https://") ||
			d.Title == "" || d.Detail == "" || d.Next == "" || d.Retry == "" || !strings.HasSuffix(r.body, "\n}\n") {
			t.Errorf("the body does not tell what happened and what to do: %v, %s", err, r.body)
		}
	case "text/html; charset=utf-8":
		if !strings.HasPrefix(r.body, "<!DOCTYPE html>\n") || !strings.Contains(r.body, "<title>"+strconv.Itoa(status)+" ") || strings.Count(r.body, "<p>") != 2 || !strings.Contains(r.body, errorType) {
			t.Errorf("the page does not tell what happened and what to do: %s", r.body)
		}
	default:
		t.Errorf("Content-Type %q", r.header.Get("Content-Type"))
	}
}

func TestRequestReachesTheOriginUnderTheClientsName(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "one.spec-trust.test")
	b := start(t, routes(t, route{"host": "one.spec-trust.test", "origin": o.Addr, "ca_pem": ca.PEM()}))
	got := b.do(t, "One.Spec-Trust.test:8080", func(r *http.Request) {
		r.Method, r.URL.Path, r.URL.RawPath, r.URL.RawQuery = "POST", "/a/b c", "/a%2Fb%20c", "x=1;y=%zz&x=2"
		r.Body = io.NopCloser(strings.NewReader("hello"))
		r.Header = http.Header{
			"X-Forwarded-For": {"6.6.6.6"}, "X-Forwarded-Host": {"evil.test"}, "X-Forwarded-Proto": {"gopher"}, "Forwarded": {"for=6.6.6.6"},
			"Connection": {"X-Hop, X-Forwarded-For"}, "X-Hop": {"1"}, "Te": {"gzip"}, "Proxy-Authorization": {"x"}, "X-Custom": {"a", "b"},
			"User-Agent": {""}, // otherwise the test's client would add a User-Agent
		}
	})
	if got.status != 200 || strings.TrimSpace(got.body) != "one.spec-trust.test" {
		t.Fatalf("%+v", got)
	}
	r := o.Last(t)
	if r.SNI != "one.spec-trust.test" || r.Host != "One.Spec-Trust.test:8080" || r.Method != "POST" || r.URI != "/a%2Fb%20c?x=1;y=%zz&x=2" || r.Body != "hello" {
		t.Errorf("the origin saw %+v", r)
	}
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "One.Spec-Trust.test:8080", "X-Forwarded-Proto": "http", "Forwarded": `for=127.0.0.1;host="One.Spec-Trust.test:8080";proto=http`,
		"Connection": "", "X-Hop": "", "Te": "", "Proxy-Authorization": "", "X-Custom": "a|b", "Accept-Encoding": "", "User-Agent": "",
	} {
		if got := strings.Join(r.Header[name], "|"); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestEachHostGetsItsOwnConnection(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test", "b.test", "x.wild.test", "y.wild.test")
	b := start(t, routes(t,
		route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}, route{"host": "b.test", "origin": o.Addr, "ca_pem": ca.PEM()},
		route{"host": "*.wild.test", "origin": o.Addr, "ca_pem": ca.PEM()}))
	var wg sync.WaitGroup
	for i := range 100 {
		host := []string{"a.test", "b.test", "x.wild.test", "y.wild.test"}[i%4]
		wg.Go(func() {
			if got := b.do(t, host); strings.TrimSpace(got.body) != host {
				t.Errorf("%s was answered by %+v", host, got)
			}
		})
	}
	wg.Wait()
	o.WantOwnNames(t, 100)
}

func TestRouteAttributesTakeEffect(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "internal.test", "old.test")
	old := &tlstest.Origin{Certificates: o.Certificates, Config: func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }}
	old.Start(t)
	_, port, _ := net.SplitHostPort(o.Addr)
	unused := "127.0.0.1:1"
	mutual := &tlstest.Origin{Certificates: o.Certificates, Config: func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool() }}
	mutual.Start(t)
	pin := sha256.Sum256(o.Certificates["internal.test"].Leaf.RawSubjectPublicKeyInfo)
	b := start(t, routes(t,
		route{"host": "shop.test", "origin": []string{unused, "https://localhost:" + port}, "ca_pem": ca.PEM(), "server_name": "internal.test", "host_header": "internal.test:8443"},
		route{"host": "old.test", "origin": old.Addr, "ca_pem": ca.PEM(), "tls_min": "1.3"},
		route{"host": "mutual.test", "origin": mutual.Addr, "ca_pem": ca.PEM(), "server_name": "internal.test", "client_cert": "shop", "spki_pins": []string{base64.StdEncoding.EncodeToString(pin[:])}},
	), func(c *proxy.Config) {
		c.Transport.ClientCertificates = oneCertificate{tlstest.Leaf(t, ca, "client-shop", forClients)}
	})
	if got := b.do(t, "shop.test"); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	if r := o.Last(t); r.SNI != "internal.test" || r.Host != "internal.test:8443" || r.Header.Get("X-Forwarded-Host") != "shop.test" {
		t.Errorf("the origin saw %+v", r)
	}
	b.do(t, "old.test").want(t, 502, "tls_alert_received")
	if got := b.do(t, "mutual.test"); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	if r := mutual.Last(t); r.ClientCert != "client-shop" || r.Host != "mutual.test" {
		t.Errorf("the origin saw %+v", r)
	}
}

// Traefik once used the options of a wildcard for an exact name.
func TestExactRouteDoesNotUseTheWildcardsTrust(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{
		Certificates: map[string]tls.Certificate{"a.shop.test": tlstest.Leaf(t, ca, "a.shop.test"), "b.shop.test": tlstest.Leaf(t, ca, "b.shop.test")},
		Config:       func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert },
	}
	o.Start(t)
	b := start(t, routes(t,
		route{"host": "*.shop.test", "origin": o.Addr, "ca_pem": ca.PEM()},
		route{"host": "a.shop.test", "origin": o.Addr, "ca_pem": ca.PEM(), "client_cert": "shop"},
		route{"host": "c.shop.test", "origin": o.Addr, "ca_pem": ca.PEM(), "spki_pins": []string{base64.StdEncoding.EncodeToString(make([]byte, 32))}, "server_name": "b.shop.test"},
	), func(c *proxy.Config) {
		c.Transport.ClientCertificates = oneCertificate{tlstest.Leaf(t, ca, "client-shop", forClients)}
	})
	for range 3 {
		for host, certificate := range map[string]string{"a.shop.test": "client-shop", "b.shop.test": ""} {
			if got := b.do(t, host); got.status != 200 || o.Last(t).ClientCert != certificate {
				t.Errorf("%s: %+v, the origin saw the certificate %q, want %q", host, got, o.Last(t).ClientCert, certificate)
			}
		}
		b.do(t, "c.shop.test").want(t, 502, "tls_certificate_error")
	}
}

// oneCertificate is the client certificate "shop".
type oneCertificate struct{ certificate tls.Certificate }

func (c oneCertificate) ClientCertificate(_ context.Context, name string) (*tls.Certificate, error) {
	if name != "shop" {
		return nil, errors.New("no such certificate")
	}
	return &c.certificate, nil
}

func forClients(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }

// Only a CDN in front may set X-Forwarded-Host. A client's own must not choose the route.
func TestTrustedHostHeader(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test", "b.test")
	both := routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}, route{"host": "b.test", "origin": o.Addr, "ca_pem": ca.PEM()})
	claim := func(hosts ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header["X-Forwarded-Host"] = hosts }
	}
	untrusting := start(t, both)
	untrusting.do(t, "a.test", claim("b.test"))
	if r := o.Last(t); r.SNI != "a.test" || r.Host != "a.test" {
		t.Errorf("not trusted: %+v", r)
	}
	trusting := start(t, both, func(c *proxy.Config) { c.TrustedHostHeader = "X-Forwarded-Host" })
	trusting.do(t, "cdn.test", claim("b.test"))
	if r := o.Last(t); r.SNI != "b.test" || r.Host != "b.test" || r.Header.Get("X-Forwarded-Host") != "b.test" {
		t.Errorf("trusted: %+v", r)
	}
	trusting.do(t, "a.test")
	if r := o.Last(t); r.SNI != "a.test" {
		t.Errorf("without the header: %+v", r)
	}
	trusting.do(t, "a.test", claim("a.test", "b.test")).want(t, 400, "http_request_error")
	trusting.do(t, "a.test", claim("a.test, b.test")).want(t, 400, "http_request_error")
}

// The proxy must not decompress a response or add fields to it.
func TestResponseArrivesAsTheOriginSentIt(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, HTTP1: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Encoding", "gzip")
		h.Set("Location", "https://elsewhere.test/")
		h["Set-Cookie"] = []string{"a=1", "b=2"}
		h.Set("Proxy-Status", "upstream")
		h.Set("Date", "Tue, 15 Nov 1994 08:12:31 GMT")
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "1")
		w.WriteHeader(302)
		io.WriteString(w, "not gzip at all")
	})}
	o.Start(t)
	got := start(t, routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()})).do(t, "a.test")
	if got.status != 302 || got.body != "not gzip at all" || got.header.Get("Content-Encoding") != "gzip" || len(got.header["Set-Cookie"]) != 2 ||
		got.header.Get("Location") != "https://elsewhere.test/" || got.header.Get("Date") != "Tue, 15 Nov 1994 08:12:31 GMT" || got.header.Get("X-Hop") != "" {
		t.Errorf("%+v", got)
	}
}

// Java's client and curl --http2 offer h2c with every request. Origins over HTTP/2 refuse that field.
func TestUpgradeIsNotForwarded(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	for _, http2 := range []bool{false, true} {
		b := start(t, routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM(), "protocols": offers(http2)}))
		for _, upgrade := range []string{"h2c", "h2c, websockets", "\xff"} {
			got := b.do(t, "a.test", func(r *http.Request) {
				r.Header = http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {upgrade}, "Http2-Settings": {"x"}}
			})
			last := o.Last(t)
			if h := last.Header; got.status != 200 || (last.Proto == "HTTP/2.0") != http2 || len(h["Upgrade"])+len(h["Http2-Settings"])+len(h["Connection"]) != 0 {
				t.Errorf("%q: %+v, the origin saw %s %v", upgrade, got, last.Proto, h)
			}
		}
	}
}

func TestContentTypeIsNotGuessed(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		io.WriteString(w, "<html>")
	})}
	o.Start(t)
	got := start(t, routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()})).do(t, "a.test")
	if _, ok := got.header["Content-Type"]; ok || got.body != "<html>" {
		t.Errorf("%+v", got)
	}
}

func BenchmarkHandler(b *testing.B) {
	ca := tlstest.NewAuthority(b)
	page := bytes.Repeat([]byte("a"), 1024)
	for _, http1 := range []bool{true, false} {
		o := &tlstest.Origin{HTTP1: http1, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(b, ca, "a.test")},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(page) })}
		o.Start(b)
		store := &origin.Cache{Store: routes(b, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM(), "protocols": offers(!http1)})}
		h := start(b, store).handler
		b.Run(map[bool]string{true: "HTTP1", false: "HTTP2"}[http1], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, httptest.NewRequest("GET", "http://a.test/", nil)); w.Code != 200 {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}

// A request line can have a whole URL. The origin uses its host instead of Host.
func TestRequestLineDoesNotChooseAnotherSiteOfTheOrigin(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{HTTP1: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}}
	o.Start(t)
	b := start(t, routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}))
	for line, status := range map[string]string{"GET x:https://evil.test/admin": "400", "CONNECT a.test:25": "405"} {
		answer, _ := io.ReadAll(b.send(t, line+" HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"))
		if !strings.HasPrefix(string(answer), "HTTP/1.1 "+status+" ") {
			t.Errorf("%s: %s", line, answer)
		}
	}
	for _, r := range o.Requests() {
		t.Errorf("the origin saw %+v", r)
	}
}
