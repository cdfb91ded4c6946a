package proxy_test

import (
	"io"
	"strings"
	"testing"
)

const (
	handshake = "GET /chat?x HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	switched  = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

func TestRefusedUpgradeIsAnOrdinaryAnswer(t *testing.T) {
	t.Parallel()
	got := newWire(t, always("HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 8\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")).
		send(t, strings.Replace(handshake, "keep-alive", "close", 1))
	if !strings.HasPrefix(got, "HTTP/1.1 426 ") || !strings.HasSuffix(got, "\r\n\r\nno") || field(got, "Sec-WebSocket-Version") != "8" {
		t.Errorf("%q", got)
	}
}

// A 101 that nobody asked for would make a tunnel through the proxy of the origin's choice.
func TestSwitchToAnotherProtocolIsNoTunnel(t *testing.T) {
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
