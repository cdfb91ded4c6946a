//go:build unix

package origin

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const fewDescriptors = "ORIGIN_TEST_FEW_DESCRIPTORS"

// An operator who looks for the fault in a correct file does not find it.
func TestWantOfDescriptorsIsNotBlamedOnTheFile(t *testing.T) {
	if os.Getenv(fewDescriptors) == "" { // in a process of its own, since all tests of the process lose their descriptors
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
		cmd.Env = append(os.Environ(), fewDescriptors+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	file := filepath.Join(t.TempDir(), "routes.json")
	write(t, file, routesA)
	var log logged
	w, err := OpenFile(file, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, routesB)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 64, Max: 64}); err != nil {
		t.Fatal(err)
	}
	var taken []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		taken = append(taken, f)
	}
	for range 2 {
		w.look()
	}
	_, openErr := OpenFile(file, log.logger())
	for _, f := range taken {
		f.Close()
	}
	if got := log.take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "too many open files") || !strings.Contains(got, "allow the process more file descriptors (ulimit -n") || strings.Contains(got, "correct the file") {
		t.Errorf("log: %s", got)
	}
	if got := Remedy(openErr); !strings.Contains(got, "ulimit -n") {
		t.Errorf("%v: %s", openErr, got)
	}
	w.look()
	expect(t, w, "a.test", "a2.lb")
	if got := log.take(); !strings.Contains(got, "routes read again") {
		t.Errorf("log: %s", got)
	}
}
