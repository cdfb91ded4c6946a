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
		return "application/octet-stream" // sniffing would find the coding: a page becomes a download of gzip
	}
	return http.DetectContentType(body)
}

func isCoded(h http.Header) bool {
	coding := h.Get("Content-Encoding")
	return coding != "" && !strings.EqualFold(coding, "identity")
}

// isText reports whether the body survives as a JSON string.
func isText(h http.Header, body []byte) bool {
	if isCoded(h) {
		return false // even where its bytes happen to be valid UTF-8
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

// fieldValue returns a field value as text, which JSON needs. What is not UTF-8 is taken
// for ISO-8859-1, as header fields once were (RFC 9110 section 5.5), so that no byte is
// lost. Line breaks and the like become blanks, as net/http has it: the front would make
// headers of what follows.
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

// escapes is how many bytes more than one a byte takes in a JSON string (RFC 8259 section 7).
var escapes = [256]uint8{
	0: 5, 1: 5, 2: 5, 3: 5, 4: 5, 5: 5, 6: 5, 7: 5, 8: 5, '\t': 1, '\n': 1, 11: 5, 12: 5, '\r': 1, 14: 5, 15: 5,
	16: 5, 17: 5, 18: 5, 19: 5, 20: 5, 21: 5, 22: 5, 23: 5, 24: 5, 25: 5, 26: 5, 27: 5, 28: 5, 29: 5, 30: 5, 31: 5,
	'"': 1, '\\': 1,
}

// jsonLen is how many bytes text takes in a JSON string.
func jsonLen(text []byte) int {
	n := len(text)
	for i := clean(text); i < len(text); i += 1 + clean(text[i+1:]) {
		n += int(escapes[text[i]])
	}
	return n
}

// clean returns how many bytes text begins with that JSON takes as they are. It looks at
// eight at a time: for large pages this is most of what a reply costs.
func clean(text []byte) (n int) {
	const each, high = 0x0101010101010101, 0x8080808080808080
	for ; n+8 <= len(text); n += 8 {
		// The high bit of a byte gets set where a byte is below ' ', or zero in what has a
		// zero for each quote or backslash (and perhaps in bytes above such a one).
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

// appendJSON appends as much of text as fits into dst's capacity, in the form of a JSON
// string, and returns the rest.
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
