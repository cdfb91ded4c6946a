package terminal

import (
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/sleightproxy/sleight/internal/printable"
)

// Wrap breaks s between words so that it fits the width of the terminal, and indents all lines after the first. In a pipe it breaks
// nothing. It makes s safe.
func (t *Terminal) Wrap(indent int, s string) string {
	s = printable.Text(s)
	width := t.width() - indent
	if width < 20 { // no terminal, or one that is too narrow
		return s
	}
	lines := strings.Split(text.WrapSoft(s, width), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ") // the library pads lines
	}
	return strings.Join(lines, "\n"+strings.Repeat(" ", indent))
}
