package proxy

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// log writes the one log line of a request. Its host is the key of the route, because a client can send any number of
// different hosts. It has no path, query, body or header field, because they may hold secrets.
func (h *Handler) log(ctx context.Context, r *Record) {
	if !h.config.Logger.Enabled(ctx, r.Level) {
		return
	}
	var backing [32]slog.Attr // most requests need no more
	attrs := append(backing[:0], slog.String("requestId", r.RequestID))
	if r.TraceID != "" {
		attrs = append(attrs, slog.String("traceId", r.TraceID))
	}
	if r.RouteKey != "" {
		attrs = append(attrs, slog.String("host", r.RouteKey))
	}
	if r.Route != nil && r.Route.Version != 0 {
		attrs = append(attrs, slog.Int64("route_version", r.Route.Version))
	}
	attrs = append(attrs, slog.String("method", bounded(r.Method, 20)), slog.Int("status", r.Status), slog.Int64("bytes", r.Bytes))
	attrs = appendOrigin(attrs, &r.Origin)
	if r.Route != nil {
		attrs = append(attrs, milliseconds("lookup_ms", r.Lookup))
	}
	attrs = append(attrs, milliseconds("total_ms", r.Total))
	if r.Err != nil {
		attrs = appendFailure(attrs, r)
	}
	// Logger.LogAttrs would look up the caller each time.
	line := slog.NewRecord(time.Now(), r.Level, "request", 0)
	line.AddAttrs(attrs...)
	h.config.Logger.Handler().Handle(ctx, line)
}

// appendOrigin adds the connection to the origin and the times of the exchange. If no connection was made, it
// adds the times alone.
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

// appendFailure adds the problem and its cause.
func appendFailure(attrs []slog.Attr, r *Record) []slog.Attr {
	attrs = append(attrs, slog.String("problem", r.Problem))
	if r.ErrorType != "" {
		attrs = append(attrs, slog.String("error_type", string(r.ErrorType)))
	}
	attrs = append(attrs, slog.String("error", r.ErrorText))
	if e, ok := errors.AsType[*sni.Error](r.Err); ok {
		if e.Address != "" && r.Origin.Address == "" {
			attrs = append(attrs, slog.String("origin", e.Address))
		}
		if e.Type == sni.TLSAlertReceived {
			attrs = append(attrs, slog.Int("tls_alert", int(e.Alert)))
		}
	}
	if c, ok := errors.AsType[*sni.CertificateError](r.Err); ok {
		attrs = append(attrs, slog.String("certificate_problem", string(c.Reason)))
		if c.Certificate != nil {
			attrs = append(attrs, slog.String("certificate_names", namesOf(c)), slog.Time("certificate_not_after", c.Certificate.NotAfter))
		}
	}
	return attrs
}

// namesOf lists up to three names of a certificate. It leaves out names that are not hostnames, because they may hold any
// text.
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

// milliseconds returns a duration as a number that log tools can compare, with microseconds as decimals.
func milliseconds(name string, d time.Duration) slog.Attr {
	return slog.Float64(name, float64(d.Microseconds())/1000)
}
