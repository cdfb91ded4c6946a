package sni_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// waiting waits until n requests are in the queue for a connection.
func waiting(t *testing.T, tr *sni.Transport, n int) {
	t.Helper()
	for tr.Waiting() != n {
		if t.Context().Err() != nil {
			t.FailNow()
		}
		runtime.Gosched()
	}
}

// Requests beyond the bound get connections in the order of their arrival.
func TestRequestsBeyondTheBoundWaitInOrder(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST"} {
		ca := tlstest.NewAuthority(t)
		h := startHeld(t, overTLS1, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(sni.Target{Addresses: []string{h.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), MaxConns: 1}))
		tr.UnsafeReuse = time.Minute
		var wg sync.WaitGroup
		ask := func(path string) {
			wg.Go(func() {
				if _, err := sendTo(t, tr, method, path, nil); err != nil {
					t.Error(err)
				}
			})
		}
		ask("/held")
		<-h.began
		const n = 20
		for i := range n {
			ask(fmt.Sprintf("/%02d", i))
			waiting(t, tr, i+1)
		}
		close(h.let)
		wg.Wait()
		if h.Conns() != 1 {
			t.Errorf("%s: %d connections", method, h.Conns())
		}
		for i, r := range h.Requests()[1:] {
			if want := fmt.Sprintf("/%02d", i); r.URI != want {
				t.Errorf("%s: request %d is %s, want %s", method, i, r.URI, want)
			}
		}
	}
}

// There are never more connections than the bound, over each protocol, and each request gets one.
func TestConnectionsAreNeverMoreThanTheBound(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		for name, c := range map[string]struct {
			target, transport int
			change            func(*sni.Transport)
		}{
			"of the target":           {3, 100, func(*sni.Transport) {}},
			"of the transport":        {0, 3, func(*sni.Transport) {}},
			"none is used again":      {3, 0, func(tr *sni.Transport) { tr.IdleConnTimeout = -1 }},
			"none for what is unsafe": {3, 0, func(tr *sni.Transport) { tr.UnsafeReuse = -1 }},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ca := tlstest.NewAuthority(t)
				o := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
				tr := newTransport(t, to(over.target(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), MaxConns: c.target})))
				tr.MaxConnsPerTarget = c.transport
				c.change(tr)
				var wg sync.WaitGroup
				for i := range 60 {
					wg.Go(func() {
						var body io.Reader
						if i%3 == 0 {
							body = strings.NewReader("x")
						}
						if _, err := sendTo(t, tr, []string{"POST", "GET"}[i%2], "/", body); err != nil {
							t.Error(err)
						}
						if _, _, conns, _ := tr.Held(); conns > 3 {
							t.Errorf("%d connections", conns)
						}
					})
				}
				wg.Wait()
				if n := len(o.Requests()); n != 60 || tr.Waiting() != 0 {
					t.Errorf("%d requests arrived, %d wait", n, tr.Waiting())
				}
			})
		}
	})
}

func TestRequestThatWaitsForTooLongSaysWhatFor(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	h := startHeld(t, overTLS1, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test"), "b.test": tlstest.Leaf(t, ca, "b.test")})
	tr := newTransport(t, to(sni.Target{Addresses: []string{h.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), MaxConns: 2}))
	tr.DialTimeout = time.Second
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { mustGet(t, tr, "https://a.test/held") })
		<-h.began
	}
	last := observe(tr)
	_, err := get(t, tr, "https://a.test/")
	e := wantType(t, err, sni.ConnectionLimitReached)
	if !errors.Is(err, sni.ErrConnLimit) || !e.Unprocessed || !strings.Contains(err.Error(), ": 2") || last().Sent != 0 {
		t.Errorf("%v, unprocessed %t, sent %d times", err, e.Unprocessed, last().Sent)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	boom := errors.New("boom")
	wg.Go(func() { waiting(t, tr, 1); cancel(boom) })
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
	if _, err := send(tr, req); !errors.Is(err, boom) {
		t.Errorf("one that is given up: %v", err)
	}
	mustGet(t, tr, "https://b.test/") // whose connections are its own
	close(h.let)
	wg.Wait()
	mustGet(t, tr, "https://a.test/")
	if tr.Waiting() != 0 {
		t.Error("somebody still waits")
	}
}

// If a connection cannot be made, another request gets its place.
func TestFailedConnectionsLeaveTheirPlace(t *testing.T) {
	t.Parallel()
	tr := newTransport(t, to(sni.Target{Addresses: []string{tlstest.Refusing(t)}, MaxConns: 1}))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := get(t, tr, "https://a.test/")
			wantType(t, err, sni.ConnectionRefused)
		})
	}
	wg.Wait()
}

// A client that repeats its request must not cause a handshake each time.
func TestFailedHandshakeIsNotRepeatedForEachRequest(t *testing.T) {
	t.Parallel()
	ca, other := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test", "b.test")
	for name, c := range map[string]struct {
		remember   time.Duration
		handshakes int
	}{"a while": {time.Hour, 1}, "not at all": {-1, 5}} {
		s := &switchable{sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(other.PEM())}}
		tr := newTransport(t, s)
		tr.RememberFailure = c.remember
		before := len(o.Handshakes())
		var errs []error
		for range 5 {
			_, err := get(t, tr, "https://a.test/")
			wantType(t, err, sni.TLSCertificateError)
			errs = append(errs, err)
		}
		if n := len(o.Handshakes()) - before; n != c.handshakes {
			t.Errorf("remembered for %s: %d handshakes, want %d", name, n, c.handshakes)
		}
		if errs[0].Error() != errs[4].Error() {
			t.Errorf("errors %v, %v", errs[0], errs[4])
		}
		if _, err := get(t, tr, "https://b.test/"); err == nil { // is another one
			t.Error("another host is trusted")
		}
		s.target.Roots = sni.RootsFromPEM(ca.PEM()) // this is another pool
		mustGet(t, tr, "https://a.test/")
	}
}

// A canceled request is not a failure of the origin.
func TestHandshakeThatWasGivenUpIsNotRemembered(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	tr.RememberFailure = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
	send(tr, req)
	mustGet(t, tr, "https://a.test/")
}

// A repeated request may wait as long as a new one, whatever time the first attempt took.
func TestRepeatedRequestWaitsForItsTurn(t *testing.T) {
	overHTTP1(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		came, die, otherCame, answer := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
		var died atomic.Bool
		address := startRaw(t, ca, over, func(c net.Conn, _ *bufio.Reader, r *http.Request) bool {
			switch {
			case r.URL.Path == "/dies" && !died.Swap(true):
				close(came)
				<-die
				return false
			case r.URL.Path == "/other":
				close(otherCame)
				<-answer
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
			return true
		})
		tr := toHTTP1(t, ca, over, address)
		tr.MaxConnsPerTarget, tr.DialTimeout = 1, 2*time.Second
		mustGet(t, tr, "https://a.test/")
		done := make(chan error, 2)
		ask := func(path string) { _, err := get(t, tr, "https://a.test"+path); done <- err }
		go ask("/dies")
		<-came
		<-time.After(tr.DialTimeout) // the first attempt takes longer
		go ask("/other")
		waiting(t, tr, 1)
		close(die)
		<-otherCame
		for tr.Waiting() == 0 && len(done) == 0 {
			runtime.Gosched()
		}
		close(answer)
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// A raised bound must help the requests that wait already.
func TestRaisedBoundHoldsForThoseThatWait(t *testing.T) {
	overHTTP1(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		h := startHeld(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		target := over.target(sni.Target{Addresses: []string{h.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), MaxConns: 1})
		var bound atomic.Int64
		bound.Store(1)
		tr := newTransport(t, sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) {
			target := target
			target.MaxConns = int(bound.Load())
			return target, nil
		}))
		var wg sync.WaitGroup
		ask := func() {
			wg.Go(func() {
				if _, err := get(t, tr, "https://a.test/held"); err != nil {
					t.Error(err)
				}
			})
		}
		ask()
		<-h.began
		ask()
		waiting(t, tr, 1)
		bound.Store(3)
		ask()
		<-h.began // the request that waited
		<-h.began // the new request
		close(h.let)
		wg.Wait()
	})
}

// If any timeout passes in the queue, the request did not reach the origin.
func TestTimeThatRunsOutInTheQueueIsTheBounds(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	h := startHeld(t, overTLS1, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
	tr := newTransport(t, to(sni.Target{Addresses: []string{h.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), MaxConns: 1}))
	var wg sync.WaitGroup
	wg.Go(func() { mustGet(t, tr, "https://a.test/held") })
	<-h.began
	late := errors.New("the caller's own time is up")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, late)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
	_, err := send(tr, req)
	if e := wantType(t, err, sni.ConnectionLimitReached); !errors.Is(err, sni.ErrConnLimit) || !errors.Is(err, late) || !e.Unprocessed {
		t.Errorf("error %v", err)
	}
	close(h.let)
	wg.Wait()
}
