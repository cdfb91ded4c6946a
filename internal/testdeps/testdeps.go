// Package testdeps finds what scripts/testdeps made ready for tests.
package testdeps

import (
	"os"
	"path/filepath"
	"testing"
)

// Dir is where it is: SLEIGHT_TEST_CACHE, or a folder in the user's cache.
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

// Path returns the path of a program, or fails the test with a line that says what to do.
func Path(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(Dir(), name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run \"make testdeps\"", err)
	}
	return path
}
