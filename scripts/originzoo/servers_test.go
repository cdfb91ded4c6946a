package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func names() (all []string) {
	for _, s := range servers {
		all = append(all, s.name)
	}
	return all
}

// The script installs what this command starts, in the same order, and the documentation has a row for each.
func TestTheScriptAndTheDocumentationHaveAllServers(t *testing.T) {
	script, err := os.ReadFile("../origins")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(script), "\nall=\"")
	all, _, ok := strings.Cut(rest, "\"\n")
	if !ok {
		t.Fatal("scripts/origins has no list of all servers")
	}
	if got := strings.Fields(all); !slices.Equal(got, names()) {
		t.Errorf("scripts/origins has %q, want %q", got, names())
	}
	text, err := os.ReadFile("../../docs/origins.md")
	if err != nil {
		t.Fatal(err)
	}
	if title := "# 1,000 POSTs to each of " + strconv.Itoa(len(servers)) + " servers\n"; !strings.HasPrefix(string(text), title) {
		t.Errorf("docs/origins.md does not begin with %q", title)
	}
	rows := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) == 12 {
			rows[strings.TrimSpace(cells[1])]++
		}
	}
	for _, s := range servers {
		want := 1
		if s.h2 {
			want = 2
		}
		if rows[s.name] != want {
			t.Errorf("docs/origins.md has %d rows for %s, want %d", rows[s.name], s.name, want)
		}
	}
}

func TestEveryFileBelongsToAServerAndIsFilledIn(t *testing.T) {
	used := map[string]bool{}
	for _, s := range servers {
		for _, user := range []string{"", "nobody"} {
			p := place{Dir: t.TempDir(), Name: name, Cert: "/cert.pem", Key: "/key.pem", Both: "/both.pem", Store: "/store.p12", Port: 1, App: 2, Socket: "/s.sock", Idle: 3, User: user, Group: user}
			if err := p.write(s.files); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			for _, file := range s.files {
				used["servers/"+file] = true
				text, err := os.ReadFile(p.file(filepath.Base(file)))
				if err != nil {
					t.Fatal(err)
				}
				if len(text) == 0 || strings.Contains(string(text), "{{") || strings.Contains(string(text), "no value") {
					t.Errorf("%s: %s is not filled in: %q", s.name, file, text)
				}
			}
		}
	}
	err := fs.WalkDir(files, "servers", func(path string, d fs.DirEntry, err error) error {
		// The sources are built by scripts/origins.
		if ext := filepath.Ext(path); err == nil && !d.IsDir() && ext != ".java" && ext != ".rs" && !used[path] {
			t.Errorf("%s is of no server", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
