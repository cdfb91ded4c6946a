// Package sni sends HTTP requests to one host over connections that are dialled to
// another, with TLS that names and verifies the first. It is the client half of a
// reverse proxy for other people's hostnames, and useful without the proxy:
//
//	client := &http.Client{Transport: &sni.Transport{
//		Translate: sni.Static{"one.spec-trust.com": "one.lb.aws.amazon.com"},
//	}}
//	resp, err := client.Get("https://one.spec-trust.com/")
//
// The request above opens TCP to one.lb.aws.amazon.com:443. The TLS handshake sends
// the server name one.spec-trust.com, and the certificate has to be valid for
// one.spec-trust.com. The Host header stays one.spec-trust.com.
//
// # What is verified
//
// Certificates are verified by crypto/tls, with its defaults, for the server name of
// the handshake. Nothing in this package turns that off or adds to it. Names are in
// the connection, never only in the request: a server name is a hostname, and an empty
// or malformed one is an error before anything is dialled.
//
// # What keys the pool
//
// A connection is reused only for requests whose server name, scheme, port and whole
// [Target] are equal, compared field by field and not by a hash. Two hosts at one
// address never share a connection, even where one certificate covers both, unless their
// Targets name one ServerName for both. A changed Target takes effect with the next request.
//
// # What is not dialled
//
// Every address is checked after DNS, on the IP that is about to be dialled: loopback,
// private, link-local, carrier-grade NAT, metadata and other special-purpose networks are
// refused, unless [Transport.AllowCIDRs] names them. HTTP_PROXY and its like are ignored,
// since a proxy would choose the address in our place.
//
// # Limits
//
// Redirects are the client's business. Bodies are passed on as they come: the transport
// asks for no compression and undoes none.
package sni
