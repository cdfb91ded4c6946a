package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// requestBody is the client's body on its way to the origin.
type requestBody struct {
	io.ReadCloser
	x       *exchange
	trailer trailer
	limit   int64
	left    int64       // of the limit; negative means that there is none
	whole   atomic.Bool // it was read to its end
	closed  atomic.Bool // the transport has no more use for it
}

func (h *Handler) newRequestBody(r *http.Request, x *exchange) *requestBody {
	b := &requestBody{ReadCloser: r.Body, x: x, trailer: h.newTrailer(r.Trailer), left: -1}
	if limit := h.config.Limits.BodyBytes; limit > 0 {
		b.left, b.limit = limit, limit
	}
	return b
}

// unread reports whether there may be more of the body on the connection. A nil body has been read.
func (b *requestBody) unread() bool { return b != nil && !b.whole.Load() }

// Close ends what is read, and leaves the rest to the server, which closes the body itself after the answer.
// An HTTP/1.1 server's own Close reads that rest, up to 256 KiB of it, and waits for a client that
// sends none; an early answer would wait with it. Up to Go 1.26, ReverseProxy kept it from the server as well.
// It may be called during a Read, which goes on.
func (b *requestBody) Close() error {
	b.closed.Store(true)
	return nil
}

func (b *requestBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	watch := b.x.watch
	watch.uploading(true, watch.timeouts.Idle, ErrSlowBody)
	if b.left >= 0 && int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more tells a body that is too long from one that just fits
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case b.left >= 0 && int64(n) > b.left:
		n, err = 0, &RequestTooLargeError{ErrBodyTooLarge, b.limit}
	case b.left >= 0:
		b.left -= int64(n)
	}
	if err == io.EOF {
		b.whole.Store(true)
		b.trailer.keepAnnounced()
		watch.uploading(false, watch.timeouts.Response, errNoAnswer)
	} else {
		watch.uploading(false, watch.timeouts.Idle, ErrUploadStalled)
	}
	// The transport closes a body that it has no more use for, perhaps during a Read.
	if err != nil && err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) {
		b.x.uploadFailed(err)
	}
	return n, err
}

// followBody is the hook that watches over the body of an answer.
func followBody(r *http.Response) error {
	ctx := r.Request.Context()
	if ctx.Err() != nil {
		return context.Cause(ctx) // an origin that sees us leave may answer with what it has
	}
	x := exchangeOf(ctx)
	x.watch.answered()
	body := responseBody{ReadCloser: r.Body, x: x, ctx: ctx, left: r.ContentLength, answer: r, announced: r.Trailer}
	if both, ok := r.Body.(io.ReadWriteCloser); ok && r.StatusCode == http.StatusSwitchingProtocols {
		x.watch.moving(ErrWebSocketIdle)
		r.Body = &upgradedBody{body, both}
		context.AfterFunc(ctx, x.watch.hangUp) // or a client that says nothing would be waited for
	} else {
		r.Body = &body
	}
	return nil
}

// responseBody is the origin's body on its way to the client, and the trailers behind it.
type responseBody struct {
	io.ReadCloser
	x   *exchange
	ctx context.Context // of the request

	left      int64 // of its length; negative if nobody knows
	answer    *http.Response
	announced http.Header // its trailers; the transport may fill this map or make another one
	ended     bool        // the trailers were passed on
}

// trailers makes ready what came behind the body.
func (b *responseBody) trailers() error {
	if b.ended {
		return nil
	}
	b.ended = true
	if err := b.x.passAnswer(answerTrailer, b.announced); err != nil {
		return err
	}
	return b.x.passAnswer(answerTrailer, b.answer.Trailer)
}

func (b *responseBody) Read(p []byte) (int, error) {
	b.x.watch.moving(ErrResponseStalled)
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if err == io.EOF {
		// An origin that sees us leave, or the upload break off, may end its answer where it is, unless that has a length.
		if hook := b.x.hookFailure(); hook != nil && b.left != 0 {
			err = hook
		} else if broken := b.x.uploadCause(b.ctx); broken != nil && b.left != 0 {
			err = broken
		} else if b.ctx.Err() != nil && b.left != 0 {
			err = context.Cause(b.ctx)
		} else if bad := b.trailers(); bad != nil {
			err = bad // too late for a 502: the answer breaks off, and the cause is in the log
		}
	}
	if err != nil && err != io.EOF {
		b.x.answerFailed(err)
	}
	return n, err
}

// upgradedBody is what goes to and fro on a connection that has changed its protocol. Silence
// counts when it is mutual.
type upgradedBody struct {
	responseBody
	writer io.Writer
}

func (b *upgradedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.x.watch.moving(ErrWebSocketIdle)
	b.x.addSent(n)
	return n, err
}

func (b *upgradedBody) Write(p []byte) (int, error) {
	b.x.watch.moving(ErrWebSocketIdle)
	return b.writer.Write(p)
}

// CloseWrite tells the origin that the client has said all it had to say.
func (b *upgradedBody) CloseWrite() error {
	if half, ok := b.writer.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return b.Close()
}
