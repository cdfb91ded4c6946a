package lambdahttp

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// overTLS marks requests as what they are: the fronts accept nothing but TLS. Which
// version and cipher the client used, they do not tell.
var overTLS = &tls.ConnectionState{HandshakeComplete: true}

// libraryHeaders is the prefix of the headers in which aws-lambda-go-api-proxy can pass
// its context on. We never use them, so one that arrives was made up by a client.
const libraryHeaders = "X-Golambdaproxy-"

// mend puts into r, as the library made it for path "/" and without headers, what was
// kept from the library.
func mend(r *http.Request, e *event, path, rawPath, query string, headers http.Header, sourceIP, domainName string) error {
	body, err := decodeBody(e)
	if err != nil {
		return err
	}
	for name, values := range headers {
		for _, v := range values {
			if !isToken(name) || strings.ContainsFunc(v, isControl) {
				return fmt.Errorf("%w: header %.80q cannot be sent on", ErrEvent, name)
			}
		}
		if strings.HasPrefix(name, libraryHeaders) {
			delete(headers, name)
		}
	}
	// The client's Host, which the platform has checked against its domain names; without
	// one, the name under which it was reached.
	host := domainName
	if hosts := headers["Host"]; len(hosts) > 0 {
		if host = hosts[0]; len(hosts) > 1 {
			return fmt.Errorf("%w: more than one Host", ErrEvent)
		}
	}
	// net/http has these in fields of the request, and the body is all here: nobody has to
	// wait for a 100.
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Expect"} {
		delete(headers, name)
	}
	r.Header = headers
	r.Host = host
	r.URL = &url.URL{Path: path, RawPath: rawPath, RawQuery: query}
	r.RequestURI = r.URL.RequestURI()
	r.TLS = overTLS
	r.ContentLength = int64(len(body))
	if len(body) == 0 {
		r.Body, r.GetBody = http.NoBody, nil
	} else {
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		r.Body, _ = r.GetBody()
	}
	r.RemoteAddr = ""
	if sourceIP != "" {
		r.RemoteAddr = net.JoinHostPort(sourceIP, "0") // without a port, ReverseProxy would not find the address
	}
	return nil
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

// checkMethod comes before the library, which logs what it cannot parse.
func checkMethod(method string) error {
	if !isToken(method) {
		return fmt.Errorf("%w: method %.40q", ErrEvent, method)
	}
	return nil
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
