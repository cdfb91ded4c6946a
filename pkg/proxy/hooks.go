package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// ResponseHook is called with an origin's response before any of it goes to the client. It may change the status, the header
// and the body. To change the body as it streams, it replaces r.Body by a reader around it, whose Close closes the old
// r.Body. If the length changes, the hook sets ContentLength to -1 and deletes the Content-Length field. The Body of an
// upgraded connection (status 101) is an io.ReadWriteCloser, and its replacement must be one too. r.Request.Context() is the
// context of the client's request. Hooks are called by many goroutines at once.
//
// If a hook returns an error, the client gets an error response of the proxy in place of the origin's: 500 and "hook-failed",
// or the status of a [HookError]. If the error is or wraps an error of this package that has a row in docs/errors.md, such as
// [ErrResponseTooLarge], or an [sni.Error], the client gets the response of that row.
//
// The same holds if a reader in r.Body returns an error before the response has begun to reach the client. After that, the
// proxy cuts the response short, and logs the error. If the origin's body has failed, the response is cut short even if the
// hook's reader returns io.EOF. An upgraded connection just ends if its replacement returns an error: that is no failure, since
// either side may end the connection in that way at any time.
type ResponseHook func(r *http.Response) error

// A HookError is a failure of a [Middleware], of a [ResponseHook], or of a body that one of them has put in place. A hook
// returns it, or passes it to [Fail], to choose the status and the log level. Clients do not see Err.
type HookError struct {
	Status int          // of the error response, from 400 to 599; any other number means 500
	Level  slog.Leveler // of the log line; nil means slog.LevelError
	Err    error        // the cause, for the log; must not be nil
}

func (e *HookError) Error() string { return fmt.Sprintf("proxy: a hook failed: %v", e.Err) }

// status returns the status of the error response.
func (e *HookError) status() int {
	if e.Status < 400 || e.Status > 599 {
		return http.StatusInternalServerError
	}
	return e.Status
}

// Unwrap returns e.Err.
func (e *HookError) Unwrap() error { return e.Err }

// hookError returns the error that stands for the failure of a hook. That is err itself if a row of problems is for it, and a
// HookError otherwise. If the request's context has ended, that is the cause. If only a context of the hook's own has
// expired, the origin is not to blame.
func hookError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %v", ctx.Err(), err) // err may be a HookError, which would be the cause
	case as[*HookError](err):
		return err
	case errors.Is(err, context.DeadlineExceeded) && !as[*sni.Error](err):
		return &HookError{Err: err}
	case answerTo("", err).name == lastProblem:
		return &HookError{Err: err}
	}
	return err
}

// Fail writes the error response for err, for a [Middleware] that does not call the next handler. It treats err like the
// error of a [ResponseHook]; err must not be nil. If a [Handler] is serving r, Fail does what [Handler.Fail] does: it may
// panic with [http.ErrAbortHandler]. For other requests, Fail only writes the response.
func Fail(w http.ResponseWriter, r *http.Request, err error) {
	if x := exchangeOf(r.Context()); x != nil {
		x.handler.Fail(w, r, hookError(r.Context(), err))
		return
	}
	answerTo("", hookError(r.Context(), err)).write(w, r, "")
}

// runHooks calls the hooks, the proxy's own first.
func (h *Handler) runHooks(r *http.Response) error {
	for _, hook := range h.hooks {
		if err := hook(r); err != nil {
			return err
		}
	}
	ctx, x, body := r.Request.Context(), exchangeOf(r.Request.Context()), r.Body
	for _, hook := range h.config.ResponseHooks {
		if err := hook(r); err != nil {
			cause := hookError(ctx, err)
			if broken := x.brokenResponse(); broken != nil && errors.Is(err, broken) && as[*HookError](cause) && !as[*HookError](err) {
				cause = fmt.Errorf("%w: %w", ErrIncompleteResponse, err) // the hook has read the body
			}
			return cause
		}
	}
	if r.Body == body {
		return nil
	}
	if r.StatusCode != http.StatusSwitchingProtocols {
		r.Body = &hookedBody{ReadCloser: r.Body, x: x, ctx: ctx, beneath: x.brokenResponse}
	} else if _, ok := r.Body.(io.ReadWriteCloser); !ok {
		return &HookError{Err: errors.New("its replacement of an upgraded connection cannot be written to")}
	}
	return nil
}

// watchReplaced notes errors of a request's body that a Middleware has replaced.
func watchReplaced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		if r.Body != nil && r.Body != http.NoBody && r.Body != io.ReadCloser(x.body) {
			r = r.WithContext(r.Context())
			replaced := &hookedBody{ReadCloser: r.Body, x: x, ctx: r.Context(), beneath: x.brokenUpload}
			defer replaced.Close() // ReverseProxy of Go 1.26 does not
			r.Body = replaced
		}
		next.ServeHTTP(w, r)
	})
}

// hookedBody is a body that a hook has put in place of another one.
type hookedBody struct {
	io.ReadCloser
	x       *exchange
	ctx     context.Context // of the request
	beneath func() error    // returns why the replaced body could not be read
	closed  atomic.Bool
}

// Close closes the body once. An error of a Read that it ends is not the hook's fault.
func (b *hookedBody) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	return b.ReadCloser.Close()
}

// Read returns the error of the replaced body if it has failed, even if the hook's reader returns io.EOF: an incomplete
// message must not look complete.
func (b *hookedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	if broken := b.beneath(); broken != nil {
		return n, broken
	}
	if err != io.EOF && b.ctx.Err() == nil && !b.closed.Load() {
		b.x.hookFailed(hookError(b.ctx, err))
	}
	return n, err
}
