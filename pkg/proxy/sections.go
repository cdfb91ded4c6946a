package proxy

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// A section says which header section of a message is passed on. All of them are treated alike: a client over
// HTTP/2 gets no answer at all if the 103 before it has a field that HTTP/2 forbids.
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

// neverTrailers are the fields that no trailer section may have: they frame, route, authenticate or describe a
// message, or tell caches what to do (RFC 9110 section 6.5.1), or the proxy sets them. Servers and clients
// that merge trailers into headers would believe that the proxy has checked them there.
var neverTrailers = []string{
	"Content-Length", "Content-Encoding", "Content-Type", "Content-Range",
	"Host", "Location", "Forwarded", "Via", "Cdn-Loop", "Max-Forwards", "Expect", "Range",
	"Authorization", "Www-Authenticate", "Cookie", "Set-Cookie",
	"Age", "Cache-Control", "Date", "Expires", "Pragma", "Retry-After", "Vary",
}

// clean removes from h the fields that Connection names, the other fields of one hop, and those that have no
// place in such a section. It returns an error for a name that is not a token and for a value with a
// control character, since net/http would leave such a field out without a word. The error shows that
// one byte and nothing else of the field. h may be nil.
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
	if len(fields) > 0 && RewritesNames(x.Route, x.Host) {
		newNames(x.Route, x.Scheme, x.authority).rewrite(fields)
	}
	return nil
}

// passFields is the hook for the header of a final answer, or of 101, and for the names of trailers that the
// origin announces. [responseBody] does the same for the trailers, and [responseWriter] for interim answers.
func passFields(r *http.Response) error {
	x := exchangeOf(r.Request.Context())
	if x.interimErr != nil {
		return x.interimErr
	}
	if err := x.passAnswer(answerHeader, r.Header); err != nil {
		return err
	}
	switch r.StatusCode {
	case http.StatusSwitchingProtocols: // to what checkStatus has seen
		r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	case http.StatusNoContent:
		delete(r.Header, "Content-Length") // RFC 9110 section 8.6; clients over HTTP/2 refuse the answer
	}
	for name := range r.Trailer { // no field is lost with an announcement
		if !isToken(name) || answerTrailer.never(name) {
			delete(r.Trailer, name)
		}
	}
	return nil
}

// announce tells the client which trailers the origin, or a hook, has announced. Until the body is closed it keeps
// them from ReverseProxy, which would send announced trailers together with the fields of the same name
// in the header. It does not announce a name that the header has too, since net/http's server makes the
// same mistake.
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
	r.Body = &withheldTrailers{r.Body, r, r.Trailer}
	r.Trailer = http.Header{}
}

// withheldTrailers is the body of an answer that has its trailers once it is closed.
type withheldTrailers struct {
	io.ReadCloser
	answer *http.Response
	fields http.Header // may be filled until then, as may answer.Trailer
}

func (b *withheldTrailers) Close() error {
	for name, values := range b.fields {
		if _, ok := b.answer.Trailer[name]; !ok && len(values) > 0 {
			if b.answer.Trailer == nil {
				b.answer.Trailer = http.Header{}
			}
			b.answer.Trailer[name] = values
		}
	}
	return b.ReadCloser.Close()
}

// controlIn returns where a field value has its first control character, and -1 if it has none. A tab is not one.
func controlIn(value string) int {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return i
		}
	}
	return -1
}

// notInToken returns the first byte of name that no token may have, and 0 if the name is empty.
func notInToken(name string) byte {
	for i := range len(name) {
		if !inToken[name[i]] {
			return name[i]
		}
	}
	return 0
}
