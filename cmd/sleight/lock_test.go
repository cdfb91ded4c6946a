//go:build unix && !solaris && !aix

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// People who see no output take the command for hung, and end it or start another one.
func TestWaitingForAnotherProcessIsSaidAndEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name, other := filepath.Join(dir, "routes.json"), filepath.Join(dir, "other.json")
	for file, text := range map[string]string{name: `{"routes":[{"host":"a.test","origin":"b.test"}]}`, other: `{"routes":[{"host":"c.test","origin":"d.test"}]}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil { // as another process does
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"put", "a.test", "--note", "n"}, {"put", "new.test", "--origin", "d.test", "--force"}, {"disable", "a.test"}, {"rm", "--yes", "a.test"}, {"import", other},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out, said bytes.Buffer
			c := newCommand(func(string) string { return "" })
			c.SetOut(&out)
			c.SetErr(&said)
			c.SetIn(strings.NewReader(""))
			c.SetArgs(append([]string{"routes", "--routes", name}, args...))
			err := c.ExecuteContext(t.Context())
			if err == nil {
				t.Fatalf("%q: changed although it is locked: %s", args, out.String())
			}
			if n := strings.Count(said.String(), "waiting for it for at most 29s"); n != 1 || !strings.Contains(said.String(), name) {
				t.Errorf("%q: said %d times that it waits: %s", args, n, said.String())
			}
			if got := exitStatus(err); got != 1 || !strings.Contains(said.String()+message(err), "locked or replaced by other processes for 30s: find the process that has it open (lsof), and try again") {
				t.Errorf("%q: status %d: %s%v", args, got, said.String(), err)
			}
		})
	}
}
