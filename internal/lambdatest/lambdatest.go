// Package lambdatest runs a real Lambda function binary under a Lambda Runtime API of
// the test's own, as AWS does: one process, events by long poll, replies by POST.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
package lambdatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for the function; it is far beyond what a slow machine needs.
const patience = 30 * time.Second

// Reply is what the function said to one event.
type Reply struct {
	Body   []byte
	Failed bool // the invocation failed; Body is the error's report
}

// Function is a running function. It is safe for concurrent use.
type Function struct {
	cmd    *exec.Cmd
	out    *buffer
	events chan *invocation
	ready  chan struct{} // closed at the first poll
	exited chan struct{} // closed when the process has ended

	mu     sync.Mutex
	under  map[string]*invocation
	nextID atomic.Int64
	once   sync.Once
}

type invocation struct {
	id       string
	event    []byte
	deadline time.Time
	reply    chan Reply
}

// Build builds the function of this module as it is deployed, for this machine.
func Build(t testing.TB) string {
	t.Helper()
	return BuildPackage(t, "./functions/proxy")
}

// BuildPackage builds a main package of this module, named by its path from the top.
func BuildPackage(t testing.TB, pkg string) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	binary := filepath.Join(t.TempDir(), "bootstrap")
	cmd := exec.Command("go", "build", "-tags", "lambda.norpc", "-trimpath", "-ldflags", "-s -w", "-o", binary, pkg)
	cmd.Dir = filepath.Join(filepath.Dir(file), "..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("lambdatest: %v\n%s", err, out)
	}
	return binary
}

// Start runs binary, and waits until it asks for its first event. The variables "K=V" in
// env are added to the few that Lambda sets. The process is ended with the test, which
// fails if it ended before.
func Start(t testing.TB, binary string, env ...string) *Function {
	t.Helper()
	f := launch(t, binary, env)
	t.Cleanup(func() {
		select {
		case <-f.exited:
			t.Errorf("lambdatest: the function ended by itself: %v", f.cmd.ProcessState)
		default:
		}
		f.stop()
		if t.Failed() {
			t.Logf("the function's output:\n%s", f.Log())
		}
	})
	select {
	case <-f.ready:
	case <-f.exited:
		t.Fatalf("lambdatest: the function ended before its first event: %v", f.cmd.ProcessState)
	case <-time.After(patience):
		t.Fatal("lambdatest: the function asked for no event")
	}
	return f
}

// StartExpectExit runs a binary that has to end before it asks for an event, and returns
// its exit status and output.
func StartExpectExit(t testing.TB, binary string, env ...string) (status int, output string) {
	t.Helper()
	f := launch(t, binary, env)
	defer f.stop()
	select {
	case <-f.exited:
	case <-f.ready:
		t.Fatal("lambdatest: the function started")
	case <-time.After(patience):
		t.Fatal("lambdatest: the function neither started nor ended")
	}
	return f.cmd.ProcessState.ExitCode(), f.Log()
}

func launch(t testing.TB, binary string, env []string) *Function {
	t.Helper()
	f := &Function{
		out: &buffer{}, events: make(chan *invocation), ready: make(chan struct{}), exited: make(chan struct{}),
		under: map[string]*invocation{},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f.runtimeAPI()}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-served })

	f.cmd = exec.Command(binary)
	f.cmd.Dir = t.TempDir()
	f.cmd.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + listener.Addr().String(),
		"AWS_LAMBDA_FUNCTION_NAME=test", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=512", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(),
	}, env...)
	f.cmd.Stdout, f.cmd.Stderr = f.out, f.out
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { f.cmd.Wait(); close(f.exited) }()
	return f
}

func (f *Function) stop() {
	f.cmd.Process.Kill()
	<-f.exited
}

func (f *Function) runtimeAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
		f.once.Do(func() { close(f.ready) })
		select {
		case i := <-f.events:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", i.id)
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(i.deadline.UnixMilli(), 10))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:test")
			w.Header().Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1")
			w.Write(i.event)
		case <-r.Context().Done():
		}
	})
	finish := func(failed bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusAccepted)
			f.mu.Lock()
			i := f.under[r.PathValue("id")]
			delete(f.under, r.PathValue("id"))
			f.mu.Unlock()
			if i != nil {
				i.reply <- Reply{Body: body, Failed: failed || err != nil}
			}
		}
	}
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", finish(false))
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", finish(true))
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(f.out, r.Body)
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

// Invoke sends an event and waits for the reply. The function is told the deadline of
// ctx, or one in 29 seconds. The error says that there was no reply.
func (f *Function) Invoke(ctx context.Context, event []byte) (Reply, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(29 * time.Second)
	}
	i := &invocation{id: fmt.Sprintf("request-%d", f.nextID.Add(1)), event: event, deadline: deadline, reply: make(chan Reply, 1)}
	f.mu.Lock()
	f.under[i.id] = i
	f.mu.Unlock()
	timeout := time.After(time.Until(deadline) + patience)
	select {
	case f.events <- i:
	case <-f.exited:
		return Reply{}, errors.New("lambdatest: the function has ended")
	case <-timeout:
		return Reply{}, errors.New("lambdatest: the function asked for no event")
	}
	select {
	case r := <-i.reply:
		return r, nil
	case <-f.exited:
		return Reply{}, errors.New("lambdatest: the function ended instead of replying")
	case <-timeout:
		return Reply{}, errors.New("lambdatest: no reply")
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

// Freeze stops the process, as Lambda does between events.
func (f *Function) Freeze() error { return f.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (f *Function) Thaw() error { return f.cmd.Process.Signal(syscall.SIGCONT) }

// Exited is closed when the process has ended.
func (f *Function) Exited() <-chan struct{} { return f.exited }

// Log returns what the function has printed so far.
func (f *Function) Log() string { return strings.TrimSpace(f.out.String()) }

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
