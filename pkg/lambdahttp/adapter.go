// Package lambdahttp serves the HTTP events of AWS Lambda with an http.Handler:
//
//	adapter := &lambdahttp.Adapter{Handler: handler}
//	lambda.Start(adapter.Handle)
//
// An event comes from a front: a REST API, an HTTP API (payload format 2.0), an Application Load Balancer, a function URL, or
// VPC Lattice (event version V2). Each front has a file for its form of events and replies. Function URLs and REST APIs can
// stream their replies. The package knows nothing about proxies.
//
// github.com/awslabs/aws-lambda-go-api-proxy makes the requests, so that its accessors for the event's context work in
// handlers, such as core.GetAPIGatewayV2ContextFromContext. The package gives that library only the parts that it reads correctly,
// and sets the other parts of the request itself.
package lambdahttp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
)

// Adapter turns events into requests to a Handler, and its responses into replies. It is safe for concurrent use. A function
// needs only one. The fields must not change after the first event.
//
// An invocation never fails, because Lambda would then answer the client without the cause. Each failure becomes a reply.
type Adapter struct {
	// Handler answers requests. The context of a request ends before Lambda ends the function and before the front gives up,
	// so that the handler can still answer. A panic with http.ErrAbortHandler means, as in net/http, that the response is
	// incomplete.
	Handler http.Handler

	// Lifecycle follows each request, and answers in place of the handler if that has failed. Nil answers with a status and
	// its text.
	Lifecycle Lifecycle

	// Stream sends replies as the handler writes them, if the front can stream: a function URL with the invoke mode
	// RESPONSE_STREAM, or a REST API whose integration has the response transfer mode STREAM. Events do not say whether these
	// modes are set. If they are not, clients see the framing. Other fronts get whole replies.
	Stream bool

	// Margin is the time between the end of the request's context, and the moment when Lambda ends the function or the front
	// gives up. Zero means half a second. Negative means no margin.
	Margin time.Duration

	// FrontTimeout is the time that the front waits for a reply, since it got the request. Zero means the time in AWS's
	// documentation: 30 s for an HTTP API, and 29 s for a REST API that does not stream. For other fronts zero means the time
	// of the invocation. Negative means the time of the invocation for all fronts.
	FrontTimeout time.Duration

	// BasePath is removed from the beginning of paths, in whole segments. It is "/api" for an API mapping with the key "api",
	// because events do not have that key. Empty removes nothing.
	BasePath string

	// StripStage removes the name of the API's stage from the beginning of paths.
	StripStage bool

	buffers sync.Pool // of *bytes.Buffer, the bodies of whole replies
}

// A Lifecycle follows requests from the event to the end of the reply, and answers those that fail. For each event, an [Adapter]
// calls in this order:
//
//  1. Begin
//  2. ServeHTTP of its Handler, unless the event has no request that a handler could answer
//  3. Fail, if there is no complete response
//  4. the function that Begin returned
//
// A Lifecycle must be safe for concurrent use.
type Lifecycle interface {
	// Begin returns the request for the Handler and for Fail, and a function that is called once the reply is complete. If
	// the reply is streamed, the client waits for that function too.
	Begin(r *http.Request) (begun *http.Request, done func())

	// Fail answers r in place of the Handler. err is, or wraps, [ErrSetup], [ErrEvent], [ErrAborted], [ErrDeadline],
	// [ErrTooLarge], [ErrHeaderTooLarge] or [ErrPanic]. For ErrSetup and ErrEvent, r has no URL and no headers of the
	// client. If a streamed reply has begun, the adapter discards what Fail writes: w then has a method Discarded() bool that
	// returns true. If Fail panics, the reply has status 500.
	Fail(w http.ResponseWriter, r *http.Request, err error)
}

// The failures that a [Lifecycle] answers.
var (
	ErrSetup          = errors.New("lambdahttp: the function is not set up for this event") // the error says what an operator has to set
	ErrEvent          = errors.New("lambdahttp: the event has no valid request")
	ErrAborted        = errors.New("lambdahttp: the response is incomplete")
	ErrDeadline       = errors.New("lambdahttp: the response was not complete in time")
	ErrTooLarge       = errors.New("lambdahttp: the response is larger than this front can return")
	ErrHeaderTooLarge = errors.New("lambdahttp: the response's headers are larger than this front can return")
	ErrPanic          = errors.New("lambdahttp: the handler panicked")
)

// A TooLargeError is an [ErrTooLarge] with the limit of the front.
type TooLargeError struct {
	Size  int // in bytes; the response may be larger
	Limit int // in bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%v: %d bytes or more, and the limit is %d", ErrTooLarge, e.Size, e.Limit)
}

// Unwrap returns ErrTooLarge.
func (e *TooLargeError) Unwrap() error { return ErrTooLarge }

const defaultMargin = 500 * time.Millisecond

// Handle answers one event. The reader is the reply. The caller must read it to its end or close it. Its error says that a
// streamed reply is incomplete. The error of Handle is always nil. Handle has the form that lambda.Start takes.
func (a *Adapter) Handle(ctx context.Context, e Event) (io.Reader, error) {
	f, err := e.front, e.err
	if f == nil {
		f = httpAPI{} // every front understands its replies
		if err == nil {
			err = fmt.Errorf("%w: it is empty. %s", ErrSetup, sender)
		}
	}
	var p *parts
	if err == nil {
		p, err = f.request(&e.event)
	}
	began := time.Time{}
	if p != nil {
		began = p.began
	}
	limits := f.limits()
	stream := a.Stream && limits.streams
	received := time.Now()
	ctx, cancel := a.deadline(ctx, limits.timeout, stream, began, received)
	var r *http.Request
	if err == nil {
		r, err = a.request(ctx, p, &e.event)
	}
	if err != nil {
		r = (&http.Request{Method: http.MethodGet, Header: http.Header{}}).WithContext(ctx)
	} else if end, ok := ctx.Deadline(); ok && !end.After(received) { // otherwise the handler would seem to be slow
		err = fmt.Errorf("%w: no time was left when the function got the event: %v before the front or Lambda gives up, of which %v are kept for the reply",
			ErrDeadline, end.Add(a.margin()).Sub(received).Round(time.Millisecond), a.margin())
		r = r.WithContext(context.WithoutCancel(ctx))
	}
	done := func() {}
	if a.Lifecycle != nil {
		r, done = a.Lifecycle.Begin(r)
	}
	if stream {
		return a.stream(f, r, err, cancel, done), nil
	}
	defer cancel()
	defer done()
	return a.buffered(f, r, err), nil
}

// Invoke is [Adapter.Handle] for a whole payload and a whole reply. It implements lambda.Handler. A function that starts with it does
// not stream, and needs memory for the whole reply.
func (a *Adapter) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var e Event
	if err := json.Unmarshal(payload, &e); err != nil {
		e.err = fmt.Errorf("%w: it is not JSON. %s", ErrSetup, sender)
	}
	reply, err := a.Handle(ctx, e)
	if err != nil {
		return nil, err
	}
	if c, ok := reply.(io.Closer); ok {
		defer c.Close()
	}
	return io.ReadAll(reply)
}

// deadline ends the request before the front or Lambda gives up. The front counts from the moment when it got the request, so that a
// cold start is included. A deadline of Lambda that is past is ignored, because some emulators send the function's timeout as a
// date in 1970.
func (a *Adapter) deadline(ctx context.Context, timeout time.Duration, stream bool, began, now time.Time) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if ok && !end.After(now) {
		ctx, ok = context.WithoutCancel(ctx), false
	}
	// net/http sets it too. If it is set, httputil.ReverseProxy panics with ErrAbortHandler at an incomplete body. Otherwise an
	// incomplete body would look complete.
	ctx = context.WithValue(ctx, http.ServerContextKey, serverForContext)
	if stream {
		timeout = 0
	}
	timeout = cmp.Or(a.FrontTimeout, timeout)
	if timeout > 0 {
		if age := now.Sub(began); age < 0 || age > timeout { // another clock, or a recorded event
			began = now
		}
		if gone := began.Add(timeout); !ok || gone.Before(end) {
			end, ok = gone, true
		}
	}
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, end.Add(-a.margin()))
}

func (a *Adapter) margin() time.Duration { return max(0, cmp.Or(a.Margin, defaultMargin)) }

var serverForContext = &http.Server{}

// serve calls the handler. Its error says why there is no complete response.
func (a *Adapter) serve(w *response, r *http.Request) (err error) {
	defer func() {
		v := recover()
		switch {
		case w.err != nil:
			err = w.err
		case v == nil:
		case v == http.ErrAbortHandler && errors.Is(r.Context().Err(), context.DeadlineExceeded):
			err = ErrDeadline
		case v == http.ErrAbortHandler && r.Context().Err() != nil: // nobody reads the reply
			err = fmt.Errorf("%w: %w", ErrAborted, context.Canceled)
		case v == http.ErrAbortHandler:
			err = ErrAborted
		default:
			err = fmt.Errorf("%w: %v\n%s", ErrPanic, v, debug.Stack())
		}
	}()
	a.Handler.ServeHTTP(w, r)
	return nil
}

// fail calls Lifecycle.Fail. A panic must not end the process.
func (a *Adapter) fail(w *response, r *http.Request, err error) {
	defer func() {
		if recover() != nil {
			w.reset()
			w.WriteHeader(http.StatusInternalServerError)
		}
	}()
	if a.Lifecycle != nil {
		a.Lifecycle.Fail(w, r, err)
		return
	}
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, ErrEvent):
		status = http.StatusBadRequest
	case errors.Is(err, ErrAborted), errors.Is(err, ErrTooLarge), errors.Is(err, ErrHeaderTooLarge):
		status = http.StatusBadGateway
	case errors.Is(err, ErrDeadline):
		status = http.StatusGatewayTimeout
	}
	http.Error(w, http.StatusText(status), status)
}

// RequestID returns the id of the invocation, as Lambda's own log lines have it. It returns "" if ctx has no id.
func RequestID(ctx context.Context) string {
	if c, ok := lambdacontext.FromContext(ctx); ok {
		return c.AwsRequestID
	}
	return ""
}

// TraceID returns the X-Ray trace header of the invocation. It returns "" if ctx has no header. The variable _X_AMZN_TRACE_ID has it only
// if a process has a single invocation at a time.
func TraceID(ctx context.Context) string {
	id, _ := ctx.Value("x-amzn-trace-id").(string) // aws-lambda-go's key
	return id
}
