package main_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sleightproxy/sleight/internal/tlstest"
)

// stubborn is an origin with large responses. It reads no body until the test says so.
type stubborn struct {
	*tlstest.Origin
	begun atomic.Int64  // responses of /large, and bodies to /stuck
	sent  atomic.Int64  // bytes of /large, and by clients to /stuck
	take  chan struct{} // closed to answer /stuck
}

const large = 16 << 20 // more than the kernels on both sides buffer

func newStubborn(t *testing.T) (o *stubborn, routes string) {
	t.Helper()
	ca := tlstest.NewAuthority(t)
	o = &stubborn{take: make(chan struct{})}
	o.Origin = &tlstest.Origin{HTTP1: true, Unread: true, Handler: o, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}}
	o.Start(t)
	return o, routesFile(t, map[string]any{
		"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM(), "connect_timeout": "30s", "handshake_timeout": "30s", // for a loaded machine
	})
}

func (o *stubborn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/large":
		o.begun.Add(1)
		w.Header().Set("Content-Length", fmt.Sprint(large))
		for part := make([]byte, 16<<10); ; {
			n, err := w.Write(part)
			if o.sent.Add(int64(n)); err != nil { // or everything was sent
				return
			}
		}
	case "/stuck":
		o.begun.Add(1)
		select {
		case <-o.take:
		case <-r.Context().Done():
		}
	default:
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "got %d", n)
	}
}

// end ends all requests, and waits for their ends.
func (o *stubborn) end(t *testing.T, p *process) {
	close(o.take)
	p.cmd.Process.Kill()
	o.WaitConns(t, 0)
}

// moved returns a function that counts the bytes that were sent. It waits until that many requests have arrived, because the count means
// nothing before.
func (o *stubborn) moved(requests int64) func() int64 {
	before := int64(0)
	return func() int64 {
		if o.begun.Load() < requests {
			before--
			return before
		}
		return o.sent.Load()
	}
}

// settle waits until a count stays the same while another client gets some responses. That is enough time to fill all buffers.
func settle(t *testing.T, url string, count func() int64) {
	t.Helper()
	other := client(t, false)
	late := time.Now().Add(2 * patience)
	for before, same := int64(-1), 0; same < 100; {
		if time.Now().After(late) {
			t.Fatal("not all requests have reached the origin, or something is still sent")
		}
		expect(t, other, url+"/other", "200 got 0")
		if now := count(); now == before {
			same++
		} else {
			before, same = now, 0
		}
	}
}

// frames is an HTTP/2 client with its own windows.
type frames struct {
	*http2.Framer
	id uint32 // of the next request
}

// speak starts HTTP/2, with a window for each response, and an unlimited window for the connection.
func speak(t *testing.T, c net.Conn, window uint32) *frames {
	t.Helper()
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := &frames{http2.NewFramer(c, c), 1}
	f.check(t, f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}))
	f.check(t, f.WriteWindowUpdate(0, 1<<31-1-65535))
	return f
}

func (f *frames) check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get sends a request.
func (f *frames) get(t *testing.T, path string) {
	t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, h := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a.test"}, {":path", path}} {
		f.check(t, encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}))
	}
	f.check(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}))
	f.id += 2
}

// upload sends an endless body until the origin answers or the test ends.
func upload(t *testing.T, c *http.Transport, url string, o *stubborn) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", url+"/stuck", endless{&o.sent})
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "a.test"
	ended := make(chan struct{})
	t.Cleanup(func() { <-ended })
	go func() {
		defer close(ended)
		if resp, err := c.RoundTrip(r); err == nil {
			resp.Body.Close()
		}
	}()
}

func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.(*net.TCPConn).SetReadBuffer(64 << 10) // otherwise the kernel would buffer most of a response
	return c
}

// The buffers for clients that do not read must not grow with their requests.
func TestClientsThatStandStillTakeLittleMemory(t *testing.T) {
	t.Parallel()
	const clients, most = 100, 64 << 10 // KiB above idle
	for _, c := range []struct {
		name  string
		stand func(t *testing.T, url string, o *stubborn)
	}{
		{"answers over HTTP/1.1", func(t *testing.T, url string, o *stubborn) {
			for range clients {
				if _, err := io.WriteString(dial(t, url), "GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"answers over HTTP/2, connection that is not read", func(t *testing.T, url string, o *stubborn) {
			f := speak(t, dial(t, url), 1<<31-1)
			for range clients {
				f.get(t, "/large")
			}
		}},
		{"answers over HTTP/2, streams without a window", func(t *testing.T, url string, o *stubborn) {
			conn := dial(t, url)
			f := speak(t, conn, 65535)
			var reading sync.WaitGroup
			reading.Go(func() { io.Copy(io.Discard, conn) })
			t.Cleanup(func() { conn.Close(); reading.Wait() })
			for range clients {
				f.get(t, "/large")
			}
		}},
		{"bodies over HTTP/2 that the origin does not take", func(t *testing.T, url string, o *stubborn) {
			for range clients {
				upload(t, client(t, true), url, o)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, routes := newStubborn(t)
			p, url, _ := startServe(t, routes, "--h2c", "--max-requests", "1000")
			go func() {
				for range p.lines {
				}
			}()
			pid := p.cmd.Process.Pid
			settle(t, url, func() int64 { return 0 })
			before, _ := resources(t, pid)
			c.stand(t, url, o)
			settle(t, url, o.moved(clients))
			after, _ := resources(t, pid)
			t.Logf("%d KiB, and %d KiB before; %d KiB were sent", after, before, o.sent.Load()>>10)
			if o.begun.Load() != clients {
				t.Errorf("%d requests reached the origin, want %d", o.begun.Load(), clients)
			}
			if sent := o.sent.Load(); sent == 0 || sent == clients*large {
				t.Errorf("%d bytes were sent: nobody stands still", sent)
			}
			if after-before > most {
				t.Errorf("%d clients that stand still take %d KiB, want at most %d", clients, after-before, most)
			}
			o.end(t, p)
		})
	}
}

// With net/http's windows, one body that an origin does not read filled the window of the connection.
func TestBodyThatAnOriginDoesNotTakeHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	o, routes := newStubborn(t)
	p, url, _ := startServe(t, routes, "--h2c")
	c := client(t, true)
	expect(t, c, url, "200 got 0") // so that all requests use this connection
	upload(t, c, url, o)
	settle(t, url, o.moved(1))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 10 {
		r, err := http.NewRequestWithContext(ctx, "POST", url+"/other", strings.NewReader(strings.Repeat("x", 100_000)))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "a.test"
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "got 100000" {
			t.Errorf("%s, %v", body, err)
		}
		resp.Body.Close()
	}
	o.end(t, p)
}

// endless is a body that counts the bytes that are read.
type endless struct{ n *atomic.Int64 }

func (e endless) Read(p []byte) (int, error) {
	e.n.Add(int64(len(p)))
	return len(p), nil
}
