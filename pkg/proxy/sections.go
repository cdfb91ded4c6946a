package proxy

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// A section is a field section of a message. All sections are cleaned alike: if a 103 has a field that HTTP/2 forbids, a
// client over HTTP/2 does not get the final response either.
type section string

const (
	requestHeader   section = "header of the request"
	requestTrailer  section = "trailer section of the request"
	interimHeader   section = "header of an interim response"
	responseHeader  section = "header of the response"
	responseTrailer section = "trailer section of the response"
)

// hopByHop are the fields that are only for the next hop, even if Connection does not name them (RFC 9110 section 7.6.1, RFC
// 9113 section 8.2.2).
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// neverTrailers are the fields that a trailer section must not have: fields for framing, routing, authentication, content and
// caching (RFC 9110 section 6.5.1), and those that the proxy sets. Some servers and clients merge trailers into the header,
// and would trust the fields as if the proxy had checked them.
var neverTrailers = []string{
	"Content-Length", "Content-Encoding", "Content-Type", "Content-Range",
	"Host", "Location", "Forwarded", "Via", "Cdn-Loop", "Max-Forwards", "Expect", "Range",
	"Authorization", "Www-Authenticate", "Cookie", "Set-Cookie",
	"Age", "Cache-Control", "Date", "Expires", "Pragma", "Retry-After", "Vary",
}

// clean removes hop-by-hop fields from h, the fields that Connection names, and those that the section must not have. It
// returns an error for a name that is not a token and for a value with a control character, because net/http would silently
// drop such a field. The error quotes only the bad byte of the field. h may be nil.
func (s section) clean(h http.Header) error {
	for name, values := range h {
		if !isToken(name) {
			return fmt.Errorf("the %s has a field name with the byte %q, which no name may have (RFC 9110 section 5.6.2)", s, notInToken(name))
		}
		for _, v := range values {
			if i := controlIn(v); i >= 0 {
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
	case requestTrailer, responseTrailer:
		for name := range h {
			if s.forbids(name) {
				delete(h, name)
			}
		}
	}
	return nil
}

// forbids reports whether a trailer section must not have a field of this name.
func (s section) forbids(name string) bool {
	return slices.Contains(neverTrailers, name) || slices.Contains(hopByHop, name) ||
		strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "If-")
}

// passRequest cleans a section of a request for the origin.
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

// passResponse cleans a section of a response for the client, and replaces the origin's names in it.
func (x *exchange) passResponse(s section, fields http.Header) error {
	if err := s.clean(fields); err != nil {
		return &sni.Error{Type: sni.HTTPProtocolError, Err: err}
	}
	if len(fields) > 0 && RewritesNames(x.Route, x.Host) {
		newNames(x.Route, x.Scheme, x.authority).rewrite(fields)
	}
	return nil
}

// cleanFields is the hook that cleans the header of a final response, or of 101, and the names of announced trailers.
// [responseBody] cleans the trailers, and [responseWriter] interim responses.
func cleanFields(r *http.Response) error {
	x := exchangeOf(r.Request.Context())
	if x.interimErr != nil {
		return x.interimErr
	}
	if err := x.passResponse(responseHeader, r.Header); err != nil {
		return err
	}
	switch r.StatusCode {
	case http.StatusSwitchingProtocols: // checkStatus has checked the protocol
		r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	case http.StatusNoContent:
		delete(r.Header, "Content-Length") // RFC 9110 section 8.6; clients over HTTP/2 refuse the response
	}
	for name := range r.Trailer { // the trailer itself is cleaned later
		if !isToken(name) || responseTrailer.forbids(name) {
			delete(r.Trailer, name)
		}
	}
	return nil
}

// announce announces the trailers of the origin and of the hooks to the client. It hides them from ReverseProxy until the body
// is closed, because ReverseProxy would add the header's fields of the same name to announced trailers. net/http's server
// does so too, so announce leaves out a name that the header has.
func announce(r *http.Response) {
	if r.StatusCode == http.StatusSwitchingProtocols {
		return
	}
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
	r.Body = &delayedTrailers{r.Body, r, r.Trailer}
	r.Trailer = http.Header{}
}

// delayedTrailers is the body of a response. Its Close puts the trailers into the response.
type delayedTrailers struct {
	io.ReadCloser
	response *http.Response
	fields   http.Header // may be filled until Close, as may response.Trailer
}

func (b *delayedTrailers) Close() error {
	for name, values := range b.fields {
		if _, ok := b.response.Trailer[name]; !ok && len(values) > 0 {
			if b.response.Trailer == nil {
				b.response.Trailer = http.Header{}
			}
			b.response.Trailer[name] = values
		}
	}
	return b.ReadCloser.Close()
}

// controlIn returns the index of the first control character of a field value, and -1 if there is no such character. A tab
// does not count.
func controlIn(value string) int {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return i
		}
	}
	return -1
}

// notInToken returns the first byte of name that a token may not have, and 0 if the name is empty.
func notInToken(name string) byte {
	for i := range len(name) {
		if !inToken[name[i]] {
			return name[i]
		}
	}
	return 0
}
