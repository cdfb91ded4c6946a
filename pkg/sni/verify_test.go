package sni

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

// A transport never offers a session to a target with other trust. These tests show that each check would hold even if it did.
func TestResumedHandshakeIsVerifiedInFull(t *testing.T) {
	for name, version := range map[string]uint16{"TLS1.2": tls.VersionTLS12, "TLS1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca, other := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
			leaf := tlstest.Leaf(t, ca, "a.test")
			address := echoServer(t, &tls.Config{Certificates: []tls.Certificate{leaf}, MaxVersion: version})
			base := Target{Roots: RootsFromPEM(ca.PEM())}
			config := func(target Target) *tls.Config {
				c, _, err := target.tlsConfig("a.test", nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			first := config(base)
			if state, err := shake(t, address, first); err != nil || state.DidResume {
				t.Fatalf("the first handshake: resumed %v, %v", state.DidResume, err)
			}
			state, err := shake(t, address, first)
			if err != nil || !state.DidResume {
				t.Fatalf("the second handshake: resumed %v, %v", state.DidResume, err)
			}

			pinned := base
			pinned.SPKIPins = [][32]byte{{1}}
			c := config(pinned)
			c.ClientSessionCache = first.ClientSessionCache
			_, err = shake(t, address, c)
			wantReason(t, err, PinMismatch)
			// The failure has discarded the session.
			if state, err := shake(t, address, first); err != nil || state.DidResume {
				t.Errorf("after the failure: resumed %v, %v", state.DidResume, err)
			}

			distrusting := base
			distrusting.Roots = RootsFromPEM(other.PEM())
			c = config(distrusting)
			c.ClientSessionCache = first.ClientSessionCache
			_, err = shake(t, address, c)
			wantReason(t, certificateError(err), UnknownAuthority)
			wantReason(t, (&verifier{roots: other.Pool()}).verify(state), UnknownAuthority)

			renamed := state
			renamed.ServerName = "b.test"
			wantReason(t, (&verifier{roots: ca.Pool()}).verify(renamed), WrongName)
			if err := (&verifier{roots: ca.Pool()}).verify(state); err != nil {
				t.Errorf("under the right trust: %v", err)
			}
		})
	}
}

func wantReason(t *testing.T, err error, want CertificateReason) {
	t.Helper()
	var e *CertificateError
	if !errors.As(err, &e) || e.Reason != want {
		t.Errorf("error %v, want the reason %q", err, want)
	}
}

// shake makes a handshake, and exchanges a byte after it so that session tickets arrive.
func shake(t *testing.T, address string, config *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	c, err := tls.Dial("tcp", address, config)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	if _, err := c.Write([]byte{1}); err != nil {
		return tls.ConnectionState{}, err
	}
	_, err = io.ReadFull(c, make([]byte, 1))
	return c.ConnectionState(), err
}

func echoServer(t *testing.T, config *tls.Config) string {
	return tlstest.Listen(t, func(c net.Conn) {
		s := tls.Server(c, config)
		io.Copy(s, s)
	})
}

// If the system's roots cannot be loaded, nobody is trusted.
func TestEmptyRootsOfTheTransportTrustNobody(t *testing.T) {
	ca, err := devca.New("nobody's")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Leaf([]string{"a.test"})
	if err != nil {
		t.Fatal(err)
	}
	target := Target{}
	config, _, err := target.tlsConfig("a.test", x509.NewCertPool(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = shake(t, echoServer(t, &tls.Config{Certificates: []tls.Certificate{leaf}}), config)
	wantReason(t, certificateError(err), UnknownAuthority)
}
