// Package lambdahttp serves the HTTP events that AWS Lambda gets from its fronts with
// a plain http.Handler:
//
//	lambda.Start(&lambdahttp.Adapter{Handler: handler})
//
// The fronts are HTTP APIs (payload format 2.0) and REST APIs, answered with the whole
// reply at once. Each has a file that knows what it sends and wants; what they share is
// here. The package knows nothing of proxies.
//
// Requests are made by github.com/awslabs/aws-lambda-go-api-proxy, whose accessors for the
// event's context work in handlers (core.GetAPIGatewayV2ContextFromContext and its like).
// What that library gets wrong is kept from it, and put into its request afterwards.
package lambdahttp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"
)

// Adapter turns events into requests to a Handler, and what it writes into replies. It
// is a lambda.Handler, safe for concurrent use, and made once. Its fields must not
// change after the first event.
//
// Invoke never returns an error: Lambda would answer the client in our place, without a
// word of the cause. Whatever fails becomes a reply.
type Adapter struct {
	// Handler answers. The context of its requests ends before Lambda would end the
	// function, so that there is time to say so. A panic with http.ErrAbortHandler means, as
	// in net/http, that what was written must not pass for a complete answer.
	Handler http.Handler

	// Failed answers in place of the handler. The error is, or wraps, one of [ErrEvent],
	// [ErrAborted], [ErrDeadline], [ErrTooLarge] and [ErrPanic]. For ErrEvent the request
	// has neither URL nor headers of the client. Nil answers with the status and its text.
	Failed func(w http.ResponseWriter, r *http.Request, err error)

	// Margin is how much earlier than the function the request has to end. Zero means half
	// a second; negative means none.
	Margin time.Duration
}

// What can be wrong, apart from what the handler answers itself.
var (
	ErrEvent    = errors.New("lambdahttp: not an event that can be answered")
	ErrAborted  = errors.New("lambdahttp: the answer broke off")
	ErrDeadline = errors.New("lambdahttp: the answer was not complete in time")
	ErrTooLarge = errors.New("lambdahttp: the answer is larger than Lambda can return")
	ErrPanic    = errors.New("lambdahttp: the handler panicked")
)

const (
	defaultMargin = 500 * time.Millisecond

	// maxReply is Lambda's limit for the payload of a synchronous reply, "6 MB"; beyond it
	// the invocation fails. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
	maxReply = 6*1024*1024 + 100
)

// A front knows one kind of event.
type front interface {
	// request makes the request of an event. The error is errOtherFront where the event is
	// not of this front, and else wraps ErrEvent.
	request(ctx context.Context, payload []byte) (*http.Request, error)

	// reply makes the payload of the answer.
	reply(a *answer) any
}

var errOtherFront = errors.New("lambdahttp: event of another front")

// event holds what the events of all fronts consist of.
type event struct {
	Version        string              `json:"version"`
	Headers        map[string]string   `json:"headers"`
	MultiHeaders   map[string][]string `json:"multiValueHeaders"`
	StageVariables map[string]string   `json:"stageVariables"`

	Body            string `json:"body"`
	IsBase64Encoded bool   `json:"isBase64Encoded"`
}

// Invoke implements lambda.Handler. Its error is always nil.
func (a *Adapter) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	var reply []byte
	f, req, err := decode(ctx, payload)
	if err == nil {
		w := newRecorder(req.Method)
		if err = a.serve(w, req); err == nil {
			reply, err = marshal(f, w)
		}
	} else {
		req = (&http.Request{Method: http.MethodGet, Header: http.Header{}}).WithContext(ctx)
	}
	if err != nil {
		w := newRecorder(req.Method)
		a.fail(w, req, err)
		reply, err = marshal(f, w)
	}
	if err != nil {
		reply = []byte(`{"statusCode":500,"headers":{"Content-Type":"text/plain"},"body":"Internal Server Error\n"}`)
	}
	return reply, nil
}

func (a *Adapter) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	// As net/http does for its handlers; httputil.ReverseProxy tells by it that a panic
	// with ErrAbortHandler is understood. Without it a body that broke off is taken for whole.
	ctx = context.WithValue(ctx, http.ServerContextKey, serverForContext)
	margin := cmp.Or(a.Margin, defaultMargin)
	if end, ok := ctx.Deadline(); ok && margin > 0 {
		return context.WithDeadline(ctx, end.Add(-margin))
	}
	return context.WithCancel(ctx)
}

var serverForContext = &http.Server{}

// decode finds out which front sent the event, and makes its request. (A REST API behind
// a custom domain sends rawPath too, so that tells nothing.)
func decode(ctx context.Context, payload []byte) (front, *http.Request, error) {
	fronts := [...]front{httpAPI{}, restAPI{}}
	if !bytes.Contains(payload, []byte(`"2.0"`)) { // only a guess at which to try first
		fronts[0], fronts[1] = fronts[1], fronts[0]
	}
	for _, f := range fronts {
		if r, err := f.request(ctx, payload); err != errOtherFront {
			return f, r, err
		}
	}
	err := errors.New("it comes from neither an HTTP API (payload format 2.0) nor a REST API")
	if !json.Valid(payload) {
		err = errors.New("it is not JSON")
	}
	return httpAPI{}, nil, fmt.Errorf("%w: %w", ErrEvent, err) // whose replies every front understands
}

// serve runs the handler. Its error says why what was written is no answer.
func (a *Adapter) serve(w *recorder, r *http.Request) (err error) {
	defer func() {
		v := recover()
		switch {
		case w.tooLarge:
			err = ErrTooLarge
		case v == nil:
		case v == http.ErrAbortHandler && r.Context().Err() != nil:
			err = ErrDeadline
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
func (a *Adapter) fail(w *recorder, r *http.Request, err error) {
	defer func() {
		if recover() != nil {
			*w = *newRecorder(w.method)
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
	case errors.Is(err, ErrAborted), errors.Is(err, ErrTooLarge):
		status = http.StatusBadGateway
	case errors.Is(err, ErrDeadline):
		status = http.StatusGatewayTimeout
	}
	http.Error(w, http.StatusText(status), status)
}

func marshal(f front, w *recorder) ([]byte, error) {
	var reply bytes.Buffer
	encoder := json.NewEncoder(&reply)
	encoder.SetEscapeHTML(false) // six bytes for each < of a page
	if err := encoder.Encode(f.reply(w.finish())); err != nil {
		return nil, err
	}
	if reply.Len() > maxReply {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, reply.Len())
	}
	return reply.Bytes(), nil
}
