package sni

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sleightproxy/sleight/internal/http1"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

// net/http tells of changes one at a time, and may miss that a request has begun and ended
// meanwhile. A connection that nobody knows to be idle is bounded by nothing.
func TestConnectionWhoseEndOfUseWasMissedIsFoundByTheSweeper(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	tr := &Transport{AllowCIDRs: tlstest.Loopback, RootCAs: ca.Pool(), Translate: TranslatorFunc(func(context.Context, string) (Target, error) {
		return Target{Addresses: []string{o.Addr}, ALPN: []string{"h2"}}, nil
	})}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "https://a.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body) // a body that is not read costs the connection
	resp.Body.Close()
	tr.mu.Lock()
	first := tr.conns.all.Front()
	tr.mu.Unlock()
	if first == nil {
		t.Fatal("the connection was not kept")
	}
	c := first.Value.(*conn)
	for idle := false; !idle; { // a moment after the answer
		tr.mu.Lock()
		idle = c.idle
		tr.mu.Unlock()
	}
	tr.mu.Lock()
	tr.conns.take(c)
	c.awaitingHeader-- // and nobody is told
	if c.idle || tr.conns.sweepAt.IsZero() {
		t.Errorf("idle is %v, the sweeper is set: %v", c.idle, !tr.conns.sweepAt.IsZero())
	}
	tr.mu.Unlock()
	tr.sweep()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if !c.idle {
		t.Error("the connection is in use for ever")
	}
}

// BenchmarkLook is what a request pays for the look at its connection.
func BenchmarkLook(b *testing.B) {
	address := tlstest.Listen(b, func(c net.Conn) { io.Copy(io.Discard, c) })
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r := newRawConn(c)
	r.now = true
	var p [1]byte
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Read(p[:]); err != errNothing {
			b.Fatal("something has arrived")
		}
	}
}

// In a handshake, who writes is who reads: waiting for the reader then only keeps the next address
// waiting.
func TestFailureToWriteWaitsForAnotherReaderAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			handed bool
			want   time.Duration
		}{{false, 0}, {true, alertWait}} {
			r := newRawConn(resetConn{})
			r.handed = c.handed
			began := time.Now()
			if _, err := r.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("error %v", err)
			}
			if waited := time.Since(began); waited != c.want {
				t.Errorf("handed over %t: waited %v, want %v", c.handed, waited, c.want)
			}
		}
	})
}

// resetConn is a connection that the peer has reset.
type resetConn struct{ net.Conn }

func (resetConn) Write([]byte) (int, error) { return 0, syscall.ECONNRESET }

// A look at an idle connection may be one at all of them, with the Transport's lock. An origin that reads
// nothing must not hold it up by making TLS answer.
func TestLookDoesNotWaitForAPeerThatReadsNothing(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{tlstest.Leaf(t, ca, "a.test")}}
	garbage, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	address := tlstest.Listen(t, func(c net.Conn) {
		if tls.Server(c, config).Handshake() != nil {
			return
		}
		<-garbage
		c.Write(append([]byte{23, 3, 3, 0, 64}, make([]byte, 64)...)) // which nobody can decrypt: TLS sends an alert
		<-release
	})
	netConn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer netConn.Close()
	raw := newRawConn(netConn)
	secure := tls.Client(raw, &tls.Config{ServerName: "a.test", RootCAs: ca.Pool()})
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	s := &serial{conn: &conn{raw: raw}, http: &http1.Conn{Conn: secure}}
	if !s.alive() {
		t.Fatal("dead already")
	}
	netConn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	for err = nil; err == nil; { // until there is no room
		_, err = netConn.Write(make([]byte, 64<<10))
	}
	netConn.SetWriteDeadline(time.Time{})
	close(garbage)
	looked := make(chan struct{})
	go func() {
		for s.alive() { // until it has arrived
		}
		close(looked)
	}()
	select {
	case <-looked:
	case <-time.After(10 * time.Second):
		netConn.Close()
		t.Error("the look waits")
	}
}
