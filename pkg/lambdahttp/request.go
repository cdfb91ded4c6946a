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

// parts are the parts of a request, as a front reads them from its event.
type parts struct {
	method  string
	path    string      // encoded as for a request line; it may lack the first slash
	query   string      // encoded too
	headers http.Header // by canonical names; becomes the header of the request
	domain  string      // the name of the front in the client's URL; empty if the event does not have it
	client  string      // IP address of the client, with or without a port
	tls     bool        // whether the client used TLS
	stage   string      // name that the path may begin with; empty if the front has no stages
	began   time.Time   // when the front got the request, by its clock

	// make returns a request for "/" with the event's context. The context gets the given domain name.
	make func(ctx context.Context, domain string) (*http.Request, error)
}

// withTLS marks a request as one over TLS. Events do not have the version and the cipher.
var withTLS = &tls.ConnectionState{HandshakeComplete: true}

// libraryHeaders is the prefix of the headers that can hold the context of aws-lambda-go-api-proxy. The package never uses them, so a
// client must have made them up. Other adapters have such headers too.
const libraryHeaders = "X-Golambdaproxy-"

var adapterHeaders = []string{"X-Amzn-Request-Context", "X-Amzn-Lambda-Context"}

// request makes the request of an event. It takes the library's request, and sets the parts that the library did not get.
func (a *Adapter) request(ctx context.Context, p *parts, e *event) (*http.Request, error) {
	if !isToken(p.method) { // before the library, because that logs a method that it cannot parse
		return nil, fmt.Errorf("%w: method %.40q", ErrEvent, p.method)
	}
	domain := strings.TrimSuffix(p.domain, ":") // the port in a URL may be empty
	if !isDomain(domain) {
		if len(p.headers["Host"]) == 0 {
			return nil, fmt.Errorf("%w: it has no Host, and its domain name is %.80q. Whatever plays the front has to send one of them", ErrSetup, p.domain)
		}
		domain = "" // the library would make a URL of it
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
	// The client's Host, which the platform has compared with its domain names. If there is no Host: the name of the front.
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
	// net/http has these in fields of the request. Expect goes too, because the whole body is here already.
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Expect"} {
		delete(headers, name)
	}
	r.Method = strings.ToUpper(p.method) // as the fronts and the library do
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

// withoutPrefix removes whole segments from the beginning of a path. The prefix "/api" removes nothing from "/api-v2".
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

// remoteAddr returns an address in the form of net/http, with a port, because httputil.ReverseProxy reads only that form. It returns ""
// for a text that is not an address, such as "test-invoke-source-ip" of the console.
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

// isDomain reports whether s can name a front in a URL: it is empty, a domain name or an IP address. It may have a port, as behind
// emulators.
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

// headers merges the two forms of headers in an event. If both have a name, the form with all values wins.
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
