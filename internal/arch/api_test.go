package arch_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPublicAPI compares what go doc -all says of each public package with testdata/api, so that a change for callers is seen in
// review.
func TestPublicAPI(t *testing.T) {
	seen := []string{}
	for _, p := range list(t, "./pkg/...") {
		if strings.Contains("/"+p.room()+"/", "/internal/") {
			continue
		}
		name := strings.ReplaceAll(p.room(), "/", "-") + ".txt"
		seen = append(seen, name)
		if _, err := os.ReadDir(filepath.Join(root(t), p.room())); err != nil { // go test repeats its result unless a file has changed
			t.Fatal(err)
		}
		cmd := exec.Command("go", "doc", "-all", p.ImportPath)
		cmd.Dir = root(t)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go doc -all %s: %v", p.room(), err)
		}
		file := filepath.Join("testdata/api", name)
		if *update {
			if err := os.WriteFile(file, out, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		golden, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		was, is := declarations(string(golden)), declarations(string(out))
		const how = "go test ./internal/arch -run TestPublicAPI -update"
		switch {
		case string(golden) == string(out):
		case slices.Equal(was, is):
			t.Errorf("the comments of %s have changed: read them with go doc -all ./%s, then run %s", p.room(), p.room(), how)
		default:
			t.Errorf("the API of %s has changed. Is that meant? Then say in CHANGELOG.md, under Unreleased, what callers have to do, and run %s\nremoved:\n%s\nadded:\n%s",
				p.room(), how, strings.Join(missing(was, is), "\n"), strings.Join(missing(is, was), "\n"))
		}
	}
	if len(seen) < 5 {
		t.Errorf("only %q were looked at", seen)
	}
	files, err := filepath.Glob("testdata/api/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !slices.Contains(seen, filepath.Base(file)) {
			t.Errorf("%s is of a package that is gone: say so in CHANGELOG.md, under Unreleased, and remove the file", file)
		}
	}
}

// declarations returns the lines of code in the output of go doc -all. Fields have the name of their type before them.
func declarations(doc string) (lines []string) {
	inCode, owner := false, ""
	for line := range strings.Lines(doc) {
		code, _, _ := strings.Cut(strings.TrimRight(line, "\n"), "//")
		code = strings.TrimRight(code, " \t")
		switch {
		case slices.Contains([]string{"CONSTANTS", "VARIABLES", "FUNCTIONS", "TYPES"}, code):
			inCode = true
		case !inCode || strings.TrimSpace(code) == "" || strings.HasPrefix(code, " ") || code == "}" || code == ")":
		case strings.HasPrefix(code, "\t"):
			lines = append(lines, owner+": "+strings.Join(strings.Fields(code), " "))
		default:
			owner, _, _ = strings.Cut(strings.TrimSuffix(code, " {"), "(")
			lines = append(lines, code)
		}
	}
	return lines
}

// missing returns the lines of a that b lacks.
func missing(a, b []string) (lines []string) {
	for _, line := range a {
		if !slices.Contains(b, line) {
			lines = append(lines, "\t"+line)
		}
	}
	return lines
}

func TestCommentsAreNoDeclarations(t *testing.T) {
	const doc = `package sni // import "x"

Package sni dials.

    TYPES in a block

CONSTANTS

const (
	// A is one.
	A = 1
)

FUNCTIONS

func F(a int) // a comment
    F does it.

        and so on

TYPES

type T struct {
	// Name is a name.
	//
	// It may be empty.
	Name   string // after it

	Age int
	// Has unexported fields.
}
    T is a type.

func (t T) M()
`
	want := []string{"const (", "const : A = 1", "func F(a int)", "type T struct {", "type T struct: Name string", "type T struct: Age int", "func (t T) M()"}
	if got := declarations(doc); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
