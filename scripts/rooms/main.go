// Command rooms draws the rooms of the module, which are its packages, from their imports. It writes docs/rooms.svg, and a diagram
// for Mermaid into docs/architecture.md.
//
//	go run ./scripts/rooms
//
// It runs at the top of the module. A test fails if either file differs from what this command would write.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	svgFile      = "docs/rooms.svg"
	documentFile = "docs/architecture.md"
	begin, end   = "<!-- rooms -->", "<!-- /rooms -->"
)

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// write writes both files of the module at top.
func write(top string) error {
	files, err := generate(top)
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("rooms: %w", err)
		}
	}
	return nil
}

// generate returns the contents of both files by name.
func generate(top string) (map[string]string, error) {
	g, err := load(top)
	if err != nil {
		return nil, err
	}
	document, err := os.ReadFile(filepath.Join(top, documentFile))
	if err != nil {
		return nil, fmt.Errorf("rooms: %w", err)
	}
	with, err := insert(string(document), g.mermaid())
	if err != nil {
		return nil, err
	}
	return map[string]string{svgFile: g.svg(), documentFile: with}, nil
}

// insert puts block between the marks in document.
func insert(document, block string) (string, error) {
	before, rest, found := strings.Cut(document, begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return "", fmt.Errorf("rooms: %s has no lines %s and %s: add them where the diagram is to be", documentFile, begin, end)
	}
	return before + begin + "\n" + block + end + after, nil
}

// load reads the imports of the module at top as they are on Linux. The rooms are the programs that users run, all packages that
// these import, and the public packages.
func load(top string) (*graph, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Imports,Module", "./...")
	cmd.Dir = top
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("rooms: go list: %w: %s", err, stderr.String())
	}
	imports := map[string][]string{}
	var roots []string
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Name string
			Imports          []string
			Module           struct{ Path string }
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("rooms: go list: %w", err)
		}
		prefix := p.Module.Path + "/"
		room := strings.TrimPrefix(p.ImportPath, prefix)
		imports[room] = []string{}
		for _, i := range p.Imports {
			if other, ok := strings.CutPrefix(i, prefix); ok {
				imports[room] = append(imports[room], other)
			}
		}
		isProgram := p.Name == "main" && (strings.HasPrefix(room, "cmd/") || strings.HasPrefix(room, "functions/"))
		if isProgram || strings.HasPrefix(room, "pkg/") {
			roots = append(roots, room)
		}
	}
	return newGraph(imports, roots)
}
