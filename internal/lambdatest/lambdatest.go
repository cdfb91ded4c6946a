// Package lambdatest runs the real binary of a Lambda function under a Lambda Runtime API of the test, as AWS does: the process gets
// events by long poll, and sends replies by POST.
//
//	f := lambdatest.Start(t, lambdatest.Build(t), "ROUTES_FILE="+name)
//	reply, err := f.Invoke(t.Context(), event)
//
// Some things differ from AWS: deadlines are sent and not enforced, a process that has ended is not started again, and Invoke returns
// streamed replies as a whole.
package lambdatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/runtimeapi"
)

const (
	// patience bounds each wait for the function. It is much longer than a slow machine needs.
	patience = 30 * time.Second

	// timeout is that of the function. It is less than the 30 seconds of an HTTP API.
	timeout = 29 * time.Second
)

// ErrExited is the error of [Function.Invoke] if the process has ended without a reply.
var ErrExited = runtimeapi.ErrExited

// Reply is the reply of the function to one event.
type Reply struct {
	Body    []byte
	Failed  bool        // the invocation failed; Body is the report of the error
	Header  http.Header // of the POST with the reply
	Trailer http.Header // of that POST; it says whether a streamed reply is incomplete
}

// Function is a running function. It is safe for concurrent use.
type Function struct {
	process *runtimeapi.Process
	out     *output
	mayExit atomic.Bool
}

// Start starts binary, and waits until it asks for its first event. Its environment has PATH, some variables that Lambda sets, and env,
// "K=V", whose values win. It has nothing else of this process's environment. AWS_LAMBDA_MAX_CONCURRENCY says how many
// invocations it takes at a time. The process is killed at the end of the test. The test fails if the function has ended before
// and nobody called [Function.Wait], or if it was built with -race and reported a race. The output is logged then.
func Start(t testing.TB, binary string, env ...string) *Function {
	t.Helper()
	f := launch(t, binary, env)
	t.Cleanup(func() {
		select {
		case <-f.process.Exited():
			if !f.mayExit.Load() {
				t.Errorf("lambdatest: the function ended by itself: %v", f.process.State())
			}
		default:
		}
		f.process.Close()
		if strings.Contains(f.Log(), "WARNING: DATA RACE") {
			t.Error("lambdatest: the function has a data race")
		}
		if t.Failed() {
			t.Logf("the function's output:\n%s", f.Log())
		}
	})
	select {
	case <-f.process.Asked():
	case <-f.process.Exited():
		t.Fatal("lambdatest: the function did not get as far as its first event")
	case <-time.After(patience):
		t.Fatal("lambdatest: the function asked for no event")
	}
	return f
}

// StartExpectExit runs a binary that must end before it asks for an event. It returns its exit status, or -1 after a signal, and its
// output. The output includes the init error that it posted.
func StartExpectExit(t testing.TB, binary string, env ...string) (status int, output string) {
	t.Helper()
	f := launch(t, binary, env)
	defer f.process.Close()
	select {
	case <-f.process.Exited():
	case <-f.process.Asked():
		t.Fatalf("lambdatest: the function started although it was not to; its output:\n%s", f.Log())
	case <-time.After(patience):
		t.Fatalf("lambdatest: the function neither started nor ended; its output:\n%s", f.Log())
	}
	return f.process.State().ExitCode(), f.Log()
}

func launch(t testing.TB, binary string, env []string) *Function {
	t.Helper()
	f := &Function{out: newOutput()}
	home := t.TempDir()
	var err error
	f.process, err = runtimeapi.Start(runtimeapi.Config{
		Binary: binary,
		Dir:    home,
		Env: append([]string{
			"AWS_LAMBDA_FUNCTION_NAME=test", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=512", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
			"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
			"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home,
		}, env...),
		Output:    f.out,
		Timeout:   timeout,
		Unbounded: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Invoke sends an event, and waits for the reply. The function gets the deadline of ctx, or a deadline in 29 seconds if ctx does not end.
// A later reply is returned too. Several invocations may be under way at a time. They wait in order until the function asks for
// them. The error says why there is no reply: [ErrExited], or that ctx was canceled.
func (f *Function) Invoke(ctx context.Context, event []byte) (Reply, error) {
	e := runtimeapi.Event{Payload: event}
	deadline, ok := ctx.Deadline()
	if ok {
		e.Deadline = deadline
	}
	if !ok || deadline.Before(time.Now()) { // a deadline in the past is sent too
		deadline = time.Now().Add(timeout)
	}
	wait, stop := context.WithDeadlineCause(context.WithoutCancel(ctx), deadline.Add(patience), fmt.Errorf("no reply %v after the deadline", patience))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			stop()
		}
	})()

	r, err := f.process.Invoke(wait, e)
	if err != nil {
		if cause := context.Cause(wait); cause != nil {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return Reply{}, fmt.Errorf("lambdatest: %w", err)
	}
	defer r.Body.Close()
	defer context.AfterFunc(wait, func() { r.Body.Close() })()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return Reply{}, fmt.Errorf("lambdatest: after %d bytes of the reply: %w", len(body), err)
	}
	return Reply{Body: body, Failed: r.Failed, Header: r.Header, Trailer: r.Trailer}, nil
}

// MustInvoke is Invoke. It fails the test if there is no reply or the invocation failed.
func (f *Function) MustInvoke(t testing.TB, event []byte) []byte {
	t.Helper()
	r, err := f.Invoke(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed {
		t.Fatalf("the invocation failed: %s", r.Body)
	}
	return r.Body
}

// Wait waits for the end of a process that must end. It returns its exit status, or -1 after a signal. The error is that of ctx, or says
// that half a minute has passed.
func (f *Function) Wait(ctx context.Context) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	f.mayExit.Store(true)
	select {
	case <-f.process.Exited():
		return f.process.State().ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("lambdatest: the function has not ended: %w", ctx.Err())
	}
}

// Exited returns a channel that is closed when the process has ended.
func (f *Function) Exited() <-chan struct{} { return f.process.Exited() }

// PID returns the process id.
func (f *Function) PID() int { return f.process.Process().Pid }

// Log returns the output of the function so far. It may lag behind a reply; see [Function.AwaitLog].
func (f *Function) Log() string { return strings.TrimSpace(f.out.String()) }

// AwaitLog waits until the function has printed text. The error says that ctx or the process has ended before, or that half a minute has
// passed.
func (f *Function) AwaitLog(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		grown := f.out.grown()
		if strings.Contains(f.out.String(), text) {
			return nil
		}
		select {
		case <-grown:
		case <-f.process.Exited(): // all its output has been read by then
			if strings.Contains(f.out.String(), text) {
				return nil
			}
			return fmt.Errorf("%w without printing %q", ErrExited, text)
		case <-ctx.Done():
			return fmt.Errorf("lambdatest: the function has not printed %q: %w", text, ctx.Err())
		}
	}
}
