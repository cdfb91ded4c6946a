package sni_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// listening returns an address that counts connections, and serves each with serve.
func listening(t *testing.T, serve func(net.Conn)) (address string, calls *atomic.Int64) {
	calls = new(atomic.Int64)
	return tlstest.Listen(t, func(c net.Conn) { calls.Add(1); serve(c) }), calls
}

func hangUp(net.Conn)   {}
func hang(c net.Conn)   { io.Copy(io.Discard, c) }
func babble(c net.Conn) { io.WriteString(c, "220 mail.test ESMTP\r\n"); io.Copy(io.Discard, c) }
func refuse(c net.Conn) { c.Read(make([]byte, 1)); c.Write([]byte{21, 3, 3, 0, 2, 2, 40}) } // alert: handshake_failure

// passOn connects c to another address.
func passOn(c net.Conn, addr string) {
	out, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer out.Close()
	go func() { io.Copy(out, c); out.Close() }()
	io.Copy(c, out)
}

func quicker(tr *sni.Transport) {
	tr.HandshakeTimeout, tr.ConnectTimeout = time.Second, time.Second
}

// If one address fails, the host must work with another address.
func TestNextAddressIsTriedWhateverIsWrongWithTheFirst(t *testing.T) {
	ca := tlstest.NewAuthority(t)
	plain := &tlstest.Origin{Plain: true}
	plain.Start(t)
	for name, first := range map[string]func(t *testing.T) string{
		"no such name":          func(*testing.T) string { return "no-such-name.invalid:443" },
		"nobody listens":        func(t *testing.T) string { return tlstest.Refusing(t) },
		"hangs up":              func(t *testing.T) string { return tlstest.Listen(t, hangUp) },
		"hangs":                 func(t *testing.T) string { return tlstest.Listen(t, hang) },
		"does not speak TLS":    func(t *testing.T) string { return tlstest.Listen(t, babble) },
		"speaks HTTP":           func(*testing.T) string { return plain.Addr },
		"sends an alert":        func(t *testing.T) string { return tlstest.Listen(t, refuse) },
		"is a prohibited one":   func(*testing.T) string { return "10.0.0.1:443" },
		"knows not of the name": func(t *testing.T) string { return tlstest.NewOrigin(t, ca, "b.test").Addr },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := tlstest.NewOrigin(t, ca, "a.test")
			tr := newTransport(t, to(sni.Target{Addresses: []string{first(t), o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
			quicker(tr)
			mustGet(t, tr, "https://a.test/")
			// A request that must not be repeated was not sent yet, so it may try the next address too.
			closeConnections(tr)
			post, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/", io.MultiReader(strings.NewReader("once")))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := send(tr, post); err != nil || o.Last(t).Body != "once" || len(o.Requests()) != 2 {
				t.Errorf("%v, %+v", err, o.Requests())
			}
		})
	}
}

// If an address has another certificate for the customer's name, the request must fail, and not use the next address.
func TestWrongCertificateIsNotHealedByAnotherAddress(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		ca, evil := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
		good := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		bad := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, evil, "a.test")})
		tr := newTransport(t, to(sni.Target{Addresses: []string{bad.Addr, good.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
		for range 3 { // it does not become the last address either
			_, err := get(t, tr, "https://a.test/")
			wantReason(t, err, sni.UnknownAuthority)
		}
		if good.Conns() != 0 {
			t.Error("the other address was tried")
		}
	})
}

func TestErrorOfAllAddressesNamesEachOfThem(t *testing.T) {
	t.Parallel()
	refused := tlstest.Refusing(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{"no-such-name.invalid:443", refused}}))
	_, err := get(t, tr, "https://a.test/")
	if e := wantType(t, err, sni.DNSError); e.Address != "no-such-name.invalid:443" || !strings.Contains(e.Error(), refused) {
		t.Errorf("error %v, want one of the first address that names the second too", e)
	}
	var dns *net.DNSError
	if !errors.As(err, &dns) || !dns.IsNotFound {
		t.Errorf("%v does not wrap the resolver's error", err)
	}
}

// Otherwise each request would wait for the address that hangs.
func TestAddressThatFailedIsTriedLastForAWhile(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	broken, calls := listening(t, hangUp)
	target := sni.Target{Addresses: []string{broken, o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}
	tr := newTransport(t, to(target))
	for range 5 {
		closeConnections(tr)
		mustGet(t, tr, "https://a.test/")
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("the broken address was tried %d times, want once", n)
	}
	tr = newTransport(t, to(target))
	tr.AvoidFailed = -1
	for range 5 {
		closeConnections(tr)
		mustGet(t, tr, "https://a.test/")
	}
	if n := calls.Load(); n != 6 {
		t.Errorf("the broken address was tried %d times although nothing is to be avoided, want 6", n)
	}
}

// A client that leaves is not a failure of the origin.
func TestCancelledRequestDoesNotMakeItsAddressFail(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	began := make(chan struct{}, 1)
	var let atomic.Bool
	slow := tlstest.Listen(t, func(c net.Conn) {
		if !let.Load() {
			began <- struct{}{}
			hang(c)
			return
		}
		passOn(c, o.Addr)
	})
	other, calls := listening(t, hangUp)
	tr := newTransport(t, to(sni.Target{Addresses: []string{slow, other}, Roots: sni.RootsFromPEM(ca.PEM())}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
	if _, err := send(tr, req); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	let.Store(true)
	mustGet(t, tr, "https://a.test/")
	if n := calls.Load(); n != 0 {
		t.Errorf("the second address was tried %d times", n)
	}
}

// The same holds if the client leaves while it gets its connection.
func TestCancellationOnANewConnectionIsTheClients(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		_, tr := answering(t, over, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		for range 50 {
			ctx, cancel := context.WithCancel(t.Context())
			ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
				ConnectDone: func(_, _ string, _ error) {
					if over == overPlain {
						cancel()
					}
				},
				TLSHandshakeDone: func(tls.ConnectionState, error) { cancel() },
			})
			req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
			if _, err := send(tr, req); !errors.Is(err, context.Canceled) {
				t.Fatalf("error %v, want the context's", err)
			}
		}
	})
}

// A client gets its response in time, even if many addresses hang.
func TestOneBudgetForAllAddresses(t *testing.T) {
	t.Parallel()
	var addresses []string
	var total atomic.Int64
	for range 16 {
		addresses = append(addresses, tlstest.Listen(t, func(c net.Conn) { total.Add(1); hang(c) }))
	}
	tr := newTransport(t, to(sni.Target{Addresses: addresses}))
	tr.DialTimeout, tr.HandshakeTimeout = 500*time.Millisecond, 200*time.Millisecond
	_, err := get(t, tr, "https://a.test/")
	wantType(t, err, sni.ConnectionTimeout)
	if n := total.Load(); n < 2 || n > 3 {
		t.Errorf("%d addresses were tried, want the two or three that there is time for", n)
	}
}

// The response of a name server may change between a check and the dial. The transport checks the address that it dials.
func TestRebindingGainsNothing(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := &tlstest.Origin{HTTP1: over == overTLS1, Plain: over == overPlain, Certificates: tlstest.NewOrigin(t, ca, "a.test").Certificates}
		o.Start(t)
		tr := newTransport(t, to(over.target(sni.Target{Addresses: []string{"lb.test:" + o.Port()}, Roots: sni.RootsFromPEM(ca.PEM())})))
		questions := 0
		_, tr.Resolver = tlstest.NameServerFunc(t, func(string) ([]string, bool) {
			if questions++; questions <= 2 { // A and AAAA of the first lookup
				return []string{"127.0.0.1"}, true
			}
			return []string{"127.0.0.2", "169.254.169.254"}, true
		})
		tr.AllowCIDRs = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		mustGet(t, tr, "https://a.test/")
		closeConnections(tr)
		_, err := get(t, tr, "https://a.test/")
		wantType(t, err, sni.DestinationIPProhibited)
		var prohibited *sni.ProhibitedError
		if !errors.As(err, &prohibited) || prohibited.IP != netip.MustParseAddr("127.0.0.2") {
			t.Errorf("%v does not name the address", err)
		}
	})
}

// If a name has addresses that may not be dialled, its other addresses are used.
func TestAllowedAddressOfANameIsDialledAmongProhibitedOnes(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	tr := newTransport(t, to(sni.Target{Addresses: []string{"lb.test:" + o.Port()}, Roots: sni.RootsFromPEM(ca.PEM())}))
	_, tr.Resolver = tlstest.NameServer(t, tlstest.Names{"lb.test": {"10.0.0.1", "169.254.169.254", "127.0.0.1"}})
	mustGet(t, tr, "https://a.test/")
}

func TestWhatNameServersSayIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		names tlstest.Names
		want  sni.ErrorType
	}{
		"no such name": {nil, sni.DNSError},
		"no address":   {tlstest.Names{"lb.test": {}}, sni.DNSError},
		"failure":      {tlstest.Names{"lb.test": {tlstest.ServFail}}, sni.DNSError},
		"nothing":      {tlstest.Names{"lb.test": {tlstest.Silent}}, sni.DNSTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTransport(t, to(sni.Target{Addresses: []string{"lb.test."}}))
			_, tr.Resolver = tlstest.NameServer(t, c.names)
			quicker(tr)
			_, err := get(t, tr, "https://a.test/")
			wantType(t, err, c.want)
		})
	}
}

// HTTPS_PROXY is set for all tests of this package (TestMain). A proxy would be dialled and checked instead of the origin.
func TestProxyOfTheEnvironmentIsNotDialled(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	mustGet(t, tr, "https://a.test/")
	if o.Last(t).SNI != "a.test" {
		t.Error("no request reached the origin")
	}
}

func TestAddressesOfOneNameRaceAsBefore(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test") // only on 127.0.0.1; localhost is ::1 too
	tr := newTransport(t, to(sni.Target{Addresses: []string{"localhost:" + o.Port()}, Roots: sni.RootsFromPEM(ca.PEM())}))
	mustGet(t, tr, "https://a.test/")
}

// An address that has answered after its failure is not avoided.
func TestAddressThatWasReachedSinceItFailedIsNotAvoided(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := startOrigin(t, overTLS1, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
	arrived, let := make(chan struct{}), make(chan struct{})
	var calls atomic.Int64
	first := tlstest.Listen(t, func(c net.Conn) {
		switch calls.Add(1) {
		case 2: // slow
			close(arrived)
			<-let
		case 3: // fails meanwhile
			return
		}
		passOn(c, o.Addr)
	})
	tr := newTransport(t, to(sni.Target{Addresses: []string{first, o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	last := observe(tr)
	want := func(address string) {
		t.Helper()
		if got := last().Address; got != address {
			t.Errorf("went to %s, want %s", got, address)
		}
	}
	mustGet(t, tr, "https://a.test/") // from here on it is known that requests do not wait for each other
	want(first)
	closeConnections(tr)
	done := make(chan error, 1)
	go func() {
		_, err := get(t, tr, "https://a.test/")
		done <- err
	}()
	<-arrived
	mustGet(t, tr, "https://a.test/")
	want(o.Addr)
	close(let)
	if err := <-done; err != nil {
		t.Error(err)
	}
	want(first)
	closeConnections(tr)
	mustGet(t, tr, "https://a.test/")
	want(first)
}
