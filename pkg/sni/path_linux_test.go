package sni_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// A path relays connections, as a network does, and can be cut. After that, its kernel drops what the client sends, and acknowledges
// nothing, as if a firewall had forgotten the flow or its gateway had been replaced.
type path struct {
	addr string
	mu   sync.Mutex
	open []*net.TCPConn
}

func newPath(t *testing.T, origin string) *path {
	p := &path{}
	p.addr = tlstest.Listen(t, func(c net.Conn) {
		p.mu.Lock()
		p.open = append(p.open, c.(*net.TCPConn))
		p.mu.Unlock()
		passOn(c, origin)
	})
	t.Cleanup(func() { // nothing reports the end of connections that were cut
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.open {
			c.Close()
		}
	})
	return p
}

// cut cuts all open connections.
func (p *path) cut(t *testing.T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}} // keeps no byte of a packet
			err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// If a flow was dropped silently, a safe request succeeds, and other requests fail, long before the origin's own timeout.
func TestDeadPathIsNoticedByTheKernel(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		p := newPath(t, o.Addr)
		tr := newTransport(t, to(targetOver(over, p.addr, ca.PEM())))
		tr.AckTimeout, tr.UnsafeReuse = 500*time.Millisecond, time.Hour
		last := observe(tr)
		mustGet(t, tr, "https://a.test/")
		p.cut(t)
		if mustGet(t, tr, "https://a.test/"); last().Sent != 2 {
			t.Errorf("the GET was sent %d times", last().Sent)
		}
		p.cut(t)
		_, err := sendTo(t, tr, "POST", "/", strings.NewReader("x"))
		if wantType(t, err, sni.ConnectionTerminated); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("error %v", err)
		}
		if n := len(o.Requests()); n != 2 {
			t.Errorf("%d requests arrived, want the two GETs", n)
		}
	})
}

// The bound does not apply while a large body is sent, and applies to later requests.
func TestDeadPathIsNoticedAfterALargeBody(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		p := newPath(t, o.Addr)
		tr := newTransport(t, to(targetOver(over, p.addr, ca.PEM())))
		tr.AckTimeout, tr.UnsafeReuse, tr.ResponseHeaderTimeout = 500*time.Millisecond, time.Hour, time.Minute
		mustSendTo(t, tr, "POST", "/", io.LimitReader(zeros{}, 1<<20))
		p.cut(t)
		req, err := http.NewRequestWithContext(t.Context(), "DELETE", "https://a.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = send(tr, req)
		if over == overHTTP2 { // a connection for an upload has no other requests
			if err != nil || o.Conns() != 2 {
				t.Errorf("%v, %d connections", err, o.Conns())
			}
			return
		}
		if wantType(t, err, sni.ConnectionTerminated); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("error %v", err)
		}
		if n := o.Conns(); n != 1 {
			t.Errorf("%d connections, want the one", n)
		}
	})
}

// An origin that has received the request may take any time to answer.
func TestBusyOriginIsNoDeadPath(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		_, tr := answering(t, over, func(w http.ResponseWriter, _ *http.Request) {
			<-time.After(time.Second)
			io.WriteString(w, "at last")
		})
		tr.AckTimeout = 200 * time.Millisecond
		if body, err := send(tr, post(t, strings.NewReader("x"))); body != "at last" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
	})
}

// An origin that does not read a large body yet is not a dead path: its kernel acknowledges, with a window of zero. Linux counts that
// for TCP_USER_TIMEOUT too.
func TestOriginThatDoesNotReadYetIsNoDeadPath(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		const size = 32 << 20 // larger than all buffers on the way
		_, tr := answering(t, over, func(w http.ResponseWriter, r *http.Request) {
			<-time.After(time.Second)
			n, _ := io.Copy(io.Discard, r.Body)
			if n == size {
				io.WriteString(w, "whole")
			}
		})
		tr.AckTimeout = 200 * time.Millisecond
		if body, err := send(tr, post(t, io.LimitReader(zeros{}, size))); body != "whole" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
	})
}
