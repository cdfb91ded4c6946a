package sni

import "slices"

// Clone returns a Transport with the same settings, and with connections of its own.
func (t *Transport) Clone() *Transport {
	return &Transport{
		Translate:              t.Translate,
		ForceHTTPS:             t.ForceHTTPS,
		RootCAs:                t.RootCAs,
		ClientCertificates:     t.ClientCertificates,
		AllowCIDRs:             slices.Clone(t.AllowCIDRs),
		Resolver:               t.Resolver,
		DialTimeout:            t.DialTimeout,
		ConnectTimeout:         t.ConnectTimeout,
		HandshakeTimeout:       t.HandshakeTimeout,
		AvoidFailed:            t.AvoidFailed,
		IdleConnTimeout:        t.IdleConnTimeout,
		UnsafeReuse:            t.UnsafeReuse,
		ResponseHeaderTimeout:  t.ResponseHeaderTimeout,
		MaxResponseHeaderBytes: t.MaxResponseHeaderBytes,
		AckTimeout:             t.AckTimeout,
		PingTimeout:            t.PingTimeout,
		RememberFailure:        t.RememberFailure,
		MaxIdleConns:           t.MaxIdleConns,
		MaxIdleConnsPerTarget:  t.MaxIdleConnsPerTarget,
		MaxConnsPerTarget:      t.MaxConnsPerTarget,
		MaxTargets:             t.MaxTargets,
		Observe:                t.Observe,
	}
}
