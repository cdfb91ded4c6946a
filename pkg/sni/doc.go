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
// If hosts come and go, a [Func] looks their [Target] up for each request. A Target also
// has what only some hosts need: several addresses, roots of a private authority, pins, a client
// certificate, a server name or a Host that is not the requested one, HTTP/2, a bound of connections.
//
// # What is verified
//
// Every handshake, a resumed one too: that the chain ends in the roots of the Target (of the
// Transport, of the system), that it is valid now, meant for servers, and for the server name;
// that its signatures and keys are not of a kind that can be forged (RSA below 2,048 bits, curves
// below 256, SHA-1); and that one of its keys is pinned, if the Target has pins. crypto/tls does
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
// connection, even if one certificate covers both, unless their Targets name one ServerName
// for both.
//
// A changed Target holds from the next request on. Requests under way finish on their
// connections, the idle ones close at once.
//
// # HTTP/1.1, and HTTP/2 by choice
//
// A Target offers HTTP/1.1 alone unless its ALPN lists "h2". HTTP/1.1 is an exchange of this
// module's own. The goroutine that calls RoundTrip writes the request and reads the header of the
// answer; the goroutine that reads the body reads it from the connection. Another goroutine runs only
// while the body of a request is sent, so that an answer is seen that comes before the body's end. An idle
// connection has no goroutine. Reading is strict: an answer that has no one meaning by RFC 9112 is an
// error, and so are two lengths, folded lines, control characters and names that are no tokens.
//
// Over HTTP/1.1 a connection has one request at a time, and strangers share nothing: what a server
// does to a connection, it does to that request alone.
//
// Over HTTP/2 the requests for a Target share connections, and a server that ends one ends all requests
// on it. net/http speaks HTTP/2; this package chooses the connection by rules that keep
// requests apart:
//
//   - A request has its connection to itself if its header, method and target included, is larger than
//     4 KiB, if it has more than 64 fields or cookies, trailers, or Expect, if its body is larger than 32 KiB,
//     or if nobody knows how long its body is. Such connections carry one request at a time.
//   - Any other body is read whole before it is sent.
//   - Another connection is made if ten requests wait for their answers on each of those that there are, or if
//     a server has not taken a piece of somebody's body for 50 milliseconds.
//   - A request that is given up is not reset as long as others are on its connection. That gets no further
//     request as long as there may be another connection, and is closed when the others have ended. After a
//     421, and after twenty resets, it gets none.
//   - At most 64 requests are on a connection, and at most 256 KiB of each answer are kept unread.
//   - Pieces of a large body are gathered for 5 milliseconds, so that many small ones are one frame.
//   - The first request is alone on its connection until the server has said how many requests it takes
//     at once, or a moment has passed.
//
// If a bound of connections is reached, the third of these rules gives way: requests then share
// what there is. They do not wait behind one that needs a connection to itself. A server that is angry with a small request still costs the others on its
// connection theirs.
//
// # How many connections
//
// [Target.MaxConns] and [Transport.MaxConnsPerTarget] bound the connections to a Target: those in use, idle ones, and
// those that are being made. If neither is set, there is no bound. A request beyond the bound waits in order of
// arrival. What the newest request says of the bound, holds for those that wait. A request fails with [ErrConnLimit] if none became free within [Transport.DialTimeout], counted from when it
// began to look for a connection. A connection that was switched to another protocol, such as a WebSocket's, counts until it is closed.
//
// [Transport.MaxIdleConns] and [Transport.MaxIdleConnsPerTarget] bound the idle connections. If the process runs
// out of file descriptors, idle connections of any Target are closed first; if that does not help, the
// request fails with [ErrNoDescriptors].
//
// # How a dead connection is told
//
// The socket of an idle HTTP/1.1 connection is asked before a request goes out on it, by a read that does not
// wait: the end of the stream, a reset, a TLS alert, and bytes that nobody asked for all count. So a
// process that was frozen knows before it sends. One timer for all connections asks the idle ones
// every five seconds too, so that those that an origin has ended keep no file descriptors.
//
// A path that drops packets silently is told by the kernel: [Transport.AckTimeout] bounds for how long what was
// sent may stay unacknowledged. An origin that thinks has acknowledged the request, and may think for as long as
// [Transport.ResponseHeaderTimeout] allows. Over HTTP/2 nobody asks by PING unless
// [Transport.PingTimeout] says so.
//
// # What is dialled, and what is not
//
// The addresses of a Target are tried in order, within one time for all of them
// ([Transport.DialTimeout]). One whose name is not found, that refuses, hangs, or breaks off the
// handshake gives way to the next, and is tried last for a while. One that answers with a certificate
// that does not verify ends the request: people should know who that is, and not go around it. Within one
// name, IPv6 and IPv4 race as usual. A handshake that failed is not tried again for a second: requests for
// the same Target have its error ([Transport.RememberFailure]).
//
// Every IP address is checked after DNS, as it is about to be dialled: loopback, private,
// link-local, carrier-grade NAT, metadata and other special-purpose networks are refused,
// unless [Transport.AllowCIDRs] names them. HTTP_PROXY and its like are ignored, since a proxy
// would choose the address in our place.
//
// # What is sent twice
//
// [Transport] says it. A safe request is repeated, once and on a new connection, if its connection turned out to be
// dead, if an HTTP/2 server ended it by RST_STREAM or GOAWAY, or broke the protocol on its connection, before an answer began, or if
// it was answered with 421. A request that is not safe is never repeated, unless it was certainly not processed. So that it is not lost
// either, it goes out on a connection that the origin has just answered on, or else on a new one. All ages are by the
// wall clock: a process that was frozen, as Lambda's are between invocations, finds its connections as old as they are.
//
// # What goes wrong, and how to see what happens
//
// Every error is an *[Error] with the type that RFC 9209 has for it, and its cause is in it. A fault of
// a certificate is a *[CertificateError], with a reason and the names that the certificate is for. A request that
// an HTTP/2 server ended has a *[ResetError]. [Error.Unprocessed] says whether the request can be
// sent again whatever it asks for. Over HTTP/1.1 no error quotes what an origin sent in place of an answer.
//
// [Transport.Observe] tells of each request whom it went to, over which
// connection, how many times it was sent, and where its time went. Hooks of net/http/httptrace work as well,
// except GetConn and PutIdleConn.
//
// # Limits
//
// At most [Transport.MaxTargets] hosts are remembered. Connections in use are bounded only if the caller sets a
// bound. The header of an answer is bounded ([Transport.MaxResponseHeaderBytes]), and so are interim answers, at 100
// for each request; a body is not.
//
// Redirects are the client's business. Bodies are passed on as they are: the transport asks
// for no compression and undoes none. HTTP/3 and HTTP/2 without TLS are not spoken.
package sni
