// Package lambdahttp serves the HTTP events that AWS Lambda gets from its fronts with
// a plain http.Handler:
//
//	adapter := &lambdahttp.Adapter{Handler: handler}
//	lambda.Start(adapter.Handle)
//
// The fronts are REST APIs, HTTP APIs (payload format 2.0), Application Load Balancers,
// function URLs and VPC Lattice (event version V2). Each has a file that knows what it
// sends and wants; what they share is here. Function URLs and REST APIs can have their
// replies streamed. The package knows nothing of proxies.
//
// Requests are made by github.com/awslabs/aws-lambda-go-api-proxy, whose accessors for the
// event's context work in handlers (core.GetAPIGatewayV2ContextFromContext and its like).
// What that library gets wrong is kept from it, and put into its request afterwards.
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

// Adapter turns events into requests to a Handler, and what it writes into replies. It
// is safe for concurrent use, and made once. Its fields must not change after the first
// event.
//
// An invocation never fails: Lambda would answer the client in our place, without a word
// of the cause. Whatever fails becomes a reply.
type Adapter struct {
	// Handler answers. The context of its requests ends before Lambda would end the
	// function, or the front would give up, so that there is time to say so. A panic with
	// http.ErrAbortHandler means, as in net/http, that what was written must not pass for a
	// complete answer.
	Handler http.Handler

	// Failed answers in place of the handler. The error is, or wraps, one of [ErrSetup], [ErrEvent],
	// [ErrAborted], [ErrDeadline], [ErrTooLarge], [ErrHeaderTooLarge] and [ErrPanic]. For
	// ErrSetup and ErrEvent the request has neither URL nor headers of the client. Where a streamed answer
	// has begun, what Failed writes is thrown away: it is called for it to know. Nil answers
	// with the status and its text.
	Failed func(w http.ResponseWriter, r *http.Request, err error)

	// Begin, where it is not nil, is called for each request before the handler, which gets the
	// request that it returns, as does Failed. done is called once the reply is settled: whatever
	// Failed has written in its place is in it, and the handler has returned.
	Begin func(r *http.Request) (begun *http.Request, done func())

	// Stream sends replies as the handler writes them, where the front can take them so: a
	// function URL with the invoke mode RESPONSE_STREAM, a REST API whose integration has the
	// response transfer mode STREAM. Events do not tell whether these are set; where they are
	// not, clients get to see the framing. The other fronts get whole replies all the same.
	Stream bool

	// Margin is how much earlier than the function, and than the front gives up, the request
	// has to end. Zero means half a second; negative means none.
	Margin time.Duration

	// FrontTimeout is for how long the front waits, counted from when it got the request.
	// Zero means what AWS documents for it: 30 s for HTTP APIs, 29 s for REST APIs that do not
	// stream, and for the others as long as the invocation may take. Negative means as long
	// as the invocation.
	FrontTimeout time.Duration

	// BasePath is taken off the front of paths, whole segments only: "/api" for an API
	// mapping with the key "api", of which the front tells nothing. Empty takes nothing off.
	BasePath string

	// StripStage takes the name of the API's stage off the front of paths.
	StripStage bool

	buffers sync.Pool // of *bytes.Buffer, the bodies of whole replies
}

// What can be wrong, apart from what the handler answers itself.
var (
	ErrSetup          = errors.New("lambdahttp: the function is not set up for this event") // the error says what an operator has to set
	ErrEvent          = errors.New("lambdahttp: not an event that can be answered")
	ErrAborted        = errors.New("lambdahttp: the answer broke off")
	ErrDeadline       = errors.New("lambdahttp: the answer was not complete in time")
	ErrTooLarge       = errors.New("lambdahttp: the answer is larger than this front can return")
	ErrHeaderTooLarge = errors.New("lambdahttp: the answer's headers are larger than this front can return")
	ErrPanic          = errors.New("lambdahttp: the handler panicked")
)

// A TooLargeError is an [ErrTooLarge] that says what the front would have taken.
type TooLargeError struct {
	Size  int // in bytes, as far as it is known: the answer may be larger
	Limit int // in bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%v: %d bytes or more, and the limit is %d", ErrTooLarge, e.Size, e.Limit)
}

// Unwrap returns ErrTooLarge.
func (e *TooLargeError) Unwrap() error { return ErrTooLarge }

const defaultMargin = 500 * time.Millisecond

// Handle answers one event. The reader is the reply, and has to be read to its end or
// closed; one that was begun and fails says so by an error. The error of Handle is always
// nil. It has the form that lambda.Start takes.
func (a *Adapter) Handle(ctx context.Context, e Event) (io.Reader, error) {
	f, err := e.front, e.err
	if f == nil {
		f = httpAPI{} // whose replies every front understands
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
	} else if end, ok := ctx.Deadline(); ok && !end.After(received) { // or an origin would be blamed for it
		err = fmt.Errorf("%w: no time was left when the function got the event: %v before the front or Lambda gives up, of which %v are kept for the reply",
			ErrDeadline, end.Add(a.margin()).Sub(received).Round(time.Millisecond), a.margin())
		r = r.WithContext(context.WithoutCancel(ctx))
	}
	done := func() {}
	if a.Begin != nil {
		r, done = a.Begin(r)
	}
	if stream {
		return a.stream(f, r, err, cancel, done), nil
	}
	defer cancel()
	defer done()
	return a.buffered(f, r, err), nil
}

// Invoke is Handle with the payload and the reply in whole. It implements lambda.Handler;
// but a function that is started with it streams nothing, and needs the memory for all of
// a reply.
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

// deadline ends the request before the front or Lambda gives up. A front's clock has run
// since it got the request, through a cold start for instance. Lambda's deadline is one to come: an emulator
// that tells a past one (the function's timeout for a date, in 1970) has told none.
func (a *Adapter) deadline(ctx context.Context, timeout time.Duration, stream bool, began, now time.Time) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if ok && !end.After(now) {
		ctx, ok = context.WithoutCancel(ctx), false
	}
	// As net/http does for its handlers; httputil.ReverseProxy tells by it that a panic
	// with ErrAbortHandler is understood. Without it a body that broke off is taken for whole.
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

// serve runs the handler. Its error says why what was written is no answer.
func (a *Adapter) serve(w *response, r *http.Request) (err error) {
	defer func() {
		v := recover()
		switch {
		case w.err != nil:
			err = w.err
		case v == nil:
		case v == http.ErrAbortHandler && errors.Is(r.Context().Err(), context.DeadlineExceeded):
			err = ErrDeadline
		case v == http.ErrAbortHandler && r.Context().Err() != nil: // nobody reads the reply any more
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

// fail lets Failed answer, which must not end the process either.
func (a *Adapter) fail(w *response, r *http.Request, err error) {
	defer func() {
		if recover() != nil {
			w.reset()
			w.WriteHeader(http.StatusInternalServerError)
		}
	}()
	if a.Failed != nil {
		a.Failed(w, r, err)
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

// RequestID returns the invocation's, by which Lambda's own log lines name it, or "".
func RequestID(ctx context.Context) string {
	if c, ok := lambdacontext.FromContext(ctx); ok {
		return c.AwsRequestID
	}
	return ""
}

// TraceID returns the invocation's X-Ray trace header, or "". The variable
// _X_AMZN_TRACE_ID has it only where one invocation runs at a time.
func TraceID(ctx context.Context) string {
	id, _ := ctx.Value("x-amzn-trace-id").(string) // aws-lambda-go's key
	return id
}
