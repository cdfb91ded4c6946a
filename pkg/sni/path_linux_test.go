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

// A path relays connections, as a network does, and can be cut: then its kernel drops what the client
// sends, unseen, and so acknowledges nothing. That is what a flow looks like which a firewall forgot, or
// whose gateway was replaced.
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
	t.Cleanup(func() { // of connections that were cut, nothing tells
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.open {
			c.Close()
		}
	})
	return p
}

// cut cuts all connections that are open.
func (p *path) cut(t *testing.T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}} // what is kept of a packet: nothing
			err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Without a word, a flow was dropped. A safe request is there all the same, and one that is not safe fails,
// long before the origin's own time is over.
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

// A large body takes the bound away while it is sent, and not from the requests after it.
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
		if over == overHTTP2 { // a connection that was made for an upload carries nothing else
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

// An origin that has taken the request may think for as long as it likes.
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

// Nor is one that does not read a large body yet: its kernel acknowledges, and takes nothing more. Linux
// counts that for the same (TCP_USER_TIMEOUT).
func TestOriginThatDoesNotReadYetIsNoDeadPath(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		const size = 32 << 20 // more than all buffers on the way
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
