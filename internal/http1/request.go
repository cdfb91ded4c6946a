package http1

import (
	"bufio"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// A RequestError says why a request cannot be sent. Nothing of it was sent.
type RequestError struct{ Reason string }

func (e *RequestError) Error() string { return "http1: the request cannot be sent: " + e.Reason }

// Check returns an error if req cannot be sent: its method, target, Host, a field or a trailer would be read differently once it
// is written in HTTP/1.1, and could become another request. The error is a *[RequestError], and quotes no values.
func Check(req *http.Request) error {
	refuse := func(format string, args ...any) error { return &RequestError{fmt.Sprintf(format, args...)} }
	if req.Method != "" && !httpguts.ValidHeaderFieldName(req.Method) {
		return refuse("the method %.40q is no token", req.Method)
	}
	target := req.URL.RequestURI()
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c == 0x7f {
			return refuse("byte %d of the target is %#02x, which no target may have", i, c)
		}
	}
	if host := hostOf(req); host == "" || !httpguts.ValidHostHeader(host) {
		return refuse("the Host %.80q is none", host)
	}
	if req.Header == nil {
		return refuse("its Header is nil")
	}
	for name, values := range req.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return refuse("the field name %.40q is no token", name)
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return refuse("the value of the field %.40q has a control character", name)
			}
		}
	}
	for name := range req.Trailer {
		if !httpguts.ValidHeaderFieldName(name) || slices.Contains(framingFields, textproto.CanonicalMIMEHeaderKey(name)) {
			return refuse("the trailer %.40q cannot be one", name)
		}
	}
	if req.ContentLength > 0 && (req.Body == nil || req.Body == http.NoBody) {
		return refuse("its length is %d, and it has no body", req.ContentLength)
	}
	return nil
}

// framingOf returns the framing of a request's body. A request without a body gets Content-Length: 0 if its method usually has a
// body (RFC 9110 section 8.6).
func framingOf(req *http.Request) framing {
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		return framing{kind: bodyNone}
	case req.ContentLength > 0:
		return framing{kind: bodyLength, length: req.ContentLength}
	}
	return framing{kind: bodyChunked}
}

// hostOf returns the Host to send, without the zone of an IPv6 address (RFC 6874 section 4).
func hostOf(req *http.Request) string {
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	if strings.HasPrefix(host, "[") {
		if end := strings.LastIndexByte(host, ']'); end > 0 {
			if zone := strings.LastIndexByte(host[:end], '%'); zone > 0 {
				return host[:zone] + host[end:]
			}
		}
	}
	return host
}

// ownFields are the fields of a request that are not written from its Header.
var ownFields = []string{"Host", "Content-Length", "Transfer-Encoding", "Trailer", "User-Agent"}

// writeHead writes the request line and the header section. Fields are in the order of their names, so that a request looks the
// same each time. The next Flush of w returns its errors.
func writeHead(w *bufio.Writer, req *http.Request, f framing, hooks *httptrace.ClientTrace) {
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	w.WriteString(method)
	w.WriteByte(' ')
	w.WriteString(req.URL.RequestURI())
	w.WriteString(" HTTP/1.1\r\n")
	field := func(name, value string) {
		w.WriteString(name)
		w.WriteString(": ")
		w.WriteString(value)
		w.WriteString("\r\n")
		if hooks.WroteHeaderField != nil {
			hooks.WroteHeaderField(name, []string{value})
		}
	}
	field("Host", hostOf(req))
	if agent, ok := req.Header["User-Agent"]; !ok {
		field("User-Agent", "Go-http-client/1.1") // as net/http does over HTTP/2 too
	} else if len(agent) != 1 || agent[0] != "" { // an empty one means that none is sent
		for _, value := range agent {
			field("User-Agent", value)
		}
	}
	if req.Close && !hasOption(req.Header, "close") {
		field("Connection", "close")
	}
	switch {
	case f.kind == bodyLength:
		field("Content-Length", strconv.FormatInt(f.length, 10))
	case f.kind == bodyChunked:
		field("Transfer-Encoding", "chunked")
		if len(req.Trailer) > 0 {
			field("Trailer", strings.Join(slices.Sorted(maps.Keys(req.Trailer)), ","))
		}
	case method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch:
		field("Content-Length", "0")
	}
	var names [32]string // most headers have fewer, and need no allocation
	sorted := names[:0]
	for name := range req.Header {
		if !slices.Contains(ownFields, name) {
			sorted = append(sorted, name)
		}
	}
	slices.Sort(sorted)
	for _, name := range sorted {
		for _, value := range req.Header[name] {
			field(name, strings.Trim(value, " \t"))
		}
	}
	w.WriteString("\r\n")
}
