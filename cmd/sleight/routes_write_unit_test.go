package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// A write is checked before, except with --force.
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
	if err := run("a.test", "--origin", "b.test"); err != nil { // no change
		t.Error(err)
	}
	if err := run("a.test", "--note", "n"); err != nil { // a note is for people
		t.Error(err)
	}
	if err := run("a.test", "--origin", "c.test", "--note", "moved"); err == nil { // a note must not hide another change
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

// A script that merges at conflicts (3) must not take a failure for a conflict.
func TestImportThatFailedAndHasConflictsFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ failed, conflicts, want int }{{1, 1, 1}, {1, 0, 1}, {0, 1, 3}} {
		command := &cobra.Command{}
		command.SetOut(&bytes.Buffer{})
		run := &importRun{output: "json", terminal: newTerminal(command), sum: importSum{Routes: 2, Failed: c.failed, Conflicts: c.conflicts}}
		if err := run.end(nil); exitStatus(err) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// taken is a table. A write of one host always conflicts.
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

// young is a table whose level is too low for the attribute "note".
type young struct{ routetable.Table }

func (y young) Allows(_ context.Context, c routetable.Change) error {
	if _, ok := c.After["note"]; ok {
		return &routetable.LevelError{Table: y.String(), Host: c.Host(), Attribute: "note", Needed: 1}
	}
	return nil
}

func TestAttributeAboveTheLevelIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	routesFile, document := filepath.Join(directory, "routes.json"), filepath.Join(directory, "new.json")
	for name, text := range map[string]string{
		routesFile: `{"routes":[{"host":"a.test","origin":"x.test"}]}`, document: `{"routes":[{"host":"b.test","origin":"x.test"},{"host":"c.test","origin":"x.test","note":"n"}]}`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := routetable.OpenFile(routesFile)
	if err != nil {
		t.Fatal(err)
	}
	r := &routesCommand{output: "table", now: time.Now, tables: tableFlags{getenv: func(string) string { return "" }}}
	command := &cobra.Command{}
	command.SetContext(t.Context())
	command.SetOut(&bytes.Buffer{})
	command.SetErr(&bytes.Buffer{})
	put := func(flags writeFlags) error {
		_, err := r.newWriter(command, young{file}, flags).Change(t.Context(), origin.Item{"host": "a.test", "origin": "x.test"}, func(before origin.Item) (origin.Item, error) {
			after := before.WithoutAudit()
			after["note"] = "n"
			return after, nil
		}, true)
		return err
	}
	for name, err := range map[string]error{
		"import":           r.importInto(command, young{file}, document, importFlags{}),
		"import --dry-run": r.importInto(command, young{file}, document, importFlags{writeFlags: writeFlags{dryRun: true}}),
		"put":              put(writeFlags{}),
		"put --dry-run":    put(writeFlags{dryRun: true}),
	} {
		if refused, ok := errors.AsType[*routetable.LevelError](err); !ok || exitStatus(err) != 1 || !strings.Contains(message(err), `sleight routes level 1`) {
			t.Errorf("%s: %v (%v)", name, err, refused)
		}
	}
	if text, err := os.ReadFile(routesFile); err != nil || strings.Contains(string(text), "note") || strings.Contains(string(text), "b.test") {
		t.Errorf("%s, %v", text, err)
	}
}

// full is a full disk.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A command must fail if its output is incomplete.
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

// If the variable of a script is empty, the command must not use the table of the environment.
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

// A failed export must leave no half document and no other file. A successful export replaces the target of a link, and not the link.
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

// An export must not replace a pipe or /dev/null with a regular file.
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

// An unknown result does not count as done, and after a dry run there is nothing to continue.
func TestLastLineOfAnImportDoesNotCountWhatIsNotKnownAsDone(t *testing.T) {
	for want, sum := range map[string]importSum{
		"19 of 60 routes done, 41 not known; the same command goes on from there":                              {Routes: 60, Created: 10, Updated: 9, Unknown: 41},
		"0 of 60 routes done, 1 not known; the same command goes on from there":                                {Routes: 60, Unknown: 1},
		"2 of 2 routes done, 3 of 9 removed, 1 not known whether removed; the same command goes on from there": {Routes: 2, Unchanged: 2, ToRemove: 9, Removed: 3, UnknownGone: 1},
		"nothing was written": {Routes: 60, Created: 10, DryRun: true},
	} {
		if got := sum.progress(); got != want {
			t.Errorf("%+v: %q, want %q", sum, got, want)
		}
	}
}

// The list of changes is bounded for each kind, so that one kind does not hide another, such as removals.
func TestManyOfOneKindDoNotHideTheOthersOfAnImport(t *testing.T) {
	t.Parallel()
	route := func(kind routetable.Result, n int) origin.Item {
		return origin.Item{"host": fmt.Sprintf("%s%d.test", kind, n), "origin": "x.test"}
	}
	for _, c := range []struct {
		dry   bool
		kinds []routetable.Result
		want  []string
	}{
		{false, []routetable.Result{routetable.Conflicting, routetable.NotWritten, routetable.NotRemoved}, []string{
			"sleight: and more conflicts; --output json lists up to 1000\n", "sleight: and more that failed; ", "sleight: and more that were not removed; ",
		}},
		{true, []routetable.Result{routetable.Created, routetable.Updated, routetable.Removed}, []string{
			"Would create 1185 more\n", "Would change 1185 more\n", "Would remove 1185 more\n",
		}},
	} {
		var out bytes.Buffer
		command := &cobra.Command{}
		command.SetOut(&out)
		command.SetErr(&out)
		terminal := newTerminal(command)
		run := &importRun{terminal: terminal, bar: terminal.Progress("Importing", 1), sum: importSum{DryRun: c.dry}}
		for _, kind := range c.kinds {
			for n := range 1205 {
				o := routetable.Outcome{Host: route(kind, n).Host(), Result: kind, Before: route(kind, n), After: origin.Item{"host": "x.test"}}
				if !c.dry {
					o.Err = fmt.Errorf("of %s", o.Host)
				}
				run.report(o)
			}
		}
		if c.dry {
			run.showChanges()
		}
		for _, kind := range c.kinds {
			for n, want := range map[int]int{0: 1, 19: 1, 20: 0} {
				line := fmt.Sprintf("of %s%d.test", kind, n)
				if c.dry {
					line = fmt.Sprintf("%q", route(kind, n).Host())
				}
				if got := strings.Count(out.String(), line+"\n") + strings.Count(out.String(), line+":\n"); got != want {
					t.Errorf("%s is told %d times, want %d", line, got, want)
				}
			}
		}
		for _, want := range c.want {
			if strings.Count(out.String(), want) != 1 {
				t.Errorf("lacks %q", want)
			}
		}
		if listed := len(run.sum.Problems) + len(run.sum.Changes); listed != 3000 || run.sum.MoreProbs+run.sum.MoreChanges != 615 {
			t.Errorf("%d are in JSON, %d and %d left out", listed, run.sum.MoreProbs, run.sum.MoreChanges)
		}
	}
}
