package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// A Record is what a [Handler] knows of one request once its response has ended: the request, what happened to
// it, and where its time went. Each field is set once. The log line of the request is made of its Record,
// and [Config].Observe gets the same Record, for metrics and traces.
//
// Text that a client or an origin has chosen is in Method, Host and Err alone. It is not for labels of metrics:
// there is no end of it.
type Record struct {
	// The request. Began is when the Handler got it.
	Began     time.Time
	RequestID string         // never empty
	TraceID   string         // empty if nobody has named one
	Client    netip.AddrPort // the other end of the connection, perhaps a proxy in front; zero if unknown
	Method    string         // as the client wrote it
	Protocol  string         // that the client speaks, such as "HTTP/1.1"
	Scheme    string         // "https" or "http": what the client asked for
	Upgrade   bool           // the client asks for a WebSocket

	Host     string        // that the client asked for, normalized; empty if it is not a hostname
	Route    *origin.Route // nil if none was found. It must not be changed
	RouteKey string        // the host or pattern of Route, or of an invalid route; empty if there is neither

	// What happened. Status is what the client got: 101 for a WebSocket, 499 if there was nobody to answer.
	// Problem names a row of docs/errors.md, and is empty for a request without a failure. A response that has
	// begun keeps its status, whatever its Problem.
	Status    int
	Bytes     int64         // of the response's body, or to the client on a WebSocket
	Problem   string        // such as "origin-timeout"
	ErrorType sni.ErrorType // of RFC 9209; empty if Problem is, or has none
	Level     slog.Level    // of the log line
	Err       error         // the cause of Problem. Its text may quote what the origin sent
	ErrorText string        // the text of Err without what the origin sent, of at most 2,000 bytes
	Origin    sni.Exchange  // the transport's part; zero if no request was forwarded

	// Where time went. Origin has more of it.
	Lookup time.Duration // of the route
	Total  time.Duration // from Began to the end of the response
}

// statusClientGone is the status of a request that nobody waits for any more, after nginx.
const statusClientGone = 499

// finish completes the Record of a request whose response has ended, and hands it on.
func (h *Handler) finish(ctx context.Context, x *exchange) {
	x.resolve(ctx)
	x.mu.Lock()
	x.Bytes = x.sent
	x.mu.Unlock()
	x.Status = x.status
	x.RouteKey = x.routeKey()
	if x.failed != nil {
		x.Problem, x.ErrorType, x.Level = x.failed.name, x.failed.errorType, x.failed.level
		x.Err, x.ErrorText = x.cause, bounded(x.causeText(), 2000)
	}
	x.Total = time.Since(x.Began)
	h.log(ctx, &x.Record)
	if h.config.Observe != nil {
		h.config.Observe(ctx, &x.Record)
	}
}

// resolve finds out how a request has ended if no handler has said so.
func (x *exchange) resolve(ctx context.Context) {
	switch {
	case x.failed != nil:
	case x.stage == running: // it panicked, which also is how handlers say that a response is not whole
		x.fail(x.abortCause(ctx))
	case x.watch.expired() != nil: // a WebSocket, or a response whose end was cut off
		x.fail(x.watch.expired())
	case x.status == 0:
		x.status = http.StatusOK // as servers do for handlers that write nothing
	}
}

// abortCause returns why a handler has aborted.
func (x *exchange) abortCause(ctx context.Context) error {
	expired, hook, body, answer := x.watch.expired(), x.hookFailure(), x.uploadCause(ctx), x.brokenAnswer()
	switch {
	case expired != nil:
		return expired
	case hook != nil:
		return hook
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ErrTimeout
	case body != nil:
		return body
	case ctx.Err() != nil:
		return ErrClientGone
	case answer != nil:
		return fmt.Errorf("%w: %w", ErrIncompleteResponse, answer)
	case x.writeErr != nil:
		return fmt.Errorf("%w: %w", ErrClientGone, x.writeErr)
	}
	return errors.New("proxy: the handler panicked")
}

// fail notes the cause of a failure, and returns the answer to it.
func (x *exchange) fail(err error) answer {
	a := answerTo(x.Host, err)
	x.failed, x.cause = a.problem, err
	if a.status == 0 && x.status == 0 {
		x.status = statusClientGone
	}
	return a
}

// routeKey returns the key of the route that was found, or that was found to be invalid.
func (x *exchange) routeKey() string {
	if x.Route != nil {
		return x.Route.Host
	}
	if invalid, ok := errors.AsType[*origin.InvalidRouteError](x.cause); ok {
		return invalid.Host
	}
	return ""
}

// causeText returns the text of the cause without what the origin sent. net/http quotes what it cannot read: a
// line of a header may be a cookie, and bytes that are not HTTP may be somebody's data.
func (x *exchange) causeText() string {
	whole, read := x.cause.Error(), x.brokenAnswer()
	if e, ok := errors.AsType[*sni.Error](x.cause); ok {
		if e.Type != sni.HTTPProtocolError && read == nil {
			return whole
		}
		read = e.Err
	}
	if read == nil || as[*sni.ResetError](read) { // a ResetError is meant to be read
		return whole
	}
	detail := read.Error()
	if before, _, quoted := strings.Cut(detail, `"`); quoted {
		return strings.Replace(whole, detail, before+"(left out)", 1)
	}
	return whole
}

// bounded keeps somebody's text from filling the log.
func bounded(s string, most int) string {
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
