package lambdatest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// timeout is the function's, under the 30 seconds of an HTTP API.
	timeout = 29 * time.Second

	// maxReply is how many bytes Lambda takes of a reply that is not streamed.
	maxReply = 6291556

	// streamed is the content type of replies that are, to API Gateway and function URLs.
	streamed = "application/vnd.awslambda.http-integration-response"
)

// Reply is what the function said to one event.
type Reply struct {
	Body    []byte
	Failed  bool        // the invocation failed; Body is the error's report
	Header  http.Header // of the POST that brought it
	Trailer http.Header // of that POST; a streamed reply says here that it was cut short
}

type invocation struct {
	id       string
	event    []byte
	deadline time.Time    // zero means timeout from when the function gets the event
	done     chan outcome // has room for the one outcome
}

type outcome struct {
	reply Reply
	err   error
}

// runtimeAPI is what the function talks to.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type runtimeAPI struct {
	events     chan *invocation
	asked      chan struct{} // closed when the function asks for its first event
	initErrors io.Writer

	mu      sync.Mutex
	once    sync.Once
	open    map[string]*invocation // those without an outcome
	polls   int                    // requests that wait for an event
	changed chan struct{}          // closed and replaced when open or polls change
}

func newRuntimeAPI(initErrors io.Writer) *runtimeAPI {
	return &runtimeAPI{
		events: make(chan *invocation), asked: make(chan struct{}), initErrors: initErrors,
		open: map[string]*invocation{}, changed: make(chan struct{}),
	}
}

func (a *runtimeAPI) update(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *runtimeAPI) enqueue(i *invocation) { a.update(func() { a.open[i.id] = i }) }

func (a *runtimeAPI) forget(i *invocation) { a.update(func() { delete(a.open, i.id) }) }

// awaitIdle waits until no event is under way and the function asks for the next. It
// gives up with ctx, or when gone is closed.
func (a *runtimeAPI) awaitIdle(ctx context.Context, gone <-chan struct{}) error {
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

func (a *runtimeAPI) handler() http.Handler {
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

func (a *runtimeAPI) next(w http.ResponseWriter, r *http.Request) {
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
	deadline := i.deadline
	if deadline.IsZero() {
		deadline = time.Now().Add(timeout)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", i.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(deadline.UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:test")
	h.Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1")
	w.Write(i.event)
}

func (a *runtimeAPI) finish(w http.ResponseWriter, r *http.Request, failed bool) {
	body, err := io.ReadAll(r.Body)
	var i *invocation
	a.update(func() {
		i = a.open[r.PathValue("id")]
		delete(a.open, r.PathValue("id"))
	})
	if i == nil {
		answer(w, http.StatusBadRequest, `{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}`)
		return
	}
	if err != nil {
		i.done <- outcome{err: fmt.Errorf("lambdatest: the function cut its reply off after %d bytes: %w", len(body), err)}
		return
	}
	o := outcome{reply: Reply{Body: body, Failed: failed, Header: r.Header.Clone(), Trailer: r.Trailer.Clone()}}
	status, says := http.StatusAccepted, `{"status":"OK"}`
	if len(body) > maxReply && r.Header.Get("Content-Type") != streamed {
		status = http.StatusRequestEntityTooLarge
		says = fmt.Sprintf(`{"errorMessage":"Response payload size exceeded maximum allowed payload size (%d bytes).",`+
			`"errorType":"Function.ResponseSizeTooLarge"}`, maxReply)
		o.reply.Failed, o.reply.Body = true, []byte(says)
	}
	i.done <- o // before the answer, on which the function may end
	answer(w, status, says)
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// output collects what a process prints. It is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed and replaced at each write
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) grown() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.more
}
