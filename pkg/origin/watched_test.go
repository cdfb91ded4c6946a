package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// logged is a log in memory.
type logged struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

// take returns the log since its last call.
func (l *logged) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.all.Reset()
	return l.all.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Both have the same length, so that the length does not show a change.
const (
	routesA = `{"routes":[{"host":"a.test","origin":"a1.lb"},{"host":"b.test","origin":"b.lb"}                                  ]}`
	routesB = `{"routes":[{"host":"a.test","origin":"a2.lb"},{"host":"c.test","origin":"c.lb"},{"host":"d.test","origin":"d.lb"}]}`
)

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// settle gives the file an old modification time, the same for all files.
func settle(t *testing.T, name string) {
	t.Helper()
	at := time.Unix(1_700_000_000, 0)
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, w *WatchedFile, host, want string) {
	t.Helper()
	if got, err := lookup(t, w, host); got != want {
		t.Errorf("%s: %q, %v; want %q", host, got, err, want)
	}
}

func TestRoutesFollowTheFileHoweverItChanges(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string){
		"written in place": func(t *testing.T, dir string) { write(t, filepath.Join(dir, "data1", "routes.json"), routesB) },
		"written in place, with its time kept": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "data1", "routes.json"), routesB+"\n") // only the length changes
			settle(t, filepath.Join(dir, "data1", "routes.json"))
		},
		"renamed over": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "new"), routesB)
			settle(t, filepath.Join(dir, "new")) // as cp -p leaves it
			if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "data1", "routes.json")); err != nil {
				t.Fatal(err)
			}
		},
		// As Kubernetes updates a ConfigMap.
		"symbolic link of the directory exchanged": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "data2", "routes.json"), routesB)
			settle(t, filepath.Join(dir, "data2", "routes.json"))
			link := filepath.Join(dir, "link")
			if err := os.Symlink("data2", link); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(link, filepath.Join(dir, "data")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, d := range []string{"data1", "data2"} {
				if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink("data1", filepath.Join(dir, "data")); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "data", "routes.json")
			write(t, file, routesA)
			settle(t, file)
			var log logged
			w, err := OpenFile(file, log.logger())
			if err != nil {
				t.Fatal(err)
			}
			w.look()
			expect(t, w, "a.test", "a1.lb")
			held, _ := w.Lookup(t.Context(), "a.test")
			change(t, dir)
			w.look()
			expect(t, w, "a.test", "a2.lb")
			expect(t, w, "b.test", "")
			expect(t, w, "d.test", "d.lb")
			if held.Addresses[0] != "a1.lb" {
				t.Error("a route was changed under the request that uses it")
			}
			w.look()
			if got := log.take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "routes=3 added=2 changed=1 removed=1") {
				t.Errorf("log: %s", got)
			}
		})
	}
}

// A second change within a tick of the file system's clock, of the same length, changes neither time nor size.
func TestChangeThatLeavesTheTimeIsSeen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	write(t, file, routesA)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	w, err := OpenFile(file, new(logged).logger())
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, strings.ReplaceAll(routesA, "a1.lb", "a9.lb"))
	if err := os.Chtimes(file, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	w.look()
	expect(t, w, "a.test", "a9.lb")
}

func TestUnusableFileLeavesTheRoutesAndSaysSoOnce(t *testing.T) {
	for name, breakIt := range map[string]func(t *testing.T, file string){
		"half written": func(t *testing.T, file string) { write(t, file, routesB[:len(routesB)/2]) },
		"emptied":      func(t *testing.T, file string) { write(t, file, "") },
		"gone": func(t *testing.T, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		},
		"a directory": func(t *testing.T, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(file, 0o700); err != nil {
				t.Fatal(err)
			}
		},
		// Opening it would wait for a writer forever.
		"a pipe": func(t *testing.T, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("mkfifo", file).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		},
	} {
		for _, again := range []string{routesA, routesB} {
			t.Run(name, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "routes.json")
				write(t, file, routesA)
				var log logged
				w, err := OpenFile(file, log.logger())
				if err != nil {
					t.Fatal(err)
				}
				breakIt(t, file)
				for range 3 {
					w.look()
				}
				expect(t, w, "a.test", "a1.lb")
				remedy := map[string]string{"gone": "put the file there", "a directory": "put a regular file there", "a pipe": "put a regular file there"}[name]
				if got := log.take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=ERROR") || !strings.Contains(got, cmp.Or(remedy, "correct the file")+", it is then read again") {
					t.Errorf("log: %s", got)
				}
				w.Reload()
				if got := log.take(); strings.Count(got, "level=ERROR") != 1 {
					t.Errorf("log when told to read: %s", got)
				}
				if err := os.RemoveAll(file); err != nil {
					t.Fatal(err)
				}
				write(t, file, again)
				w.look()
				expect(t, w, "a.test", map[string]string{routesA: "a1.lb", routesB: "a2.lb"}[again])
				if got := log.take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "routes read again") {
					t.Errorf("log after the correction: %s", got)
				}
			})
		}
	}
}

func TestRemedyFitsWhyAFileCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	broken, locked := filepath.Join(dir, "broken.json"), filepath.Join(dir, "locked.json")
	write(t, broken, "{")
	write(t, locked, routesA)
	if err := os.Chmod(locked, 0); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{broken: "correct the file", filepath.Join(dir, "none.json"): "put the file there", dir: "put a regular file there", locked: "let the user of the process read the file"} {
		_, err := OpenFile(name, new(logged).logger())
		if name == locked && err == nil {
			continue // root may read anything
		}
		if got := Remedy(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	if got := Remedy(fmt.Errorf("x: %w", &fs.PathError{Op: "read", Path: "x", Err: syscall.EIO})); !strings.Contains(got, "disk") {
		t.Error(got)
	}
}

// A network file system may fail for a moment, while the file stays the same.
func TestFileThatCouldNotBeReadIsReadAgainThoughUnchanged(t *testing.T) {
	unreadable := t.TempDir() // a directory can be opened, but not read
	_, r := readFile(unreadable)
	if r.err == nil {
		t.Fatal("was read")
	}
	info, err := os.Stat(unreadable)
	if err != nil {
		t.Fatal(err)
	}
	r.at = info.ModTime().Add(2 * settleTime)
	if r.holds(info) {
		t.Errorf("after %v it is not looked at again", r.err)
	}
}

func TestNewFaultOfAFileIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	write(t, file, routesA)
	var log logged
	w, err := OpenFile(file, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	w.look()
	if got := log.take(); !strings.Contains(got, "no such file") {
		t.Errorf("log: %s", got)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	w.look()
	if got := log.take(); !strings.Contains(got, "not a regular file") {
		t.Errorf("log: %s", got)
	}
}

func TestInvalidRoutesAreLoggedAtEachReading(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	write(t, file, `{"routes":[{"host":"a.test","orgin":"x"}]}`)
	var log logged
	w, err := OpenFile(file, log.logger())
	if got := log.take(); err != nil || !strings.Contains(got, "route=a.test attribute=origin") {
		t.Fatalf("%v, log %s", err, got)
	}
	write(t, file, `{"routes":[{"host":"a.test","origin":"a.lb"},{"host":"b.test","orgin":"x"}]}`)
	w.Reload()
	expect(t, w, "a.test", "a.lb")
	if got := log.take(); !strings.Contains(got, "route=b.test attribute=origin") || !strings.Contains(got, "added=1 changed=1 removed=0") {
		t.Errorf("log: %s", got)
	}
	w.Reload()
	if got := log.take(); !strings.Contains(got, "added=0 changed=0 removed=0") {
		t.Errorf("a reload that finds nothing new is not confirmed: %s", got)
	}
}

// A nil logger was a panic in the middle of the first reading that had something to log.
func TestNilLoggerIsTheDefault(t *testing.T) {
	var log logged
	before := slog.Default()
	slog.SetDefault(log.logger())
	defer slog.SetDefault(before)
	file := filepath.Join(t.TempDir(), "routes.json")
	write(t, file, `{"routes":[{"host":"a.test","orgin":"x"}]}`)
	w, err := OpenFile(file, nil)
	if got := log.take(); err != nil || !strings.Contains(got, "route=a.test attribute=origin") {
		t.Fatalf("%v, log %s", err, got)
	}
	write(t, file, "{")
	w.Reload()
	if got := log.take(); !strings.Contains(got, "level=ERROR") {
		t.Errorf("log: %s", got)
	}
}

func TestWatchedFileThatWasNotOpenedIsAnError(t *testing.T) {
	w := new(WatchedFile)
	if r, err := w.Lookup(t.Context(), "a.test"); r != nil || err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("%v, %v", r, err)
	}
	var log logged
	w.logger = log.logger()
	w.Reload()
	if got := log.take(); !strings.Contains(got, "level=ERROR") {
		t.Errorf("log: %s", got)
	}
}

func TestWatchLooksUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "routes.json")
		write(t, file, routesA)
		w, err := OpenFile(file, new(logged).logger())
		if err != nil {
			t.Fatal(err)
		}
		w.Interval = time.Minute
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.Watch(ctx) }()
		write(t, file, routesB)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		expect(t, w, "a.test", "a1.lb")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		expect(t, w, "a.test", "a2.lb")
		cancel()
		<-ended
	})
}

// A lookup sees the routes of one reading.
func TestReplacementIsAtomic(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	write(t, file, routesA)
	w, err := OpenFile(file, new(logged).logger())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				if got, err := lookup(t, w, "a.test"); got != "a1.lb" && got != "a2.lb" {
					t.Errorf("%q, %v", got, err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range 100 {
		write(t, file, []string{routesB, routesA}[i%2]) // in place, so that halves are read too
		w.Reload()
	}
	close(done)
	readers.Wait()
}
