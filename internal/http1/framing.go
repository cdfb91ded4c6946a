package http1

import (
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// framing says how the end of a body is found.
type framing struct {
	kind   bodyKind
	length int64 // of a bodyLength
	keep   bool  // the connection may carry another request afterwards; for responses only
}

type bodyKind int

const (
	bodyNone     bodyKind = iota
	bodyLength            // by Content-Length
	bodyChunked           // by Transfer-Encoding: chunked
	bodyToTheEnd          // by the end of the connection
)

// answerFraming returns the framing of a final response (RFC 9112 section 6.3). It sets the fields of resp that depend on the
// framing, and removes from the header the fields that are for this connection alone.
func answerFraming(h head, method string, resp *http.Response) (framing, error) {
	f := framing{keep: !hasOption(h.header, "close") && (h.minor > 0 || hasOption(h.header, "keep-alive"))} // RFC 9112 section 9.3
	chunked := false
	if codings, ok := h.header["Transfer-Encoding"]; ok {
		switch {
		case h.minor == 0: // section 6.1: its framing is faulty
			return f, invalid("it has Transfer-Encoding, which HTTP/1.0 does not have")
		case len(codings) != 1 || !strings.EqualFold(codings[0], "chunked"):
			return f, invalid("its Transfer-Encoding is not chunked alone")
		}
		chunked = true
		delete(h.header, "Transfer-Encoding")
	}
	length := int64(-1)
	if lengths, ok := h.header["Content-Length"]; ok {
		var err error
		if length, err = parseLength(lengths); err != nil {
			return f, err
		}
		if chunked { // it takes precedence, and may be an attempt at smuggling
			length, f.keep = -1, false
			delete(h.header, "Content-Length")
		} else if len(lengths) > 1 {
			f.keep = false
			h.header["Content-Length"] = lengths[:1]
		}
	}
	switch {
	case method == http.MethodHead, h.status == http.StatusNotModified:
		f.kind, resp.ContentLength = bodyNone, length // the length for a GET
	case h.status == http.StatusNoContent:
		f.kind, resp.ContentLength = bodyNone, 0
		f.keep = f.keep && length <= 0 && !chunked
	case chunked:
		f.kind, resp.ContentLength = bodyChunked, -1
		resp.TransferEncoding = []string{"chunked"}
		resp.Trailer = announced(h.header)
	case length == 0:
		f.kind, resp.ContentLength = bodyNone, 0
	case length > 0:
		f.kind, f.length, resp.ContentLength = bodyLength, length, length
	default:
		f.kind, f.keep, resp.ContentLength = bodyToTheEnd, false, -1
	}
	delete(h.header, "Trailer")
	resp.Close = !f.keep
	return f, nil
}

// parseLength reads Content-Length. The same length more than once is that length.
func parseLength(lengths []string) (int64, error) {
	for i, s := range lengths {
		if s == "" || strings.Trim(s, "0123456789") != "" {
			return 0, invalid("its Content-Length is not a number")
		}
		if i > 0 && s != lengths[0] {
			return 0, invalid("it has more than one Content-Length")
		}
	}
	n, err := strconv.ParseInt(lengths[0], 10, 64)
	if err != nil {
		return 0, invalid("its Content-Length is too large a number")
	}
	return n, nil
}

// announced returns the names in Trailer, without values. It leaves out names that no trailer section may have (RFC 9110 section
// 6.5.1); announcing one does no harm.
func announced(header http.Header) http.Header {
	var trailer http.Header
	for _, field := range header["Trailer"] {
		for name := range strings.SplitSeq(field, ",") {
			key := textproto.CanonicalMIMEHeaderKey(strings.Trim(name, " \t"))
			if key == "" || slices.Contains(framingFields, key) {
				continue
			}
			if trailer == nil {
				trailer = http.Header{}
			}
			trailer[key] = nil
		}
	}
	return trailer
}

// framingFields are the fields for the framing of a message on this connection.
var framingFields = []string{"Transfer-Encoding", "Trailer", "Content-Length"}

// hasOption reports whether Connection has the option.
func hasOption(header http.Header, option string) bool {
	for _, field := range header["Connection"] {
		for o := range strings.SplitSeq(field, ",") {
			if strings.EqualFold(strings.Trim(o, " \t"), option) {
				return true
			}
		}
	}
	return false
}

// switches reports whether a header has Upgrade as an option of Connection (RFC 9110 section 7.8).
func switches(header http.Header) bool {
	return len(header["Upgrade"]) > 0 && hasOption(header, "upgrade")
}
