// Package localfront emulates the HTTP fronts of AWS Lambda on this machine. It turns a request into the event of the front, and the
// function's reply into the response of the front, with the front's limits and faults.
//
//	function := &runtimeapi.Function{Config: config}
//	http.Serve(listener, &localfront.Front{Kind: localfront.HTTPAPI, Invoke: function.Invoke})
//
// Some things differ from AWS. Any Host of the client is passed on, so that it chooses the route. There are no authorizers, stages,
// throttling or bandwidth limits. Idle streams do not end. The headers of a reply have no limit.
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

// Kind is a kind of front.
type Kind string

// The kinds of fronts.
const (
	HTTPAPI     Kind = "http-api"     // API Gateway HTTP API, payload format 2.0
	REST        Kind = "rest"         // API Gateway REST API, proxy integration, binaryMediaTypes */*
	ALB         Kind = "alb"          // Application Load Balancer
	FunctionURL Kind = "function-url" // Lambda function URL, with RESPONSE_STREAM or BUFFERED
	RESTStream  Kind = "rest-stream"  // REST with response transfer mode STREAM
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{HTTPAPI, REST, ALB, FunctionURL, RESTStream} }

// KindNames returns the list of the kinds for people.
func KindNames() string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// ParseKind returns the kind with that name. The error lists all kinds.
func ParseKind(name string) (Kind, error) {
	if !slices.Contains(Kinds(), Kind(name)) {
		return "", fmt.Errorf("localfront: no front is called %q; there are %s", name, KindNames())
	}
	return Kind(name), nil
}

// Front is an http.Handler that emulates a front before a function. It is safe for concurrent use. The fields must not change after the
// first request.
type Front struct {
	Kind Kind

	// Invoke runs the function, as [runtimeapi.Function.Invoke] does. An error is a failed invocation for the client.
	Invoke func(ctx context.Context, event []byte) (*runtimeapi.Reply, error)

	// SingleValue switches the multi-value headers of an ALB's target group off.
	SingleValue bool

	// Buffered gives a function URL the invoke mode BUFFERED.
	Buffered bool

	// Timeout is the time that the front waits for the function. Zero means the time of AWS: 30 seconds for an HTTP API,
	// 29 seconds for a REST API, 15 minutes for streamed replies and function URLs, and no limit for an ALB.
	Timeout time.Duration

	// Logger gets the reason of each error that the front itself answers. Nil logs nothing.
	Logger *slog.Logger
}

// front is what differs between the kinds.
type front interface {
	// event returns the payload, which is encoded as JSON.
	event(r *request) any

	// answer decodes a reply that is not streamed. An error means that the reply is malformed.
	answer(payload []byte) (*answer, error)

	// limits returns the bounds of the front.
	limits() limits

	// mistake returns the front's own response, for a request without a response of the function.
	mistake(status int) *answer

	// failed returns the status for a failed invocation and for a malformed reply.
	failed() int
}

// limits are the bounds of a front. Zero means no bound.
type limits struct {
	head    int           // bytes of request line and headers
	body    int64         // bytes of a request's body
	event   int           // bytes of an event
	reply   int           // bytes of a reply that is not streamed
	timeout time.Duration // until the function's reply; until its end if it is streamed
	late    int           // status after the timeout
}

const (
	megabyte = 1 << 20

	// maxEvent is Lambda's limit for an event.
	// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
	maxEvent = 6 * megabyte

	// maxHead and maxAPIBody are limits of API Gateway.
	// https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
	maxHead    = 10240
	maxAPIBody = 10 * megabyte

	// longest is the longest timeout of a function, and so of a stream.
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

// ServeHTTP implements http.Handler. It panics with http.ErrAbortHandler if a streamed response is incomplete.
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

// fail answers for an invocation without a reply.
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

// mistake sends the front's own response.
func (f *Front) mistake(w http.ResponseWriter, r *http.Request, front front, status int, err error) {
	if f.Logger != nil {
		f.Logger.WarnContext(r.Context(), "the front answers by itself", slog.String("front", string(f.Kind)), slog.String("host", r.Host),
			slog.Int("status", status), slog.Any("error", err))
	}
	front.mistake(status).write(w, r)
}
