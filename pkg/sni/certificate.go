package sni

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A CertificateReason says what is wrong with a certificate.
type CertificateReason string

// The reasons of a [CertificateError].
const (
	Expired           CertificateReason = "expired"
	NotYetValid       CertificateReason = "not yet valid"
	UnknownAuthority  CertificateReason = "unknown authority"  // or an intermediate is missing
	WrongName         CertificateReason = "wrong name"         // CertificateError.Names has the right ones
	WrongUsage        CertificateReason = "wrong usage"        // not for servers
	NameConstraint    CertificateReason = "name constraint"    // the authority may not certify this name
	WeakKey           CertificateReason = "weak key"           // RSA below 2,048 bits, or a curve below 256
	InsecureSignature CertificateReason = "insecure signature" // SHA-1 or MD5
	PinMismatch       CertificateReason = "pin mismatch"
	Malformed         CertificateReason = "malformed"
	Invalid           CertificateReason = "invalid" // none of the above
)

// A CertificateError says why an origin's certificate does not prove the server name. It is in
// every [Error] of type [TLSCertificateError].
type CertificateError struct {
	Reason CertificateReason

	// Certificate is the origin's own, or that of an authority in its chain if that is not valid now. It is nil if the
	// certificate could not be read. Its texts were chosen by whoever made it.
	Certificate *x509.Certificate

	Err error // never nil
}

func (e *CertificateError) Error() string {
	switch e.Reason {
	case WrongName:
		return fmt.Sprintf("certificate: %s: it is for %s", e.Reason, orNone(e.Names()))
	case Expired:
		return fmt.Sprintf("certificate: %s: it was valid until %s", e.Reason, e.Certificate.NotAfter.UTC().Format(time.RFC3339))
	case NotYetValid:
		return fmt.Sprintf("certificate: %s: it is valid from %s", e.Reason, e.Certificate.NotBefore.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("certificate: %s: %s", e.Reason, printable(e.Err.Error()))
}

// printable shortens a text that quotes a certificate, and makes it safe for logs and terminals.
func printable(s string) string {
	const most = 500
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

func (e *CertificateError) Unwrap() error { return e.Err }

// Names returns the names that the certificate is valid for, as it has them: DNS names, then IP addresses. The common name is
// not among them.
func (e *CertificateError) Names() []string {
	if e.Certificate == nil {
		return nil
	}
	names := slices.Clone(e.Certificate.DNSNames)
	for _, ip := range e.Certificate.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// orNone lists a few names for the text of an error.
func orNone(names []string) string {
	const most = 5
	if len(names) == 0 {
		return "no name at all"
	}
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-most)
		names = names[:most]
	}
	quoted := make([]string, 0, most)
	for _, n := range names {
		quoted = append(quoted, fmt.Sprintf("%.80q", n))
	}
	return strings.Join(quoted, ", ") + more
}

// certificateError returns the fault of a certificate that is in the error of a handshake, and nil if the error is not about a
// certificate.
func certificateError(err error) *CertificateError {
	var own *CertificateError
	if errors.As(err, &own) {
		return own
	}
	var failed *tls.CertificateVerificationError
	if errors.As(err, &failed) {
		return explain(failed.UnverifiedCertificates, err)
	}
	for text, reason := range untyped {
		if strings.HasPrefix(err.Error(), text) {
			return &CertificateError{Reason: reason, Err: err}
		}
	}
	return nil
}

// untyped are the errors about certificates that have no type in crypto/tls.
var untyped = map[string]CertificateReason{
	"tls: failed to parse certificate from server":                                                                Malformed,
	"tls: received empty certificates message":                                                                    Malformed,
	"tls: received unexpected handshake message of type *tls.certificateMsg when waiting for *tls.certificateMsg": Malformed, // it was empty
	"tls: server sent certificate containing RSA key larger than":                                                 Invalid,
	"tls: server's certificate contains an unsupported type of public key":                                        Invalid,
}

// explain returns the reason why a chain did not verify. presented has the leaf first.
func explain(presented []*x509.Certificate, err error) *CertificateError {
	e := &CertificateError{Reason: Invalid, Err: err}
	if len(presented) == 0 {
		return e
	}
	e.Certificate = presented[0]
	var (
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		noRoots x509.SystemRootsError
	)
	switch {
	case errors.As(err, &name):
		e.Reason = WrongName
	case errors.As(err, &invalid):
		switch invalid.Reason {
		case x509.Expired: // for x509, also a certificate that is not valid yet
			e.Reason = Expired
			if invalid.Cert != nil && time.Now().Before(invalid.Cert.NotBefore) {
				e.Reason = NotYetValid
			}
			if invalid.Cert != nil {
				e.Certificate = invalid.Cert // it may be an intermediate
			}
		case x509.IncompatibleUsage:
			e.Reason = WrongUsage
		case x509.CANotAuthorizedForThisName, x509.CANotAuthorizedForExtKeyUsage, x509.NameConstraintsWithoutSANs, x509.UnconstrainedName:
			e.Reason = NameConstraint
		}
	case errors.As(err, &unknown), errors.As(err, &noRoots):
		e.Reason = UnknownAuthority
		// x509 has this hint only in its text.
		if strings.HasPrefix(unknown.Error(), `x509: certificate signed by unknown authority (possibly because of "x509: cannot verify signature: insecure algorithm`) {
			e.Reason = InsecureSignature
		}
	case strings.Contains(err.Error(), "tls: no FIPS compatible certificate chains found"): // in FIPS mode: a key in each chain is too weak
		e.Reason = WeakKey
	}
	return e
}
