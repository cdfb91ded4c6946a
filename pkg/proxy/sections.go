package proxy

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// A section says which header section of a message is passed on. What is done to one is done to all:
// clients over HTTP/2 get no answer at all if the 103 before it has a field that HTTP/2 forbids.
type section string

const (
	requestHeader  section = "header of the request"
	requestTrailer section = "trailer section of the request"
	interimHeader  section = "header of an interim answer"
	answerHeader   section = "header of the answer"
	answerTrailer  section = "trailer section of the answer"
)

// hopByHop are the fields that are for the next hop alone (RFC 9110 section 7.6.1, RFC 9113 section
// 8.2.2), whether or not Connection names them.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// neverTrailers are the fields that no trailer section may have: those by which messages are framed, routed,
// authenticated, read, cached or accounted for (RFC 9110 section 6.5.1), and those that the proxy sets.
// Servers and clients that merge trailers into headers would take them for what was checked there.
var neverTrailers = []string{
	"Content-Length", "Content-Encoding", "Content-Type", "Content-Range",
	"Host", "Location", "Forwarded", "Via", "Cdn-Loop", "Max-Forwards", "Expect", "Range",
	"Authorization", "Www-Authenticate", "Cookie", "Set-Cookie",
	"Age", "Cache-Control", "Date", "Expires", "Pragma", "Retry-After", "Vary",
}

// clean takes out of h what is not passed on in such a section: the fields that Connection names, those of
// one hop, and those that have no place there. The error is for a name that is no token and for a value with
// a control character: net/http would leave such a field out without a word. It has no more of the field
// than that byte. h may be nil.
func (s section) clean(h http.Header) error {
	for name, values := range h {
		if !isToken(name) {
			return fmt.Errorf("the %s has a field name with the byte %q, which no name may have (RFC 9110 section 5.6.2)", s, notInToken(name))
		}
		for _, v := range values {
			if i := strings.IndexFunc(v, isControl); i >= 0 {
				return fmt.Errorf("the %s has a field value with the byte %q, which no value may have (RFC 9110 section 5.5)", s, v[i])
			}
		}
	}
	for _, field := range h["Connection"] {
		for option := range strings.SplitSeq(field, ",") {
			h.Del(strings.TrimSpace(option))
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
	switch s {
	case interimHeader:
		delete(h, "Content-Length") // RFC 9110 section 8.6
	case requestTrailer, answerTrailer:
		for name := range h {
			if s.never(name) {
				delete(h, name)
			}
		}
	}
	return nil
}

// never reports whether a field of this name has no place in a trailer section.
func (s section) never(name string) bool {
	return slices.Contains(neverTrailers, name) || slices.Contains(hopByHop, name) ||
		strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "If-")
}

// passRequest makes a header section of a request ready for the origin.
func (h *Handler) passRequest(s section, fields http.Header) error {
	if err := s.clean(fields); err != nil {
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	for name := range fields {
		if h.isAlias(s, name) {
			delete(fields, name)
		}
	}
	return nil
}

// passAnswer makes a header section of an answer ready for the client: interim, final and trailers alike.
func (x *exchange) passAnswer(s section, fields http.Header) error {
	if err := s.clean(fields); err != nil {
		return &sni.Error{Type: sni.HTTPProtocolError, Err: err}
	}
	if len(fields) > 0 && RewritesNames(x.route, x.host) {
		newNames(x.route, x.scheme, x.authority).rewrite(fields)
	}
	return nil
}

// passFields is the hook for the header of a final answer, or of 101, and for what the origin announces of
// its trailers; [responseBody] has the trailers themselves, and [responseWriter] the interim answers.
func passFields(r *http.Response) error {
	x := exchangeOf(r.Request.Context())
	if x.interimErr != nil {
		return x.interimErr
	}
	if err := x.passAnswer(answerHeader, r.Header); err != nil {
		return err
	}
	if r.StatusCode == http.StatusSwitchingProtocols { // to what checkStatus has seen
		r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	}
	for name := range r.Trailer { // no field is lost with an announcement
		if !isToken(name) || answerTrailer.never(name) {
			delete(r.Trailer, name)
		}
	}
	return nil
}

// announce tells the client of the trailers that the origin has announced. It takes them from r.Trailer, since
// ReverseProxy would send those that are announced together with the fields of the same name in the header.
// A name that is in the header is not announced, since net/http's server does likewise.
func announce(r *http.Response) {
	var names []string
	for name := range r.Trailer {
		if r.Header[name] == nil {
			names = append(names, name)
		}
	}
	if names != nil {
		slices.Sort(names)
		r.Header["Trailer"] = []string{strings.Join(names, ", ")}
	}
	r.Trailer = nil
}

// isControl reports whether c may not be in a field value.
func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// notInToken returns the first byte of name that no token may have, and 0 if the name is empty.
func notInToken(name string) byte {
	for i := range len(name) {
		if !inToken[name[i]] {
			return name[i]
		}
	}
	return 0
}
