package routetable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func routesFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func openFile(t *testing.T, name string) *routetable.File {
	t.Helper()
	f, err := routetable.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFile(t *testing.T) {
	t.Parallel()
	testTable(t, openFile(t, routesFile(t, `{"routes":[]}`)))
}

func TestFileKeepsOrderModeAndLink(t *testing.T) {
	t.Parallel()
	name := routesFile(t, `{"routes":[{"host":"z.test","origin":"a"},{"host":"bad.test","orgin":"a"},{"host":"a.test","origin":"a"}]}`)
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.json") // in another directory, relative, to another link
	if err := os.Symlink(name, link+"2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("link.json2", link); err != nil {
		t.Fatal(err)
	}
	f := openFile(t, link)
	write(t, f, nil, item(t, `{"host":"new.test","origin":"a"}`))
	write(t, f, item(t, `{"host":"bad.test","orgin":"a"}`), item(t, `{"host":"bad.test","origin":"a"}`))
	write(t, f, item(t, `{"host":"z.test","origin":"a"}`), nil)
	got, err := os.ReadFile(name)
	want := `{"routes":[
{"host":"bad.test","origin":"a"},
{"host":"a.test","origin":"a"},
{"host":"new.test","origin":"a"}
]}
`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link has become %v, %v", info.Mode(), err)
	}
	for _, dir := range []string{filepath.Dir(name), filepath.Dir(link)} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 2 {
			t.Errorf("left behind: %v, %v", entries, err)
		}
	}
}

func TestFileThatIsNotThereIsMadeWithTheFirstChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name, link := filepath.Join(dir, "new.json"), filepath.Join(dir, "link.json")
	if err := os.Symlink("new.json", link); err != nil {
		t.Fatal(err)
	}
	if _, err := routetable.OpenFile(link); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	f, exists, err := routetable.OpenOrCreateFile(link)
	if err != nil || exists {
		t.Fatal(exists, err)
	}
	wantItem(t, f, "a.test", nil)
	err = f.Write(t.Context(), routetable.Change{Before: item(t, `{"host":"a.test"}`)})
	if _, ok := errors.AsType[*routetable.ConflictError](err); !ok {
		t.Errorf("%v", err)
	}
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() { write(t, f, nil, item(t, fmt.Sprintf(`{"host":"h%d.test","origin":"a"}`, n))) })
	}
	all.Wait()
	for n := range 8 {
		host := fmt.Sprintf("h%d.test", n)
		wantItem(t, openFile(t, name), host, item(t, fmt.Sprintf(`{"host":%q,"origin":"a"}`, host)))
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link has become %v, %v", info.Mode(), err)
	}
	if _, exists, err := routetable.OpenOrCreateFile(name); err != nil || !exists {
		t.Errorf("%v, %v", exists, err)
	}
	if _, _, err := routetable.OpenOrCreateFile(dir); err == nil {
		t.Error("a directory is taken for a file")
	}
}

func TestFileThatIsNoRoutesFileSaysWhere(t *testing.T) {
	t.Parallel()
	for content, says := range map[string]string{
		"":                           "has to be JSON",
		"routes: []":                 "has to be JSON",
		`{"routes":[{"host":}]}`:     "route 1 of the list",
		`{"routes":[{"host":"a"},7]`: "route 2 of the list",
		`{"routes":[{"host":"a.test"},{"host":"a.test"}]}`: `"a.test" occurs more than once (routes 1 and 2 of the list)`,
	} {
		name := routesFile(t, content)
		f := openFile(t, name)
		_, err := f.Get(t.Context(), "a.test")
		wantSaid(t, err, name, says)
		wantSaid(t, f.Write(t.Context(), routetable.Change{Before: item(t, `{"host":"a.test"}`)}), name, says)
		if got, err := os.ReadFile(name); err != nil || string(got) != content {
			t.Errorf("%q became %q, %v", content, got, err)
		}
	}
}

// An item that cannot be written must be found before the old file is replaced.
func TestFileStaysWhereItCannotBeReplaced(t *testing.T) {
	t.Parallel()
	name := routesFile(t, `{"routes":[]}`)
	foreign := origin.Item{"host": "a.test", "blob": []byte{1}}
	wantSaid(t, openFile(t, name).Write(t.Context(), routetable.Change{After: foreign}), "blob")
	entries, err := os.ReadDir(filepath.Dir(name))
	if got, readErr := os.ReadFile(name); err != nil || readErr != nil || string(got) != `{"routes":[]}` || len(entries) != 1 {
		t.Errorf("%s, %v, %v, %v", got, entries, err, readErr)
	}
}

func TestFileIsNeverSeenHalf(t *testing.T) {
	t.Parallel()
	name := routesFile(t, `{"routes":[]}`)
	ctx, cancel := context.WithCancel(t.Context())
	var reader sync.WaitGroup
	reader.Go(func() {
		for ctx.Err() == nil {
			if _, err := origin.ReadFile(name); err != nil {
				t.Error(err)
			}
		}
	})
	for n := range 50 {
		write(t, openFile(t, name), nil, item(t, fmt.Sprintf(`{"host":"h%d.test","origin":%q}`, n, strings.Repeat("a.", 100)+"test")))
	}
	cancel()
	reader.Wait()
}

// This is the process that TestFileOfSeveralProcesses starts.
func TestFileWriterProcess(t *testing.T) {
	name, attribute := os.Getenv("ROUTES_TEST_FILE"), os.Getenv("ROUTES_TEST_ATTRIBUTE")
	if name == "" {
		return // not in a process of that test
	}
	f := openFile(t, name)
	for n := 1; n <= 10; {
		before, err := f.Get(t.Context(), "a.test")
		if err != nil {
			t.Fatal(err)
		}
		after := item(t, string(must(before.MarshalJSON())))
		after[attribute] = json.Number(fmt.Sprint(n))
		err = f.Write(t.Context(), routetable.Change{Before: before, After: after})
		if _, lost := errors.AsType[*routetable.ConflictError](err); lost {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		write(t, f, nil, item(t, fmt.Sprintf(`{"host":"%s-%d.test","origin":"b.test"}`, attribute, n)))
		n++
	}
}

func TestFileOfSeveralProcesses(t *testing.T) {
	t.Parallel()
	name := routesFile(t, `{"routes":[{"host":"a.test","origin":"b.test"}]}`)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestFileWriterProcess$")
			cmd.Env = append(os.Environ(), "ROUTES_TEST_FILE="+name, fmt.Sprintf("ROUTES_TEST_ATTRIBUTE=of%d", n))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	all.Wait()
	f := openFile(t, name)
	wantItem(t, f, "a.test", item(t, `{"host":"a.test","origin":"b.test","of0":10,"of1":10,"of2":10,"of3":10}`))
	n := 0
	for range f.All(t.Context()) {
		n++
	}
	if n != 41 {
		t.Errorf("%d routes, want 41", n)
	}
}

// A process that opens the file before another one replaces it locks a file that has no name any more.
func TestFileThatIsReplacedBeforeItIsLockedIsOpenedAgain(t *testing.T) {
	t.Parallel()
	name := routesFile(t, `{"routes":[{"host":"a.test","origin":"b.test"}]}`)
	f := openFile(t, name)
	times := 0
	f.Opened(func() {
		if times++; times == 1 {
			write(t, openFile(t, name), nil, item(t, `{"host":"other.test","origin":"b.test"}`))
		}
	})
	write(t, f, item(t, `{"host":"a.test","origin":"b.test"}`), item(t, `{"host":"a.test","origin":"c.test"}`))
	wantItem(t, f, "other.test", item(t, `{"host":"other.test","origin":"b.test"}`))
	wantItem(t, f, "a.test", item(t, `{"host":"a.test","origin":"c.test"}`))
	if times != 2 {
		t.Errorf("opened %d times", times)
	}
}

// An empty file is not a routes file: the proxy does not start with it, and each command fails.
func TestFileIsNotMadeWithoutAChange(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "routes.json")
	f, _, err := routetable.OpenOrCreateFile(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	foreign := origin.Item{"host": "a.test", "blob": []byte{1}}
	for what, do := range map[string]func() error{
		"conflict": func() error {
			return f.Write(t.Context(), routetable.Change{Before: item(t, `{"host":"a.test","origin":"b.test"}`)})
		},
		"interrupted": func() error {
			return f.Write(ctx, routetable.Change{After: item(t, `{"host":"a.test","origin":"b.test"}`)})
		},
		"not writable": func() error { return f.Write(t.Context(), routetable.Change{After: foreign}) },
		"import of nothing": func() error {
			im := routetable.Import{Table: f, Report: func(routetable.Outcome) {}}
			return im.Run(t.Context(), func(func(origin.Item, error) bool) {}, nil)
		},
	} {
		err := do()
		if info, statErr := os.Stat(name); !errors.Is(statErr, fs.ErrNotExist) {
			t.Errorf("%s (%v): there is a file of %d bytes", what, err, info.Size())
			os.Remove(name)
		}
	}
}

// Such a file cannot be replaced, and a second reading would wait forever.
func TestPipeIsNotWrittenTo(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	write.WriteString(`{"routes":[]}`)
	write.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // so that a failure does not retry forever
	defer cancel()
	f := openFile(t, fmt.Sprintf("/dev/fd/%d", read.Fd()))
	opened := 0
	f.Opened(func() {
		if opened++; opened > 100 {
			t.Error("it is opened again and again")
			runtime.Goexit()
		}
	})
	done := make(chan error, 1)
	go func() {
		defer close(done)
		done <- f.Write(ctx, routetable.Change{After: item(t, `{"host":"a.test","origin":"b.test"}`)})
	}()
	wantSaid(t, <-done, "not a regular file")
}
