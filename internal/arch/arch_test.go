package arch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sleightproxy/sleight/"

type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

func (p pkg) room() string { return strings.TrimPrefix(p.ImportPath, module) }

func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports,Deps", "-tags", "lambda.norpc"}, args...)...)
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		t.Fatal("no packages")
	}
	return all
}

// testRooms are for tests alone.
var testRooms = []string{"internal/testdeps", "internal/tlstest", "internal/lambdatest", "internal/dynamodbtest", "internal/browsertest", "internal/nametest"}

// mayImport has for each room what it may import beside the standard library: rooms, and
// modules by prefix. Why is in docs/decisions.
var mayImport = map[string][]string{
	"pkg/uri":             {},
	"pkg/hostname":        {"golang.org/x/net/idna", "golang.org/x/net/publicsuffix"},
	"pkg/sni":             {"internal/http1", "pkg/hostname", "golang.org/x/"},
	"internal/http1":      {"golang.org/x/net/http/httpguts"},
	"pkg/origin":          {"pkg/hostname", "github.com/aws/aws-sdk-go-v2/", "github.com/aws/smithy-go", "github.com/hashicorp/golang-lru/v2"},
	"pkg/proxy":           {"pkg/hostname", "pkg/origin", "pkg/sni", "pkg/uri"},
	"pkg/lambdahttp":      {"pkg/uri", "github.com/aws/aws-lambda-go/", "github.com/awslabs/aws-lambda-go-api-proxy/"},
	"internal/app":        {"pkg/"},
	"internal/devca":      {},
	"internal/demo":       {"internal/app", "internal/devca", "pkg/hostname"},
	"internal/runtimeapi": {},
	"internal/localfront": {"internal/runtimeapi"},
	"functions/proxy":     {"internal/app", "github.com/aws/aws-lambda-go/lambda"},
	"cmd/sleight": {"internal/app", "internal/demo", "internal/localfront", "internal/runtimeapi", "internal/routetable", "internal/check", "internal/terminal", "pkg/",
		"github.com/spf13/", "go.yaml.in/yaml/v3", "github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/aws-sdk-go-v2/config", "github.com/aws/aws-sdk-go-v2/service/dynamodb", "github.com/aws/smithy-go/logging"},
	"internal/routetable":   {"pkg/hostname", "pkg/origin", "github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/aws-sdk-go-v2/service/dynamodb", "github.com/aws/smithy-go"},
	"internal/check":        {"internal/terminal", "pkg/"},
	"internal/terminal":     {"github.com/jedib0t/go-pretty/v6/", "golang.org/x/term"},
	"internal/arch":         {},
	"scripts/elfcheck":      {},
	"scripts/originzoo":     {"internal/devca"},
	"scripts/prose":         {},
	"internal/testdeps":     {},
	"internal/nametest":     {},
	"internal/tlstest":      {"internal/devca"},
	"internal/browsertest":  {"internal/testdeps"},
	"internal/lambdatest":   {"*"},
	"internal/dynamodbtest": {"*"},
}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	standard := map[string]bool{}
	for _, p := range list(t, "std") {
		standard[p.ImportPath] = true
	}
	for _, p := range list(t, "./...") {
		allowed, ok := mayImport[p.room()]
		if !ok {
			t.Errorf("%s is a new room: say here what it may import", p.room())
		}
		for _, i := range p.Imports {
			if standard[i] || slices.Contains(allowed, "*") {
				continue
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(strings.TrimPrefix(i, module), a) }) {
				t.Errorf("%s imports %s", p.room(), i)
			}
		}
		if slices.Contains(testRooms, p.room()) {
			continue
		}
		for _, d := range p.Deps {
			if d == "testing" || slices.Contains(testRooms, strings.TrimPrefix(d, module)) {
				t.Errorf("%s depends on %s, which is for tests", p.room(), d)
			}
		}
	}
}

// Every import of the function is paid for at each cold start.
func TestFunctionDependsOnFewModules(t *testing.T) {
	allowed := []string{
		"github.com/sleightproxy/sleight/",
		"github.com/aws/aws-lambda-go/", "github.com/awslabs/aws-lambda-go-api-proxy/core",
		"github.com/aws/aws-sdk-go-v2/", "github.com/aws/smithy-go",
		"github.com/hashicorp/golang-lru/v2",
		// pkg/hostname needs these for the names that browsers accept, and for the wildcards that are allowed.
		"golang.org/x/net/idna", "golang.org/x/net/publicsuffix",
		"golang.org/x/text/secure/bidirule", "golang.org/x/text/unicode/bidi", "golang.org/x/text/unicode/norm", "golang.org/x/text/transform",
		// pkg/sni reads frames of HTTP/2 that net/http does not show.
		"golang.org/x/net/http2/hpack",
		// internal/http1 checks names and values of fields as net/http does.
		"golang.org/x/net/http/httpguts",
	}
	// The SDK's way to profiles, SSO and roles, which the environment of Lambda does not need.
	heavy := []string{"github.com/aws/aws-sdk-go-v2/config", "github.com/aws/aws-sdk-go-v2/credentials", "github.com/aws/aws-sdk-go-v2/service/sts", "net/rpc", "text/template", "github.com/spf13/cobra"}
	for _, p := range list(t, "-deps", "./functions/proxy") {
		if slices.ContainsFunc(heavy, func(h string) bool { return p.ImportPath == h }) {
			t.Errorf("the function depends on %s", p.ImportPath)
		}
		if !p.Standard && !slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(p.ImportPath, a) }) {
			t.Errorf("the function depends on %s: if it has to, say here and in docs/decisions why", p.ImportPath)
		}
	}
}

// sdkFiles are the only ones of pkg/origin that may know the AWS SDK.
var sdkFiles = []string{"pkg/origin/dynamodb.go", "pkg/origin/dynamodb_answer.go", "pkg/origin/dynamodb_batch.go", "pkg/origin/dynamodb_client.go"}

func TestSources(t *testing.T) {
	top, files := root(t), 0
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(top, path)
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && name != "." || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		files++
		return checkSource(t, path, filepath.ToSlash(name))
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 30 {
		t.Errorf("only %d files were looked at", files)
	}
}

func checkSource(t *testing.T, path, name string) error {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	isTest := strings.HasSuffix(name, "_test.go")
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr) // and not a field, such as the Short of a command
		if !ok {
			return true
		}
		if s, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow", "Short"}, s.Sel.Name) {
			t.Errorf("%s calls %s: a test that is left out looks like one that passes", name, s.Sel.Name)
		}
		return true
	})
	if !isTest {
		ast.Inspect(f, func(n ast.Node) bool {
			// Whatever is done with them, certificates are then verified by code of ours, or not at all.
			if id, ok := n.(*ast.Ident); ok && (id.Name == "InsecureSkipVerify" || id.Name == "VerifyPeerCertificate") {
				t.Errorf("%s has %s", name, id.Name)
			}
			if fn, ok := n.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has a func init: work before main is paid for at each cold start", name)
			}
			return true
		})
	}
	if strings.HasPrefix(name, "pkg/origin/") && !isTest && !slices.Contains(sdkFiles, name) {
		for _, i := range f.Imports {
			if strings.Contains(i.Path.Value, "aws") {
				t.Errorf("%s imports %s; that is for %v", name, i.Path.Value, sdkFiles)
			}
		}
	}
	return nil
}

func TestFunctionsMainOnlyWires(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root(t), "functions/proxy/main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(b, []byte("\n")); n >= 80 {
		t.Errorf("%d lines", n)
	}
}
