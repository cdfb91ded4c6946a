package check

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// tryAgain makes a second try, under the same bounds, if the first leaves open which of two causes it was.
func (f *facts) tryAgain(ctx context.Context) {
	switch {
	case f.err == nil && mayRefuseNames(f):
		f.second = f.try(ctx, func(t *sni.Target) { t.HostHeader = f.name })
	case f.err == nil:
	case cutShort(f) && !f.asked:
		f.unnamed = f.shakesUnnamed(ctx)
	case refusesProtocols(f):
		if other := f.notOffered(); other != "" {
			f.second = f.try(ctx, func(t *sni.Target) { t.ALPN = []string{other} })
		}
	}
}

// try sends the request once more, to a Target that is another in one thing.
func (f *facts) try(ctx context.Context, change func(*sni.Target)) *facts {
	second := &facts{checker: f.checker, host: f.host, name: f.name, route: f.route, origin: f.origin, ip: f.ip, port: f.port, now: f.now, change: change}
	second.ask(ctx)
	return second
}

// protocols are all that a request may offer to an origin.
var protocols = []string{"http/1.1", "h2"}

// notOffered returns the protocol that was not offered, and "" if both were.
func (f *facts) notOffered() string {
	i := slices.IndexFunc(protocols, func(p string) bool { return !slices.Contains(f.offered, p) })
	if i < 0 {
		return ""
	}
	return protocols[i]
}

// refusesProtocols reports whether the origin has taken none of the protocols that it was offered.
func refusesProtocols(f *facts) bool {
	return isAlert(noApplicationProtocol)(f) || errors.Is(f.err, sni.ErrHTTP2Only)
}

// speaksOther reports whether the second try has agreed on the protocol that was not offered.
func (f *facts) speaksOther() bool {
	return f.second != nil && f.second.shaken && f.second.state.NegotiatedProtocol == f.notOffered()
}

// cutShort reports whether the origin hung up during the handshake.
func cutShort(f *facts) bool {
	return f.err.Type == sni.ConnectionTerminated && f.name != "" && !f.shaken
}

// shakesUnnamed reports whether the address, which was dialled already, answers a handshake in TLS that has no
// server name: by a certificate or by an alert. Nothing is sent over the connection.
func (f *facts) shakesUnnamed(ctx context.Context) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(f.ip.String(), f.port))
	if err != nil {
		return false
	}
	defer conn.Close()
	// An IP address is verified, and not sent (RFC 6066 section 3).
	err = tls.Client(conn, &tls.Config{ServerName: f.ip.String(), RootCAs: f.checker.RootCAs, MinVersion: tls.VersionTLS12, NextProtos: f.offered}).HandshakeContext(ctx)
	if err == nil {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" // crypto/tls marks alerts of the other side so
}
