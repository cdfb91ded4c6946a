package proxy_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/pkg/proxy"
)

// list returns the elements of a field, from all its lines.
func list(message, name string) string {
	var all []string
	for line := range strings.SplitSeq(field(message, name), "|") {
		for member := range strings.SplitSeq(line, ",") {
			all = append(all, strings.TrimSpace(member))
		}
	}
	return strings.Join(all, ", ")
}

func TestViaAndCDNLoopNameTheProxyLast(t *testing.T) {
	t.Parallel()
	for fields, want := range map[string][2]string{
		"": {"1.1 sleight", "sleight"},
		"Via: 1.0 fred, 1.1 p.example.net (x)\r\nVia: 2 cdn\r\n":                                       {"1.0 fred, 1.1 p.example.net (x), 2 cdn, 1.1 sleight", "sleight"},
		"CDN-Loop: foo123.foocdn.example, barcdn; a=\"sleight\"\r\nCDN-Loop: notsleight, sleight2\r\n": {"1.1 sleight", "foo123.foocdn.example, barcdn; a=\"sleight\", notsleight, sleight2, sleight"},
		"CDN-Loop: x; a=\"b, sleight\"; c=sleight\r\nVia: 1.1 sleight\r\n":                             {"1.1 sleight, 1.1 sleight", "x; a=\"b, sleight\"; c=sleight, sleight"},
		"CDN-Loop: sleight.example, x; a=\"\\\", sleight\"\r\n":                                        {"1.1 sleight", "sleight.example, x; a=\"\\\", sleight\", sleight"},
	} {
		w := newWire(t, always(ok))
		got := w.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n"+fields+"\r\n")
		seen := w.requests()
		if len(seen) != 1 {
			t.Errorf("%q: the origin saw %q, the client %q", fields, seen, got)
			continue
		}
		if via, loop := list(seen[0], "Via"), list(seen[0], "CDN-Loop"); via != want[0] || loop != want[1] {
			t.Errorf("%q became Via %q, CDN-Loop %q, want %q", fields, via, loop, want)
		}
	}
}

func TestViaHasTheClientsProtocol(t *testing.T) {
	t.Parallel()
	w := newWire(t, always(ok))
	server := httptest.NewUnstartedServer(w.handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	r, _ := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
	r.Host = "a.test"
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if seen := w.requests(); resp.Proto != "HTTP/2.0" || len(seen) != 1 || list(seen[0], "Via") != "2.0 sleight" || field(seen[0], "X-Forwarded-Proto") != "https" {
		t.Errorf("by %s, the origin saw %q", resp.Proto, seen)
	}
}

// Otherwise a route whose origin leads back to the proxy would loop until a timeout. RFC 8586 does not mention case, but an
// identifier may be a host, whose case does not matter.
func TestLoopIsRefused(t *testing.T) {
	t.Parallel()
	for _, fields := range []string{
		"CDN-Loop: sleight\r\n", "CDN-Loop: SLEIGHT\r\n", "CDN-Loop: sleight; a=b\r\n", "CDN-Loop: sleight;a=\"b, c\"\r\n", "CDN-Loop: x; a=\"b\", sleight ,y\r\n",
		"CDN-Loop: x\r\nCDN-Loop:\tsleight\r\n", "Connection: CDN-Loop\r\nCDN-Loop: sleight\r\n", "CDN-Loop: x; a=\"\\\\\", sleight\r\n", "CDN-Loop: ,,sleight\r\n",
	} {
		w := newWire(t, always(ok))
		got := w.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n"+fields+"\r\n")
		if seen := w.requests(); !strings.HasPrefix(got, "HTTP/1.1 502 ") || field(got, "Proxy-Status") != "sleight; error=proxy_loop_detected" || len(seen) != 0 {
			t.Errorf("%q: the origin saw %q, the client %q", fields, seen, got)
		}
	}
}

// claims are fields of an untrusted client with false origins of its request.
const claims = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6;host=evil.test\r\nForwarded: proto=https\r\n" +
	"X-Forwarded-Port: 666\r\nX-Forwarded-Server: evil\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Anything: evil\r\n"

// parameters returns those of the last element of a Forwarded field (RFC 7239 section 4), by name.
func parameters(message string) map[string]string {
	all := map[string]string{}
	elements := strings.Split(list(message, "Forwarded"), ", ")
	for pair := range strings.SplitSeq(elements[len(elements)-1], ";") {
		name, value, _ := strings.Cut(pair, "=")
		all[strings.ToLower(name)] = value
	}
	return all
}

func TestForwardedFieldsOfUntrustedClientsAreReplaced(t *testing.T) {
	t.Parallel()
	w := newWire(t, always(ok))
	w.send(t, "GET / HTTP/1.1\r\nHost: A.test:8080\r\nConnection: close\r\n"+claims+"X-Real-Ip: stays\r\n\r\n")
	seen := w.requests()
	if len(seen) != 1 {
		t.Fatalf("the origin saw %q", seen)
	}
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "A.test:8080", "X-Forwarded-Proto": "http", "X-Real-Ip": "stays",
		"X-Forwarded-Port": "", "X-Forwarded-Server": "", "X-Forwarded-Prefix": "", "X-Forwarded-Anything": "",
	} {
		if got := field(seen[0], name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got, want := parameters(seen[0]), map[string]string{"for": "127.0.0.1", "host": "\"A.test:8080\"", "proto": "http"}; !reflect.DeepEqual(got, want) || strings.Contains(field(seen[0], "Forwarded"), "6.6.6.6") {
		t.Errorf("Forwarded is %q", field(seen[0], "Forwarded"))
	}
}

func TestAddressWithColonsIsQuotedInForwarded(t *testing.T) {
	t.Parallel()
	w := newWire(t, always(ok))
	r := httptest.NewRequest("GET", "http://a.test/", nil)
	r.RemoteAddr = "[2001:db8::1]:4711"
	w.handler.ServeHTTP(httptest.NewRecorder(), r)
	seen := w.requests()
	if len(seen) != 1 || field(seen[0], "X-Forwarded-For") != "2001:db8::1" || parameters(seen[0])["for"] != "\"[2001:db8::1]\"" || parameters(seen[0])["host"] != "a.test" {
		t.Errorf("the origin saw %q", seen)
	}
}

func TestConnectionCannotRemoveForwardedFields(t *testing.T) {
	t.Parallel()
	w := newWire(t, always(ok))
	w.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close, Via, CDN-Loop, Forwarded\r\nConnection: X-Forwarded-For\r\n"+claims+"Via: 1.0 fred\r\nCDN-Loop: x\r\n\r\n")
	seen := w.requests()
	if len(seen) != 1 || !strings.HasSuffix(list(seen[0], "Via"), "1.1 sleight") || !strings.HasSuffix(list(seen[0], "CDN-Loop"), "sleight") ||
		parameters(seen[0])["for"] != "127.0.0.1" || field(seen[0], "X-Forwarded-For") != "127.0.0.1" {
		t.Errorf("the origin saw %q", seen)
	}
}

func TestForwardedFieldsOfTrustedPeersAreKept(t *testing.T) {
	t.Parallel()
	for network, trusted := range map[string]bool{"127.0.0.0/8": true, "10.0.0.0/8": false} {
		w := newWire(t, always(ok), func(c *proxy.Config) {
			c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(network)}
		})
		w.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n"+claims+"\r\n")
		seen := w.requests()
		if len(seen) != 1 {
			t.Fatalf("the origin saw %q", seen)
		}
		want := map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "a.test", "X-Forwarded-Proto": "http", "X-Forwarded-Port": "", "X-Forwarded-Prefix": ""}
		if trusted {
			want = map[string]string{"X-Forwarded-For": "6.6.6.6, 7.7.7.7, 127.0.0.1", "X-Forwarded-Host": "evil.test", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "666", "X-Forwarded-Prefix": "/evil"}
		}
		for name, want := range want {
			if got := list(seen[0], name); got != want {
				t.Errorf("from %s, %s is %q, want %q", network, name, got, want)
			}
		}
		forwarded := list(seen[0], "Forwarded")
		if p := parameters(seen[0]); p["for"] != "127.0.0.1" || strings.HasPrefix(forwarded, "for=6.6.6.6;host=evil.test, proto=https, ") != trusted {
			t.Errorf("from %s, Forwarded is %q", network, forwarded)
		}
	}
}

// AWS's fronts add the peer to the list themselves.
func TestListedPeerIsNotAddedTwice(t *testing.T) {
	t.Parallel()
	w := newWire(t, always(ok), trustLoopback)
	w.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nX-Forwarded-For: 6.6.6.6, 127.0.0.1\r\n\r\n")
	seen := w.requests()
	if len(seen) != 1 || field(seen[0], "X-Forwarded-For") != "6.6.6.6, 127.0.0.1" || field(seen[0], "Forwarded") != "for=6.6.6.6, for=127.0.0.1;host=a.test;proto=http" {
		t.Errorf("the origin saw %q", seen)
	}
}

// If there are two schemes, a front may have forwarded the client's own.
func TestSecondSchemeIsIgnored(t *testing.T) {
	t.Parallel()
	w := newWire(t, always(ok), trustLoopback)
	w.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n\r\n")
	if seen := w.requests(); len(seen) != 1 || field(seen[0], "X-Forwarded-Proto") != "http" || parameters(seen[0])["proto"] != "http" {
		t.Errorf("the origin saw %q", seen)
	}
}

func TestUnknownPeerAddsNoAddress(t *testing.T) {
	t.Parallel()
	w := newWire(t, always(ok))
	r := httptest.NewRequest("GET", "http://a.test/", nil)
	r.RemoteAddr = ""
	w.handler.ServeHTTP(httptest.NewRecorder(), r)
	if seen := w.requests(); len(seen) != 1 || strings.Contains(seen[0], "X-Forwarded-For") || field(seen[0], "Forwarded") != "host=a.test;proto=http" {
		t.Errorf("the origin saw %q", seen)
	}
}

func trustLoopback(c *proxy.Config) {
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

// TRACE shows scripts the fields that browsers hide and proxies add. CONNECT asks for a tunnel to any port.
func TestTraceAndConnectAreRefused(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"TRACE / HTTP/1.1", "TRACE /x HTTP/1.0", "CONNECT a.test:443 HTTP/1.1", "CONNECT a.test:25 HTTP/1.1", "CONNECT / HTTP/1.1"} {
		w := newWire(t, always(ok))
		got := w.send(t, line+"\r\nHost: a.test\r\nConnection: close\r\n\r\n")
		_, status, _ := strings.Cut(got, " ")
		if seen := w.requests(); !strings.HasPrefix(status, "405 ") || field(got, "Allow") == "" || strings.Contains(field(got, "Allow"), "TRACE") ||
			field(got, "Proxy-Status") != "sleight; error=http_request_denied" || len(seen) != 0 {
			t.Errorf("%s: the origin saw %q, the client %q", line, seen, got)
		}
	}
}

// RFC 9110 section 7.6.2.
func TestMaxForwardsIsCountedDown(t *testing.T) {
	t.Parallel()
	for request, want := range map[string]string{
		"OPTIONS * HTTP/1.1\r\nMax-Forwards: 0\r\n": "answered", "OPTIONS / HTTP/1.1\r\nMax-Forwards: 0\r\n": "answered",
		"OPTIONS / HTTP/1.1\r\nMax-Forwards: 3\r\n": "2", "OPTIONS / HTTP/1.1\r\nMax-Forwards: 1\r\n": "0", "OPTIONS / HTTP/1.1\r\n": "",
		"GET / HTTP/1.1\r\nMax-Forwards: 0\r\n": "0", "GET / HTTP/1.1\r\nMax-Forwards: 3\r\n": "3",
	} {
		w := newWire(t, always(ok))
		got := w.send(t, request+"Host: a.test\r\nConnection: close\r\n\r\n")
		seen := w.requests()
		switch {
		case want == "answered":
			if len(seen) != 0 || !strings.HasPrefix(got, "HTTP/1.1 200 ") && !strings.HasPrefix(got, "HTTP/1.1 204 ") {
				t.Errorf("%q: the origin saw %q, the client %q", request, seen, got)
			}
		case len(seen) != 1 || field(seen[0], "Max-Forwards") != want:
			t.Errorf("%q: the origin saw %q, want %q", request, seen, want)
		}
	}
}
