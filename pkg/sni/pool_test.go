package sni_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

func TestOneConnectionForRequestsInSequence(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, http1, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.PEM(ca.PEM())}))
		// Spellings of one name share one pool and one SNI, in lower case.
		for _, host := range []string{"a.test", "A.Test", "a.test.", "a.test:443"} {
			mustGet(t, tr, "https://"+host+"/")
		}
		if got := origin.Handshakes(); !slices.Equal(got, []string{"a.test"}) {
			t.Errorf("handshakes %q, want one for a.test", got)
		}
		if host := origin.Requests()[1].Host; host != "A.Test" {
			t.Errorf("Host arrived as %q, want it as the client wrote it", host)
		}
	})
}

// No request may ride on a connection that was made under another target.
func TestChangedTargetIsNotServedByTheOldConnection(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca, other := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
		certificates := map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test"), "b.test": tlstest.Leaf(t, ca, "b.test")}
		first, second := startOrigin(t, http1, certificates), startOrigin(t, http1, certificates)
		var target sni.Target
		tr := newTransport(t, sni.Func(func(context.Context, string) (sni.Target, error) { return target, nil }))
		base := sni.Target{Addresses: []string{first.Addr}, Roots: sni.PEM(ca.PEM())}
		for _, c := range []struct {
			name   string
			change func(*sni.Target)
			want   func(t *testing.T, body string, err error)
		}{
			{"address", func(x *sni.Target) { x.Addresses = []string{second.Addr} }, func(t *testing.T, body string, err error) {
				if err != nil || second.Conns() != 1 {
					t.Errorf("error %v, %d connections to the new address", err, second.Conns())
				}
			}},
			{"roots", func(x *sni.Target) { x.Roots = sni.PEM(other.PEM()) }, func(t *testing.T, _ string, err error) {
				wantType(t, err, sni.TLSCertificateError)
			}},
			{"no roots", func(x *sni.Target) { x.Roots = sni.Roots{} }, func(t *testing.T, _ string, err error) {
				wantType(t, err, sni.TLSCertificateError)
			}},
			{"server name", func(x *sni.Target) { x.ServerName = "b.test" }, func(t *testing.T, body string, err error) {
				if err != nil || body != "b.test" {
					t.Errorf("answered by %q, %v", body, err)
				}
			}},
			{"minimum version", func(x *sni.Target) { x.MinVersion = tls.VersionTLS13 }, func(t *testing.T, _ string, err error) {
				if err != nil || first.Handshakes()[len(first.Handshakes())-1] != "a.test" {
					t.Errorf("%v, handshakes %q", err, first.Handshakes())
				}
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				target = base
				mustGet(t, tr, "https://a.test/")
				before := len(first.Handshakes()) + len(second.Handshakes())
				c.change(&target)
				body, err := get(t, tr, "https://a.test/")
				c.want(t, body, err)
				if after := len(first.Handshakes()) + len(second.Handshakes()); after != before+1 {
					t.Errorf("%d new handshakes after the change, want 1", after-before)
				}
			})
		}
	})
}

// Connections and pools stay bounded, however many hosts come by.
func TestPoolsAreBoundedAndEvictedOnesCloseTheirConnections(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		certificates := map[string]tls.Certificate{}
		hosts := make([]string, 40)
		for i := range hosts {
			hosts[i] = fmt.Sprintf("h%d.test", i)
			certificates[hosts[i]] = tlstest.Leaf(t, ca, hosts[i])
		}
		origin := startOrigin(t, http1, certificates)
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.PEM(ca.PEM())}))
		tr.MaxTargets = 3
		tr.IdleConnTimeout = time.Hour // only eviction may close
		for _, host := range hosts {
			mustGet(t, tr, "https://"+host+"/")
		}
		origin.WaitConns(t, 3)
		mustGet(t, tr, "https://h39.test/") // the newest is kept
		if n := len(origin.Handshakes()); n != len(hosts) {
			t.Errorf("%d handshakes, want %d", n, len(hosts))
		}
		tr.CloseIdleConnections()
		origin.WaitConns(t, 0)
	})
}

func TestIdleConnectionsAreClosedInTime(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, http1, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.PEM(ca.PEM())}))
		tr.IdleConnTimeout = 50 * time.Millisecond
		mustGet(t, tr, "https://a.test/")
		origin.WaitConns(t, 0)
	})
}

func TestNegativeIdleConnTimeoutReusesNothing(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, http1, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.PEM(ca.PEM())}))
		tr.IdleConnTimeout = -1
		mustGet(t, tr, "https://a.test/")
		mustGet(t, tr, "https://a.test/")
		if n := origin.Conns(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
		origin.WaitConns(t, 0)
	})
}

// The header is a stranger's in a proxy, and no permission to send a POST twice.
func TestIdempotencyKeyOfAClientDoesNotWidenRetries(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		for _, body := range []string{"", "body"} {
			for _, header := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
				origin := &tlstest.Origin{HTTP1: http1, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if r.Method == "POST" {
						panic(http.ErrAbortHandler) // done, but nobody will know
					}
				})}
				origin.Start(t)
				tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.PEM(ca.PEM())}))
				mustGet(t, tr, "https://a.test/") // net/http repeats on reused connections only
				req, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set(header, "1")
				if _, err := send(tr, req); err == nil {
					t.Error("no error")
				}
				posts := 0
				for _, r := range origin.Requests() {
					if r.Method == "POST" {
						if posts++; r.Body != body || r.Header.Get(header) != "1" || http1 && r.Header.Get("Content-Length") != strconv.Itoa(len(body)) {
							t.Errorf("the origin saw %+v", r)
						}
					}
				}
				if posts != 1 {
					t.Errorf("%s, body %q: the origin saw the POST %d times", header, body, posts)
				}
			}
		}
	})
}

func TestConnectionThatWentSilentIsGivenUp(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := tlstest.NewOrigin(t, ca, "a.test")
	var mute atomic.Bool
	relay := tlstest.Listen(t, func(c net.Conn) {
		out, err := net.Dial("tcp", origin.Addr)
		if err != nil {
			return
		}
		defer out.Close()
		first := !mute.Load()
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.Copy(c, out)
			c.Close()
		}()
		b := make([]byte, 64<<10)
		for {
			n, err := c.Read(b)
			if err != nil {
				break
			}
			if !first || !mute.Load() { // the first connection falls silent, later ones do not
				out.Write(b[:n])
			}
		}
		out.Close()
		<-done
	})
	tr := newTransport(t, to(sni.Target{Addresses: []string{relay}, Roots: sni.PEM(ca.PEM())}))
	tr.PingTimeout = 100 * time.Millisecond
	tr.IdleConnTimeout = time.Hour
	mustGet(t, tr, "https://a.test/")
	mute.Store(true)
	post, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := send(tr, post); err == nil {
		t.Error("an answer over a silent connection")
	}
	mustGet(t, tr, "https://a.test/")
}

// Many hosts under one server name are one pool, with one bound.
func TestHostsWithOneServerNameShareConnections(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, http1, map[string]tls.Certificate{"internal.test": tlstest.Leaf(t, ca, "internal.test")})
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.PEM(ca.PEM()), ServerName: "internal.test"}))
		for i := range 20 {
			mustGet(t, tr, fmt.Sprintf("https://h%d.test/", i))
			if got := origin.Last(t).Host; got != fmt.Sprintf("h%d.test", i) {
				t.Errorf("Host %q", got)
			}
		}
		if n := origin.Conns(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	})
}

// Without addresses, each host is dialled itself, whatever name all of them have to prove.
func TestServerNameAloneDoesNotJoinHosts(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http1 bool) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, http1, map[string]tls.Certificate{"internal.test": tlstest.Leaf(t, ca, "internal.test")})
		tr := newTransport(t, to(sni.Target{Roots: sni.PEM(ca.PEM()), ServerName: "internal.test"}))
		for _, host := range []string{"127.0.0.1", "localhost"} {
			mustGet(t, tr, "https://"+host+":"+origin.Port()+"/")
		}
		if n := origin.Conns(); n != 2 {
			t.Errorf("%d connections, want one for each host", n)
		}
		_, err := get(t, tr, "https://no-such-name.invalid:"+origin.Port()+"/")
		wantType(t, err, sni.DNSError)
	})
}

// Nothing may go on after a Lambda function has replied.
func TestDiallingEndsWithTheRequestsDeadline(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	dialled := map[int]int{}
	var addresses []string
	closed := make(chan struct{}, 3)
	for i := range 3 {
		addresses = append(addresses, tlstest.Listen(t, func(c net.Conn) {
			mu.Lock()
			dialled[i]++
			mu.Unlock()
			io.Copy(io.Discard, c)
			closed <- struct{}{}
		}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
	_, err := send(newTransport(t, to(sni.Target{Addresses: addresses})), req)
	wantType(t, err, sni.ConnectionTimeout)
	<-closed // the one that was being tried, long before HandshakeTimeout
	mu.Lock()
	defer mu.Unlock()
	if len(dialled) != 1 || dialled[0] != 1 {
		t.Errorf("dialled %v, want the first address alone", dialled)
	}
}
