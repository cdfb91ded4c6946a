package lambdahttp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/sleightproxy/sleight/pkg/lambdahttp"
)

// failFunc is a Lifecycle that only answers failures.
type failFunc func(w http.ResponseWriter, r *http.Request, err error)

func (failFunc) Begin(r *http.Request) (*http.Request, func()) { return r, func() {} }

func (f failFunc) Fail(w http.ResponseWriter, r *http.Request, err error) { f(w, r, err) }

// recorder is a Lifecycle and a Handler that records the calls.
type recorder struct {
	mu    sync.Mutex
	calls []string
	panic any
}

type begun struct{}

func (l *recorder) record(call string, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r != nil && r.Context().Value(begun{}) == nil {
		call += " without the request of Begin"
	}
	l.calls = append(l.calls, call)
}

func (l *recorder) Begin(r *http.Request) (*http.Request, func()) {
	l.record("Begin", nil)
	r = r.WithContext(context.WithValue(r.Context(), begun{}, true))
	return r, func() { l.record("done", r) }
}

func (l *recorder) Fail(w http.ResponseWriter, r *http.Request, err error) {
	l.record("Fail", r)
	w.WriteHeader(599)
}

func (l *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.record("ServeHTTP", r)
	io.WriteString(w, "body")
	if l.panic != nil {
		panic(l.panic)
	}
	l.record("returned", r)
}

func TestLifecycleIsCalledInOrder(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		for name, c := range map[string]struct {
			event object
			panic any
			want  []string
		}{
			"a response":             {sample(t, "function-url"), nil, []string{"Begin", "ServeHTTP", "returned", "done"}},
			"an incomplete response": {sample(t, "function-url"), http.ErrAbortHandler, []string{"Begin", "ServeHTTP", "Fail", "done"}},
			"a panic":                {sample(t, "function-url"), errors.New("boom"), []string{"Begin", "ServeHTTP", "Fail", "done"}},
			"an event of no front":   {object{"a": 1}, nil, []string{"Begin", "Fail", "done"}},
		} {
			l := &recorder{panic: c.panic}
			var e lambdahttp.Event
			if err := e.UnmarshalJSON(marshalled(t, c.event)); err != nil {
				t.Fatal(err)
			}
			reply, err := (&lambdahttp.Adapter{Handler: l, Lifecycle: l, Stream: stream}).Handle(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, reply)
			l.mu.Lock()
			if !slices.Equal(l.calls, c.want) { // before the reply is closed
				t.Errorf("%s, stream %v: %q, want %q", name, stream, l.calls, c.want)
			}
			l.mu.Unlock()
			if closer, ok := reply.(io.Closer); ok {
				closer.Close()
			}
		}
	}
}

// doneFunc is a Lifecycle that is only told of the end.
type doneFunc func()

func (f doneFunc) Begin(r *http.Request) (*http.Request, func()) { return r, f }

func (doneFunc) Fail(http.ResponseWriter, *http.Request, error) {}

// Lambda may freeze the process after the end of the reply, and work that is left would wait for the next event.
func TestStreamedReplyDoesNotEndBeforeItsLifecycle(t *testing.T) {
	t.Parallel()
	event := sample(t, "function-url")
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Bool
		reply := handle(t, &lambdahttp.Adapter{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "body") }),
			Lifecycle: doneFunc(func() {
				synctest.Wait() // the reader goes on as far as it can
				if ended.Load() {
					t.Error("the reply has ended, and the request has not")
				}
			}),
			Stream: true,
		}, event)
		io.Copy(io.Discard, reply)
		ended.Store(true)
		reply.Close()
	})
}
