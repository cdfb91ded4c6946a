package sni_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// A missing or malformed server name must never mean "do not verify".
func TestUnusableTargetIsAnErrorBeforeDialling(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := tlstest.NewOrigin(t, ca, "a.test")
	for _, c := range []struct {
		name, url, field string
		target           sni.Target
	}{
		{"server name is an IP address", "https://a.test/", "ServerName", sni.Target{ServerName: "127.0.0.1"}},
		{"server name is blank", "https://a.test/", "ServerName", sni.Target{ServerName: " "}},
		{"server name has a port", "https://a.test/", "ServerName", sni.Target{ServerName: "a.test:443"}},
		{"host is an IP address", "https://192.0.2.1/", "ServerName", sni.Target{}},
		{"host is an IPv6 address", "https://[2001:db8::1]/", "ServerName", sni.Target{}},
		{"no certificate in the roots", "https://a.test/", "Roots", sni.Target{Roots: sni.RootsFromPEM("garbage")}},
		{"broken certificate in the roots", "https://a.test/", "Roots", sni.Target{Roots: sni.RootsFromPEM("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")}},
		{"seventeen addresses", "https://a.test/", "Addresses", sni.Target{Addresses: slices.Repeat([]string{"lb.test"}, 17)}},
		{"Host that is none", "https://a.test/", "HostHeader", sni.Target{HostHeader: "b.test, c.test"}},
		{"Host with a line end", "https://a.test/", "HostHeader", sni.Target{HostHeader: "x\r\nEvil: 1"}},
		{"empty roots", "https://a.test/", "Roots", sni.Target{Roots: sni.RootsFromPEM("")}},
		{"pins that were lost", "https://a.test/", "SPKIPins", sni.Target{SPKIPins: [][32]byte{}}},
		{"unknown protocol", "https://a.test/", "ALPN", sni.Target{ALPN: []string{"h2", "spdy/3"}}},
		{"version below 1.2", "https://a.test/", "MinVersion", sni.Target{MinVersion: tls.VersionTLS11}},
		{"address with a path", "https://a.test/", "Addresses", sni.Target{Addresses: []string{"lb.test/x"}}},
		{"address with a bad port", "https://a.test/", "Addresses", sni.Target{Addresses: []string{"lb.test:0"}}},
		{"bare IPv6 address with port", "https://a.test/", "Addresses", sni.Target{Addresses: []string{"2001:db8::1:443"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.target.Addresses == nil {
				c.target.Addresses = []string{origin.Addr}
			}
			_, err := get(t, newTransport(t, to(c.target)), c.url)
			e := wantType(t, err, sni.ProxyConfigurationError)
			var bad *sni.TargetError
			if !errors.As(err, &bad) || bad.Field != c.field {
				t.Errorf("error %v, want one about %s", e, c.field)
			}
		})
	}
	if n := origin.Conns(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

func TestErrorsNameTheirCause(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := tlstest.NewOrigin(t, ca, "a.test")
	plain := &tlstest.Origin{Plain: true}
	plain.Start(t)
	for _, c := range []struct {
		name    string
		address string
		want    sni.ErrorType
	}{
		{"nobody listens", tlstest.Refusing(t), sni.ConnectionRefused},
		{"no such name", "no-such-name.invalid:443", sni.DNSError},
		{"private address", "10.0.0.1:443", sni.DestinationIPProhibited},
		{"not TLS", plain.Addr, sni.TLSProtocolError},
		{"hangs up", tlstest.Listen(t, func(c net.Conn) { c.Close() }), sni.ConnectionTerminated},
		{"says nothing", tlstest.Listen(t, func(c net.Conn) { io.Copy(io.Discard, c) }), sni.ConnectionTimeout},
		{"garbage after the handshake", garbageOrigin(t, ca), sni.HTTPProtocolError},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tr := newTransport(t, to(sni.Target{Addresses: []string{c.address}, Roots: sni.RootsFromPEM(ca.PEM())}))
			tr.HandshakeTimeout = 300 * time.Millisecond
			_, err := get(t, tr, "https://a.test/")
			if e := wantType(t, err, c.want); e.ServerName != "a.test" || !strings.Contains(e.Error(), `"a.test"`) {
				t.Errorf("error %v does not name the host", e)
			}
		})
	}
	t.Run("name unknown to the origin", func(t *testing.T) {
		tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
		_, err := get(t, tr, "https://b.test/")
		wantType(t, err, sni.TLSAlertReceived)
	})
	t.Run("no answer in time", func(t *testing.T) {
		slow := &tlstest.Origin{Certificates: origin.Certificates, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
		slow.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
		_, err := send(newTransport(t, to(sni.Target{Addresses: []string{slow.Addr}, Roots: sni.RootsFromPEM(ca.PEM())})), req)
		if e := wantType(t, err, sni.HTTPResponseTimeout); !e.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v does not tell that time ran out", err)
		}
	})
	t.Run("translator fails", func(t *testing.T) {
		boom := errors.New("boom")
		_, err := get(t, newTransport(t, sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) { return sni.Target{}, boom })), "https://a.test/")
		if wantType(t, err, sni.ProxyInternalError); !errors.Is(err, boom) {
			t.Errorf("%v does not wrap the cause", err)
		}
	})
	for _, url := range []string{"ftp://a.test/", "https://a..test/", "https://a_b%20c/"} {
		req, err := http.NewRequest("POST", "https://a.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Scheme, req.URL.Host, _ = strings.Cut(strings.TrimSuffix(url, "/"), "://")
		closed := false
		req.Body = closeRecorder{&closed}
		_, err = send(newTransport(t, nil), req)
		wantType(t, err, sni.HTTPRequestError)
		if !closed {
			t.Errorf("%s: the request's body was left open", url)
		}
	}
}

type closeRecorder struct{ closed *bool }

func (closeRecorder) Read([]byte) (int, error) { return 0, io.EOF }
func (c closeRecorder) Close() error           { *c.closed = true; return nil }

func TestAlertAfterTheHandshakeIsAnAlert(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	origin := &tlstest.Origin{HTTP1: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Config: func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }}
	origin.Start(t)
	_, err := get(t, newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM())})), "https://a.test/")
	wantType(t, err, sni.TLSAlertReceived)
}

func garbageOrigin(t testing.TB, ca interface {
	Leaf([]string, ...func(*x509.Certificate)) (tls.Certificate, error)
}) string {
	leaf, err := ca.Leaf([]string{"a.test"})
	if err != nil {
		t.Fatal(err)
	}
	return tlstest.Listen(t, func(c net.Conn) {
		conn := tls.Server(c, serverConfig(leaf))
		conn.Read(make([]byte, 1024))
		io.WriteString(conn, "HTTQ/9 what\r\n\r\n")
		io.Copy(io.Discard, conn)
	})
}

// Not all machines that run the tests have unreachable networks.
func TestErrorsOfTheSystemAreTyped(t *testing.T) {
	for number, want := range map[syscall.Errno]sni.ErrorType{
		syscall.ENETUNREACH:   sni.DestinationIPUnroutable,
		syscall.EHOSTUNREACH:  sni.DestinationIPUnroutable,
		syscall.EADDRNOTAVAIL: sni.DestinationIPUnroutable,
		syscall.ECONNREFUSED:  sni.ConnectionRefused,
		syscall.ECONNRESET:    sni.ConnectionTerminated,
		syscall.ETIMEDOUT:     sni.ConnectionTimeout,
		syscall.EMFILE:        sni.ProxyInternalError,
	} {
		err := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", number)}
		if got := sni.ConnectErrorType(err); got != want {
			t.Errorf("%v: type %s, want %s", err, got, want)
		}
	}
}

// A server that answers the first request with GOAWAY and an error code has ended the connection. The code is the cause, and a safe
// request is sent once more.
func TestGoAwayOnTheFirstRequestNamesItsCause(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	address := serveFrames(t, tlstest.Leaf(t, ca, "a.test"), func(c *tls.Conn, _ uint32) bool {
		const goAway = 0x7
		frame(c, goAway, 0, 0, []byte{0, 0, 0, 0, 0, 0, 0, 0xb}) // nothing was processed; ENHANCE_YOUR_CALM
		return true
	})
	tr := newTransport(t, to(sni.Target{Addresses: []string{address}, Roots: sni.RootsFromPEM(ca.PEM())}))
	last := observe(tr)
	_, err := get(t, tr, "https://a.test/")
	if wantType(t, err, sni.ConnectionTerminated); last().Sent != 2 {
		t.Errorf("sent %d times", last().Sent)
	}
	if reset, ok := errors.AsType[*sni.ResetError](err); !ok || *reset != (sni.ResetError{GoAway: true, Code: "ENHANCE_YOUR_CALM"}) {
		t.Errorf("cause %+v", reset)
	}
}

func TestResponseHeaderTimeoutIsKept(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second) // the origin answers at last, if nobody ends the request
		_, tr := answering(t, over, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				<-ctx.Done()
			}
		})
		defer stop()
		tr.ResponseHeaderTimeout = 50 * time.Millisecond
		_, err := get(t, tr, "https://a.test/slow")
		if e := wantType(t, err, sni.HTTPResponseTimeout); !e.Timeout() {
			t.Errorf("%v does not say that time ran out", e)
		}
	})
}
