package origin

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

// decode reads a route. Its error is an *InvalidRouteError.
func decode(attrs Item) (*Route, error) {
	r := &Route{Scheme: "https", TLSMin: tls.VersionTLS12}
	host, _ := attrs["host"].(string)
	fail := func(attribute, reason string) (*Route, error) {
		return nil, &InvalidRouteError{host, attribute, reason}
	}
	for _, required := range []string{"host", "origin"} {
		if _, ok := attrs[required]; !ok {
			return fail(required, "is missing")
		}
	}
	// In order, so that the same fault is reported every time.
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		row, ok := attributeOf(name)
		if !ok {
			return fail(name, "is not known; correct its spelling or remove it (comments go into \"note\")")
		}
		if err := row.decode(r, attrs[name]); err != nil {
			return fail(name, err.Error())
		}
	}
	if r.Scheme == "http" {
		for _, row := range attributes {
			if _, ok := attrs[row.Name]; ok && row.TLS {
				return fail(row.Name, "has no effect, because the origin is http://; remove it, or make the origin https://")
			}
		}
	}
	return r, nil
}

// The decoders check the type and the value of each attribute.

func decodeHost(r *Route, v any) error {
	s, err := str(v)
	if err != nil {
		return err
	}
	if r.Host, err = hostname.NormalizePattern(s); err != nil {
		return fmt.Errorf("is not a host: %w", err)
	}
	if r.Host != s {
		return fmt.Errorf("is %q and has to be written as %q", s, r.Host) // keys are compared byte by byte
	}
	return nil
}

func decodeOrigin(r *Route, v any) error {
	all := []any{v}
	switch list := v.(type) {
	case []any:
		all = list
	case StringSet:
		return fmt.Errorf("is a set, which has no order; make it a list (L)")
	}
	if len(all) == 0 {
		return fmt.Errorf("is an empty list")
	}
	if len(all) > maxOrigins {
		return fmt.Errorf("lists %d, which is more than %d", len(all), maxOrigins)
	}
	for i, v := range all {
		s, err := str(v)
		if err != nil {
			return err
		}
		scheme, address, err := parseOrigin(s)
		if err != nil {
			return err
		}
		if i > 0 && scheme != r.Scheme {
			return fmt.Errorf("mixes https and http")
		}
		r.Scheme = scheme
		r.Addresses = append(r.Addresses, address)
	}
	return nil
}

func decodeServerName(r *Route, v any) error {
	s, err := str(v)
	if err != nil {
		return err
	}
	if strings.ContainsAny(s, ":*") {
		return fmt.Errorf("%q has to be a hostname without port or wildcard", s)
	}
	r.ServerName, err = hostname.Normalize(s)
	return err
}

func decodeHostHeader(r *Route, v any) error {
	s, err := str(v)
	if err != nil {
		return err
	}
	if _, err = hostname.Normalize(s); err != nil {
		return err
	}
	r.HostHeader = hostname.ASCII(s)
	return nil
}

func decodeCAPEM(r *Route, v any) (err error) {
	if r.CAPEM, err = str(v); err != nil {
		return err
	}
	return checkPEM(r.CAPEM)
}

func decodeSPKIPins(r *Route, v any) error {
	pins, err := strs(v)
	if err != nil {
		return err
	}
	for _, s := range pins {
		pin, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(pin) != 32 {
			return fmt.Errorf("has %q, which is not the base64 of a SHA-256 hash", s)
		}
		r.SPKIPins = append(r.SPKIPins, [32]byte(pin))
	}
	if len(pins) == 0 {
		return fmt.Errorf("is empty")
	}
	return nil
}

func decodeClientCert(r *Route, v any) (err error) {
	if r.ClientCert, err = str(v); err == nil && strings.Contains(r.ClientCert, "PRIVATE KEY") {
		return fmt.Errorf("holds a private key; it has to be the name of a certificate") // the error must not repeat it
	}
	return err
}

func decodeTLSMin(r *Route, v any) error {
	s, err := str(v)
	if err != nil {
		return err
	}
	switch s {
	case "1.2":
		r.TLSMin = tls.VersionTLS12
	case "1.3":
		r.TLSMin = tls.VersionTLS13
	default:
		return fmt.Errorf("is %q and has to be \"1.2\" or \"1.3\"", s)
	}
	return nil
}

func decodeProtocols(r *Route, v any) (err error) { r.Protocols, err = protocols(v); return err }

func decodeMaxConnections(r *Route, v any) error {
	n, err := integer(v)
	if err != nil {
		return err
	}
	if n < 1 || n > maxMaxConnections {
		return fmt.Errorf("is %d and has to be from 1 to %d; leave it out if the route has no limit of its own", n, maxMaxConnections)
	}
	r.MaxConnections = int(n)
	return nil
}

func decodeRewrite(r *Route, v any) error {
	rewrite, err := boolean(v)
	r.Rewrite = &rewrite
	return err
}

func decodeConnectTimeout(r *Route, v any) (err error) {
	r.Timeouts.Connect, err = timeout(v)
	return err
}

func decodeHandshakeTimeout(r *Route, v any) (err error) {
	r.Timeouts.Handshake, err = timeout(v)
	return err
}

func decodeResponseTimeout(r *Route, v any) (err error) {
	r.Timeouts.Response, err = timeout(v)
	return err
}

func decodeIdleTimeout(r *Route, v any) (err error) { r.Timeouts.Idle, err = timeout(v); return err }

func decodeRequestTimeout(r *Route, v any) (err error) {
	r.Timeouts.Request, err = timeout(v)
	return err
}

func decodeEnabled(r *Route, v any) error {
	enabled, err := boolean(v)
	r.Disabled = !enabled
	return err
}

func decodeExpiresAt(r *Route, v any) error {
	n, err := integer(v)
	if err != nil {
		return err
	}
	// DynamoDB's time to live ignores such values, so that it would never delete the item.
	if n <= 0 || n > maxEpoch {
		return fmt.Errorf("is %d and has to be in seconds since 1970 (not milliseconds)", n)
	}
	r.ExpiresAt = time.Unix(n, 0)
	return nil
}

func decodeVersion(r *Route, v any) (err error) {
	if r.Version, err = integer(v); err == nil && r.Version < 0 {
		err = fmt.Errorf("is negative")
	}
	return err
}

func decodeUpdatedAt(r *Route, v any) (err error) { r.UpdatedAt, err = str(v); return err }

func decodeUpdatedBy(r *Route, v any) (err error) { r.UpdatedBy, err = str(v); return err }

func decodeNote(r *Route, v any) error {
	s, ok := v.(string)
	if !ok {
		return wrongType(v, "a string")
	}
	r.Note = s
	return nil
}

const maxOrigins = 16 // that one request may try

const maxMaxConnections = 65535 // one local address has no more ports for one address of the origin

const maxTimeout = 24 * time.Hour // a longer one has a mistaken unit

const maxEpoch = 99_999_999_999 // the year 5138 in seconds, 1973 in milliseconds

// parseOrigin reads "host", "host:port" and "https://host:port".
func parseOrigin(s string) (scheme, address string, err error) {
	scheme, rest := "https", s
	if i := strings.Index(s, "://"); i >= 0 {
		scheme, rest = strings.ToLower(s[:i]), s[i+len("://"):]
	}
	if scheme != "https" && scheme != "http" {
		return "", "", fmt.Errorf("%q has the scheme %q; https and http are known", s, scheme)
	}
	if strings.ContainsAny(rest, "/?#@") {
		return "", "", fmt.Errorf("%q has to be host, host:port or https://host:port, without path and user", s)
	}
	host, port, err := hostname.SplitAddress(rest)
	if err != nil {
		return "", "", err
	}
	return scheme, hostname.JoinAddress(host, port), nil
}

func checkPEM(s string) error {
	rest, n := []byte(s), 0
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("holds a block of type %q; only certificates belong there", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("holds a certificate that cannot be read (number %d): %w", n+1, err)
		}
		n++
	}
	if n == 0 || len(strings.TrimSpace(string(rest))) > 0 {
		return fmt.Errorf("is not a list of certificates in PEM")
	}
	return nil
}

func str(v any) (string, error) {
	s, ok := v.(string)
	switch {
	case !ok:
		return "", wrongType(v, "a string")
	case s == "":
		return "", fmt.Errorf("is empty; leave it out for the default")
	}
	return s, nil
}

func strs(v any) ([]string, error) {
	switch list := v.(type) {
	case StringSet:
		return slices.Clone(list), nil
	case []any: // as from JSON, which has no sets
		all := make([]string, 0, len(list))
		for _, v := range list {
			s, err := str(v)
			if err != nil {
				return nil, err
			}
			all = append(all, s)
		}
		return all, nil
	}
	return nil, wrongType(v, "a set of strings")
}

// protocols reads names of ALPN (RFC 7301 section 6), in order of preference.
func protocols(v any) ([]string, error) {
	const write = `write a list such as ["h2", "http/1.1"], the preferred first`
	switch v.(type) {
	case StringSet:
		return nil, errors.New("is a set, which has no order; " + write + " (in DynamoDB an L of S)")
	case string:
		return nil, errors.New("is a string; " + write)
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%w; %s", wrongType(v, "a list"), write)
	}
	if len(list) == 0 {
		return nil, errors.New(`is an empty list; leave it out for the default, ["http/1.1"]`)
	}
	names := make([]string, 0, len(list))
	for _, e := range list {
		name, ok := e.(string)
		switch {
		case !ok:
			return nil, fmt.Errorf("has an element that %w; %s", wrongType(e, "a string"), write)
		case name != "http/1.1" && name != "h2":
			return nil, fmt.Errorf(`has %.40q, which is not known; write "http/1.1" for HTTP/1.1 and "h2" for HTTP/2`, name)
		case slices.Contains(names, name):
			return nil, fmt.Errorf("has %q twice; write it once, at its place in the order of preference", name)
		}
		names = append(names, name)
	}
	return names, nil
}

func integer(v any) (int64, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, wrongType(v, "a number")
	}
	i, err := strconv.ParseInt(n.String(), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("is %.40q and has to be a whole number", n.String())
	}
	return i, nil
}

func timeout(v any) (time.Duration, error) {
	s, err := str(v)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("is %.40q and has to be a duration such as 5s or 1m30s", s)
	case d <= 0:
		return 0, fmt.Errorf("is %v and has to be more than 0; leave it out for the default", d)
	case d > maxTimeout:
		return 0, fmt.Errorf("is %v, which is more than %v", d, maxTimeout)
	}
	return d, nil
}

func boolean(v any) (bool, error) {
	b, ok := v.(bool)
	if !ok {
		return false, wrongType(v, "true or false")
	}
	return b, nil
}

func wrongType(v any, want string) error {
	is := "of another type"
	switch v.(type) {
	case string:
		is = "a string"
	case json.Number:
		is = "a number"
	case bool:
		is = "true or false"
	case []any:
		is = "a list"
	case StringSet:
		is = "a set of strings"
	case nil:
		is = "null"
	}
	return fmt.Errorf("is %s and has to be %s", is, want)
}
