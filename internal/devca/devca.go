// Package devca makes certificate authorities in memory, for the demo and for tests. The keys are never written to a disk, and
// nothing else trusts the authorities.
package devca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// Authority signs certificates: a root from [New], or an intermediate. It is safe for concurrent use.
type Authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	chain       [][]byte // what a server sends beside its own certificate; empty for a root
}

// New makes a root. It is valid from an hour ago, for a day.
func New(commonName string) (*Authority, error) {
	certificate, key, err := sign(authority(commonName), nil, nil)
	if err != nil {
		return nil, err
	}
	return &Authority{certificate, key, nil}, nil
}

// Intermediate makes an authority below a. If key is nil, it gets a new key. Its leaves include the certificates up to the root.
// The functions in change, if any, alter its certificate before it is signed.
func (a *Authority) Intermediate(commonName string, key crypto.Signer, change ...func(*x509.Certificate)) (*Authority, error) {
	certificate, key, err := sign(authority(commonName), a, key, change...)
	if err != nil {
		return nil, err
	}
	return &Authority{certificate, key, append([][]byte{certificate.Raw}, a.chain...)}, nil
}

// Leaf makes a server certificate for names. Its common name is the first of them. The functions in change, if any, alter the
// certificate before it is signed.
func (a *Authority) Leaf(names []string, change ...func(*x509.Certificate)) (tls.Certificate, error) {
	return a.LeafWithKey(nil, names, change...)
}

// LeafWithKey is [Authority.Leaf] for a key that exists already. If key is nil, it makes one.
func (a *Authority) LeafWithKey(key crypto.Signer, names []string, change ...func(*x509.Certificate)) (tls.Certificate, error) {
	now := time.Now()
	template := &x509.Certificate{
		DNSNames:    names,
		NotBefore:   now.Add(-time.Hour),
		NotAfter:    now.Add(23 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(names) > 0 {
		template.Subject.CommonName = names[0]
	}
	certificate, key, err := sign(template, a, key, change...)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: append([][]byte{certificate.Raw}, a.chain...), PrivateKey: key, Leaf: certificate}, nil
}

// PEM returns the authority's certificate.
func (a *Authority) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

// Pool returns a pool with only the authority's certificate.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// authority returns the template for the certificate of an authority.
func authority(commonName string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName, Organization: []string{"sleight (throwaway)"}},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// sign makes a certificate that parent signs. If key is nil, it makes a key. If parent is nil, the certificate signs itself.
func sign(template *x509.Certificate, parent *Authority, key crypto.Signer, change ...func(*x509.Certificate)) (*x509.Certificate, crypto.Signer, error) {
	for _, f := range change {
		f(template)
	}
	fail := func(err error) (*x509.Certificate, crypto.Signer, error) {
		return nil, nil, fmt.Errorf("devca: certificate for %q: %w", template.Subject.CommonName, err)
	}
	var err error
	if key == nil {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return fail(err)
		}
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return fail(err)
	}
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.certificate, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		return fail(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return fail(err)
	}
	return certificate, key, nil
}
