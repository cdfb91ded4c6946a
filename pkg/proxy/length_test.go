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

// frames serves HTTP/2 frame by frame, because net/http's server would correct the fields of a handler. It responds to each
// request of a connection, counted from 1, with its fields and the body.
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

// whole requests a.test, and returns all bytes of the response.
func whole(t testing.TB, b *bench) string {
	t.Helper()
	got, err := io.ReadAll(b.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// A client over HTTP/1.1 that uses the shorter of two lengths would take the rest for the next response.
func TestContradictingLengthsOverHTTP2AreRefused(t *testing.T) {
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

// An invalid response must not end a connection that other requests use, or spoil the next response.
func TestRefusedLengthsKeepTheConnection(t *testing.T) {
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
