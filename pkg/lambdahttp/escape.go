package lambdahttp

import "strings"

// escape percent-encodes the bytes of s that are not to be kept.
func escape(s string, keep func(byte) bool) string {
	const hex = "0123456789ABCDEF"
	n := 0
	for i := range len(s) {
		if !keep(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; keep(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

// inPath reports whether c may stand in a path as it is: pchar of RFC 3986 section 3.3,
// without "%", and "/".
func inPath(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("-._~!$&'()*+,;=:@/", c) >= 0
}

// inEncodedPath is inPath for a path that is encoded already. Brackets should have been,
// but clients send them, and net/url lets them pass.
func inEncodedPath(c byte) bool { return c == '%' || c == '[' || c == ']' || inPath(c) }

// inQuery reports whether c ends neither a query nor the request line.
func inQuery(c byte) bool { return ' ' < c && c < 0x7f && c != '#' }

// inParameter is inQuery for a name or a value, which must not become two.
func inParameter(c byte) bool { return inQuery(c) && c != '&' }
