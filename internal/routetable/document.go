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

// Checked is the result of [Check].
type Checked struct {
	Routes  int
	Hosts   map[string]int // the position of each host's first route, from 1
	Invalid int            // the number of routes that cannot be used

	// Attributes has each attribute that any route of the document has, host aside, for [Table.Allows].
	Attributes origin.Item

	// Problems says why the document cannot be imported. It has the first maxProblems of Count problems.
	Problems []error
	Count    int
}

const maxProblems = 20

// Check reads a routes document, and finds all its problems, up to its first fault of syntax or form. It keeps only the hosts
// in memory. A route that cannot be used is a problem. If asIs is set, it is not, and only its host is checked. The error is
// ctx's.
func Check(ctx context.Context, r io.Reader, asIs bool) (*Checked, error) {
	c := &Checked{Hosts: map[string]int{}, Attributes: origin.Item{}}
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
		for name := range item {
			if name != "host" {
				c.Attributes[name] = true
			}
		}
		if _, err := item.Route(); err != nil {
			c.Invalid++
			if !asIs || host == "" { // an item needs a key
				problem("route %d of the list: %w", c.Routes, err)
			}
		}
		switch host {
		case "":
			continue
		case LevelKey:
			if asIs {
				problem("route %d of the list: %q is no host: a table keeps its level there", c.Routes, host)
			}
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

// CheckUTF8 returns an error that says where a document is not UTF-8, and nil if it is UTF-8.
func CheckUTF8(document []byte) error {
	text := &utf8Reader{r: bytes.NewReader(document)}
	io.Copy(io.Discard, text)
	return text.fault()
}

// utf8Reader finds the first byte that is not UTF-8. encoding/json would replace it silently.
type utf8Reader struct {
	r      io.Reader
	begun  []byte // the beginning of a character
	mark   bool   // the document begins with a byte order mark, which JSON does not allow
	broken bool   // the byte after lines and column is not UTF-8
	lines  int    // whole lines that were read
	column int    // bytes of the current line that were read
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
		switch char, size := utf8.DecodeRune(rest); {
		case char == utf8.RuneError && size == 1:
			u.broken = true
		case char == '\n':
			u.lines, u.column, rest = u.lines+1, 0, rest[1:]
		default:
			u.mark = u.mark || char == '\ufeff' && u.lines == 0 && u.column == 0
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
