package check_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/sleightproxy/sleight/internal/check"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// The pages of servers that refuse a Host other than the name of the handshake.
const (
	tomcatPage = `<!doctype html><html lang="en"><head><title>HTTP Status 400 – Bad Request</title></head><body><h1>HTTP Status 400 – Bad Request</h1><hr class="line" /><p><b>Type</b> Status Report</p></body></html>`
	jettyPage  = "<html>\n<head>\n<title>Error 400 Invalid SNI</title>\n</head>\n<body>\n<h2>HTTP ERROR 400 Invalid SNI</h2>\n</body>\n</html>\n"
	nginxPage  = "<html>\r\n<head><title>400 The SSL certificate error</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<center>The SSL certificate error</center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
)

// oneNameOnly refuses requests with two names, and answers others.
func oneNameOnly(refuse http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Host != r.TLS.ServerName {
			refuse(w, r)
		}
	}
}

func named(serverName, hostHeader string) func(*world, *origin.Route) {
	return func(_ *world, r *origin.Route) { r.ServerName, r.HostHeader = serverName, hostHeader }
}

// hangUp serves TLS. It closes a connection whose handshake has a name, without an alert, as end says.
func (w *world) hangUp(end func(*net.TCPConn)) string {
	certificate := w.leaf(oneTest)
	return portOf(tlstest.Listen(w.t, func(c net.Conn) {
		config := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if hello.ServerName != "" {
				end(c.(*net.TCPConn))
				return nil, errors.New("no such name")
			}
			return nil, nil
		}, Certificates: []tls.Certificate{certificate}}
		secure := tls.Server(c, config)
		secure.Handshake()
		secure.Close()
	}))
}

// causes are cases whose first symptom is not the cause.
var causes = []verdict{
	// Two names.
	{code: "misdirected", name: "Tomcat", level: fail, origin: func(w *world) string {
		return w.serve(w.leaf([]string{"other.test"}), oneNameOnly(page(400, "", tomcatPage)))
	}, change: named("other.test", ""), message: "does not serve one.test under the server name other.test (400)",
		advice: "use one name as server_name and Host: set host_header to other.test; or remove server_name, so that the name is one.test, if the origin has a certificate for it; or have the customer add one.test"},
	{code: "misdirected", name: "Tomcat, whose certificate has both", level: fail, origin: func(w *world) string {
		return w.serve(w.leaf([]string{"other.test", "one.test"}), oneNameOnly(page(400, "", tomcatPage)))
	}, change: named("other.test", ""), message: "does not serve one.test", advice: "Host: remove server_name, so that the name is one.test, because the certificate is for that name too; or set host_header to other.test"},
	{code: "misdirected", name: "Tomcat, by host_header", level: fail, origin: func(w *world) string {
		return w.good(oneNameOnly(page(400, "", tomcatPage)))
	}, change: named("", "other.test"), message: "does not serve other.test under the server name one.test", advice: "Host: remove host_header, so that Host is one.test; or set server_name to other.test, if the origin has a certificate for it"},
	{code: "misdirected", name: "Tomcat, by both", level: fail, origin: func(w *world) string {
		return w.serve(w.leaf([]string{"other.test", "lb.test"}), oneNameOnly(page(400, "", tomcatPage)))
	}, change: named("lb.test", "other.test"), message: "does not serve other.test under the server name lb.test", advice: "Host: set server_name to other.test, because the certificate is for that name too; or set host_header to lb.test"},
	{code: "client_error", name: "of an application on Tomcat, whatever the Host", level: warn, origin: func(w *world) string {
		return w.serve(w.leaf([]string{"other.test"}), page(400, "", tomcatPage))
	}, change: named("other.test", ""), message: "refuses GET / (400)", advice: "use one name as server_name and Host: set host_header to other.test"},
	{code: "misdirected", name: "Jetty", level: fail, origin: func(w *world) string {
		return w.serve(w.leaf([]string{"other.test"}), page(400, "Jetty(12.1.14)", jettyPage))
	}, change: named("other.test", ""), message: "does not serve one.test under the server name other.test (400)", advice: "use one name as server_name and Host"},
	{code: "misdirected", name: "ATS", level: fail, origin: func(w *world) string {
		return w.good(oneNameOnly(page(403, "ATS/9.2.9", "<HTML><TITLE>Access Denied</TITLE></HTML>")))
	}, change: named("", "other.test"), message: "(403)", advice: "use one name as server_name and Host"},
	{code: "forbidden", name: "ATS, whatever the Host", level: warn, origin: func(w *world) string {
		return w.good(page(403, "ATS/9.2.9", "<HTML><TITLE>Access Denied</TITLE></HTML>"))
	}, change: named("", "other.test"), message: "forbids GET / (403)", advice: "use one name as server_name and Host: remove host_header"},
	{code: "misdirected", name: "Envoy", level: fail, origin: func(w *world) string { return w.good(oneNameOnly(page(404, "envoy", ""))) },
		change: named("", "other.test"), message: "(404)", advice: "use one name as server_name and Host"},
	{code: "not_found", name: "behind Envoy", level: warn, origin: func(w *world) string {
		return w.good(oneNameOnly(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Envoy-Upstream-Service-Time", "3")
			page(404, "envoy", "")(w, r)
		}))
	}, change: named("", "other.test"), message: "nothing at GET / (404)", advice: "use one name as server_name and Host"},
	{code: "misdirected", name: "two names", level: fail, origin: func(w *world) string { return w.good(oneNameOnly(status(421))) },
		change: named("", "other.test"), message: "does not serve other.test under the server name one.test (421)", advice: "use one name as server_name and Host: remove host_header"},
	{code: "not_found", name: "with host_header", level: warn, origin: func(w *world) string { return w.serve(w.leaf([]string{"other.test"}), status(404)) },
		change: named("other.test", "other.test"), message: "nothing at GET / (404)", advice: "correct host_header, or have the customer add other.test"},
	{code: "unknown_host", name: "with host_header", level: fail, origin: func(w *world) string {
		return w.good(page(403, "CloudFront", "<H2>The request could not be satisfied.</H2>"))
	}, change: named("", "other.test"), message: "CloudFront does not know the Host other.test (403)", advice: "correct host_header, or have the customer add other.test there"},
	{code: "redirect_to_origin", name: "without host_header", level: warn, origin: func(w *world) string { return w.good(status(302, "Location", "https://lb.test/a")) }, change: at("lb.test"),
		message: "past the proxy", advice: "or have the customer redirect to the Host of the request"},
	{code: "unrecognized_name", name: "with server_name", level: fail, origin: func(w *world) string { return w.raw(alert(112)) }, change: named("other.test", ""),
		message: "has no server with the name other.test", advice: "add other.test to the load balancer, with a certificate; or correct server_name"},

	// Client certificates.
	{code: "client_cert_refused", name: "by nginx's page", level: fail, origin: func(w *world) string {
		return w.good(page(400, "nginx/1.22.1", nginxPage), func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert })
	}, change: clientCert, message: `refuses the client certificate "shop" (400)`, advice: "trust the certificate's authority"},
	{code: "client_error", name: "about a certificate that nobody asked for", level: warn, origin: func(w *world) string { return w.good(page(400, "nginx/1.22.1", nginxPage)) },
		change: clientCert, message: "refuses GET / (400)", advice: "--path"},
	{code: "hung_up", name: "after a client certificate", level: fail, origin: func(w *world) string {
		return w.good(hangUp, func(c *tls.Config) { c.ClientAuth, c.NextProtos = tls.RequestClientCert, []string{"http/1.1"} })
	}, change: clientCert, message: `asks for a client certificate, gets "shop", and closes the connection`, advice: "have the customer trust the certificate's authority"},
	{code: "hung_up", name: "without a client certificate", level: fail, origin: func(w *world) string {
		return w.good(hangUp, func(c *tls.Config) { c.ClientAuth, c.NextProtos = tls.RequestClientCert, []string{"http/1.1"} })
	}, message: "asks for a client certificate, and closes the connection if it gets none", advice: "its name into client_cert"},
	{code: "hung_up", name: "in the handshake, after a client certificate", level: fail, origin: func(w *world) string {
		certificate := w.leaf(oneTest)
		return portOf(tlstest.Listen(w.t, func(c net.Conn) {
			secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}, MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert,
				VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error { c.Close(); return errors.New("not trusted") }})
			secure.Handshake()
			secure.Close()
		}))
	}, change: clientCert, message: `gets "shop", and closes the connection`, advice: "have the customer trust the certificate's authority"},

	// The handshake.
	{code: "handshake_cut", name: "EOF for the name", level: fail, origin: func(w *world) string { return w.hangUp(func(c *net.TCPConn) { c.Close() }) },
		message: "closes the connection during the TLS handshake for one.test, and answers a handshake without a name", advice: "add one.test, with a certificate, to the configuration of TLS there (a filter chain of Envoy or Istio, the SNICallback of Node); or set server_name to a name that it knows"},
	{code: "handshake_cut", name: "RST for the name", level: fail, origin: func(w *world) string {
		return w.hangUp(func(c *net.TCPConn) { c.SetLinger(0); c.Close() })
	}, change: named("other.test", ""), message: "closes the connection during the TLS handshake for other.test, and answers a handshake without a name", advice: "or correct server_name"},
	{code: "handshake_cut", name: "with and without the name", level: fail, origin: func(w *world) string {
		return portOf(tlstest.Listen(w.t, func(c net.Conn) { c.Read(make([]byte, 2048)) }))
	}, message: "closes the connection during the TLS handshake", advice: "it may not know the name: have the customer add one.test"},
	{code: "handshake_refused", name: "a key of another kind", level: fail, origin: func(w *world) string { return w.raw(alert(40)) },
		message: "refuses the handshake", advice: "a kind of key that the proxy does not support (ML-DSA, RSASSA-PSS, brainpool)"},
	{code: "hung_up", name: "in HTTP/1.1, while HTTP/2 is there", level: fail, origin: func(w *world) string { return w.good(hangUp) },
		message: "closes the connection and does not answer", advice: "origin's log"},

	// The certificate.
	{code: "certificate_expired", name: "ten minutes ago", level: fail, origin: func(w *world) string {
		return w.serve(w.leaf(oneTest, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-10*time.Minute - 30*time.Second) }), nil)
	}, message: ", 10 minutes ago", advice: "a renewed certificate"},
	{code: "certificate_expired", name: "two days ago", level: fail, origin: func(w *world) string {
		return w.serve(w.leaf(oneTest, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-99*time.Hour), time.Now().Add(-48*time.Hour-time.Minute)
		}), nil)
	}, message: ", 2 days ago", advice: "a renewed certificate"},
	{code: "wrong_name", name: "with names that are none", level: fail, origin: func(w *world) string {
		return w.serve(w.leaf([]string{"x; rm -rf $HOME", "a/b.test", "x.test:443", "", "--all", "*.x.test", "x.test"}), nil)
	}, message: "a certificate for x; rm", advice: "set server_name to x.test, if"},
	{code: "wrong_name", name: "with no name that is one", level: fail, origin: func(w *world) string { return w.serve(w.leaf([]string{"x; rm -rf $HOME"}), nil) },
		message: "a certificate for x; rm", advice: "set server_name to a name in the certificate, if that name belongs to the customer too"},
	{code: "missing_intermediate", name: "whose place is no URL", level: fail, origin: func(w *world) string {
		c := leafOf(w.t, w.below(), nil, oneTest, func(c *x509.Certificate) {
			c.IssuingCertificateURL = []string{"http://$(reboot)/", "javascript:alert(1)", "http://x.test/" + strings.Repeat("x", 60<<10)}
		})
		c.Certificate = c.Certificate[:1]
		return w.serve(c, nil)
	}, message: `does not send the intermediate`, advice: "(fullchain.pem). If the authority is private, put"},
}

// hangUp closes the connection instead of answering.
func hangUp(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }

// The maker of a certificate chooses its length. A long one would fill the screen, the log of a pipeline and the report.
func TestNoCertificateIsToldWhole(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 30<<10)
	var names []string
	for range 500 {
		names = append(names, strings.Repeat("x", 100)+".test")
	}
	for what, change := range map[string]func(*x509.Certificate){
		"subject": func(c *x509.Certificate) { c.Subject.CommonName = long },
		"names":   func(c *x509.Certificate) { c.DNSNames = names },
		"name":    func(c *x509.Certificate) { c.DNSNames = []string{strings.Repeat("y", 60<<10)} },
		"URL": func(c *x509.Certificate) {
			c.IssuingCertificateURL = []string{"http://ca.test/" + strings.Repeat("z", 60<<10)}
		},
	} {
		for _, ca := range []bool{true, false} {
			w := newWorld(t)
			signer := w.ca
			if !ca {
				signer = w.stranger
			}
			port := w.serve(leafOf(t, signer, nil, oneTest, change), nil)
			r := w.check(&origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{"127.0.0.1:" + port}})
			b, err := json.Marshal(r)
			if err != nil || len(b) > 24<<10 || len(r.Origins[0].IPs[0].Certificates) == 0 {
				t.Errorf("%s: %d bytes, %v, %d certificates", what, len(b), err, len(r.Origins[0].IPs[0].Certificates))
			}
			for _, f := range r.Findings {
				if len(f.Message)+len(f.Advice) > 3000 || strings.Contains(f.Message+f.Advice, "\ufffd") {
					t.Errorf("%s: %s has a text of %d bytes", what, f.Code, len(f.Message)+len(f.Advice))
				}
			}
			if c := r.Origins[0].IPs[0].Certificates[0]; what == "names" && len(c.Names)+c.MoreNames != len(names) {
				t.Errorf("%d names, and %d more", len(c.Names), c.MoreNames)
			}
		}
	}
}

// A name in a sentence is text from an origin, also if it is one of many.
func TestFindingsAreSafeForTerminals(t *testing.T) {
	t.Parallel()
	const evil = "\x1b[2J\a\n\u202e\u009b"
	w := newWorld(t)
	port := w.serve(leafOf(t, w.stranger, nil, []string{"\x1b[2J.test"}, func(c *x509.Certificate) {
		c.Subject.CommonName, c.NotAfter = evil, time.Now().Add(-time.Minute)
	}), nil)
	for what, r := range map[string]*check.Result{
		"certificate": w.check(&origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{"127.0.0.1:" + port}}),
		"attribute":   check.Invalid("one.test", &origin.InvalidRouteError{Host: "one.test", Attribute: evil, Reason: evil}),
		"error":       check.Invalid("one.test", errors.New(evil)),
	} {
		if len(r.Findings) == 0 {
			t.Errorf("%s: nothing is found", what)
		}
		for _, f := range r.Findings {
			if strings.ContainsFunc(f.Message+f.Advice+r.Verdict+r.Advice, func(c rune) bool { return !unicode.IsPrint(c) }) {
				t.Errorf("%s: %+q", what, f)
			}
		}
	}
}

func TestChainOfManyCertificatesIsNotListedWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.leaf(oneTest)
	for range 100 {
		c.Certificate = append(c.Certificate, w.leaf([]string{"x.test"}).Certificate[0])
	}
	r := w.check(&origin.Route{Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{"127.0.0.1:" + w.serve(c, nil)}})
	if n := len(r.Origins[0].IPs[0].Certificates); r.Status != check.OK || n < 2 || n > 22 {
		t.Errorf("%s with %d certificates: %+v", r.Status, n, r.Findings)
	}
}
