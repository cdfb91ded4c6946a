package sni_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Bytes or the end of an idle connection are seen before a request is sent on it. The request uses another connection, and the bytes are not
// read as its response.
func TestIdleConnectionIsAskedBeforeItIsUsed(t *testing.T) {
	overHTTP1(t, func(t *testing.T, over protocol) {
		const page = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright"
		for name, c := range map[string]struct {
			idle   func(c net.Conn) // what the origin does after its first answer
			reused bool
		}{
			"nothing":               {func(net.Conn) {}, true},
			"a newline":             {func(c net.Conn) { io.WriteString(c, "\r\n") }, false},
			"another answer":        {func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong") }, false},
			"close_notify, FIN":     {func(c net.Conn) { c.(interface{ CloseWrite() error }).CloseWrite() }, false},
			"the end":               {func(c net.Conn) { tcp(c).Close() }, false},
			"a record that is none": {func(c net.Conn) { io.WriteString(tcp(c), "no record") }, false},
		} {
			for _, method := range []string{"GET", "POST"} {
				t.Run(name+" "+method, func(t *testing.T) {
					t.Parallel()
					ca := tlstest.NewAuthority(t)
					acted := make(chan struct{}, 2)
					n := 0
					tr := toHTTP1(t, ca, over, startRaw(t, ca, over, func(conn net.Conn, _ *bufio.Reader, r *http.Request) bool {
						io.Copy(io.Discard, r.Body)
						if n++; n == 1 {
							io.WriteString(conn, page)
							c.idle(conn)
							acted <- struct{}{}
							return true
						}
						io.WriteString(conn, page)
						return true
					}))
					tr.UnsafeReuse = time.Minute
					last := observe(tr)
					mustGet(t, tr, "https://a.test/")
					<-acted
					body, err := sendTo(t, tr, method, "/", nil)
					if x := last(); body != "right" || err != nil || x.Reused != c.reused || x.Sent != 1 {
						t.Errorf("%q, %v; reused %t, sent %d times", body, err, x.Reused, x.Sent)
					}
				})
			}
		}
	})
}

// If a response is longer than its Content-Length, the rest is in a buffer, in crypto/tls or in the kernel. It must not become the beginning
// of another response, for any sizes of reads.
func TestRestOfAnAnswerReachesNobody(t *testing.T) {
	overHTTP1(t, func(t *testing.T, over protocol) {
		for _, size := range []int{0, 1, 100, 4 << 10, 5000, 16 << 10, 40_000} {
			for _, read := range []int{1, 512, 32 << 10} {
				for _, apart := range []bool{false, true} {
					if read == 1 && size > 100 {
						continue
					}
					ca := tlstest.NewAuthority(t)
					written := make(chan struct{}, 10) // HTTP/1.1 cannot tell a rest that arrives after the next request from its response
					address := startRaw(t, ca, over, func(c net.Conn, _ *bufio.Reader, r *http.Request) bool {
						defer func() { written <- struct{}{} }()
						answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
						rest := "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nSECRET"
						if apart {
							io.WriteString(c, answer)
							io.WriteString(c, rest)
						} else {
							io.WriteString(c, answer+rest)
						}
						return true
					})
					tr := toHTTP1(t, ca, over, address)
					for range 3 {
						resp, err := tr.RoundTrip(mustRequest(t, "GET", nil))
						if err != nil {
							t.Fatal(err)
						}
						var got strings.Builder
						if _, err := io.CopyBuffer(&got, struct{ io.Reader }{resp.Body}, make([]byte, read)); err != nil {
							t.Fatal(err)
						}
						resp.Body.Close()
						<-written
						if got.String() != strings.Repeat("x", size) {
							t.Fatalf("%d bytes read %d at a time, apart %t: %.40q", size, read, apart, got.String())
						}
					}
				}
			}
		}
	})
}

// tcp returns the connection below TLS, if there is TLS.
func tcp(c net.Conn) net.Conn {
	if secure, ok := c.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return c
}

func mustRequest(t *testing.T, method string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://a.test/", body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// If the origin closes idle connections, their descriptors stay open until the sweep.
func TestConnectionsThatTheOriginHasEndedAreSwept(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	h := startHeld(t, overTLS1, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
	tr := newTransport(t, to(sni.Target{Addresses: []string{h.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	tr.IdleConnTimeout = time.Hour
	done := make(chan error, 20)
	for range 20 {
		go func() { _, err := get(t, tr, "https://a.test/held"); done <- err }()
		<-h.began
	}
	close(h.let)
	for range 20 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	tr.Sweep()
	wantHeld(t, tr, 20, 20) // no connection was idle for too long
	h.CloseIdle()
	for _, _, conns, _ := tr.Held(); conns > 0; _, _, conns, _ = tr.Held() { // until the end of each has arrived
		tr.Sweep()
		runtime.Gosched()
	}
}

// An idle connection has no goroutine.
func TestIdleConnectionsHaveNoGoroutines(t *testing.T) {
	o := startOriginProcess(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{o.Address}, Roots: sni.RootsFromPEM(o.Roots)}))
	tr.MaxIdleConns = 1000
	before := runtime.NumGoroutine()
	for i := range 100 {
		mustGet(t, tr, fmt.Sprintf("https://h%d.many.test/", i))
	}
	wantHeld(t, tr, 100, 100)
	for range 100 { // goroutines of the dials may need a moment to end
		if runtime.NumGoroutine() <= before+5 {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines for 100 idle connections", runtime.NumGoroutine()-before)
}
