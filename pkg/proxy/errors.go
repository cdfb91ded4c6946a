package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Causes that servers of the handler tell to [Handler.Fail], since it cannot see them.
var (
	ErrBadRequest             = errors.New("proxy: request cannot be understood")
	ErrIncompleteResponse     = errors.New("proxy: the origin's answer broke off")
	ErrResponseTooLarge       = errors.New("proxy: the origin's answer is too large for this front")
	ErrResponseHeaderTooLarge = errors.New("proxy: the headers of the origin's answer are too large for this front")
	ErrTimeout                = errors.New("proxy: the origin's answer took too long")
)

type badHostError struct{ err error }

func (e *badHostError) Error() string { return fmt.Sprintf("proxy: %v", e.err) }
func (e *badHostError) Unwrap() error { return e.err }

type lookupError struct{ err error }

func (e *lookupError) Error() string { return fmt.Sprintf("proxy: route: %v", e.err) }
func (e *lookupError) Unwrap() error { return e.err }

// answer is what a client gets for a cause. The texts say what happened and what to do
// next, and hold nothing that the client does not know or may see: no address, no header.
type answer struct {
	status     int
	errorType  sni.ErrorType // RFC 9209 section 2.3
	happened   string
	next       string
	retryAfter time.Duration
	level      slog.Level
}

// The types of RFC 9209 that only the proxy itself comes to know.
const (
	destinationNotFound    sni.ErrorType = "destination_not_found"
	httpResponseIncomplete sni.ErrorType = "http_response_incomplete"
	httpResponseBodySize   sni.ErrorType = "http_response_body_size"
)

// answerTo is the one place that maps causes to answers. host is the name that the
// client asked for, and empty where it is not a proper one.
func answerTo(host string, err error) answer {
	var invalid *origin.InvalidRouteError
	var badHost *badHostError
	var lookup *lookupError
	var transport *sni.Error
	switch {
	case errors.As(err, &badHost):
		return answer{http.StatusBadRequest, sni.HTTPRequestError,
			"The request's Host is not a hostname.", "Send the name of the site as Host.", 0, slog.LevelInfo}
	case errors.Is(err, ErrBadRequest):
		return answer{http.StatusBadRequest, sni.HTTPRequestError,
			"The request could not be understood.", "Check how it is made: method, path, headers and body encoding.", 0, slog.LevelInfo}
	case errors.Is(err, origin.ErrNotFound):
		return answer{http.StatusNotFound, destinationNotFound,
			fmt.Sprintf("No site is served here under the name %s.", orThat(host)),
			"Check the name; if it is yours, add a route for it. A new route takes some seconds to be seen.", 0, slog.LevelDebug}
	case errors.As(err, &invalid):
		return answer{http.StatusInternalServerError, sni.ProxyConfigurationError,
			fmt.Sprintf("The route for %s is not valid.", orThat(host)),
			"Its operator finds the attribute to correct in the log.", 0, slog.LevelError}
	case errors.As(err, &lookup):
		return answer{http.StatusServiceUnavailable, sni.ProxyInternalError,
			"The routes cannot be read at the moment.", "Try again in some seconds.", 5 * time.Second, slog.LevelError}
	case errors.Is(err, ErrIncompleteResponse):
		return answer{http.StatusBadGateway, httpResponseIncomplete,
			fmt.Sprintf("The origin of %s broke off its answer.", orThat(host)), "Try again; if it stays, look at the origin's log.", 0, slog.LevelWarn}
	case errors.Is(err, ErrResponseTooLarge):
		return answer{http.StatusBadGateway, httpResponseBodySize,
			fmt.Sprintf("The answer of the origin of %s is larger than can be returned here in one piece.", orThat(host)),
			"Ask for less at a time, for instance with a Range header. Its operator can choose a front that streams answers, and RESPONSE_MODE=stream.", 0, slog.LevelWarn}
	case errors.Is(err, ErrResponseHeaderTooLarge):
		return answerToTransport(host, &sni.Error{Type: sni.HTTPResponseHeaderSectionSize})
	case errors.Is(err, ErrTimeout):
		return timedOut(host)
	case errors.As(err, &transport):
		return answerToTransport(host, transport)
	case errors.Is(err, context.DeadlineExceeded):
		return timedOut(host)
	}
	return answer{http.StatusInternalServerError, sni.ProxyInternalError,
		"Something went wrong in the proxy.", "Try again; if it stays, its operator finds the cause in the log.", 0, slog.LevelError}
}

func timedOut(host string) answer {
	return answer{http.StatusGatewayTimeout, sni.HTTPResponseTimeout,
		fmt.Sprintf("The origin of %s did not answer in time.", orThat(host)), "Try again; if it stays, look at the origin's load.", 0, slog.LevelWarn}
}

func answerToTransport(host string, e *sni.Error) answer {
	a := answer{status: http.StatusBadGateway, errorType: e.Type, level: slog.LevelWarn}
	name := orThat(host)
	switch e.Type {
	case sni.TLSCertificateError:
		a.happened, a.next = certificateProblem(name, e)
	case sni.TLSAlertReceived:
		a.happened = fmt.Sprintf("The origin of %s refused the TLS handshake.", name)
		a.next = "Check that the origin knows the name and has a certificate for it, which TLS versions it accepts, and whether it wants a client certificate."
	case sni.TLSProtocolError:
		a.happened = fmt.Sprintf("The TLS handshake with the origin of %s failed.", name)
		a.next = "Check that the route's port speaks TLS, and which versions."
	case sni.DNSError, sni.DNSTimeout:
		a.happened = fmt.Sprintf("The address of the origin of %s could not be found.", name)
		a.next = "Check the route's origin, and the DNS of its name."
		if e.Type == sni.DNSTimeout {
			a.status = http.StatusGatewayTimeout
		}
	case sni.DestinationIPProhibited:
		a.happened = fmt.Sprintf("The origin of %s has an address that must not be reached from here.", name)
		a.next = "Its operator can allow the network (ORIGIN_ALLOW_CIDRS) where that is meant."
	case sni.ConnectionRefused, sni.DestinationIPUnroutable:
		a.happened = fmt.Sprintf("The origin of %s accepts no connection.", name)
		a.next = "Check that it runs, the route's port, and its firewall."
	case sni.ConnectionTerminated:
		a.happened = fmt.Sprintf("The origin of %s closed the connection before it answered.", name)
		a.next = "Try again, if the request may be repeated; if it stays, look at the origin's log."
	case sni.ConnectionTimeout:
		a.status = http.StatusGatewayTimeout
		a.happened = fmt.Sprintf("The origin of %s could not be connected to in time.", name)
		a.next = "Check that it runs, and its firewall."
	case sni.HTTPResponseTimeout:
		return timedOut(host)
	case sni.HTTPResponseHeaderSectionSize:
		a.happened = fmt.Sprintf("The origin of %s sent an answer with too many headers, or too long ones.", name)
		a.next = "Look at which headers the origin sends; cookies are the usual suspects."
	case sni.HTTPProtocolError:
		a.happened = fmt.Sprintf("The origin of %s sent something that is not a valid HTTP answer.", name)
		a.next = "Look at the origin's log, and at what else listens on its port."
	case sni.HTTPRequestError:
		a.status = http.StatusBadRequest
		a.happened, a.next = "The request cannot be sent on.", "Check its method, its path and its headers."
	case sni.ProxyConfigurationError:
		a.status, a.level = http.StatusInternalServerError, slog.LevelError
		a.happened = fmt.Sprintf("The route for %s cannot be used.", name)
		a.next = "Its operator finds the reason in the log."
	default:
		a.status, a.level = http.StatusInternalServerError, slog.LevelError
		a.happened, a.next = "Something went wrong in the proxy.", "Try again; if it stays, its operator finds the cause in the log."
	}
	return a
}

// certificateProblem says what is wrong with a certificate, and who can mend it. Which
// names it has is for the log: they often are those of the load balancer, by which a
// stranger could go around the proxy.
func certificateProblem(name string, e *sni.Error) (happened, next string) {
	happened = fmt.Sprintf("The origin of %s presented a certificate ", name)
	next = "Have a valid certificate for that name installed at the origin."
	var c *sni.CertificateError
	if !errors.As(e, &c) {
		return happened + "that is not valid.", next
	}
	switch c.Reason {
	case sni.WrongName:
		return happened + "for somebody else: the name it has to prove is not in it.",
			"Have a certificate for that name installed at the origin, or set the route's server_name to a name that its certificate has. The operator finds those names in the log."
	case sni.UnknownAuthority:
		return happened + "of an authority that is not trusted.",
			"Have the origin send its whole chain from a public authority, or set the route's ca_pem to the private one."
	case sni.PinMismatch:
		return happened + "whose key is none of those that the route pins.",
			"If the origin's key was changed on purpose, add the new one to the route's spki_pins. If it was not, somebody else answers there."
	case sni.Expired:
		return happened + "that has expired.", next
	case sni.NotYetValid:
		return happened + "that is not valid yet.", next
	case sni.WrongUsage:
		return happened + "that is not meant for servers.", next
	case sni.NameConstraint:
		return happened + "whose authority may not vouch for that name.", next
	case sni.WeakKey, sni.InsecureSignature:
		return happened + "that anybody could forge: its key is too short, or its signature of a broken kind.", next
	}
	return happened + "that is not valid.", next
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

func orThat(host string) string {
	if host == "" {
		return "that host"
	}
	return host
}

// Fail answers a request that cannot be answered otherwise, with an RFC 9209
// Proxy-Status, and logs the cause. Where the client is gone it panics with
// http.ErrAbortHandler, as handlers do that have no answer.
func (h *Handler) Fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client is gone; an answer would be logged as one that was given
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
	header := w.Header()
	clear(header) // what the origin's answer left behind
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Proxy-Status", "sleight; error="+string(a.errorType))
	if a.retryAfter > 0 {
		header.Set("Retry-After", fmt.Sprint(int(a.retryAfter.Seconds())))
	}
	w.WriteHeader(a.status)
	fmt.Fprintf(w, "%d %s\n\n%s\n%s\n", a.status, http.StatusText(a.status), a.happened, a.next)
}

// log writes one line. The host is in it only where it is a proper name; the rest of
// the request is the client's text, or private.
func (h *Handler) log(r *http.Request, a answer, host, route string, err error) {
	attrs := []slog.Attr{
		slog.String("host", host),
		slog.Int("status", a.status),
		slog.String("error_type", string(a.errorType)),
		slog.String("error", bounded(err.Error())),
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
