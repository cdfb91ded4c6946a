package lambdahttp

import (
	"encoding/binary"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

func detectType(h http.Header, body []byte) string {
	if isCoded(h) {
		return "application/octet-stream" // sniffing would find gzip, and the browser would download the page
	}
	return http.DetectContentType(body)
}

func isCoded(h http.Header) bool {
	coding := h.Get("Content-Encoding")
	return coding != "" && !strings.EqualFold(coding, "identity")
}

// isText reports whether a JSON string can hold the body without loss.
func isText(h http.Header, body []byte) bool {
	if isCoded(h) {
		return false // even if its bytes are valid UTF-8 by chance
	}
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return false
	}
	switch {
	case strings.HasPrefix(mediaType, "text/"), strings.HasSuffix(mediaType, "+json"), strings.HasSuffix(mediaType, "+xml"):
	case mediaType == "application/json", mediaType == "application/javascript", mediaType == "application/xml",
		mediaType == "application/x-www-form-urlencoded":
	default:
		return false
	}
	return utf8.Valid(body)
}

// fieldValue returns a field value as text, as JSON needs it. If the value is not UTF-8, it is read as ISO-8859-1, the encoding of
// older header fields (RFC 9110 section 5.5), so that no byte is lost. Line breaks and other controls become blanks, as in
// net/http. Otherwise the front would read the rest as another header.
func fieldValue(value string) string {
	if !utf8.ValidString(value) {
		runes := make([]rune, len(value))
		for i := range len(value) {
			runes[i] = rune(value[i])
		}
		value = string(runes)
	}
	if !strings.ContainsFunc(value, isControl) {
		return value
	}
	return strings.Map(func(c rune) rune {
		if isControl(c) {
			return ' '
		}
		return c
	}, value)
}

const hexDigits = "0123456789abcdef"

// escapes has, for each byte, the number of bytes beyond one that it takes in a JSON string (RFC 8259 section 7).
var escapes = [256]uint8{
	0: 5, 1: 5, 2: 5, 3: 5, 4: 5, 5: 5, 6: 5, 7: 5, 8: 5, '\t': 1, '\n': 1, 11: 5, 12: 5, '\r': 1, 14: 5, 15: 5,
	16: 5, 17: 5, 18: 5, 19: 5, 20: 5, 21: 5, 22: 5, 23: 5, 24: 5, 25: 5, 26: 5, 27: 5, 28: 5, 29: 5, 30: 5, 31: 5,
	'"': 1, '\\': 1,
}

// jsonLen returns the number of bytes that text takes in a JSON string.
func jsonLen(text []byte) int {
	n := len(text)
	for i := clean(text); i < len(text); i += 1 + clean(text[i+1:]) {
		n += int(escapes[text[i]])
	}
	return n
}

// clean returns the number of bytes at the beginning of text that need no escape in JSON. It reads eight bytes at a time, because
// this is most of the cost of a large reply.
func clean(text []byte) (n int) {
	const each, high = 0x0101010101010101, 0x8080808080808080
	for ; n+8 <= len(text); n += 8 {
		// The high bit of each byte is set if the byte is below ' ', a quote or a backslash. It may also be set in bytes above
		// such a byte.
		x := binary.LittleEndian.Uint64(text[n:])
		quote, backslash := x^each*'"', x^each*'\\'
		if ((x-each*' ')&^x|(quote-each)&^quote|(backslash-each)&^backslash)&high != 0 {
			break
		}
	}
	for n < len(text) && escapes[text[n]] == 0 {
		n++
	}
	return n
}

// appendJSON appends as much of text as fits into dst's capacity, in the form of a JSON string. It returns the rest of text.
func appendJSON(dst, text []byte) (_, rest []byte) {
	for i := 0; i < len(text); {
		run := clean(text[i:min(len(text), i+cap(dst)-len(dst))])
		dst = append(dst, text[i:i+run]...)
		if i += run; i == len(text) {
			break
		}
		c := text[i]
		if cap(dst)-len(dst) <= int(escapes[c]) {
			return dst, text[i:]
		}
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
	}
	return dst, nil
}
