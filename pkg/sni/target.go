package sni

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

// A Target says where requests for a host go and what their TLS has to prove.
// The zero Target is no translation: the request goes to the host that it names.
//
// Connections and TLS sessions are shared only between requests whose Targets are equal in
// everything but HostHeader and the timeouts.
type Target struct {
	// Addresses are dialled in order until one of them answers: "host", "host:port" or
	// "[IPv6]:port", 16 at most. An address without a port takes the URL's, else the scheme's.
	// Empty means the requested host itself.
	Addresses []string

	// Scheme is "https" or "http". Empty means the URL's.
	Scheme string

	// ServerName is sent as SNI and has to be proved by the certificate.
	// Empty means the requested host.
	ServerName string

	// HostHeader is sent as Host, a name in Unicode as A-labels. Empty means the request's, which then has to mean the URL's
	// host: see [ErrHostMismatch].
	HostHeader string

	// Roots are the certificate authorities to trust, and only those. The zero Roots mean the
	// Transport's.
	Roots Roots

	// SPKIPins are SHA-256 hashes of public keys (RFC 7469 section 2.4). One of them has to be
	// that of a certificate in the verified chain, be it the server's own or an authority's.
	// Pins come on top of verification and replace nothing of it. Nil means no pins; empty, but
	// not nil, is an error, since something has lost them.
	SPKIPins [][32]byte

	// ClientCert refers to the certificate to show when the origin asks for one, by the name
	// that Transport.ClientCertificates knows it under. Empty means none.
	ClientCert string

	// MinVersion is the lowest TLS version accepted, as in crypto/tls.
	// Zero means TLS 1.2; lower versions are refused.
	MinVersion uint16

	// ALPN lists the protocols to offer, the preferred first: "h2" and "http/1.1". Empty means
	// "http/1.1" alone. An origin that agrees to none is spoken to in HTTP/1.1 if that
	// is in the list, else refused. Requests for an upgrade need "http/1.1" alone.
	ALPN []string

	// MaxConns bounds the connections to the origin, in use and idle ones together. A request beyond
	// it waits for its turn, and fails with [ErrConnLimit] after the Transport's DialTimeout. Zero
	// means Transport.MaxConnsPerTarget; negative means no bound. Requests to one host under Targets
	// that differ in this alone share connections; the bound of each request is its own.
	MaxConns int

	// ConnectTimeout and HandshakeTimeout are for this Target what the Transport's are for all. Zero
	// means the Transport's; negative means no bound of its own. They count for requests that dial.
	// One that waits for another's dialling, under a Target that differs in these, has its time and
	// its failure, within its own context.
	//
	// Where one of them is longer than the Transport's, each address may take the time of both, and
	// DialTimeout is at least as long as that takes for all.
	ConnectTimeout   time.Duration
	HandshakeTimeout time.Duration
}

// A Translator finds the Target of a host. Translate is called for each request, by
// many goroutines at once, with a host in lower case, in A-labels (xn--...), without port and trailing dot (an
// IP address as it is written in the URL, without brackets). Its error fails the request.
//
// A host has one Target at a time. Where the next request gets another one, the idle
// connections of the first are closed; a Translator that alternates prevents all reuse.
type Translator interface {
	Translate(ctx context.Context, host string) (Target, error)
}

// Func is a function as a Translator.
type Func func(ctx context.Context, host string) (Target, error)

// Translate calls f.
func (f Func) Translate(ctx context.Context, host string) (Target, error) { return f(ctx, host) }

// Static translates by a plain map from host to address. The hosts are written in lower
// case and in A-labels. A host that is not in it is not translated. The map must not change while in use.
type Static map[string]string

// Translate looks host up.
func (s Static) Translate(_ context.Context, host string) (Target, error) {
	if address, ok := s[host]; ok {
		return Target{Addresses: []string{address}}, nil
	}
	return Target{}, nil
}

var (
	_ Translator = Func(nil)
	_ Translator = Static(nil)
)

// Roots are certificate authorities in PEM. The zero Roots are none of their own; those of
// PEM("") are an empty bundle, with which requests fail: a file that was lost or truncated
// must not turn into trust in everyone.
type Roots struct {
	pem string
	own bool
}

// PEM returns the Roots in a bundle. That it is not empty and can be read is found out
// with the first request, which then fails.
func PEM(bundle string) Roots { return Roots{bundle, true} }

// A TargetError says why a Target cannot be used. Nothing was dialled.
type TargetError struct {
	Field  string // the field of Target
	Reason string
	Err    error // the cause, where there is one
}

func (e *TargetError) Error() string { return fmt.Sprintf("target: %s %s", e.Field, e.Reason) }

// Unwrap returns e.Err.
func (e *TargetError) Unwrap() error { return e.Err }

// ErrPlainHTTP is the cause of the error for a request without TLS under
// [Transport.ForceHTTPS].
var ErrPlainHTTP = errors.New("plain http is refused, since https is forced")

// ErrHostMismatch is the cause of the error for a request whose Host header means another
// host than its URL, without a HostHeader in its Target. The URL's host is looked up, named and
// verified; who changes one has to change both.
var ErrHostMismatch = errors.New("it has to be the URL's host, or the Target's HostHeader")

// serverName returns the name to send and verify for a request to host.
func (t *Target) serverName(host string) (string, error) {
	if t.ServerName == "" {
		if len(t.Addresses) > 0 && hostname.IsIP(host) {
			return "", &TargetError{Field: "ServerName", Reason: "is needed, since an IP address cannot be a server name"}
		}
		return host, nil
	}
	name, err := hostname.Normalize(t.ServerName)
	switch {
	case err != nil:
		return "", &TargetError{"ServerName", err.Error(), err}
	case strings.Contains(t.ServerName, ":"):
		return "", &TargetError{Field: "ServerName", Reason: fmt.Sprintf("%q has a port", t.ServerName)}
	}
	return name, nil
}

// needsTLS returns the first field, if any, that promises what only TLS can keep.
func (t *Target) needsTLS() string {
	switch {
	case t.Roots.own:
		return "Roots"
	case t.SPKIPins != nil:
		return "SPKIPins"
	case t.ClientCert != "":
		return "ClientCert"
	case t.MinVersion != 0:
		return "MinVersion"
	}
	return ""
}

// maxAddresses bounds what one request may dial: a list of thousands would be a scan of them.
const maxAddresses = 16

// addresses returns what to dial for a request to host, each as host and port.
func (t *Target) addresses(host, port string) ([]*address, error) {
	if len(t.Addresses) == 0 {
		return []*address{{host: host, port: port}}, nil
	}
	if len(t.Addresses) > maxAddresses {
		return nil, &TargetError{Field: "Addresses", Reason: fmt.Sprintf("are %d, which is more than %d", len(t.Addresses), maxAddresses)}
	}
	all := make([]*address, 0, len(t.Addresses))
	for _, a := range t.Addresses {
		h, p, err := hostname.SplitAddress(a)
		if err != nil {
			return nil, &TargetError{"Addresses", err.Error(), err}
		}
		if p == "" {
			p = port
		}
		all = append(all, &address{host: h, port: p})
	}
	return all, nil
}

func (t *Target) alpn() ([]string, error) {
	if len(t.ALPN) == 0 {
		return []string{"http/1.1"}, nil
	}
	for _, p := range t.ALPN {
		if p != "h2" && p != "http/1.1" {
			return nil, &TargetError{Field: "ALPN", Reason: fmt.Sprintf("has %.40q; h2 and http/1.1 are known", p)}
		}
	}
	return slices.Clone(t.ALPN), nil
}

func (t *Target) minVersion() (uint16, error) {
	switch t.MinVersion {
	case 0:
		return tls.VersionTLS12, nil
	case tls.VersionTLS12, tls.VersionTLS13:
		return t.MinVersion, nil
	}
	return 0, &TargetError{Field: "MinVersion", Reason: fmt.Sprintf("0x%04x is neither TLS 1.2 nor TLS 1.3", t.MinVersion)}
}
