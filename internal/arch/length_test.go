package arch_test

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// A file needs a reason if it has more lines than longest.
const longest = 500

// long are the files with more lines, with the reason why each stays one file.
var long = map[string]string{
	"cmd/sleight/routes_test.go":         "one test: the commands in a row on one table, whose state each step needs",
	"docs/commands.md":                   "generated: the help of each command",
	"docs/errors.md":                     "generated: a section for each error",
	"internal/routetable/import_test.go": "the relay before DynamoDB Local, and the matrix of imports that uses it",
	"pkg/lambdahttp/fronts_test.go":      "each property of an event for all fronts",
	"pkg/sni/certificate_test.go":        "the matrix of certificates and of their error texts",
	"pkg/sni/lifecycle_test.go":          "the life of pools and connections, with one origin that holds its answers",
	"pkg/sni/relay_test.go":              "the promise about repeated requests, behind one relay",
	"pkg/sni/software_test.go":           "nginx and OpenSSL as origins, with their configurations",
	"scripts/test_template.py":           "one test for each promise of the template, with one parser",
	"template.yaml":                      "CloudFormation takes one file",
}

// lists are not written by hand: pinned versions, and samples for tests.
var lists = []string{".txt", ".lock", ".sum", ".json", ".svg"}

func TestLongFilesHaveAReason(t *testing.T) {
	top := os.DirFS(root(t))
	seen := map[string]bool{}
	files := 0
	err := fs.WalkDir(top, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		b, err := fs.ReadFile(top, name)
		if err != nil || slices.Contains(lists, path.Ext(name)) || bytes.IndexByte(b, 0) >= 0 {
			return err
		}
		files++
		if lines := bytes.Count(b, []byte("\n")); lines > longest {
			seen[name] = true
			if long[name] == "" {
				t.Errorf("%s has %d lines: divide it by ideas, or say in long why it stays one file", name, lines)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range long {
		if !seen[name] {
			t.Errorf("%s has no more than %d lines: remove it from long", name, longest)
		}
	}
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
}
