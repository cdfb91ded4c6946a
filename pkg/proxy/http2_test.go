package proxy_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// fields is a field section of HTTP/2: lines "name: value", in order. The clients and origins of these tests write frames
// themselves, because net/http would drop or refuse some of these fields.
type fields []string

// get returns the values of a field.
func (f fields) get(name string) (values []string) {
	for _, line := range f {
		if n, v, _ := strings.Cut(line[1:], ": "); line[:1]+n == name { // a name may begin with a colon
			values = append(values, v)
		}
	}
	return values
}

// encode writes the section in a single frame. It does not check it.
func (f fields) encode(framer *http2.Framer, stream uint32, end bool) error {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, line := range f {
		name, value, _ := strings.Cut(line[1:], ": ")
		encoder.WriteField(hpack.HeaderField{Name: line[:1] + name, Value: value})
	}
	return framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
}

// message is what a stream received.
type message struct {
	sections []fields // of interim responses, header, trailers
	body     string
	reset    string // the error code of the stream or connection
}

// readMessage reads frames until a stream has ended, and acknowledges SETTINGS and PING.
func readMessage(framer *http2.Framer) (m message, stream uint32, err error) {
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return m, stream, err
		}
		end := false
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				framer.WritePing(true, f.Data)
			}
		case *http2.MetaHeadersFrame:
			section := fields{}
			for _, field := range f.Fields {
				section = append(section, field.Name+": "+field.Value)
			}
			m.sections = append(m.sections, section)
			stream, end = f.StreamID, f.StreamEnded()
		case *http2.DataFrame:
			m.body += string(f.Data())
			end = f.StreamEnded()
		case *http2.RSTStreamFrame:
			m.reset, end = f.ErrCode.String(), true
		case *http2.GoAwayFrame:
			m.reset, end = f.ErrCode.String(), true
		}
		if end {
			return m, stream, nil
		}
	}
}

// http2Origin starts an origin for a.test that notes each request, and responds with these sections, a body, and a trailer
// section if trailer is not nil.
func http2Origin(t testing.TB, sections []fields, trailer fields) (address, caPEM string, seen func() []message) {
	t.Helper()
	ca := tlstest.NewAuthority(t)
	config := &tls.Config{NextProtos: []string{"h2"}, Certificates: []tls.Certificate{tlstest.Leaf(t, ca, "a.test")}}
	var mu sync.Mutex
	var all []message
	address = tlstest.Listen(t, func(raw net.Conn) {
		c := tls.Server(raw, config)
		defer c.Close()
		if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		framer := http2.NewFramer(c, c)
		framer.WriteSettings()
		for {
			m, stream, err := readMessage(framer)
			if err != nil {
				return
			}
			mu.Lock()
			all = append(all, m)
			mu.Unlock()
			for _, section := range sections {
				section.encode(framer, stream, false)
			}
			framer.WriteData(stream, trailer == nil, []byte("ok"))
			if trailer != nil {
				trailer.encode(framer, stream, true)
			}
		}
	})
	return address, ca.PEM(), func() []message {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// byFrames sends a request to a handler over HTTP/2, and returns the response.
func byFrames(t testing.TB, handler http.Handler, request fields, body string, trailer ...string) message {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	s := httptest.NewUnstartedServer(handler)
	s.Config.Protocols = protocols
	s.Start()
	t.Cleanup(s.Close)
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, http2.ClientPreface)
	framer := http2.NewFramer(c, c)
	framer.WriteSettings()
	request.encode(framer, 1, body == "" && trailer == nil)
	if body != "" || trailer != nil {
		framer.WriteData(1, trailer == nil, []byte(body))
	}
	if trailer != nil {
		fields(trailer).encode(framer, 1, true)
	}
	m, _, err := readMessage(framer)
	if err != nil {
		t.Fatalf("%v after %+v", err, m)
	}
	return m
}

// aRequest returns the header of a GET over HTTP/2, with more fields.
func aRequest(more ...string) fields {
	return append(fields{":method: GET", ":scheme: http", ":authority: a.test", ":path: /"}, more...)
}

// handlerFor returns a proxy with one route, for a.test, to an origin over HTTP/2.
func handlerFor(t testing.TB, address, caPEM string, change ...func(*proxy.Config)) *bench {
	t.Helper()
	return start(t, routes(t, route{"host": "a.test", "origin": address, "ca_pem": caPEM, "protocols": []string{"h2"}}), change...)
}
