package check

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// A rule is a row of the tables from facts to advice. Advice without a subject is for the operator of the proxy, who owns the route.
// Advice that begins with "have the customer" is for the owner of the host and its origin.
type rule struct {
	code  string // must not change
	level Level
	when  func(f *facts) bool
	say   func(f *facts) (message, advice string)
}

// advise returns the findings for one address. If there is no response, it is the first row of failures that applies. Otherwise these
// are all rows of answers that apply.
func advise(f *facts) []Finding {
	var all []Finding
	add := func(r *rule) {
		message, advice := r.say(f)
		all = append(all, Finding{Level: r.level, Code: r.code, Message: message, Advice: advice})
	}
	if f.err == nil {
		for i := range answers {
			if answers[i].when(f) {
				add(&answers[i])
			}
		}
		return all
	}
	for i := range failures {
		if failures[i].when(f) {
			add(&failures[i])
			return append(all, f.besides(failures[i].code)...)
		}
	}
	return all // the last row of failures always applies
}

// invalidRoute returns the finding for an item that is not a valid route.
func invalidRoute(err error) Finding {
	f := Finding{Level: LevelFail, Code: "invalid_route", Message: err.Error(), Advice: "correct the route"}
	if invalid, ok := errors.AsType[*origin.InvalidRouteError](err); ok {
		f.Message = fmt.Sprintf("the route is not valid: %s %s", invalid.Attribute, invalid.Reason)
		f.Advice = fmt.Sprintf("correct the attribute %s; until then the proxy answers requests for the host with 500", invalid.Attribute)
	}
	return f
}

// plainHTTPRefused is the finding for an origin with http:// if the proxy forces HTTPS.
var plainHTTPRefused = Finding{
	Level: LevelFail, Code: "plain_http_refused", Message: "the origin of the route is http://, and the proxy refuses that",
	Advice: "change the origin to https://; or set FORCE_HTTPS=false for the proxy and for this command (or --force-https=false here), if others on the network may read the requests",
}

// failures are the rows for addresses without a response. The first row that applies counts.
var failures = []rule{
	{code: plainHTTPRefused.Code, level: plainHTTPRefused.Level, when: func(f *facts) bool { return errors.Is(f.err, sni.ErrPlainHTTP) },
		say: fixed(plainHTTPRefused.Message, plainHTTPRefused.Advice)},
	{code: "client_cert_missing", level: LevelFail, when: func(f *facts) bool { t, ok := targetError(f); return ok && t.Field == "ClientCert" },
		say: func(f *facts) (string, string) {
			t, _ := targetError(f)
			return "the client certificate of the route: " + t.Reason, fmt.Sprintf("put %s.pem into CLIENT_CERTS_DIR of the proxy and of this command (or --client-certs here), or correct client_cert", f.route.ClientCert)
		}},
	{code: "route_unusable", level: LevelFail, when: func(f *facts) bool { _, ok := targetError(f); return ok },
		say: func(f *facts) (string, string) { t, _ := targetError(f); return t.Error(), "correct the route" }},
	{code: "prohibited_network", level: LevelFail, when: isType(sni.DestinationIPProhibited),
		say: func(f *facts) (string, string) {
			what := "a prohibited network"
			if p, ok := errors.AsType[*sni.ProhibitedError](error(f.err)); ok {
				what = fmt.Sprintf("%s, in a network that the proxy does not dial (%s)", p.IP, p.Range)
			}
			return "the origin is " + what, "set origin to a public address; or allow the network in ORIGIN_ALLOW_CIDRS of the proxy and of this command (or with --allow-cidr here), if this address is right"
		}},
	{code: "connection_refused", level: LevelFail, when: isType(sni.ConnectionRefused),
		say: func(f *facts) (string, string) {
			return "connection refused: nothing listens on port " + f.port, "correct the port in origin, or have the customer start the server, or open the port in the firewall that rejects connections"
		}},
	{code: "handshake_timeout", level: LevelFail, when: func(f *facts) bool { return f.err.Type == sni.ConnectionTimeout && f.exchange.Handshake > 0 },
		say: fixed("TCP connects, but the TLS handshake does not end in time", "make sure that the port is for TLS; if it is, have the customer look at the load of the origin, or at a firewall that drops large packets (MTU)")},
	{code: "connection_timeout", level: LevelFail, when: isType(sni.ConnectionTimeout),
		say: fixed("TCP does not connect in time", "have the customer's firewall allow the addresses that the proxy dials from (for a function in a VPC, the fixed addresses of its NAT gateways), or correct origin; if the firewall allows only the proxy, check from where the proxy runs")},
	{code: "no_ipv6", level: LevelNote, when: isElsewhere,
		say: fixed("not tried: this machine has no route to IPv6 addresses", "check from where the proxy runs, if it has IPv6")},
	{code: "unroutable", level: LevelFail, when: isType(sni.DestinationIPUnroutable),
		say: fixed("this machine has no network route to the address", "correct origin, or check from where the proxy runs")},

	// The certificate. The first error of the proxy's verification decides.
	{code: "certificate_expired", level: LevelFail, when: isReason(sni.Expired),
		say: func(f *facts) (string, string) {
			c := reasonOf(f).Certificate
			if c != f.leaf() {
				return fmt.Sprintf("the certificate of the authority %q in the chain expired on %s", subjectOf(c), day(c.NotAfter)),
					"have the customer install the chain that belongs to the certificate now"
			}
			return fmt.Sprintf("the origin's certificate expired on %s, %s ago", day(c.NotAfter), span(c.NotAfter.Sub(f.now))), f.install("a renewed certificate")
		}},
	{code: "certificate_not_yet_valid", level: LevelFail, when: isReason(sni.NotYetValid),
		say: func(f *facts) (string, string) {
			return "the origin's certificate is not valid before " + reasonOf(f).Certificate.NotBefore.UTC().Format(time.RFC3339), "wait until then, or set the clock of this machine if it is wrong"
		}},
	{code: "wrong_name", level: LevelFail, when: isReason(sni.WrongName),
		say: func(f *facts) (string, string) {
			names := reasonOf(f).Names()
			message := fmt.Sprintf("the origin presents a certificate for %s, not for %s", list(names), f.name)
			if f.route.ServerName != "" {
				return message, fmt.Sprintf("correct server_name, which is %s; if the route had none, the name would be %s", f.route.ServerName, f.host)
			}
			return message, f.serverNameFor(names)
		}},
	{code: "pin_mismatch", level: LevelFail, when: isReason(sni.PinMismatch),
		say: func(f *facts) (string, string) {
			return "the certificate verifies, but none of the pinned keys is in its chain",
				fmt.Sprintf("if the customer has changed the key on purpose, add the new pin to spki_pins: %s (the origin's own key)", base64Pin(f.leaf()))
		}},
	{code: "weak_key", level: LevelFail, when: isReason(sni.WeakKey),
		say: func(f *facts) (string, string) {
			weak := "a key"
			for _, c := range slices.Concat(f.presented, f.chain) {
				if sni.WeakPublicKey(c) {
					weak = fmt.Sprintf("a key (%s, of %q)", keyOf(c), subjectOf(c))
					break
				}
			}
			return "the certificate has " + weak + " that can be broken", f.install("a certificate with a stronger key (ECDSA P-256, or RSA with at least 2048 bits)")
		}},
	{code: "insecure_signature", level: LevelFail, when: isReason(sni.InsecureSignature),
		say: func(f *facts) (string, string) {
			return "the certificate has a SHA-1 or MD5 signature, which can be forged", f.install("a certificate with a SHA-256 signature")
		}},
	{code: "wrong_usage", level: LevelFail, when: isReason(sni.WrongUsage),
		say: func(f *facts) (string, string) {
			return "the certificate is not for servers (its extended key usage lacks serverAuth)", f.install("a server certificate")
		}},
	{code: "name_constraint", level: LevelFail, when: isReason(sni.NameConstraint),
		say: func(f *facts) (string, string) {
			return "the authority may not certify this name: " + cut(reasonOf(f).Err.Error()), f.install("a certificate of another authority")
		}},
	{code: "self_signed", level: LevelFail, when: func(f *facts) bool { return isReason(sni.UnknownAuthority)(f) && isSelfSigned(f.presented[0]) },
		say: func(f *facts) (string, string) {
			return "the origin's certificate is self-signed, and proves nothing", f.install("a certificate of a public authority") + "; or put this certificate into ca_pem, after the customer has confirmed it"
		}},
	{code: "ca_pem_mismatch", level: LevelFail, when: func(f *facts) bool { return isReason(sni.UnknownAuthority)(f) && f.route.CAPEM != "" },
		say: func(f *facts) (string, string) {
			message := fmt.Sprintf("no certificate in ca_pem is an authority of the origin's certificate, which %q issued", issuerOf(topOf(f.presented)))
			if verifies(f.presented, f.checker.RootCAs, f.name, f.now) == nil {
				return message, "remove ca_pem: the certificate is now of a public authority"
			}
			return message, "add the root of that authority to ca_pem, or have the customer send the intermediate certificates up to the authority in ca_pem"
		}},
	{code: "missing_intermediate", level: LevelFail, when: func(f *facts) bool {
		if !isReason(sni.UnknownAuthority)(f) {
			return false
		}
		top := topOf(f.presented)
		return !isSelfSigned(top) && len(top.IssuingCertificateURL) > 0
	},
		say: func(f *facts) (string, string) {
			top := topOf(f.presented)
			at := ""
			if u := issuerURL(top.IssuingCertificateURL); u != "" {
				at = "; the missing certificate is at " + u
			}
			return fmt.Sprintf("the origin does not send the intermediate certificate %q, or its authority is not trusted", issuerOf(top)),
				fmt.Sprintf("have the customer install the full chain (fullchain.pem)%s. If the authority is private, put its root into ca_pem", at)
		}},
	{code: "private_authority", level: LevelFail, when: isReason(sni.UnknownAuthority),
		say: func(f *facts) (string, string) {
			top := topOf(f.presented)
			if isSelfSigned(top) {
				return fmt.Sprintf("the certificate is of the private authority %q", issuerOf(top)), f.install("a certificate of a public authority") + "; or put that authority's certificate into ca_pem, after the customer has confirmed it"
			}
			return fmt.Sprintf("the certificate is of the authority %q, which is not trusted; the origin does not send the certificate of that authority", issuerOf(top)),
				"if the authority is private, put its root into ca_pem; if it is public, have the customer install the full chain"
		}},
	{code: "malformed_certificate", level: LevelFail, when: isReason(sni.Malformed),
		say: func(f *facts) (string, string) {
			return "the origin's certificate cannot be read: " + cut(reasonOf(f).Err.Error()), f.install("a valid certificate")
		}},
	{code: "invalid_certificate", level: LevelFail, when: isType(sni.TLSCertificateError),
		say: func(f *facts) (string, string) {
			return "the certificate does not verify: " + reasonOf(f).Error(), f.install("a valid certificate")
		}},

	// The handshake.
	{code: "no_tls_http", level: LevelFail, when: func(f *facts) bool { return string(f.record()) == "HTTP/" },
		say: func(f *facts) (string, string) {
			return fmt.Sprintf("no TLS on port %s: the origin answers in plain HTTP", f.port), "correct the port in origin (443 is usual for TLS); or change the origin to http:// and set FORCE_HTTPS=false, if others on the network may read the requests"
		}},
	{code: "no_tls", level: LevelFail, when: func(f *facts) bool { return f.record() != nil },
		say: func(f *facts) (string, string) {
			return fmt.Sprintf("no TLS on port %s: the answer begins with %q", f.port, f.record()), "correct the port in origin"
		}},
	{code: "tls_too_old", level: LevelFail, when: (*facts).tlsVersionRefused,
		say: func(f *facts) (string, string) {
			if f.route.TLSMin == tls.VersionTLS13 {
				return "the origin does not speak TLS 1.3, which tls_min requires", "have the customer enable TLS 1.3, or set tls_min to 1.2"
			}
			if old := f.oldVersion(); old != "" {
				return fmt.Sprintf("the origin speaks %s, and neither TLS 1.2 nor TLS 1.3", old), "have the customer enable TLS 1.2 or later; the proxy never uses older versions, which are broken"
			}
			return "the origin speaks neither TLS 1.2 nor TLS 1.3", "have the customer enable TLS 1.2 or later; the proxy never uses older versions, which are broken"
		}},
	{code: "unrecognized_name", level: LevelFail, when: isAlert(112),
		say: func(f *facts) (string, string) {
			return "the origin has no server with the name " + f.name + " (alert: unrecognized name)",
				"have the customer add " + f.name + " to the load balancer, with a certificate; or " + f.knownName()
		}},
	{code: "client_cert_refused", level: LevelFail, when: func(f *facts) bool { return f.asked && f.route.ClientCert != "" && f.err.Type == sni.TLSAlertReceived },
		say: func(f *facts) (string, string) {
			return fmt.Sprintf("the origin refuses the client certificate %q (alert: %v)", f.route.ClientCert, f.err.Alert), "have the customer trust the certificate's authority, or set client_cert to a certificate that it trusts"
		}},
	{code: "client_cert_wanted", level: LevelFail, when: func(f *facts) bool { return f.asked && f.route.ClientCert == "" && f.err.Type == sni.TLSAlertReceived },
		say: func(f *facts) (string, string) {
			return fmt.Sprintf("the origin wants a client certificate (alert: %v)", f.err.Alert), "put a certificate that the customer trusts into CLIENT_CERTS_DIR, and its name into client_cert"
		}},
	{code: "http2_without_alpn", level: LevelFail, when: answersUnagreed,
		say: func(f *facts) (string, string) {
			if f.name == "" {
				return "the origin answers in HTTP/2, which the proxy does not speak over http://", `have the customer enable HTTP/1.1 on the port; or change the origin to https://, and set protocols to ["h2"]`
			}
			return "the origin answers in HTTP/2, and did not agree to it in the handshake", `have the customer enable ALPN for h2 on the port, and set protocols to ["h2"]; or have the customer enable HTTP/1.1`
		}},
	{code: "http2_only", level: LevelFail, when: func(f *facts) bool { return f.instead == alpnHTTP2 || errors.Is(f.err, sni.ErrHTTP2Only) },
		say: fixed("the origin speaks only HTTP/2, and the route offers it HTTP/1.1", `set protocols to ["h2"] (--protocols h2), or have the customer enable HTTP/1.1 on the port`)},
	{code: "no_http2", level: LevelFail, when: func(f *facts) bool { return f.instead == alpnHTTP1 },
		say: fixed("the origin does not speak HTTP/2, the only protocol that the route lists", "add http/1.1 to protocols, or remove protocols, or have the customer enable HTTP/2 on the port")},
	{code: "no_common_protocol", level: LevelFail, when: isAlert(noApplicationProtocol),
		say: fixed("the origin speaks neither HTTP/2 nor HTTP/1.1 (alert: no application protocol)", "have the customer enable one of them for TLS on the port, or correct the port in origin")},
	{code: "handshake_refused", level: LevelFail, when: isAlert(40),
		say: func(f *facts) (string, string) {
			return "the origin refuses the handshake (alert: handshake failure)",
				"it has no certificate for " + f.name + ", no cipher suite in common with the proxy, or a kind of key that the proxy does not support (ML-DSA, RSASSA-PSS, brainpool): have the customer add the name, enable ECDHE with AES-GCM or ChaCha20, or use a key of ECDSA P-256 or RSA"
		}},
	{code: "alert", level: LevelFail, when: isType(sni.TLSAlertReceived),
		say: func(f *facts) (string, string) {
			return fmt.Sprintf("the origin ends the handshake (alert: %v)", f.err.Alert),
				"most often it has no certificate for " + f.name + ": have the customer add the name, or " + f.knownName() + "; the origin's log says more"
		}},
	{code: "renegotiation", level: LevelFail, when: func(f *facts) bool { return errors.Is(f.err, sni.ErrRenegotiation) },
		say: func(f *facts) (string, string) {
			advice := "have the customer ask for the client certificate in the first handshake, for the whole site, or offer TLS 1.3"
			if f.route.ClientCert == "" {
				advice += "; then put a certificate that the customer trusts into CLIENT_CERTS_DIR, and its name into client_cert"
			}
			return "the origin asks for TLS renegotiation, which the proxy does not support; most often this is for a client certificate", advice
		}},
	{code: "misdirected", level: LevelFail, when: resetForNames,
		say: func(f *facts) (string, string) {
			return fmt.Sprintf("the origin does not serve %s under the server name %s (it sent RST_STREAM with PROTOCOL_ERROR, as Tomcat does over HTTP/2)", f.hostHeader(), f.name), f.oneName()
		}},
	{code: "ping_timeout", level: LevelFail, when: func(f *facts) bool { return errors.Is(f.err, sni.ErrPingTimeout) },
		say: fixed("the origin did not answer an HTTP/2 PING in time", "have the customer look at the load of the origin; or leave h2 out of protocols, since HTTP/1.1 has no PING")},
	{code: "reset", level: LevelFail, when: func(f *facts) bool { return resetOf(f) != nil },
		say: func(f *facts) (string, string) {
			return cut(resetOf(f).Error()), "have the customer look at the origin's log; or leave h2 out of protocols"
		}},
	{code: "hung_up", level: LevelFail, when: func(f *facts) bool { return f.err.Type == sni.ConnectionTerminated && f.asked },
		say: func(f *facts) (string, string) { // Node and others send no alert
			if f.route.ClientCert == "" {
				return "the origin asks for a client certificate, and closes the connection if it gets none",
					"put a certificate that the customer trusts into CLIENT_CERTS_DIR, and its name into client_cert; if the origin needs none, have the customer look at its log"
			}
			return fmt.Sprintf("the origin asks for a client certificate, gets %q, and closes the connection", f.route.ClientCert),
				"have the customer trust the certificate's authority, or set client_cert to a certificate that it trusts; if it trusts this one, have the customer look at the origin's log"
		}},
	{code: "handshake_cut", level: LevelFail, when: cutShort,
		say: func(f *facts) (string, string) {
			known := "have the customer add " + f.name + ", with a certificate, to the configuration of TLS there (a filter chain of Envoy or Istio, the SNICallback of Node); or " + f.knownName()
			if f.unnamed {
				return "the origin closes the connection during the TLS handshake for " + f.name + ", and answers a handshake without a name", known
			}
			return "the origin closes the connection during the TLS handshake",
				"it may not know the name: " + known + "; or a firewall drops handshakes for the name or from this address, or the port is not for TLS"
		}},
	{code: "tls_failed", level: LevelFail, when: isType(sni.TLSProtocolError),
		say: func(f *facts) (string, string) {
			return "TLS fails: " + cut(f.err.Err.Error()), "make sure that the port is for TLS; if it is, have the customer look at the origin's TLS settings"
		}},

	// The request.
	{code: "not_http", level: LevelFail, when: isType(sni.HTTPProtocolError),
		say: func(f *facts) (string, string) {
			return "the origin's answer is not HTTP: " + cut(f.err.Err.Error()), "correct the port in origin, or have the customer look at the server that listens there"
		}},
	{code: "answer_timeout", level: LevelFail, when: isType(sni.HTTPResponseTimeout),
		say: func(f *facts) (string, string) {
			return fmt.Sprintf("the origin accepts the connection, but does not answer %s in time", f.asking()), "have the customer look at the origin's log; or check another --path, or set a longer --timeout"
		}},
	{code: "hung_up", level: LevelFail, when: isType(sni.ConnectionTerminated),
		say: fixed("the origin closes the connection and does not answer the request", "have the customer look at the origin's log; the cause may be a web application firewall (WAF), or a port for another protocol")},
	{code: "header_too_large", level: LevelFail, when: isType(sni.HTTPResponseHeaderSectionSize),
		say: fixed("the response header is larger than the proxy accepts", "have the customer send a smaller header (256 KiB at most)")},
	{code: "failed", level: LevelFail, when: func(*facts) bool { return true },
		say: func(f *facts) (string, string) {
			return fmt.Sprintf("%s: %s", f.err.Type, cut(f.err.Err.Error())), "read the message; docs/errors.md explains the type"
		}},
}

// besides returns the other faults of the certificate, so that people do not find them one after another.
func (f *facts) besides(code string) []Finding {
	if f.err.Type != sni.TLSCertificateError || len(f.presented) == 0 {
		return nil
	}
	var all []Finding
	also := func(code, message, advice string) {
		all = append(all, Finding{Level: LevelFail, Code: code, Message: message, Advice: advice})
	}
	leaf := f.leaf()
	if code != "wrong_name" && leaf.VerifyHostname(f.name) != nil {
		also("wrong_name", fmt.Sprintf("the certificate is also for another name: it is for %s, not for %s", list(namesOf(leaf)), f.name), f.serverNameFor(namesOf(leaf)))
	}
	roots := f.checker.RootCAs
	if f.route.CAPEM != "" {
		roots = x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(f.route.CAPEM))
	}
	// Verification at its last day tells an unknown authority from a certificate that has expired.
	if code == "wrong_name" || code == "certificate_expired" {
		if _, unknown := errors.AsType[x509.UnknownAuthorityError](verifies(f.presented, roots, "", leaf.NotAfter)); unknown {
			also("untrusted", fmt.Sprintf("the authority %q of the certificate is also not trusted", issuerOf(topOf(f.presented))), f.install("a certificate of a public authority, with its chain")+"; or put its root into ca_pem")
		}
	}
	return all
}

func fixed(message, advice string) func(*facts) (string, string) {
	return func(*facts) (string, string) { return message, advice }
}

func isType(t sni.ErrorType) func(*facts) bool {
	return func(f *facts) bool { return f.err.Type == t }
}

func isReason(r sni.CertificateReason) func(*facts) bool {
	return func(f *facts) bool { c := reasonOf(f); return c != nil && c.Reason == r }
}

// reasonOf returns the fault of the certificate, or nil if its verification did not fail.
func reasonOf(f *facts) *sni.CertificateError {
	return causeOf[*sni.CertificateError](f)
}

func isAlert(n tls.AlertError) func(*facts) bool {
	return func(f *facts) bool { return f.err.Type == sni.TLSAlertReceived && f.err.Alert == n }
}

// causeOf returns the cause of type T in the error, or nil.
func causeOf[E error](f *facts) E {
	var none E
	if f.err == nil { // a nil *sni.Error in an error would not be nil
		return none
	}
	c, _ := errors.AsType[E](error(f.err))
	return c
}

func targetError(f *facts) (*sni.TargetError, bool) {
	return errors.AsType[*sni.TargetError](error(f.err))
}

func (f *facts) leaf() *x509.Certificate {
	if len(f.presented) == 0 {
		return nil
	}
	return f.presented[0]
}

// install is the advice to install another certificate. Only the owner of the key can follow it.
func (f *facts) install(what string) string {
	return fmt.Sprintf("have the customer install %s for %s", what, f.name)
}

// serverNameFor returns the advice for a certificate with other names.
func (f *facts) serverNameFor(names []string) string {
	suggestion := "server_name to a name in the certificate, if that name belongs to the customer too"
	for _, n := range names {
		if name, ok := hostnameOf(n); ok {
			suggestion = fmt.Sprintf("server_name to %s, if that name belongs to the customer too", name)
			break
		}
	}
	if leaf := f.leaf(); leaf != nil && leaf.VerifyHostname(f.origin) == nil {
		suggestion = "server_name to " + f.origin // the operator has set it already
	}
	if len(names) == 0 {
		return f.install("a certificate")
	}
	return fmt.Sprintf("set %s; or %s", suggestion, f.install("a certificate"))
}

// record returns the first bytes of a response that is not TLS, and nil for TLS.
func (f *facts) record() []byte {
	if no, ok := errors.AsType[tls.RecordHeaderError](error(f.err)); ok {
		return no.RecordHeader[:]
	}
	return nil
}

// tlsVersionRefused reports whether the origin supports no TLS version that the route allows.
func (f *facts) tlsVersionRefused() bool {
	return isAlert(70)(f) || f.err.Type == sni.TLSProtocolError && strings.Contains(f.err.Err.Error(), "unsupported protocol version")
}

// oldVersion returns the version that the origin has chosen, if the error has it.
func (f *facts) oldVersion() string {
	for _, v := range []uint16{tls.VersionTLS11, tls.VersionTLS10} {
		if strings.HasSuffix(f.err.Err.Error(), fmt.Sprintf("protocol version %x", v)) {
			return tls.VersionName(v)
		}
	}
	return ""
}

func (f *facts) path() string { return cmp.Or(f.checker.Path, "/") }

func namesOf(c *x509.Certificate) []string { return (&sni.CertificateError{Certificate: c}).Names() }

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// list joins the first few names.
func list(names []string) string {
	const most = 5
	if len(names) == 0 {
		return "no name"
	}
	more := ""
	if len(names) > most {
		names, more = names[:most], fmt.Sprintf(" and %d more", len(names)-most)
	}
	short := make([]string, 0, most)
	for _, n := range names {
		short = append(short, fmt.Sprintf("%.80s", n))
	}
	return strings.Join(short, ", ") + more
}

// Codes returns the codes that a [Finding] may have, in the order of their tables.
func Codes() []string {
	codes := []string{
		"invalid_route", "interrupted", "not_reachable_from_here", "many_addresses", "dns_not_found", "dns_timeout", "dns_failed",
		"untrusted", "dns_leads_to_origin", "dns_leads_nowhere", "dns_leads_elsewhere", "dns_unknown", "target_unknown", "origin_is_host", "origin_is_proxy",
	}
	for _, table := range [][]rule{failures, answers} {
		for _, r := range table {
			if !slices.Contains(codes, r.code) {
				codes = append(codes, r.code)
			}
		}
	}
	return codes
}
