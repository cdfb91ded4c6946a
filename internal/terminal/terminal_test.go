package terminal_test

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/creack/pty"
	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/terminal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

// screen has the output that a pseudo-terminal got.
type screen struct {
	mu   sync.Mutex
	b    bytes.Buffer
	tty  *os.File
	done chan struct{}
	keys *os.File
}

func open(t *testing.T) *screen {
	t.Helper()
	keys, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(keys, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	s := &screen{tty: tty, keys: keys, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		buffer := make([]byte, 4096)
		for {
			n, err := keys.Read(buffer)
			s.mu.Lock()
			s.b.Write(buffer[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { s.close(); keys.Close() })
	return s
}

// close closes the terminal, and returns its output.
func (s *screen) close() string {
	s.tty.Close()
	<-s.done
	return s.b.String()
}

func TestColoursAreForTerminalsThatWantThem(t *testing.T) {
	for _, c := range []struct {
		name   string
		env    map[string]string
		pipe   bool
		colour bool
	}{
		{"a terminal", nil, false, true},
		{"a pipe", nil, true, false},
		{"NO_COLOR", map[string]string{"NO_COLOR": "1"}, false, false},
		{"empty NO_COLOR", map[string]string{"NO_COLOR": ""}, false, true},
		{"dumb", map[string]string{"TERM": "dumb"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			out := io.Writer(s.tty)
			if c.pipe {
				out = &bytes.Buffer{}
			}
			got := terminal.New(s.tty, out, s.tty, environment(c.env)).Styled(terminal.Bad, "failed")
			if want := map[bool]string{true: "\x1b[31mfailed\x1b[0m", false: "failed"}[c.colour]; got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestTableAndTree(t *testing.T) {
	var out bytes.Buffer
	term := terminal.New(nil, &out, io.Discard, environment(nil))
	term.Table([]string{"host", "origin"}, [][]string{{"one.example.com", "lb.example.net"}, {"日本.example", "x"}})
	term.Tree(terminal.Tree{Text: "root", Sub: []terminal.Tree{{Text: "intermediate", Sub: []terminal.Tree{{Text: "leaf"}}}, {Text: "other"}}})
	want := `HOST             ORIGIN
one.example.com  lb.example.net
日本.example     x
── root
   ├─ intermediate
   │  └─ leaf
   └─ other
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

func TestTableFitsTheTerminal(t *testing.T) {
	s := open(t)
	terminal.New(s.tty, s.tty, s.tty, environment(nil)).Table([]string{"host"}, [][]string{{strings.Repeat("x", 200)}})
	if shown := s.close(); strings.Contains(shown, strings.Repeat("x", 81)) {
		t.Errorf("%q", shown)
	}
}

// A reader takes a line that ends at the edge for a whole line.
func TestWhatIsCutOffIsMarked(t *testing.T) {
	s := open(t)
	term := terminal.New(s.tty, s.tty, s.tty, environment(nil))
	term.Table([]string{"a", "b"}, [][]string{{strings.Repeat("x", 70), term.Styled(terminal.Bad, "cut off at the end")}, {strings.Repeat("y", 70), term.Styled(terminal.Bad, "whole")}})
	lines := strings.Split(s.close(), "\r\n")
	if want := strings.Repeat("x", 70) + "  \x1b[31mcut off\x1b[0m…"; lines[1] != want {
		t.Errorf("%q, want %q", lines[1], want)
	}
	if want := strings.Repeat("y", 70) + "  \x1b[31mwhole\x1b[0m"; lines[2] != want {
		t.Errorf("%q, want %q", lines[2], want)
	}
}

func TestProgressIsDrawnOnTerminalsAlone(t *testing.T) {
	s := open(t)
	p := terminal.New(s.tty, s.tty, s.tty, environment(nil)).Progress("Importing", 100)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { p.Add(1) })
	}
	wg.Wait()
	p.Done()
	p.Done()
	if shown := s.close(); !strings.Contains(shown, "Importing") || !strings.Contains(shown, "100") {
		t.Errorf("%q", shown)
	}
	var piped bytes.Buffer
	term := terminal.New(nil, &piped, &piped, environment(nil))
	p = term.Progress("Importing", 100)
	p.Add(50)
	term.Sayf(p, "one failed")
	p.Done()
	if piped.String() != "one failed\n" {
		t.Errorf("%q", &piped)
	}
}

func TestProgressThatEndsAtOnceDoesNotHang(t *testing.T) {
	s := open(t)
	for range 20 {
		terminal.New(s.tty, s.tty, s.tty, environment(nil)).Progress("x", 0).Done()
	}
}

func TestConfirm(t *testing.T) {
	for typed, want := range map[string]bool{"y\n": true, "YES\n": true, "\n": false, "n\n": false, "maybe\ny\n": true, "\x04": false} {
		s := open(t)
		if _, err := s.keys.WriteString(typed); err != nil {
			t.Fatal(err)
		}
		got, err := terminal.New(s.tty, s.tty, s.tty, environment(nil)).Confirm(t.Context(), "Remove it?")
		if shown := s.close(); got != want || err != nil || !strings.Contains(shown, "Remove it? [y/N]") {
			t.Errorf("%q: %v, %v, shown %q", typed, got, err, shown)
		}
	}
	if _, err := terminal.New(strings.NewReader("y\n"), io.Discard, io.Discard, environment(nil)).Confirm(t.Context(), "Remove it?"); err != terminal.ErrNotInteractive {
		t.Errorf("without a terminal: %v", err)
	}
}
