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
	left    int64       // bytes left of the limit; negative means no limit
	whole   atomic.Bool // whether it was read to its end
	closed  atomic.Bool // whether the transport has closed it
}

func (h *Handler) newRequestBody(r *http.Request, x *exchange) *requestBody {
	b := &requestBody{ReadCloser: r.Body, x: x, trailer: h.newTrailer(r.Trailer), left: -1}
	if limit := h.config.Limits.BodyBytes; limit > 0 {
		b.left, b.limit = limit, limit
	}
	return b
}

// unread reports whether the connection may have more of the body. A nil body has no more.
func (b *requestBody) unread() bool { return b != nil && !b.whole.Load() }

// Close makes later Reads fail. It does not close the server's body: the server does that after the response. Over HTTP/1.1
// that Close reads up to 256 KiB of the rest, so that an early response would wait for the client. ReverseProxy up to Go
// 1.26 does not close it either. Close may be called during a Read, which continues.
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
		p = p[:b.left+1] // one byte more than the limit shows that the body is too long
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
		b.trailer.dropUnannounced()
		watch.uploading(false, watch.timeouts.Response, errNoResponse)
	} else {
		watch.uploading(false, watch.timeouts.Idle, ErrUploadStalled)
	}
	// The transport may close the body during a Read if it does not need more of it.
	if err != nil && err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) {
		b.x.uploadFailed(err)
	}
	return n, err
}

// watchBody is the hook that wraps the body of a response, to bound its time, note its errors and clean its trailers.
func watchBody(r *http.Response) error {
	ctx := r.Request.Context()
	if ctx.Err() != nil {
		return context.Cause(ctx) // an origin may send a partial response if it sees the request canceled
	}
	x := exchangeOf(ctx)
	x.watch.responseBegan()
	body := responseBody{ReadCloser: r.Body, x: x, ctx: ctx, left: r.ContentLength, response: r, announced: r.Trailer}
	if both, ok := r.Body.(io.ReadWriteCloser); ok && r.StatusCode == http.StatusSwitchingProtocols {
		x.watch.moving(ErrWebSocketIdle)
		r.Body = &upgradedBody{body, both}
		context.AfterFunc(ctx, x.watch.closeHijacked) // otherwise the copy would wait for a silent client
	} else {
		r.Body = &body
	}
	return nil
}

// responseBody is the origin's body on its way to the client, with its trailers.
type responseBody struct {
	io.ReadCloser
	x   *exchange
	ctx context.Context // of the request

	left      int64 // bytes left of its length; negative if the length is unknown
	response  *http.Response
	announced http.Header // the announced trailers; the transport may fill this map or make another
	ended     bool        // whether the trailers were cleaned
}

// trailers cleans the trailers for the client.
func (b *responseBody) trailers() error {
	if b.ended {
		return nil
	}
	b.ended = true
	if err := b.x.passResponse(responseTrailer, b.announced); err != nil {
		return err
	}
	return b.x.passResponse(responseTrailer, b.response.Trailer)
}

func (b *responseBody) Read(p []byte) (int, error) {
	b.x.watch.moving(ErrResponseStalled)
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if err == io.EOF {
		// If the request was canceled or its body failed, an origin may end a response of unknown length early, with EOF.
		if hook := b.x.hookFailure(); hook != nil && b.left != 0 {
			err = hook
		} else if broken := b.x.uploadCause(b.ctx); broken != nil && b.left != 0 {
			err = broken
		} else if b.ctx.Err() != nil && b.left != 0 {
			err = context.Cause(b.ctx)
		} else if bad := b.trailers(); bad != nil {
			err = bad // too late for a 502: the response is cut short, and the log has the cause
		}
	}
	if err != nil && err != io.EOF {
		b.x.responseFailed(err)
	}
	return n, err
}

// upgradedBody is the origin's side of an upgraded connection. It is idle if neither side sends anything.
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

// CloseWrite tells the origin that the client sends no more.
func (b *upgradedBody) CloseWrite() error {
	if half, ok := b.writer.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return b.Close()
}
