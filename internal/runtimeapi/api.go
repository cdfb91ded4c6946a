package runtimeapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// api is the Runtime API for one process.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type api struct {
	name       string // of the function
	timeout    time.Duration
	expired    func(*invocation) // called if a deadline passes without a reply; may be nil
	cut        func()            // called if a POST is cut off, before its invocation ends
	initErrors io.Writer

	events chan *invocation
	asked  chan struct{} // closed when the function asks for its first event
	once   sync.Once

	mu      sync.Mutex
	open    map[string]*invocation // invocations that wait, or whose reply is not complete
	polls   int                    // requests that wait for an event
	changed chan struct{}          // closed and replaced when open or polls change
}

type invocation struct {
	id        string
	event     Event
	outcome   chan outcome  // unbuffered: an outcome is only sent if somebody waits for it
	abandoned chan struct{} // closed when nobody waits for the outcome
	replied   bool          // a reply has begun; guarded by api.mu
	clock     *time.Timer   // runs to the deadline; nil before the function has the event; guarded by api.mu
}

type outcome struct {
	reply *Reply
	err   error
}

func newAPI(name string, timeout time.Duration, initErrors io.Writer) *api {
	return &api{
		name: name, timeout: timeout, initErrors: initErrors,
		events: make(chan *invocation), asked: make(chan struct{}),
		open: map[string]*invocation{}, changed: make(chan struct{}),
	}
}

func (a *api) update(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	close(a.changed)
	a.changed = make(chan struct{})
}

// forget ends an invocation. A later reply to it is refused.
func (a *api) forget(i *invocation) {
	a.update(func() {
		delete(a.open, i.id)
		if i.clock != nil {
			i.clock.Stop()
		}
	})
}

// awaitIdle waits until no event is under way and the function asks for the next event. It returns early at the end of ctx, or if gone
// is closed.
func (a *api) awaitIdle(ctx context.Context, gone <-chan struct{}) error {
	for {
		a.mu.Lock()
		idle, changed := len(a.open) == 0 && a.polls > 0, a.changed
		a.mu.Unlock()
		if idle {
			return nil
		}
		select {
		case <-changed:
		case <-gone:
			return ErrExited
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// invoke sends an event to the function, and waits for the reply, or for the head of a streamed reply. gone is closed when the process
// has ended.
func (a *api) invoke(ctx context.Context, i *invocation, gone <-chan struct{}) (*Reply, error) {
	a.update(func() { a.open[i.id] = i })
	select {
	case a.events <- i:
	case <-gone:
		a.forget(i)
		return nil, fmt.Errorf("%w %w", ErrExited, errNotTaken)
	case <-ctx.Done():
		a.forget(i)
		return nil, fmt.Errorf("runtimeapi: before the function asked for the event: %w", ctx.Err())
	}
	// The function goes on. Nobody reads its reply.
	defer close(i.abandoned)
	select {
	case o := <-i.outcome:
		return o.reply, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("runtimeapi: before the function replied: %w", ctx.Err())
	case <-gone:
	}
	select {
	case o := <-i.outcome:
		return o.reply, o.err
	default:
		a.forget(i)
		return nil, fmt.Errorf("%w instead of replying", ErrExited)
	}
}

func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", a.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) {
		a.finish(w, r, false)
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) {
		a.finish(w, r, true)
	})
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(a.initErrors, r.Body)
		answer(w, http.StatusAccepted, `{"status":"OK"}`)
	})
	return mux
}

func (a *api) next(w http.ResponseWriter, r *http.Request) {
	a.update(func() { a.polls++ })
	a.once.Do(func() { close(a.asked) })
	var i *invocation
	select {
	case i = <-a.events:
	case <-r.Context().Done():
	}
	a.update(func() { a.polls-- })
	if i == nil {
		return
	}
	deadline := i.event.Deadline
	if deadline.IsZero() {
		deadline = time.Now().Add(a.timeout)
	}
	if a.expired != nil {
		a.update(func() {
			if a.open[i.id] != nil {
				i.clock = time.AfterFunc(time.Until(deadline), func() { a.expired(i) })
			}
		})
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", i.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(deadline.UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:"+a.name)
	// Each invocation has another one, so that a mix-up is visible.
	h.Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1;Self="+i.id)
	w.Write(i.event.Payload)
}

func (a *api) finish(w http.ResponseWriter, r *http.Request, failed bool) {
	var i *invocation
	a.update(func() {
		if i = a.open[r.PathValue("id")]; i != nil && i.replied {
			i = nil
		} else if i != nil {
			i.replied = true
		}
	})
	if i == nil {
		io.Copy(io.Discard, r.Body)
		answer(w, http.StatusBadRequest, `{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}`)
		return
	}
	reply := &Reply{Failed: failed, Header: r.Header.Clone()}
	status, says := http.StatusAccepted, `{"status":"OK"}`
	if !failed && r.Header.Get("Content-Type") == Streamed {
		a.stream(i, reply, r)
	} else {
		status, says = a.whole(i, reply, r)
	}
	if status != 0 {
		answer(w, status, says)
	}
}

// stream passes a reply on while it arrives.
func (a *api) stream(i *invocation, reply *Reply, r *http.Request) {
	defer a.forget(i)
	out, in := io.Pipe()
	reply.Body = out
	select {
	case i.outcome <- outcome{reply: reply}:
	case <-i.abandoned:
		out.Close()
	}
	n, err := io.Copy(in, r.Body)
	if errors.Is(err, io.ErrClosedPipe) { // nobody reads any more, and the function is not told
		io.Copy(io.Discard, r.Body)
		return
	}
	if err != nil {
		a.cut()
		in.CloseWithError(cutOff(n, err))
		return
	}
	reply.Trailer = r.Trailer.Clone()
	in.Close()
}

// whole passes a reply on after its end. It returns the response for the function, or status 0 if the function has hung up.
func (a *api) whole(i *invocation, reply *Reply, r *http.Request) (status int, says string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxReply+1))
	rest, restErr := io.Copy(io.Discard, r.Body)
	a.forget(i)
	o := outcome{reply: reply}
	status, says = http.StatusAccepted, `{"status":"OK"}`
	if err = errors.Join(err, restErr); err != nil {
		a.cut()
		status, o = 0, outcome{err: cutOff(int64(len(body))+rest, err)}
	} else if len(body) > MaxReply {
		status = http.StatusRequestEntityTooLarge
		says = fmt.Sprintf(`{"errorMessage":"Response payload size exceeded maximum allowed payload size (%d bytes).",`+
			`"errorType":"Function.ResponseSizeTooLarge"}`, MaxReply)
		reply.Failed, body = true, []byte(says)
	}
	reply.Body, reply.Trailer = io.NopCloser(bytes.NewReader(body)), r.Trailer.Clone()
	select {
	case i.outcome <- o: // before the response, because the function may end after that
	case <-i.abandoned:
	}
	return status, says
}

func cutOff(n int64, err error) error {
	return fmt.Errorf("runtimeapi: the function cut its reply off after %d bytes: %w", n, err)
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, body)
}
