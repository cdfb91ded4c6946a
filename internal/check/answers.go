package check

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// codeServerError is the code for an origin that proves its name, and answers with a server error.
const codeServerError = "server_error"

// answers are the rows for responses. All rows that apply count.
var answers = []rule{
	{code: "loop", level: LevelFail, when: isLoop,
		say: fixed("the origin sends requests back to the proxy, which refuses them", "set origin to the customer's load balancer")},
	{code: "another_proxy", level: LevelWarn, when: func(f *facts) bool {
		return !isLoop(f) && strings.HasPrefix(f.response.Header.Get("Proxy-Status"), "sleight")
	},
		say: func(f *facts) (string, string) {
			return "the origin is another sleight, and it answers with an error: " + cut(f.response.Header.Get("Proxy-Status")), "set origin to the customer's load balancer, or give that sleight a route for " + f.host
		}},
	{code: "misdirected", level: LevelFail, when: misdirected,
		say: func(f *facts) (string, string) {
			add := "have the customer add " + f.hostHeader() + " to the server that answers"
			if !f.twoNames() {
				return fmt.Sprintf("the origin answers that it does not serve %s (%d)", f.hostHeader(), f.response.StatusCode), add
			}
			return fmt.Sprintf("the origin does not serve %s under the server name %s (%d)", f.hostHeader(), f.name, f.response.StatusCode), f.oneName() + "; or " + add
		}},
	{code: "tls_port", level: LevelFail, when: isTLSPort,
		say: func(f *facts) (string, string) {
			return fmt.Sprintf("port %s is for TLS, and the origin of the route is http://", f.port), "change the origin to https://"
		}},
	{code: "client_cert_wanted", level: LevelFail, when: wantsClientCert,
		say: func(f *facts) (string, string) {
			return fmt.Sprintf("the origin requires a client certificate, and answers %d if it gets none", f.response.StatusCode), "put a certificate that the customer trusts into CLIENT_CERTS_DIR, and its name into client_cert"
		}},
	{code: "client_cert_refused", level: LevelFail, when: refusesClientCert,
		say: func(f *facts) (string, string) {
			return fmt.Sprintf("the origin refuses the client certificate %q (%d)", f.route.ClientCert, f.response.StatusCode), "have the customer trust the certificate's authority, or set client_cert to a certificate that it trusts"
		}},
	{code: "redirect_loop", level: LevelFail, when: func(f *facts) bool { return redirects(f) == "loop" },
		say: func(f *facts) (string, string) {
			if f.name == "" {
				return fmt.Sprintf("the origin redirects to https (%d), but the proxy always sends requests over http://: clients are redirected forever", f.response.StatusCode),
					"change the origin to https://, or have the customer trust X-Forwarded-Proto"
			}
			return fmt.Sprintf("the origin redirects to the URL of the request itself (%d): clients are redirected forever", f.response.StatusCode),
				"have the customer find out why; often the origin takes the request for one over http, because it does not read X-Forwarded-Proto"
		}},
	{code: "redirect_to_http", level: LevelWarn, when: func(f *facts) bool { return redirects(f) == "http" },
		say: func(f *facts) (string, string) {
			return "the origin redirects to http://, and perhaps nothing listens there: " + cut(f.response.Header.Get("Location")), "have the customer redirect to https://, or trust X-Forwarded-Proto"
		}},
	{code: "redirect_to_origin", level: LevelWarn, when: func(f *facts) bool { return redirects(f) == "origin" },
		say: func(f *facts) (string, string) {
			return "the origin redirects clients to its own name, past the proxy: " + cut(f.response.Header.Get("Location")), f.pastNoMore()
		}},
	{code: "redirect", level: LevelNote, when: func(f *facts) bool { return redirects(f) == "elsewhere" },
		say: func(f *facts) (string, string) {
			return fmt.Sprintf("the origin redirects (%d) to %s", f.response.StatusCode, cut(f.response.Header.Get("Location"))), ""
		}},
	{code: "unknown_host", level: LevelFail, when: func(f *facts) bool { return unknownHost(f) != "" },
		say: func(f *facts) (string, string) {
			message := fmt.Sprintf("%s does not know the Host %s (%d)", unknownHost(f), f.hostHeader(), f.response.StatusCode)
			if f.route.HostHeader != "" {
				return message, f.knownHost() + " there"
			}
			return message, "set host_header to a name that it knows, or have the customer add " + f.host + " there"
		}},
	{code: "forbidden", level: LevelWarn, when: func(f *facts) bool { return hasStatus(http.StatusForbidden)(f) && plain(f) },
		say: func(f *facts) (string, string) {
			return "the origin forbids " + f.asking() + " (403)", f.oneNameFirst("a web application firewall (WAF) may refuse the request, or the origin may not know the Host: check another --path, " + f.knownHost() + ", or have the customer allow the proxy")
		}},
	{code: "not_found", level: LevelWarn, when: func(f *facts) bool {
		return (hasStatus(http.StatusNotFound)(f) || hasStatus(http.StatusGone)(f)) && plain(f)
	},
		say: func(f *facts) (string, string) {
			return fmt.Sprintf("the origin has nothing at %s (%d)", f.asking(), f.response.StatusCode), f.oneNameFirst("check a --path that exists; if that fails too, the origin may not know the Host: " + f.knownHost())
		}},
	{code: "unauthorized", level: LevelNote, when: hasStatus(http.StatusUnauthorized),
		say: func(f *facts) (string, string) { return "the origin requires a login (401)", "" }},
	{code: "method_not_allowed", level: LevelNote, when: hasStatus(http.StatusMethodNotAllowed),
		say: func(f *facts) (string, string) {
			return "the origin does not allow " + f.asking() + " (405)", "check with --method GET, or another --path"
		}},
	{code: "too_many_requests", level: LevelWarn, when: hasStatus(http.StatusTooManyRequests),
		say: fixed("the origin limits requests (429)", "all requests now come from the proxy's addresses: have the customer tell clients apart by X-Forwarded-For")},
	{code: "client_error", level: LevelWarn, when: func(f *facts) bool {
		s := f.response.StatusCode
		return s >= 400 && s < 500 && plain(f) && s != 401 && s != 403 && s != 404 && s != 405 && s != 410 && s != 421 && s != 429
	},
		say: func(f *facts) (string, string) {
			advice := "check another --path; if that fails too, the origin may not know the Host: " + f.knownHost()
			if f.response.StatusCode == http.StatusBadRequest {
				advice = f.oneNameFirst(advice)
			}
			return fmt.Sprintf("the origin refuses %s (%d)", f.asking(), f.response.StatusCode), advice
		}},
	{code: codeServerError, level: LevelFail, when: func(f *facts) bool { return f.response.StatusCode >= 500 && plain(f) },
		say: func(f *facts) (string, string) {
			advice := "have the customer look at the origin's log"
			if s := f.response.StatusCode; s == 502 || s == 503 || s == 504 {
				advice = "the load balancer may have no server that answers: have the customer look at its targets"
			}
			return fmt.Sprintf("the origin answers %s with an error (%d)", f.asking(), f.response.StatusCode), advice
		}},
	{code: "http2_not_agreed", level: LevelNote, when: func(f *facts) bool { return slices.Contains(f.offered, alpnHTTP2) && f.http2 != nil && !*f.http2 },
		say: fixed("the origin does not agree to HTTP/2, which the route lists: the proxy uses HTTP/1.1", "")},
	{code: "expires_soon", level: LevelWarn, when: func(f *facts) bool {
		return len(f.chain) > 0 && f.checker.warnDays() >= 0 && daysLeft(endOf(f.chain), f.now) < f.checker.warnDays()
	},
		say: func(f *facts) (string, string) {
			end := endOf(f.chain)
			what := "the origin's certificate"
			if !f.leaf().NotAfter.Equal(end) {
				what = "a certificate of an authority in the chain"
			}
			return fmt.Sprintf("%s expires in %s, on %s", what, span(end.Sub(f.now)), day(end)), f.install("a renewed certificate")
		}},
	{code: "client_cert_asked", level: LevelNote, when: func(f *facts) bool { return f.asked && f.route.ClientCert == "" && !wantsClientCert(f) },
		say: fixed("the origin asks for a client certificate, and does not require one", "")},
}

// plain reports whether no row above explains the status.
func plain(f *facts) bool {
	return !isLoop(f) && !misdirected(f) && unknownHost(f) == "" && !wantsClientCert(f) && !refusesClientCert(f) && !isTLSPort(f) && !strings.HasPrefix(f.response.Header.Get("Proxy-Status"), "sleight")
}

func isTLSPort(f *facts) bool {
	return f.name == "" && f.response.StatusCode == http.StatusBadRequest &&
		containsAny(f.body, "HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port", "speaking plain HTTP to an SSL-enabled")
}

func hasStatus(status int) func(*facts) bool {
	return func(f *facts) bool { return f.response.StatusCode == status }
}

func isLoop(f *facts) bool {
	return strings.HasPrefix(f.response.Header.Get("Proxy-Status"), "sleight") && strings.Contains(f.response.Header.Get("Proxy-Status"), "proxy_loop_detected")
}

// wantsClientCert reports whether the response says that a client certificate is missing. nginx turns its own statuses for that into 400.
func wantsClientCert(f *facts) bool {
	s := f.response.StatusCode
	return f.asked && f.route.ClientCert == "" &&
		(s == 495 || s == 496 || s == http.StatusForbidden || (s == http.StatusBadRequest || s == http.StatusUnauthorized) && containsAny(strings.ToLower(f.body), "certificate"))
}

// refusesClientCert reports whether the response says that the client certificate was refused. nginx sends a page for that, also if the
// certificate is optional (ssl_verify_client optional).
func refusesClientCert(f *facts) bool {
	switch f.response.StatusCode {
	case 495, 496:
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		if !strings.Contains(strings.ToLower(f.body), "certificate") {
			return false
		}
	default:
		return false
	}
	return f.asked && f.route.ClientCert != ""
}

// redirects returns the kind of a redirect: "loop", "http", "origin", "elsewhere", or "" if the response is not a redirect.
func redirects(f *facts) string {
	location := f.response.Header.Get("Location")
	if f.response.StatusCode < 300 || f.response.StatusCode > 399 || location == "" {
		return ""
	}
	asked := *f.response.Request.URL
	asked.Scheme, asked.Host = "https", f.host // as in the client's browser
	to, err := asked.Parse(location)
	if err != nil {
		return "elsewhere"
	}
	host, err := hostname.Normalize(to.Host)
	switch {
	case err != nil:
		return "elsewhere"
	case host == f.host && to.Scheme == "http":
		return "http"
	case host == f.host && samePage(to, &asked) && f.response.Header.Get("Set-Cookie") == "": // with a cookie, the next response may be another
		return "loop"
	case host == f.origin && host != f.host && !proxy.RewritesNames(f.route, f.host):
		return "origin"
	}
	return "elsewhere"
}

func samePage(a, b *url.URL) bool {
	path := func(u *url.URL) string { return cmp.Or(u.EscapedPath(), "/") }
	return a.Scheme == b.Scheme && (a.Port() == "" || a.Port() == "443") && path(a) == path(b) && a.RawQuery == b.RawQuery
}

// strangers are the error pages of services for a Host that they do not know.
var strangers = []struct {
	service string
	server  string // in the field Server, in lower case; empty means any server
	texts   []string
}{
	{"CloudFront", "cloudfront", []string{"The request could not be satisfied", "Bad request"}},
	{"Cloudflare", "cloudflare", []string{"error code: 1001", "error code: 1003", "error code: 1014", "error code: 1016", "error code: 1034", "Error 1001", "Error 1014", "Error 1016", "Error 1034"}},
	{"Fastly", "", []string{"Fastly error: unknown domain"}},
	{"S3", "amazons3", []string{"NoSuchBucket"}},
	{"GitHub Pages", "github.com", []string{"There isn't a GitHub Pages site here"}},
	{"Heroku", "", []string{"no-such-app", "No such app"}},
	{"Azure", "", []string{"404 Web Site not found", "Our services aren't available right now"}},
	{"Vercel", "vercel", []string{"DEPLOYMENT_NOT_FOUND"}},
	{"Akamai", "akamaighost", []string{"Invalid URL"}},
}

// unknownHost returns the service whose error page says that it does not know the Host, or "".
func unknownHost(f *facts) string {
	if f.response.StatusCode < 400 {
		return ""
	}
	server := strings.ToLower(f.response.Header.Get("Server"))
	for _, s := range strangers {
		if strings.Contains(server, s.server) && containsAny(f.body, s.texts...) {
			return s.service
		}
	}
	return ""
}

func containsAny(s string, texts ...string) bool {
	for _, t := range texts {
		if strings.Contains(s, t) {
			return true
		}
	}
	return false
}

// pastNoMore is the advice if a redirect leads clients to the origin's own name.
func (f *facts) pastNoMore() string {
	if f.route.HostHeader != "" {
		return "set rewrite to true, or remove host_header if the customer's origin can serve " + f.host
	}
	return "set rewrite to true, or have the customer redirect to the Host of the request"
}

func (f *facts) asking() string { return f.checker.method() + " " + f.path() }

func (c *Checker) warnDays() int {
	if c.WarnDays == 0 {
		return defaultWarnDays
	}
	return c.WarnDays
}
