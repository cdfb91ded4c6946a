package proxy_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sleightproxy/sleight/internal/tlstest"
)

// frames serves HTTP/2 of which each frame is the test's: net/http's own server would mend what a handler says.
// Each request of a connection, from 1, is answered with its fields and the body.
func frames(t testing.TB, fields func(request int) []hpack.HeaderField, body string) (address, roots string) {
	t.Helper()
	ca := tlstest.NewAuthority(t)
	config := &tls.Config{NextProtos: []string{"h2"}, Certificates: []tls.Certificate{tlstest.Leaf(t, ca, "a.test")}}
	return tlstest.Listen(t, func(raw net.Conn) {
		c := tls.Server(raw, config)
		defer c.Close()
		if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		f := http2.NewFramer(c, c)
		f.WriteSettings()
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		requests := 0
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					f.WriteSettingsAck()
				}
			case *http2.PingFrame:
				if !frame.IsAck() {
					f.WritePing(true, frame.Data)
				}
			case *http2.HeadersFrame:
				block.Reset()
				requests++
				for _, field := range fields(requests) {
					encoder.WriteField(field)
				}
				f.WriteHeaders(http2.HeadersFrameParam{StreamID: frame.StreamID, BlockFragment: block.Bytes(), EndHeaders: true})
				f.WriteData(frame.StreamID, true, []byte(body))
			}
		}
	}), ca.PEM()
}

func withLengths(lengths ...string) func(int) []hpack.HeaderField {
	fields := []hpack.HeaderField{{Name: ":status", Value: "200"}}
	for _, length := range lengths {
		fields = append(fields, hpack.HeaderField{Name: "content-length", Value: length})
	}
	return func(int) []hpack.HeaderField { return fields }
}

// whole asks for a.test, and returns all bytes of the answer.
func whole(t testing.TB, b *bench) string {
	t.Helper()
	got, err := io.ReadAll(b.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// A client over HTTP/1.1 would take what follows one of two lengths for the next answer.
func TestContradictingLengthsOverHTTP2ReachNobody(t *testing.T) {
	t.Parallel()
	for name, lengths := range map[string][]string{
		"two": {"5", "4"}, "two in another order": {"4", "5"}, "three": {"5", "5", "4"}, "one and none": {"5", ""},
		"a list": {"5, 4"}, "a list of the same": {"5, 5"}, "signed": {"+5"}, "negative": {"-5"}, "hexadecimal": {"0x5"},
		"beyond all numbers": {"18446744073709551621"}, "none": {""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, roots := frames(t, withLengths(lengths...), "hello")
			b, lines := one(t, route{"origin": address, "ca_pem": roots, "protocols": []string{"h2"}})
			got := whole(t, b)
			line := lines.next(t)
			if !strings.HasPrefix(got, "HTTP/1.1 502 ") || field(got, "Proxy-Status") != "sleight; error=http_protocol_error" || !strings.Contains(fmt.Sprint(line), "not one length") {
				t.Errorf("%q, logged %v", got, line)
			}
		})
	}
}

func TestLengthOverHTTP2Passes(t *testing.T) {
	t.Parallel()
	for _, lengths := range [][]string{{"5"}, {"5", "5"}, {"005"}} {
		address, roots := frames(t, withLengths(lengths...), "hello")
		b, _ := one(t, route{"origin": address, "ca_pem": roots, "protocols": []string{"h2"}})
		got := whole(t, b)
		if !strings.HasPrefix(got, "HTTP/1.1 200 ") || field(got, "Content-Length") != lengths[0] || !strings.HasSuffix(got, "\r\n\r\nhello") {
			t.Errorf("%q: %q", lengths, got)
		}
	}
}

// What an origin says to one is no reason to end the connection, on which others wait, nor to misread what follows.
func TestRefusedLengthsLeaveTheConnectionAsItIs(t *testing.T) {
	t.Parallel()
	address, roots := frames(t, func(request int) []hpack.HeaderField {
		fields := withLengths("5")(request)
		if request%2 == 1 {
			fields = withLengths("5", fmt.Sprint(request+5))(request)
		}
		return append(fields, hpack.HeaderField{Name: "x-indexed", Value: fmt.Sprint(request / 4)}, hpack.HeaderField{Name: "x-request", Value: fmt.Sprint(request)})
	}, "hello")
	b, _ := one(t, route{"origin": address, "ca_pem": roots, "protocols": []string{"h2"}})
	for request := 1; request <= 8; request++ {
		got := whole(t, b)
		if request%2 == 1 && !strings.HasPrefix(got, "HTTP/1.1 502 ") ||
			request%2 == 0 && (!strings.HasPrefix(got, "HTTP/1.1 200 ") || field(got, "X-Request") != fmt.Sprint(request) || field(got, "X-Indexed") != fmt.Sprint(request/4) || !strings.HasSuffix(got, "hello")) {
			t.Errorf("request %d: %q", request, got)
		}
	}
}
