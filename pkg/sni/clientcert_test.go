package sni_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// certDir is a directory of client certificates.
type certDir struct {
	t  *testing.T
	ca *devca.Authority
	*sni.CertificateDir
	path string
}

func newCertDir(t *testing.T) *certDir {
	d := &certDir{t: t, ca: tlstest.NewAuthority(t), path: t.TempDir()}
	var err error
	if d.CertificateDir, err = sni.OpenCertificateDir(d.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// write replaces a file in one step, as people do who rotate certificates.
func (d *certDir) write(name string, content string) {
	d.t.Helper()
	tmp := filepath.Join(d.path, ".new")
	if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(d.path, name)); err != nil {
		d.t.Fatal(err)
	}
}

// pair makes a certificate for the client name, and its key, in PEM.
func (d *certDir) pair(name string) (certificate, key string) {
	d.t.Helper()
	c := clientLeaf(d.t, d.ca, name)
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// has fails the test unless the entry is a certificate for the client name.
func (d *certDir) has(entry, name string) {
	d.t.Helper()
	c, err := d.ClientCertificate(d.t.Context(), entry)
	if err != nil || c.Leaf.Subject.CommonName != name {
		d.t.Errorf("entry %q: %v, want the certificate of %q", entry, err, name)
	}
}

func TestClientCertificatesAreReadAgainWhenTheyChange(t *testing.T) {
	t.Parallel()
	d := newCertDir(t)
	c, k := d.pair("one")
	d.write("together.pem", k+c)
	d.write("apart.crt", c)
	d.write("apart.key", k)
	for _, entry := range []string{"together", "apart"} {
		d.has(entry, "one")
		a, _ := d.ClientCertificate(t.Context(), entry)
		if b, _ := d.ClientCertificate(t.Context(), entry); a != b {
			t.Errorf("%s was read twice", entry)
		}
	}
	c2, k2 := d.pair("two")
	d.write("together.pem", c2+k2)
	d.has("together", "two")
	d.write("apart.crt", c2)
	d.has("apart", "one") // until the key is there too
	d.write("apart.key", k2)
	d.has("apart", "two")
	if err := os.Remove(filepath.Join(d.path, "together.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ClientCertificate(t.Context(), "together"); !errors.Is(err, sni.ErrNoClientCert) {
		t.Errorf("removed: %v", err)
	}
}

// A failed renewal must be reported before the old certificate expires.
func TestBrokenRenewalOfAClientCertificateCountsAfterAWhile(t *testing.T) {
	d := newCertDir(t)
	c, k := d.pair("one")
	d.write("shop.pem", c+k)
	synctest.Test(t, func(t *testing.T) {
		d.t = t
		defer func() { d.t = nil }()
		d.has("shop", "one")
		d.write("shop.pem", c)
		d.has("shop", "one")
		time.Sleep(9 * time.Second)
		d.has("shop", "one")
		time.Sleep(time.Second)
		_, err := d.ClientCertificate(t.Context(), "shop")
		if err == nil || !strings.Contains(err.Error(), "shop.pem") {
			t.Errorf("broken for ten seconds: %v", err)
		}
		d.write("shop.pem", c+k)
		d.has("shop", "one")
		d.write("shop.pem", "x")
		d.has("shop", "one") // it has its time again
	})
}

// A route must not be able to read other files.
func TestNameOfAClientCertificateDoesNotLeaveTheDirectory(t *testing.T) {
	t.Parallel()
	d := newCertDir(t)
	c, k := d.pair("secret")
	outside := filepath.Join(filepath.Dir(d.path), "outside.pem")
	if err := os.WriteFile(outside, []byte(c+k), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(outside) })
	if err := os.Symlink(outside, filepath.Join(d.path, "link.pem")); err != nil {
		t.Fatal(err)
	}
	d.write(".hidden.pem", c+k)
	for _, name := range []string{"", ".", "..", "../outside", "/etc/passwd", ".hidden", "a/b", `a\b`, "a\x00b", "link", "ä", "a b", strings.Repeat("a", 1000)} {
		if got, err := d.ClientCertificate(t.Context(), name); err == nil {
			t.Errorf("%q is the certificate of %s", name, got.Leaf.Subject)
		}
	}
}

func TestFaultOfAClientCertificateIsTold(t *testing.T) {
	t.Parallel()
	d := newCertDir(t)
	c, k := d.pair("one")
	other, _ := d.pair("two")
	d.write("mismatch.crt", other)
	d.write("mismatch.key", k)
	d.write("keyless.crt", c)
	d.write("empty.pem", "")
	o := tlstest.NewOrigin(t, d.ca, "a.test")
	s := &switchable{sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(d.ca.PEM())}}
	tr := newTransport(t, s)
	for _, configured := range []bool{false, true} {
		if configured {
			tr = newTransport(t, s)
			tr.ClientCertificates = d
		}
		for _, name := range []string{"mismatch", "keyless", "empty", "none", "../x"} {
			s.target.ClientCert = name
			_, err := get(t, tr, "https://a.test/")
			wantType(t, err, sni.ProxyConfigurationError)
			var bad *sni.TargetError
			if !errors.As(err, &bad) || bad.Field != "ClientCert" || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
			if strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("%s: the error holds a key", name)
			}
		}
	}
	s.target.ClientCert = "none"
	tr = newTransport(t, s)
	tr.ClientCertificates = certificateMap{"none": {}}
	_, err := get(t, tr, "https://a.test/")
	wantType(t, err, sni.ProxyConfigurationError)
	if o.Conns() != 0 {
		t.Error("something was dialled")
	}
	if _, err := sni.OpenCertificateDir(filepath.Join(d.path, "none")); err == nil {
		t.Error("a directory that is not there was opened")
	}
}

// A server that lists other authorities gets the certificate too. A server that asks for no certificate gets none.
func TestClientCertificateIsShownToWhoAsksForOne(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		ca, clients, others := tlstest.NewAuthority(t), tlstest.NewAuthority(t), tlstest.NewAuthority(t)
		for name, c := range map[string]struct {
			config func(*tls.Config)
			want   string
		}{
			"wants one":          {func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, clients.Pool() }, "shop"},
			"lists others":       {func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAnyClientCert, others.Pool() }, "shop"},
			"does not want one":  {func(*tls.Config) {}, ""},
			"wants one, TLS 1.2": {func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 }, "shop"},
		} {
			o := &tlstest.Origin{HTTP1: over == overTLS1, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Config: c.config}
			o.Start(t)
			tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), ClientCert: "shop"}))
			tr.ClientCertificates = certificateMap{"shop": clientLeaf(t, clients, "shop")}
			mustGet(t, tr, "https://a.test/")
			if got := o.Last(t).ClientCert; got != c.want {
				t.Errorf("%s: the origin saw %q, want %q", name, got, c.want)
			}
		}
	})
}

// The alert of an origin that wants another certificate must reach the log.
func TestRefusedClientCertificateIsTold(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		ca, clients := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
		for name, c := range map[string]struct {
			certificate string
			version     uint16
			alert       string
		}{
			"none": {"", tls.VersionTLS13, "certificate required"}, "none, TLS 1.2": {"", tls.VersionTLS12, "handshake failure"},
			"unknown": {"shop", tls.VersionTLS13, "unknown certificate authority"},
		} {
			o := &tlstest.Origin{HTTP1: over == overTLS1, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Config: func(tc *tls.Config) {
				tc.ClientAuth, tc.ClientCAs, tc.MaxVersion = tls.RequireAndVerifyClientCert, clients.Pool(), c.version
			}}
			o.Start(t)
			tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), ClientCert: c.certificate}))
			tr.ClientCertificates = certificateMap{"shop": clientLeaf(t, ca, "shop")}
			_, err := get(t, tr, "https://a.test/")
			if e := wantType(t, err, sni.TLSAlertReceived); !strings.Contains(e.Alert.Error(), c.alert) || e.Alert == 0 {
				t.Errorf("%s: alert %d, %v; want %s", name, e.Alert, e.Alert, c.alert)
			}
			if len(o.Requests()) != 0 {
				t.Errorf("%s: the request arrived", name)
			}
		}
	})
}

func TestCertificateRequestIsToldWithAndWithoutACertificate(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		ca, clients := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
		for name, c := range map[string]struct {
			auth        tls.ClientAuthType
			certificate string
			want        int
		}{
			"nobody asks": {tls.NoClientCert, "", 0}, "nobody asks who has one": {tls.NoClientCert, "shop", 0},
			"asked without": {tls.RequestClientCert, "", 1}, "asked": {tls.RequestClientCert, "shop", 1},
		} {
			o := &tlstest.Origin{HTTP1: over == overTLS1, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Config: func(tc *tls.Config) {
				tc.ClientAuth, tc.ClientCAs = c.auth, clients.Pool()
			}}
			o.Start(t)
			tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), ClientCert: c.certificate}))
			tr.ClientCertificates = certificateMap{"shop": clientLeaf(t, clients, "shop")}
			var authorities []int
			ctx := sni.WithCertificateRequest(t.Context(), func(r *tls.CertificateRequestInfo) { authorities = append(authorities, len(r.AcceptableCAs)) })
			req, err := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			want := c.certificate
			if c.auth == tls.NoClientCert {
				want = ""
			}
			if got := o.Last(t).ClientCert; got != want || len(authorities) != c.want || c.want == 1 && authorities[0] != 1 {
				t.Errorf("%s: told of %v, the origin saw %q", name, authorities, got)
			}
		}
	})
}

// During a renewal, each request presents the old certificate or the new one. After it, each request presents the new one.
func TestClientCertificateIsRenewedWhileRequestsRun(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		d := newCertDir(t)
		o := &tlstest.Origin{HTTP1: over == overTLS1, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, d.ca, "a.test")}, Config: func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, d.ca.Pool()
		}}
		o.Start(t)
		c, k := d.pair("generation 0")
		d.write("shop.pem", c+k)
		tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(d.ca.PEM()), ClientCert: "shop"}))
		tr.ClientCertificates = d
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					req, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/", strings.NewReader("x"))
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := send(tr, req); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range 5 {
			c, k := d.pair("next generation")
			d.write("shop.pem", c+k)
			mustGet(t, tr, "https://a.test/")
		}
		close(stop)
		wg.Wait()
		c, k = d.pair("last generation")
		d.write("shop.pem", c+k)
		mustGet(t, tr, "https://a.test/")
		if got := o.Last(t).ClientCert; got != "last generation" {
			t.Errorf("the origin saw %q after the renewal", got)
		}
		if _, pools, conns, _ := tr.Held(); pools != 1 || conns != 1 {
			t.Errorf("%d pools, %d connections are left", pools, conns)
		}
	})
}
