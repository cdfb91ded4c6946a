package terminal

import (
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
)

// Wrap breaks s between words where it does not fit the width of the terminal, and indents all lines
// but the first. In a pipe nothing is broken. s is made safe.
func (t *Terminal) Wrap(indent int, s string) string {
	s = Safe(s)
	width := t.width() - indent
	if width < 20 { // no terminal, or none that could be read on
		return s
	}
	lines := strings.Split(text.WrapSoft(s, width), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ") // the library fills lines up
	}
	return strings.Join(lines, "\n"+strings.Repeat(" ", indent))
}
