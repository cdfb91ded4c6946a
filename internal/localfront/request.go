package localfront

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// request is a client's request, as all fronts read it.
type request struct {
	method   string
	protocol string      // such as HTTP/1.1
	path     string      // as the client encoded it
	query    string      // as the client encoded it
	header   http.Header // with Host, by canonical name
	host     string      // without a port
	body     []byte
	peer     string // the client's address, without a port
	scheme   string // of our own listener, http or https
	port     string // of our own listener
	id       string
	time     time.Time
}

// read reads a request. A status other than zero is that of the limit that the request exceeds.
func read(w http.ResponseWriter, r *http.Request, l limits) (req *request, status int) {
	if l.head > 0 && headSize(r) > l.head {
		return nil, http.StatusRequestHeaderFieldsTooLarge
	}
	body := r.Body
	if l.body > 0 {
		body = http.MaxBytesReader(w, r.Body, l.body)
	}
	req = &request{
		method: r.Method, protocol: r.Proto, header: maps.Clone(r.Header), host: hostname(r.Host),
		scheme: "http", id: rand.Text(), time: time.Now().UTC(),
	}
	var err error
	if req.body, err = io.ReadAll(body); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, http.StatusRequestEntityTooLarge
		}
		return nil, http.StatusBadRequest
	}
	req.path, req.query, _ = strings.Cut(target(r), "?")
	if r.Host != "" { // requests of HTTP/1.0 and health checks may lack it
		req.header.Set("Host", r.Host)
	}
	if r.ContentLength != 0 { // with a length, or chunked: fronts pass the body on as a whole
		req.header.Set("Content-Length", strconv.Itoa(len(req.body)))
	}
	if r.TLS != nil {
		req.scheme = "https"
	}
	if req.peer, _, err = net.SplitHostPort(r.RemoteAddr); err != nil {
		req.peer = r.RemoteAddr
	}
	req.port = "80"
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		_, req.port, _ = net.SplitHostPort(local.String())
	}
	return req, 0
}

// headSize returns the size of the request line and the headers, as API Gateway counts it.
func headSize(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(r.Proto) + len("Host") + len(r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// target returns the target of the request line, from the path on.
func target(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		return r.RequestURI
	}
	path := r.URL.EscapedPath() // the target may be http://host/path or *
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if r.URL.RawQuery != "" {
		path += "?" + r.URL.RawQuery
	}
	return path
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// forwarded sets the headers about the client. Fronts append to the client's X-Forwarded-For, and replace the other headers.
func (r *request) forwarded(scheme, port string) {
	chain := append(append([]string{}, r.header["X-Forwarded-For"]...), r.peer)
	r.header.Set("X-Forwarded-For", strings.Join(chain, ", "))
	r.header.Set("X-Forwarded-Proto", scheme)
	r.header.Set("X-Forwarded-Port", port)
	if r.header.Get("X-Amzn-Trace-Id") == "" {
		r.header.Set("X-Amzn-Trace-Id", fmt.Sprintf("Root=1-%08x-%024x", r.time.Unix(), r.time.UnixNano()))
	}
}

// contentType returns the media type in lower case without parameters, or "" if there is no Content-Type.
func (r *request) contentType() string {
	t, _, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if err != nil {
		t, _, _ = strings.Cut(r.header.Get("Content-Type"), ";")
	}
	return strings.ToLower(strings.TrimSpace(t))
}

// text returns the body for an event. It is base64 if the front encodes it, or if JSON could not hold it otherwise.
func (r *request) text(binary bool) (body string, isBase64 bool) {
	if len(r.body) > 0 && (binary || !utf8.Valid(r.body)) {
		return base64.StdEncoding.EncodeToString(r.body), true
	}
	return string(r.body), false
}

// lower returns the headers with names in lower case.
func (r *request) lower() map[string][]string {
	h := make(map[string][]string, len(r.header))
	for name, values := range r.header {
		h[strings.ToLower(name)] = values
	}
	return h
}

// joined returns the headers with lower-case names and one value each.
func (r *request) joined() map[string]string {
	h := make(map[string]string, len(r.header))
	for name, values := range r.lower() {
		h[name] = strings.Join(values, ",")
	}
	return h
}

// cookies returns each cookie by itself.
func (r *request) cookies() []string {
	var all []string
	for _, line := range r.header["Cookie"] {
		for c := range strings.SplitSeq(line, ";") {
			if c = strings.TrimSpace(c); c != "" {
				all = append(all, c)
			}
		}
	}
	return all
}

// last returns the last value of each, or nil if there are no values.
func last(all map[string][]string) map[string]string {
	if all == nil {
		return nil
	}
	single := make(map[string]string, len(all))
	for name, values := range all {
		single[name] = values[len(values)-1]
	}
	return single
}

// split returns the parameters of a query, with decode applied to names and values. It returns nil if there are no parameters.
func split(query, separators string, decode func(string) string) map[string][]string {
	var all map[string][]string
	for pair := range strings.FieldsFuncSeq(query, func(c rune) bool { return strings.ContainsRune(separators, c) }) {
		if all == nil {
			all = map[string][]string{}
		}
		name, value, _ := strings.Cut(pair, "=")
		all[decode(name)] = append(all[decode(name)], decode(value))
	}
	return all
}

// queryUnescape decodes s. It returns s itself if the encoding is malformed.
func queryUnescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

func verbatim(s string) string { return s }

// encode returns JSON as AWS writes it, without escapes for HTML, because these would count for the limits.
func encode(event any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(event); err != nil {
		return nil, fmt.Errorf("localfront: encode the event: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// clf returns the time in the format of access logs.
func clf(t time.Time) string { return t.Format("02/Jan/2006:15:04:05 -0700") }
