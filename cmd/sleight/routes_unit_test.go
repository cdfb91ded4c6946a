package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/check"
	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/internal/terminal"
	"github.com/sleightproxy/sleight/pkg/origin"
)

var update = flag.Bool("update", false, "write golden files and docs/commands.md anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s\n(go test ./cmd/sleight -run %s -update writes it anew)", file, got, want, t.Name())
	}
}

var noon = time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)

// everyKind are routes in all states, with all that there is to show.
func everyKind(t *testing.T) []origin.Item {
	t.Helper()
	root := func(name string) string {
		ca, err := devca.New(name)
		if err != nil {
			t.Fatal(err)
		}
		return ca.PEM()
	}
	pem, err := json.Marshal(root("Root one") + root("Root two"))
	if err != nil {
		t.Fatal(err)
	}
	var items []origin.Item
	for _, document := range []string{
		`{"host":"one.spec-trust.com","origin":"one.lb.aws.amazon.com","version":3,"updated_at":"2030-01-30T09:00:00Z","updated_by":"ann@desk"}`,
		`{"host":"*.spec-trust.com","origin":["a.example:8443","b.example"],"server_name":"other.example","host_header":"backend.example","enabled":true}`,
		`{"host":"off.spec-trust.com","origin":"a.example","enabled":false,"version":1}`,
		fmt.Sprintf(`{"host":"trial.example","origin":"a.example","expires_at":%d}`, noon.Add(50*time.Hour).Unix()),
		fmt.Sprintf(`{"host":"later.example","origin":"a.example","expires_at":%d}`, noon.Add(400*24*time.Hour).Unix()),
		fmt.Sprintf(`{"host":"old.example","origin":"a.example","enabled":false,"expires_at":%d}`, noon.Add(-90*time.Minute).Unix()),
		`{"host":"misspelt.example","orgin":"a.example"}`,
		`{"host":"hostile.example","origin":"a.example","tls_min":"\u001b[2J"}`,
		fmt.Sprintf(`{"host":"full.example","origin":"https://a.example:8443","ca_pem":%s,"spki_pins":["BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB=","AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],
			"client_cert":"ours","tls_min":"1.3","rewrite":false,"connect_timeout":"5s","note":"two\nlines","x":{"y":[1,null]}}`, pem),
	} {
		var i origin.Item
		if err := json.Unmarshal([]byte(document), &i); err != nil {
			t.Fatal(err)
		}
		items = append(items, i)
	}
	return append(items, origin.Item{"host": "blob.example", "origin": []byte{1}})
}

func piped() (*terminal.Terminal, *bytes.Buffer) {
	var b bytes.Buffer
	return terminal.New(nil, &b, &b, func(string) string { return "" }), &b
}

func TestTablesOfRoutes(t *testing.T) {
	items := everyKind(t)
	term, list := piped()
	printList(term, withStates(append(items, items[3]), noon))
	golden(t, "routes-list", list.String())

	term, get := piped()
	for _, i := range items {
		printItem(term, i, noon)
	}
	// Certificates made a moment ago end at a day that no file knows.
	text := get.String()
	for _, i := range items {
		if s, ok := i["ca_pem"].(string); ok {
			all, _ := certificates(s)
			_, until, _ := strings.Cut(all[0], " until ")
			text = strings.ReplaceAll(text, until, "2034-08-25")
		}
	}
	golden(t, "routes-get", text)
}

func TestDifferencesOfRoutes(t *testing.T) {
	items := everyKind(t)
	full := items[8]
	other := full.WithoutRecord()
	other["ca_pem"] = strings.Replace(full["ca_pem"].(string), "-----BEGIN", "\n-----BEGIN", 1) // the same certificates
	other["origin"] = []any{full["origin"]}                                                     // the same, of another type
	other["note"] = ""
	delete(other, "x")
	other["blob"] = []byte{2}
	term, b := piped()
	printDifferences(term, full, other)
	got := b.String()
	for _, part := range []string{
		`  - origin: "https://a.example:8443"` + "\n" + `  + origin: ["https://a.example:8443"]` + "\n", "  - note: \"two\\nlines\"\n  + note: \"\"\n",
		"  + blob: (of a type that JSON has not)\n", `  - x: {"y":[1,null]}` + "\n",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("%s\nlacks\n%s", got, part)
		}
	}
	for line := range strings.Lines(got) {
		if strings.Contains(line, "BEGIN") || strings.HasPrefix(line, "  - ca_pem") && !strings.Contains(line, "Root one") {
			t.Errorf("%s", line)
		}
	}
	if n := strings.Count(got, "SHA-256 of the text"); n != 2 {
		t.Errorf("texts of the same certificates look the same:\n%s", got)
	}
	if strings.Contains(got, "\x1b") {
		t.Errorf("colours in a pipe: %q", got)
	}
}

func TestInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 119 * time.Second: "119 s", 2 * time.Minute: "2 min", 119 * time.Minute: "119 min", 47*time.Hour + 59*time.Minute: "47 h", 48 * time.Hour: "2 d", 729 * 24 * time.Hour: "729 d", 730 * 24 * time.Hour: "2 y",
	} {
		if got := inWords(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestParseExpiry(t *testing.T) {
	for in, want := range map[string]string{
		"+48h": "2030-02-02T12:00:00Z", "+30d": "2030-03-02T12:00:00Z", "+1h30m": "2030-01-31T13:30:00Z", "0": "1970-01-01T00:00:00Z", "4000000000": "2096-10-02T07:06:40Z",
		"2031-01-01T00:00:00+02:00": "2030-12-31T22:00:00Z",
	} {
		if got, err := parseExpiry(in, noon); err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s: %v, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "48h", "+", "+-1h", "+0s", "+1", "+99999999d", "+1.5d", "-1", "100000000000", "99999999999999999999", "2030-01-31", "2030-02-30T00:00:00Z", "+ 1h"} {
		if got, err := parseExpiry(in, noon); err == nil {
			t.Errorf("%q is taken for %v", in, got)
		}
	}
}

func FuzzParseExpiry(f *testing.F) {
	for _, s := range []string{"+48h", "+30d", "4000000000", "2031-01-01T00:00:00Z", "+-1h", "+9999999999999999d", "-5", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := parseExpiry(s, noon)
		if err != nil {
			return
		}
		if strings.HasPrefix(s, "+") && !at.After(noon) {
			t.Errorf("%q is %v, which is not after %v", s, at, noon)
		}
		if at.Year() >= 0 && at.Year() <= 9999 {
			again, err := parseExpiry(at.Format(time.RFC3339Nano), noon)
			if err != nil || !again.Equal(at) {
				t.Errorf("%q: %v, again %v, %v", s, at, again, err)
			}
		}
	})
}

// What is shown of an item can be read again, and is the same.
func FuzzParseItem(f *testing.F) {
	for _, s := range []string{
		`{"host":"a.test","origin":["b.test"],"spki_pins":["b","a"],"expires_at":"+48h"}`, "host: a.test\norigin: b.test\ntls_min: 1.3\nnote: |\n  two\n  lines\n",
		"a: &a 1\nb: *a\n", "<<: {a: 1}\n", "x: 0x10\ny: 1_000\nz: .inf\nw: 010\nv: 1e3\nu: ~\n", "? [a]\n: b\n", "note: 2030-01-31\nenabled: yes\n", "{host: a.test}", "a: 1\n---\nb: 2", "note: \"\\x07\\u2028\"", "x: !!binary aGk=", "spki_pins: [1]", "note: ' # '", "\ufeffnote: x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, document string) {
		item, err := parseItem([]byte(document), noon)
		if err != nil {
			return
		}
		item.Route()
		b, err := item.MarshalJSON()
		if err != nil {
			t.Fatalf("%q was read as %v: %v", document, item, err)
		}
		asYAML, err := toYAML(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		for _, text := range []string{string(b), asYAML.String()} {
			again, err := parseItem([]byte(text), noon)
			if err != nil || !again.Equal(item) {
				t.Fatalf("%q was read as %s, and that, written as\n%s\nas %v, %v", document, b, text, again, err)
			}
		}
		edited := withoutRemarks("# Route\n\n# State\n" + asYAML.String())
		if again, err := parseItem([]byte(edited), noon); err != nil || !again.Equal(item) {
			t.Fatalf("after its remarks, %q is read as %v, %v", asYAML.String(), again, err)
		}
		for _, d := range differences(item, origin.Item{"host": "other.test", "note": "other"}) {
			if d.old == d.new || strings.ContainsAny(d.old+d.new, "\n\x1b") {
				t.Fatalf("%+v", d)
			}
		}
	})
}

func TestAliasesCannotGrow(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	if item, err := parseItem([]byte(bomb), noon); err == nil || !strings.Contains(err.Error(), "alias") {
		t.Errorf("%.100v, %v", item, err)
	}
}

// The check is asked before anything is written, and --force goes without it.
func TestPutChecksFirst(t *testing.T) {
	name := filepath.Join(t.TempDir(), "routes.json")
	var checked []string
	run := func(args ...string) error {
		r := &routesCommand{tables: tableFlags{routes: name, getenv: func(string) string { return "" }}, now: time.Now}
		r.check = func(_ *cobra.Command, route *origin.Route) error {
			checked = append(checked, route.Addresses[0])
			return errors.New("it does not work")
		}
		c := r.newPut()
		c.SetArgs(args)
		c.SetOut(&bytes.Buffer{})
		c.SetErr(&bytes.Buffer{})
		c.SilenceErrors, c.SilenceUsage = true, true
		return c.ExecuteContext(t.Context())
	}
	for _, args := range [][]string{{"a.test", "--origin", "b.test"}, {"a.test", "--origin", "b.test", "--dry-run"}} {
		if err := run(args...); err == nil || err.Error() != "it does not work" {
			t.Errorf("%q: %v", args, err)
		}
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("written all the same")
	}
	if err := run("a.test", "--origin", "b.test", "--force"); err != nil {
		t.Error(err)
	}
	if err := run("a.test", "--origin", "b.test"); err != nil { // as it is
		t.Error(err)
	}
	if err := run("a.test", "--note", "n"); err != nil { // which is for people
		t.Error(err)
	}
	if err := run("a.test", "--origin", "c.test", "--note", "moved"); err == nil { // no note hides the rest
		t.Error("an origin that does not work was written beside a note")
	}
	if got := fmt.Sprint(checked); got != "[b.test b.test c.test]" {
		t.Errorf("checked %s", got)
	}
}

func TestExitStatuses(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("x"), 1}, {usageError{errors.New("x")}, 2}, {statusError{4, usageError{errors.New("x")}}, 4}, {statusError{status: 1}, 1},
		{fmt.Errorf("x: %w", context.Canceled), 130}, {statusError{4, context.Canceled}, 130},
	} {
		if got := exitStatus(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

// A script that merges on conflicts (3) must not take a failure for one.
func TestImportThatFailedAndHasConflictsFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ failed, conflicts, want int }{{1, 1, 1}, {1, 0, 1}, {0, 1, 3}} {
		command := &cobra.Command{}
		command.SetOut(&bytes.Buffer{})
		run := &importRun{output: "json", terminal: newTerminal(command), sum: importSum{Routes: 2, Failed: c.failed, Conflicts: c.conflicts}}
		if err := run.end(nil, 0); exitStatus(err) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// taken is a table in which others have always been quicker with one host.
type taken struct {
	routetable.Table
	host string
}

func (t taken) Write(ctx context.Context, c routetable.Change) error {
	if c.Host() == t.host {
		return &routetable.ConflictError{Change: c, Current: origin.Item{"host": t.host, "origin": "theirs.test"}}
	}
	return t.Table.Write(ctx, c)
}

func TestRouteThatOthersChangedDoesNotKeepTheOtherRoutes(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(name, []byte(`{"routes":[{"host":"a.test","origin":"x.test"},{"host":"b.test","origin":"x.test"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := routetable.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	r := &routesCommand{output: "table", now: time.Now, tables: tableFlags{getenv: func(string) string { return "" }}}
	command := &cobra.Command{}
	command.SetContext(t.Context())
	command.SetOut(&bytes.Buffer{})
	command.SetErr(&bytes.Buffer{})
	w := r.newWriter(command, taken{file, "a.test"}, writeFlags{})
	if err := r.enable(command, w, []string{"a.test", "b.test"}, false); exitStatus(err) != 3 {
		t.Errorf("%v", err)
	}
	if b, err := file.Get(t.Context(), "b.test"); err != nil || b["enabled"] != false {
		t.Errorf("b.test: %v, %v", b, err)
	}
	if err := r.remove(command, w, []string{"a.test", "b.test"}, true); exitStatus(err) != 3 {
		t.Errorf("%v", err)
	}
	if _, err := file.Get(t.Context(), "b.test"); !errors.Is(err, routetable.ErrNotFound) {
		t.Errorf("b.test: %v", err)
	}
	if _, err := file.Get(t.Context(), "a.test"); err != nil {
		t.Errorf("a.test: %v", err)
	}
}

func TestDiffFailsAlsoWhereRoutesAreOnlyRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, document string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	some, none := write("some.json", `{"routes":[{"host":"a.test","origin":"x.test"}]}`), write("none.json", `{"routes":[]}`)
	for _, c := range []struct {
		from, to string
		want     int
	}{{some, none, 1}, {none, some, 1}, {some, some, 0}} {
		r := &routesCommand{tables: tableFlags{routes: c.from, getenv: func(string) string { return "" }}, now: time.Now}
		command := r.newDiff()
		command.SetArgs([]string{c.to})
		command.SetOut(&bytes.Buffer{})
		command.SilenceErrors, command.SilenceUsage = true, true
		if err := command.ExecuteContext(t.Context()); err == nil && c.want != 0 || err != nil && exitStatus(err) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// full is a disk that is full.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// Who keeps what a command has printed must be told where it is not all of it.
func TestWhatCannotBePrintedFails(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(name, []byte(`{"routes":[{"host":"a.test","origin":"http://192.0.2.1","enabled":false},{"host":"b.test","origin":"b.test"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"routes list", "routes list -o json", "routes list -o yaml", "routes get a.test", "routes get a.test -o yaml", "routes diff " + name,
		"routes export", "routes import " + name, "explain b.test", "check a.test --resolver 127.0.0.1:1", "check --all --resolver 127.0.0.1:1",
	} {
		var said bytes.Buffer
		c := newCommand(func(string) string { return "" })
		c.SetArgs(append(strings.Fields(args), "--routes="+name))
		c.SetOut(full{})
		c.SetErr(&said)
		if err := c.ExecuteContext(t.Context()); err == nil || err.Error() != "no space left on device" {
			t.Errorf("%q: %v, said %q", args, err, &said)
		}
	}
}

// What is wrapped has to stay in its column.
func TestOriginsStandInTheirColumn(t *testing.T) {
	keys, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	if err := pty.Setsize(keys, &pty.Winsize{Rows: 24, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	showOrigin(terminal.New(nil, tty, tty, func(string) string { return "" }), &check.Origin{Address: "a.test:443", Error: "there is no such name, or it has no address"})
	tty.Close()
	shown, _ := io.ReadAll(keys) // its end is an error on Linux
	want := "\norigin    a.test:443: there is no such\n          name, or it has no address\n"
	if got := strings.ReplaceAll(string(shown), "\r\n", "\n"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWordsAreQuotedForAShell(t *testing.T) {
	for word, want := range map[string]string{"a.test": "a.test", "/tmp/x-1.yaml": "/tmp/x-1.yaml", "*.a.test": "'*.a.test'", "": "''", "it's $x": `'it'\''s $x'`} {
		if got := quoted(word); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}

// A script whose variable is not set means no table, and by no means that of the environment.
func TestEmptyTableIsNotThatOfTheEnvironment(t *testing.T) {
	name := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(name, []byte(`{"routes":[{"host":"a.test","origin":"b.test"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"routes rm -y a.test --table=", "routes list --routes=", "explain a.test --table=", "check a.test --routes="} {
		c := newCommand(func(variable string) string { return map[string]string{"ROUTES_FILE": name}[variable] })
		c.SetArgs(strings.Fields(args))
		c.SetOut(io.Discard)
		c.SetErr(io.Discard)
		if err := c.ExecuteContext(t.Context()); err == nil || exitStatus(err) != 2 || !strings.Contains(err.Error(), "is empty") {
			t.Errorf("%q: %v", args, err)
		}
	}
	if b, err := os.ReadFile(name); err != nil || !strings.Contains(string(b), "a.test") {
		t.Errorf("%s, %v", b, err)
	}
}

// An export that fails half way must leave neither half a document nor another file beside it, and one that
// succeeds takes a link's target, not the link.
func TestExportReplacesAFileWhollyOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "routes.json"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("routes.json", link); err != nil {
		t.Fatal(err)
	}
	is := func(want string) {
		t.Helper()
		got, err := os.ReadFile(file)
		if err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		if all, err := os.ReadDir(dir); err != nil || len(all) != 2 {
			t.Errorf("%v, %v", all, err)
		}
		if to, err := os.Readlink(link); err != nil || to != "routes.json" {
			t.Errorf("the link leads to %q, %v", to, err)
		}
	}
	broken := errors.New("no space left")
	err := replaceFile(link, func(w io.Writer) error { io.WriteString(w, "ne"); return broken })
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	is("old")
	if err := replaceFile(link, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }); err != nil {
		t.Error(err)
	}
	is("new")
}

// What is no regular file, a pipe or /dev/null, must not become one.
func TestExportWritesToAPipe(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	name := fmt.Sprintf("/dev/fd/%d", write.Fd())
	if err := replaceFile(name, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }); err != nil {
		t.Fatal(err)
	}
	write.Close()
	if b, err := io.ReadAll(read); err != nil || string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestEnabledAndDisabledMeanWhatTheirValueSays(t *testing.T) {
	for flag, want := range map[string]bool{"--enabled": true, "--enabled=false": false, "--disabled": false, "--disabled=false": true} {
		var a attributeFlags
		c := &cobra.Command{}
		a.add(c)
		if err := c.ParseFlags([]string{flag}); err != nil {
			t.Fatal(err)
		}
		if item, err := a.given(time.Now()); err != nil || item["enabled"] != want {
			t.Errorf("%s: %v, %v", flag, item, err)
		}
	}
}
