package proxy_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/nametest"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// asking is a store without routes that notes the last host of a lookup.
type asking struct{ host string }

func (a *asking) Lookup(_ context.Context, host string) (*origin.Route, error) {
	a.host = host
	return nil, origin.ErrNotFound
}

// In Lambda's events, a Host can have any bytes.
func TestHostsOfRequestsAreNormalized(t *testing.T) {
	t.Parallel()
	store := &asking{}
	b := start(t, store)
	for _, c := range nametest.Names() {
		store.host = ""
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Host = c.In
		w := httptest.NewRecorder()
		b.handler.ServeHTTP(w, r)
		status, errorType := 404, "destination_not_found"
		if c.Want == "" && !c.IP && !hostname.IsIP(c.In) {
			status, errorType = 400, "http_request_error"
		}
		if store.host != c.Want || w.Code != status || !strings.Contains(w.Header().Get("Proxy-Status"), errorType) {
			t.Errorf("%.40q: %q was looked up, %d, %s; want %q, %d", c.In, store.host, w.Code, w.Header().Get("Proxy-Status"), c.Want, status)
		}
	}
}

// A client that writes its host in Unicode gets the same as a client that writes A-labels, and so does the origin.
func TestUnicodeHostIsForwardedAsALabels(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for _, old := range []bool{false, true} {
		o := &tlstest.Origin{HTTP1: old, Certificates: map[string]tls.Certificate{}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://"+r.Host+"/next")
			w.Header().Set("Set-Cookie", "a=b; Domain=intern.xn--bcher-kva.example")
			w.WriteHeader(302)
		})}
		for _, name := range []string{"xn--bcher-kva.example", "a.xn--strae-oqa.example"} {
			o.Certificates[name] = tlstest.Leaf(t, ca, name)
		}
		o.Start(t)
		b := start(t, routes(t,
			route{"host": "xn--bcher-kva.example", "origin": o.Addr, "ca_pem": ca.PEM(), "protocols": offers(!old), "host_header": "intern.Bücher.example"},
			route{"host": "*.xn--strae-oqa.example", "origin": o.Addr, "ca_pem": ca.PEM(), "protocols": offers(!old)},
		), func(c *proxy.Config) { c.TrustedHostHeader = "X-Client-Host" })
		for host, want := range map[string]struct{ sni, host, client, location, cookie string }{
			"BÜCHER。example:8443":        {"xn--bcher-kva.example", "intern.xn--bcher-kva.example", "xn--bcher-kva.example:8443", "http://xn--bcher-kva.example:8443/next", "a=b; Domain=xn--bcher-kva.example"},
			"XN--BCHER-KVA.example:8443": {"xn--bcher-kva.example", "intern.xn--bcher-kva.example", "XN--BCHER-KVA.example:8443", "http://XN--BCHER-KVA.example:8443/next", "a=b; Domain=XN--BCHER-KVA.example"},
			"a.Straße.example":           {"a.xn--strae-oqa.example", "a.xn--strae-oqa.example", "a.xn--strae-oqa.example", "https://a.xn--strae-oqa.example/next", "a=b; Domain=intern.xn--bcher-kva.example"},
		} {
			got := b.do(t, "cdn.test", func(r *http.Request) { r.Header.Set("X-Client-Host", host) })
			r := o.Last(t)
			if got.status != 302 || r.SNI != want.sni || r.Host != want.host {
				t.Errorf("%q: %d, the origin saw SNI %q, Host %q", host, got.status, r.SNI, r.Host)
			}
			if r.Header.Get("X-Forwarded-Host") != want.client || !strings.Contains(r.Header.Get("Forwarded"), "host="+quoted(want.client)) {
				t.Errorf("%q: the origin was told %q, %q", host, r.Header["X-Forwarded-Host"], r.Header["Forwarded"])
			}
			if got.header.Get("Location") != want.location || got.header.Get("Set-Cookie") != want.cookie {
				t.Errorf("%q: the client was told %q, %q", host, got.header["Location"], got.header["Set-Cookie"])
			}
		}
		for _, line := range b.lines(t) {
			if host, ok := line["host"].(string); ok && strings.ContainsFunc(host, func(c rune) bool { return c > '~' }) {
				t.Errorf("logged as %q", host)
			}
		}
		// A similar name without a route.
		b.do(t, "cdn.test", func(r *http.Request) { r.Header.Set("X-Client-Host", "b\u00fcch\u0435r.example") }).want(t, 404, "destination_not_found")
	}
}

func quoted(s string) string {
	if strings.Contains(s, ":") {
		return `"` + s + `"`
	}
	return s
}
