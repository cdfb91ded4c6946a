// Package uri holds the one rule for the bytes of a request target. Clients over HTTP/1.1, clients over HTTP/2 and
// the fronts of AWS can send different bytes; this package decides which of them go into a request line.
//
// Nothing is decoded, and an escape stays as it is: "%2F" does not become "/", and a signed query keeps its
// bytes. A "%" that does not begin an escape stays too.
package uri

import "strings"

// EscapePath percent-encodes the bytes of an encoded path that no path may have (RFC 3986 section 3.3).
// Brackets are not allowed either, but stay, since clients send them and net/url accepts them.
func EscapePath(s string) string { return escape(s, inPath|percent|brackets) }

// EscapeDecodedPath encodes a path that a front has decoded. A "%" in it is a character of the path.
func EscapeDecodedPath(s string) string { return escape(s, inPath) }

// EscapeQuery percent-encodes the bytes of an encoded query that would end it or the request line: blanks,
// control characters, "#", and bytes that are not ASCII. Other bytes that RFC 3986 section 3.4 does not allow in a
// query, such as "|" and "{", stay, since browsers send them.
func EscapeQuery(s string) string { return escape(s, inQuery|ampersand) }

// EscapeParameter is [EscapeQuery] for an encoded name or value. It also encodes "&", so that one parameter does not become two.
func EscapeParameter(s string) string { return escape(s, inQuery) }

// EscapeDecodedParameter encodes a name or a value that a front has decoded. A blank becomes "%20", since
// only decoders of forms read "+" as a blank.
func EscapeDecodedParameter(s string) string { return escape(s, unreserved) }

// class is a set of bytes.
type class uint8

const (
	unreserved class = 1 << iota // of RFC 3986 section 2.3
	inPath                       // pchar without "%", and "/"
	percent
	brackets
	inQuery   // visible ASCII without "#" and "&"
	ampersand // "&"
)

// classes has the sets of each byte.
var classes = func() (all [256]class) {
	for c := '!'; c <= '~'; c++ {
		all[c] |= inQuery
	}
	all['#'], all['&'] = 0, ampersand
	for _, set := range []struct {
		class class
		bytes string
	}{
		{unreserved | inPath, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"},
		{inPath, "!$&'()*+,;=:@/"},
		{percent, "%"},
		{brackets, "[]"},
	} {
		for i := range len(set.bytes) {
			all[set.bytes[i]] |= set.class
		}
	}
	return all
}()

// escape percent-encodes the bytes of s that are in none of the sets.
func escape(s string, keep class) string {
	n := 0
	for i := range len(s) {
		if classes[s[i]]&keep == 0 {
			n++
		}
	}
	if n == 0 {
		return s
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 2*n)
	for i := range len(s) {
		if c := s[i]; classes[c]&keep != 0 {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}
