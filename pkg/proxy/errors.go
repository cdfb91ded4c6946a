package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// Causes of failures that have a row in docs/errors.md. The Handler has them in [Record].Err. Servers and hooks may return
// them too, through [Handler.Fail], [Fail] or a [ResponseHook]. An error that wraps one has the same row.
var (
	// ErrBadRequest is for a request whose target, fields, framing or body is malformed.
	ErrBadRequest = errors.New("proxy: request cannot be understood")

	// ErrInvocation is for an invocation whose event is not an HTTP request in a supported form.
	ErrInvocation = errors.New("proxy: the event is not a request in a supported form")

	// ErrMethod is for a method that is not forwarded: TRACE, whose response would show the fields that proxies add, and
	// CONNECT.
	ErrMethod = errors.New("proxy: method is not forwarded")

	// ErrURLTooLong, ErrHeaderTooLarge and ErrBodyTooLarge are for a request over a limit. A [RequestTooLargeError] wraps
	// them to name the limit.
	ErrURLTooLong     = errors.New("proxy: the request's URL is too long")
	ErrHeaderTooLarge = errors.New("proxy: the request's headers are too large")
	ErrBodyTooLarge   = errors.New("proxy: the request's body is too large")

	// ErrTooManyFields is for a request with too many header fields. A [RequestTooLargeError] wraps it to name the limit.
	ErrTooManyFields = errors.New("proxy: the request has too many header fields")

	// ErrBusy is for a request beyond [Limits].Requests.
	ErrBusy = errors.New("proxy: there is no room for another request")

	// ErrSlowBody is for a request whose body did not arrive in time.
	ErrSlowBody = errors.New("proxy: the request's body took too long")

	// ErrUpgrade is for a request that asks for another protocol, such as WebSocket, if the front cannot switch protocols.
	ErrUpgrade = errors.New("proxy: the front cannot switch protocols")

	// ErrUpgradeProtocol is for a request that asks for another protocol if its route offers only HTTP/2 to the origin.
	ErrUpgradeProtocol = errors.New("proxy: the route does not list http/1.1, which a switch of protocols needs")

	// ErrUpgradeMismatch is for an origin that switches to another protocol than the client asked for.
	ErrUpgradeMismatch = errors.New("proxy: the origin switched to another protocol than the client asked for")

	// ErrLoop is for a request that the proxy has forwarded before (RFC 8586).
	ErrLoop = errors.New("proxy: the request came back to the proxy")

	// ErrIncompleteResponse is for a response that ended before it was complete.
	ErrIncompleteResponse = errors.New("proxy: the origin's response is incomplete")

	// ErrResponseTooLarge is for a response over the size that the front takes. A [ResponseTooLargeError] wraps it to name
	// the limit.
	ErrResponseTooLarge = errors.New("proxy: the origin's response is too large for this front")

	// ErrResponseHeaderTooLarge is for a response whose header is over the size that the front takes.
	ErrResponseHeaderTooLarge = errors.New("proxy: the header of the origin's response is too large for this front")

	// ErrResponseStalled is for an origin that sent nothing for [Timeouts].Idle in the middle of a response.
	ErrResponseStalled = errors.New("proxy: the origin's response stalled")

	// ErrUploadStalled is for an origin that read nothing of the request's body for [Timeouts].Idle.
	ErrUploadStalled = errors.New("proxy: the origin does not read the request's body")

	// ErrTimeout is for a response that was not complete within [Timeouts].Request, or before the deadline of the
	// request's context.
	ErrTimeout = errors.New("proxy: the origin's response took too long")

	// ErrSlowClient is for a client that read nothing of the response for [Timeouts].Idle.
	ErrSlowClient = errors.New("proxy: the client does not read the response")

	// ErrClientGone is for a client that has gone before the response was complete. It gets no error response.
	ErrClientGone = errors.New("proxy: the client is gone")

	// ErrWebSocketIdle is for a WebSocket without data in either direction for [Timeouts].Idle.
	ErrWebSocketIdle = errors.New("proxy: the WebSocket is idle")

	// errNoResponse is for a response that does not begin within Timeouts.Response.
	errNoResponse = errors.New("proxy: the origin does not respond")
)

// A RequestTooLargeError is the error of a request over a limit of the proxy or of its server.
type RequestTooLargeError struct {
	Err   error // ErrURLTooLong, ErrHeaderTooLarge, ErrTooManyFields or ErrBodyTooLarge
	Limit int64 // in bytes, or the number of fields; the client sees it
}

func (e *RequestTooLargeError) Error() string {
	return fmt.Sprintf("%v: over %d", e.Err, e.Limit)
}

// Unwrap returns e.Err.
func (e *RequestTooLargeError) Unwrap() error { return e.Err }

// A ResponseTooLargeError is an [ErrResponseTooLarge] with the limit of the front.
type ResponseTooLargeError struct {
	Limit int64 // in bytes; the client sees it
}

func (e *ResponseTooLargeError) Error() string {
	return fmt.Sprintf("%v: over %d bytes", ErrResponseTooLarge, e.Limit)
}

// Unwrap returns ErrResponseTooLarge.
func (e *ResponseTooLargeError) Unwrap() error { return ErrResponseTooLarge }

type badHostError struct{ err error }

func (e *badHostError) Error() string { return fmt.Sprintf("proxy: %v", e.err) }
func (e *badHostError) Unwrap() error { return e.err }

type lookupError struct {
	host string
	err  error
}

func (e *lookupError) Error() string { return fmt.Sprintf("proxy: route for %q: %v", e.host, e.err) }
func (e *lookupError) Unwrap() error { return e.err }

// answer is the proxy's own error response to a request.
type answer struct {
	*problem        // the row, changed for this cause
	host     string // normalized; empty if it is not a valid name
	detail   string // problem.happened, without placeholders
	advice   string // problem.next, without placeholders
}

// answerTo returns the answer for a cause, from the first row that is for it. host is the requested host, and empty if it is
// not a valid name.
func answerTo(host string, err error) answer {
	i := slices.IndexFunc(problems, func(p problem) bool { return p.cause(err) }) // the last row is for all causes
	name, limit := host, "the limit"
	if name == "" {
		name = "that host"
	}
	switch n := limitOf(err); {
	case n > 0 && errors.Is(err, ErrTooManyFields):
		limit = strconv.FormatInt(n, 10)
	case n > 0:
		limit = bytesText(n)
	}
	p := problems[i]
	if e, ok := errors.AsType[*HookError](err); ok {
		p.status = e.status()
		if e.Level != nil {
			p.level = e.Level.Level()
		}
	}
	if e, ok := errors.AsType[*sni.Error](err); ok && e.Unprocessed && p.retry == retryIfSafe {
		p.retry = retryNow
	}
	fill := strings.NewReplacer("{host}", name, "{limit}", limit, "{code}", resetCode(err))
	return answer{&p, host, fill.Replace(p.happened), fill.Replace(p.next)}
}

// http2Codes are the names of RFC 9113 section 7.
var http2Codes = []string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
	"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// resetCode returns the name of the HTTP/2 error code of an origin's reset. Clients do not see the rest of the reset: a GOAWAY
// may be about another client's request.
func resetCode(err error) string {
	if e, ok := errors.AsType[*sni.ResetError](err); ok && slices.Contains(http2Codes, e.Code) {
		return e.Code
	}
	return "unknown"
}

// limitOf returns the limit in a cause, and 0 if it has no limit.
func limitOf(err error) int64 {
	if e, ok := errors.AsType[*RequestTooLargeError](err); ok {
		return e.Limit
	}
	if e, ok := errors.AsType[*ResponseTooLargeError](err); ok {
		return e.Limit
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return e.Limit
	}
	return 0
}

// bytesText formats a size for people. It rounds down, because n is a limit.
func bytesText(n int64) string {
	const kilo, kibi = 1000, 1024
	switch {
	case n >= kibi*kibi && n%(kibi*kibi) == 0:
		return fmt.Sprintf("%d MiB", n/(kibi*kibi))
	case n >= kibi && n%kibi == 0:
		return fmt.Sprintf("%d KiB", n/kibi)
	case n >= kilo*kilo:
		hundredths := n / (kilo * kilo / 100)
		return strings.TrimSuffix(fmt.Sprintf("%d.%02d", hundredths/100, hundredths%100), ".00") + " MB"
	}
	return fmt.Sprintf("%d bytes", n)
}

// The following functions make the cause field of a problem.

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// transport matches the errors of pkg/sni that have one of the types.
func transport(types ...sni.ErrorType) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[*sni.Error](err)
		return ok && slices.Contains(types, e.Type)
	}
}

// noApplicationProtocol is the alert of RFC 7301 section 3.2.
const noApplicationProtocol tls.AlertError = 120

func alerted(alert tls.AlertError) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[*sni.Error](err)
		return ok && e.Type == sni.TLSAlertReceived && e.Alert == alert
	}
}

func certificate(reason sni.CertificateReason) func(error) bool {
	return func(err error) bool {
		c, ok := errors.AsType[*sni.CertificateError](err)
		return ok && c.Reason == reason && transport(sni.TLSCertificateError)(err)
	}
}

func either(a, b func(error) bool) func(error) bool {
	return func(err error) bool { return a(err) || b(err) }
}

// Fail writes the error response for err, with a Proxy-Status (RFC 9209), and records err for the log. A server calls it if
// only the server sees that a response cannot be returned; see [Handler.Begin]. err must not be nil. Fail panics with
// [http.ErrAbortHandler] if the client is gone or another response has begun.
func (h *Handler) Fail(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	if x == nil {
		var done func()
		r, done = h.Begin(r)
		defer done()
		x = exchangeOf(r.Context())
		_, x.Host, _ = h.requestedHost(x, r) // empty if the server could not parse it
	}
	ours := x.isRecordedBy(w)
	if ours && x.status == http.StatusSwitchingProtocols {
		err = fmt.Errorf("%w: %w", ErrClientGone, err) // the client was gone before it got the 101
	}
	a := x.fail(x.causeOf(r.Context(), err))
	if a.status == 0 || ours && x.status != 0 {
		panic(http.ErrAbortHandler) // otherwise this response would be counted as sent
	}
	if !ours {
		if d, ok := w.(interface{ Discarded() bool }); !ok || !d.Discarded() {
			w = &responseWriter{ResponseWriter: w, x: x}
			x.resetResponse()
		}
	}
	a.write(w, r, x.RequestID)
}

// causeOf returns why a request has failed if err may be only a consequence of that in the transport or the server.
func (x *exchange) causeOf(ctx context.Context, err error) error {
	// A request that timed out while it waited for a connection did not reach the origin, so ErrConnLimit is the better cause.
	if expired := x.watch.expired(); expired != nil && !errors.Is(err, sni.ErrConnLimit) {
		return expired
	}
	if hook := x.hookFailure(); hook != nil {
		return hook
	}
	if body := x.uploadCause(ctx); body != nil && !errors.Is(err, ErrClientGone) {
		return body
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrClientGone, err)
	}
	return err
}
