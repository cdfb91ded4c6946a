package lambdatest_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/lambdatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func buildEcho(t *testing.T, flags ...string) string {
	t.Helper()
	return lambdatest.BuildPackage(t, "./internal/lambdatest/testdata/echo", flags...)
}

// recorder records that a test failed, for tests of failures. end runs its cleanups.
type recorder struct {
	testing.TB
	failed   bool
	said     strings.Builder
	cleanups []func()
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Failed() bool     { return r.failed }
func (r *recorder) Error(a ...any)   { r.failed = true; fmt.Fprintln(&r.said, a...) }
func (r *recorder) Errorf(format string, a ...any) {
	r.failed = true
	fmt.Fprintf(&r.said, format+"\n", a...)
}
func (r *recorder) Logf(format string, a ...any) { fmt.Fprintf(&r.said, format+"\n", a...) }

func (r *recorder) end() string {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	return r.said.String()
}

func TestFunctionReplies(t *testing.T) {
	f := lambdatest.Start(t, buildEcho(t))
	if got := f.MustInvoke(t, []byte(`"hello"`)); string(got) != "hello" {
		t.Errorf("%s", got)
	}
	r, err := f.Invoke(t.Context(), []byte(`"error"`))
	if err != nil || !r.Failed || !strings.Contains(string(r.Body), "as asked") || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = f.Invoke(t.Context(), []byte(`"cut short"`))
	if report, _ := base64.StdEncoding.DecodeString(r.Trailer.Get("Lambda-Runtime-Function-Error-Body")); err != nil || r.Failed ||
		string(r.Body) != "some" || !strings.Contains(string(report), "as asked") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestFunctionIsToldTheDeadline(t *testing.T) {
	f := lambdatest.Start(t, buildEcho(t))
	told := func(ctx context.Context) time.Time {
		r, err := f.Invoke(ctx, []byte(`"deadline"`))
		if err != nil {
			t.Fatal(err)
		}
		ms, err := strconv.ParseInt(string(r.Body), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.UnixMilli(ms)
	}
	before := time.Now().Truncate(time.Millisecond)
	if got, after := told(t.Context()).Add(-29*time.Second), time.Now(); got.Before(before) || got.After(after) {
		t.Errorf("%v is not between %v and %v", got, before, after)
	}
	want := time.Now().Add(time.Minute).Truncate(time.Millisecond)
	ctx, cancel := context.WithDeadline(t.Context(), want)
	defer cancel()
	if got := told(ctx); !got.Equal(want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

func TestEnvironmentIsSmallAndTheTestsOwnWins(t *testing.T) {
	t.Setenv("LAMBDATEST_LEAK", "1")
	f := lambdatest.Start(t, buildEcho(t), "AWS_REGION=eu-west-1", "OWN=1")
	var env []string
	if err := json.Unmarshal(f.MustInvoke(t, []byte(`"environment"`)), &env); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(env, "AWS_REGION=eu-west-1") || !slices.Contains(env, "OWN=1") || slices.Contains(env, "AWS_REGION=us-east-1") ||
		slices.Contains(env, "LAMBDATEST_LEAK=1") || slices.Contains(env, "HOME="+os.Getenv("HOME")) {
		t.Error(env)
	}
}

func TestReplyThatLambdaWouldNotTake(t *testing.T) {
	f := lambdatest.Start(t, buildEcho(t))
	r, err := f.Invoke(t.Context(), []byte(`"large"`))
	if err != nil || !r.Failed || !strings.Contains(string(r.Body), "Function.ResponseSizeTooLarge") {
		t.Errorf("failed %t, %.200s, %v", r.Failed, r.Body, err)
	}
	if status, err := f.Wait(t.Context()); err != nil || status != 1 {
		t.Errorf("status %d, %v", status, err)
	}
}

func TestManyInvocations(t *testing.T) {
	for _, concurrency := range []string{"1", "4"} {
		t.Run(concurrency, func(t *testing.T) {
			f := lambdatest.Start(t, buildEcho(t), "AWS_LAMBDA_MAX_CONCURRENCY="+concurrency)
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					want := fmt.Sprint(i)
					if r, err := f.Invoke(t.Context(), []byte(`"`+want+`"`)); err != nil || string(r.Body) != want {
						t.Errorf("%+v, %v", r, err)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestInvocationsAreUnderWayAtOnce(t *testing.T) {
	f := lambdatest.Start(t, buildEcho(t), "AWS_LAMBDA_MAX_CONCURRENCY=4")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if r, err := f.Invoke(t.Context(), []byte(`"meet"`)); err != nil || r.Failed {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	wg.Wait()
}

func TestPanicIsReportedAndThenEndsTheFunction(t *testing.T) {
	f := lambdatest.Start(t, buildEcho(t))
	r, err := f.Invoke(t.Context(), []byte(`"panic"`))
	if err != nil || !r.Failed || !strings.Contains(string(r.Body), "as asked") {
		t.Errorf("%+v, %v", r, err)
	}
	if status, err := f.Wait(t.Context()); err != nil || status != 1 {
		t.Errorf("status %d, %v", status, err)
	}
	if _, err := f.Invoke(t.Context(), []byte(`"hello"`)); !errors.Is(err, lambdatest.ErrExited) {
		t.Errorf("%v", err)
	}
	if err := f.Freeze(); !errors.Is(err, lambdatest.ErrExited) {
		t.Errorf("%v", err)
	}
}

func TestExitInsteadOfAReply(t *testing.T) {
	f := lambdatest.Start(t, buildEcho(t))
	if r, err := f.Invoke(t.Context(), []byte(`"exit"`)); !errors.Is(err, lambdatest.ErrExited) {
		t.Errorf("%+v, %v", r, err)
	}
	if status, err := f.Wait(t.Context()); err != nil || status != 7 {
		t.Errorf("status %d, %v", status, err)
	}
}

func TestExitThatNobodyWaitedForFailsTheTest(t *testing.T) {
	r := &recorder{TB: t}
	f := lambdatest.Start(r, buildEcho(t))
	f.Invoke(t.Context(), []byte(`"exit"`))
	if said := r.end(); !r.failed || !strings.Contains(said, "exit status 7") {
		t.Errorf("failed %t: %s", r.failed, said)
	}
}

func TestDataRaceOfTheFunctionFailsTheTest(t *testing.T) {
	r := &recorder{TB: t}
	f := lambdatest.Start(r, buildEcho(t, "-race"))
	f.MustInvoke(t, []byte(`"race"`))
	if err := f.AwaitLog(t.Context(), "DATA RACE"); err != nil {
		t.Error(err)
	}
	if said := r.end(); !r.failed || !strings.Contains(said, "data race") {
		t.Errorf("failed %t: %s", r.failed, said)
	}
}

func TestInvokeEndsWithItsContext(t *testing.T) {
	f := lambdatest.Start(t, buildEcho(t))
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	for range 2 { // the second waits for the first
		go func() {
			_, err := f.Invoke(ctx, []byte(`"hang"`))
			errs <- err
		}()
	}
	cancel()
	for range 2 {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func TestAwaitLog(t *testing.T) {
	f := lambdatest.Start(t, buildEcho(t))
	f.MustInvoke(t, []byte(`"print"`))
	if err := f.AwaitLog(t.Context(), "printed"); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.AwaitLog(ctx, "never"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestFreeze(t *testing.T) {
	f := lambdatest.Start(t, buildEcho(t))
	for range 20 {
		f.MustInvoke(t, []byte(`"hello"`))
		if err := f.Freeze(); err != nil {
			t.Fatal(err)
		}
		if states := threadStates(t, f.PID()); strings.Trim(states, "T") != "" {
			t.Fatalf("threads not stopped: %s", states)
		}
		replied := make(chan error, 1)
		go func() {
			_, err := f.Invoke(t.Context(), []byte(`"hello"`))
			replied <- err
		}()
		if err := f.Thaw(); err != nil {
			t.Fatal(err)
		}
		if err := <-replied; err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Freeze(); err != nil { // it ends with the test
		t.Fatal(err)
	}
}

// threadStates returns a letter for each thread, T for a stopped thread. It returns "" on other systems than Linux.
func threadStates(t *testing.T, pid int) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		return ""
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	states := ""
	for _, thread := range threads {
		b, err := os.ReadFile(thread)
		if err != nil {
			t.Fatal(err)
		}
		_, state, _ := strings.Cut(string(b), ") ")
		states += state[:1]
	}
	return states
}

func TestStartThatFails(t *testing.T) {
	status, out := lambdatest.StartExpectExit(t, buildEcho(t), "ECHO_FAIL=exit")
	if status != 3 || out != "cannot start" {
		t.Errorf("status %d, output %q", status, out)
	}
	status, out = lambdatest.StartExpectExit(t, buildEcho(t), "ECHO_FAIL=init")
	if status != 4 || !strings.Contains(out, "Echo.Init") {
		t.Errorf("status %d, output %q", status, out)
	}
}

func TestPackagesAreBuiltOnce(t *testing.T) {
	if a, b := buildEcho(t), buildEcho(t); a != b {
		t.Errorf("%s and %s", a, b)
	}
}

// A frozen process cannot see that by itself.
func TestFunctionDoesNotOutliveATestThatIsKilled(t *testing.T) {
	if os.Getenv("LAMBDATEST_HOLD") != "" {
		f := lambdatest.Start(t, buildEcho(t), "ECHO_HOLD="+os.Getenv("LAMBDATEST_HOLD"))
		if err := f.Freeze(); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("frozen\n")
		<-t.Context().Done() // it never ends: the parent kills this process before
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	tmp := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestFunctionDoesNotOutliveATestThatIsKilled$")
	cmd.Env = append(os.Environ(), "LAMBDATEST_HOLD="+listener.Addr().String(), "TMPDIR="+tmp)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	frozen := lines.Scan() && lines.Text() == "frozen"
	cmd.Process.Kill()
	cmd.Wait()
	if !frozen {
		t.Fatalf("said %q", lines.Text())
	}
	function, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer function.Close()
	if _, err := io.ReadAll(function); err != nil && !errors.Is(err, io.EOF) {
		t.Logf("the function's connection: %v", err) // a reset ends it too
	}
}
