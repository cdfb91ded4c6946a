package sni_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// BenchmarkRequest compares a request with a response of a kilobyte with the same over a plain http.Transport that dials the origin
// directly. The work of the origin is part of both.
func BenchmarkRequest(b *testing.B) {
	for _, protocol := range []struct {
		name  string
		http1 bool
	}{{"http1", true}, {"http2", false}} {
		ca := tlstest.NewAuthority(b)
		o := benchOrigin(b, protocol.http1, ca, "a.many.test")
		plain := &http.Transport{
			TLSClientConfig:    &tls.Config{RootCAs: ca.Pool()},
			ForceAttemptHTTP2:  true,
			DisableCompression: true,
			HTTP2:              &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second}, // as in this package
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, o)
			},
		}
		b.Cleanup(plain.CloseIdleConnections)
		static := newTransport(b, to(sni.Target{Addresses: []string{o}, Roots: sni.RootsFromPEM(ca.PEM())}))
		observed := newTransport(b, static.Translate)
		observed.Observe = func(context.Context, *sni.Exchange) {}
		for _, method := range []string{"GET", "POST"} {
			for _, rt := range []struct {
				name      string
				transport http.RoundTripper
			}{{"plain", plain}, {"sni", static}, {"observed", observed}} {
				b.Run(protocol.name+"/"+method+"/"+rt.name, func(b *testing.B) { request(b, rt.transport, method) })
				b.Run(protocol.name+"/"+method+"/parallel/"+rt.name, func(b *testing.B) {
					b.ReportAllocs()
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							exchange(b, rt.transport, method)
						}
					})
				})
			}
		}
	}
}

func request(b *testing.B, rt http.RoundTripper, method string) {
	exchange(b, rt, method)
	b.ReportAllocs()
	for b.Loop() {
		exchange(b, rt, method)
	}
}

var upload = []byte("name=value&another=value")

func exchange(b *testing.B, rt http.RoundTripper, method string) {
	var body io.Reader
	if method == "POST" {
		body = bytes.NewReader(upload)
	}
	req, err := http.NewRequestWithContext(b.Context(), method, "https://a.many.test/path?query", body)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		b.Error(err)
		return
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

// benchOrigin serves a kilobyte for name, and records nothing.
func benchOrigin(b *testing.B, http1 bool, ca *devca.Authority, name string) string {

	b.Helper()
	leaf, err := ca.Leaf([]string{name})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	config := serverConfig(leaf)
	if config.NextProtos = []string{"h2", "http/1.1"}; http1 {
		config.NextProtos = config.NextProtos[1:]
	}
	page := bytes.Repeat([]byte("a"), 1024)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Write(page)
	})}
	go server.Serve(tls.NewListener(l, config))
	b.Cleanup(func() { server.Close() })
	return l.Addr().String()
}
