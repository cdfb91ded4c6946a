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

// Causes of failures that have their row in the table of problems. The handler's own limits
// return them, and servers of the handler tell them to [Handler.Fail] where only they can see
// what happened. What wraps one keeps its answer.
var (
	// ErrBadRequest is for a request that cannot be understood: its framing, its authority,
	// its body's coding.
	ErrBadRequest = errors.New("proxy: request cannot be understood")

	// ErrInvocation is for an invocation that is no request as it has to be passed to the proxy: what invokes
	// it has to be set up otherwise.
	ErrInvocation = errors.New("proxy: invoked by what it is not set up for")

	// ErrMethod is for a method that is not forwarded: TRACE, which would show what was added
	// on the way, and CONNECT.
	ErrMethod = errors.New("proxy: method is not forwarded")

	// ErrURLTooLong, ErrHeaderTooLarge and ErrBodyTooLarge are for a request over a limit. In
	// a [RequestTooLargeError] they come with it.
	ErrURLTooLong     = errors.New("proxy: the request's URL is too long")
	ErrHeaderTooLarge = errors.New("proxy: the request's headers are too large")
	ErrBodyTooLarge   = errors.New("proxy: the request's body is too large")

	// ErrTooManyFields is for a request with too many header fields. In a
	// [RequestTooLargeError] it comes with how many may be.
	ErrTooManyFields = errors.New("proxy: the request has too many header fields")

	// ErrBusy is for a request beyond [Limits].Requests.
	ErrBusy = errors.New("proxy: there is no room for another request")

	// ErrSlowBody is for a request whose body did not arrive in time.
	ErrSlowBody = errors.New("proxy: the request's body took too long")

	// ErrUpgrade is for a request that asks for another protocol, such as WebSocket, where the
	// front cannot switch.
	ErrUpgrade = errors.New("proxy: the front cannot switch protocols")

	// ErrUpgradeProtocol is for a request that asks for another protocol under a route that offers
	// its origin HTTP/2 alone.
	ErrUpgradeProtocol = errors.New("proxy: the route does not list http/1.1, and protocols are switched over that alone")

	// ErrUpgradeMismatch is for an origin that switches to another protocol than was asked for.
	ErrUpgradeMismatch = errors.New("proxy: the origin switched to another protocol than was asked for")

	// ErrLoop is for a request that has been here before.
	ErrLoop = errors.New("proxy: the request came back to where it was sent from")

	// ErrIncompleteResponse is for an answer that ended before it was whole.
	ErrIncompleteResponse = errors.New("proxy: the origin's answer broke off")

	// ErrResponseTooLarge is for an answer over what the front returns in one piece. In a
	// [ResponseTooLargeError] it comes with the limit.
	ErrResponseTooLarge = errors.New("proxy: the origin's answer is too large for this front")

	// ErrResponseHeaderTooLarge is for an answer whose headers are over what the front returns.
	ErrResponseHeaderTooLarge = errors.New("proxy: the headers of the origin's answer are too large for this front")

	// ErrResponseStalled is for an answer that began, and of which then nothing came for too
	// long.
	ErrResponseStalled = errors.New("proxy: the origin's answer stalled")

	// ErrUploadStalled is for an origin that stopped to take the request's body.
	ErrUploadStalled = errors.New("proxy: the origin does not take the request's body")

	// ErrTimeout is for a request that was not answered within the time that it may take as a
	// whole.
	ErrTimeout = errors.New("proxy: the origin's answer took too long")

	// ErrSlowClient is for a client that does not take the answer that it is sent.
	ErrSlowClient = errors.New("proxy: the client does not take its answer")

	// ErrClientGone is for a client that is not there any more. It gets no answer.
	ErrClientGone = errors.New("proxy: the client is gone")

	// ErrWebSocketIdle is for a WebSocket on which nothing moved for too long.
	ErrWebSocketIdle = errors.New("proxy: nothing moves on the WebSocket")

	// errNoAnswer is for an answer that does not begin.
	errNoAnswer = errors.New("proxy: the origin does not answer")
)

// A RequestTooLargeError is a request over a limit of the proxy or of what serves it.
type RequestTooLargeError struct {
	Err   error // ErrURLTooLong, ErrHeaderTooLarge, ErrTooManyFields or ErrBodyTooLarge
	Limit int64 // in bytes, or how many fields; told to the client
}

func (e *RequestTooLargeError) Error() string {
	return fmt.Sprintf("%v: over %d", e.Err, e.Limit)
}

// Unwrap returns e.Err.
func (e *RequestTooLargeError) Unwrap() error { return e.Err }

// A ResponseTooLargeError is an [ErrResponseTooLarge] that says what would have been taken.
type ResponseTooLargeError struct {
	Limit int64 // in bytes; told to the client
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

// answer is a problem as one client gets it.
type answer struct {
	*problem        // the row, with what the cause says of this request
	host     string // normalized; empty where it is not a proper name
	detail   string // happened, with what is known put in
	advice   string // next, likewise
}

// answerTo finds the answer to a cause, which is that of the first row that knows it. host is
// the name that the client asked for, and empty where it is not a proper one.
func answerTo(host string, err error) answer {
	i := slices.IndexFunc(problems, func(p problem) bool { return p.cause(err) }) // the last row takes all
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
	fill := strings.NewReplacer("{host}", name, "{limit}", limit, "{code}", http2Code(err))
	return answer{&p, host, fill.Replace(p.happened), fill.Replace(p.next)}
}

// http2Codes are the names of RFC 9113 section 7.
var http2Codes = []string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
	"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// http2Code names the error by which an origin ended a request. What it said beside is not for
// clients: GOAWAY may be about the request of another one.
func http2Code(err error) string {
	if e, ok := errors.AsType[*sni.ResetError](err); ok && slices.Contains(http2Codes, e.Code) {
		return e.Code
	}
	return "unknown"
}

// limitOf returns the limit that a cause is about, and 0 where it has none.
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

// bytesText writes a size for people. It never says more than n, since it is a limit to keep to.
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

// The following say which causes a row is for.

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// transport is for the failures of pkg/sni that have no finer row.
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

// Fail answers a request that cannot be answered otherwise, with an RFC 9209 Proxy-Status, and notes the cause for the
// log. A server calls it if the server alone sees that a response cannot be returned; see [Handler.Begin]. It panics with
// http.ErrAbortHandler, as handlers do that have no answer, if the client is gone or another answer has begun.
func (h *Handler) Fail(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	if x == nil {
		var done func()
		r, done = h.Begin(r)
		defer done()
		x = exchangeOf(r.Context())
		_, x.Host, _ = h.asked(x, r) // as far as the server has understood it
	}
	ours := x.records(w)
	if ours && x.status == http.StatusSwitchingProtocols {
		err = fmt.Errorf("%w: %w", ErrClientGone, err) // the client was gone before it was told of the switch
	}
	a := x.fail(x.causeOf(r.Context(), err))
	if a.status == 0 || ours && x.status != 0 {
		panic(http.ErrAbortHandler) // nobody is there, or another answer has begun; this one would be counted as given
	}
	if !ours {
		if d, ok := w.(interface{ Discarded() bool }); !ok || !d.Discarded() {
			w = &responseWriter{ResponseWriter: w, x: x}
			x.replaced()
		}
	}
	a.write(w, r, x.RequestID)
}

// causeOf returns why a request has failed if err is what the transport or the server makes of the failure.
func (x *exchange) causeOf(ctx context.Context, err error) error {
	// A request whose time ran out in the queue for a connection did not reach the origin.
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
