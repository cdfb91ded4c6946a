package routetable

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"unicode/utf8"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// Checked is what is known of a routes document that was read to its end.
type Checked struct {
	Routes  int
	Hosts   map[string]int // where in the list each is first, from 1
	Invalid int            // how many routes cannot be used, where that is allowed

	// Problems are why it cannot be imported: the first maxProblems, and how many there are.
	Problems []error
	Count    int
}

const maxProblems = 20

// Check reads a routes document, and finds all that is wrong with it, up to where it is no routes document any
// more. Its memory is for the hosts alone. Routes that cannot be used are problems unless
// asIs, in which case their hosts are looked at alone. The error is ctx's.
func Check(ctx context.Context, r io.Reader, asIs bool) (*Checked, error) {
	c := &Checked{Hosts: map[string]int{}}
	problem := func(format string, args ...any) {
		if c.Count++; len(c.Problems) < maxProblems {
			c.Problems = append(c.Problems, fmt.Errorf(format, args...))
		}
	}
	text := &utf8Reader{r: r}
	encoding := func() {
		if err := text.fault(); err != nil {
			problem("%w", err)
		} else if text.mark {
			problem("line 1, column 1: begins with a byte order mark: save it as UTF-8 without one")
		}
	}
	for item, err := range origin.Items(text) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			encoding()
			problem("%w", err)
			return c, nil
		}
		c.Routes++
		host := item.Host()
		if _, err := item.Route(); err != nil {
			c.Invalid++
			if !asIs || host == "" { // without a key there is no item
				problem("route %d of the list: %w", c.Routes, err)
			}
		}
		if host == "" {
			continue
		}
		if first, twice := c.Hosts[host]; twice {
			problem("route %d of the list: host %q is there already, as route %d", c.Routes, host, first)
			continue
		}
		c.Hosts[host] = c.Routes
	}
	encoding()
	return c, nil
}

// CheckUTF8 says where a document stops being UTF-8.
func CheckUTF8(document []byte) error {
	text := &utf8Reader{r: bytes.NewReader(document)}
	io.Copy(io.Discard, text)
	return text.fault()
}

// utf8Reader notices what is not UTF-8, which encoding/json replaces without a word.
type utf8Reader struct {
	r      io.Reader
	begun  []byte // of a letter
	mark   bool   // it begins with a byte order mark, which JSON has not
	broken bool   // at line and column, if so
	lines  int    // before
	column int    // in bytes, before
}

func (u *utf8Reader) fault() error {
	if !u.broken {
		return nil
	}
	return fmt.Errorf("line %d, column %d: is not UTF-8: save it in that encoding", u.lines+1, u.column+1)
}

func (u *utf8Reader) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	rest := append(u.begun, p[:n]...)
	for len(rest) > 0 && !u.broken && (utf8.FullRune(rest) || err == io.EOF) {
		switch letter, size := utf8.DecodeRune(rest); {
		case letter == utf8.RuneError && size == 1:
			u.broken = true
		case letter == '\n':
			u.lines, u.column, rest = u.lines+1, 0, rest[1:]
		default:
			u.mark = u.mark || letter == '\ufeff' && u.lines == 0 && u.column == 0
			u.column, rest = u.column+size, rest[size:]
		}
	}
	if u.begun = nil; !u.broken {
		u.begun = rest
	}
	return n, err
}

// FormatItems writes items as the document that origin.Items and origin.ReadRoutes read, one item in a line, so that diff
// and version control show what changed. It stops at the first error, of items or of w.
func FormatItems(w io.Writer, items iter.Seq2[origin.Item, error]) error {
	return FormatDocument(w, func(yield func([]byte, error) bool) {
		for item, err := range items {
			var b []byte
			if err == nil {
				b, err = item.MarshalJSON()
			}
			if !yield(b, err) {
				return
			}
		}
	})
}

// FormatDocument is [FormatItems] for items that are JSON already.
func FormatDocument(w io.Writer, items iter.Seq2[[]byte, error]) error {
	separator := "{\"routes\":[\n"
	for b, err := range items {
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, separator); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		separator = ",\n"
	}
	end := "\n]}\n"
	if separator != ",\n" {
		end = "{\"routes\":[]}\n"
	}
	_, err := io.WriteString(w, end)
	return err
}
