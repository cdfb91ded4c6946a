package sni_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/sleightproxy/sleight/internal/nametest"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/sni"
)

func TestHostsOfURLsAreReadByTheOneRule(t *testing.T) {
	t.Parallel()
	errStop := errors.New("stop here")
	for _, c := range nametest.Names() {
		got := ""
		tr := &sni.Transport{Translate: sni.TranslatorFunc(func(_ context.Context, host string) (sni.Target, error) {
			got = host
			return sni.Target{}, errStop
		})}
		_, err := tr.RoundTrip((&http.Request{Method: "GET", URL: &url.URL{Scheme: "https", Host: c.In, Path: "/"}, Header: http.Header{}}).WithContext(t.Context()))
		want := c.Want
		if c.IP {
			want = (&url.URL{Host: c.In}).Hostname()
		}
		if got != want || want != "" && !errors.Is(err, errStop) || want == "" && !errors.Is(err, hostname.ErrInvalid) {
			t.Errorf("%.40q: %q was looked up, %v; want %q", c.In, got, err, want)
		}
	}
}

// net/http encodes names too. It refuses some of these names, and does not see that the host of the URL and the Host header are the same
// if only one of them is encoded.
func TestNamesInUnicodeGoOutAsALabels(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		o := tlstest.NewOrigin(t, ca, "xn--bcher-kva.example", "a--b.xn--_-eha.example")
		target := sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}
		if protocol == "HTTP/1.1" {
			target.ALPN = []string{"http/1.1"}
		}
		tr := newTransport(t, sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) { return target, nil }))
		for _, c := range []struct{ url, header, routed, sni, host string }{
			{"Bücher.example", "", "", "xn--bcher-kva.example", "xn--bcher-kva.example"},
			{"bücher.example:8443", "", "", "xn--bcher-kva.example", "xn--bcher-kva.example:8443"},
			{"bücher.example", "xn--bcher-kva.example", "", "xn--bcher-kva.example", "xn--bcher-kva.example"},
			{"xn--bcher-kva.example", "BÜCHER.example:443", "", "xn--bcher-kva.example", "xn--bcher-kva.example:443"},
			{"XN--bcher-kva.example", "", "", "xn--bcher-kva.example", "XN--bcher-kva.example"},
			{"a--b._ü.example", "", "", "a--b.xn--_-eha.example", "a--b.xn--_-eha.example"},
			{"bücher.example", "", "Büro.example:1", "xn--bcher-kva.example", "xn--bro-hoa.example:1"},
		} {
			target.HostHeader = c.routed
			req := (&http.Request{Method: "GET", URL: &url.URL{Scheme: "https", Host: c.url, Path: "/"}, Host: c.header, Header: http.Header{}}).WithContext(t.Context())
			if _, err := send(tr, req); err != nil {
				t.Errorf("%s, %q, Host %q: %v", protocol, c.url, c.header, err)
				continue
			}
			if r := o.Last(t); r.SNI != c.sni || r.Host != c.host || r.Proto != protocol {
				t.Errorf("%s, %q, Host %q: the origin saw %s, SNI %q, Host %q", protocol, c.url, c.header, r.Proto, r.SNI, r.Host)
			}
			if req.Host != c.header || req.URL.Host != c.url {
				t.Errorf("the caller's request became %q, %q", req.URL.Host, req.Host)
			}
		}
		target.HostHeader = ""
		for _, other := range []string{"bucher.example", "xn--bcher-kvb.example", "büchеr.example"} { // a Cyrillic е
			req := (&http.Request{Method: "GET", URL: &url.URL{Scheme: "https", Host: "bücher.example", Path: "/"}, Host: other, Header: http.Header{}}).WithContext(t.Context())
			if _, err := send(tr, req); !errors.Is(err, sni.ErrHostMismatch) {
				t.Errorf("Host %q: %v", other, err)
			}
		}
	}
}
