// Package localfront plays the HTTP fronts of AWS Lambda on this machine: it turns a
// request into the event that the front would send, and the function's reply into the
// answer that the front would give, with the front's limits and mistakes.
//
//	function := &runtimeapi.Function{Config: config}
//	http.Serve(listener, &localfront.Front{Kind: localfront.HTTPAPI, Invoke: function.Invoke})
//
// Not as on AWS: the client's Host is passed on, whatever it is, so that it chooses the
// route; there are no authorizers, stages to choose from, throttling, or bandwidth limits;
// idle streams are not ended; and headers of a reply are not counted.
package localfront

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/internal/runtimeapi"
)

// Kind is a front.
type Kind string

// The fronts.
const (
	HTTPAPI     Kind = "http-api"     // API Gateway HTTP API, payload format 2.0
	REST        Kind = "rest"         // API Gateway REST API, proxy integration, binaryMediaTypes */*
	ALB         Kind = "alb"          // Application Load Balancer
	FunctionURL Kind = "function-url" // Lambda function URL, with RESPONSE_STREAM or BUFFERED
	RESTStream  Kind = "rest-stream"  // REST with response transfer mode STREAM
)

// Kinds returns all of them.
func Kinds() []Kind { return []Kind{HTTPAPI, REST, ALB, FunctionURL, RESTStream} }

// KindNames lists them for people.
func KindNames() string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// ParseKind returns the kind of that name. The error lists them.
func ParseKind(name string) (Kind, error) {
	if !slices.Contains(Kinds(), Kind(name)) {
		return "", fmt.Errorf("localfront: no front is called %q; there are %s", name, KindNames())
	}
	return Kind(name), nil
}

// Front is an http.Handler that is such a front before a function. It is safe for
// concurrent use; its fields may not be changed then.
type Front struct {
	Kind Kind

	// Invoke runs the function, as [runtimeapi.Function.Invoke] does. An error is, to the
	// client, an invocation that failed.
	Invoke func(ctx context.Context, event []byte) (*runtimeapi.Reply, error)

	// SingleValue makes an ALB's target group one without multi-value headers.
	SingleValue bool

	// Buffered gives a function URL the invoke mode BUFFERED.
	Buffered bool

	// Timeout is how long the front waits for the function. Zero means as long as on AWS:
	// 30 seconds in an HTTP API, 29 in a REST API, 15 minutes where replies are streamed or
	// it is a function URL, and for ever in an ALB.
	Timeout time.Duration

	// Logger hears why a client got a mistake of the front's own. Nil is for nobody.
	Logger *slog.Logger
}

// front is what one kind does its own way.
type front interface {
	// event is the payload, to be encoded as JSON.
	event(r *request) any

	// answer decodes a reply that is not streamed. An error is a malformed reply.
	answer(payload []byte) (*answer, error)

	// limits are the front's.
	limits() limits

	// mistake is what the client gets where there is no answer of the function's.
	mistake(status int) *answer

	// failed is the status for an invocation that failed or whose reply is malformed.
	failed() int
}

// limits are the bounds of a front. Zero means that there is none.
type limits struct {
	head    int           // bytes of request line and headers
	body    int64         // bytes of a request's body, and
	event   int           // of the event that has it
	reply   int           // bytes of a reply that is not streamed
	timeout time.Duration // for the function's reply, or all of it where it is streamed
	late    int           // status when that passes
}

const (
	megabyte = 1 << 20

	// maxEvent is what Lambda takes.
	// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
	maxEvent = 6 * megabyte

	// maxHead and maxAPIBody are API Gateway's.
	// https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
	maxHead    = 10240
	maxAPIBody = 10 * megabyte

	// longest is a function's longest timeout, and with it a stream's.
	longest = 15 * time.Minute

	region  = "us-east-1"
	account = "123456789012"
	apiID   = "localfront"
)

func (f *Front) front() (front, error) {
	switch f.Kind {
	case HTTPAPI:
		return httpAPI{}, nil
	case REST:
		return restAPI{}, nil
	case RESTStream:
		return restStream{}, nil
	case ALB:
		return alb{multi: !f.SingleValue}, nil
	case FunctionURL:
		return functionURL{buffered: f.Buffered}, nil
	}
	_, err := ParseKind(string(f.Kind))
	return nil, err
}

// ServeHTTP implements http.Handler. It panics with http.ErrAbortHandler where a streamed
// answer ends before its time.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	front, err := f.front()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	req, status := read(w, r, front.limits())
	if status != 0 {
		f.mistake(w, r, front, status, errors.New("the request is beyond the front's limits"))
		return
	}
	event, err := encode(front.event(req))
	if err != nil {
		f.mistake(w, r, front, front.failed(), err)
		return
	}
	if most := front.limits().event; most > 0 && len(event) > most {
		f.mistake(w, r, front, http.StatusRequestEntityTooLarge, fmt.Errorf("localfront: the event has %d bytes", len(event)))
		return
	}
	ctx, cancel := f.bounded(r.Context(), front.limits().timeout)
	defer cancel()
	r = r.WithContext(ctx)
	reply, err := f.Invoke(ctx, event)
	if err != nil {
		f.fail(w, r, front, err)
		return
	}
	defer reply.Body.Close()
	defer context.AfterFunc(ctx, func() { reply.Body.Close() })()
	f.deliver(w, r, front, reply)
}

func (f *Front) bounded(ctx context.Context, theirs time.Duration) (context.Context, context.CancelFunc) {
	switch {
	case f.Timeout > 0:
		return context.WithTimeout(ctx, f.Timeout)
	case theirs > 0:
		return context.WithTimeout(ctx, theirs)
	}
	return ctx, func() {}
}

// fail answers for an invocation that brought no reply.
func (f *Front) fail(w http.ResponseWriter, r *http.Request, front front, err error) {
	if errors.Is(r.Context().Err(), context.Canceled) {
		return // the client has left
	}
	status := front.failed()
	if errors.Is(r.Context().Err(), context.DeadlineExceeded) {
		status = front.limits().late
	}
	f.mistake(w, r, front, status, err)
}

// mistake answers in the front's own name.
func (f *Front) mistake(w http.ResponseWriter, r *http.Request, front front, status int, err error) {
	if f.Logger != nil {
		f.Logger.WarnContext(r.Context(), "the front answers by itself", slog.String("front", string(f.Kind)), slog.String("host", r.Host),
			slog.Int("status", status), slog.Any("error", err))
	}
	front.mistake(status).write(w, r)
}
