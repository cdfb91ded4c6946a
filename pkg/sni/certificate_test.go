package sni_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	_ "crypto/md5" // for its signatures
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

var intermediates atomic.Int64

// An issuer is an authority. Its errors fail the test.
type issuer struct {
	t testing.TB
	*devca.Authority
}

// below makes an intermediate with another name.
func (i issuer) below(key crypto.Signer, change ...func(*x509.Certificate)) issuer {
	i.t.Helper()
	a, err := i.Intermediate(fmt.Sprint("intermediate ", intermediates.Add(1)), key, change...)
	if err != nil {
		i.t.Fatal(err)
	}
	return issuer{i.t, a}
}

func (i issuer) leaf(key crypto.Signer, names []string, change ...func(*x509.Certificate)) tls.Certificate {
	i.t.Helper()
	c, err := i.LeafWithKey(key, names, change...)
	if err != nil {
		i.t.Fatal(err)
	}
	return c
}

// claiming makes a leaf for a public key without a private key. The origin signs with another key. A client sees that only if it has
// accepted the certificate.
func (i issuer) claiming(public crypto.PublicKey) tls.Certificate {
	i.t.Helper()
	own := curveKey(elliptic.P256())
	c := i.leaf(claimed{own, public}, aTest)
	c.PrivateKey = own
	return c
}

type claimed struct {
	crypto.Signer
	public crypto.PublicKey
}

func (c claimed) Public() crypto.PublicKey { return c.public }

// selfSigned makes a self-signed certificate for a.test.
func (i issuer) selfSigned(change func(*x509.Certificate)) tls.Certificate {
	i.t.Helper()
	key, template := curveKey(elliptic.P256()), plainTemplate()
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		i.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func plainTemplate() *x509.Certificate {
	return &x509.Certificate{DNSNames: aTest, Subject: pkix.Name{CommonName: "a.test"}, NotBefore: hour(-1), NotAfter: hour(1)}
}

// rewritten returns a leaf with contents that edit has changed. key signs it again.
func (i issuer) rewritten(leaf tls.Certificate, key crypto.Signer, hash crypto.Hash, edit func(algorithm *pkix.AlgorithmIdentifier, publicKey *asn1.RawValue)) tls.Certificate {
	i.t.Helper()
	check := func(err error) {
		if err != nil {
			i.t.Helper()
			i.t.Fatal(err)
		}
	}
	var whole struct {
		Contents  []asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	_, err := asn1.Unmarshal(leaf.Certificate[0], &whole)
	check(err)
	edit(&whole.Algorithm, &whole.Contents[6]) // RFC 5280 section 4.1
	algorithm, err := asn1.Marshal(whole.Algorithm)
	check(err)
	whole.Contents[2] = asn1.RawValue{FullBytes: algorithm}
	contents, err := asn1.Marshal(whole.Contents)
	check(err)
	whole.Signature.Bytes, err = crypto.SignMessage(key, rand.Reader, contents, hash)
	check(err)
	whole.Signature.BitLength = 8 * len(whole.Signature.Bytes)
	der, err := asn1.Marshal(whole)
	check(err)
	leaf.Certificate = append([][]byte{der}, leaf.Certificate[1:]...)
	return leaf
}

// The keys are made once, because the race detector makes that slow.
var (
	rsa1024 = sync.OnceValue(func() *rsa.PrivateKey { return rsaKey(1024) })
	rsa2048 = sync.OnceValue(func() *rsa.PrivateKey { return rsaKey(2048) })
)

func rsaKey(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

// rsaModulus returns a public key of that length without a private key.
func rsaModulus(bits int) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}
}

func curveKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func hour(n time.Duration) time.Time { return time.Now().Add(n * time.Hour) }

var aTest = []string{"a.test"}

// pemOf returns a bundle of certificates.
func pemOf(all ...[]byte) string {
	var b bytes.Buffer
	for _, der := range all {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return b.String()
}

var bothVersions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// shower starts an origin that presents the certificate for each of the names, with a single version of TLS.
func shower(t testing.TB, version uint16, c tls.Certificate, names ...string) *tlstest.Origin {
	t.Helper()
	origin := &tlstest.Origin{
		Certificates: map[string]tls.Certificate{},
		Config:       func(config *tls.Config) { config.MinVersion, config.MaxVersion = version, version },
	}
	for _, name := range names {
		origin.Certificates[name] = c
	}
	origin.Start(t)
	return origin
}

// wantCertificateError fails the test unless err refuses a certificate for that reason, and its text fits into one line of a log.
func wantCertificateError(t testing.TB, err error, want sni.CertificateReason) *sni.CertificateError {
	t.Helper()
	wantType(t, err, sni.TLSCertificateError)
	var c *sni.CertificateError
	if !errors.As(err, &c) {
		t.Fatalf("%v has no *sni.CertificateError in it", err)
	}
	if c.Reason != want {
		t.Fatalf("%v has the reason %q, want %q", err, c.Reason, want)
	}
	if c.Err == nil {
		t.Errorf("%v has no cause", err)
	}
	if text := err.Error(); len(text) > 2000 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("a text of %d bytes, want at most 2,000 of printable characters: %.3000q", len(text), text)
	}
	return c
}

// A case is a certificate for a name, with the expected result.
func TestCertificateMatrix(t *testing.T) {
	t.Parallel()
	type row struct {
		name   string
		show   func(ca issuer) tls.Certificate
		reason sni.CertificateReason // empty if the certificate is valid

		host      string   // of the request; empty means a.test
		names     []string // the names of the certificate, if it is for other names
		address   string   // to dial; empty means 127.0.0.1
		trustLast bool     // the last certificate presented is the only root
		withheld  bool     // crypto/tls does not return the certificate
	}
	// A leaf for a.test, altered.
	leaf := func(change ...func(*x509.Certificate)) func(issuer) tls.Certificate {
		return func(ca issuer) tls.Certificate { return ca.leaf(nil, aTest, change...) }
	}
	// A leaf for other names.
	named := func(names ...string) func(issuer) tls.Certificate {
		return func(ca issuer) tls.Certificate { return ca.leaf(nil, names) }
	}
	// A leaf for a.test below an intermediate that is altered.
	under := func(change ...func(*x509.Certificate)) func(issuer) tls.Certificate {
		return func(ca issuer) tls.Certificate { return ca.below(nil, change...).leaf(nil, aTest) }
	}
	expired := func(c *x509.Certificate) { c.NotAfter = hour(-1).Add(time.Minute) }
	early := func(c *x509.Certificate) { c.NotBefore = hour(1) }
	clientsOnly := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	called := func(name string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.Subject.CommonName = name }
	}
	unchanged := func(*x509.Certificate) {}
	sha1ECDSA := func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }
	sha1RSA := func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }
	stranger := func(ca issuer) issuer {
		other, err := devca.New("stranger")
		if err != nil {
			ca.t.Fatal(err)
		}
		return issuer{ca.t, other}
	}

	rows := []row{
		// Valid certificates.
		{name: "leaf of the root", show: leaf()},
		{name: "one intermediate", show: under()},
		{name: "two intermediates", show: func(ca issuer) tls.Certificate { return ca.below(nil).below(nil).leaf(nil, aTest) }},
		{name: "intermediates in the wrong order", show: func(ca issuer) tls.Certificate {
			c := ca.below(nil).below(nil).leaf(nil, aTest)
			slices.Reverse(c.Certificate[1:])
			return c
		}},
		{name: "RSA of 2,048 bits", show: func(ca issuer) tls.Certificate { return ca.leaf(rsa2048(), aTest) }},
		{name: "RSA of 2,048 bits in an intermediate", show: func(ca issuer) tls.Certificate { return ca.below(rsa2048()).leaf(nil, aTest) }},
		{name: "P-384", show: func(ca issuer) tls.Certificate { return ca.leaf(curveKey(elliptic.P384()), aTest) }},
		{name: "Ed25519", show: func(ca issuer) tls.Certificate {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				ca.t.Fatal(err)
			}
			return ca.leaf(key, aTest)
		}},
		{name: "wildcard one label deep", host: "x.a.test", show: named("*.a.test")},
		{name: "name in capitals", show: named("A.TEST")},
		{name: "name among others", show: named("b.test", "a.test", "c.test")},
		{name: "authority constrained to the name", show: under(func(c *x509.Certificate) { c.PermittedDNSDomains = aTest })},
		{name: "self-signed, and trusted as it is", trustLast: true, show: func(ca issuer) tls.Certificate { return ca.selfSigned(unchanged) }},
		{name: "second chain past a weak authority", show: func(ca issuer) tls.Certificate {
			key := curveKey(elliptic.P256())
			c := ca.below(key, called("twice")).leaf(nil, aTest)
			weak := ca.below(rsa1024()).below(key, called("twice")).leaf(nil, aTest) // the same authority, signed by a weak one
			c.Certificate = append(c.Certificate, weak.Certificate[1:]...)
			return c
		}},

		// Time.
		{name: "expired", reason: sni.Expired, show: leaf(expired)},
		{name: "expired intermediate", reason: sni.Expired, show: under(expired)},
		{name: "expired root", reason: sni.Expired, trustLast: true, show: under(expired)},
		{name: "not yet valid", reason: sni.NotYetValid, show: leaf(early)},
		{name: "intermediate not yet valid", reason: sni.NotYetValid, show: under(early)},

		// Authority.
		{name: "self-signed", reason: sni.UnknownAuthority, show: func(ca issuer) tls.Certificate { return ca.selfSigned(unchanged) }},
		{name: "self-signed with SHA-1", reason: sni.UnknownAuthority, show: func(ca issuer) tls.Certificate { return ca.selfSigned(sha1ECDSA) }},
		{name: "unknown root", reason: sni.UnknownAuthority, show: func(ca issuer) tls.Certificate { return stranger(ca).leaf(nil, aTest) }},
		{name: "unknown root, sent along", reason: sni.UnknownAuthority, show: func(ca issuer) tls.Certificate {
			other := stranger(ca)
			c := other.leaf(nil, aTest)
			root, _ := pem.Decode([]byte(other.PEM()))
			c.Certificate = append(c.Certificate, root.Bytes)
			return c
		}},
		{name: "unknown root, and something with SHA-1 sent along", reason: sni.UnknownAuthority, show: func(ca issuer) tls.Certificate {
			c := stranger(ca).leaf(nil, aTest)
			c.Certificate = append(c.Certificate, ca.leaf(nil, []string{"b.test"}, sha1ECDSA).Certificate[0])
			return c
		}},
		{name: "missing intermediate", reason: sni.UnknownAuthority, show: func(ca issuer) tls.Certificate {
			c := ca.below(nil).leaf(nil, aTest)
			c.Certificate = c.Certificate[:1]
			return c
		}},
		{name: "one of two intermediates missing", reason: sni.UnknownAuthority, show: func(ca issuer) tls.Certificate {
			c := ca.below(nil).below(nil).leaf(nil, aTest)
			c.Certificate = c.Certificate[:2]
			return c
		}},
		{name: "leaf that signs leaves", reason: sni.UnknownAuthority, show: func(ca issuer) tls.Certificate {
			parent, key := ca.leaf(nil, []string{"b.test"}), curveKey(elliptic.P256())
			der, err := x509.CreateCertificate(rand.Reader, plainTemplate(), parent.Leaf, key.Public(), parent.PrivateKey)
			if err != nil {
				ca.t.Fatal(err)
			}
			return tls.Certificate{Certificate: [][]byte{der, parent.Certificate[0]}, PrivateKey: key}
		}},
		{name: "intermediate that may not sign", reason: sni.UnknownAuthority, show: under(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })},
		{name: "intermediate that may not sign, and is called like another reason", reason: sni.UnknownAuthority, show: under(called("insecure algorithm"), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })},
		{name: "corrupted signature", reason: sni.UnknownAuthority, show: func(ca issuer) tls.Certificate {
			c := ca.leaf(nil, aTest)
			der := slices.Clone(c.Certificate[0])
			der[len(der)-1] ^= 1
			c.Certificate = [][]byte{der}
			return c
		}},
		{name: "corrupted signature of an intermediate", reason: sni.UnknownAuthority, show: func(ca issuer) tls.Certificate {
			c := ca.below(nil).leaf(nil, aTest)
			der := slices.Clone(c.Certificate[1])
			der[len(der)-1] ^= 1
			c.Certificate[1] = der
			return c
		}},
		{name: "path longer than its authority allows", reason: sni.Invalid, show: func(ca issuer) tls.Certificate {
			return ca.below(nil, func(c *x509.Certificate) { c.MaxPathLenZero = true }).below(nil).leaf(nil, aTest)
		}},

		// Name.
		{name: "other name", reason: sni.WrongName, names: []string{"b.test"}, show: named("b.test")},
		{name: "other names", reason: sni.WrongName, names: []string{"b.test", "*.c.test", "192.0.2.1"}, show: leaf(func(c *x509.Certificate) {
			c.DNSNames, c.IPAddresses = []string{"b.test", "*.c.test"}, []net.IP{net.IPv4(192, 0, 2, 1)}
		})},
		{name: "name that was dialled", reason: sni.WrongName, address: "localhost", names: []string{"localhost"}, show: named("localhost")},
		{name: "address that was dialled", reason: sni.WrongName, names: []string{"127.0.0.1"}, show: leaf(func(c *x509.Certificate) {
			c.DNSNames, c.IPAddresses = nil, []net.IP{net.IPv4(127, 0, 0, 1)}
		})},
		{name: "common name only", reason: sni.WrongName, show: leaf(func(c *x509.Certificate) { c.DNSNames = nil })},
		{name: "common name next to another name", reason: sni.WrongName, names: []string{"b.test"}, show: leaf(func(c *x509.Certificate) { c.DNSNames = []string{"b.test"} })},
		{name: "e-mail address", reason: sni.WrongName, show: leaf(func(c *x509.Certificate) { c.DNSNames, c.EmailAddresses = nil, []string{"a.test", "root@a.test"} })},
		{name: "URI", reason: sni.WrongName, show: leaf(func(c *x509.Certificate) {
			c.DNSNames, c.URIs = nil, []*url.URL{{Path: "a.test"}, {Scheme: "https", Host: "a.test"}}
		})},
		{name: "wildcard for a name two labels deep", host: "x.y.a.test", reason: sni.WrongName, names: []string{"*.a.test"}, show: named("*.a.test")},
		{name: "two wildcards", host: "x.y.a.test", reason: sni.WrongName, names: []string{"*.*.a.test"}, show: named("*.*.a.test")},
		{name: "wildcard for its own domain", reason: sni.WrongName, names: []string{"*.a.test"}, show: named("*.a.test")},
		{name: "wildcard for everything", reason: sni.WrongName, names: []string{"*", "*.*"}, show: named("*", "*.*")},
		{name: "wildcard in part of a label", host: "xy.a.test", reason: sni.WrongName, names: []string{"x*.a.test"}, show: named("x*.a.test")},
		{name: "domain for the name below it", host: "x.a.test", reason: sni.WrongName, names: aTest, show: named("a.test")},
		{name: "NUL after the name", reason: sni.WrongName, names: []string{"a.test\x00.evil.test"}, show: named("a.test\x00.evil.test")},
		{name: "NUL at the end", reason: sni.WrongName, names: []string{"a.test\x00"}, show: named("a.test\x00")},

		// Usage and constraints.
		{name: "for clients", reason: sni.WrongUsage, show: leaf(clientsOnly)},
		{name: "authority for clients", reason: sni.WrongUsage, show: under(clientsOnly)},
		{name: "authority constrained to another name", reason: sni.NameConstraint, show: under(func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"other.test"} })},
		{name: "authority constrained to a name below", reason: sni.NameConstraint, show: under(func(c *x509.Certificate) { c.PermittedDNSDomains = []string{".a.test"} })},
		{name: "authority that the name is excluded from", reason: sni.NameConstraint, show: under(func(c *x509.Certificate) { c.ExcludedDNSDomains = aTest })},
		{name: "authority that a name beside it is excluded from", reason: sni.NameConstraint, show: func(ca issuer) tls.Certificate {
			return ca.below(nil, func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"b.test"} }).leaf(nil, []string{"a.test", "b.test"})
		}},
		{name: "critical extension that nobody knows", reason: sni.Invalid, show: leaf(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Critical: true, Value: []byte{5, 0}}}
		})},

		// Keys.
		{name: "RSA of 1,024 bits", reason: sni.WeakKey, show: func(ca issuer) tls.Certificate { return ca.leaf(rsa1024(), aTest) }},
		{name: "RSA of 2,047 bits", reason: sni.WeakKey, show: func(ca issuer) tls.Certificate { return ca.claiming(rsaModulus(2047)) }},
		{name: "RSA of 512 bits", reason: sni.WeakKey, show: func(ca issuer) tls.Certificate { return ca.claiming(rsaModulus(512)) }},
		{name: "RSA of 1,024 bits in an intermediate", reason: sni.WeakKey, show: func(ca issuer) tls.Certificate { return ca.below(rsa1024()).leaf(nil, aTest) }},
		{name: "RSA of 1,024 bits in a root", reason: sni.WeakKey, trustLast: true, show: func(ca issuer) tls.Certificate { return ca.below(rsa1024()).leaf(nil, aTest) }},
		// The server of crypto/tls cannot use such a key in TLS 1.3. Other servers may.
		{name: "P-224", reason: sni.WeakKey, show: func(ca issuer) tls.Certificate { return ca.claiming(curveKey(elliptic.P224()).Public()) }},
		{name: "P-224 in an intermediate", reason: sni.WeakKey, show: func(ca issuer) tls.Certificate { return ca.below(curveKey(elliptic.P224())).leaf(nil, aTest) }},
		{name: "RSA too large to verify in reasonable time", reason: sni.Invalid, withheld: true, show: func(ca issuer) tls.Certificate { return ca.claiming(rsaModulus(8193)) }},
		{name: "key of a type that nobody knows", reason: sni.Invalid, withheld: true, show: func(ca issuer) tls.Certificate {
			key := curveKey(elliptic.P256())
			parent := ca.below(key)
			return ca.rewritten(parent.leaf(nil, aTest), key, crypto.SHA256, func(_ *pkix.AlgorithmIdentifier, public *asn1.RawValue) {
				der, err := asn1.Marshal(struct {
					Algorithm pkix.AlgorithmIdentifier
					Key       asn1.BitString
				}{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 2}}, asn1.BitString{Bytes: []byte{1}, BitLength: 8}})
				if err != nil {
					ca.t.Fatal(err)
				}
				*public = asn1.RawValue{FullBytes: der}
			})
		}},

		// Signatures.
		{name: "SHA-1 with ECDSA", reason: sni.InsecureSignature, show: leaf(sha1ECDSA)},
		{name: "SHA-1 with ECDSA in an intermediate", reason: sni.InsecureSignature, show: under(sha1ECDSA)},
		{name: "SHA-1 with RSA", reason: sni.InsecureSignature, show: func(ca issuer) tls.Certificate { return ca.below(rsa2048()).leaf(nil, aTest, sha1RSA) }},
		{name: "SHA-1 with RSA in an intermediate", reason: sni.InsecureSignature, show: func(ca issuer) tls.Certificate {
			return ca.below(rsa2048()).below(nil, sha1RSA).leaf(nil, aTest)
		}},
		{name: "SHA-1 in an authority's certificate for its next key", reason: sni.InsecureSignature, show: func(ca issuer) tls.Certificate {
			return ca.below(nil, called("again")).below(nil, called("again"), sha1ECDSA).leaf(nil, aTest)
		}},
		{name: "MD5 with RSA", reason: sni.InsecureSignature, show: func(ca issuer) tls.Certificate {
			return ca.rewritten(ca.below(rsa2048()).leaf(nil, aTest), rsa2048(), crypto.MD5, func(algorithm *pkix.AlgorithmIdentifier, _ *asn1.RawValue) {
				algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 4}
			})
		}},

		// No certificate.
		{name: "garbage", reason: sni.Malformed, withheld: true, show: func(issuer) tls.Certificate {
			return tls.Certificate{Certificate: [][]byte{[]byte("garbage")}, PrivateKey: curveKey(elliptic.P256())}
		}},
		{name: "garbage after a good one", reason: sni.Malformed, withheld: true, show: func(ca issuer) tls.Certificate {
			c := ca.leaf(nil, aTest)
			c.Certificate = append(c.Certificate, []byte("garbage"))
			return c
		}},
		{name: "cut off", reason: sni.Malformed, withheld: true, show: func(ca issuer) tls.Certificate {
			c := ca.leaf(nil, aTest)
			c.Certificate[0] = c.Certificate[0][:len(c.Certificate[0])-1]
			return c
		}},
		{name: "none", reason: sni.Malformed, withheld: true, show: func(issuer) tls.Certificate { return tls.Certificate{PrivateKey: curveKey(elliptic.P256())} }},
	}

	ca := tlstest.NewAuthority(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			shown := row.show(issuer{t, ca})
			host, address, roots := "a.test", "127.0.0.1", ca.PEM()
			if row.host != "" {
				host = row.host
			}
			if row.address != "" {
				address = row.address
			}
			if row.trustLast {
				roots = pemOf(shown.Certificate[len(shown.Certificate)-1])
			}
			for _, version := range bothVersions {
				t.Run(tls.VersionName(version), func(t *testing.T) {
					origin := shower(t, version, shown, host)
					tr := newTransport(t, to(sni.Target{Addresses: []string{address + ":" + origin.Port()}, Roots: sni.RootsFromPEM(roots)}))
					_, err := get(t, tr, "https://"+host+"/")
					if row.reason == "" {
						if err != nil {
							t.Fatal(err)
						}
						if got := origin.Last(t); got.SNI != host || got.TLSVersion != version {
							t.Errorf("the origin saw %+v", got)
						}
						return
					}
					if n := len(origin.Handshakes()); n != 1 { // one handshake, without a second try
						t.Errorf("%d handshakes, want 1", n)
					}
					if n := len(origin.Requests()); n != 0 {
						t.Errorf("%d requests arrived", n)
					}
					c := wantCertificateError(t, err, row.reason)
					if row.withheld {
						if c.Certificate != nil || c.Names() != nil {
							t.Errorf("Certificate is %v with names %q, where nothing is known", c.Certificate, c.Names())
						}
						return
					}
					if c.Certificate == nil || !slices.ContainsFunc(shown.Certificate, func(der []byte) bool { return bytes.Equal(der, c.Certificate.Raw) }) {
						t.Fatal("Certificate is not what the origin has shown")
					}
					if now := time.Now(); now.After(c.Certificate.NotAfter) != (row.reason == sni.Expired) || now.Before(c.Certificate.NotBefore) != (row.reason == sni.NotYetValid) {
						t.Errorf("%v is about a certificate that is valid from %v until %v", err, c.Certificate.NotBefore, c.Certificate.NotAfter)
					}
					if row.reason != sni.WrongName {
						return
					}
					if !slices.Equal(c.Names(), row.names) {
						t.Errorf("Names() = %q, want %q", c.Names(), row.names)
					}
					for _, name := range row.names {
						if !strings.Contains(err.Error(), fmt.Sprintf("%q", name)) {
							t.Errorf("%v does not say that the certificate is for %q", err, name)
						}
					}
					if row.names == nil && !strings.Contains(err.Error(), "no name at all") {
						t.Errorf("%v does not say that the certificate is for nobody", err)
					}
				})
			}
		})
	}
}

// TLS 1.3 has no signatures for such a curve, so that an honest server presents nothing.
func TestCertificateOfACurveThatTLS13DoesNotHaveIsTheOriginsAlert(t *testing.T) {
	t.Parallel()
	ca := issuer{t, tlstest.NewAuthority(t)}
	shown := ca.leaf(curveKey(elliptic.P224()), aTest)
	for version, want := range map[uint16]sni.ErrorType{tls.VersionTLS12: sni.TLSCertificateError, tls.VersionTLS13: sni.TLSAlertReceived} {
		origin := shower(t, version, shown, "a.test")
		_, err := get(t, newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM())})), "https://a.test/")
		wantType(t, err, want)
		if n := len(origin.Requests()); n != 0 {
			t.Errorf("%d requests arrived", n)
		}
	}
}

// Anybody can present anybody's certificate.
func TestCertificateWithoutItsKeyIsRefused(t *testing.T) {
	t.Parallel()
	ca := issuer{t, tlstest.NewAuthority(t)}
	for name, keys := range map[string][2]crypto.Signer{
		"key of the same type": {curveKey(elliptic.P256()), curveKey(elliptic.P256())},
		"key of another type":  {rsa2048(), curveKey(elliptic.P256())},
	} {
		for _, version := range bothVersions {
			t.Run(name+"/"+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				copied := ca.leaf(keys[0], aTest)
				copied.PrivateKey = keys[1]
				origin := shower(t, version, copied, "a.test")
				_, err := get(t, newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM())})), "https://a.test/")
				wantType(t, err, sni.TLSProtocolError)
				if n := len(origin.Requests()); n != 0 {
					t.Errorf("%d requests arrived", n)
				}
			})
		}
	}
}

// A session must not outlast its certificate.
func TestExpiredCertificateIsNotAcceptedInAResumedHandshake(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"leaf", "intermediate", "root"} {
		for _, version := range bothVersions {
			t.Run(what+"/"+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				// Only the transport is in the bubble. The clock of the bubble starts here, and stops while a
				// connection is open. So the origin closes each connection after its response.
				begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
				end := begin.Add(time.Hour)
				validity := func(name string) func(*x509.Certificate) {
					return func(c *x509.Certificate) {
						c.NotBefore, c.NotAfter = begin.Add(-time.Hour), end.Add(time.Hour)
						if name == what {
							c.NotAfter = end
						}
					}
				}
				root := issuer{t, tlstest.NewAuthority(t)}.below(nil, validity("root"))
				shown := root.below(nil, validity("intermediate")).leaf(nil, aTest, validity("leaf"))
				origin := &tlstest.Origin{
					HTTP1:        true,
					Certificates: map[string]tls.Certificate{"a.test": shown},
					Handler:      http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }),
					Config:       func(config *tls.Config) { config.MinVersion, config.MaxVersion = version, version },
				}
				origin.Start(t)
				synctest.Test(t, func(t *testing.T) {
					tr := newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(root.PEM())}))
					mustGet(t, tr, "https://a.test/")

					time.Sleep(time.Until(end)) // the last instant of its validity
					mustGet(t, tr, "https://a.test/")
					if !origin.Last(t).Resumed {
						t.Fatal("the second handshake was not resumed: nothing is tested")
					}

					time.Sleep(time.Nanosecond)
					for range 2 {
						_, err := get(t, tr, "https://a.test/")
						wantCertificateError(t, err, sni.Expired)
					}
				})
				if n := len(origin.Requests()); n != 2 {
					t.Errorf("%d requests arrived, want 2", n)
				}
			})
		}
	}
}

// The maker of a certificate chooses its text, which goes to the log.
func TestCertificateErrorIsBoundedAndQuoted(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 50_000)
	hostile := []string{"a\nb.test", "a\x1b[31m.test", "a\x00.test", `a".test`, long + ".test"}
	many := slices.Clone(hostile)
	for n := len(many); n < 1000; n++ {
		many = append(many, fmt.Sprintf("n%d.b.test", n))
	}
	ca := issuer{t, tlstest.NewAuthority(t)}
	refused := func(t *testing.T, shown tls.Certificate, want sni.CertificateReason) *sni.CertificateError {
		origin := shower(t, tls.VersionTLS13, shown, "a.test")
		_, err := get(t, newTransport(t, to(sni.Target{Addresses: []string{origin.Addr}, Roots: sni.RootsFromPEM(ca.PEM())})), "https://a.test/")
		return wantCertificateError(t, err, want)
	}
	t.Run("wrong names", func(t *testing.T) {
		c := refused(t, ca.leaf(nil, nil, func(c *x509.Certificate) { c.DNSNames = many }), sni.WrongName)
		if !slices.Equal(c.Names(), many) {
			t.Errorf("%d names, not as the certificate has them", len(c.Names()))
		}
		for _, want := range []string{`"a\nb.test", "a\x1b[31m.test", "a\x00.test", "a\".test"`, "and 995 more"} {
			if text := c.Error(); !strings.Contains(text, want) {
				t.Errorf("%q does not have %q in it", text, want)
			}
		}
	})
	t.Run("name against a constraint", func(t *testing.T) {
		for _, name := range hostile {
			refused(t, ca.below(nil, func(c *x509.Certificate) { c.PermittedDNSDomains = aTest }).leaf(nil, []string{"a.test", name}), sni.NameConstraint)
		}
	})
	t.Run("name of an authority", func(t *testing.T) {
		for _, name := range append(hostile, "\u202etset.a") {
			parent := ca.below(nil, func(c *x509.Certificate) {
				c.Subject.CommonName, c.KeyUsage = name, x509.KeyUsageDigitalSignature // x509 reports it
			})
			refused(t, parent.leaf(nil, aTest), sni.UnknownAuthority)
		}
	})
	t.Run("name that cannot be read", func(t *testing.T) {
		for _, name := range append(hostile, "\xff", "tls: server's certificate contains an unsupported type of public key") {
			key := curveKey(elliptic.P256())
			names, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte("https://%/" + name)}})
			if err != nil {
				t.Fatal(err)
			}
			template := plainTemplate()
			template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}} // instead of DNSNames
			der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			refused(t, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, sni.Malformed)
		}
	})
}
