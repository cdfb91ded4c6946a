package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Causes of failures that have their row in the table of problems. The handler's own limits
// return them, and servers of the handler tell them to [Handler.Fail] where only they can see
// what happened. What wraps one keeps its answer.
var (
	// ErrBadRequest is for a request that cannot be understood: its framing, its authority,
	// its body's coding, or the event that it came in.
	ErrBadRequest = errors.New("proxy: request cannot be understood")

	// ErrMethod is for a method that is not forwarded: TRACE, which would show what was added
	// on the way, and CONNECT.
	ErrMethod = errors.New("proxy: method is not forwarded")

	// ErrURLTooLong, ErrHeaderTooLarge and ErrBodyTooLarge are for a request over a limit. In
	// a [RequestTooLargeError] they come with it.
	ErrURLTooLong     = errors.New("proxy: the request's URL is too long")
	ErrHeaderTooLarge = errors.New("proxy: the request's headers are too large")
	ErrBodyTooLarge   = errors.New("proxy: the request's body is too large")

	// ErrSlowBody is for a request whose body did not arrive in time.
	ErrSlowBody = errors.New("proxy: the request's body took too long")

	// ErrUpgrade is for a request that asks for another protocol, such as WebSocket, where the
	// front cannot switch.
	ErrUpgrade = errors.New("proxy: the front cannot switch protocols")

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

	// ErrClientGone is for a client that is not there any more. It gets no answer.
	ErrClientGone = errors.New("proxy: the client is gone")
)

// A RequestTooLargeError is a request over a limit of the proxy or of what serves it.
type RequestTooLargeError struct {
	Err   error // ErrURLTooLong, ErrHeaderTooLarge or ErrBodyTooLarge
	Limit int64 // in bytes; told to the client
}

func (e *RequestTooLargeError) Error() string {
	return fmt.Sprintf("%v: over %d bytes", e.Err, e.Limit)
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

type lookupError struct{ err error }

func (e *lookupError) Error() string { return fmt.Sprintf("proxy: route: %v", e.err) }
func (e *lookupError) Unwrap() error { return e.err }

// answer is a problem as one client gets it.
type answer struct {
	*problem
	host   string // normalized; empty where it is not a proper name
	detail string // happened, with what is known put in
	advice string // next, likewise
}

// answerTo finds the answer to a cause, which is that of the first row that knows it. host is
// the name that the client asked for, and empty where it is not a proper one.
func answerTo(host string, err error) answer {
	i := slices.IndexFunc(problems, func(p problem) bool { return p.cause(err) }) // the last row takes all
	name, limit := host, "the limit"
	if name == "" {
		name = "that host"
	}
	if n := limitOf(err); n > 0 {
		limit = bytesText(n)
	}
	fill := strings.NewReplacer("{host}", name, "{limit}", limit)
	return answer{&problems[i], host, fill.Replace(problems[i].happened), fill.Replace(problems[i].next)}
}

// limitOf returns the limit in bytes that a cause is about, and 0 where it has none.
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

func certificate(reason sni.CertificateReason) func(error) bool {
	return func(err error) bool {
		c, ok := errors.AsType[*sni.CertificateError](err)
		return ok && c.Reason == reason && transport(sni.TLSCertificateError)(err)
	}
}

func either(a, b func(error) bool) func(error) bool {
	return func(err error) bool { return a(err) || b(err) }
}

// namesOf lists the names of a certificate, as far as they are proper ones: whoever made
// it chose what they say.
func namesOf(c *sni.CertificateError) string {
	const most = 3
	var names []string
	for _, n := range c.Names() {
		if clean, err := hostname.NormalizePattern(n); err == nil {
			names = append(names, clean)
		}
	}
	switch {
	case len(names) == 0:
		return "no name at all"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// Fail answers a request that cannot be answered otherwise, with an RFC 9209
// Proxy-Status, and logs the cause. Where the client is gone it panics with
// http.ErrAbortHandler, as handlers do that have no answer.
func (h *Handler) Fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		err = fmt.Errorf("%w: %w", ErrClientGone, err)
	}
	host, route := "", ""
	if x := exchangeOf(r.Context()); x != nil {
		host, route = x.host, x.route.Host
		if x.body != nil && x.body.broken.Load() {
			err = fmt.Errorf("%w: its body: %w", ErrBadRequest, err)
		}
	} else {
		// Before there was a route, or after it was forgotten: servers come with the request
		// as they gave it to the handler.
		_, host, _ = h.asked(r)
	}
	a := answerTo(host, err)
	h.log(r, a, host, route, err)
	if a.status == 0 {
		panic(http.ErrAbortHandler) // nobody is there; an answer would be counted as one that was given
	}
	a.write(w, r, requestIDOf(r.Context()))
}

// requestIDOf returns the id by which a request is found in the logs, and "" where it has none.
func requestIDOf(context.Context) string { return "" }

// log writes one line. The host is in it only where it is a proper name; the rest of
// the request is the client's text, or private.
func (h *Handler) log(r *http.Request, a answer, host, route string, err error) {
	attrs := []slog.Attr{
		slog.String("host", host),
		slog.String("problem", a.name),
		slog.String("error", bounded(err.Error())),
	}
	if a.status != 0 {
		attrs = append(attrs, slog.Int("status", a.status), slog.String("error_type", string(a.errorType)))
	}
	if route != "" {
		attrs = append(attrs, slog.String("route", route))
	}
	if transport, ok := errors.AsType[*sni.Error](err); ok {
		if transport.Address != "" {
			attrs = append(attrs, slog.String("origin", transport.Address))
		}
		if transport.Type == sni.TLSAlertReceived {
			attrs = append(attrs, slog.Int("tls_alert", int(transport.Alert)))
		}
	}
	if c, ok := errors.AsType[*sni.CertificateError](err); ok {
		attrs = append(attrs, slog.String("certificate_problem", string(c.Reason)))
		if c.Certificate != nil {
			attrs = append(attrs, slog.String("certificate_names", namesOf(c)), slog.Time("certificate_not_after", c.Certificate.NotAfter))
		}
	}
	h.config.Logger.LogAttrs(r.Context(), a.level, "request failed", attrs...)
}

// bounded keeps an error from filling the log with what somebody sent.
func bounded(s string) string {
	const most = 2000
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
