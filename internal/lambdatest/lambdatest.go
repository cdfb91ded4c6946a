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
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds every wait for the function; it is far beyond what a slow machine needs.
const patience = 30 * time.Second

// ErrExited is what [Function.Invoke] returns where the process has ended without a reply.
var ErrExited = errors.New("lambdatest: the function has ended")

// Function is a running function. It is safe for concurrent use.
type Function struct {
	api       *runtimeAPI
	cmd       *exec.Cmd
	out       *output
	exited    chan struct{} // closed when the process has ended
	mayExit   atomic.Bool
	requestID atomic.Int64
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
		case <-f.exited:
			if !f.mayExit.Load() {
				t.Errorf("lambdatest: the function ended by itself: %v", f.cmd.ProcessState)
			}
		default:
		}
		f.kill()
		if strings.Contains(f.Log(), "WARNING: DATA RACE") {
			t.Error("lambdatest: the function has a data race")
		}
		if t.Failed() {
			t.Logf("the function's output:\n%s", f.Log())
		}
	})
	select {
	case <-f.api.asked:
	case <-f.exited:
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
	defer f.kill()
	select {
	case <-f.exited:
	case <-f.api.asked:
		t.Fatalf("lambdatest: the function started although it was not to; its output:\n%s", f.Log())
	case <-time.After(patience):
		t.Fatalf("lambdatest: the function neither started nor ended; its output:\n%s", f.Log())
	}
	return f.cmd.ProcessState.ExitCode(), f.Log()
}

func launch(t testing.TB, binary string, env []string) *Function {
	t.Helper()
	f := &Function{out: newOutput(), exited: make(chan struct{})}
	f.api = newRuntimeAPI(f.out)
	server := httptest.NewServer(f.api.handler())
	t.Cleanup(server.Close)

	home := t.TempDir()
	f.cmd = exec.Command(binary)
	f.cmd.Dir = home
	f.cmd.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + server.Listener.Addr().String(),
		"AWS_LAMBDA_FUNCTION_NAME=test", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=512", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home,
	}, env...)
	f.cmd.Stdout, f.cmd.Stderr = f.out, f.out
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Without a Runtime API most functions end by themselves, but not frozen ones.
	disarm, err := afterUs("kill", "-9", fmt.Sprint(f.cmd.Process.Pid))
	go func() {
		defer close(f.exited)
		f.cmd.Wait()
		disarm()
	}()
	if err != nil {
		f.kill()
		t.Fatal(err)
	}
	return f
}

func (f *Function) kill() {
	f.cmd.Process.Kill()
	<-f.exited
}

// Invoke sends an event and waits for the reply. The function is told the deadline of
// ctx, or else one in 29 seconds; a reply that comes after it is still returned. Several
// invocations may be under way at once: those that the function does not ask for yet wait
// their turn. The error says why there is no reply: [ErrExited], or that ctx was cancelled.
func (f *Function) Invoke(ctx context.Context, event []byte) (Reply, error) {
	i := &invocation{id: fmt.Sprintf("request-%d", f.requestID.Add(1)), event: event, done: make(chan outcome, 1)}
	deadline, ok := ctx.Deadline()
	if ok {
		i.deadline = deadline
	} else {
		deadline = time.Now().Add(timeout)
	}
	timer := time.NewTimer(time.Until(deadline) + patience)
	defer timer.Stop()
	cancelled := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			close(cancelled)
		}
	})()

	f.api.enqueue(i)
	select {
	case f.api.events <- i:
	case <-f.exited:
		f.api.forget(i)
		return Reply{}, fmt.Errorf("%w: %v", ErrExited, f.cmd.ProcessState)
	case <-cancelled:
		f.api.forget(i)
		return Reply{}, fmt.Errorf("lambdatest: before the function asked for the event: %w", ctx.Err())
	case <-timer.C:
		f.api.forget(i)
		return Reply{}, errors.New("lambdatest: the function did not ask for the event")
	}
	select {
	case o := <-i.done:
		return o.reply, o.err
	case <-f.exited:
	case <-cancelled:
		return Reply{}, fmt.Errorf("lambdatest: before the function replied: %w", ctx.Err())
	case <-timer.C:
		return Reply{}, fmt.Errorf("lambdatest: no reply, %v after the deadline", patience)
	}
	// A function may reply and end right then, as one does that has panicked.
	select {
	case o := <-i.done:
		return o.reply, o.err
	default:
		return Reply{}, fmt.Errorf("%w instead of replying: %v", ErrExited, f.cmd.ProcessState)
	}
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
	case <-f.exited:
		return f.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("lambdatest: the function has not ended: %w", ctx.Err())
	}
}

// Exited is closed when the process has ended.
func (f *Function) Exited() <-chan struct{} { return f.exited }

// PID is the process's.
func (f *Function) PID() int { return f.cmd.Process.Pid }

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
		case <-f.exited: // all that it printed has been read by then
			if strings.Contains(f.out.String(), text) {
				return nil
			}
			return fmt.Errorf("%w without printing %q", ErrExited, text)
		case <-ctx.Done():
			return fmt.Errorf("lambdatest: the function has not printed %q: %w", text, ctx.Err())
		}
	}
}
