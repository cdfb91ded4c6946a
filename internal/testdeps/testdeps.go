// Package testdeps finds the programs that scripts/testdeps has installed for tests.
package testdeps

import (
	"os"
	"path/filepath"
	"testing"
)

// Dir returns the folder of the programs: SLEIGHT_TEST_CACHE, or a folder in the user's cache.
func Dir() string {
	if dir := os.Getenv("SLEIGHT_TEST_CACHE"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "sleight")
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".cache", "sleight")
}

// Path returns the path of a program. If there is no such program, it fails the test and says what to do.
func Path(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(Dir(), name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run \"make testdeps\"", err)
	}
	return path
}
