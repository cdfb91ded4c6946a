//go:build unix

package main_test

import (
	"os/exec"
	"syscall"
	"testing"
)

// controlledByTerminal makes standard input the controlling terminal of a command, so that Ctrl-C is a signal.
func controlledByTerminal(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
}

// needOpenFiles fails the test if the process may have fewer than n files open. Processes that are started after it get the limit of
// this process: macOS gives them 256 otherwise.
func needOpenFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	// Go has raised its own limit to the hard limit.
	if uint64(limit.Cur) < n { // FreeBSD has an int64
		t.Fatalf("%d files may be open, and the test needs %d: raise the hard limit (ulimit -Hn)", limit.Cur, n)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}
