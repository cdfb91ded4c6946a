package sni

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"slices"
	"time"
)

// handshake does the TLS handshake with the origin. timeout zero is no bound.
func (p *pool) handshake(ctx context.Context, raw net.Conn, timeout time.Duration) (*tls.Conn, *tls.ConnectionState, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	hooks := httptrace.ContextClientTrace(ctx)
	if hooks != nil && hooks.TLSHandshakeStart != nil {
		hooks.TLSHandshakeStart()
	}
	c := tls.Client(raw, p.tls)
	err := c.HandshakeContext(ctx)
	state := c.ConnectionState()
	if err == nil && state.NegotiatedProtocol == "" && !p.wantsHTTP1 {
		err = errors.New("the origin does not speak h2, the one protocol of the target")
	}
	if hooks != nil && hooks.TLSHandshakeDone != nil {
		hooks.TLSHandshakeDone(state, err)
	}
	return c, &state, err
}

// tlsConfig returns the configuration for handshakes with the target, and whether HTTP/1.1 is among the protocols.
func (t *Target) tlsConfig(serverName string, roots *x509.CertPool, clientCert *tls.Certificate) (config *tls.Config, http1 bool, err error) {
	config = &tls.Config{
		ServerName: serverName,
		RootCAs:    roots,
		// For this key alone. crypto/tls finds sessions by server name: one cache for all would resume a session under the
		// roots or with the client certificate of another Target.
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	if config.MinVersion, err = t.minVersion(); err != nil {
		return nil, false, err
	}
	if config.NextProtos, err = t.alpn(); err != nil {
		return nil, false, err
	}
	if t.Roots.own {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(t.Roots.pem)) {
			return nil, false, &TargetError{Field: "Roots", Reason: "hold no certificate"}
		}
	}
	if t.SPKIPins != nil && len(t.SPKIPins) == 0 {
		return nil, false, &TargetError{Field: "SPKIPins", Reason: "are empty; leave them nil if none are wanted"}
	}
	config.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if f, ok := asked.Context().Value(certificateRequestKey{}).(func(*tls.CertificateRequestInfo)); ok {
			f(asked)
		}
		if clientCert == nil {
			return new(tls.Certificate), nil // no certificate
		}
		// The authorities that the origin lists do not matter: somebody has configured this certificate for it.
		return clientCert, nil
	}
	v := verifier{roots: config.RootCAs, pins: slices.Clone(t.SPKIPins)}
	config.VerifyConnection = v.verify
	return config, slices.Contains(config.NextProtos, "http/1.1"), nil
}

// A verifier checks the keys in the chain, which crypto/tls does not. It runs in VerifyConnection, and so also for resumed
// handshakes, which send no certificate.
type verifier struct {
	roots *x509.CertPool // nil means the system's
	pins  [][32]byte
}

func (v *verifier) verify(cs tls.ConnectionState) error {
	leaf := cs.PeerCertificates[0]
	chains := cs.VerifiedChains
	if cs.DidResume {
		// The chain was verified when the session began. crypto/tls checks some of it again. This checks all of it, so that
		// nothing depends on the age of a session.
		intermediates := x509.NewCertPool()
		for _, c := range cs.PeerCertificates[1:] {
			intermediates.AddCert(c)
		}
		var err error
		if chains, err = leaf.Verify(x509.VerifyOptions{DNSName: cs.ServerName, Roots: v.roots, Intermediates: intermediates}); err != nil {
			return explain(cs.PeerCertificates, err)
		}
	}
	strong := slices.DeleteFunc(slices.Clone(chains), func(chain []*x509.Certificate) bool {
		return slices.ContainsFunc(chain, WeakPublicKey)
	})
	if len(strong) == 0 {
		return &CertificateError{WeakKey, leaf, errors.New("RSA needs 2,048 bits, a curve 256, in the certificate and its authorities")}
	}
	if len(v.pins) > 0 && !slices.ContainsFunc(strong, v.pinned) {
		return &CertificateError{PinMismatch, leaf, fmt.Errorf("none of the %d pins is that of a key in the verified chain", len(v.pins))}
	}
	return nil
}

func (v *verifier) pinned(chain []*x509.Certificate) bool {
	return slices.ContainsFunc(chain, func(c *x509.Certificate) bool {
		return slices.Contains(v.pins, sha256.Sum256(c.RawSubjectPublicKeyInfo))
	})
}

// WeakPublicKey reports whether the key of a certificate is too short to be accepted anywhere in a chain: RSA below 2,048
// bits, or a curve below 256. It is exported for tools that explain why a chain is refused.
func WeakPublicKey(c *x509.Certificate) bool {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() < 2048
	case *ecdsa.PublicKey:
		return key.Curve.Params().BitSize < 256
	}
	return false
}
