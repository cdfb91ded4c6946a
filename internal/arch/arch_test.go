package arch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sleightproxy/sleight/"

var update = flag.Bool("update", false, "write the generated files anew")

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
	"pkg/origin":          {"pkg/hostname", "github.com/hashicorp/golang-lru/v2"},
	"pkg/origin/dynamodb": {"pkg/origin", "github.com/aws/aws-sdk-go-v2/", "github.com/aws/smithy-go"},
	"pkg/proxy":           {"pkg/hostname", "pkg/origin", "pkg/sni", "pkg/uri"},
	"pkg/lambdahttp":      {"pkg/uri", "github.com/aws/aws-lambda-go/", "github.com/awslabs/aws-lambda-go-api-proxy/"},
	"internal/app":        {"pkg/"},
	"internal/devca":      {},
	"internal/demo":       {"internal/app", "internal/devca", "pkg/hostname"},
	"internal/runtimeapi": {},
	"internal/localfront": {"internal/runtimeapi"},
	"functions/proxy":     {"internal/app", "github.com/aws/aws-lambda-go/lambda"},
	"cmd/sleight": {"internal/app", "internal/routes", "internal/serve", "internal/demo", "internal/localfront", "internal/runtimeapi", "internal/routetable", "internal/check", "internal/printable", "internal/terminal", "pkg/",
		"github.com/spf13/", "go.yaml.in/yaml/v3", "github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/aws-sdk-go-v2/config", "github.com/aws/aws-sdk-go-v2/service/dynamodb", "github.com/aws/smithy-go/logging"},
	"internal/routes":       {"internal/routetable", "pkg/", "go.yaml.in/yaml/v3"},
	"internal/serve":        {"internal/app"},
	"internal/routetable":   {"pkg/hostname", "pkg/origin", "github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/aws-sdk-go-v2/service/dynamodb", "github.com/aws/smithy-go"},
	"internal/check":        {"internal/printable", "pkg/"},
	"internal/printable":    {},
	"internal/terminal":     {"internal/printable", "github.com/jedib0t/go-pretty/v6/", "golang.org/x/term"},
	"internal/arch":         {},
	"scripts/elfcheck":      {},
	"scripts/originzoo":     {"internal/devca"},
	"scripts/prose":         {},
	"scripts/rooms":         {},
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

// A program that imports the proxy without Lambda and without a table does not get the AWS SDK with it.
func TestProxyReachesNoAWS(t *testing.T) {
	for _, p := range list(t, "-deps", "./pkg/proxy", "./pkg/sni", "./pkg/origin") {
		if strings.Contains(p.ImportPath, "/aws") {
			t.Errorf("the proxy, its transport or its routes depend on %s", p.ImportPath)
		}
	}
}

func TestSources(t *testing.T) {
	eachSource(t, func(path, name string) { checkSource(t, path, name) })
}

func checkSource(t *testing.T, path, name string) {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
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
			// With each of these, our own code verifies certificates instead of crypto/tls, or no code does.
			if id, ok := n.(*ast.Ident); ok && slices.Contains([]string{"InsecureSkipVerify", "VerifyPeerCertificate", "EncryptedClientHelloRejectionVerify"}, id.Name) {
				t.Errorf("%s has %s", name, id.Name)
			}
			if fn, ok := n.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has a func init: work before main is paid for at each cold start", name)
			}
			return true
		})
	}
}

// The function's package main has no logic: one function that calls other packages and ends the process if one of them fails. No
// test of a package could reach logic there.
func TestFunctionsMainOnlyWires(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root(t), "functions/proxy/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	if len(files) != 1 {
		t.Fatalf("%q: package main is one file", files)
	}
	src, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range logicOf(t, string(src)) {
		t.Errorf("functions/proxy/main.go has %s: move it to internal/app", fault)
	}
}

// logicOf returns what a package main has besides a func main that wires.
func logicOf(t *testing.T, src string) (faults []string) {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	fault := func(n ast.Node, what string) {
		faults = append(faults, fmt.Sprintf("%s in line %d", what, set.Position(n.Pos()).Line))
	}
	packages := []string{}
	for _, i := range f.Imports {
		packages = append(packages, path.Base(strings.Trim(i.Path.Value, `"`)))
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.GenDecl:
			if d.Tok != token.IMPORT {
				fault(d, "a "+d.Tok.String())
			}
		case *ast.FuncDecl:
			if d.Recv != nil || d.Name.Name != "main" {
				fault(d, "func "+d.Name.Name)
			}
			for _, s := range d.Body.List {
				if i, ok := s.(*ast.IfStmt); ok && i.Else != nil {
					fault(i, "an else")
				}
			}
			ast.Inspect(d.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt, *ast.GoStmt, *ast.DeferStmt, *ast.FuncLit:
					fault(n, strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", n), "*ast.")))
				case *ast.CallExpr:
					// A call of a package's function, or of a builtin. A method is passed on, not called.
					if s, ok := n.Fun.(*ast.SelectorExpr); ok {
						if id, ok := s.X.(*ast.Ident); !ok || !slices.Contains(packages, id.Name) {
							fault(n, "a call of the method "+s.Sel.Name)
						}
					}
				}
				return true
			})
		}
	}
	return faults
}

func TestLogicIsFound(t *testing.T) {
	for src, want := range map[string]string{
		`func main() { f, err := fmt.Get(); if err != nil { fmt.Println(err) }; fmt.Start(f.Handle, min(1, 2)) }`: "",
		`var x = 1; func main() {}`:                          "a var",
		`type t int; func main() {}`:                         "a type",
		`func main() {}; func help() {}`:                     "func help",
		`func main() { for { fmt.Print() } }`:                "forstmt",
		`func main() { fmt.Print(func() {}) }`:               "funclit",
		`func main() { switch fmt.Get() { case 1: } }`:       "switchstmt",
		`func main() { if fmt.Get() { } else { } }`:          "an else",
		`func main() { f := fmt.Get(); f.Serve() }`:          "a call of the method Serve",
		`func main() { fmt.Get().Serve() }`:                  "a call of the method Serve",
		`func main() { if fmt.Get() { go fmt.Print() } }`:    "gostmt",
		`func main() { if fmt.Get() { defer fmt.Print() } }`: "deferstmt",
	} {
		got := logicOf(t, "package main\nimport \"fmt\"\n"+src)
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], want)) {
			t.Errorf("%s: %q, want %q", src, got, want)
		}
	}
}
