package localfront

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/sleightproxy/sleight/internal/runtimeapi"
)

// streamer is a front that can stream replies.
type streamer interface {
	// streams reports whether it is set to stream.
	streams() bool

	// prelude decodes the head of a streamed reply.
	prelude(*envelope) (*answer, error)

	// plain returns the response for a reply that is not streamed. It is nil if such a reply is malformed.
	plain(payload []byte, contentType string) *answer
}

const (
	// maxPrelude is API Gateway's limit for the prelude.
	// https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
	maxPrelude = 16 << 10

	// preludeEnd is eight zero bytes.
	preludeEnd = "\x00\x00\x00\x00\x00\x00\x00\x00"
)

// deliver sends the function's reply to the client.
func (f *Front) deliver(w http.ResponseWriter, r *http.Request, front front, reply *runtimeapi.Reply) {
	s, ok := front.(streamer)
	ok = ok && s.streams()
	if ok && !reply.Failed && reply.Header.Get("Content-Type") == runtimeapi.Streamed {
		f.stream(w, r, front, s, reply)
		return
	}
	payload, err := io.ReadAll(reply.Body)
	if err == nil && !reply.Failed && reply.Broken() != "" {
		err = fmt.Errorf("localfront: the function cut its reply short: %s", reply.Broken())
	}
	switch {
	case err != nil:
		f.fail(w, r, front, err)
		return
	case reply.Failed:
		f.mistake(w, r, front, front.failed(), fmt.Errorf("localfront: the invocation failed: %.1000s", payload))
		return
	case ok:
		if a := s.plain(payload, reply.Header.Get("Content-Type")); a != nil {
			a.write(w, r)
			return
		}
		f.mistake(w, r, front, front.failed(), errors.New("localfront: the reply is not streamed"))
		return
	}
	if most := front.limits().reply; most > 0 && len(payload) > most {
		f.mistake(w, r, front, front.failed(), fmt.Errorf("localfront: the reply has %d bytes", len(payload)))
		return
	}
	a, err := front.answer(payload)
	if err != nil {
		f.mistake(w, r, front, front.failed(), err)
		return
	}
	a.write(w, r)
}

// stream copies a reply as it arrives.
func (f *Front) stream(w http.ResponseWriter, r *http.Request, front front, s streamer, reply *runtimeapi.Reply) {
	head, rest, err := cutPrelude(reply.Body)
	var a *answer
	if err == nil {
		var e *envelope
		if e, err = parseEnvelope(head); err == nil {
			e.Body, e.IsBase64Encoded = nil, false // a prelude has neither
			a, err = s.prelude(e)
		}
	}
	if err != nil {
		f.fail(w, r, front, err)
		return
	}
	a.writeHead(w, r)
	if !a.hasBody() || r.Method == http.MethodHead {
		return
	}
	out := &flusher{w: w, c: http.NewResponseController(w)}
	if _, err = out.Write(rest); err == nil {
		_, err = io.Copy(out, reply.Body)
	}
	if err == nil && reply.Broken() != "" {
		err = fmt.Errorf("localfront: the function cut its reply short: %s", reply.Broken())
	}
	if err != nil {
		if f.Logger != nil && !errors.Is(r.Context().Err(), context.Canceled) {
			f.Logger.WarnContext(r.Context(), "the answer is cut off", "front", string(f.Kind), "host", r.Host, "error", err)
		}
		// The fronts of AWS end the body as if it were complete, and clients cannot see the fault. This front shows it.
		panic(http.ErrAbortHandler)
	}
}

// cutPrelude reads the prelude. It returns the bytes after it too, as far as they have arrived.
func cutPrelude(body io.Reader) (head, rest []byte, err error) {
	var b []byte
	for len(b) < maxPrelude {
		if cap(b)-len(b) < 512 {
			b = append(make([]byte, 0, min(2*cap(b)+4096, 2*maxPrelude)), b...)
		}
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if head, rest, ok := bytes.Cut(b, []byte(preludeEnd)); ok && len(head)+len(preludeEnd) <= maxPrelude {
			return head, rest, nil
		}
		if errors.Is(err, io.EOF) {
			return nil, nil, errors.New("localfront: the reply ends before its prelude does")
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("localfront: the reply's prelude does not end within %d bytes", maxPrelude)
}

// flusher sends each write at once, and the header before the first write.
type flusher struct {
	w io.Writer
	c *http.ResponseController
}

func (f *flusher) Write(b []byte) (n int, err error) {
	if len(b) > 0 {
		if n, err = f.w.Write(b); err != nil {
			return n, err
		}
	}
	return n, f.c.Flush()
}
