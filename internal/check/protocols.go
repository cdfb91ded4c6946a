package check

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// The names of ALPN (RFC 7301 section 6) that a route may list.
const (
	alpnHTTP1 = "http/1.1"
	alpnHTTP2 = "h2"
)

// noApplicationProtocol is the alert of RFC 7301 section 3.2.
const noApplicationProtocol tls.AlertError = 120

// speaksHTTP2 returns whether the origin agrees to HTTP/2, after it has answered; nil if that is not known.
// It shakes hands once more if the first handshake does not tell.
func (f *facts) speaksHTTP2(ctx context.Context) *bool {
	switch {
	case f.name == "":
		return nil
	case f.state.NegotiatedProtocol == alpnHTTP2:
		return new(true)
	case f.offered[0] == alpnHTTP2:
		return new(false)
	}
	agreed, ok := f.agree(ctx, alpnHTTP2, alpnHTTP1)
	if !ok {
		return nil
	}
	return new(agreed == alpnHTTP2)
}

// mayLackProtocol reports whether the request may have failed because the origin speaks no protocol that it
// was offered. Some servers say so by an alert. Others end the handshake without a protocol, by which a
// client expects HTTP/1.1, and then speak HTTP/2 all the same or hang up.
func mayLackProtocol(f *facts) bool {
	if isAlert(noApplicationProtocol)(f) || errors.Is(f.err, sni.ErrHTTP2Only) {
		return true
	}
	if !f.state.HandshakeComplete || f.state.NegotiatedProtocol != "" {
		return false
	}
	switch f.err.Type {
	case sni.ConnectionTerminated, sni.HTTPProtocolError:
		return true
	case sni.TLSProtocolError: // as pkg/sni refuses an origin without ALPN
		return !slices.Contains(f.offered, alpnHTTP1)
	}
	return false
}

// speaksInstead returns the protocol that was not offered, if the origin speaks it, and else "". It shakes
// hands once more to find out.
func (f *facts) speaksInstead(ctx context.Context) string {
	other := f.notOffered()
	if f.name == "" || other == "" {
		return ""
	}
	agreed, ok := f.agree(ctx, other)
	if ok && (agreed == other || agreed == "" && other == alpnHTTP1) { // an origin without ALPN speaks HTTP/1.1
		return other
	}
	return ""
}

// notOffered returns the protocol that was not offered, and "" if both were.
func (f *facts) notOffered() string {
	for _, p := range []string{alpnHTTP1, alpnHTTP2} {
		if !slices.Contains(f.offered, p) {
			return p
		}
	}
	return ""
}

// agree shakes hands once more, verified as the first time and without a request, and returns which of these
// protocols the origin agrees to; "" if to none. It returns false if the handshake fails.
func (f *facts) agree(ctx context.Context, protocols ...string) (agreed string, ok bool) {
	another := f.again(func(t *sni.Target) { t.ALPN = protocols })
	another.shake(ctx)
	return another.state.NegotiatedProtocol, another.shaken
}

// answersUnagreed reports whether the origin answers in HTTP/2, and does not agree to it if it is offered.
func answersUnagreed(f *facts) bool {
	if !errors.Is(f.err, sni.ErrHTTP2Only) {
		return false
	}
	return f.name == "" || f.shaken && f.state.NegotiatedProtocol == "" && f.instead == ""
}
