package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// ResponseHook sees a response of an origin before any of it goes to the client, and may change its status,
// header and body. A hook that changes the body as it streams replaces r.Body by a reader around it, whose Close
// closes r.Body; if that changes the length, the hook sets ContentLength to -1 and deletes the field. The Body of an
// upgraded connection (status 101) is an io.ReadWriteCloser, and has to stay one. r.Request.Context() is the
// context of the request. Hooks are called by many goroutines at once.
//
// An error means that the client gets an answer of the proxy in place of the response: 500 and "hook-failed", or
// what a [HookError] says. If the error is, or wraps, an error of this package with a row in docs/errors.md, such as
// [ErrResponseTooLarge], or an [sni.Error], the client gets the answer of that row.
//
// The same holds for an error that a reader in r.Body returns before the response has begun to reach the client.
// After that the response is cut short, and the error is in the log. A reader that returns io.EOF although the origin's
// body has failed does not make the response a whole one.
type ResponseHook func(r *http.Response) error

// A HookError is the failure of a [Middleware], of a [ResponseHook], or of a body that one of them has replaced. Such a
// hook returns it, or passes it to [Fail], to choose the status and how loud the log is. Clients do not see Err.
type HookError struct {
	Status int          // of the answer, from 400 to 599; anything else means 500
	Level  slog.Leveler // of the log line; nil means slog.LevelError
	Err    error        // the cause, for the log; must not be nil
}

func (e *HookError) Error() string { return fmt.Sprintf("proxy: a hook failed: %v", e.Err) }

// status returns the status of the answer.
func (e *HookError) status() int {
	if e.Status < 400 || e.Status > 599 {
		return http.StatusInternalServerError
	}
	return e.Status
}

// Unwrap returns e.Err.
func (e *HookError) Unwrap() error { return e.Err }

// hookError returns err as the failure of a hook. That is err itself if the request has ended, or if a row of the table
// of problems is for it, and else a HookError. Time that ran out for the hook alone is not the origin's fault.
func hookError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	case as[*HookError](err):
		return err
	case errors.Is(err, context.DeadlineExceeded) && !as[*sni.Error](err):
		return &HookError{Err: err}
	case answerTo("", err).name == lastProblem:
		return &HookError{Err: err}
	}
	return err
}

// Fail answers a request on its way through a [Handler] with an error, for a [Middleware] that does not call the next
// handler. It does what [Handler.Fail] does, and treats err as it treats the error of a [ResponseHook].
func Fail(w http.ResponseWriter, r *http.Request, err error) {
	if x := exchangeOf(r.Context()); x != nil {
		x.handler.Fail(w, r, hookError(r.Context(), err))
		return
	}
	answerTo("", hookError(r.Context(), err)).write(w, r, "")
}

// runHooks passes a response through the hooks, the proxy's own first.
func (h *Handler) runHooks(r *http.Response) error {
	for _, hook := range h.hooks {
		if err := hook(r); err != nil {
			return err
		}
	}
	ctx, x, body := r.Request.Context(), exchangeOf(r.Request.Context()), r.Body
	for _, hook := range h.config.ResponseHooks {
		if err := hook(r); err != nil {
			return hookError(ctx, err)
		}
	}
	if r.Body == body {
		return nil
	}
	if r.StatusCode != http.StatusSwitchingProtocols {
		r.Body = &hookedBody{r.Body, x, ctx, x.brokenAnswer}
	} else if _, ok := r.Body.(io.ReadWriteCloser); !ok {
		return &HookError{Err: errors.New("the body that it has put in place of an upgraded connection cannot be written to")}
	}
	return nil
}

// followReplaced follows the body of a request if a Middleware has replaced it.
func followReplaced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		if r.Body != nil && r.Body != http.NoBody && r.Body != io.ReadCloser(x.body) {
			r = r.WithContext(r.Context())
			r.Body = &hookedBody{r.Body, x, r.Context(), x.brokenUpload}
		}
		next.ServeHTTP(w, r)
	})
}

// hookedBody is a body that a hook has put in place of another one.
type hookedBody struct {
	io.ReadCloser
	x       *exchange
	ctx     context.Context // of the request
	beneath func() error    // why the body that was replaced could not be read
}

// Read ends with the error of the body that was replaced if there is one, whatever the hook makes of it: half a
// message must not pass for a whole one.
func (b *hookedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	if broken := b.beneath(); broken != nil {
		return n, broken
	}
	if err != io.EOF && b.ctx.Err() == nil {
		b.x.hookFailed(hookError(b.ctx, err))
	}
	return n, err
}
