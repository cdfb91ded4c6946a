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

// stream lets the handler answer, and returns the reply as soon as it has begun.
func (a *Adapter) stream(f front, r *http.Request, err error, cancel context.CancelFunc, done func()) io.Reader {
	pr, pw := io.Pipe() // holds nothing: the handler writes as fast as the client reads
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
			// The status is out. The front can still be told that this is not all.
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
		done()                 // before the end is out, after which the process may be frozen
		pw.CloseWithError(err) // nil is the clean end
	}()
	select {
	case <-s.begun:
	case <-reply.done:
	}
	return reply
}

// midstream is what the front is told of an answer that broke off. The text is for
// Lambda's log and for whoever invokes the function directly; it has nothing of the
// cause, which may be private.
func midstream(err error) error {
	e := messages.InvokeResponse_Error{Type: "Runtime.StreamError", Message: "the answer broke off"}
	for cause, name := range map[error]string{ErrAborted: "Handler.Aborted", ErrDeadline: "Handler.Timeout", ErrPanic: "Handler.Panic"} {
		if errors.Is(err, cause) {
			e.Type = name
		}
	}
	return e
}

// streamedReply is a reply under way. aws-lambda-go reads it, and closes it at last.
type streamedReply struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{} // closed when the handler has returned
}

// ContentType tells aws-lambda-go the type of the reply.
func (*streamedReply) ContentType() string { return streamed }

// MarshalJSON keeps aws-lambda-go from making JSON of the reader.
func (*streamedReply) MarshalJSON() ([]byte, error) { return nil, errNotJSON }

// Close ends the request, if it has not ended, and waits for the handler: after the reply
// the process may be frozen at any moment.
func (r *streamedReply) Close() error {
	r.cancel() // first, so that the handler's failure to write is known for what it is
	r.PipeReader.Close()
	<-r.done
	return nil
}

// streamSink sends what is written.
type streamSink struct {
	ctx      context.Context // of the request
	front    front
	pipe     *io.PipeWriter
	begun    chan struct{} // closed when the prelude is about to be written
	hasBegun atomic.Bool
	length   int64 // as declared, or -1
	written  int64
}

func (s *streamSink) begin(w *response) {
	// Without a type, the first bytes have to tell it. A handler that sets a key to nil
	// means that there is none, and the front would then make one up.
	if len(w.sent["Content-Type"]) > 0 || !w.bodyAllowed() {
		s.prelude(w, nil)
	}
}

// prelude sends the head of the reply: status and headers in JSON, and eight zero bytes.
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
	s.pipe.Write(head) // where nobody reads any more, the body's writes say so
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
		// The front has passed the length on, and clients take what is beyond it for the
		// beginning of the next answer.
		w.err = fmt.Errorf("%w: it is longer than its Content-Length, %d", ErrAborted, s.length)
		return 0, http.ErrContentLength
	}
	if s.ctx.Err() == nil { // else it is the handler's last word, for which there is the margin
		// Nothing else ends a write that nobody takes, until Lambda ends the function.
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

// reset has nothing to forget: it is called only before the prelude.
func (s *streamSink) reset() {}

// finish sends what is left when the handler has returned.
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

// discard is the sink of answers that come too late.
type discard struct{}

func (discard) begin(*response)                          {}
func (discard) write(_ *response, b []byte) (int, error) { return len(b), nil }
func (discard) flush(*response)                          {}
func (discard) reset()                                   {}
