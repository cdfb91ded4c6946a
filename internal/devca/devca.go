// Package devca is a certificate authority for a moment: the demo and the tests make
// one in memory and forget it. Nothing of it is ever written to a disk, and nothing
// outside trusts it.
package devca

import (
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

// Authority is a root that signs leaf certificates. It is safe for concurrent use.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// New makes an authority that is valid for a day, beginning an hour ago.
func New(commonName string) (*Authority, error) {
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName, Organization: []string{"sleight (throwaway)"}},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	key, certificate, err := sign(template, nil)
	if err != nil {
		return nil, err
	}
	return &Authority{certificate, key}, nil
}

// Leaf makes a server certificate for names, the first of which is its common name too.
// The functions in change, if any, alter the certificate before it is signed.
func (a *Authority) Leaf(names []string, change ...func(*x509.Certificate)) (tls.Certificate, error) {
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
	for _, f := range change {
		f(template)
	}
	key, certificate, err := sign(template, a)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key, Leaf: certificate}, nil
}

// PEM returns the root's certificate.
func (a *Authority) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

// Pool returns a pool that holds the root alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

func sign(template *x509.Certificate, parent *Authority) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	fail := func(err error) (*ecdsa.PrivateKey, *x509.Certificate, error) {
		return nil, nil, fmt.Errorf("devca: certificate for %q: %w", template.Subject.CommonName, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return fail(err)
	}
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.certificate, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		return fail(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return fail(err)
	}
	return key, certificate, nil
}
