// Package runtimeapi runs the binary of a Lambda function on this machine as AWS does: a process has a Lambda Runtime API of its own,
// gets events by long poll, and sends replies by POST. Streamed replies are passed on while they arrive.
//
//	f := &runtimeapi.Function{Config: runtimeapi.Config{Binary: "bin/bootstrap", Output: os.Stderr}}
//	defer f.Close()
//	reply, err := f.Invoke(ctx, event)
//
// A [Process] starts once and ends once. A [Function] starts another process if its process has ended. Three things of AWS are missing:
// freezing between events, memory limits, and several processes at a time. A process gets several events at a time if
// AWS_LAMBDA_MAX_CONCURRENCY in its environment makes it ask for them.
package runtimeapi

import (
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// Streamed is the content type of streamed replies to API Gateway and function URLs.
	// https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
	Streamed = "application/vnd.awslambda.http-integration-response"

	// MaxReply is Lambda's limit for a reply that is not streamed, in bytes.
	// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html has "6 MB".
	// The exact figure is in the text of Lambda's error, as others have reported it.
	MaxReply = 6291556

	// ErrorTypeTrailer and ErrorBodyTrailer are the trailers of an incomplete streamed reply.
	// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html
	ErrorTypeTrailer = "Lambda-Runtime-Function-Error-Type"
	ErrorBodyTrailer = "Lambda-Runtime-Function-Error-Body"

	defaultTimeout = 29 * time.Second // less than the 30 seconds of an HTTP API
)

// ErrExited is the error of an invocation whose process has ended.
var ErrExited = errors.New("runtimeapi: the function has ended")

// errNotTaken comes with ErrExited if the process had not got the event.
var errNotTaken = errors.New("before it asked for the event")

// Event is the input of an invocation.
type Event struct {
	Payload []byte

	// Deadline is sent to the function. Zero means [Config.Timeout] after the function gets the event.
	Deadline time.Time
}

// Reply is the reply of a function to one event.
type Reply struct {
	// Failed says that the invocation failed. Body is the report of the error then.
	Failed bool

	// Header is that of the POST with the reply.
	Header http.Header

	// Body is complete unless the reply is streamed. The body of a streamed reply arrives as the function sends it, and the
	// function waits for the reader. An error other than io.EOF says that the function cut its POST off. The caller must
	// close Body. Close discards the rest, and the function goes on, as on AWS. Close may be called during Read, and ends it.
	Body io.ReadCloser

	// Trailer is that of the POST. It may be read after Body has returned io.EOF.
	Trailer http.Header
}

// Broken returns the error type that the function reported after the beginning of a streamed reply, or "". It may be called after Body
// has returned io.EOF.
func (r *Reply) Broken() string { return r.Trailer.Get(ErrorTypeTrailer) }
