package lambdahttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-lambda-go/lambda/messages"
)

// streamed is the content type of replies that begin with a prelude.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
const streamed = "application/vnd.awslambda.http-integration-response"

// stream calls the handler, and returns the reply when it has begun.
func (a *Adapter) stream(f front, r *http.Request, err error, cancel context.CancelFunc, done func()) io.Reader {
	pr, pw := io.Pipe() // without a buffer: the handler writes as fast as the client reads
	s := &streamSink{ctx: r.Context(), front: f, pipe: pw, begun: make(chan struct{})}
	reply := &streamedReply{PipeReader: pr, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(reply.done)
		defer cancel()
		w := newResponse(r.Method, s)
		if err == nil {
			if err = a.serve(w, r); err == nil {
				err = s.finish(w)
			}
		}
		switch {
		case err != nil && s.hasBegun.Load():
			// The status is sent. An error of the reader still tells the front that the reply is incomplete.
			a.fail(newResponse(r.Method, discard{}), r, err)
			err = midstream(err)
		case err != nil:
			w.reset()
			a.fail(w, r, err)
			if err = s.finish(w); err != nil && !s.hasBegun.Load() {
				w.reset()
				w.WriteHeader(http.StatusInternalServerError)
				err = s.finish(w)
			}
		}
		done()                 // before the end, because Lambda may freeze the process after that
		pw.CloseWithError(err) // nil is the regular end
	}()
	select {
	case <-s.begun:
	case <-reply.done:
	}
	return reply
}

// midstream returns the error of an incomplete reply for the front. Its text is for Lambda's log and for callers that invoke the
// function directly. It does not have the cause, which may be private.
func midstream(err error) error {
	e := messages.InvokeResponse_Error{Type: "Runtime.StreamError", Message: "the response is incomplete"}
	for cause, name := range map[error]string{ErrAborted: "Handler.Aborted", ErrDeadline: "Handler.Timeout", ErrPanic: "Handler.Panic"} {
		if errors.Is(err, cause) {
			e.Type = name
		}
	}
	return e
}

// streamedReply is a reply that has begun. aws-lambda-go reads it, and closes it at the end.
type streamedReply struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{} // closed when the handler has returned
}

// ContentType is the type of the reply, for aws-lambda-go.
func (*streamedReply) ContentType() string { return streamed }

// MarshalJSON returns an error, so that aws-lambda-go does not encode the reader as JSON.
func (*streamedReply) MarshalJSON() ([]byte, error) { return nil, errNotJSON }

// Close ends the request, and waits for the handler, because Lambda may freeze the process after the reply.
func (r *streamedReply) Close() error {
	r.cancel() // first, so that the handler's failed writes count as canceled
	r.PipeReader.Close()
	<-r.done
	return nil
}

// streamSink sends what the handler writes.
type streamSink struct {
	ctx      context.Context // of the request
	front    front
	pipe     *io.PipeWriter
	begun    chan struct{} // closed before the prelude is written
	hasBegun atomic.Bool
	length   int64 // the declared Content-Length, or -1
	written  int64
}

func (s *streamSink) begin(w *response) {
	// If the handler set no type, the first bytes tell it, so the prelude waits for them. A nil value counts as no type too,
	// because the front would make one up.
	if len(w.sent["Content-Type"]) > 0 || !w.bodyAllowed() {
		s.prelude(w, nil)
	}
}

// prelude sends the head of the reply: the status and the headers in JSON, and eight zero bytes.
func (s *streamSink) prelude(w *response, start []byte) {
	if s.hasBegun.Load() || w.err != nil {
		return
	}
	s.length = w.declared()
	a := w.answer(start)
	if !w.bodyAllowed() && w.method != http.MethodHead {
		delete(a.header, "Content-Length")
	}
	head, err := marshal(s.front.prelude(a))
	if err != nil {
		w.err = err
		return
	}
	if head = append(head, make([]byte, 8)...); len(head) > maxPrelude {
		w.err = fmt.Errorf("%w: %d bytes, and the limit is %d", ErrHeaderTooLarge, len(head), maxPrelude)
		return
	}
	s.hasBegun.Store(true)
	close(s.begun)
	s.pipe.Write(head) // if nobody reads, the writes of the body fail too
}

func (s *streamSink) write(w *response, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	s.prelude(w, b)
	if w.err != nil {
		return 0, w.err
	}
	if s.length >= 0 && s.written+int64(len(b)) > s.length {
		// The front has sent the length to the client, which would read more bytes as the next response.
		w.err = fmt.Errorf("%w: it is longer than its Content-Length, %d", ErrAborted, s.length)
		return 0, http.ErrContentLength
	}
	if s.ctx.Err() == nil { // otherwise the handler writes its last part, within the margin
		// If nobody reads, nothing else ends the write before Lambda ends the function.
		defer context.AfterFunc(s.ctx, func() { s.pipe.CloseWithError(midstream(ErrDeadline)) })()
	}
	n, err := s.pipe.Write(b)
	s.written += int64(n)
	return n, err
}

func (s *streamSink) flush(w *response) {
	if w.bodyAllowed() && !s.hasBegun.Load() && len(w.sent["Content-Type"]) == 0 {
		w.sent.Set("Content-Type", "application/octet-stream")
	}
	s.prelude(w, nil)
}

// reset does nothing, because it is called only before the prelude.
func (s *streamSink) reset() {}

// finish ends the reply after the handler has returned.
func (s *streamSink) finish(w *response) error {
	w.WriteHeader(http.StatusOK)
	s.prelude(w, nil)
	if w.err != nil {
		return w.err
	}
	if s.length > 0 && s.written < s.length && w.bodyAllowed() {
		return fmt.Errorf("%w: it is shorter than its Content-Length, %d", ErrAborted, s.length)
	}
	return nil
}

// discard is the sink of a response that comes too late.
type discard struct{}

func (discard) begin(*response)                          {}
func (discard) write(_ *response, b []byte) (int, error) { return len(b), nil }
func (discard) flush(*response)                          {}
func (discard) reset()                                   {}
