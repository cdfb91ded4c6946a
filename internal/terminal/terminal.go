// Package terminal shows people what a command does: tables, trees, progress, colours, questions. Into a pipe or a file it writes
// the same words without colours, and neither draws progress nor asks.
package terminal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/list"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"github.com/sleightproxy/sleight/internal/printable"
)

// Terminal is where a command reads and writes. Results go to Out, so that a pipe gets nothing else. Progress and questions go to
// Err. It is for one goroutine, except for [Progress].
type Terminal struct {
	In       io.Reader
	Out, Err io.Writer

	colour bool // on Out
	asks   bool // questions can be asked: In and Err are terminals
	draws  bool // Err is a terminal that can redraw a line
	width  func() int
}

// New finds out which of the three are terminals. A terminal gets colours, unless NO_COLOR (no-color.org) or TERM=dumb is set.
// getenv is os.Getenv or the like.
func New(in io.Reader, out, err io.Writer, getenv func(string) string) *Terminal {
	dumb := getenv("TERM") == "dumb"
	return &Terminal{
		In: in, Out: out, Err: err,
		colour: isTerminal(out) && !dumb && getenv("NO_COLOR") == "",
		asks:   isTerminal(in) && isTerminal(err),
		draws:  isTerminal(err) && !dumb,
		width: func() int {
			if f, ok := out.(*os.File); ok {
				if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
					return w
				}
			}
			return 0
		},
	}
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Interactive reports whether questions can be asked.
func (t *Terminal) Interactive() bool { return t.asks }

// Printing runs print, and returns the first error of its writes to Out, so that print need not check each line.
func (t *Terminal) Printing(print func()) error {
	out := t.Out
	defer func() { t.Out = out }()
	w := &watched{w: out}
	t.Out = w
	print()
	return w.err
}

// watched remembers the first error of a writer, and writes nothing after it.
type watched struct {
	w   io.Writer
	err error
}

func (w *watched) Write(p []byte) (n int, err error) {
	if w.err == nil {
		n, w.err = w.w.Write(p)
	}
	return n, w.err
}

// Style is the colour of a word on a terminal. The word has to say the same without it.
type Style text.Color

// The styles are named for their meaning.
const (
	Plain   = Style(text.Reset)
	Good    = Style(text.FgGreen)
	Warning = Style(text.FgYellow)
	Bad     = Style(text.FgRed)
	Faint   = Style(text.Faint)
	Strong  = Style(text.Bold)
)

// Styled returns s in a style, made safe by printable.Text.
func (t *Terminal) Styled(style Style, s string) string {
	s = printable.Text(s)
	if !t.colour || style == Plain {
		return s
	}
	// text.Color.Sprint would check the standard output of the process instead of Out.
	return text.Color(style).EscapeSeq() + s + text.Reset.EscapeSeq()
}

// Table writes rows under a header, in columns. Cells have to be safe (printable.Text, [Terminal.Styled]). On a terminal, lines
// that are too long are cut off and end with an ellipsis. In a pipe, no line is cut off.
func (t *Terminal) Table(header []string, rows [][]string) {
	w := table.NewWriter()
	style := table.StyleDefault
	style.Box = table.BoxStyle{PaddingRight: "  "}
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatUpper
	w.SetStyle(style)
	w.SuppressTrailingSpaces()
	w.AppendHeader(cells(header))
	for _, r := range rows {
		w.AppendRow(cells(r))
	}
	width := t.width()
	for line := range strings.Lines(w.Render() + "\n") {
		line = strings.TrimSuffix(line, "\n")
		if width > 0 && text.StringWidthWithoutEscSequences(line) > width { // the library would mark also lines that it does not cut
			line = text.Trim(line, width-1) + "…"
		}
		fmt.Fprintln(t.Out, line)
	}
}

func cells(row []string) table.Row {
	r := make(table.Row, 0, len(row))
	for _, c := range row {
		r = append(r, c)
	}
	return r
}

// Tree is a text with the texts below it.
type Tree struct {
	Text string
	Sub  []Tree
}

// Tree writes trees below each other. Texts have to be safe.
func (t *Terminal) Tree(trees ...Tree) {
	w := list.NewWriter()
	w.SetStyle(list.StyleConnectedLight)
	var add func([]Tree)
	add = func(all []Tree) {
		for _, one := range all {
			w.AppendItem(one.Text)
			if len(one.Sub) > 0 {
				w.Indent()
				add(one.Sub)
				w.UnIndent()
			}
		}
	}
	add(trees)
	fmt.Fprintln(t.Out, w.Render())
}

// Read returns the results of read. Reading a terminal or a pipe cannot be interrupted. If ctx ends first, Read returns at once
// with ctx's error, and the later results of read are lost.
func Read[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := read()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// ErrNotInteractive says that a question could not be asked.
var ErrNotInteractive = errors.New("there is no terminal to ask on")

// Confirm asks a question to answer with yes or no. The end of the input means no. If ctx ends before the answer, Confirm returns
// at once with ctx's error, and the text that is typed then is lost.
func (t *Terminal) Confirm(ctx context.Context, question string) (bool, error) {
	if !t.asks {
		return false, ErrNotInteractive
	}
	answers := bufio.NewReader(t.In)
	for {
		fmt.Fprintf(t.Err, "%s [y/N] ", printable.Text(question))
		line, err := Read(ctx, func() (string, error) { return answers.ReadString('\n') })
		if err != nil {
			fmt.Fprintln(t.Err)
			return false, ctx.Err()
		}
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return true, nil
		case "", "n", "no":
			return false, nil
		}
		fmt.Fprintln(t.Err, `Answer "y" or "n".`)
	}
}
