package sni

import (
	"crypto/tls"
	"strconv"
	"strings"
)

// key is all that decides whether two requests may share a connection or a TLS session, in
// comparable form. It is compared by ==, every byte of it: a hash that collides sends one
// customer's request down another's connection, as has happened to others.
type key struct {
	scheme     string
	serverName string
	port       string // of the URL, for addresses without one
	addresses  int    // their number; with none, the requested host is the first
	first      string // most targets have one, which then costs no allocation
	rest       string // the others
	roots      Roots
	pins       string // end to end: all have one length
	clientCert string // the reference and the chain
	minVersion uint16
	alpn       string
}

func (t *Target) key(host hostKey, serverName string, clientCert *tls.Certificate) key {
	k := key{
		scheme: host.scheme, serverName: serverName, port: host.port,
		addresses: len(t.Addresses), roots: t.Roots, minVersion: t.MinVersion, alpn: offer(t.ALPN),
	}
	if len(t.Addresses) == 0 {
		// Where the names to prove are equal, what is dialled has to tell two hosts apart.
		k.first = host.host
	} else {
		k.first, k.rest = t.Addresses[0], joined(t.Addresses[1:])
	}
	if len(t.SPKIPins) > 0 {
		var pins strings.Builder
		pins.Grow(len(t.SPKIPins) * len(t.SPKIPins[0]))
		for i := range t.SPKIPins {
			pins.Write(t.SPKIPins[i][:])
		}
		k.pins = pins.String()
	}
	if clientCert != nil {
		chain := make([]string, 1, len(clientCert.Certificate)+1)
		chain[0] = t.ClientCert
		for _, der := range clientCert.Certificate {
			chain = append(chain, string(der))
		}
		k.clientCert = joined(chain)
	}
	return k
}

// offer is what is offered, in comparable form. Most targets offer one thing, which costs no allocation.
func offer(alpn []string) string {
	if len(alpn) == 0 || len(alpn) == 1 && alpn[0] == "http/1.1" {
		return ""
	}
	return joined(alpn)
}

// joined makes one string of several. With its length before it, none can pretend to be two.
func joined(all []string) string {
	if len(all) == 0 {
		return ""
	}
	var b strings.Builder
	for _, s := range all {
		b.WriteString(strconv.Itoa(len(s)))
		b.WriteByte(':')
		b.WriteString(s)
	}
	return b.String()
}
