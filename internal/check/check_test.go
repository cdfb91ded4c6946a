package check_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/check"
	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// A verdict is a case of the tables of advice: an origin, and the expected finding.
type verdict struct {
	code    string
	name    string // of the case, if a code has several
	level   check.Level
	origin  func(w *world) (port string)
	change  func(w *world, r *origin.Route)
	message string // is in the message
	advice  string // is in the advice
}

const (
	note = check.LevelNote
	warn = check.LevelWarn
	fail = check.LevelFail
)

// closedPort returns a port that nobody listens on.
func closedPort(w *world) string { return portOf(tlstest.Refusing(w.t)) }

var verdicts = []verdict{
	// Routes that are refused before anything is dialled.
	{code: "plain_http_refused", level: fail, origin: func(w *world) string { p := w.plain(nil); w.checker.ForceHTTPS = true; return p },
		change: http_, message: "the proxy refuses", advice: "FORCE_HTTPS=false"},
	{code: "plain_http_refused", name: "before DNS", level: fail, origin: func(w *world) string { w.checker.ForceHTTPS = true; return closedPort(w) },
		change: func(w *world, r *origin.Route) { http_(w, r); at("nowhere.test")(w, r) }, message: "the proxy refuses", advice: "FORCE_HTTPS=false"},
	{code: "client_cert_missing", level: fail, origin: func(w *world) string { return w.good(nil) }, change: func(w *world, r *origin.Route) { r.ClientCert = "shop" },
		message: `"shop" cannot be had`, advice: "shop.pem"},
	{code: "route_unusable", level: fail, origin: func(w *world) string { return w.good(nil) }, change: func(_ *world, r *origin.Route) { r.CAPEM = "nonsense" },
		message: "hold no certificate", advice: "correct the route"},
	{code: "prohibited_network", level: fail, origin: func(w *world) string { w.checker.AllowCIDRs = nil; return w.good(nil) },
		message: "127.0.0.1, in a network that the proxy does not dial (loopback)", advice: "--allow-cidr"},

	// The connection.
	{code: "connection_refused", level: fail, origin: closedPort, message: "connection refused: nothing listens on port ", advice: "correct the port"},
	{code: "handshake_timeout", level: fail, origin: func(w *world) string { return portOf(tlstest.Listen(w.t, func(c net.Conn) { io.Copy(io.Discard, c) })) },
		change: func(w *world, r *origin.Route) { r.Timeouts.Handshake = 50 * time.Millisecond }, message: "handshake does not end in time", advice: "MTU"},
	{code: "dns_not_found", level: fail, origin: closedPort, change: at("nowhere.test"), message: "nowhere.test: the name does not exist", advice: "correct the name in origin"},
	{code: "dns_failed", level: fail, origin: closedPort, change: func(w *world, r *origin.Route) {
		w.names["broken.test"] = []string{tlstest.ServFail}
		at("broken.test")(w, r)
	},
		message: "broken.test: ", advice: "DNSSEC"},
	{code: "dns_timeout", level: fail, origin: closedPort, change: func(w *world, r *origin.Route) {
		w.names["silent.test"] = []string{tlstest.Silent}
		w.checker.Timeout = 200 * time.Millisecond
		at("silent.test")(w, r)
	}, message: "DNS did not answer in time for silent.test", advice: "resolver"},

	// The certificate.
	{code: "wrong_name", level: fail, origin: func(w *world) string { return w.serve(w.leaf([]string{"x.test", "y.test"}), nil) },
		message: "origin presents a certificate for x.test, y.test, not for one.test", advice: "set server_name to x.test, if that name belongs to the customer too; or have the customer install a certificate for one.test"},
	{code: "wrong_name", name: "the load balancer's own", level: fail, origin: func(w *world) string { return w.serve(w.leaf([]string{"x.test", "lb.test"}), nil) }, change: at("lb.test"),
		message: "a certificate for x.test, lb.test", advice: "set server_name to lb.test; or have the customer"},
	{code: "wrong_name", name: "server_name", level: fail, origin: func(w *world) string { return w.good(nil) }, change: func(_ *world, r *origin.Route) { r.ServerName = "other.test" },
		message: "for one.test, not for other.test", advice: "correct server_name, which is other.test; if the route had none, the name would be one.test"},
	{code: "wrong_name", name: "none", level: fail, origin: func(w *world) string {
		return w.serve(w.leaf(nil, func(c *x509.Certificate) { c.Subject.CommonName = "one.test" }), nil)
	},
		message: "for no name", advice: "have the customer install a certificate for one.test"},
	{code: "wrong_name", name: "below an intermediate", level: fail, origin: func(w *world) string { return w.serve(leafOf(w.t, w.below(), nil, []string{"x.test"}), nil) },
		message: "a certificate for x.test", advice: "set server_name to x.test"},
	{code: "wrong_name", name: "below ca_pem", level: fail, origin: func(w *world) string { return w.serve(leafOf(w.t, w.stranger, nil, []string{"x.test"}), nil) },
		change: func(w *world, r *origin.Route) { r.CAPEM = w.stranger.PEM() }, message: "a certificate for x.test", advice: "set server_name to x.test"},
	{code: "certificate_expired", level: fail, origin: func(w *world) string {
		return w.serve(w.leaf(oneTest, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-99*time.Hour), time.Now().Add(-71*time.Hour)
		}), nil)
	}, message: "certificate expired on", advice: "have the customer install a renewed certificate for one.test"},
	{code: "certificate_expired", name: "intermediate", level: fail, origin: func(w *world) string {
		return w.serve(leafOf(w.t, w.below(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), nil, oneTest), nil)
	}, message: `of the authority "intermediate" in the chain expired`, advice: "install the chain"},
	{code: "certificate_not_yet_valid", level: fail, origin: func(w *world) string {
		return w.serve(w.leaf(oneTest, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), nil)
	}, message: "is not valid before", advice: "clock"},
	{code: "self_signed", level: fail, origin: func(w *world) string { return w.serve(selfSigned(w.t), nil) }, message: "self-signed", advice: "ca_pem"},
	{code: "private_authority", level: fail, origin: func(w *world) string { return w.serve(leafOf(w.t, w.stranger, nil, oneTest), nil) },
		message: `of the authority "private root", which is not trusted; the origin does not send`, advice: "put its root into ca_pem"},
	{code: "private_authority", name: "sent along", level: fail, origin: func(w *world) string {
		c := leafOf(w.t, w.stranger, nil, oneTest)
		root, _ := pem.Decode([]byte(w.stranger.PEM()))
		c.Certificate = append(c.Certificate, root.Bytes)
		return w.serve(c, nil)
	}, message: `of the private authority "private root"`, advice: "put that authority's certificate into ca_pem"},
	{code: "missing_intermediate", level: fail, origin: func(w *world) string {
		c := leafOf(w.t, w.below(), nil, oneTest, func(c *x509.Certificate) { c.IssuingCertificateURL = []string{"http://ca.test/i.crt"} })
		c.Certificate = c.Certificate[:1]
		return w.serve(c, nil)
	}, message: `does not send the intermediate certificate "intermediate"`, advice: "the missing certificate is at http://ca.test/i.crt"},
	{code: "ca_pem_mismatch", level: fail, origin: func(w *world) string { return w.serve(leafOf(w.t, w.another("a third"), nil, oneTest), nil) },
		change: func(w *world, r *origin.Route) { r.CAPEM = w.stranger.PEM() }, message: `which "a third" issued`, advice: "add the root of that authority to ca_pem"},
	{code: "ca_pem_mismatch", name: "public by now", level: fail, origin: func(w *world) string { return w.good(nil) },
		change: func(w *world, r *origin.Route) { r.CAPEM = w.stranger.PEM() }, message: `which "trusted root" issued`, advice: "remove ca_pem"},
	{code: "wrong_usage", level: fail, origin: func(w *world) string {
		return w.serve(w.leaf(oneTest, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), nil)
	}, message: "not for servers", advice: "a server certificate for one.test"},
	{code: "name_constraint", level: fail, origin: func(w *world) string {
		return w.serve(leafOf(w.t, w.below(func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"else.test"} }), nil, oneTest), nil)
	}, message: "may not certify this name", advice: "of another authority"},
	{code: "weak_key", level: fail, origin: func(w *world) string { return w.serve(leafOf(w.t, w.ca, rsa1024(), oneTest), nil) },
		message: `a key (RSA 1024, of "one.test") that can be broken`, advice: "RSA with at least 2048 bits"},
	{code: "insecure_signature", level: fail, origin: func(w *world) string {
		return w.serve(w.leaf(oneTest, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }), nil)
	}, message: "SHA-1", advice: "SHA-256"},
	{code: "pin_mismatch", level: fail, origin: func(w *world) string { return w.good(nil) }, change: func(_ *world, r *origin.Route) { r.SPKIPins = [][32]byte{{1}} },
		message: "none of the pinned keys", advice: "add the new pin to spki_pins: "},
	{code: "malformed_certificate", level: fail, origin: func(w *world) string {
		c := w.leaf(oneTest)
		c.Certificate = [][]byte{[]byte("no certificate")}
		return w.serve(c, nil)
	}, message: "cannot be read", advice: "a valid certificate"},
	{code: "untrusted", level: fail, origin: func(w *world) string { return w.serve(leafOf(w.t, w.stranger, nil, []string{"x.test"}), nil) },
		message: `the authority "private root" of the certificate is also not trusted`, advice: "put its root into ca_pem"},
	{code: "untrusted", name: "and expired", level: fail, origin: func(w *world) string {
		return w.serve(leafOf(w.t, w.stranger, nil, oneTest, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-99*time.Hour), time.Now().Add(-71*time.Hour)
		}), nil)
	}, message: `the authority "private root" of the certificate is also not trusted`, advice: "put its root into ca_pem"},

	// The handshake.
	{code: "no_tls_http", level: fail, origin: func(w *world) string { return w.raw("HTTP/1.1 400 Bad Request\r\n\r\n") }, message: "the origin answers in plain HTTP", advice: "FORCE_HTTPS=false"},
	{code: "no_tls", level: fail, origin: func(w *world) string { return w.raw("SSH-2.0-OpenSSH_9.2\r\n") }, message: `begins with "SSH-2"`, advice: "correct the port"},
	{code: "tls_too_old", level: fail, origin: func(w *world) string {
		return w.good(nil, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	}, message: "speaks neither TLS 1.2 nor TLS 1.3", advice: "have the customer enable TLS 1.2 or later"},
	{code: "tls_too_old", name: "which says so", level: fail, origin: func(w *world) string {
		hello := append([]byte{2, 0, 0, 38, 3, 2}, make([]byte, 33)...)
		hello = append(hello, 0xc0, 0x13, 0) // a cipher suite, no compression
		return w.raw(string(append([]byte{22, 3, 2, 0, byte(len(hello))}, hello...)))
	}, message: "speaks TLS 1.1, and neither TLS 1.2", advice: "have the customer enable TLS 1.2 or later"},
	{code: "tls_too_old", name: "tls_min", level: fail, origin: func(w *world) string { return w.good(nil, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }) },
		change: func(_ *world, r *origin.Route) { r.TLSMin = tls.VersionTLS13 }, message: "which tls_min requires", advice: "set tls_min to 1.2"},
	{code: "unrecognized_name", level: fail, origin: func(w *world) string { return w.raw(alert(112)) }, message: "has no server with the name one.test", advice: "have the customer add one.test"},
	{code: "client_cert_wanted", name: "TLS 1.3", level: fail, origin: func(w *world) string { return w.good(nil, w.requireClient) }, message: "wants a client certificate", advice: "client_cert"},
	{code: "client_cert_wanted", name: "TLS 1.2", level: fail, origin: func(w *world) string {
		return w.good(nil, w.requireClient, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	}, message: "wants a client certificate", advice: "client_cert"},
	{code: "client_cert_wanted", name: "by its answer", level: fail, origin: func(w *world) string {
		return w.good(page(400, "nginx", "<center>No required SSL certificate was sent</center>"), func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert })
	}, message: "answers 400 if it gets none", advice: "client_cert"},
	{code: "client_cert_refused", level: fail, origin: func(w *world) string { return w.good(nil, w.requireClient) }, change: clientCert, message: `refuses the client certificate "shop"`, advice: "trust the certificate's authority"},
	{code: "http2_only", level: fail, origin: func(w *world) string { return w.good(nil, onlyHTTP2) },
		message: "speaks only HTTP/2, and the route offers it HTTP/1.1", advice: `set protocols to ["h2"]`},
	{code: "http2_only", name: "answers in it", level: fail, origin: func(w *world) string { return w.shaken(answerHTTP2, "h2") },
		message: "speaks only HTTP/2", advice: `set protocols to ["h2"]`},
	{code: "http2_only", name: "hangs up", level: fail, origin: func(w *world) string {
		return w.shaken(func(c net.Conn) { c.Read(make([]byte, 2048)) }, "h2")
	}, message: "speaks only HTTP/2", advice: `set protocols to ["h2"]`},
	{code: "no_http2", level: fail, origin: func(w *world) string { return w.good(nil, onlyHTTP1) }, change: protocols("h2"),
		message: "does not speak HTTP/2, the only protocol", advice: "add http/1.1 to protocols"},
	{code: "no_http2", name: "nor ALPN", level: fail, origin: func(w *world) string { return w.shaken(answerHTTP1) }, change: protocols("h2"),
		message: "does not speak HTTP/2, the only protocol", advice: "add http/1.1 to protocols"},
	{code: "http2_not_agreed", level: note, origin: func(w *world) string { return w.good(nil, onlyHTTP1) }, change: protocols("h2", "http/1.1"),
		message: "does not agree to HTTP/2, which the route lists"},
	{code: "http2_not_agreed", name: "nor to ALPN", level: note, origin: func(w *world) string { return w.shaken(answerHTTP1) }, change: protocols("http/1.1", "h2"),
		message: "does not agree to HTTP/2, which the route lists"},
	{code: "no_common_protocol", name: "of a route with HTTP/2 alone", level: fail, origin: func(w *world) string { return w.good(nil, func(c *tls.Config) { c.NextProtos = []string{"smtp"} }) },
		change: protocols("h2"), message: "neither HTTP/2 nor HTTP/1.1", advice: "correct the port"},
	{code: "no_common_protocol", name: "of a route with both", level: fail, origin: func(w *world) string { return w.good(nil, func(c *tls.Config) { c.NextProtos = []string{"smtp"} }) },
		change: protocols("h2", "http/1.1"), message: "neither HTTP/2 nor HTTP/1.1", advice: "correct the port"},
	{code: "no_common_protocol", level: fail, origin: func(w *world) string { return w.good(nil, func(c *tls.Config) { c.NextProtos = []string{"smtp"} }) },
		message: "neither HTTP/2 nor HTTP/1.1", advice: "correct the port"},
	{code: "handshake_refused", level: fail, origin: func(w *world) string { return w.raw(alert(40)) }, message: "refuses the handshake", advice: "no certificate for one.test"},
	{code: "alert", level: fail, origin: func(w *world) string { return w.raw(alert(80)) }, message: "internal error", advice: "have the customer add the name"},
	{code: "handshake_cut", level: fail, origin: func(w *world) string {
		return portOf(tlstest.Listen(w.t, func(c net.Conn) { c.Read(make([]byte, 2048)) }))
	},
		message: "closes the connection during the TLS handshake", advice: "firewall"},
	{code: "tls_failed", level: fail, origin: func(w *world) string { return w.raw("\x16\x03\x03\x00\x05\x01\x00\x00\x01\x00") }, message: "TLS fails: ", advice: "TLS settings"},

	// The request.
	{code: "http2_without_alpn", level: fail, origin: func(w *world) string { return w.shaken(answerHTTP2) }, message: "and did not agree to it in the handshake", advice: "ALPN"},
	{code: "http2_without_alpn", name: "nor TLS", level: fail, origin: func(w *world) string {
		w.checker.ForceHTTPS = false
		return w.raw("\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	}, change: http_, message: "which the proxy does not speak over http://", advice: "enable HTTP/1.1 on the port; or change the origin to https://"},
	{code: "not_http", name: "speaks first", level: fail, origin: func(w *world) string {
		return w.shaken(func(c net.Conn) { io.WriteString(c, "220 mail.test ESMTP\r\n") })
	},
		message: "is not HTTP: ", advice: "correct the port"},
	{code: "not_http", level: fail, origin: func(w *world) string {
		return w.shaken(func(c net.Conn) {
			c.Read(make([]byte, 2048))
			io.WriteString(c, "ERR unknown command\r\n")
			io.Copy(io.Discard, c)
		})
	}, message: "is not HTTP", advice: "correct the port"},
	{code: "answer_timeout", level: fail, origin: func(w *world) string {
		w.checker.Timeout = time.Second
		return w.shaken(func(c net.Conn) { io.Copy(io.Discard, c) })
	}, message: "does not answer GET / in time", advice: "--path"},
	{code: "hung_up", level: fail, origin: func(w *world) string { return w.shaken(func(c net.Conn) { c.Read(make([]byte, 2048)) }) },
		message: "closes the connection and does not answer", advice: "origin's log"},
	{code: "header_too_large", level: fail, origin: func(w *world) string { return w.good(status(200, "X-Large", strings.Repeat("x", 300<<10))) },
		message: "larger than the proxy accepts", advice: "256 KiB"},
	{code: "header_too_large", name: "without a protocol, while HTTP/2 is there", level: fail, origin: func(w *world) string {
		return w.good(status(200, "X-Large", strings.Repeat("x", 300<<10)), func(c *tls.Config) { c.NextProtos = []string{"h2"} }) // crypto/tls accepts HTTP/1.1
	}, message: "larger than the proxy accepts", advice: "256 KiB"},

	// The response.
	{code: "loop", level: fail, origin: func(w *world) string {
		return w.good(status(502, "Proxy-Status", "sleight; error=proxy_loop_detected"))
	},
		message: "sends requests back to the proxy", advice: "set origin to the customer's load balancer"},
	{code: "another_proxy", level: warn, origin: func(w *world) string {
		return w.good(status(404, "Proxy-Status", "sleight; error=destination_not_found"))
	},
		message: "another sleight, and it answers with an error", advice: "a route for one.test"},
	{code: "misdirected", level: fail, origin: func(w *world) string { return w.good(status(421)) }, message: "does not serve one.test (421)", advice: "have the customer add one.test to the server that answers"},
	{code: "tls_port", level: fail, origin: func(w *world) string { w.checker.ForceHTTPS = false; return w.good(nil) }, change: http_,
		message: "is for TLS, and the origin of the route is http://", advice: "change the origin to https://"},
	{code: "redirect_loop", level: fail, origin: func(w *world) string { return w.good(status(301, "Location", "https://one.test/")) },
		message: "to the URL of the request itself (301)", advice: "X-Forwarded-Proto"},
	{code: "redirect_loop", name: "http", level: fail, origin: func(w *world) string { return w.plain(status(301, "Location", "https://one.test/")) }, change: http_,
		message: "clients are redirected forever", advice: "change the origin to https://"},
	{code: "redirect", name: "with a cookie", level: note, origin: func(w *world) string { return w.good(status(302, "Location", "/", "Set-Cookie", "a=b")) }, message: "redirects (302) to /"},
	{code: "redirect", name: "to another query", level: note, origin: func(w *world) string { return w.good(status(302, "Location", "/?lang=en")) }, message: "redirects (302) to /?lang=en"},
	{code: "redirect", name: "to another port", level: note, origin: func(w *world) string { return w.good(status(302, "Location", "https://one.test:8443/")) }, message: "redirects (302) to https://one.test:8443/"},
	{code: "redirect", level: note, origin: func(w *world) string { return w.good(status(301, "Location", "https://www.one.test/")) }, message: "to https://www.one.test/"},
	{code: "redirect", name: "to the origin's name, which the proxy rewrites", level: note, origin: func(w *world) string { return w.good(status(302, "Location", "https://lb.test/a")) },
		change: func(w *world, r *origin.Route) { at("lb.test")(w, r); r.HostHeader, r.Rewrite = "lb.test", new(true) }, message: "redirects (302) to https://lb.test/a"},
	{code: "redirect_to_http", level: warn, origin: func(w *world) string { return w.good(status(301, "Location", "http://one.test/a")) }, message: "redirects to http://", advice: "X-Forwarded-Proto"},
	{code: "redirect_to_origin", level: warn, origin: func(w *world) string { return w.good(status(302, "Location", "https://lb.test/a")) }, change: at("lb.test"),
		message: "past the proxy: https://lb.test/a", advice: "set rewrite"},
	{code: "unknown_host", level: fail, origin: func(w *world) string {
		return w.good(page(403, "CloudFront", "<H2>The request could not be satisfied.</H2>"))
	},
		message: "CloudFront does not know the Host one.test (403)", advice: "set host_header"},
	{code: "unknown_host", name: "Fastly", level: fail, origin: func(w *world) string { return w.good(page(500, "Varnish", "Fastly error: unknown domain: one.test.")) },
		message: "Fastly does not know the Host", advice: "set host_header"},
	{code: "forbidden", level: warn, origin: func(w *world) string { return w.good(status(403)) }, message: "forbids GET / (403)", advice: "--path"},
	{code: "forbidden", name: "in spite of a client certificate", level: warn, origin: func(w *world) string {
		return w.good(status(403), func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert })
	}, change: clientCert, message: "forbids GET / (403)", advice: "--path"},
	{code: "not_found", level: warn, origin: func(w *world) string { return w.good(status(404)) }, message: "nothing at GET / (404)", advice: "host_header"},
	{code: "unauthorized", level: note, origin: func(w *world) string { return w.good(status(401)) }, message: "requires a login"},
	{code: "method_not_allowed", level: note, origin: func(w *world) string { return w.good(status(405)) }, message: "does not allow GET / (405)", advice: "--method"},
	{code: "too_many_requests", level: warn, origin: func(w *world) string { return w.good(status(429)) }, message: "429", advice: "X-Forwarded-For"},
	{code: "client_error", level: warn, origin: func(w *world) string { return w.good(status(418)) }, message: "refuses GET / (418)", advice: "host_header"},
	{code: "client_error", name: "in the words of a service that it is not of", level: warn, origin: func(w *world) string { return w.good(page(400, "nginx", "Bad request")) },
		message: "refuses GET / (400)", advice: "host_header"},
	{code: "server_error", level: fail, origin: func(w *world) string { return w.good(status(503)) }, message: "with an error (503)", advice: "look at its targets"},
	{code: "server_error", name: "of its own", level: fail, origin: func(w *world) string { return w.good(status(500)) }, message: "with an error (500)", advice: "origin's log"},
	{code: "expires_soon", level: warn, origin: func(w *world) string {
		w.checker.WarnDays = 14
		return w.good(nil)
	}, message: "the origin's certificate expires in 2", advice: "a renewed certificate for one.test"},
	{code: "client_cert_asked", level: note, origin: func(w *world) string {
		return w.good(nil, func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert })
	},
		message: "does not require one"},

	// The clients.
	{code: "dns_leads_to_origin", level: warn, origin: func(w *world) string { w.names["one.test"] = []string{"lb.test"}; return w.good(nil) }, change: at("lb.test"),
		message: "DNS still leads clients of one.test to the origin", advice: "point one.test to proxy.test"},
	{code: "dns_leads_to_origin", name: "without a target", level: note, origin: func(w *world) string {
		w.checker.Target = nil
		w.names["one.test"] = []string{"127.0.0.1"}
		return w.good(nil)
	}, message: "DNS still leads clients of one.test to the origin", advice: "point one.test to the proxy"},
	{code: "dns_leads_nowhere", level: warn, origin: func(w *world) string { delete(w.names, "one.test"); return w.good(nil) }, message: "has no address for clients of one.test: the name does not exist", advice: "CNAME record"},
	{code: "dns_leads_nowhere", name: "to an address", level: warn, origin: func(w *world) string {
		delete(w.names, "one.test")
		w.checker.Target = []string{"192.0.2.1"}
		return w.good(nil)
	}, message: "has no address for clients of one.test: the name does not exist", advice: "point one.test to 192.0.2.1 with an A record"},
	{code: "dns_leads_elsewhere", level: warn, origin: func(w *world) string { w.names["one.test"] = []string{"192.0.2.9"}; return w.good(nil) },
		message: "to 192.0.2.9, which is not proxy.test", advice: "point one.test to proxy.test"},
	{code: "dns_unknown", level: warn, origin: func(w *world) string { w.names["one.test"] = []string{tlstest.ServFail}; return w.good(nil) }, message: "is not known", advice: "try again"},
	{code: "target_unknown", level: warn, origin: func(w *world) string { w.checker.Target = []string{"nowhere.test"}; return w.good(nil) }, message: "nowhere.test: the name does not exist", advice: "correct --target"},
	{code: "origin_is_host", level: warn, origin: func(w *world) string { w.names["one.test"] = []string{"127.0.0.1"}; return w.good(nil) }, change: at("one.test"),
		message: "the origin is the name that clients use", advice: "another name of the customer's load balancer"},
	{code: "origin_is_proxy", level: fail, origin: func(w *world) string { w.checker.Target = []string{"127.0.0.1"}; return w.good(nil) }, message: "is the proxy itself",
		advice: "set origin to the customer's load balancer"},
	{code: "origin_is_proxy", name: "by name", level: fail, origin: func(w *world) string {
		w.names["proxy.test"] = []string{"127.0.0.1"}
		return w.good(nil)
	}, change: at("proxy.test"), message: "is the proxy itself", advice: "set origin to the customer's load balancer"},
	{code: "origin_is_proxy", name: "by what its name is an alias of", level: fail, origin: func(w *world) string {
		w.names["proxy.test"], w.names["front.test"] = []string{"front.test"}, []string{"127.0.0.1"}
		return w.good(nil)
	}, change: at("front.test"), message: "is the proxy itself", advice: "set origin to the customer's load balancer"},
	{code: "origin_is_proxy", name: "by an address alone", level: warn, origin: func(w *world) string {
		w.names["proxy.test"] = []string{"127.0.0.1"}
		return w.good(nil)
	}, message: "share an address", advice: "not another name of the proxy"},
}

// below makes an intermediate of the trusted root.
func (w *world) below(change ...func(*x509.Certificate)) *devca.Authority {
	w.t.Helper()
	a, err := w.ca.Intermediate("intermediate", nil, change...)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) another(name string) *devca.Authority {
	w.t.Helper()
	a, err := devca.New(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// at sets the name of the origin instead of its address.
func at(name string) func(*world, *origin.Route) {
	return func(_ *world, r *origin.Route) { r.Addresses = []string{name + ":" + portOf(r.Addresses[0])} }
}

func http_(_ *world, r *origin.Route) { r.Scheme, r.TLSMin = "http", tls.VersionTLS12 }

// protocols sets the protocols of the route.
func protocols(all ...string) func(*world, *origin.Route) {
	return func(_ *world, r *origin.Route) { r.Protocols = all }
}

func onlyHTTP1(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }

// onlyHTTP2 ends the handshake of clients that do not offer it, as OpenSSL does. crypto/tls would silently accept a client that offers
// only HTTP/1.1.
func onlyHTTP2(c *tls.Config) {
	c.NextProtos = []string{"h2"}
	other := c.Clone()
	other.NextProtos = []string{"smtp"}
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if !slices.Contains(hello.SupportedProtos, "h2") {
			return other, nil
		}
		return nil, nil
	}
}

// answerHTTP2 answers everything with an empty SETTINGS frame.
func answerHTTP2(c net.Conn) {
	c.Read(make([]byte, 2048))
	io.WriteString(c, "\x00\x00\x00\x04\x00\x00\x00\x00\x00")
}

// answerHTTP1 answers one request.
func answerHTTP1(c net.Conn) {
	c.Read(make([]byte, 2048))
	io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	io.Copy(io.Discard, c)
}

// clientCert makes the proxy send a certificate to an origin that asks for one.
func clientCert(w *world, r *origin.Route) {
	r.ClientCert = "shop"
	w.checker.ClientCertificates = certificateMap{"shop": w.leaf([]string{"shop"}, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })}
}

func TestVerdictsSayWhatIsWrongAndWhatToChange(t *testing.T) {
	t.Parallel()
	for _, v := range slices.Concat(verdicts, causes) {
		t.Run(strings.TrimSpace(v.code+" "+v.name), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			route := &origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12}
			route.Addresses = []string{"127.0.0.1:" + v.origin(w)}
			if v.change != nil {
				v.change(w, route)
			}
			r := w.check(route)
			i := slices.IndexFunc(r.Findings, func(f check.Finding) bool { return f.Code == v.code })
			if i < 0 {
				t.Fatalf("no finding %q among %+v; probes %+v", v.code, r.Findings, r.Origins)
			}
			f := r.Findings[i]
			if f.Level != v.level || !strings.Contains(f.Message, v.message) || !strings.Contains(f.Advice, v.advice) || (f.Advice == "") != (v.advice == "") {
				t.Errorf("%+v", f)
			}
			if v.level == fail && v.code != "untrusted" { // it comes beside another finding
				for n, other := range r.Findings {
					if n != i && (other.Level == fail || other.Level == warn && other.Address != "") {
						t.Errorf("says %q beside", other.Code)
					}
				}
			}
			want := map[check.Level]check.Status{note: check.OK, warn: check.Warn, fail: check.Fail}[v.level]
			if r.Status != want {
				t.Errorf("status %s of %+v", r.Status, r.Findings)
			}
			if v.level != note && v.code != "untrusted" && r.Verdict != f.Message && !strings.HasPrefix(r.Verdict, f.Message+" (at ") {
				t.Errorf("verdict %q", r.Verdict)
			}
			if r.CannotWork() != (v.level == fail && v.code != "server_error") {
				t.Errorf("cannot work: %v", r.CannotWork())
			}
		})
	}
}

func TestOriginWithoutAPortIsAskedAtThatOfItsScheme(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.checker.ForceHTTPS, w.checker.Timeout = false, time.Second
	for scheme, want := range map[string]string{"http": "127.99.98.97:80", "https": "127.99.98.97:443"} {
		r := w.check(&origin.Route{Host: "one.test", Scheme: scheme, TLSMin: tls.VersionTLS12, Addresses: []string{"127.99.98.97"}})
		if got := r.Origins[0].Address; got != want {
			t.Errorf("%s: %s, want %s", scheme, got, want)
		}
	}
}

func TestErrorPageWithoutAnErrorIsAnAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.check(&origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{
		"127.0.0.1:" + w.good(page(200, "AmazonS3", "What to do about NoSuchBucket")),
	}})
	if r.Status != check.OK {
		t.Errorf("%s: %+v", r.Status, r.Findings)
	}
}

// A row without a case might never apply.
func TestEveryRowOfAdviceHasACase(t *testing.T) {
	t.Parallel()
	for _, code := range check.Codes() {
		if !slices.ContainsFunc(slices.Concat(verdicts, causes), func(v verdict) bool { return v.code == code }) && !slices.Contains(elsewhere, code) {
			t.Errorf("nothing comes to %q", code)
		}
	}
}

// elsewhere are the codes of other tests, and those that loopback cannot produce reliably.
var elsewhere = []string{
	"connection_timeout", "not_reachable_from_here", "invalid_route", "many_addresses", "interrupted", // these have tests of their own
	"no_ipv6", "unroutable", "invalid_certificate", "failed", // the last rows
	"renegotiation", "ping_timeout", "reset", // TestCausesOfTheTransportAreTold makes these
}
