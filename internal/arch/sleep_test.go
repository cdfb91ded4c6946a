package arch_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A wait is a fixed time that a test spends: too long on a fast machine, too short on a loaded one.
//
//   - a call of time.Sleep
//   - a receive from time.After, or from the C of a timer or ticker, that is a statement of its own
//   - a select whose case for time.After is empty, so that the test goes on after that time
//
// A wait is harmless in a bubble of testing/synctest, where time is not real.
type wait struct {
	function string // folder and function, such as "pkg/sni.TestX"
	position string
}

// waits are the tests that wait all the same, with the number of their waits and the reason. Do not add any: wait for the event,
// or use testing/synctest. An entry goes, or its number falls, with the wait.
var waits = map[string]struct {
	n   int
	why string
}{
	"internal/serve.TestNothingIsLeftOfConnectionsThatAreClosed": {1, "polls a count that no event announces"},
	"cmd/sleight.keepRestarting":                                 {1, "paces the load, which is the subject"},
	"cmd/sleight.run":                                            {1, "paces the load, which is the subject"},
	"cmd/sleight.visit":                                          {1, "is a deadline; the test fails after it without a report"},
	"cmd/sleight.waitFiles":                                      {1, "polls the open files of another process"},
	"functions/proxy.TestFunctionWithRoutesInDynamoDB":           {1, "the origin paces its stream, so that the test sees it begin before it ends"},
	"functions/proxy.round":                                      {1, "the time for which the process is frozen is the subject"},
	"internal/app.until":                                         {1, "polls the answers of another process"},
	"internal/dynamodbtest.waitReady":                            {1, "polls whether another process answers"},
	"internal/runtimeapi.TestStreamedReplyWaitsForItsReader":     {1, "waits for bytes that must not arrive"},
	"internal/tlstest.Forget":                                    {1, "waits until the relay has been idle for the given time"},
	"pkg/proxy.TestWatchEndsRequestsThatTimeOut":                 {3, "is in a table whose functions run in a bubble"},
	"pkg/sni.TestAnswersThatNobodyReadsAreNotBuffered":           {1, "waits for bytes that must not be buffered"},
	"pkg/sni.TestBodiesOnSharedConnectionsAreWhole":              {1, "waits for a request that must not arrive"},
	"pkg/sni.TestBodiesThatAreHeldUpHoldUpNobodyElse":            {1, "must outlast the time after which a body counts as held up"},
	"pkg/sni.TestBodyThatWasSentKeepsNobodyAway":                 {1, "must outlast the time after which a body counts as held up"},
	"pkg/sni.TestBusyOriginIsNoDeadPath":                         {1, "must outlast TCP_USER_TIMEOUT, which the kernel keeps"},
	"pkg/sni.TestExchangeTellsWhatARequestWentThrough":           {1, "makes the translation take a time that can be measured"},
	"pkg/sni.TestIdleConnectionsHaveNoGoroutines":                {1, "polls the number of goroutines"},
	"pkg/sni.TestNginxHangsUpAndNoPostIsLostOrSentTwice":         {1, "the time between two requests is the subject"},
	"pkg/sni.TestOriginThatDoesNotReadYetIsNoDeadPath":           {1, "must outlast TCP_USER_TIMEOUT, which the kernel keeps"},
	"pkg/sni.TestRepeatedRequestWaitsForItsTurn":                 {1, "must outlast DialTimeout of a real connection"},
}

func TestTestsDoNotSleep(t *testing.T) {
	found := map[string][]string{}
	folders := 0
	for dir, files := range testFiles(t) {
		folders++
		for _, w := range realWaits(t, dir, files) {
			found[w.function] = append(found[w.function], w.position)
		}
	}
	if folders < 10 {
		t.Fatalf("only %d folders have tests", folders)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if positions, allowed := found[name], waits[name]; len(positions) > allowed.n {
			t.Errorf("%s has %d waits in real time and may have %d: wait for the event itself, or use testing/synctest: %s", name, len(positions), allowed.n, strings.Join(positions, ", "))
		} else if len(positions) < allowed.n {
			t.Errorf("%s has %d waits in real time: lower its number in waits, which is %d", name, len(positions), allowed.n)
		}
	}
	for name, allowed := range waits {
		if len(found[name]) == 0 {
			t.Errorf("%s waits no more in real time: remove it from waits", name)
		}
		if allowed.why == "" {
			t.Errorf("%s is in waits without a reason", name)
		}
	}
}

// testFiles returns the paths of the test files of each folder, and of all files of rooms that are for tests.
func testFiles(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	eachSource(t, func(path, name string) {
		dir := filepath.ToSlash(filepath.Dir(name))
		if strings.HasSuffix(name, "_test.go") || slices.Contains(testRooms, dir) {
			files[dir] = append(files[dir], path)
		}
	})
	return files
}

// eachSource calls f with each Go file of the module, and its name relative to the top.
func eachSource(t *testing.T, f func(path, name string)) {
	t.Helper()
	top, files := root(t), 0
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(top, path)
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && name != "." || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if strings.HasSuffix(name, ".go") {
			files++
			f(path, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 30 {
		t.Fatalf("only %d files were looked at", files)
	}
}

func realWaits(t *testing.T, dir string, paths []string) []wait {
	t.Helper()
	var files []*ast.File
	set := token.NewFileSet()
	for _, p := range paths {
		src, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(set, path.Join(dir, filepath.Base(p)), src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return waitsOf(dir, set, files)
}

// waitsOf returns the waits of one folder's files that are not in a bubble. A function literal is in a bubble if it is an argument
// of synctest.Test, or of a function that calls synctest.Test. A function is in one if all its callers are. Methods count as
// functions; two of the same name are not told apart.
func waitsOf(dir string, set *token.FileSet, files []*ast.File) []wait {
	declared := map[string]bool{}
	bubbling := map[string]bool{} // functions that run their arguments in a bubble
	each := func(f func(name string, d ast.Decl)) {
		for _, file := range files {
			for _, d := range file.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok {
					f(fn.Name.Name, d)
				} else {
					f("a variable", d)
				}
			}
		}
	}
	each(func(name string, d ast.Decl) {
		if _, ok := d.(*ast.FuncDecl); !ok {
			return
		}
		declared[name] = true
		ast.Inspect(d, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok && isSelector(c.Fun, "synctest", "Test") && !isRoot(name) {
				bubbling[name] = true
			}
			return true
		})
	})

	var all []wait
	callees := map[string][]string{} // by function, those that it mentions outside a bubble
	outside := map[string]bool{}     // functions that are mentioned outside a bubble
	mentioned := map[string]bool{}   // functions that are mentioned at all
	each(func(name string, d ast.Decl) {
		inspect(d, bubbling, func(n ast.Node, inBubble bool) {
			if id, ok := n.(*ast.Ident); ok && declared[id.Name] && id.Name != name {
				mentioned[id.Name] = true
				if !inBubble {
					outside[id.Name] = true
					callees[name] = append(callees[name], id.Name)
				}
			}
			if inBubble {
				return
			}
			for _, at := range waitsAt(n) {
				position := set.Position(at)
				all = append(all, wait{name, fmt.Sprintf("%s:%d", position.Filename, position.Line)})
			}
		})
	})

	isReal := map[string]bool{} // functions that run outside a bubble
	var mark func(name string)
	mark = func(name string) {
		if !isReal[name] {
			isReal[name] = true
			for _, callee := range callees[name] {
				mark(callee)
			}
		}
	}
	mark("a variable")
	for name := range declared {
		if isRoot(name) || !mentioned[name] {
			mark(name)
		}
	}
	all = slices.DeleteFunc(all, func(w wait) bool { return !isReal[w.function] })
	for i := range all {
		all[i].function = dir + "." + all[i].function
	}
	return all
}

// isRoot reports whether a function may be called from outside its folder's files: by go test, or because it is exported.
func isRoot(name string) bool { return ast.IsExported(name) || name == "init" || name == "main" }

// inspect calls f with each node of d, and whether it is in the argument of a function that runs it in a bubble.
func inspect(d ast.Node, bubbling map[string]bool, f func(n ast.Node, inBubble bool)) {
	var walk func(n ast.Node, inBubble bool)
	walk = func(root ast.Node, inBubble bool) {
		ast.Inspect(root, func(n ast.Node) bool {
			if n == nil {
				return false
			}
			f(n, inBubble)
			c, ok := n.(*ast.CallExpr)
			if !ok || inBubble {
				return true
			}
			id, ok := c.Fun.(*ast.Ident)
			if !isSelector(c.Fun, "synctest", "Test") && !(ok && bubbling[id.Name]) {
				return true
			}
			walk(c.Fun, inBubble)
			for _, argument := range c.Args {
				walk(argument, true)
			}
			return false
		})
	}
	walk(d, false)
}

// waitsAt returns the positions of the waits that n itself has, without those of the nodes in it.
func waitsAt(n ast.Node) (all []token.Pos) {
	statements := func(list []ast.Stmt) {
		for _, s := range list {
			if isTimer(s) {
				all = append(all, s.Pos())
			}
		}
	}
	switch n := n.(type) {
	case *ast.CallExpr:
		if isSelector(n.Fun, "time", "Sleep") {
			all = append(all, n.Pos())
		}
	case *ast.BlockStmt:
		statements(n.List)
	case *ast.CaseClause:
		statements(n.Body)
	case *ast.CommClause:
		statements(n.Body)
		if n.Comm != nil && len(n.Body) == 0 && isTimer(n.Comm) {
			all = append(all, n.Pos())
		}
	}
	return all
}

// isTimer reports whether s only receives from a timer.
func isTimer(s ast.Stmt) bool {
	e, ok := s.(*ast.ExprStmt)
	if !ok {
		return false
	}
	receive, ok := e.X.(*ast.UnaryExpr)
	if !ok || receive.Op != token.ARROW {
		return false
	}
	if c, ok := receive.X.(*ast.CallExpr); ok {
		return isSelector(c.Fun, "time", "After") || isSelector(c.Fun, "time", "Tick")
	}
	s2, ok := receive.X.(*ast.SelectorExpr)
	return ok && s2.Sel.Name == "C"
}

func isSelector(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	id, ok := s.X.(*ast.Ident)
	return ok && id.Name == pkg && s.Sel.Name == name
}

func TestWaitsAreFound(t *testing.T) {
	const src = `package p
func TestStatement(t *testing.T) { <-time.After(1) }
func TestTimer(t *testing.T) { timer := time.NewTimer(1); <-timer.C }
func TestSleep(t *testing.T) { for { time.Sleep(1) } }
func TestPoll(t *testing.T) { select { case <-done: case <-time.After(1): } }
func TestInCase(t *testing.T) { switch { case true: <-time.After(1) } }
func TestDeadline(t *testing.T) { select { case <-done: case <-time.After(1): t.Fatal() } }
func TestNested(t *testing.T) { t.Run("", func(t *testing.T) { time.Sleep(1) }) }
func TestBubble(t *testing.T) { synctest.Test(t, func(t *testing.T) { time.Sleep(1); inside() }) }
func TestHelper(t *testing.T) { inBubble(t, func(t *testing.T) { <-time.After(1); inside() }) }
func TestHelped(t *testing.T) { helper() }
func TestBoth(t *testing.T) { both(); inBubble(t, func(t *testing.T) { both() }) }
func inBubble(t *testing.T, f func(*testing.T)) { synctest.Test(t, f) }
func inside() { time.Sleep(1); deeper() }
func deeper() { time.Sleep(1) }
func helper() { second() }
func second() { time.Sleep(1) }
func both() { time.Sleep(1) }
var table = []func(){func() { time.Sleep(1) }}
`
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "x_test.go", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range waitsOf("pkg/x", set, []*ast.File{f}) {
		got = append(got, strings.TrimPrefix(w.function, "pkg/x."))
	}
	if want := []string{"TestStatement", "TestTimer", "TestSleep", "TestPoll", "TestInCase", "TestNested", "second", "both", "a variable"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
