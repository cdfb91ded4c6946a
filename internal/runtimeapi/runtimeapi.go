// Package runtimeapi runs a Lambda function binary on this machine as AWS does: one
// process under a Lambda Runtime API of its own, events by long poll, replies by POST,
// streamed ones as they come.
//
//	f := &runtimeapi.Function{Config: runtimeapi.Config{Binary: "bin/bootstrap", Output: os.Stderr}}
//	defer f.Close()
//	reply, err := f.Invoke(ctx, event)
//
// A [Process] is started once and ends once; a [Function] starts another when one has
// ended. What AWS has beside is not here: freezing between events, memory limits,
// environments that run side by side. A process gets several events at once where
// AWS_LAMBDA_MAX_CONCURRENCY in its environment makes it ask for them.
package runtimeapi

import (
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// Streamed is the content type of replies that are streamed, to API Gateway and
	// function URLs.
	// https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
	Streamed = "application/vnd.awslambda.http-integration-response"

	// MaxReply is how many bytes Lambda takes of a reply that is not streamed.
	// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html has "6 MB";
	// the figure is from the error's own text, as others have seen it.
	MaxReply = 6291556

	// ErrorTypeTrailer and ErrorBodyTrailer are the trailers of a streamed reply that the
	// function has cut short.
	// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html
	ErrorTypeTrailer = "Lambda-Runtime-Function-Error-Type"
	ErrorBodyTrailer = "Lambda-Runtime-Function-Error-Body"

	defaultTimeout = 29 * time.Second // under the 30 seconds of an HTTP API
)

// ErrExited is what invocations return that a process has ended under.
var ErrExited = errors.New("runtimeapi: the function has ended")

// errNotTaken comes with ErrExited where the process had not even got the event.
var errNotTaken = errors.New("before it asked for the event")

// Event is what a function is invoked with.
type Event struct {
	Payload []byte

	// Deadline is what the function is told. Zero means that of [Config.Timeout], from
	// when the function gets the event.
	Deadline time.Time
}

// Reply is what a function said to one event.
type Reply struct {
	// Failed says that the invocation failed; Body is the error's report.
	Failed bool

	// Header is that of the POST that brought the reply.
	Header http.Header

	// Body is there whole, unless the reply is streamed: then it comes as the function
	// sends it, which waits for us to read it. Its error, other than io.EOF, says that the
	// function cut its POST off. It has to be closed; what is left is then dropped, while the
	// function runs on, as on AWS. Close may be called during Read, which it ends.
	Body io.ReadCloser

	// Trailer is that of the POST, and may be read once Body has returned io.EOF.
	Trailer http.Header
}

// Broken returns the error type that the function reported after a streamed reply had
// begun, or "". It may be called once Body has returned io.EOF.
func (r *Reply) Broken() string { return r.Trailer.Get(ErrorTypeTrailer) }
