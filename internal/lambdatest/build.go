package lambdatest

import (
	"debug/buildinfo"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sleightproxy/sleight/internal/runtimeapi"
)

// Build builds the function of this module as it is deployed, for this machine.
func Build(t testing.TB) string {
	t.Helper()
	return BuildPackage(t, "./functions/proxy")
}

// BuildPackage builds a main package of this module, named by its path from the top, with
// the function's flags and those given, such as -race. Each is built once; the binary is
// there until this process ends. It is safe for concurrent use.
func BuildPackage(t testing.TB, pkg string, flags ...string) string {
	t.Helper()
	key := fmt.Sprintf("%q %q", flags, pkg)
	build, _ := builds.LoadOrStore(key, sync.OnceValue(func() *built { return goBuild(pkg, flags) }))
	b := build.(func() *built)()
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.binary
}

// builds are those under way and done, by flags and package. Tests of one process share
// them, as linking takes about a second.
var builds sync.Map // of func() *built

type built struct {
	binary string
	err    error
	keep   func() // holds on to what removes the binary after us
}

func goBuild(pkg string, flags []string) *built {
	gomod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return &built{err: fmt.Errorf("lambdatest: go env GOMOD: %w", err)}
	}
	top := filepath.Dir(strings.TrimSpace(string(gomod)))
	if err := lookAtSources(top); err != nil {
		return &built{err: fmt.Errorf("lambdatest: %w", err)}
	}
	dir, err := os.MkdirTemp("", "lambdatest")
	if err != nil {
		return &built{err: err}
	}
	b := &built{binary: filepath.Join(dir, "bootstrap")}
	if b.keep, b.err = runtimeapi.AfterUs("rm", "-rf", dir); b.err != nil {
		return b
	}
	// As the Makefile does, but for the race detector. It needs cgo, and without -trimpath
	// the packages that this test was built from serve again.
	cgo, trim := "CGO_ENABLED=0", []string{"-trimpath"}
	if slices.Contains(flags, "-race") {
		cgo, trim = "CGO_ENABLED=1", nil
	}
	args := slices.Concat([]string{"build", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", b.binary}, trim, flags, []string{pkg})
	cmd := exec.Command("go", args...)
	cmd.Dir = top
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.err = fmt.Errorf("lambdatest: go build %s: %w\n%s", pkg, err, out)
		return b
	}
	b.err = checkRelease(b.binary)
	return b
}

// checkRelease reports if another release of Go than this test's built the file: what the test shows
// would then be no promise of what is deployed. go test puts its own go first on the PATH; a test that was
// compiled to a file, and runs by itself, may find another.
func checkRelease(file string) error {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return fmt.Errorf("lambdatest: %w", err)
	}
	if info.GoVersion != runtime.Version() {
		return fmt.Errorf("lambdatest: the go on the PATH is %s, and this test was built with %s: run it by go test, or set GOTOOLCHAIN=%[2]s", info.GoVersion, runtime.Version())
	}
	return nil
}

// lookAtSources has the test depend on what is built: go test repeats a result that it has
// cached unless a file has changed that the test itself looked at, and what the go command
// reads on its behalf it knows nothing of.
func lookAtSources(top string) error {
	for _, name := range []string{"go.mod", "go.sum"} {
		if _, err := os.Stat(filepath.Join(top, name)); err != nil {
			return err
		}
	}
	for _, room := range []string{"cmd", "functions", "internal", "pkg"} {
		// Each folder that is read counts with the sizes and times of its files.
		if err := filepath.WalkDir(filepath.Join(top, room), func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			return err
		}
	}
	return nil
}
