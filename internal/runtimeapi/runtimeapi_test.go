package runtimeapi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/runtimeapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// output collects the output of functions.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed at the next write; nil if nobody waits
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
	return o.b.Write(b)
}

// count returns how often text was printed, and a channel that is closed at the next write.
func (o *output) count(text string) (n int, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more == nil {
		o.more = make(chan struct{})
	}
	return strings.Count(o.b.String(), text), o.more
}

// await waits until text was printed n times.
func (o *output) await(t *testing.T, n int, text string) {
	t.Helper()
	late := time.After(patience)
	for {
		got, more := o.count(text)
		if got >= n {
			return
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("printed %d times, want %d: %q", got, n, text)
		}
	}
}

func start(t *testing.T, timeout time.Duration, env ...string) (*runtimeapi.Function, *output) {
	t.Helper()
	out := new(output)
	f := &runtimeapi.Function{Config: runtimeapi.Config{
		Binary: lambdatest.BuildPackage(t, "./internal/runtimeapi/testdata/raw"), Env: append(env, "PATH="+os.Getenv("PATH")), Output: out, Timeout: timeout,
	}}
	t.Cleanup(f.Close)
	return f, out
}

func invoke(t *testing.T, f *runtimeapi.Function, event string) (*runtimeapi.Reply, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return f.Invoke(ctx, []byte(`"`+event+`"`))
}

// whole returns the body of a reply.
func whole(t *testing.T, f *runtimeapi.Function, event string) (string, error) {
	t.Helper()
	r, err := invoke(t, f, event)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

func TestStreamedReplyIsHandedOverBeforeItsEnd(t *testing.T) {
	signal := filepath.Join(t.TempDir(), "go")
	f, _ := start(t, 0, "RAW_GO="+signal)
	r, err := invoke(t, f, "head")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b := make([]byte, 4)
	if _, err := io.ReadFull(r.Body, b); err != nil || string(b) != "head" {
		t.Fatalf("%q, %v", b, err)
	}
	if err := os.WriteFile(signal, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r.Body); err != nil || string(rest) != " and tail" || r.Broken() != "" {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestStreamedReplyWaitsForItsReader(t *testing.T) {
	f, out := start(t, 0)
	r, err := invoke(t, f, "flood")
	if err != nil {
		t.Fatal(err)
	}
	out.await(t, 1, "sent 1 MB")
	time.Sleep(200 * time.Millisecond)
	if n, _ := out.count("sent 32 MB"); n > 0 {
		t.Error("nobody reads, and it is sent")
	}
	r.Body.Close() // the function does not see it
	out.await(t, 1, "sent 64 MB")
	if got, err := whole(t, f, "pid"); err != nil || got == "" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRepliesThatAreCutOff(t *testing.T) {
	f, _ := start(t, 0)
	if got, err := whole(t, f, "cut"); got != "some" || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "after 4 bytes") {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := whole(t, f, "cut whole"); got != "" || err == nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNextInvocationGetsANewProcess(t *testing.T) {
	f, _ := start(t, 0)
	first, err := whole(t, f, "pid")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := whole(t, f, "pid"); err != nil || again != first {
		t.Errorf("%q, %v", again, err)
	}
	if _, err := whole(t, f, "exit"); !errors.Is(err, runtimeapi.ErrExited) || !strings.Contains(err.Error(), "exit status 7") {
		t.Error(err)
	}
	if other, err := whole(t, f, "pid"); err != nil || other == first {
		t.Errorf("%q, %v", other, err)
	}
}

// Two events are under way. The third waits for a process that ends without asking for it.
func TestEventThatNoProcessGotIsForTheNext(t *testing.T) {
	signal := filepath.Join(t.TempDir(), "go")
	f, out := start(t, 0, "RAW_GO="+signal)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := whole(t, f, "exit at the signal"); !errors.Is(err, runtimeapi.ErrExited) {
				t.Error(err)
			}
		})
	}
	out.await(t, 2, "waits for the signal")
	if err := os.WriteFile(signal, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := whole(t, f, "pid"); err != nil || got == "" {
		t.Errorf("%q, %v", got, err)
	}
	wg.Wait()
}

func TestTimeoutKillsTheProcess(t *testing.T) {
	f, out := start(t, 300*time.Millisecond)
	if _, err := whole(t, f, "hang"); !errors.Is(err, runtimeapi.ErrExited) {
		t.Error(err)
	}
	out.await(t, 1, "Task timed out after 0.30 seconds")
	if got, err := whole(t, f, "pid"); err != nil || got == "" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFunctionGoesOnWithoutItsCaller(t *testing.T) {
	signal := filepath.Join(t.TempDir(), "go")
	f, out := start(t, 0, "RAW_GO="+signal)
	first, err := whole(t, f, "pid")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.Invoke(ctx, []byte(`"slow"`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := os.WriteFile(signal, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out.await(t, 1, `replied to "slow": 202`)
	if again, err := whole(t, f, "pid"); err != nil || again != first {
		t.Errorf("%q, %v", again, err)
	}
}

func TestSecondReplyIsRefused(t *testing.T) {
	f, out := start(t, 0)
	if got, err := whole(t, f, "twice"); err != nil || got != "first" {
		t.Errorf("%q, %v", got, err)
	}
	out.await(t, 1, "the second: 400")
}

func TestFunctionThatCannotStart(t *testing.T) {
	f, out := start(t, 0, "RAW_FAIL=1")
	if err := f.Start(t.Context()); !errors.Is(err, runtimeapi.ErrExited) || !strings.Contains(err.Error(), "exit status 3") {
		t.Error(err)
	}
	if _, err := whole(t, f, "pid"); !errors.Is(err, runtimeapi.ErrExited) {
		t.Error(err)
	}
	out.await(t, 1, "cannot start")
	f.Config.Binary = filepath.Join(t.TempDir(), "none")
	if err := f.Start(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	f.Close()
	if err := f.Start(t.Context()); err == nil {
		t.Error("it starts after Close")
	}
}

func TestStart(t *testing.T) {
	f, _ := start(t, 0)
	if err := f.Start(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	other, _ := start(t, 0)
	if err := other.Start(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := f.Invoke(ctx, []byte(`"hang"`)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
