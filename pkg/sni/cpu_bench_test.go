//go:build unix

package sni_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"syscall"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// BenchmarkCPU compares the CPU time of a request with a response of a kilobyte over HTTP/1.1 and TLS with that of a plain
// http.Transport. The origin is another process. Run each case in a process of its own too, in turns: docs/performance.md has the
// command.
func BenchmarkCPU(b *testing.B) {
	o := startOriginProcess(b)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(o.Roots))
	plain := &http.Transport{
		TLSClientConfig:    &tls.Config{RootCAs: roots},
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, o.Address)
		},
	}
	defer plain.CloseIdleConnections()
	ours := &sni.Transport{
		Translate: sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) {
			return sni.Target{Addresses: []string{o.Address}}, nil
		}),
		AllowCIDRs: tlstest.Loopback, RootCAs: roots,
	}
	defer ours.CloseIdleConnections()
	for _, method := range []string{"GET", "POST"} {
		for _, rt := range []struct {
			name      string
			transport http.RoundTripper
		}{{"plain", plain}, {"sni", ours}} {
			b.Run(method+"/"+rt.name, func(b *testing.B) {
				exchange(b, rt.transport, method)
				before := spent(b)
				for b.Loop() {
					exchange(b, rt.transport, method)
				}
				b.ReportMetric(float64(spent(b)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// spent returns the CPU time of the process in nanoseconds, including system calls.
func spent(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
