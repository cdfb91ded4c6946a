package main

import (
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestPicturesAreOfTheImports(t *testing.T) {
	const top = "../.."
	// go test repeats its result unless a file or folder that the test has read is another. The imports are read by go list.
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != top && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	files, err := generate(top)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(top, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s does not show the imports as they are: run make rooms, look at docs/rooms.svg, and commit it", name)
		}
	}
}

func TestImportsThatOthersImplyAreLeftOut(t *testing.T) {
	g, err := newGraph(map[string][]string{
		"cmd/x":      {"pkg/a", "pkg/b", "internal/c"},
		"internal/c": {"pkg/b"},
		"pkg/a":      {"pkg/d"},
		"pkg/b":      {"pkg/a", "pkg/d"},
		"pkg/d":      nil,
		"pkg/alone":  nil,
		"cmd/other":  {"pkg/a"}, // no root
	}, []string{"cmd/x", "pkg/alone"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"cmd/x", "internal/c", "pkg/a", "pkg/alone", "pkg/b", "pkg/d"}; !slices.Equal(g.rooms, want) {
		t.Errorf("%q, want %q", g.rooms, want)
	}
	want := map[string][]string{"cmd/x": {"internal/c"}, "internal/c": {"pkg/b"}, "pkg/b": {"pkg/a"}, "pkg/a": {"pkg/d"}}
	if !reflect.DeepEqual(g.imports, want) {
		t.Errorf("%v, want %v", g.imports, want)
	}
	if layers := g.layers(); layers["cmd/x"] != 0 || layers["pkg/alone"] != 0 || layers["pkg/b"] != 2 || layers["pkg/d"] != 4 {
		t.Errorf("%v", layers)
	}
}

func TestCirclesAreFound(t *testing.T) {
	for name, imports := range map[string]map[string][]string{
		"itself": {"a": {"a"}},
		"two":    {"a": {"b"}, "b": {"a"}},
		"deep":   {"a": {"b", "c"}, "b": nil, "c": {"d"}, "d": {"b", "c"}},
	} {
		if _, err := newGraph(imports, []string{"a"}); err == nil || !strings.Contains(err.Error(), "in a circle") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newGraph(nil, nil); err == nil {
		t.Error("no rooms are a graph")
	}
}

func TestBoxesDoNotOverlap(t *testing.T) {
	imports := map[string][]string{}
	var roots []string
	for i := range 26 {
		room := "pkg/" + string(rune('a'+i)) + strings.Repeat("x", i%7*3)
		for k := range roots {
			if (i*k)%5 == 1 {
				imports[room] = append(imports[room], roots[k])
			}
		}
		roots = append(roots, room)
	}
	g, err := newGraph(imports, roots)
	if err != nil {
		t.Fatal(err)
	}
	d := g.layout()
	if len(d.layers) < 3 || len(d.edges) < 10 {
		t.Fatalf("%d layers, %d edges", len(d.layers), len(d.edges))
	}
	for _, layer := range d.layers {
		for i := range layer[1:] {
			if a, b := layer[i], layer[i+1]; a.x+a.width/2+gapX > b.x-b.width/2+0.01 {
				t.Errorf("%q and %q overlap", a.room, b.room)
			}
		}
	}
	for _, e := range d.edges {
		for i, n := range e[1:] {
			if n.layer != e[i].layer+1 {
				t.Errorf("%q is in layer %d under layer %d", n.room, n.layer, e[i].layer)
			}
		}
	}
}

func TestPictureIsWellFormed(t *testing.T) {
	g, err := newGraph(map[string][]string{"cmd/x": {"pkg/a"}}, []string{"cmd/x"})
	if err != nil {
		t.Fatal(err)
	}
	svg := g.svg()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{">cmd/x</text>", ">pkg/a</text>", "prefers-color-scheme: dark"} {
		if !strings.Contains(svg, want) {
			t.Errorf("%q is not in the picture", want)
		}
	}
}

func TestDiagramIsPutBetweenItsMarks(t *testing.T) {
	const document = "words\n<!-- rooms -->\nold\n<!-- /rooms -->\nmore\n"
	got, err := insert(document, "new\n")
	if want := strings.Replace(document, "old", "new", 1); err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", "<!-- rooms -->", "<!-- /rooms --> <!-- rooms -->"} {
		if _, err := insert(bad, "new\n"); err == nil || !strings.Contains(err.Error(), "add them") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
