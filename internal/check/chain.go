package check

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"time"
)

// Certificate is a certificate that the origin presented, or a root that verified it.
type Certificate struct {
	Subject   string    `json:"subject"`
	Names     []string  `json:"names,omitempty"`
	MoreNames int       `json:"more_names,omitempty"` // number of names that were left out
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	DaysLeft  int       `json:"days_left"` // whole days; negative if it has expired
	Key       string    `json:"key"`
	Signature string    `json:"signature"`
	Pin       string    `json:"spki_sha256"` // in the form of the attribute spki_pins
	Authority bool      `json:"authority"`
	Presented bool      `json:"presented"` // false for a root that the route trusts
	Verified  bool      `json:"verified"`  // whether it is in the chain that verified
}

// describeChain lists the chain that verified, and after it the other certificates that were presented, within the bounds.
func describeChain(presented, chain []*x509.Certificate, now time.Time) []Certificate {
	var all []Certificate
	add := func(c *x509.Certificate, isPresented, verified bool) {
		d := Certificate{
			Subject: subjectOf(c), Issuer: issuerOf(c),
			NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), DaysLeft: daysLeft(c.NotAfter, now),
			Key: keyOf(c), Signature: c.SignatureAlgorithm.String(), Pin: base64Pin(c),
			Authority: c.IsCA, Presented: isPresented, Verified: verified,
		}
		size := 0
		for _, name := range namesOf(c) {
			name = cut(name)
			if size += len(name); size > maxNames {
				d.MoreNames++
				continue
			}
			d.Names = append(d.Names, name)
		}
		all = append(all, d)
	}
	for _, c := range chain {
		add(c, slices.ContainsFunc(presented, c.Equal), true)
	}
	for _, c := range presented[:min(len(presented), maxChain)] {
		if !slices.ContainsFunc(chain, c.Equal) {
			add(c, true, false)
		}
	}
	return all
}

// subjectOf and issuerOf prefer the common name, which people know.
func subjectOf(c *x509.Certificate) string {
	return cut(cmp.Or(c.Subject.CommonName, c.Subject.String()))
}
func issuerOf(c *x509.Certificate) string { return cut(cmp.Or(c.Issuer.CommonName, c.Issuer.String())) }

func keyOf(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return c.PublicKeyAlgorithm.String()
}

func pinOf(c *x509.Certificate) [32]byte { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

func base64Pin(c *x509.Certificate) string {
	pin := pinOf(c)
	return base64.StdEncoding.EncodeToString(pin[:])
}

// longestLasting returns the chain that is valid for the longest time, because one valid chain is enough.
func longestLasting(chains [][]*x509.Certificate) []*x509.Certificate {
	var best []*x509.Certificate
	for _, chain := range chains {
		if best == nil || endOf(chain).After(endOf(best)) {
			best = chain
		}
	}
	return best
}

// endOf returns the earliest end of the certificates of a chain.
func endOf(chain []*x509.Certificate) time.Time {
	var end time.Time
	for _, c := range chain {
		if end.IsZero() || c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

func daysLeft(end, now time.Time) int { return int(math.Floor(end.Sub(now).Hours() / 24)) }

// isSelfSigned reports whether a certificate is its own issuer.
func isSelfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// topOf follows the issuers of a leaf in the presented certificates, and returns the last.
func topOf(presented []*x509.Certificate) *x509.Certificate {
	top := presented[0]
	for range presented {
		i := slices.IndexFunc(presented, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, top.RawIssuer) && !c.Equal(top) && top.CheckSignatureFrom(c) == nil
		})
		if i < 0 || isSelfSigned(top) {
			break
		}
		top = presented[i]
	}
	return top
}

// verifies reports whether the presented certificates would verify with other roots, and for another name. Nil means the system's roots,
// and "" means any name. The result is only for advice.
func verifies(presented []*x509.Certificate, roots *x509.CertPool, name string, now time.Time) error {
	intermediates := x509.NewCertPool()
	for _, c := range presented[1:] {
		intermediates.AddCert(c)
	}
	_, err := presented[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: name, CurrentTime: now})
	return err
}
