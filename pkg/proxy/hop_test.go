package proxy_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// hops are the hop-by-hop fields (RFC 9110 section 7.6.1), and fields that the Connection of a test names.
const hops = "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authenticate: Basic\r\nProxy-Authorization: Basic eA==\r\nX-First: 1\r\nX-Second: 2\r\nX-Stays: 3\r\n"

var hopNames = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "X-First", "X-Second"}

func TestHopByHopFieldsAreRemoved(t *testing.T) {
	t.Parallel()
	const connection = "Connection:\r\nConnection: x-FIRST ,, close\r\nConnection: \tX-Second\t\r\n"
	w := newWire(t, always("HTTP/1.1 200 OK\r\n"+strings.ReplaceAll(connection, "close", "x")+hops+"Te: trailers\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nok"))
	got := w.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\n"+connection+hops+"TE: gzip\r\nTrailer: X-T\r\nUpgrade: x\r\n\r\n")
	seen := w.requests()
	if len(seen) != 1 || !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Fatalf("the origin saw %q, the client %q", seen, got)
	}
	for _, name := range hopNames {
		if v := field(seen[0], name); v != "" {
			t.Errorf("the origin got %s: %s", name, v)
		}
		if v := field(got, name); v != "" && name+v != "Connectionclose" { // the proxy's own
			t.Errorf("the client got %s: %s", name, v)
		}
	}
	if field(seen[0], "X-Stays") != "3" || field(got, "X-Stays") != "3" {
		t.Errorf("other fields are gone: %q, %q", seen[0], got)
	}
}

// gRPC servers refuse requests without it.
func TestOnlyTrailersRemainInTE(t *testing.T) {
	t.Parallel()
	for te, want := range map[string]string{"TE: trailers\r\n": "trailers", "TE: gzip;q=0.5, Trailers\r\n": "trailers", "TE: gzip\r\nTE: trailers\r\n": "trailers", "TE: xtrailers\r\n": "", "TE:\r\n": "", "": ""} {
		w := newWire(t, always(ok))
		w.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close, TE\r\n"+te+"\r\n")
		if seen := w.requests(); len(seen) != 1 || field(seen[0], "TE") != want {
			t.Errorf("%q reached the origin as %q", te, seen)
		}
	}
}

// A client can remove fields by naming them in Connection. It must not remove fields that the proxy sets, which the origin may
// rely on, or those that frame the request. It may remove its own, such as cookies.
func TestConnectionCannotRemoveTheProxysFields(t *testing.T) {
	t.Parallel()
	w := newWire(t, always(ok))
	got := w.send(t, "POST /x HTTP/1.1\r\nHost: a.test\r\nConnection: close, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto\r\nConnection: Forwarded, Via, CDN-Loop, Host, Content-Length, Cookie\r\n"+
		"X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nCookie: a=b\r\nContent-Length: 5\r\n\r\nhello")
	seen := w.requests()
	if len(seen) != 1 || !strings.HasSuffix(got, "ok") {
		t.Fatalf("the origin saw %q, the client %q", seen, got)
	}
	wantSame(t, "the origin saw", seen[0], "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello")
	for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "a.test", "X-Forwarded-Proto": "http"} {
		if v := field(seen[0], name); v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
}

func TestTrailersPassBothWays(t *testing.T) {
	t.Parallel()
	const chunks = "5\r\nhello\r\n0\r\n"
	w := newWire(t, always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-More\r\n\r\n"+chunks+"X-Sum: 1\r\nX-More: \"2\"\r\n\r\n"))
	got := w.send(t, "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close, TE\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Check\r\n\r\n"+chunks+"X-Check: ok\r\n\r\n")
	seen := w.requests()
	if len(seen) != 1 || !strings.HasSuffix(seen[0], "\r\n\r\n"+chunks+"X-Check: ok\r\n\r\n") || field(seen[0], "Trailer") != "X-Check" {
		t.Errorf("the origin saw %q", seen)
	}
	_, body, _ := strings.Cut(got, "\r\n\r\n")
	if body != chunks+"X-More: \"2\"\r\nX-Sum: 1\r\n\r\n" && body != chunks+"X-Sum: 1\r\nX-More: \"2\"\r\n\r\n" || !strings.Contains(field(got, "Trailer"), "X-Sum") {
		t.Errorf("the client got %q", got)
	}
}

// A trailer section must not have fields that belong into a header (RFC 9110 section 6.5.1).
func TestTrailerHasNoHeaderFields(t *testing.T) {
	t.Parallel()
	w := newWire(t, always(ok))
	w.send(t, "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: Cookie\r\n\r\n5\r\nhello\r\n0\r\nHost: evil.test\r\nContent-Length: 9\r\nX-Forwarded-For: 6.6.6.6\r\nCookie: admin=1\r\n\r\n")
	for _, r := range w.requests() {
		head, body, _ := strings.Cut(r, "\r\n\r\n")
		if field(head, "Host") != "a.test" || field(head, "Content-Length") != "" || strings.Contains(head, "6.6.6.6") || strings.Contains(head, "admin") ||
			strings.Contains(body, "evil.test") || strings.Contains(body, "6.6.6.6") || strings.Contains(body, "Content-Length") {
			t.Errorf("the origin saw %q", r)
		}
	}
}

func TestInterimResponsesPassToClientsThatKnowThem(t *testing.T) {
	t.Parallel()
	const hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
	for version, want := range map[string]bool{"1.1": true, "1.0": false} {
		got := newWire(t, always(hint+ok)).send(t, "GET / HTTP/"+version+"\r\nHost: a.test\r\nConnection: close\r\n\r\n")
		hinted := strings.HasPrefix(got, hint)
		rest := strings.TrimPrefix(got, hint)
		if hinted != want || !strings.HasPrefix(rest, "HTTP/1.") || !strings.Contains(rest, " 200 OK\r\n") || strings.Contains(rest, "103") || !strings.HasSuffix(rest, "\r\n\r\nok") || field(rest, "Link") != "" || field(rest, "Content-Type") != "" {
			t.Errorf("HTTP/%s: %q", version, got)
		}
	}
	got := newWire(t, always(continue100+ok)).send(t, strings.Replace(expecting, "HTTP/1.1", "HTTP/1.0", 1)+"hello")
	if strings.Contains(got, " 100 ") || !strings.HasSuffix(got, "\r\n\r\nok") {
		t.Errorf("100 for HTTP/1.0: %q", got)
	}
}

// expecting is a request whose client waits for 100 (Continue) before it sends the body.
const (
	expecting   = "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
	continue100 = "HTTP/1.1 100 Continue\r\n\r\n"
)

// sends100 is an origin that sends 100 (Continue) and then responds with the request's body.
func sends100(c *originConn) {
	head, ok := c.head()
	if !ok || field(head, "Expect") != "100-continue" {
		io.WriteString(c, "HTTP/1.1 500 No Expect\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	io.WriteString(c, continue100)
	io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n"+c.body(head))
}

// expect sends the request, waits for 100, and sends the body. It returns the bytes after the 100.
func expect(t *testing.T, client net.Conn) string {
	t.Helper()
	io.WriteString(client, expecting)
	first := make([]byte, len(continue100))
	if _, err := io.ReadFull(client, first); err != nil || string(first) != continue100 {
		t.Fatalf("%q, %v", first, err)
	}
	io.WriteString(client, "hello")
	got, _ := io.ReadAll(client)
	return string(got)
}

// A client that waits for 100 gets it from the origin. A client of HTTP/1.0 would take a 100 for the response.
func TestContinueComesFromTheOrigin(t *testing.T) {
	t.Parallel()
	got := strings.ReplaceAll(expect(t, newWire(t, sends100).dial(t)), continue100, "") // more than one is allowed (RFC 9110 section 15.2)
	if !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.HasSuffix(got, "\r\n\r\nhello") {
		t.Errorf("%q", got)
	}
	got = newWire(t, always(ok)).send(t, strings.Replace(expecting, "HTTP/1.1", "HTTP/1.0", 1)+"hello")
	if !strings.HasPrefix(got, "HTTP/1.1 200 ") && !strings.HasPrefix(got, "HTTP/1.0 200 ") {
		t.Errorf("HTTP/1.0: %q", got)
	}
}

// Many origins never send 100. docs/http.md promises a second, for both versions of HTTP.
func TestBodyIsSentAfterASecondWithoutContinue(t *testing.T) {
	t.Parallel()
	address, ca, seen := http2Origin(t, []fields{{":status: 200"}}, nil)
	overHTTP2 := handlerFor(t, address, ca)
	overHTTP1 := newWire(t, always(ok))
	for protocol, origin := range map[string]struct {
		dial     func() net.Conn
		received func() string
	}{
		"HTTP/1.1": {func() net.Conn { return overHTTP1.dial(t) }, func() string { return strings.Join(overHTTP1.requests(), "") }},
		"HTTP/2":   {func() net.Conn { return overHTTP2.send(t, "") }, func() string { return seen()[0].body }},
	} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			client, begin := origin.dial(), time.Now()
			client.SetDeadline(begin.Add(10 * time.Second))
			got := expect(t, client) // the client gets 100 when the proxy reads the body
			if took := time.Since(begin); took < time.Second {
				t.Errorf("the body was sent after %v", took)
			}
			if !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.Contains(got, "\r\nok") || !strings.HasSuffix(origin.received(), "hello") {
				t.Errorf("the client got %q, and the origin %q", got, origin.received())
			}
		})
	}
}

// net/http's server sends 100 when the body is read, and ReverseProxy when the origin's 100 arrives.
func TestContinueIsSentOnce(t *testing.T) {
	t.Parallel()
	w := newWire(t, sends100)
	for range 100 {
		if got := expect(t, w.dial(t)); strings.Contains(got, continue100) {
			t.Fatalf("%q", got)
		}
	}
}

func TestRefusedExpectationGetsNoContinue(t *testing.T) {
	t.Parallel()
	w := newWire(t, func(c *originConn) {
		c.head()
		io.WriteString(c, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
	})
	got := w.send(t, expecting)
	if !strings.HasPrefix(got, "HTTP/1.1 417 ") || !strings.HasSuffix(got, "\r\n\r\nno") {
		t.Errorf("%q", got)
	}
}
