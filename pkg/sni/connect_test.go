package sni_test

import (
	"crypto/tls"
	"net/url"
	"sync"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

func connect(t *testing.T, tr *sni.Transport, to string) error {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return tr.Connect(t.Context(), u)
}

func TestConnectSparesTheFirstRequestTheHandshake(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test"), "b.test": tlstest.Leaf(t, ca, "b.test")})
		tr := newTransport(t, to(targetOver(over, origin.Addr, ca.PEM())))
		for range 2 {
			if err := connect(t, tr, "https://a.test/"); err != nil {
				t.Fatal(err)
			}
		}
		origin.WaitConns(t, 1) // plain HTTP has no handshake: the origin may accept later
		if n := origin.Conns(); n != 1 || len(origin.Requests()) != 0 {
			t.Fatalf("%d connections, %d requests before the first", n, len(origin.Requests()))
		}
		mustGet(t, tr, "https://a.test/")
		if n := origin.Conns(); n != 1 {
			t.Errorf("%d connections after the request", n)
		}
		// A connection for one name must not serve another name.
		mustGet(t, tr, "https://b.test/")
		origin.WantOwnNames(t, 2)
		tr.CloseIdleConnections()
		origin.WaitConns(t, 0)
	})
}

func TestRequestsThatComeWhileConnectingAreServed(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		origin := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		tr := newTransport(t, to(targetOver(over, origin.Addr, ca.PEM())))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := connect(t, tr, "https://a.test/"); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if _, err := get(t, tr, "https://a.test/"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		origin.WantOwnNames(t, 8)
		if n := origin.Conns(); over == overHTTP2 && n > 2 {
			t.Errorf("%d connections for 16 requests, want 2 at most", n)
		}
		tr.CloseIdleConnections()
		origin.WaitConns(t, 0)
	})
}

func TestConnectFailsAsARequestWould(t *testing.T) {
	ca, other := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	origin := tlstest.NewOrigin(t, ca, "a.test")
	tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(other.PEM())}))
	wantType(t, connect(t, tr, "https://a.test/"), sni.TLSCertificateError)
	tr = newTransport(t, to(sni.Target{Addresses: []string{"10.1.2.3"}}))
	tr.AllowCIDRs = nil
	wantType(t, connect(t, tr, "https://a.test/"), sni.DestinationIPProhibited)
	wantType(t, connect(t, tr, "ftp://a.test/"), sni.HTTPRequestError)
	origin.WaitConns(t, 0)
}
