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
	// streams says whether it is set to.
	streams() bool

	// prelude decodes the head of a reply that is streamed.
	prelude(*envelope) (*answer, error)

	// plain is the answer to a reply that is not; nil where such a reply is malformed.
	plain(payload []byte, contentType string) *answer
}

const (
	// maxPrelude is within how many bytes API Gateway has to find the prelude's end.
	// https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
	maxPrelude = 16 << 10

	// preludeEnd is eight NUL.
	preludeEnd = "\x00\x00\x00\x00\x00\x00\x00\x00"
)

// deliver answers with the function's reply.
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

// stream passes a reply on as it comes.
func (f *Front) stream(w http.ResponseWriter, r *http.Request, front front, s streamer, reply *runtimeapi.Reply) {
	head, rest, err := cutPrelude(reply.Body)
	var a *answer
	if err == nil {
		var e *envelope
		if e, err = parseEnvelope(head); err == nil {
			e.Body, e.IsBase64Encoded = nil, false // of a prelude there is neither
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
		// The fronts of AWS end the body as if it were whole, and no client can tell. Here
		// it is to be seen.
		panic(http.ErrAbortHandler)
	}
}

// cutPrelude reads as far as the prelude's end, and returns what came with it.
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

// flusher sends on at once what it is given, the header before anything else.
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
