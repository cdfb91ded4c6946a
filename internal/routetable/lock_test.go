package routetable_test

import (
	"os"
	"syscall"
	"testing"
)

// lockFile locks a file like another process.
func lockFile(t *testing.T, name string) (unlock func()) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { file.Close() }
}
