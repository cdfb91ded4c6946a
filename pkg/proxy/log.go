package proxy

import (
	"context"
	"crypto/tls"
	"encoding/hex"
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

// statusClientGone is how logs name that there was nobody to answer, after nginx.
const statusClientGone = 499

// settle finds out how a request has ended whose handler did not say.
func (x *exchange) settle(ctx context.Context) {
	switch {
	case x.failed != nil:
	case x.complete && x.watch.expired() != nil: // a WebSocket, or an answer of which the end is cut off
		x.fail(x.watch.expired())
	case x.complete:
		if x.status == 0 {
			x.status = http.StatusOK // as servers do for handlers that write nothing
		}
	default: // a panic, by which handlers say that what was written is not all
		x.fail(x.abortCause(ctx))
	}
}

func (x *exchange) abortCause(ctx context.Context) error {
	expired, body := x.watch.expired(), x.brokenBody(ctx)
	switch {
	case expired != nil:
		return expired
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ErrTimeout
	case body != nil:
		return body
	case ctx.Err() != nil:
		return ErrClientGone
	case x.readErr != nil:
		return fmt.Errorf("%w: %w", ErrIncompleteResponse, x.readErr)
	case x.writeErr != nil:
		return fmt.Errorf("%w: %w", ErrClientGone, x.writeErr)
	}
	return errors.New("proxy: the handler panicked")
}

// fail notes what the request has failed for.
func (x *exchange) fail(err error) answer {
	a := answerTo(x.host, err)
	x.failed, x.err = a.problem, err
	if a.status == 0 && x.status == 0 {
		x.status = statusClientGone
	}
	return a
}

// log writes the one line of a request. The host in it is the key of the route: what was asked for
// is a stranger's text, and endless in number. Nor has it paths, queries, bodies, headers.
func (h *Handler) log(r *http.Request, x *exchange) {
	x.settle(r.Context())
	level := slog.LevelInfo
	if x.failed != nil {
		level = x.failed.level
	}
	if !h.config.Logger.Enabled(r.Context(), level) {
		return
	}
	var backing [32]slog.Attr // most requests need no more
	attrs := append(backing[:0], slog.String("requestId", x.requestID))
	if x.traceID != "" {
		attrs = append(attrs, slog.String("traceId", x.traceID))
	}
	if key := x.routeKey(); key != "" {
		attrs = append(attrs, slog.String("host", key))
	}
	if x.route != nil && x.route.Version != 0 {
		attrs = append(attrs, slog.Int64("route_version", x.route.Version))
	}
	x.mu.Lock()
	sent := x.bytes
	x.mu.Unlock()
	attrs = append(attrs, slog.String("method", bounded(r.Method, 20)), slog.Int("status", x.status), slog.Int64("bytes", sent))
	attrs = appendOrigin(attrs, &x.origin)
	if x.route != nil {
		attrs = append(attrs, milliseconds("lookup_ms", x.lookup))
	}
	attrs = append(attrs, milliseconds("total_ms", time.Since(x.began)))
	if x.failed != nil {
		attrs = appendFailure(attrs, x)
	}
	// Not by the Logger, which would look up this very line for each request.
	record := slog.NewRecord(time.Now(), level, "request", 0)
	record.AddAttrs(attrs...)
	h.config.Logger.Handler().Handle(r.Context(), record)
}

// routeKey is the key of the route that was found, or was found to be of no use.
func (x *exchange) routeKey() string {
	if x.route != nil {
		return x.route.Host
	}
	if invalid, ok := errors.AsType[*origin.InvalidRouteError](x.err); ok {
		return invalid.Host
	}
	return ""
}

// appendOrigin adds what the transport has told, as far as it came. Of a connection that did not come
// about, that is where the time went.
func appendOrigin(attrs []slog.Attr, o *sni.Exchange) []slog.Attr {
	if o.Address != "" {
		attrs = appendConnection(attrs, o)
	}
	for _, part := range []struct {
		name string
		took time.Duration
	}{{"dns_ms", o.DNS}, {"connect_ms", o.Connect}, {"tls_ms", o.Handshake}, {"first_byte_ms", o.Answer}} {
		if part.took > 0 {
			attrs = append(attrs, milliseconds(part.name, part.took))
		}
	}
	return attrs
}

func appendConnection(attrs []slog.Attr, o *sni.Exchange) []slog.Attr {
	attrs = append(attrs, slog.String("origin", o.Address), slog.String("origin_ip", o.RemoteAddr.Addr().String()),
		slog.String("protocol", o.Protocol))
	if o.TLSVersion != 0 {
		attrs = append(attrs, slog.String("sni", o.ServerName),
			slog.String("tls_version", strings.TrimPrefix(tls.VersionName(o.TLSVersion), "TLS ")),
			slog.Bool("resumed", o.Resumed),
			slog.Int("certificate_days_left", int(time.Until(o.LeafNotAfter)/(24*time.Hour))))
		if !o.Reused {
			attrs = append(attrs, slog.String("certificate_sha256", hex.EncodeToString(o.LeafSHA256[:])))
		}
	}
	attrs = append(attrs, slog.Bool("reused", o.Reused))
	if o.Sent > 1 {
		attrs = append(attrs, slog.Int("sent", o.Sent))
	}
	return attrs
}

// appendFailure adds what went wrong.
func appendFailure(attrs []slog.Attr, x *exchange) []slog.Attr {
	attrs = append(attrs, slog.String("problem", x.failed.name))
	if x.failed.errorType != "" {
		attrs = append(attrs, slog.String("error_type", string(x.failed.errorType)))
	}
	attrs = append(attrs, slog.String("error", bounded(x.cleanError(), 2000)))
	if e, ok := errors.AsType[*sni.Error](x.err); ok {
		if e.Address != "" && x.origin.Address == "" {
			attrs = append(attrs, slog.String("origin", e.Address))
		}
		if e.Type == sni.TLSAlertReceived {
			attrs = append(attrs, slog.Int("tls_alert", int(e.Alert)))
		}
	}
	if c, ok := errors.AsType[*sni.CertificateError](x.err); ok {
		attrs = append(attrs, slog.String("certificate_problem", string(c.Reason)))
		if c.Certificate != nil {
			attrs = append(attrs, slog.String("certificate_names", namesOf(c)), slog.Time("certificate_not_after", c.Certificate.NotAfter))
		}
	}
	return attrs
}

// cleanError is the cause without what the origin sent, which net/http quotes if it cannot read it: a line of
// a header may be a cookie, and what is not HTTP somebody's data.
func (x *exchange) cleanError() string {
	whole, read := x.err.Error(), x.readErr
	if e, ok := errors.AsType[*sni.Error](x.err); ok {
		if e.Type != sni.HTTPProtocolError && read == nil {
			return whole
		}
		read = e.Err
	}
	if read == nil || as[*sni.ResetError](read) { // the latter is meant to be read
		return whole
	}
	detail := read.Error()
	if before, _, quoted := strings.Cut(detail, `"`); quoted {
		return strings.Replace(whole, detail, before+"(left out)", 1)
	}
	return whole
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

// milliseconds is a duration as a number that log tools compare, to the microsecond.
func milliseconds(name string, d time.Duration) slog.Attr {
	return slog.Float64(name, float64(d.Microseconds())/1000)
}

// bounded keeps somebody's text from filling the log.
func bounded(s string, most int) string {
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
