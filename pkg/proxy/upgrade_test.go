package proxy_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
)

const (
	handshake = "GET /chat?x HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	switched  = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

// readAs reads as many bytes as want has, and compares them.
func readAs(t *testing.T, r io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(r, b); string(b) != want {
		t.Fatalf("%q, %v; want %q", b[:n], err, want)
	}
}

// readHead reads up to the empty line, and no bytes after it.
func readHead(t *testing.T, r io.Reader) string {
	t.Helper()
	var head strings.Builder
	for b := make([]byte, 1); !strings.HasSuffix(head.String(), "\r\n\r\n"); {
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatalf("%q, %v", head.String(), err)
		}
		head.Write(b)
	}
	return head.String()
}

func TestWebSocketPassesEveryByte(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	w := newWire(t, func(c *originConn) {
		if _, ok := c.request(); !ok {
			return
		}
		io.WriteString(c, switched+"first")
		io.Copy(c, c.r) // an echo, until the client closes its side
		close(ended)
	})
	client := w.dial(t)
	io.WriteString(client, handshake)
	wantSame(t, "the client got", readHead(t, client), switched)
	readAs(t, client, "first") // in the same packet as the head
	for _, message := range []string{"ping", "\x00\xff\r\n\r\n", strings.Repeat("long", 20_000)} {
		go io.WriteString(client, message)
		readAs(t, client, message)
	}
	client.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the origin does not learn that the client has ended")
	}
	if seen := w.requests(); len(seen) != 1 {
		t.Errorf("the origin saw %q", seen)
	} else {
		wantSame(t, "the origin saw", seen[0], "GET /chat?x HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-Websocket-Version: 13\r\n\r\n")
	}
}

// RFC 6455 tells clients to wait for the response. If a client does not, its first bytes are in the buffer of the
// server, after the head. They must not be lost: the origin would get a stream that begins in the middle of a message.
func TestBytesAfterTheHandshakeAreNotLost(t *testing.T) {
	t.Parallel()
	w := newWire(t, func(c *originConn) {
		if _, ok := c.request(); ok {
			io.WriteString(c, switched)
			io.Copy(c, c.r)
		}
	})
	client := w.dial(t)
	io.WriteString(client, handshake+"early")
	if head := readHead(t, client); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("%q", head)
	}
	io.WriteString(client, "late")
	readAs(t, client, "earlylate")
}

func TestWebSocketEndsWithItsOrigin(t *testing.T) {
	t.Parallel()
	w := newWire(t, func(c *originConn) {
		if _, ok := c.request(); ok {
			io.WriteString(c, switched+"bye")
		}
	})
	if got := w.send(t, handshake); !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.HasSuffix(got, "\r\n\r\nbye") {
		t.Errorf("%q", got)
	}
}

// HTTP/2 has no Upgrade (RFC 9113 section 8.6). The proxy has to use HTTP/1.1, with the same name, even if the origin prefers
// HTTP/2.
func TestWebSocketToAnOriginWithHTTP2(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c, b, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, switched)
		io.CopyN(c, b, int64(len("ping")))
	})}
	o.Start(t)
	b := start(t, routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM(), "protocols": offers(true)}, route{"host": "modern.test", "server_name": "a.test", "origin": o.Addr, "ca_pem": ca.PEM(), "protocols": []string{"h2"}}))
	w := &wire{addr: strings.TrimPrefix(b.url, "http://")}
	client := w.dial(t)
	io.WriteString(client, handshake)
	if head := readHead(t, client); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("%q", head)
	}
	io.WriteString(client, "ping")
	readAs(t, client, "ping")
	if r := o.Last(t); r.SNI != "a.test" || r.Host != "a.test" || r.Proto != "HTTP/1.1" || r.Header.Get("Upgrade") != "websocket" {
		t.Errorf("the origin saw %+v", r)
	}
	// That route does not allow HTTP/1.1, so the proxy does not dial.
	if got := w.send(t, strings.Replace(strings.Replace(handshake, "keep-alive", "close", 1), "a.test", "modern.test", 1)); !strings.HasPrefix(got, "HTTP/1.1 501 ") ||
		field(got, "Proxy-Status") != "sleight; error=http_upgrade_failed" || !strings.Contains(got, "add http/1.1 to the route's protocols") {
		t.Errorf("under a route with HTTP/2 alone: %q", got)
	}
	if n := len(o.Requests()); n != 1 {
		t.Errorf("the origin saw %d requests", n)
	}
}

func TestRefusedUpgradeIsAnOrdinaryResponse(t *testing.T) {
	t.Parallel()
	got := newWire(t, always("HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 8\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")).
		send(t, strings.Replace(handshake, "keep-alive", "close", 1))
	if !strings.HasPrefix(got, "HTTP/1.1 426 ") || !strings.HasSuffix(got, "\r\n\r\nno") || field(got, "Sec-WebSocket-Version") != "8" {
		t.Errorf("%q", got)
	}
}

// An unrequested 101 would let the origin open a tunnel through the proxy.
func TestSwitchToAnotherProtocolIsRefused(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ request, answer string }{
		"unasked": {"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", switched},
		"other":   {strings.Replace(handshake, "keep-alive", "close", 1), strings.Replace(switched, "websocket", "h2c", 1)},
		"none":    {strings.Replace(handshake, "keep-alive", "close", 1), strings.Replace(switched, "Upgrade: websocket\r\n", "", 1)},
	} {
		got := newWire(t, func(c *originConn) { c.request(); io.WriteString(c, row.answer+"tunnel") }).send(t, row.request)
		if !strings.HasPrefix(got, "HTTP/1.1 502 ") || strings.Contains(got, "tunnel") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// In Lambda, the server has no connection to hijack.
func TestUpgradeWithoutHijackIsRefused(t *testing.T) {
	t.Parallel()
	w := newWire(t, always(switched))
	r := httptest.NewRequest("GET", "http://a.test/chat", nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Key": {"x"}}
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, r)
	if got := recorder.Result(); got.StatusCode != 501 || got.Header.Get("Proxy-Status") != "sleight; error=http_upgrade_failed" {
		t.Errorf("%d %v", got.StatusCode, got.Header)
	}
}

// An Upgrade that Connection does not name is for another hop, and an Upgrade in HTTP/1.0 must be ignored (RFC 9110 section 7.8).
// A tunnel that proxies in between do not know about could hide requests.
func TestMalformedUpgradeOpensNoTunnel(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"Connection does not name it": "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nUpgrade: websocket\r\n\r\n",
		"HTTP/1.0":                    "GET / HTTP/1.0\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	} {
		w := newWire(t, always(ok))
		got := w.send(t, head)
		if seen := w.requests(); len(seen) != 1 || field(seen[0], "Upgrade")+field(seen[0], "Connection") != "" || !strings.HasSuffix(got, "\r\n\r\nok") {
			t.Errorf("%s: the origin saw %q, the client %q", name, seen, got)
		}
	}
}

func TestOfferOfCleartextHTTP2IsDropped(t *testing.T) {
	t.Parallel()
	w := newWire(t, always(ok))
	got := w.send(t, "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n\r\nhello")
	seen := w.requests()
	if len(seen) != 1 || !strings.HasSuffix(got, "\r\n\r\nok") {
		t.Fatalf("the origin saw %q, the client %q", seen, got)
	}
	wantSame(t, "the origin saw", seen[0], "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello")
}
