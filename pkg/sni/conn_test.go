package sni

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sleightproxy/sleight/internal/http1"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

// net/http reports changes one at a time, and may miss a request that begins and ends meanwhile. If the package does not know that a
// connection is idle, no bound applies to it.
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
	for idle := false; !idle; { // it is a moment after the response
		tr.mu.Lock()
		idle = c.idle
		tr.mu.Unlock()
	}
	tr.mu.Lock()
	tr.conns.take(c)
	c.awaitingHeader-- // without a call of the hook
	if in := tr.conns.sweepAt.Sub(wallClock()); c.idle || tr.conns.sweepAt.IsZero() || in > time.Second {
		t.Errorf("idle is %v, the next sweep is in %v", c.idle, in)
	}
	tr.mu.Unlock()
	tr.sweep()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if !c.idle {
		t.Error("the connection is in use for ever")
	}
}

// BenchmarkLook measures the look at a connection before a request.
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

// In a handshake, the writing goroutine also reads. If it waited for the reader, it would only delay the next address.
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

// The sweeper looks at all idle connections with the Transport's lock. An origin that does not read must not block that with a record
// that makes TLS write.
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
		c.Write(append([]byte{23, 3, 3, 0, 64}, make([]byte, 64)...)) // it cannot be decrypted, so TLS sends an alert
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
	for err = nil; err == nil; { // until the buffers are full
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

// Until the server announces its limit of streams, net/http assumes one. If this package assumed another number, it would take net/http's
// for the server's, and send requests that the server refuses.
func TestAssumedLimitOfStreamsIsThatOfNetHTTP(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	leaf := tlstest.Leaf(t, ca, "a.test")
	address := tlstest.Listen(t, func(c net.Conn) {
		silent := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{leaf}, NextProtos: []string{"h2"}})
		io.Copy(io.Discard, silent) // it sends no SETTINGS
	})
	tr := &Transport{AllowCIDRs: tlstest.Loopback, RootCAs: ca.Pool(), Translate: TranslatorFunc(func(context.Context, string) (Target, error) {
		return Target{Addresses: []string{address}, ALPN: []string{"h2"}}, nil
	})}
	defer tr.CloseIdleConnections()
	if err := tr.Connect(t.Context(), &url.URL{Scheme: "https", Host: "a.test"}); err != nil {
		t.Fatal(err)
	}
	tr.mu.Lock()
	c := tr.conns.all.Front().Value.(*conn)
	tr.mu.Unlock()
	if n := c.h2.http.Available() + c.h2.http.InFlight(); n != assumedStreams {
		t.Errorf("net/http assumes %d streams, this package %d", n, assumedStreams)
	}
}
