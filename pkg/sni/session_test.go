package sni_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"runtime"
	"slices"
	"testing"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// switchable is a Translator. The test can change its Target between requests.
type switchable struct{ target sni.Target }

func (s *switchable) Translate(context.Context, string) (sni.Target, error) { return s.target, nil }

// anew sends a GET on a new connection, and returns the request as the origin got it.
func anew(t *testing.T, tr *sni.Transport, o *tlstest.Origin, host string) (tlstest.Request, error) {
	t.Helper()
	closeConnections(tr)
	before := len(o.Requests())
	_, err := get(t, tr, "https://"+host+"/")
	if after := o.Requests(); len(after) > before {
		return after[len(after)-1], err
	}
	return tlstest.Request{}, err
}

// closeConnections closes all connections. Over HTTP/2, a connection becomes idle a moment after its last response was read.
func closeConnections(tr *sni.Transport) {
	for conns := 1; conns > 0; {
		tr.CloseIdleConnections()
		_, _, conns, _ = tr.Held()
		runtime.Gosched()
	}
}

// versions runs a test with both versions of TLS, because they resume sessions in different ways.
func versions(t *testing.T, test func(t *testing.T, config func(*tls.Config))) {
	for name, v := range map[string]uint16{"TLS1.2": tls.VersionTLS12, "TLS1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(c *tls.Config) { c.MinVersion, c.MaxVersion = v, v })
		})
	}
}

func sessionOrigin(t *testing.T, ca *devca.Authority, config func(*tls.Config), names ...string) *tlstest.Origin {
	o := &tlstest.Origin{Config: config, Certificates: map[string]tls.Certificate{}}
	for _, n := range names {
		o.Certificates[n] = tlstest.Leaf(t, ca, n)
	}
	o.Start(t)
	return o
}

func TestSessionsAreResumedForTheSameTarget(t *testing.T) {
	versions(t, func(t *testing.T, config func(*tls.Config)) {
		ca := tlstest.NewAuthority(t)
		o := sessionOrigin(t, ca, config, "a.test")
		tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), SPKIPins: [][32]byte{pin(o.Certificates["a.test"])}}))
		for i := range 3 {
			if r, err := anew(t, tr, o, "a.test"); err != nil || r.Resumed != (i > 0) {
				t.Errorf("connection %d: resumed %v, %v", i, r.Resumed, err)
			}
		}
	})
}

// nginx offers the session of one host to another, and then reports the wrong certificate as a fault of the origin.
func TestSessionOfOneHostIsNotOfferedForAnother(t *testing.T) {
	versions(t, func(t *testing.T, config func(*tls.Config)) {
		ca := tlstest.NewAuthority(t)
		o := sessionOrigin(t, ca, config, "a.test", "b.test")
		tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
		for _, host := range []string{"a.test", "b.test"} {
			if r, err := anew(t, tr, o, host); err != nil || r.Resumed || r.SNI != host {
				t.Errorf("%s: %+v, %v", host, r, err)
			}
		}
	})
}

// A session must not replace a handshake under other trust.
func TestSessionMadeUnderOtherTrustIsNotResumed(t *testing.T) {
	versions(t, func(t *testing.T, config func(*tls.Config)) {
		ca, other := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
		o := sessionOrigin(t, ca, config, "a.test")
		s := &switchable{sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}}
		tr := newTransport(t, s)
		mustGet(t, tr, "https://a.test/")

		s.target.Roots = sni.RootsFromPEM(other.PEM())
		_, err := anew(t, tr, o, "a.test")
		wantReason(t, err, sni.UnknownAuthority)

		s.target.Roots = sni.RootsFromPEM(other.PEM() + ca.PEM())
		if r, err := anew(t, tr, o, "a.test"); err != nil || r.Resumed {
			t.Errorf("under wider trust: resumed %v, %v", r.Resumed, err)
		}

		// A session from before must not return with the first trust either.
		s.target.Roots = sni.RootsFromPEM(ca.PEM())
		if r, err := anew(t, tr, o, "a.test"); err != nil || r.Resumed {
			t.Errorf("back under the first trust: resumed %v, %v", r.Resumed, err)
		}
	})
}

// A new pin must apply to the next request, even if there are sessions and connections.
func TestPinsHoldFromTheNextRequestOn(t *testing.T) {
	versions(t, func(t *testing.T, config func(*tls.Config)) {
		ca := tlstest.NewAuthority(t)
		o := sessionOrigin(t, ca, config, "a.test", "b.test")
		s := &switchable{sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}}
		tr := newTransport(t, s)
		mustGet(t, tr, "https://a.test/")
		seen := len(o.Requests())

		s.target.SPKIPins = [][32]byte{pin(o.Certificates["b.test"])}
		for range 2 {
			_, err := get(t, tr, "https://a.test/")
			wantReason(t, err, sni.PinMismatch)
		}
		if n := len(o.Requests()); n != seen {
			t.Errorf("%d requests reached the origin against the pins", n-seen)
		}

		// One matching pin is enough: the other is for the next key.
		s.target.SPKIPins = append(s.target.SPKIPins, pin(o.Certificates["a.test"]))
		mustGet(t, tr, "https://a.test/")

		// The authority's key may be pinned too.
		root, err := x509.ParseCertificate(authority(t, ca))
		if err != nil {
			t.Fatal(err)
		}
		s.target.SPKIPins = [][32]byte{sha256.Sum256(root.RawSubjectPublicKeyInfo)}
		mustGet(t, tr, "https://a.test/")
	})
}

// Pins apply to the chain that was verified, because a server can append any certificate.
func TestPinIsNotMetByACertificateThatTheServerMerelySends(t *testing.T) {
	t.Parallel()
	ca, pinned := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	leaf := tlstest.Leaf(t, ca, "a.test")
	appended := tlstest.Leaf(t, pinned, "a.test")
	leaf.Certificate = append(slices.Clone(leaf.Certificate), appended.Certificate[0])
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{"a.test": leaf}}
	o.Start(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), SPKIPins: [][32]byte{pin(appended)}}))
	_, err := get(t, tr, "https://a.test/")
	wantReason(t, err, sni.PinMismatch)
}

// Pins do not replace verification.
func TestPinDoesNotVouchForAnUnknownAuthority(t *testing.T) {
	t.Parallel()
	ca, other := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(other.PEM()), SPKIPins: [][32]byte{pin(o.Certificates["a.test"])}}))
	_, err := get(t, tr, "https://a.test/")
	wantReason(t, err, sni.UnknownAuthority)
}

// curl and other clients have sent a request with the client certificate of another customer, on a pooled connection or a resumed
// session.
func TestClientCertificateFollowsTheTarget(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		versions(t, func(t *testing.T, config func(*tls.Config)) {
			ca := tlstest.NewAuthority(t)
			o := &tlstest.Origin{HTTP1: over == overTLS1, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Config: func(c *tls.Config) {
				config(c)
				c.ClientAuth = tls.RequestClientCert
			}}
			o.Start(t)
			certificates := certificateMap{"one": clientLeaf(t, ca, "one"), "two": clientLeaf(t, ca, "two")}
			s := &switchable{sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}}
			tr := newTransport(t, s)
			tr.ClientCertificates = certificates
			for _, closed := range []bool{false, true} { // with the pool, and with sessions
				for _, name := range []string{"one", "two", "", "one", "", "two", "two"} {
					s.target.ClientCert = name
					if closed {
						closeConnections(tr)
					}
					mustGet(t, tr, "https://a.test/")
					if got := o.Last(t).ClientCert; got != name {
						t.Errorf("the origin saw the certificate %q, want %q", got, name)
					}
				}
			}
			// The name is the same, and the certificate has changed.
			s.target.ClientCert = "one"
			mustGet(t, tr, "https://a.test/")
			certificates["one"] = clientLeaf(t, ca, "renewed")
			mustGet(t, tr, "https://a.test/")
			if got := o.Last(t).ClientCert; got != "renewed" {
				t.Errorf("the origin saw the certificate %q after the renewal", got)
			}
			o.WaitConns(t, 1) // connections with earlier certificates are closed
		})
	})
}

type certificateMap map[string]*tls.Certificate

func (m certificateMap) ClientCertificate(_ context.Context, name string) (*tls.Certificate, error) {
	if c, ok := m[name]; ok {
		return c, nil
	}
	return nil, errors.New("no such certificate; add it")
}

func clientLeaf(t testing.TB, ca *devca.Authority, name string) *tls.Certificate {
	c := tlstest.Leaf(t, ca, name, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	return &c
}

func pin(c tls.Certificate) [32]byte { return sha256.Sum256(c.Leaf.RawSubjectPublicKeyInfo) }

// authority returns the certificate of a root.
func authority(t testing.TB, ca *devca.Authority) []byte {
	t.Helper()
	leaf := tlstest.Leaf(t, ca, "x.test")
	chains, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	return chains[0][1].Raw
}

// wantReason fails the test unless err refuses the certificate for that reason.
func wantReason(t testing.TB, err error, want sni.CertificateReason) *sni.CertificateError {
	t.Helper()
	wantType(t, err, sni.TLSCertificateError)
	var c *sni.CertificateError
	if !errors.As(err, &c) || c.Reason != want {
		t.Fatalf("error %v, want the reason %q", err, want)
	}
	return c
}
