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

// A Record describes one request after its response has ended: the request, its outcome, and its times. It does not change
// after that. The log line of the request is made from its Record, and [Config].Observe gets the same Record, for metrics and
// traces.
//
// A client chooses Method, Host and TraceID, and an origin or a client can choose parts of Err, ErrorText, Origin.Host and
// Origin.Err. RequestID is the client's if a trusted proxy passed it on. Do not use these as labels of metrics: they have an
// unbounded number of values.
type Record struct {
	// The request. Began is when the Handler got it.
	Began     time.Time
	RequestID string         // never empty
	TraceID   string         // empty if the request has no trace
	Client    netip.AddrPort // the peer of the connection, perhaps a proxy in front; zero if unknown
	Method    string         // as the client wrote it
	Protocol  string         // of the client's request, such as "HTTP/1.1"
	Scheme    string         // of the client's request: "https" or "http"
	Upgrade   bool           // whether the client asks for a WebSocket

	Host     string        // the requested host, normalized; empty if it is not a hostname
	Route    *origin.Route // nil if no route was found; must not be changed
	RouteKey string        // the host or pattern of Route, or of an invalid route; empty if there is neither

	// The outcome. Status is the status that was sent: 101 for a WebSocket, and 499 if the client was gone before any
	// status was sent. Problem names a row of docs/errors.md, and is empty if nothing failed. If the response had begun
	// before the failure, Status is still the response's.
	Status    int
	Bytes     int64         // of the response's body, or of the data sent to the client on a WebSocket
	Problem   string        // such as "origin-timeout"
	ErrorType sni.ErrorType // of RFC 9209 section 2.3; empty if Problem is empty or has no type
	Level     slog.Level    // of the log line
	Err       error         // the cause of Problem; its text may quote what the origin sent
	ErrorText string        // the text of Err without quotes of the origin, cut after 2,000 bytes
	Origin    sni.Exchange  // what the transport measured; zero if no request was forwarded

	// The times. Origin has more of them.
	Lookup time.Duration // of the route
	Total  time.Duration // from Began to the end of the response
}

// statusClientGone is nginx's status for a request whose client has gone before the response.
const statusClientGone = 499

// finish completes the Record of a request whose response has ended, logs it, and passes it to Config.Observe.
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

// resolve decides how a request has ended if no handler has reported a failure.
func (x *exchange) resolve(ctx context.Context) {
	switch {
	case x.failed != nil:
	case x.stage == running: // it panicked; ReverseProxy panics too if a response is incomplete
		x.fail(x.abortCause(ctx))
	case x.watch.expired() != nil: // a WebSocket, or a response whose end was cut off
		x.fail(x.watch.expired())
	case x.status == 0:
		x.status = http.StatusOK // as net/http sends if a handler writes nothing
	}
}

// abortCause returns why a handler has aborted.
func (x *exchange) abortCause(ctx context.Context) error {
	expired, hook, body, response := x.watch.expired(), x.hookFailure(), x.uploadCause(ctx), x.brokenResponse()
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
	case response != nil:
		return fmt.Errorf("%w: %w", ErrIncompleteResponse, response)
	case x.writeErr != nil:
		return fmt.Errorf("%w: %w", ErrClientGone, x.writeErr)
	}
	return errors.New("proxy: the handler panicked")
}

// fail records the cause of a failure, and returns the answer for it.
func (x *exchange) fail(err error) answer {
	a := answerTo(x.Host, err)
	x.failed, x.cause = a.problem, err
	if a.status == 0 && x.status == 0 {
		x.status = statusClientGone
	}
	return a
}

// routeKey returns the key of the route, or of the invalid route that the lookup failed on.
func (x *exchange) routeKey() string {
	if x.Route != nil {
		return x.Route.Host
	}
	if invalid, ok := errors.AsType[*origin.InvalidRouteError](x.cause); ok {
		return invalid.Host
	}
	return ""
}

// causeText returns the text of the cause without what the origin sent. net/http quotes input that it cannot parse. A header
// line may be a cookie, and bytes that are not HTTP may be private data.
func (x *exchange) causeText() string {
	whole, read := x.cause.Error(), x.brokenResponse()
	if e, ok := errors.AsType[*sni.Error](x.cause); ok {
		if e.Type != sni.HTTPProtocolError && read == nil {
			return whole
		}
		read = e.Err
	}
	if read == nil || as[*sni.ResetError](read) { // the text of a ResetError is for the log
		return whole
	}
	detail := read.Error()
	if before, _, quoted := strings.Cut(detail, `"`); quoted {
		return strings.Replace(whole, detail, before+"(left out)", 1)
	}
	return whole
}

// bounded cuts s after most bytes.
func bounded(s string, most int) string {
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
