package check_test

import (
	"crypto/tls"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sleightproxy/sleight/internal/check"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// The check uses the protocols of the route. It reports whether the origin supports HTTP/2 too, without a second request.
func TestProtocolsAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	both := w.good(nil)
	origins := []*tlstest.Origin{w.server}
	old := w.good(nil, onlyHTTP1)
	origins = append(origins, w.server)
	bare := w.shaken(answerHTTP1)
	reluctant := w.good(nil, func(c *tls.Config) { c.NextProtos = []string{"http/1.1", "h2"} })
	origins = append(origins, w.server)
	requests := func() (n int) {
		for _, o := range origins {
			n += len(o.Requests())
		}
		return n
	}
	for _, c := range []struct {
		name, port, protocols string
		alpn, protocol        string
		http2                 bool
	}{
		{"default", both, "", "http/1.1", "HTTP/1.1", true},
		{"HTTP/1.1", both, "http/1.1", "http/1.1", "HTTP/1.1", true},
		{"HTTP/2", both, "h2", "h2", "HTTP/2", true},
		{"HTTP/2 first", both, "h2 http/1.1", "h2", "HTTP/2", true},
		{"default, without HTTP/2", old, "", "http/1.1", "HTTP/1.1", false},
		{"HTTP/2 first, without HTTP/2", old, "h2 http/1.1", "http/1.1", "HTTP/1.1", false},
		{"HTTP/1.1 first, without HTTP/2", old, "http/1.1 h2", "http/1.1", "HTTP/1.1", false},
		{"default, without ALPN", bare, "", "", "HTTP/1.1", false},
		{"default, of an origin that prefers HTTP/1.1", reluctant, "", "http/1.1", "HTTP/1.1", false},
	} {
		before := requests()
		r := w.check(&origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{"127.0.0.1:" + c.port}, Protocols: strings.Fields(c.protocols)})
		p := r.Origins[0].IPs[0]
		if r.Status != check.OK || p.TLS == nil || p.HTTP == nil {
			t.Errorf("%s: %+v", c.name, r.Findings)
			continue
		}
		if p.TLS.ALPN != c.alpn || p.HTTP.Protocol != c.protocol || p.TLS.SpeaksHTTP2 == nil || *p.TLS.SpeaksHTTP2 != c.http2 {
			t.Errorf("%s: %s, %+v", c.name, p.HTTP.Protocol, p.TLS)
		}
		if n := requests() - before; c.port != bare && n != 1 {
			t.Errorf("%s: %d requests", c.name, n)
		}
	}
}

// A check of many routes makes many handshakes. It makes none of them twice.
func TestAtMostOneMoreHandshakeIsMadeForProtocols(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		origin    []string // the protocols of the origin
		protocols string   // the protocols of the route
		want      int32
	}{
		"HTTP/1.1, of both":            {[]string{"h2", "http/1.1"}, "", 2},
		"HTTP/2, of both":              {[]string{"h2", "http/1.1"}, "h2", 1},
		"both, of both":                {[]string{"h2", "http/1.1"}, "h2 http/1.1", 1},
		"HTTP/1.1 first, without h2":   {[]string{"http/1.1"}, "http/1.1 h2", 2},
		"HTTP/2 first, without h2":     {[]string{"http/1.1"}, "h2 http/1.1", 1},
		"HTTP/1.1, of HTTP/2 alone":    {[]string{"h2"}, "", 2},
		"HTTP/2 alone, without h2":     {[]string{"http/1.1"}, "h2", 2},
		"both, of neither":             {[]string{"smtp"}, "h2 http/1.1", 1},
		"HTTP/1.1, of neither":         {[]string{"smtp"}, "", 2},
		"HTTP/1.1, of one without it":  {nil, "", 2},
		"HTTP/2, of one without ALPN":  {nil, "h2", 2},
		"both, of one without ALPN":    {nil, "h2 http/1.1", 1},
		"HTTP/1.1 first, without ALPN": {nil, "http/1.1 h2", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var handshakes atomic.Int32
			port := w.good(nil, func(config *tls.Config) {
				config.NextProtos = c.origin
				config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { handshakes.Add(1); return nil, nil }
			})
			w.check(&origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{"127.0.0.1:" + port}, Protocols: strings.Fields(c.protocols)})
			if n := handshakes.Load(); n != c.want {
				t.Errorf("%d handshakes, want %d", n, c.want)
			}
		})
	}
}
