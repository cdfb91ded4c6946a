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

// Build builds the function of this module for this machine, with the flags of a deployment.
func Build(t testing.TB) string {
	t.Helper()
	return BuildPackage(t, "./functions/proxy")
}

// BuildPackage builds a main package of this module. pkg is its path from the top. It uses the flags of a deployment and the given
// flags, such as -race. Each package is built once. The binary exists until the end of this process. BuildPackage is safe for
// concurrent use.
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

// builds are the builds of this process, by flags and package. Tests share them, because linking takes about a second.
var builds sync.Map // of func() *built

type built struct {
	binary string
	err    error
	keep   func() // keeps the command that removes the binary after this process
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
	if b.keep, b.err = runtimeapi.AfterExit("rm", "-rf", dir); b.err != nil {
		return b
	}
	// These are the flags of the Makefile, except with the race detector. That needs cgo. If -trimpath is not set, the packages of this
	// test are used again.
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

// checkRelease returns an error if another release of Go than that of this test built the file, because the test would then not prove
// anything about a deployment. go test puts its own go first on the PATH. A test that was compiled to a file may find another go.
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

// lookAtSources makes the test depend on the sources of the build. go test uses a cached result unless a file has changed that the test
// itself has read, and it does not know the files that the go command reads for the test.
func lookAtSources(top string) error {
	for _, name := range []string{"go.mod", "go.sum"} {
		if _, err := os.Stat(filepath.Join(top, name)); err != nil {
			return err
		}
	}
	for _, room := range []string{"cmd", "functions", "internal", "pkg"} {
		// A folder that was read counts with the sizes and times of its files.
		if err := filepath.WalkDir(filepath.Join(top, room), func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			return err
		}
	}
	return nil
}
