// Package lambdatest runs a real Lambda function binary under a Lambda Runtime API of
// the test's own, as AWS does: one process, events by long poll, replies by POST.
//
//	f := lambdatest.Start(t, lambdatest.Build(t), "ROUTES_FILE="+name)
//	reply, err := f.Invoke(t.Context(), event)
//
// Not as AWS does: deadlines are told and not enforced, a process that has ended is not
// started again, and replies are handed over whole, streamed ones too.
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
	// patience bounds every wait for the function; it is far beyond what a slow machine needs.
	patience = 30 * time.Second

	// timeout is the function's, under the 30 seconds of an HTTP API.
	timeout = 29 * time.Second
)

// ErrExited is what [Function.Invoke] returns where the process has ended without a reply.
var ErrExited = runtimeapi.ErrExited

// Reply is what the function said to one event.
type Reply struct {
	Body    []byte
	Failed  bool        // the invocation failed; Body is the error's report
	Header  http.Header // of the POST that brought it
	Trailer http.Header // of that POST; a streamed reply says here that it was cut short
}

// Function is a running function. It is safe for concurrent use.
type Function struct {
	process *runtimeapi.Process
	out     *output
	mayExit atomic.Bool
}

// Start runs binary, and waits until it asks for its first event. It gets none of this
// process's environment but PATH: a few variables that Lambda sets, and those in env,
// "K=V", which win. How many invocations it takes at once, AWS_LAMBDA_MAX_CONCURRENCY
// decides. The process is killed with the test, however that ends. The test fails if the
// function has ended before and nobody called [Function.Wait], or if it was built with
// -race and reported one; its output is then logged.
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

// StartExpectExit runs a binary that has to end before it asks for an event, and returns
// its exit status, or -1 after a signal, and its output. What it posted as its init error
// is part of the output.
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

// Invoke sends an event and waits for the reply. The function is told the deadline of
// ctx, or else one in 29 seconds; a reply that comes after it is still returned. Several
// invocations may be under way at once: those that the function does not ask for yet wait
// their turn. The error says why there is no reply: [ErrExited], or that ctx was cancelled.
func (f *Function) Invoke(ctx context.Context, event []byte) (Reply, error) {
	e := runtimeapi.Event{Payload: event}
	deadline, ok := ctx.Deadline()
	if ok {
		e.Deadline = deadline
	}
	if !ok || deadline.Before(time.Now()) { // one that is over is told, too
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

// MustInvoke is Invoke, and fails the test where there is no reply or the invocation failed.
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

// Wait waits for a process that is expected to end, and returns its exit status, or -1
// after a signal. The error is that of ctx, or that half a minute has passed.
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

// Exited is closed when the process has ended.
func (f *Function) Exited() <-chan struct{} { return f.process.Exited() }

// PID is the process's.
func (f *Function) PID() int { return f.process.Process().Pid }

// Log returns what the function has printed so far. It may lag behind a reply; see
// [Function.AwaitLog].
func (f *Function) Log() string { return strings.TrimSpace(f.out.String()) }

// AwaitLog waits until the function has printed text. The error says that ctx, the
// process or half a minute ended before.
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
		case <-f.process.Exited(): // all that it printed has been read by then
			if strings.Contains(f.out.String(), text) {
				return nil
			}
			return fmt.Errorf("%w without printing %q", ErrExited, text)
		case <-ctx.Done():
			return fmt.Errorf("lambdatest: the function has not printed %q: %w", text, ctx.Err())
		}
	}
}
