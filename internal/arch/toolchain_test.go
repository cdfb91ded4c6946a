package arch_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// fakeGo makes a directory with a go that notes the release it is told to be, and fails.
func fakeGo(t *testing.T) (dir, note string) {
	t.Helper()
	dir = t.TempDir()
	note = filepath.Join(dir, "note")
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\necho \"=$GOTOOLCHAIN\" >>'"+note+"'\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir, note
}

// told runs a command at the top of the module, and returns which releases its calls of go were told to be.
func told(t *testing.T, toolchain string, command ...string) []string {
	t.Helper()
	dir, note := fakeGo(t)
	c := exec.Command(command[0], command[1:]...)
	c.Dir = root(t)
	for _, v := range os.Environ() {
		// A make around this test would pass its own variables on.
		if name, _, _ := strings.Cut(v, "="); !slices.Contains([]string{"GO", "GOTOOLCHAIN", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "PATH"}, name) {
			c.Env = append(c.Env, v)
		}
	}
	c.Env = append(c.Env, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), "ARTIFACTS_DIR="+dir)
	if toolchain != "" {
		c.Env = append(c.Env, "GOTOOLCHAIN="+toolchain)
	}
	out, err := c.CombinedOutput()
	if err == nil {
		t.Errorf("%q went well without a go: %s", command, out)
	}
	noted, err := os.ReadFile(note)
	if err != nil {
		t.Fatalf("%q ran no go: %s", command, out)
	}
	releases := strings.Split(strings.TrimSpace(string(noted)), "\n")
	for i, line := range releases {
		releases[i] = strings.TrimPrefix(line, "=")
	}
	return releases
}

// An environment with GOTOOLCHAIN=local has the go command take what is installed, which may lack fixes
// that the release in go.mod has.
func TestEverythingIsBuiltWithTheReleaseOfGoMod(t *testing.T) {
	for _, name := range []string{"Makefile", "scripts/lib.sh", "scripts/toolchain", "scripts/fuzz"} {
		if _, err := os.Stat(filepath.Join(root(t), name)); err != nil { // go test repeats its result unless one has changed
			t.Fatal(err)
		}
	}
	gomod, err := os.ReadFile(filepath.Join(root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^toolchain (go1\.\d+\.\d+)$`).FindSubmatch(gomod)
	if line == nil {
		t.Fatal("go.mod has no toolchain line")
	}
	pinned := string(line[1])
	const other = "go1.27.4"
	for _, target := range []string{"build", "build-sleight", "build-ProxyFunction", "run", "fuzz", "check-go"} {
		for env, want := range map[string]string{"": pinned, "local": pinned, other: other} {
			if got := told(t, env, "make", target); slices.ContainsFunc(got, func(r string) bool { return r != want }) {
				t.Errorf("GOTOOLCHAIN=%q make %s: go is told to be %q, want %s", env, target, got, want)
			}
		}
	}
	for given, want := range map[string]string{
		"auto": pinned, "path": pinned, "local+path": pinned, "go1.26.8+auto": pinned, "go1.26.8+path": pinned,
		"local": pinned, "": pinned, other: other, "go1.28rc1": "go1.28rc1",
	} {
		for name, got := range map[string][]string{
			"make's environment":    told(t, given, "make", "build-sleight"),
			"make's command line":   told(t, "local", "make", "build-sleight", "GOTOOLCHAIN="+given),
			"a script by itself":    told(t, given, "scripts/fuzz"),
			"make beneath a script": told(t, given, "sh", "-c", ". scripts/lib.sh; make build-sleight", "scripts/x"),
		} {
			if len(got) != 1 || got[0] != want {
				t.Errorf("%s with GOTOOLCHAIN=%q: go is told to be %q, want %s", name, given, got, want)
			}
		}
	}
}
