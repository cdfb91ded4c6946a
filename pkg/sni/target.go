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

// A Target says where requests for a host go and what their TLS has to prove. With the zero Target, a request goes to the host
// that it names.
//
// Requests share connections and TLS sessions only if their Targets are equal. HostHeader, MaxConns and the timeouts may
// differ.
type Target struct {
	// Addresses are dialled in order until one of them answers: "host", "host:port" or
	// "[IPv6]:port", 16 at most. An address without a port gets the URL's port, or else the scheme's.
	// Empty means the requested host itself.
	Addresses []string

	// Scheme is "https" or "http". Empty means the URL's.
	Scheme string

	// ServerName is sent as SNI, and the certificate has to be valid for it. Empty means the requested host.
	ServerName string

	// HostHeader is sent as Host. A name in Unicode is sent as A-labels. Empty means the Host of the request, which then has to
	// be the URL's host: see [ErrHostMismatch].
	HostHeader string

	// Roots are the certificate authorities to trust, and only those, in place of Transport.RootCAs. The zero Roots mean
	// Transport.RootCAs.
	Roots Roots

	// SPKIPins are SHA-256 hashes of public keys (RFC 7469 section 2.4). A certificate in the verified chain, the server's own
	// or an authority's, has to have one of these keys. Pins are checked in addition to verification. Nil means no pins. A
	// list that is empty but not nil is an error: something has lost the pins.
	SPKIPins [][32]byte

	// ClientCert is the name, in Transport.ClientCertificates, of the certificate to send if the origin asks for one. Empty
	// means that none is sent.
	ClientCert string

	// MinVersion is the lowest TLS version that is accepted, as in crypto/tls. Zero means TLS 1.2; lower versions are refused.
	MinVersion uint16

	// ALPN lists the protocols to offer, the preferred first: "h2" and "http/1.1". Empty means
	// "http/1.1" alone. If the origin chooses none, HTTP/1.1 is used if it is in the list; if it is not, the request fails.
	// Requests for an upgrade need "http/1.1" alone.
	ALPN []string

	// MaxConns bounds the connections to the origin, in use and idle ones together. A request beyond
	// it waits for its turn, and fails with [ErrConnLimit] after Transport.DialTimeout. Zero
	// means Transport.MaxConnsPerTarget; negative means no bound. Requests whose Targets differ in this alone
	// share connections; the bound of the newest request holds.
	MaxConns int

	// ConnectTimeout and HandshakeTimeout replace the Transport's for this Target. Zero means the Transport's; negative means no
	// bound of its own. They hold for requests that dial. A request that waits for another's dial uses that dial's timeouts and
	// error, within its own context.
	//
	// If one of them is longer than the Transport's, each address may take the time of both, and DialTimeout is extended to the
	// sum for all addresses.
	ConnectTimeout   time.Duration
	HandshakeTimeout time.Duration
}

// A Translator finds the Target of a host. Translate is called for each request, by many goroutines at once. host is in lower
// case, in A-labels (xn--...), without port and trailing dot; an IP address is as in the URL, without brackets. If Translate
// returns an error, the request fails.
//
// A host has one Target at a time. If the next request gets another Target, the idle connections of the first are closed. A
// Translator that alternates prevents all reuse.
type Translator interface {
	Translate(ctx context.Context, host string) (Target, error)
}

// TranslatorFunc is a function as a Translator.
type TranslatorFunc func(ctx context.Context, host string) (Target, error)

// Translate calls f.
func (f TranslatorFunc) Translate(ctx context.Context, host string) (Target, error) {
	return f(ctx, host)
}

// Static translates by a map from host to address. Hosts are in lower case and in A-labels. A host that is not in the map is not
// translated. The map must not change while it is in use.
type Static map[string]string

// Translate looks host up.
func (s Static) Translate(_ context.Context, host string) (Target, error) {
	if address, ok := s[host]; ok {
		return Target{Addresses: []string{address}}, nil
	}
	return Target{}, nil
}

var (
	_ Translator = TranslatorFunc(nil)
	_ Translator = Static(nil)
)

// Roots are certificate authorities in PEM. The zero Roots stand for Transport.RootCAs. RootsFromPEM("") is an empty bundle, and
// requests with it fail: a file that was lost or truncated must not turn into trust in every authority.
type Roots struct {
	pem string
	own bool
}

// RootsFromPEM returns the Roots in a bundle. If the bundle is empty or cannot be read, requests fail.
func RootsFromPEM(bundle string) Roots { return Roots{bundle, true} }

// A TargetError says why a Target cannot be used. Nothing was dialled.
type TargetError struct {
	Field  string // the field of Target
	Reason string
	Err    error // the cause; may be nil
}

func (e *TargetError) Error() string { return fmt.Sprintf("target: %s %s", e.Field, e.Reason) }

// Unwrap returns e.Err.
func (e *TargetError) Unwrap() error { return e.Err }

// ErrPlainHTTP is the cause of the error for a request without TLS if [Transport.ForceHTTPS] is set.
var ErrPlainHTTP = errors.New("plain http is refused, since https is forced")

// ErrHostMismatch is the cause of the error for a request whose Host header names another host than its URL, if its Target has
// no HostHeader. The URL's host is looked up, named and verified: code that changes one has to change both.
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

// needsTLS returns the first field that has a meaning only with TLS, and "" if there is no such field.
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

// maxAddresses bounds how many addresses one request may dial: a list of thousands would be a port scan.
const maxAddresses = 16

// addresses returns the addresses to dial for a request to host.
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
