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
// Where hosts come and go, a [Func] looks their [Target] up for each request. A Target also
// has what only some hosts need: several addresses, roots of a private authority, pins, a client
// certificate, a server name or a Host that is not the requested one.
//
// # What is verified
//
// Every handshake, a resumed one too: that the chain ends in the roots of the Target (of the
// Transport, of the system), that it is valid now, meant for servers, and for the server name;
// that its signatures and keys are not of a kind that can be forged (RSA below 2,048 bits, curves
// below 256, SHA-1); and that one of its keys is pinned, where the Target has pins. crypto/tls does
// the most of it, with its defaults. Nothing turns any of it off.
//
// A server name is a hostname. An empty, malformed or numeric one is an error before anything
// is dialled, and so is a bundle of roots without a certificate: it never means the system's
// roots, and never fails another Target. Revocation is not looked up.
//
// Names are in the connection, never only in the request. A request whose Host is not its URL's
// is refused ([ErrHostMismatch]), unless its Target says which Host to send.
//
// # What keys the pool
//
// A connection or a TLS session is reused only for requests whose scheme, port, server name and
// Target (addresses, roots, pins, the client certificate itself, minimum version, protocols)
// are equal, compared in full and not by a hash. Two hosts at one address never share a
// connection, even where one certificate covers both, unless their Targets name one ServerName
// for both.
//
// A changed Target holds from the next request on. Requests under way finish on their
// connections, the idle ones close at once.
//
// # What is dialled, and what is not
//
// The addresses of a Target are tried in order, within one time for all of them
// ([Transport.DialTimeout]). One whose name is not found, that refuses, hangs, or breaks off the
// handshake gives way to the next, and comes last for a while. One that answers with a certificate
// that does not verify ends the request: who that is should be known, not gone around. Within one
// name, IPv6 and IPv4 race as usual.
//
// Every IP address is checked after DNS, as it is about to be dialled: loopback, private,
// link-local, carrier-grade NAT, metadata and other special-purpose networks are refused,
// unless [Transport.AllowCIDRs] names them. HTTP_PROXY and its like are ignored, since a proxy
// would choose the address in our place.
//
// # What is sent twice
//
// [Transport] says it: a safe request, once, on a new connection, where the one of before turned
// out to be dead or was answered with 421. A request that is not safe never, unless it was
// certainly not processed; so that it is not lost either, it goes out on connections that the
// origin has just answered on, and else on new ones. All ages are by the wall clock: a process that
// was frozen, as Lambda's are between invocations, finds its connections as old as they are.
//
// # What goes wrong, and how to see what happens
//
// Every error is an *[Error] with the type that RFC 9209 has for it, and its cause is in it. What
// is wrong with a certificate is a *[CertificateError], with a reason and the names that the
// certificate is for. [Transport.Observe] tells of each request whom it went to, over which
// connection, and where its time went. Hooks of net/http/httptrace work as well, but
// for GetConn and PutIdleConn.
//
// # Limits
//
// At most [Transport.MaxTargets] hosts are remembered, and [Transport.MaxIdleConns] connections
// kept unused, however many come by. Connections in use are not bounded: each request over
// HTTP/1.1 has its own, and keeps it where the origin switches protocols (WebSockets). The header of
// an answer is bounded ([Transport.MaxResponseHeaderBytes]), its body is not.
//
// Redirects are the client's business. Bodies are passed on as they come: the transport asks
// for no compression and undoes none. HTTP/3 and HTTP/2 without TLS are not spoken.
package sni
