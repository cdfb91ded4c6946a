package sni

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/sleightproxy/sleight/internal/http1"
)

// An ErrorType is the name of a failure in RFC 9209 section 2.3.
type ErrorType string

// The types that an [Error] may have.
const (
	DNSError                      ErrorType = "dns_error"
	DNSTimeout                    ErrorType = "dns_timeout"
	DestinationIPProhibited       ErrorType = "destination_ip_prohibited"
	DestinationIPUnroutable       ErrorType = "destination_ip_unroutable"
	ConnectionRefused             ErrorType = "connection_refused"
	ConnectionTerminated          ErrorType = "connection_terminated"
	ConnectionTimeout             ErrorType = "connection_timeout"
	TLSProtocolError              ErrorType = "tls_protocol_error"
	TLSCertificateError           ErrorType = "tls_certificate_error"
	TLSAlertReceived              ErrorType = "tls_alert_received"
	ConnectionLimitReached        ErrorType = "connection_limit_reached"
	HTTPRequestError              ErrorType = "http_request_error"
	HTTPResponseTimeout           ErrorType = "http_response_timeout"
	HTTPProtocolError             ErrorType = "http_protocol_error"
	HTTPResponseHeaderSectionSize ErrorType = "http_response_header_section_size"
	HTTPUpgradeFailed             ErrorType = "http_upgrade_failed" // for callers that compare the protocols of an upgrade
	ProxyConfigurationError       ErrorType = "proxy_configuration_error"
	ProxyInternalError            ErrorType = "proxy_internal_error"
)

// Error is the type of every error that [Transport.RoundTrip] returns. It has the cause:
// errors.As finds a *[CertificateError], a *[ProhibitedError], a *[TargetError], a *[ResetError] or a
// *net.DNSError in it; errors.Is finds [ErrConnLimit], [ErrNoDescriptors], [ErrHTTP2Only], [ErrRenegotiation],
// [ErrPingTimeout], or the context's error.
//
// If several addresses were tried, Type and Address are those of the first one, and Err has also the failures of the others.
type Error struct {
	Type       ErrorType
	ServerName string // the name that the origin has to prove; empty before it is known
	Address    string // the address of the Target that was tried; empty if nothing was dialled

	// Alert is what the origin sent if the type is TLSAlertReceived (RFC 8446 section 6);
	// its Error method has the name. Zero elsewhere.
	Alert tls.AlertError

	// Unprocessed reports that the origin has certainly not processed the request: nothing of it was sent, or an HTTP/2 server
	// said so (RFC 9113 section 8.7). False means that it may have.
	Unprocessed bool

	Err error // never nil
}

func (e *Error) Error() string {
	switch {
	case e.Address != "":
		return fmt.Sprintf("sni: %q at %q: %v", e.ServerName, e.Address, e.Err)
	case e.ServerName != "":
		return fmt.Sprintf("sni: %q: %v", e.ServerName, e.Err)
	}
	return fmt.Sprintf("sni: %v", e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Timeout reports whether time ran out. It implements net.Error in part.
func (e *Error) Timeout() bool { return isTimeout(e.Err) }

func connectErrorType(err error) ErrorType {
	var dns *net.DNSError
	var prohibited *ProhibitedError
	switch {
	case errors.As(err, &prohibited):
		return DestinationIPProhibited
	case errors.As(err, &dns):
		if dns.Timeout() {
			return DNSTimeout
		}
		return DNSError
	case isTimeout(err):
		return ConnectionTimeout
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return DestinationIPUnroutable
	case errors.Is(err, syscall.ECONNREFUSED):
		return ConnectionRefused
	case isClosed(err):
		return ConnectionTerminated
	}
	return ProxyInternalError // such as no file descriptor left: not the origin's fault
}

// setHandshake sets Type, Alert and Err from the error of a handshake.
func (e *Error) setHandshake(err error) {
	e.Err = fmt.Errorf("TLS handshake: %w", err)
	alert, alerted := alertOf(err)
	switch certificate := certificateError(err); {
	case certificate != nil:
		e.Type, e.Err = TLSCertificateError, certificate
	case alerted:
		e.Type, e.Alert = TLSAlertReceived, alert
	case isTimeout(err):
		e.Type = ConnectionTimeout
	case isClosed(err):
		e.Type = ConnectionTerminated
	default:
		e.Type = TLSProtocolError
	}
}

// exchangeError returns the Error for a request that failed on an existing connection.
func exchangeError(l lease, err error) *Error {
	err = namedCause(err)
	e := &Error{
		Type: exchangeErrorType(err), ServerName: l.pool.key.serverName, Address: l.address.String(),
		Unprocessed: l.protocol.unprocessed(l, err), Err: err,
	}
	e.Alert, _ = alertOf(err)
	return e
}

// namedCause adds to err the exported cause that it stands for, if there is such a cause.
func namedCause(err error) error {
	const noRenegotiation = 100 // RFC 5246 section 7.2
	if alert, ours := localAlert(err); ours && alert == noRenegotiation {
		return fmt.Errorf("%w: %w", ErrRenegotiation, err)
	}
	if errors.Is(err, http1.ErrHTTP2) {
		return fmt.Errorf("%w: %w", ErrHTTP2Only, err)
	}
	if strings.Contains(err.Error(), "http2: client connection lost") {
		return fmt.Errorf("%w: %w", ErrPingTimeout, err)
	}
	if reset := resetOf(err); reset != nil && error(reset) != err {
		return &namedError{reset, err}
	}
	return err
}

// namedError is a cause and the error of net/http that it was read from. The text is that of the cause.
type namedError struct {
	named *ResetError
	err   error
}

func (e *namedError) Error() string   { return e.named.Error() }
func (e *namedError) Unwrap() []error { return []error{e.named, e.err} }

// closedTexts are in the errors of net/http for closed connections that have no type.
var closedTexts = []string{
	"client conn could not be established",
	"client connection lost",
	"client connection force closed",
	"client conn not usable",
	"server sent GOAWAY",
	"received GOAWAY from server",
	"graceful shutdown GOAWAY",
}

// headerSizeTexts are in the errors of net/http for headers of responses, and of interim responses, that are too large.
var headerSizeTexts = []string{
	"server response headers exceeded",
	"response header list larger than advertised limit",
	"header list too large",
}

// errHeaderSize is the error of this package for such a header.
var errHeaderSize = errors.New("the header of the answer is larger")

// badRequestTexts begin the errors of net/http for requests that it does not send over HTTP/2.
var badRequestTexts = []string{"http: invalid ", "http: nil Request.", "http: no Host in request URL", "http2: invalid ", "http2: request header list larger"}

// exchangeErrorType returns the type of an error on an existing connection.
func exchangeErrorType(err error) ErrorType {
	var (
		request *http1.RequestError
		size    *http1.HeaderSizeError
	)
	_, local := localAlert(err)
	switch {
	case isAlert(err): // TLS 1.3 servers refuse a missing client certificate after the handshake
		return TLSAlertReceived
	case local: // the origin sent something that is not TLS, or not a version of it that we accept
		return TLSProtocolError
	case errors.Is(err, syscall.ETIMEDOUT): // the kernel says that the path is dead
		return ConnectionTerminated
	case isTimeout(err):
		return HTTPResponseTimeout
	case isClosed(err), resetOf(err) != nil, slices.ContainsFunc(closedTexts, func(s string) bool { return strings.Contains(err.Error(), s) }):
		return ConnectionTerminated
	case errors.As(err, &size), errors.Is(err, errHeaderSize), slices.ContainsFunc(headerSizeTexts, func(s string) bool { return strings.Contains(err.Error(), s) }):
		return HTTPResponseHeaderSectionSize
	case errors.As(err, &request), slices.ContainsFunc(badRequestTexts, func(s string) bool { return strings.HasPrefix(err.Error(), s) }):
		return HTTPRequestError
	}
	return HTTPProtocolError
}

// localAlert returns the TLS alert that our own side has sent to end the connection, if there was one.
func localAlert(err error) (tls.AlertError, bool) { return alertFrom(err, "local error") }

// alertOf returns the TLS alert that the peer has sent to end the connection, if there was one.
func alertOf(err error) (tls.AlertError, bool) { return alertFrom(err, "remote error") }

// alertFrom returns the TLS alert in err, if crypto/tls has marked it with mark.
func alertFrom(err error, mark string) (tls.AlertError, bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != mark {
		return 0, false
	}
	// The type of these alerts is not exported. It has the same texts as the exported one for QUIC.
	for n := range 256 {
		if alert := tls.AlertError(n); alert.Error() == op.Err.Error() {
			return alert, true
		}
	}
	return 0, true
}

func isAlert(err error) bool {
	_, ok := alertOf(err)
	return ok
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
