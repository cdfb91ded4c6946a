package origin

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
)

func TestHostAndOriginAreACompleteRoute(t *testing.T) {
	got, err := decode(Item{"host": "one.spec-trust.com", "origin": "one.lb.aws.amazon.com"})
	want := &Route{Host: "one.spec-trust.com", Scheme: "https", Addresses: []string{"one.lb.aws.amazon.com"}, TLSMin: tls.VersionTLS12}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestEveryAttributeIsDecoded(t *testing.T) {
	ca := tlstest.NewAuthority(t).PEM()
	pins := []string{"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}
	got, err := decode(Item{
		"spki_pins": StringSet(pins), "client_cert": "customer-a",
		"host": "*.spec-trust.com", "origin": []any{"https://LB1.example.com:8443", "lb2.example.com", "[2001:db8::1]:443", "10.0.0.1"},
		"server_name": "Origin.example.com", "host_header": "Origin.example.com:8443", "ca_pem": ca + "\n" + ca, "tls_min": "1.3",
		"protocols": []any{"h2", "http/1.1"}, "max_connections": json.Number("20"),
		"rewrite": false, "connect_timeout": "500ms", "handshake_timeout": "5s", "response_timeout": "1m30s", "idle_timeout": "1h", "request_timeout": "24h",
		"enabled": false, "expires_at": json.Number("4102444800"), "version": json.Number("7"), "updated_at": "2026-11-23T00:00:00Z", "note": "",
	})
	want := &Route{
		Host: "*.spec-trust.com", Scheme: "https",
		Addresses:  []string{"lb1.example.com:8443", "lb2.example.com", "[2001:db8::1]:443", "10.0.0.1"},
		ServerName: "origin.example.com", HostHeader: "Origin.example.com:8443", CAPEM: ca + "\n" + ca, TLSMin: tls.VersionTLS13,
		Disabled: true, ExpiresAt: time.Unix(4102444800, 0), Version: 7, UpdatedAt: "2026-11-23T00:00:00Z",
		SPKIPins: [][32]byte{sha256.Sum256(nil), {}}, ClientCert: "customer-a",
		Protocols: []string{"h2", "http/1.1"}, MaxConnections: 20,
		Rewrite:  new(bool),
		Timeouts: Timeouts{Connect: 500 * time.Millisecond, Handshake: 5 * time.Second, Response: 90 * time.Second, Idle: time.Hour, Request: 24 * time.Hour},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestParseOrigin(t *testing.T) {
	for in, want := range map[string]string{
		"lb.example.com": "https lb.example.com", "LB.example.com.": "https lb.example.com", "lb.example.com:8443": "https lb.example.com:8443",
		"https://lb.example.com": "https lb.example.com", "HTTPS://lb.example.com:1": "https lb.example.com:1", "http://lb.example.com": "http lb.example.com",
		"192.0.2.1": "https 192.0.2.1", "192.0.2.1:65535": "https 192.0.2.1:65535", "[2001:db8::1]": "https [2001:db8::1]",
		"2001:db8::1": "", "[2001:db8::1]:x": "", "": "", "https://": "", "ftp://lb.example.com": "", "lb.example.com/": "", "https://lb.example.com/path": "",
		"user@lb.example.com": "", "lb.example.com?x": "", "lb.example.com:0": "", "lb.example.com:65536": "", "lb.example.com:": "", "*.example.com": "", "a b": "",
	} {
		scheme, address, err := parseOrigin(in)
		got := ""
		if err == nil {
			got = scheme + " " + address
		}
		if got != want {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestLargestValuesAreNoneTooMany(t *testing.T) {
	for name, value := range map[string]any{
		"origin": slices.Repeat([]any{"lb.test"}, 16), "request_timeout": "24h", "expires_at": json.Number("99999999999"),
		"max_connections": json.Number("65535"),
	} {
		route := Item{"host": "a.test", "origin": "lb.test"}
		route[name] = value
		if _, err := decode(route); err != nil {
			t.Errorf("%s %v: %v", name, value, err)
		}
	}
}

func TestInvalidAttributesAreNamed(t *testing.T) {
	for _, c := range []struct {
		attribute string
		value     any
		says      string
	}{
		{"origin", slices.Repeat([]any{"lb.test"}, 17), "more than 16"},
		{"host", nil, "is null and has to be a string"},
		{"host", "", "is empty"},
		{"host", "One.spec-trust.com", `has to be written as "one.spec-trust.com"`},
		{"host", "one.spec-trust.com.", "has to be written as"},
		{"host", "*.com", "at least two labels"},
		{"host", "one.spec-trust.com:443", "port"},
		{"host", "127.0.0.1", "IP address"},
		{"origin", json.Number("5"), "is a number and has to be a string"},
		{"origin", StringSet{"lb"}, "no order"},
		{"origin", []any{}, "empty list"},
		{"origin", []any{"lb.example.com", true}, "has to be a string"},
		{"origin", []any{"lb.example.com", "http://lb.example.com"}, "mixes"},
		{"origin", "lb.example.com/path", "without path"},
		{"server_name", "127.0.0.1", "IP address"},
		{"server_name", "a.test:443", "without port"},
		{"server_name", "*.a.test", "without port or wildcard"},
		{"server_name", "", "is empty"},
		{"host_header", "a.test\r\nX: y", "port is not a number"},
		{"host_header", "a.test\r\n", "character"},
		{"host_header", json.Number("1"), "is a number"},
		{"ca_pem", "garbage", "not a list of certificates"},
		{"ca_pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"},
		{"ca_pem", "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "only certificates"},
		{"ca_pem", tlstest.NewAuthority(t).PEM() + "-----BEGIN CERTIFICATE-----\nMII", "not a list of certificates"}, // half of it would be trusted
		{"ca_pem", "", "is empty"},
		{"spki_pins", StringSet{"AAAA"}, "SHA-256"},
		{"spki_pins", "x", "has to be a set of strings"},
		{"spki_pins", []any{}, "is empty"},
		{"client_cert", "-----BEGIN PRIVATE KEY-----", "private key"},
		{"tls_min", "1.1", `has to be "1.2" or "1.3"`},
		{"tls_min", json.Number("1.2"), "is a number and has to be a string"},
		{"protocols", "h2", `is a string; write a list such as ["h2", "http/1.1"]`},
		{"protocols", StringSet{"h2", "http/1.1"}, `no order; write a list such as ["h2", "http/1.1"]`},
		{"protocols", []any{}, `leave it out for the default, ["http/1.1"]`},
		{"protocols", nil, `is null and has to be a list; write a list such as`},
		{"protocols", json.Number("2"), "is a number and has to be a list; write"},
		{"protocols", []any{"h2", json.Number("1.1")}, "has an element that is a number and has to be a string; write"},
		{"protocols", []any{"h2", "http/1.1", "h2"}, `has "h2" twice`},
		{"protocols", []any{"http2"}, `has "http2", which is not known; write "http/1.1" for HTTP/1.1 and "h2" for HTTP/2`},
		{"protocols", []any{"HTTP/1.1"}, `has "HTTP/1.1", which is not known`}, // ALPN compares byte by byte
		{"protocols", []any{"h2c"}, "is not known"},
		{"protocols", []any{""}, "is not known"},
		{"max_connections", json.Number("0"), "has to be from 1 to 65535; leave it out"},
		{"max_connections", json.Number("-1"), "has to be from 1"},
		{"max_connections", json.Number("65536"), "has to be from 1 to 65535"},
		{"max_connections", json.Number("2.5"), "whole number"},
		{"max_connections", "20", "is a string and has to be a number"},
		{"rewrite", "false", "is a string and has to be true or false"},
		{"connect_timeout", json.Number("5"), "is a number and has to be a string"},
		{"handshake_timeout", "5", `is "5" and has to be a duration such as 5s`},
		{"response_timeout", "0s", "more than 0"},
		{"idle_timeout", "-1s", "more than 0"},
		{"request_timeout", "24h0m0.000000001s", "more than 24h0m0s"},
		{"request_timeout", "", "is empty"},
		{"enabled", "false", "is a string and has to be true or false"},
		{"expires_at", "2026-01-01", "is a string and has to be a number"},
		{"expires_at", json.Number("1.5"), "whole number"},
		{"expires_at", json.Number("1763900000000"), "milliseconds"},
		{"expires_at", json.Number("0"), "seconds since 1970"},
		{"version", json.Number("-1"), "negative"},
		{"updated_at", true, "has to be a string"},
		{"note", struct{}{}, "another type"},
		{"orgin", "x", "is not known"},
		{"spki_pin", StringSet{base64.StdEncoding.EncodeToString(make([]byte, 32))}, "is not known"},
	} {
		attrs := Item{"host": "one.spec-trust.com", "origin": "lb.example.com"}
		attrs[c.attribute] = c.value
		_, err := decode(attrs)
		var invalid *InvalidRouteError
		if !errors.As(err, &invalid) || invalid.Attribute != c.attribute || !strings.Contains(invalid.Reason, c.says) {
			t.Errorf("%s = %#v: error %v, want one about it that says %q", c.attribute, c.value, err, c.says)
		}
	}
	for attribute, value := range map[string]any{
		"server_name": "b.test", "ca_pem": tlstest.NewAuthority(t).PEM(), "tls_min": "1.3", "client_cert": "shop", "protocols": []any{"http/1.1"},
		"spki_pins": StringSet{base64.StdEncoding.EncodeToString(make([]byte, 32))}, "handshake_timeout": "5s",
	} {
		var invalid *InvalidRouteError
		if _, err := decode(Item{"host": "a.test", "origin": "http://lb.test", attribute: value}); !errors.As(err, &invalid) || invalid.Attribute != attribute {
			t.Errorf("%s over plain http: %v", attribute, err)
		}
	}
	for _, missing := range []string{"host", "origin"} {
		attrs := Item{"host": "one.spec-trust.com", "origin": "lb.example.com"}
		delete(attrs, missing)
		var invalid *InvalidRouteError
		if _, err := decode(attrs); !errors.As(err, &invalid) || invalid.Attribute != missing {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

// A private key in an attribute that is for a name must not get into a log.
func TestPrivateKeyIsNotRepeatedInTheError(t *testing.T) {
	key := "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"
	for _, attribute := range []string{"client_cert", "ca_pem"} {
		_, err := decode(Item{"host": "a.test", "origin": "lb.test", attribute: key})
		if err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%s: %v", attribute, err)
		}
	}
}

func FuzzRoutesFile(f *testing.F) {
	f.Add(`{"routes":[{"host":"one.spec-trust.com","origin":"one.lb.aws.amazon.com"}]}`)
	f.Add(`{"routes":[{"host":"*.a.test","origin":["https://b.test:1","[::1]:2"],"tls_min":"1.3","enabled":false,"expires_at":9,"version":1}]}`)
	f.Add(`{"routes":[{"host":"a.test","origin":"http://b.test","server_name":"c.test","host_header":"d.test:1","note":"x"}]}`)
	f.Add(`{"routes":[{"host":"a.test","origin":"b.test","rewrite":true,"connect_timeout":"5s","handshake_timeout":"1h","response_timeout":"0","idle_timeout":"1ns","request_timeout":"25h"}]}`)
	f.Add(`{"routes":[{"host":"a.test","origin":"b.test","protocols":["h2","http/1.1"],"max_connections":1},{"host":"c.test","origin":"b.test","protocols":["h2","h2"],"max_connections":1e9}]}`)
	f.Add(`{"routes":[{"host":"a.test"},{"host":"a.test","origin":5},{"host":null}]}`)
	f.Add(`{"routes":null}`)
	f.Fuzz(func(t *testing.T, document string) {
		file, err := ReadRoutes(strings.NewReader(document))
		if err != nil {
			return
		}
		for host, r := range file.stored {
			if (r.Route == nil) == (r.Err == nil) {
				t.Fatalf("%q: route %v, error %v", host, r.Route, r.Err)
			}
			if r.Route != nil {
				checkRoute(t, host, r.Route)
			}
		}
	})
}

// checkRoute checks what callers rely on in a decoded route.
func checkRoute(t *testing.T, host string, r *Route) {
	t.Helper()
	if r.Host != host || len(r.Addresses) == 0 || r.Scheme != "https" && r.Scheme != "http" || r.TLSMin < tls.VersionTLS12 ||
		strings.ContainsAny(r.ServerName, ":* ") || strings.ContainsAny(r.HostHeader, " \r\n\x00") || len(r.SPKIPins) > 0 || r.ClientCert != "" {
		t.Fatalf("%q: %+v", host, r)
	}
	for i, p := range r.Protocols {
		if p != "h2" && p != "http/1.1" || slices.Contains(r.Protocols[:i], p) || r.Scheme != "https" {
			t.Fatalf("%q: %+v", host, r)
		}
	}
	if r.MaxConnections < 0 || r.MaxConnections > 65535 {
		t.Fatalf("%q: %+v", host, r)
	}
	for _, d := range []time.Duration{r.Timeouts.Connect, r.Timeouts.Handshake, r.Timeouts.Response, r.Timeouts.Idle, r.Timeouts.Request} {
		if d < 0 || d > 24*time.Hour {
			t.Fatalf("%q: %+v", host, r.Timeouts)
		}
	}
	for _, a := range r.Addresses {
		if scheme, again, err := parseOrigin(a); err != nil || scheme != "https" || again != a {
			t.Fatalf("address %q: %q, %v", a, again, err)
		}
	}
}
