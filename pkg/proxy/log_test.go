package proxy_test

import (
	"crypto/tls"
	"encoding/json"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// The attributes of each line, of requests with a route, of requests that reached an origin, and of those over TLS.
const (
	every   = "bytes level method msg requestId status time total_ms"
	routed  = every + " host lookup_ms"
	reached = routed + " first_byte_ms origin origin_ip protocol reused"
	secured = reached + " certificate_days_left resumed sni tls_version"
	failed  = " error error_type problem"
)

// A log line must not have paths, queries, fields or bodies, which may be secrets.
func TestLogLineHasNoSecrets(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test"), "wrong.test": tlstest.Leaf(t, ca, "other.test")},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Set-Cookie", "secret-of-the-origin")
			w.Write([]byte("secret-body"))
		})}
	o.Start(t)
	plain := &tlstest.Origin{Plain: true}
	plain.Start(t)
	store := routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}, route{"host": "*.wild.test", "origin": o.Addr, "ca_pem": ca.PEM(), "server_name": "a.test"},
		route{"host": "modern.test", "origin": o.Addr, "ca_pem": ca.PEM(), "server_name": "a.test", "protocols": []string{"h2"}},
		route{"host": "wrong.test", "origin": o.Addr, "ca_pem": ca.PEM()}, route{"host": "plain.test", "origin": "http://" + plain.Addr})
	lines := make(logLines, 9)
	b := start(t, store, logTo(lines), func(c *proxy.Config) { c.Transport.ForceHTTPS = false })
	for _, c := range []struct {
		name, host, attributes string
		want                   map[string]any
	}{
		{"a new connection", "a.test", secured + " connect_ms tls_ms certificate_sha256", map[string]any{"host": "a.test", "reused": false, "protocol": "HTTP/1.1", "sni": "a.test", "tls_version": "1.3", "status": 200.0, "bytes": 11.0, "origin": o.Addr, "origin_ip": "127.0.0.1", "level": "INFO"}},
		{"one of before", "a.test", secured, map[string]any{"reused": true, "protocol": "HTTP/1.1", "tls_version": "1.3"}},
		{"a new connection over HTTP/2", "modern.test", secured + " connect_ms tls_ms certificate_sha256", map[string]any{"reused": false, "protocol": "HTTP/2", "sni": "a.test", "tls_version": "1.3"}},
		{"one of before over HTTP/2", "modern.test", secured, map[string]any{"reused": true, "protocol": "HTTP/2", "tls_version": "1.3"}},
		{"the route's key", "secret-label.wild.test", secured, map[string]any{"host": "*.wild.test"}},
		{"plain HTTP", "plain.test", reached + " connect_ms", map[string]any{"protocol": "HTTP/1.1", "reused": false}},
		{"no route", "secret-name.test", every + failed, map[string]any{"status": 404.0, "problem": "unknown-host", "error_type": "destination_not_found", "level": "INFO"}},
		{"a wrong certificate", "wrong.test", routed + failed + " certificate_names certificate_not_after certificate_problem connect_ms origin tls_ms", map[string]any{"status": 502.0, "certificate_names": "other.test", "level": "WARN"}},
	} {
		b.do(t, c.host, func(r *http.Request) {
			r.URL.Path, r.URL.RawQuery = "/secret-path", "q=secret-query"
			r.Header = http.Header{"Cookie": {"secret-cookie"}, "User-Agent": {"secret-agent"}, "Authorization": {"secret"}, "X-Request-Id": {"secret-id"}, "X-Forwarded-For": {"secret-address"}, "Referer": {"secret-page"}}
		})
		line := lines.next(t)
		want := strings.Fields(c.attributes)
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(line)); !slices.Equal(got, want) {
			t.Errorf("%s: attributes %q, want %q: %v", c.name, got, want, line["error"])
		}
		for name, value := range c.want {
			if line[name] != value {
				t.Errorf("%s: %s is %v, want %v", c.name, name, line[name], value)
			}
		}
		delete(line, "error") // it has the requested host, bounded and quoted
		if text, _ := json.Marshal(line); strings.Contains(string(text), "secret") {
			t.Errorf("%s: %s", c.name, text)
		}
	}
}

// A client chooses the method too.
func TestLogLineBoundsTheClientsText(t *testing.T) {
	t.Parallel()
	lines := make(logLines, 9)
	b := start(t, routes(t), logTo(lines))
	readResponse(t, b.send(t, strings.Repeat("M", 3000)+" / HTTP/1.1\r\nHost: "+strings.Repeat("h", 3000)+"\r\n\r\n"))
	line := lines.next(t)
	if text, _ := json.Marshal(line); len(text) > 2500 || line["method"] != strings.Repeat("M", 20)+"..." {
		t.Errorf("%d bytes: %s", len(text), text)
	}
}

func TestLogLineHasTheIDs(t *testing.T) {
	t.Parallel()
	const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, c := range []struct {
		name               string
		trusted            []netip.Prefix
		identify           func(*http.Request) (string, string)
		header             http.Header
		requestID, traceID string // "*" is any
	}{
		{"by nothing", nil, nil, http.Header{}, "*", ""},
		{"not as a stranger says", nil, nil, http.Header{"X-Request-Id": {"abc"}}, "*", ""},
		{"as a trusted proxy says", loopback, nil, http.Header{"X-Request-Id": {"abc-1"}}, "abc-1", ""},
		{"not by what is no id", loopback, nil, http.Header{"X-Request-Id": {"a b"}}, "*", ""},
		{"not by what has no end", loopback, nil, http.Header{"X-Request-Id": {strings.Repeat("a", 129)}}, "*", ""},
		{"as the server says", loopback, func(*http.Request) (string, string) { return "own", "Root=1" }, http.Header{"X-Request-Id": {"abc"}, "Traceparent": {traceparent}}, "own", "Root=1"},
		{"as far as the server says", nil, func(*http.Request) (string, string) { return "", "" }, http.Header{"Traceparent": {traceparent}}, "*", "0af7651916cd43dd8448eb211c80319c"},
		{"not by a trace that is none", nil, nil, http.Header{"Traceparent": {"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"}}, "*", ""},
		{"not by half a trace", nil, nil, http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c"}}, "*", ""},
	} {
		lines := make(logLines, 9)
		b := start(t, routes(t), logTo(lines), func(config *proxy.Config) { config.TrustedProxies, config.Identify = c.trusted, c.identify })
		got := b.do(t, "a.test", func(r *http.Request) { r.Header = c.header })
		line := lines.next(t)
		id, _ := line["requestId"].(string)
		trace, _ := line["traceId"].(string)
		if c.requestID == "*" && (len(id) < 20 || id == strings.Join(c.header["X-Request-Id"], "")) || c.requestID != "*" && id != c.requestID || trace != c.traceID {
			t.Errorf("%s: %q, %q", c.name, id, trace)
		}
		if got.header.Get("X-Request-Id") != id {
			t.Errorf("%s: the client was told %q, the log %q", c.name, got.header.Get("X-Request-Id"), id)
		}
	}
}
