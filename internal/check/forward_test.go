package check_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"crypto/sha256"
	"crypto/x509"

	"github.com/sleightproxy/sleight/internal/check"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/proxy"
	"github.com/sleightproxy/sleight/pkg/sni"
)

type routes map[string]*origin.Route

func (r routes) Lookup(_ context.Context, host string) (*origin.Route, error) {
	if route, ok := r[host]; ok {
		return route, nil
	}
	return nil, origin.ErrNotFound
}

// A check whose request differs from the proxy's proves nothing.
func TestCheckSendsWhatTheProxySends(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*origin.Route){
		"plain":       func(*origin.Route) {},
		"server_name": func(r *origin.Route) { r.ServerName = "lb.test" },
		"host_header": func(r *origin.Route) { r.HostHeader = "other.test:8443" },
		"both":        func(r *origin.Route) { r.ServerName, r.HostHeader = "lb.test", "lb.test" },
		"client_cert": func(r *origin.Route) { r.ClientCert = "shop" },
		"HTTP/2":      func(r *origin.Route) { r.Protocols = []string{"h2"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			shop := w.leaf([]string{"shop"}, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
			w.checker.ClientCertificates = certificateMap{"shop": shop}
			port := w.serve(w.leaf([]string{"one.test", "lb.test"}), nil, func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert })
			route := &origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{"127.0.0.1:" + port}}
			change(route)

			w.checker.Path = "/a%2Fb?x=1;y"
			if r := w.check(route); r.Status != check.OK {
				t.Fatalf("%+v", r.Findings)
			}
			checked := w.server.Last(t)

			transport := &sni.Transport{RootCAs: w.ca.Pool(), AllowCIDRs: tlstest.Loopback, ClientCertificates: w.checker.ClientCertificates}
			request := httptest.NewRequest("GET", "https://one.test/a%2Fb?x=1;y", nil)
			answer := httptest.NewRecorder()
			handler, err := proxy.New(proxy.Config{Routes: routes{"one.test": route}, Transport: transport, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(handler.CloseIdleConnections)
			handler.ServeHTTP(answer, request)
			if answer.Code != 200 {
				t.Fatalf("the proxy: %d %s", answer.Code, answer.Body)
			}
			proxied := w.server.Last(t)
			type seen struct{ sni, host, proto, method, uri, via, loop, proto2, host2, client string }
			of := func(r tlstest.Request) seen {
				return seen{r.SNI, r.Host, r.Proto, r.Method, r.URI, r.Header.Get("Via"), r.Header.Get("Cdn-Loop"), r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-Host"), r.ClientCert}
			}
			if of(checked) != of(proxied) {
				t.Errorf("the check sent\n%+v\nthe proxy\n%+v", of(checked), of(proxied))
			}
		})
	}
}

// An origin that leads back to a real proxy is found by the proxy's answer.
func TestLoopIsFoundByTheProxysOwnRefusal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.checker.LoopID = "mine"
	handler, err := proxy.New(proxy.Config{Routes: routes{}, LoopID: "mine", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	port := w.good(handler.ServeHTTP)
	r := w.check(&origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{"127.0.0.1:" + port}})
	if r.Status != check.Fail || r.Findings[0].Code != "loop" {
		t.Errorf("%+v", r.Findings)
	}
}

func TestResultHasWhatWasSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	certificate := leafOf(t, w.below(), nil, oneTest)
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pin := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	port := w.serve(certificate, page(200, "nginx", "hello"))
	w.names["alias.test"] = []string{"lb.test"}
	r := w.check(&origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{"alias.test:" + port}, SPKIPins: [][32]byte{{1}, pin}})
	if r.Status != check.OK || r.Verdict != "works at 1 address, certificate for less than a day more, HTTP 200" || r.ServerName != "one.test" || r.HostHeader != "one.test" || r.DaysLeft == nil || *r.DaysLeft != 0 || r.State != origin.Usable {
		t.Errorf("%+v", r)
	}
	if c := r.Client; c.CNAME != "proxy.test" || !slices.Equal(c.Addresses, []string{"192.0.2.1"}) || c.LeadsTo != check.ToTarget {
		t.Errorf("client %+v", c)
	}
	o := r.Origins[0]
	if o.Address != "alias.test:"+port || o.CNAME != "lb.test" || o.DNS == nil || len(o.IPs) != 1 || o.Status != check.OK {
		t.Fatalf("origin %+v", o)
	}
	p := o.IPs[0]
	if p.IP != "127.0.0.1" || p.Connect == nil || p.Handshake == nil || p.FirstByte == nil || p.Error != nil {
		t.Errorf("probe %+v", p)
	}
	if got := *p.TLS; got.Version != "TLS 1.3" || got.ALPN != "http/1.1" || got.SpeaksHTTP2 == nil || !*got.SpeaksHTTP2 || !got.Verified || got.CipherSuite == "" || !slices.Equal(got.PinsMatched, []string{base64.StdEncoding.EncodeToString(pin[:])}) {
		t.Errorf("TLS %+v", got)
	}
	if got := *p.HTTP; got != (check.HTTP{Protocol: "HTTP/1.1", Method: "GET", Path: "/", Status: 200, Server: "nginx"}) {
		t.Errorf("HTTP %+v", got)
	}
	var chain []string
	for _, c := range p.Certificates {
		chain = append(chain, fmt.Sprint(c.Subject, " of ", c.Issuer, " ", c.Key, " ", c.Presented, c.Verified))
	}
	if got, want := strings.Join(chain, "; "), "one.test of intermediate ECDSA P-256 true true; intermediate of trusted root ECDSA P-256 true true; trusted root of trusted root ECDSA P-256 false true"; got != want {
		t.Errorf("chain %s", got)
	}
}

func TestEveryAddressOfANameIsTried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	port := w.good(nil)
	w.names["many.test"] = []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} // the origin listens only on the first
	for i := range 40 {
		w.names["lots.test"] = append(w.names["lots.test"], fmt.Sprintf("127.0.0.%d", i+1))
	}
	r := w.check(&origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{"many.test:" + port}})
	if r.Status != check.Warn || len(r.Findings) != 1 || r.Findings[0].Code != "connection_refused" || !slices.Equal(r.Findings[0].IPs, []string{"127.0.0.2", "127.0.0.3"}) {
		t.Errorf("%s %+v", r.Status, r.Findings)
	}
	if want := " (at many.test:" + port + ", 127.0.0.2 and 1 more)"; !strings.HasSuffix(r.Verdict, want) {
		t.Errorf("verdict %q", r.Verdict)
	}
	r = w.check(&origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{"lots.test:" + port}})
	if len(r.Origins[0].IPs) != 32 || !slices.ContainsFunc(r.Findings, func(f check.Finding) bool {
		return f.Code == "many_addresses" && strings.HasPrefix(f.Message, "8 more")
	}) {
		t.Errorf("%d, %+v", len(r.Origins[0].IPs), r.Findings)
	}
}

// The proxy goes on to the next entry until there is a connection, and not after.
func TestEntryThatCannotServeEndsTheWayOnceItIsReached(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first func(w *world) string
		want  check.Status
	}{
		"refuses":           {closedPort, check.Warn},
		"no TLS":            {func(w *world) string { return w.raw("SSH-2.0-OpenSSH_9.2\r\n") }, check.Warn},
		"knows no name":     {func(w *world) string { return w.raw(alert(112)) }, check.Warn},
		"wrong certificate": {func(w *world) string { return w.serve(w.leaf([]string{"x.test"}), nil) }, check.Fail},
		"hangs up":          {func(w *world) string { return w.shaken(func(c net.Conn) { c.Read(make([]byte, 2048)) }) }, check.Fail},
		"wants to know us":  {func(w *world) string { return w.good(nil, w.requireClient) }, check.Fail},
		"answers with 421":  {func(w *world) string { return w.good(status(421)) }, check.Fail},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			first, second := c.first(w), w.good(nil)
			r := w.check(&origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{"127.0.0.1:" + first, "127.0.0.1:" + second}})
			if r.Status != c.want || r.Origins[0].Status != check.Fail || r.Origins[1].Status != check.OK {
				t.Errorf("%s: %+v", r.Status, r.Findings)
			}
			transport := &sni.Transport{RootCAs: w.ca.Pool(), AllowCIDRs: tlstest.Loopback}
			transport.Translate = sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) {
				return sni.Target{Addresses: []string{"127.0.0.1:" + first, "127.0.0.1:" + second}}, nil
			})
			defer transport.CloseIdleConnections()
			resp, err := (&http.Client{Transport: transport}).Get("https://one.test/")
			works := err == nil && resp.StatusCode == 200
			if err == nil {
				resp.Body.Close()
			}
			if works != (c.want != check.Fail) {
				t.Errorf("but a request through the transport: %v", err)
			}
		})
	}
}

func TestInvalidItemIsAResultToo(t *testing.T) {
	t.Parallel()
	r := new(check.Checker).CheckItem(t.Context(), "one.x.test", origin.Item{"host": "*.x.test", "origin": "lb.test", "orgin": "x\x1b[2J"})
	if r.Status != check.Fail || r.Host != "one.x.test" || r.Route != "*.x.test" || r.State != origin.Invalid || r.Findings[0].Code != "invalid_route" || !r.CannotWork() || !r.InForce() {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(r.Verdict, "orgin is not known") {
		t.Errorf("%q", r.Verdict)
	}
}

func TestCovered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ key, as, want string }{
		{"one.test", "", "one.test"}, {"*.x.test", "", "sleight-check.x.test"}, {"*.x.test", "a.x.test", "a.x.test"}, {"one.test", "one.test", "one.test"},
		{"*.x.test", "a.b.x.test", ""}, {"*.x.test", "a.y.test", ""}, {"one.test", "two.test", ""}, {"127.0.0.1", "", ""}, {"", "", ""},
	} {
		if got, err := check.HostToCheck(c.key, c.as); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q as %q: %q, %v", c.key, c.as, got, err)
		}
	}
}

// Nothing hangs, and a canceled check ends at once.
func TestInterruptedCheckEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	port := portOf(tlstest.Listen(t, func(c net.Conn) {
		c.Read(make([]byte, 1))
		cancel()
		io.Copy(io.Discard, c)
	}))
	_, w.checker.Resolver = tlstest.NameServer(t, w.names)
	r := w.checker.Check(ctx, "one.test", &origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{"127.0.0.1:" + port}})
	if r.Status != check.Fail || r.Findings[0].Code != "interrupted" {
		t.Errorf("%+v", r)
	}
	if _, err := w.checker.All(ctx, []check.Mapping{{Host: "one.test", Item: origin.Item{"host": "one.test", "origin": "127.0.0.1:" + port}}}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("all: %v", err)
	}
}

// One route may have many addresses: they wait for each other too.
func TestAddressesOfOneRouteKeepToTheBound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.checker.Parallel = 3
	var open, most atomic.Int64
	hanging := tlstest.Listen(t, func(c net.Conn) {
		n := open.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		io.Copy(io.Discard, c)
		open.Add(-1)
	})
	route := &origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Timeouts: origin.Timeouts{Handshake: 50 * time.Millisecond}}
	for range 16 {
		route.Addresses = append(route.Addresses, hanging)
	}
	r := w.check(route)
	// The origin may count a closed connection for a moment longer.
	if m := most.Load(); m > 2*3 || m < 1 {
		t.Errorf("%d connections were open at once", m)
	}
	for _, o := range r.Origins {
		// The transport's own handshake timeout is longer than any delay of this machine.
		if p := o.IPs[0]; p.Handshake == nil || time.Duration(*p.Handshake) >= sni.DefaultHandshakeTimeout {
			t.Errorf("the route's own timeout does not hold: %+v", p)
		}
	}
}

// In a check of many routes, the urgent ones come first, and no more connections are open than allowed.
func TestAllIsReportedByUrgencyWithinItsBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.checker.Parallel, w.checker.WarnDays, w.checker.Target = 7, 30, nil
	var open, most atomic.Int64
	count := func(c net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			n := open.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
		case http.StateClosed:
			open.Add(-1)
		}
	}
	// The root expires within a day, so the routes that must be fine trust the leaf itself, which is valid for longer.
	serve := func(days int) (string, string) {
		c := w.leaf([]string{"*.test"}, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Duration(days)*24*time.Hour + time.Hour) })
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		s.TLS = &tls.Config{Certificates: []tls.Certificate{c}}
		s.Config.ConnState = count
		s.Config.ErrorLog = quiet
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.Listener.Addr().String(), pemOf(c)
	}
	good, goodPEM := serve(90)
	soon, soonPEM := serve(20)
	sooner, soonerPEM := serve(3)
	refusing := "127.0.0.1:" + closedPort(w)
	var mappings []check.Mapping
	for i := range 300 {
		host := fmt.Sprintf("h%03d.test", i)
		item := origin.Item{"host": host, "origin": good, "ca_pem": goodPEM}
		switch i {
		case 100, 200:
			item["origin"] = refusing
		case 110:
			item["origin"], item["ca_pem"] = soon, soonPEM
		case 210:
			item["origin"], item["ca_pem"] = sooner, soonerPEM
		case 120:
			item["origin"], item["enabled"] = refusing, false
		case 130:
			item["nonsense"] = true
		case 140:
			item["enabled"] = false
		}
		mappings = append(mappings, check.Mapping{Host: host, Item: item})
	}
	_, w.checker.Resolver = tlstest.NameServer(t, w.names)
	done := 0
	results, err := w.checker.All(t.Context(), mappings, func(*check.Result) { done++ })
	if err != nil || done != 300 || len(results) != 300 {
		t.Fatalf("%v, %d done, %d results", err, done, len(results))
	}
	report := check.NewReport(results)
	var order []string
	for _, r := range report.Routes[:6] {
		order = append(order, fmt.Sprint(r.Host, " ", r.Status))
	}
	if got := strings.Join(order, ", "); got != "h100.test fail, h130.test fail, h200.test fail, h210.test warn, h110.test warn, h000.test ok" {
		t.Errorf("%s", got)
	}
	if last := report.Routes[299]; last.Host != "h120.test" || last.Status != check.Fail || last.InForce() {
		t.Errorf("last %+v", last)
	}
	if s := report.Summary; s != (check.Summary{Routes: 300, OK: 293, Warn: 2, Fail: 3, Inactive: 2, InactiveFail: 1}) {
		t.Errorf("%+v", s)
	}
	// The origin may count a closed connection for a moment longer.
	if m := most.Load(); m > 2*7 || m < 2 {
		t.Errorf("%d connections were open at once", m)
	}
}
