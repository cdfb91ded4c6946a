// Package printable makes text of strangers safe to show: names in routes and certificates, errors of origins.
package printable

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s on one line, without characters that could move a terminal's cursor, hide text, or change its direction. It
// replaces each of these with U+FFFD, and line ends and tabs with blanks.
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}
