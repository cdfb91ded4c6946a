package sni

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

// A Target says where requests for a host go and what their TLS has to prove.
// The zero Target is no translation: the request goes to the host that it names.
type Target struct {
	// Addresses are dialled in order until one of them answers: "host", "host:port" or
	// "[IPv6]:port". An address without a port takes the URL's, else the scheme's.
	// Empty means the requested host itself.
	Addresses []string

	// Scheme is "https" or "http". Empty means the URL's.
	Scheme string

	// ServerName is sent as SNI and has to be proved by the certificate.
	// Empty means the requested host.
	ServerName string

	// RootsPEM holds the certificate authorities to trust, and only those, in PEM.
	// Empty means the Transport's. Where no certificate can be read from it, requests fail;
	// other roots never take its place.
	RootsPEM string

	// MinVersion is the lowest TLS version accepted, as in crypto/tls.
	// Zero means TLS 1.2; lower versions are refused.
	MinVersion uint16
}

// A Translator finds the Target of a host. Translate is called for each request, by
// many goroutines at once, with a host in lower case, without port and trailing dot (an
// IP address as it is written in the URL, without brackets). Its error fails the request.
type Translator interface {
	Translate(ctx context.Context, host string) (Target, error)
}

// Func is a function as a Translator.
type Func func(ctx context.Context, host string) (Target, error)

// Translate calls f.
func (f Func) Translate(ctx context.Context, host string) (Target, error) { return f(ctx, host) }

// Static translates by a plain map from host to address. The hosts are written in lower
// case. A host that is not in it is not translated. The map must not change while in use.
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

// A TargetError says why a Target cannot be used. Nothing was dialled.
type TargetError struct {
	Field  string // the field of Target
	Reason string
}

func (e *TargetError) Error() string { return fmt.Sprintf("target: %s %s", e.Field, e.Reason) }

// ErrPlainHTTP is the cause of the error for a request without TLS under
// [Transport.ForceHTTPS].
var ErrPlainHTTP = errors.New("plain http is refused, since https is forced")

// key is a Target for one host in comparable form. Connections are shared under equal
// keys only; scheme and port are kept apart by the http.Transport below.
type key struct {
	serverName string
	addresses  int    // their number
	first      string // most targets have one, which then costs no allocation
	rest       string
	roots      string
	minVersion uint16
}

func (t *Target) key(serverName string) key {
	k := key{serverName: serverName, addresses: len(t.Addresses), roots: t.RootsPEM, minVersion: t.MinVersion}
	if len(t.Addresses) > 0 {
		k.first = t.Addresses[0]
		for _, a := range t.Addresses[1:] {
			// With its length before it, no address can pretend to be two.
			k.rest += strconv.Itoa(len(a)) + ":" + a
		}
	}
	return k
}

// serverName returns the name to send and verify for a request to host.
func (t *Target) serverName(host string) (string, error) {
	if t.ServerName == "" {
		if len(t.Addresses) > 0 && hostname.IsIP(host) {
			return "", &TargetError{"ServerName", "is needed, since an IP address cannot be a server name"}
		}
		return host, nil
	}
	name, err := hostname.Normalize(t.ServerName)
	switch {
	case err != nil:
		return "", &TargetError{"ServerName", err.Error()}
	case strings.Contains(t.ServerName, ":"):
		return "", &TargetError{"ServerName", fmt.Sprintf("%q has a port", t.ServerName)}
	}
	return name, nil
}

// addresses returns what to dial, each as host and port; an empty port is the URL's.
func (t *Target) addresses() ([]hostPort, error) {
	all := make([]hostPort, 0, len(t.Addresses))
	for _, a := range t.Addresses {
		host, port, err := hostname.SplitAddress(a)
		if err != nil {
			return nil, &TargetError{"Addresses", err.Error()}
		}
		all = append(all, hostPort{host, port})
	}
	return all, nil
}

func (t *Target) tlsConfig(serverName string, roots *x509.CertPool) (*tls.Config, error) {
	config := &tls.Config{
		ServerName: serverName,
		RootCAs:    roots,
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
	}
	switch {
	case t.MinVersion == 0:
	case t.MinVersion == tls.VersionTLS12, t.MinVersion == tls.VersionTLS13:
		config.MinVersion = t.MinVersion
	default:
		return nil, &TargetError{"MinVersion", fmt.Sprintf("0x%04x is neither TLS 1.2 nor TLS 1.3", t.MinVersion)}
	}
	if t.RootsPEM != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(t.RootsPEM)) {
			return nil, &TargetError{"RootsPEM", "holds no certificate"}
		}
	}
	return config, nil
}

type hostPort struct{ host, port string }
