package sni_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Thousands of hosts must not lead to thousands of connections or goroutines.
func TestHeldResourcesAreBoundedHoweverManyHostsComeBy(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		const hosts = 600
		ca := tlstest.NewAuthority(t)
		leaf := tlstest.Leaf(t, ca, "*.many.test")
		o := &tlstest.Origin{HTTP1: over == overTLS1, Plain: over == overPlain, Certificates: map[string]tls.Certificate{}}
		for i := range hosts {
			o.Certificates[fmt.Sprintf("h%d.many.test", i)] = leaf
		}
		o.Start(t)
		tr := newTransport(t, to(targetOver(over, o.Addr, ca.PEM())))
		tr.MaxTargets, tr.MaxIdleConns = 50, 20
		tr.IdleConnTimeout = time.Hour
		for i := range hosts {
			mustGet(t, tr, fmt.Sprintf("https://h%d.many.test/", i))
			if hosts, pools, conns, idle := tr.Held(); hosts > 50 || pools > 50 || idle > 20 || conns > 21 {
				t.Fatalf("after %d hosts: %d hosts, %d pools, %d connections, %d of them idle", i+1, hosts, pools, conns, idle)
			}
		}
		o.WaitConns(t, 20)
		if n := o.Conns(); n != hosts {
			t.Errorf("%d connections, want %d", n, hosts)
		}
		// The connections that were used last are kept.
		mustGet(t, tr, fmt.Sprintf("https://h%d.many.test/", hosts-20))
		if n := o.Conns(); n != hosts {
			t.Error("a connection was closed before one that was used longer ago")
		}
	})
}

// A burst of requests to one host must not close the connections of all other hosts.
func TestIdleConnectionsOfOneTargetAreBounded(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	h := startHeld(t, overTLS1, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test"), "b.test": tlstest.Leaf(t, ca, "b.test")})
	tr := newTransport(t, to(sni.Target{Addresses: []string{h.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	tr.MaxIdleConnsPerTarget = 3
	mustGet(t, tr, "https://b.test/")
	mustGet(t, tr, "https://a.test/")
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := get(t, tr, "https://a.test/held"); err != nil {
				t.Error(err)
			}
		})
	}
	for range 10 {
		<-h.began
	}
	close(h.let)
	wg.Wait()
	h.WaitConns(t, 4)
	if _, pools, _, idle := tr.Held(); pools != 2 || idle != 4 {
		t.Errorf("%d pools, %d idle connections, want 2 and 4", pools, idle)
	}
}

// Different hosts of a wildcard route share a pool.
func TestHostsWithOneTargetCountWithoutCostingConnections(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := startOrigin(t, overTLS1, map[string]tls.Certificate{"internal.test": tlstest.Leaf(t, ca, "internal.test")})
	tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), ServerName: "internal.test"}))
	tr.MaxTargets = 5
	for i := range 50 {
		mustGet(t, tr, fmt.Sprintf("https://h%d.test/", i))
	}
	if hosts, pools, conns, _ := tr.Held(); hosts != 5 || pools != 1 || conns != 1 || o.Conns() != 1 {
		t.Errorf("%d hosts, %d pools, %d connections, %d were made", hosts, pools, conns, o.Conns())
	}
}

// All connections share one timer. A connection with a shorter time must not wait for another.
func TestSweepMindsTheShortestTime(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{HTTP1: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test"), "b.test": tlstest.Leaf(t, ca, "b.test")}}
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "b.test" {
			w.Header().Set("Keep-Alive", "timeout=1")
		}
	})
	o.Start(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	tr.IdleConnTimeout = time.Hour
	mustGet(t, tr, "https://a.test/")
	mustGet(t, tr, "https://b.test/")
	o.WaitConns(t, 1)
	if _, _, conns, idle := tr.Held(); conns != 1 || idle != 1 {
		t.Errorf("%d connections, %d idle, want the one without a time of its own", conns, idle)
	}
	mustGet(t, tr, "https://a.test/")
	if o.Conns() != 2 {
		t.Error("the wrong one was closed")
	}
}

// The announced time of an origin counts, also if the field has other parameters.
func TestKeepAliveOfTheOriginIsMinded(t *testing.T) {
	for field, conns := range map[string]int{
		"timeout=0":                       2,
		"timeout=0, max=100":              2,
		"max=100, Timeout = \"0\"":        2,
		"timeout=60":                      1,
		"timeout=":                        1,
		"timeout=-1":                      1,
		"timeout=99999999999999999999999": 1,
		"nonsense":                        1,
		strings.Repeat("x=1,", 1000):      1,
	} {
		t.Run(field[:min(len(field), 20)], func(t *testing.T) {
			t.Parallel()
			ca := tlstest.NewAuthority(t)
			o := &tlstest.Origin{HTTP1: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Keep-Alive", field)
			})}
			o.Start(t)
			tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
			mustGet(t, tr, "https://a.test/")
			mustGet(t, tr, "https://a.test/")
			if n := o.Conns(); n != conns {
				t.Errorf("%d connections, want %d", n, conns)
			}
		})
	}
}

// Each request that needs a new connection would leave an idle one behind.
func TestUnsafeRequestsDoNotPileUpConnections(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(targetOver(over, o.Addr, ca.PEM())))
		tr.UnsafeReuse = -1
		for range 20 {
			req, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/", strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := send(tr, req); err != nil {
				t.Fatal(err)
			}
			// Over HTTP/2, the earlier connection may become idle a moment later.
			if _, _, conns, _ := tr.Held(); conns > 2 {
				t.Fatalf("%d connections are held", conns)
			}
		}
		if n := o.Conns(); n != 20 {
			t.Errorf("%d connections were made, want 20", n)
		}
		mustGet(t, tr, "https://a.test/")
		if n := o.Conns(); n != 20 {
			t.Error("the last connection was not kept")
		}
	})
}
