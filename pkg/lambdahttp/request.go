package lambdahttp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/uri"
)

// parts are what a front makes of its event.
type parts struct {
	method  string
	path    string      // encoded as for a request line, but perhaps without its first slash
	query   string      // likewise
	headers http.Header // by canonical names; becomes the request's
	domain  string      // under which the front was reached; empty where it does not say
	client  string      // IP address of the client, with or without a port
	tls     bool        // the client spoke TLS to the front
	stage   string      // that the path may begin with; empty for none
	began   time.Time   // by the front's clock

	// make makes a request for "/" with the event's context in it, whose domain name is the given one.
	make func(ctx context.Context, domain string) (*http.Request, error)
}

// withTLS marks requests as what they are. Which version and cipher the client used, the
// fronts do not tell.
var withTLS = &tls.ConnectionState{HandshakeComplete: true}

// libraryHeaders is the prefix of the headers in which aws-lambda-go-api-proxy can pass
// its context on. We never use them, so one that arrives was made up by a client. So are
// those in which other adapters pass it on.
const libraryHeaders = "X-Golambdaproxy-"

var adapterHeaders = []string{"X-Amzn-Request-Context", "X-Amzn-Lambda-Context"}

// request makes the request of an event: the library's, with all put into it that was
// kept from the library.
func (a *Adapter) request(ctx context.Context, p *parts, e *event) (*http.Request, error) {
	if !isToken(p.method) { // before the library, which logs what it cannot parse
		return nil, fmt.Errorf("%w: method %.40q", ErrEvent, p.method)
	}
	domain := strings.TrimSuffix(p.domain, ":") // a URL may have a port that is empty
	if !isDomain(domain) {
		if len(p.headers["Host"]) == 0 {
			return nil, fmt.Errorf("%w: it has no Host, and its domain name is %.80q. Whatever plays the front has to send one of them", ErrSetup, p.domain)
		}
		domain = "" // the library makes a URL of it
	}
	body, err := decodeBody(e)
	if err != nil {
		return nil, err
	}
	headers := p.headers
	for name, values := range headers {
		for _, v := range values {
			if !isToken(name) || strings.ContainsFunc(v, isControl) {
				return nil, fmt.Errorf("%w: header %.80q cannot be sent on", ErrEvent, name)
			}
		}
		if strings.HasPrefix(name, libraryHeaders) || slices.Contains(adapterHeaders, name) {
			delete(headers, name)
		}
	}
	if cookies := headers["Cookie"]; len(cookies) > 1 {
		headers["Cookie"] = []string{strings.Join(cookies, "; ")} // one line: RFC 6265 section 5.4
	}
	// The client's Host, which the platform has checked against its domain names; without
	// one, the name under which it was reached.
	host := domain
	if hosts := headers["Host"]; len(hosts) > 0 {
		if host = hosts[0]; len(hosts) > 1 {
			return nil, fmt.Errorf("%w: more than one Host", ErrEvent)
		}
	}
	rawPath := p.path
	if !strings.HasPrefix(rawPath, "/") {
		rawPath = "/" + rawPath
	}
	if a.StripStage {
		rawPath = withoutPrefix(rawPath, "/"+uri.EscapeDecodedPath(p.stage))
	}
	rawPath = withoutPrefix(rawPath, a.BasePath)
	path, err := url.PathUnescape(rawPath)
	if err != nil {
		return nil, fmt.Errorf("%w: path: %w", ErrEvent, err)
	}
	r, err := p.make(ctx, domain)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	// net/http has these in fields of the request, and the body is all here: nobody has to
	// wait for a 100.
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Expect"} {
		delete(headers, name)
	}
	r.Method = strings.ToUpper(p.method) // as fronts and the library do
	r.Header = headers
	r.Host = host
	r.URL = &url.URL{Path: path, RawPath: rawPath, RawQuery: p.query}
	r.RequestURI = r.URL.RequestURI()
	if r.TLS = nil; p.tls {
		r.TLS = withTLS
	}
	r.ContentLength = int64(len(body))
	if len(body) == 0 {
		r.Body, r.GetBody = http.NoBody, nil
	} else {
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		r.Body, _ = r.GetBody()
	}
	r.RemoteAddr = remoteAddr(p.client)
	return r, nil
}

// withoutPrefix takes whole segments off the front of a path: of "/api", "/api-v2" keeps all.
func withoutPrefix(path, prefix string) string {
	prefix = strings.TrimSuffix(prefix, "/")
	rest, ok := strings.CutPrefix(path, prefix)
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return path
	case rest == "":
		return "/"
	}
	return rest
}

// remoteAddr returns an address as net/http has it, with a port, without which
// httputil.ReverseProxy would not find the address. What is no address, such as the
// "test-invoke-source-ip" of a console, becomes none.
func remoteAddr(client string) string {
	if ip, err := netip.ParseAddr(strings.Trim(client, "[]")); err == nil {
		return netip.AddrPortFrom(ip, 0).String()
	}
	if ap, err := netip.ParseAddrPort(client); err == nil {
		return ap.String()
	}
	return ""
}

func decodeBody(e *event) ([]byte, error) {
	if !e.IsBase64Encoded {
		return []byte(e.Body), nil
	}
	body, err := base64.StdEncoding.DecodeString(e.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: body: %w", ErrEvent, err)
	}
	return body, nil
}

// isToken reports whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// isDomain reports whether s can name a front in a URL: it is empty, a domain name or an IP address. A port
// may follow, as it does behind emulators.
func isDomain(s string) bool {
	name := s
	if at := strings.LastIndexByte(s, ':'); at >= 0 && !strings.HasSuffix(s, "]") {
		if _, err := strconv.ParseUint(s[at+1:], 10, 16); err != nil {
			return false
		}
		name = s[:at]
	}
	if address, ok := strings.CutPrefix(name, "["); ok {
		address, ok = strings.CutSuffix(address, "]")
		ip, err := netip.ParseAddr(address)
		return ok && err == nil && ip.Is6() && ip.Zone() == ""
	}
	return !strings.ContainsFunc(name, notInDomain)
}

func notInDomain(c rune) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_')
}

// isControl reports whether c may not be in a field value (RFC 9110 section 5.5).
func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// headers merges the two forms in which headers come. Where both have a name, the one
// with all values wins.
func (e *event) headers() http.Header {
	headers := make(http.Header, max(len(e.Headers), len(e.MultiHeaders)))
	for name, values := range e.MultiHeaders {
		if len(values) > 0 {
			name = textproto.CanonicalMIMEHeaderKey(name)
			headers[name] = append(headers[name], values...)
		}
	}
	fromMulti := len(headers) > 0
	backing := make([]string, len(e.Headers)) // one allocation for all values
	for name, value := range e.Headers {
		name = textproto.CanonicalMIMEHeaderKey(name)
		switch known := headers[name]; {
		case known == nil:
			backing[0] = value
			headers[name], backing = backing[:1:1], backing[1:]
		case !fromMulti: // two spellings of one name
			headers[name] = append(known, value)
		}
	}
	return headers
}
