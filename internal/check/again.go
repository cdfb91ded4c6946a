package check

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// tryAgain makes further tries, with the same bounds, for questions that the first try leaves open: which of two causes a failure has,
// and whether the origin supports HTTP/2.
func (f *facts) tryAgain(ctx context.Context) {
	switch {
	case f.err == nil:
		if mayRefuseNames(f) {
			f.renamed = f.again(func(t *sni.Target) { t.HostHeader = f.name })
			f.renamed.ask(ctx)
		}
		f.http2 = f.speaksHTTP2(ctx)
	case cutShort(f) && !f.asked:
		f.unnamed = f.shakesUnnamed(ctx)
	case mayLackProtocol(f):
		f.instead = f.speaksInstead(ctx)
	}
}

// again returns the facts of another try, with one change of the Target.
func (f *facts) again(change func(*sni.Target)) *facts {
	return &facts{checker: f.checker, host: f.host, name: f.name, route: f.route, origin: f.origin, ip: f.ip, port: f.port, now: f.now, change: change}
}

// cutShort reports whether the origin closed the connection during the handshake.
func cutShort(f *facts) bool {
	return f.err.Type == sni.ConnectionTerminated && f.name != "" && !f.shaken
}

// shakesUnnamed reports whether the address answers a handshake without a server name, with a certificate or an alert. The address was
// dialled before. No request is sent on the connection.
func (f *facts) shakesUnnamed(ctx context.Context) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(f.ip.String(), f.port))
	if err != nil {
		return false
	}
	defer conn.Close()
	// TLS verifies an IP address, and does not send it (RFC 6066 section 3).
	err = tls.Client(conn, &tls.Config{ServerName: f.ip.String(), RootCAs: f.checker.RootCAs, MinVersion: tls.VersionTLS12, NextProtos: f.offered}).HandshakeContext(ctx)
	if err == nil {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" // an alert of the other side, in crypto/tls
}
