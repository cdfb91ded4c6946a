package lambdahttp

import (
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

// escapeLen is how many bytes c takes in a JSON string (RFC 8259 section 7).
func escapeLen(c byte) int {
	switch {
	case c == '"', c == '\\', c == '\n', c == '\r', c == '\t':
		return 2
	case c < ' ':
		return 6
	}
	return 1
}

// jsonLen is how many bytes text takes in a JSON string.
func jsonLen(text []byte) int {
	n := len(text)
	for _, c := range text {
		if c < ' ' || c == '"' || c == '\\' {
			n += escapeLen(c) - 1
		}
	}
	return n
}

// appendJSON appends as much of text as fits into dst's capacity, in the form of a JSON
// string, and returns the rest.
func appendJSON(dst, text []byte) (_, rest []byte) {
	for i := 0; i < len(text); {
		run := i
		limit := min(len(text), i+cap(dst)-len(dst))
		for run < limit && text[run] >= ' ' && text[run] != '"' && text[run] != '\\' {
			run++
		}
		dst = append(dst, text[i:run]...)
		if i = run; i == len(text) {
			break
		}
		c := text[i]
		if cap(dst)-len(dst) < escapeLen(c) {
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
