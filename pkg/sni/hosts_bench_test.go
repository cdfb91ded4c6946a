package sni_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// BenchmarkHosts sends 10,000 requests to one address, each for another host. It counts the handshakes, and the goroutines, connections
// and memory that are left. The origin is another process. An http.Transport with its defaults, which dials the same address for
// each host, is there for comparison.
func BenchmarkHosts(b *testing.B) {
	const requests = 10_000
	o := startOriginProcess(b)
	for _, hosts := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("sni/%d", hosts), func(b *testing.B) {
			for b.Loop() {
				tr := newTransport(b, to(sni.Target{Addresses: []string{o.Address}, Roots: sni.RootsFromPEM(o.Roots)}))
				handshakes, resumed := 0, 0
				tr.Observe = func(_ context.Context, x *sni.Exchange) {
					if !x.Reused {
						handshakes++
					}
					if !x.Reused && x.Resumed {
						resumed++
					}
				}
				before := measure()
				visit(b, tr, hosts, requests)
				after := measure()
				_, _, conns, _ := tr.Held()
				b.ReportMetric(float64(handshakes), "handshakes")
				b.ReportMetric(float64(resumed), "resumed")
				report(b, before, after, conns)
				tr.CloseIdleConnections()
			}
		})
		b.Run(fmt.Sprintf("plain/%d", hosts), func(b *testing.B) {
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM([]byte(o.Roots))
			for b.Loop() {
				handshakes := 0
				tr := http.DefaultTransport.(*http.Transport).Clone()
				tr.Proxy = nil
				tr.TLSClientConfig = &tls.Config{RootCAs: roots}
				tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
					handshakes++
					return new(net.Dialer).DialContext(ctx, network, o.Address)
				}
				before := measure()
				visit(b, tr, hosts, requests)
				after := measure()
				b.ReportMetric(float64(handshakes), "handshakes")
				report(b, before, after, -1)
				tr.CloseIdleConnections()
			}
		})
	}
}

func visit(b *testing.B, rt http.RoundTripper, hosts, requests int) {
	for i := range requests {
		req, err := http.NewRequestWithContext(b.Context(), "GET", fmt.Sprintf("https://h%d.many.test/", i%hosts), nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := send(rt, req); err != nil {
			b.Fatal(err)
		}
	}
}

type footprint struct {
	memory     uint64
	goroutines int
}

func measure() footprint {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{m.HeapAlloc + m.StackInuse, runtime.NumGoroutine()}
}

func report(b *testing.B, before, after footprint, conns int) {
	b.ReportMetric(float64(after.goroutines-before.goroutines), "goroutines")
	b.ReportMetric(max(0, float64(after.memory)-float64(before.memory))/(1<<20), "MiB")
	if conns >= 0 {
		b.ReportMetric(float64(conns), "conns")
	}
}

// originProcess is an origin for *.many.test in another process.
type originProcess struct{ Address, Roots string }

const asOrigin = "SNI_TEST_AS_ORIGIN"

func startOriginProcess(b testing.TB) (o originProcess) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asOrigin+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		b.Fatal(err)
	}
	if err := json.Unmarshal(line, &o); err != nil {
		b.Fatal(err)
	}
	return o
}

// serveAsOrigin is the other process. It ends with the process that started it.
func serveAsOrigin() error {
	ca, err := devca.New("origin process")
	if err != nil {
		return err
	}
	leaf, err := ca.Leaf([]string{"*.many.test"})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(originProcess{l.Addr().String(), ca.PEM()}); err != nil {
		return err
	}
	config := serverConfig(leaf)
	config.NextProtos = []string{"http/1.1"}
	page := strings.Repeat("a", 1024)
	go http.Serve(tls.NewListener(l, config), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); io.WriteString(w, page) }))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
