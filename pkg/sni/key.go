package sni

import (
	"crypto/tls"
	"strconv"
	"strings"
)

// key has everything that decides whether two requests may share a connection or a TLS session. It is compared by ==, in full.
// A hash that collides would send one customer's request over another's connection, as has happened to other proxies.
type key struct {
	scheme     string
	serverName string
	port       string // of the URL, for addresses without one
	addresses  int    // how many; if zero, first is the requested host
	first      string // most targets have only this one, which needs no allocation
	rest       string // the others
	roots      Roots
	pins       string // concatenated: all have the same length
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
		// The names to prove may be equal for two hosts. What is dialled then has to differ.
		k.first = host.host
	} else {
		k.first, k.rest = t.Addresses[0], lengthPrefixed(t.Addresses[1:])
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
		k.clientCert = lengthPrefixed(chain)
	}
	return k
}

// offer returns the protocols in comparable form. Most targets offer only HTTP/1.1, which needs no allocation.
func offer(alpn []string) string {
	if len(alpn) == 0 || len(alpn) == 1 && alpn[0] == "http/1.1" {
		return ""
	}
	return lengthPrefixed(alpn)
}

// lengthPrefixed joins strings, each after its length, so that different lists never give the same string.
func lengthPrefixed(all []string) string {
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
