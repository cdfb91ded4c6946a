package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The kinds of text, which have budgets of their own.
const (
	code = "code" // comments of production files
	test = "test" // comments of _test.go files
	docs = "docs" // Markdown
)

var kinds = []string{code, test, docs}

// row is what was found in one folder in texts of one kind. A Markdown file at the top of the module has a row of its own.
type row struct {
	kind, folder string
	words        int
	hits         []hit
}

// hit is one construction that was found.
type hit struct {
	file    string
	line    int
	pattern string
	excerpt string
}

func (h hit) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", h.file, h.line, h.pattern, h.excerpt)
}

// rate is the number of constructions per 1,000 words, rounded up to a tenth.
func (r row) rate() float64 {
	return math.Ceil(float64(len(r.hits))*10_000/float64(max(r.words, 1))) / 10
}

// topMarkdown are the files at the top of the module that people read.
var topMarkdown = []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}

// count reads the module at top. It returns an error if there is nothing to read.
func count(top string) ([]row, error) {
	rows := map[[2]string]*row{}
	err := fs.WalkDir(os.DirFS(top), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		kind, folder := classify(name)
		if kind == "" {
			return nil
		}
		src, err := os.ReadFile(filepath.Join(top, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		var passages []passage
		if kind == docs {
			passages = markdown(string(src))
		} else if passages, err = comments(src); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		key := [2]string{kind, folder}
		if rows[key] == nil {
			rows[key] = &row{kind: kind, folder: folder}
		}
		for _, p := range passages {
			rows[key].words += len(p.words)
			for _, h := range p.find() {
				h.file = name
				rows[key].hits = append(rows[key].hits, h)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("prose: %w", err)
	}
	var all []row
	for _, r := range rows {
		if r.words > 0 {
			all = append(all, *r)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("prose: %s has neither Go comments nor Markdown: run this at the top of the module", top)
	}
	slices.SortFunc(all, func(a, b row) int {
		return cmp.Or(cmp.Compare(slices.Index(kinds, a.kind), slices.Index(kinds, b.kind)), cmp.Compare(a.folder, b.folder))
	})
	return all, nil
}

// classify returns the kind of a file and the folder whose row it counts in. Kind is empty if the file is not counted.
func classify(name string) (kind, folder string) {
	switch dir := path.Dir(name); {
	case strings.HasSuffix(name, "_test.go"):
		return test, dir
	case strings.HasSuffix(name, ".go"):
		return code, dir
	case slices.Contains(topMarkdown, name):
		return docs, name
	case strings.HasSuffix(name, ".md") && strings.HasPrefix(name, "docs/"):
		return docs, dir
	}
	return "", ""
}
