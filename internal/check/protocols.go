package check

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// The protocols that a route may list, with their names in ALPN (RFC 7301 section 6).
const (
	alpnHTTP1 = "http/1.1"
	alpnHTTP2 = "h2"
)

// noApplicationProtocol is the alert of RFC 7301 section 3.2.
const noApplicationProtocol tls.AlertError = 120

// speaksHTTP2 returns whether the origin agrees to HTTP/2, or nil if that is not known. It is called after a response. It makes another
// handshake if the first handshake does not tell.
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

// mayLackProtocol reports whether the request may have failed because the origin supports no protocol that it was offered. Some servers
// send an alert. Others complete the handshake without a protocol, which means HTTP/1.1 to a client, and then use HTTP/2 anyway
// or close the connection.
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
	case sni.TLSProtocolError: // pkg/sni refuses an origin without ALPN so
		return !slices.Contains(f.offered, alpnHTTP1)
	}
	return false
}

// speaksInstead returns the protocol that was not offered if the origin supports it, and "" otherwise. It makes another handshake to find
// out.
func (f *facts) speaksInstead(ctx context.Context) string {
	other := f.notOffered()
	if f.name == "" || other == "" {
		return ""
	}
	agreed, ok := f.agree(ctx, other)
	if ok && (agreed == other || agreed == "" && other == alpnHTTP1) { // an origin without ALPN uses HTTP/1.1
		return other
	}
	return ""
}

// notOffered returns the protocol that was not offered, or "" if both were offered.
func (f *facts) notOffered() string {
	for _, p := range []string{alpnHTTP1, alpnHTTP2} {
		if !slices.Contains(f.offered, p) {
			return p
		}
	}
	return ""
}

// agree makes another handshake, verified as the first one and without a request. It returns the protocol that the origin agrees to, or
// "" if it agrees to none of them. It returns false if the handshake fails.
func (f *facts) agree(ctx context.Context, protocols ...string) (agreed string, ok bool) {
	another := f.again(func(t *sni.Target) { t.ALPN = protocols })
	another.shake(ctx)
	return another.state.NegotiatedProtocol, another.shaken
}

// answersUnagreed reports whether the origin answers in HTTP/2 without agreeing to it in the handshake.
func answersUnagreed(f *facts) bool {
	if !errors.Is(f.err, sni.ErrHTTP2Only) {
		return false
	}
	return f.name == "" || f.shaken && f.state.NegotiatedProtocol == "" && f.instead == ""
}
