package proxy_test

import (
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// aliases are names that CGI, WSGI, PHP or Rack turn into the same variable as a field of the proxy.
var aliases = []string{"X_Forwarded_For", "x_forwarded_for", "X-Forwarded_For", "X_Forwarded-For", "X.Forwarded.For", "X_Forwarded_Proto", "X_FORWARDED_HOST", "X_Forwarded_Port",
	"X~Forwarded~Anything", "CDN_Loop", "Max_Forwards", "Content_Length", "Transfer_Encoding", "Proxy_Authorization", "Proxy_Connection", "Keep_Alive", "X_Cdn_Host", "X_Amzn_Request_Context"}

func trusting(c *proxy.Config) { c.TrustedProxies = tlstest.Loopback }

func TestAliasesOfTheProxysFieldsAreRemoved(t *testing.T) {
	t.Parallel()
	const others = "X_Custom: 1\r\nX-Real_Ip: 2\r\nX_Forwarded: 3\r\nX__Forwarded_For: 4\r\n"
	for name, change := range map[string]func(*proxy.Config){"stranger": func(*proxy.Config) {}, "trusted": trusting} {
		w := newWire(t, always(ok), change, func(c *proxy.Config) { c.TrustedHostHeader = "X-Cdn-Host" })
		var trailers string
		for _, alias := range append(aliases, "Set_Cookie", "Content_Type", "If_Match") {
			trailers += alias + ": 6.6.6.6\r\n"
		}
		header := trailers[:strings.Index(trailers, "Set_Cookie")]
		w.send(t, "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close, TE\r\nTE: trailers\r\n"+header+others+"Trailer: X_Custom, "+strings.Join(append(aliases, "Set_Cookie", "Content_Type", "If_Match"), ", ")+
			"\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"+trailers+"X_Custom: 5\r\n\r\n")
		seen := w.requests()
		if len(seen) != 1 || strings.Contains(seen[0], "6.6.6.6") {
			t.Fatalf("%s: the origin saw %q", name, seen)
		}
		for _, line := range []string{"X_custom: 1\r\n", "X-Real_ip: 2\r\n", "X_forwarded: 3\r\n", "X__forwarded_for: 4\r\n", "\r\n0\r\nX_custom: 5\r\n\r\n"} {
			if !strings.Contains(seen[0], line) {
				t.Errorf("%s: the origin saw no %q: %q", name, line, seen[0])
			}
		}
	}
}

// A trusted peer adds to its client's list. The proxy once made 240 KB from 62 KB of it, in half a second.
func TestForwardedOfALongListIsBounded(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		list, want string
		more       string
	}{
		"addresses": {"192.0.2.1, 2001:db8::1,[2001:db8::2],192.0.2.1:80, [2001:db8::1]:443", `for=192.0.2.1, for="[2001:db8::1]", for="[2001:db8::2]", for="192.0.2.1:80", for="[2001:db8::1]:443", `, ""},
		"names":     {"unknown, _hidden.Name-1, ,a.test, \"\\, for=x;by=y, fe80::1%eth0, [192.0.2.1], _" + strings.Repeat("a", 99), "for=unknown, for=_hidden.Name-1, for=unknown, for=unknown, for=unknown, for=unknown, for=unknown, for=unknown, ", ""},
		"64":        {strings.Repeat("192.0.2.1,", 63) + "192.0.2.2", strings.Repeat("for=192.0.2.1, ", 63) + "for=192.0.2.2, ", ""},
		"65":        {strings.Repeat("192.0.2.1,", 64) + "192.0.2.2", "for=unknown, " + strings.Repeat("for=192.0.2.1, ", 63) + "for=192.0.2.2, ", ""},
		"many":      {strings.Repeat("a,", 30_000) + "192.0.2.2", "for=unknown, " + strings.Repeat("for=unknown, ", 63) + "for=192.0.2.2, ", ""},
		"readable":  {"192.0.2.1", `for=192.0.2.9;by="a\"b", for=192.0.2.8, `, "Forwarded: for=192.0.2.9;by=\"a\\\"b\"\r\nForwarded: for=192.0.2.8\r\n"},
		"open":      {"192.0.2.1", `for=192.0.2.1, `, "Forwarded: for=192.0.2.9;by=\"a\\\"\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, always(ok), trusting)
			got := w.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nX-Forwarded-For: "+row.list+"\r\n"+row.more+"\r\n")
			seen := w.requests()
			if len(seen) != 1 {
				t.Fatalf("the origin saw %q, the client got %q", seen, got)
			}
			if v, want := field(seen[0], "Forwarded"), row.want+"for=127.0.0.1;host=a.test;proto=http"; v != want {
				t.Errorf("%.2000q, want\n%.2000q", v, want)
			}
		})
	}
}

func TestHeaderLimitIncludesAddedFields(t *testing.T) {
	t.Parallel()
	w := newWire(t, always(ok), trusting)
	got := w.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nX-Forwarded-For: "+strings.Repeat("::,", 21_700)+"::1\r\n\r\n")
	if seen := w.requests(); !strings.HasPrefix(got, "HTTP/1.1 431 ") || len(seen) != 0 {
		t.Errorf("%.100q, the origin saw %d requests", got, len(seen))
	}
}

// net/http's server accepts requests over HTTP/2 that it refuses over HTTP/1.1. For example, a query may have a space, which
// ends the request line of HTTP/1.1.
func TestHTTP2RequestsAreCheckedLikeHTTP1(t *testing.T) {
	t.Parallel()
	target := func(path string) fields {
		return fields{":method: GET", ":scheme: http", ":authority: a.test", ":path: " + path}
	}
	for _, row := range []struct {
		name    string
		request fields
		body    string
		line    string // the origin's request line; empty if the request is refused
	}{
		{"blank in the query", target("/x?a=b HTTP/1.1"), "", "GET /x?a=b%20HTTP/1.1 HTTP/1.1"},
		{"hash and Latin-1 in the query", target("/x?a=b#c\xe9"), "", "GET /x?a=b%23c%E9 HTTP/1.1"},
		{"blank in the path", target("/x y%2Fz"), "", "GET /x%20y%2Fz HTTP/1.1"},
		{"another authority in the path", target("http://evil.test/x"), "", ""},
		{"the same authority in the path", target("http://a.test/x"), "", "GET /x HTTP/1.1"},
		{"Host as :authority", aRequest("host: A.TEST"), "", "GET / HTTP/1.1"},
		{"another Host", aRequest("host: evil.test"), "", ""},
		{"Host with another port", aRequest("host: a.test:8443"), "", ""},
		{"two Hosts", aRequest("host: a.test", "host: a.test"), "", ""},
		{"Host alone", fields{":method: GET", ":scheme: http", ":path: /", "host: a.test"}, "", "GET / HTTP/1.1"},
		{"two Hosts alone", fields{":method: GET", ":scheme: http", ":path: /", "host: a.test", "host: evil.test"}, "", ""},
		{"length", aRequest("content-length: 2"), "hi", "GET / HTTP/1.1"},
		{"the same length twice", aRequest("content-length: 2", "content-length: 2"), "hi", "GET / HTTP/1.1"},
		{"length without a body", aRequest("content-length: 2"), "", ""},
		{"length 0 without a body", aRequest("content-length: 0"), "", "GET / HTTP/1.1"},
		{"two lengths", aRequest("content-length: 2", "content-length: 9"), "hi", ""},
		{"list of lengths", aRequest("content-length: 2, 2"), "", ""},
		{"signed length", aRequest("content-length: +2"), "", ""},
		{"empty length", aRequest("content-length: "), "", ""},
		{"length beyond all numbers", aRequest("content-length: 18446744073709551618"), "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var w *wire
			var got message
			t.Run("wire", func(t *testing.T) {
				w = newWire(t, always(ok))
				got = byFrames(t, w.handler, row.request, row.body)
			})
			seen := w.requests()
			// Go after 1.26 refuses an invalid :path (RFC 9113 section 8.3.1).
			noPath := got.reset != "" && row.name == "the same authority in the path"
			if row.line == "" || noPath {
				refused := got.reset != "" || len(got.sections) > 0 && slices.Equal(got.sections[0].get(":status"), []string{"400"})
				if !refused || len(seen) != 0 {
					t.Errorf("%+v, the origin saw %q", got, seen)
				}
				return
			}
			if len(seen) != 1 || !strings.HasPrefix(seen[0], row.line+"\r\n") || field(seen[0], "Host") == "" || strings.Count(strings.ToLower(seen[0]), "\r\nhost: ") != 1 {
				t.Errorf("%+v, the origin saw %q", got, seen)
			}
		})
	}
}

func TestPortOfHostIsATCPPort(t *testing.T) {
	t.Parallel()
	b := start(t, routes(t))
	for host, status := range map[string]int{
		"a.test:1": 404, "a.test:65535": 404, "a.test:": 404, "a.test:0443": 404, "192.0.2.1:65535": 404, "[::1]:443": 404, "[::1]": 404,
		"a.test:0": 400, "a.test:65536": 400, "a.test:99999": 400, "a.test:000443": 400, "a.test:+1": 400, "192.0.2.1:0": 400, "[::1]:65536": 400, "[::1]:x": 400,
	} {
		c := b.send(t, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		if got := readResponse(t, c); got.status != status {
			t.Errorf("%s: %d, want %d", host, got.status, status)
		}
	}
}

func TestTrustedHostHeaderOfUntrustedPeerIsIgnored(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test", "b.test")
	both := routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}, route{"host": "b.test", "origin": o.Addr, "ca_pem": ca.PEM()})
	for name, row := range map[string]struct {
		trusted    []netip.Prefix
		host, sent string
	}{
		"the peer is trusted": {tlstest.Loopback, "b.test", "b.test"},
		"others are":          {[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "a.test", ""},
		"nobody is":           {nil, "b.test", "b.test"},
	} {
		b := start(t, both, func(c *proxy.Config) { c.TrustedHostHeader, c.TrustedProxies = "X-Cdn-Host", row.trusted })
		b.do(t, "a.test", func(r *http.Request) { r.Header.Set("X-Cdn-Host", "b.test") })
		if r := o.Last(t); r.SNI != row.host || r.Header.Get("X-Cdn-Host") != row.sent {
			t.Errorf("%s: the origin saw %+v", name, r)
		}
		if row.host == "a.test" { // an untrusted list does not make the request invalid
			if got := b.do(t, "a.test", func(r *http.Request) { r.Header["X-Cdn-Host"] = []string{"b.test", "a..b"} }); got.status != 200 {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
}

// Otherwise the name would be announced to the origin, although net/http cannot send such a field.
func TestAnnouncedTrailerWithInvalidNameIsRefused(t *testing.T) {
	t.Parallel()
	log := make(logLines, 9)
	w := newWire(t, always(ok), logTo(log))
	got := w.send(t, "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTrailer: X Bad\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX Bad: 1\r\n\r\n")
	if seen := w.requests(); !strings.HasPrefix(got, "HTTP/1.1 400 ") || len(seen) != 0 {
		t.Errorf("%q, the origin saw %q", got, seen)
	}
	wantLine(t, log.next(t), 400, "bad-request") // before the proxy dials
}

// The table is for operators of origins, who must know which fields are not verified.
func TestDocumentedFieldsPassFromUntrustedClients(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(document), "### What passes from strangers")
	section, _, _ = strings.Cut(section, "**From a trusted peer**")
	var names []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*)\\|").FindAllStringSubmatch(section, -1) {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			names = append(names, strings.ReplaceAll(name[1], "*", "Verify"))
		}
	}
	if len(names) < 20 {
		t.Fatalf("%d names in the table: %q", len(names), names)
	}
	w := newWire(t, always(ok))
	w.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n"+strings.Join(names, ": as it came\r\n")+": as it came\r\n\r\n")
	for _, seen := range w.requests() {
		for _, name := range names {
			if v := field(seen, name); v != "as it came" {
				t.Errorf("%s reached the origin as %q", name, v)
			}
		}
	}
	if len(w.requests()) != 1 {
		t.Errorf("the origin saw %q", w.requests())
	}
}
