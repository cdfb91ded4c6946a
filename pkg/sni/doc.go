// Package sni sends HTTP requests to one host over connections that are dialled to another, with TLS that names and verifies
// the first. It is the client half of a reverse proxy for other people's hostnames, and useful without the proxy:
//
//	client := &http.Client{Transport: &sni.Transport{
//		Translate: sni.Static{"one.spec-trust.com": "one.lb.aws.amazon.com"},
//	}}
//	resp, err := client.Get("https://one.spec-trust.com/")
//
// The request above opens TCP to one.lb.aws.amazon.com:443. The TLS handshake sends the server name one.spec-trust.com, and
// the certificate has to be valid for one.spec-trust.com. The Host header stays one.spec-trust.com.
//
// If hosts come and go, a [TranslatorFunc] returns their [Target] for each request. A Target also has what only some hosts need:
// several addresses, roots of a private authority, pins, a client certificate, a server name or a Host that is not the
// requested one, HTTP/2, a bound of connections.
//
// # What is verified
//
// Every handshake is verified, also if it resumes a session: the chain ends in the roots of the Target (or else of the
// Transport, or else of the system); it is valid now, for servers, and for the server name; its signatures and keys cannot
// be forged (RSA has 2,048 bits or more, curves 256 or more, no SHA-1); and one of its keys is pinned, if the Target has
// pins. crypto/tls does most of this, with its defaults. Nothing turns any of it off.
//
// A server name is a hostname. An empty, malformed or numeric name is an error before anything is dialled. A bundle of roots
// without a certificate is an error too: it never means the system's roots, and never affects another Target. Revocation is
// not checked.
//
// A name belongs to the connection, and not only to the request. A request whose Host is not its URL's is refused
// ([ErrHostMismatch]), unless its Target says which Host to send.
//
// # What keys the pool
//
// A connection or a TLS session is reused only for requests whose scheme, port, server name and Target (addresses, roots,
// pins, the client certificate itself, minimum version, protocols) are equal. They are compared in full and not by a hash.
// Two hosts at one address never share a connection, even if one certificate covers both, unless their Targets set the same
// ServerName.
//
// A changed Target applies from the next request on. Requests that have begun finish on their connections, and the idle
// connections close at once.
//
// # HTTP/1.1, and HTTP/2 by choice
//
// A Target offers HTTP/1.1 alone unless its ALPN lists "h2". HTTP/1.1 is this module's own implementation. The goroutine
// that calls RoundTrip writes the request and reads the header of the response. The goroutine that reads the body reads it
// from the connection. Another goroutine runs only while the body of a request is sent, so that a response is seen that comes
// before the end of the body. An idle connection has no goroutine. Reading is strict: a response that RFC 9112 does not give
// exactly one meaning is an error, and so are two lengths, folded lines, control characters and names that are not tokens.
//
// Over HTTP/1.1 a connection has one request at a time, and strangers share nothing: if a server ends a connection, it ends
// that request alone.
//
// Over HTTP/2 the requests for a Target share connections, and a server that ends a connection ends all requests on it.
// net/http implements HTTP/2. This package chooses the connection, by rules that keep requests apart:
//
//   - A request has a connection of its own if its header is larger than 4 KiB, method and target included, if it has more
//     than 64 fields or cookies, if it has trailers or Expect, or if its body is larger than 32 KiB or of unknown length. Such
//     connections carry one request at a time.
//   - Any other body is read whole before it is sent.
//   - Another connection is made if ten requests wait for their responses on each connection, or if a server has not taken a
//     piece of somebody's body for 50 milliseconds.
//   - A canceled request is not reset while other requests are on its connection. The connection gets no further request if
//     there may be another one, and is closed when the others have ended. After a 421, or after twenty resets, it gets no
//     further request at all.
//   - A connection has at most 64 requests, and at most 256 KiB of each response are buffered.
//   - Pieces of a large body are gathered for 5 milliseconds, so that many small ones are one frame.
//   - The first request is alone on its connection until the server has said how many requests it takes at once, or until a
//     moment has passed.
//
// If a bound of connections is reached, the third of these rules does not hold: requests then share the connections that
// there are. They do not wait behind a request that needs a connection of its own. A server that does not like a small
// request can still end those of others on the same connection.
//
// # How many connections
//
// [Target.MaxConns] and [Transport.MaxConnsPerTarget] bound the connections to a Target: those in use, idle ones, and those
// that are being made. If neither is set, there is no bound. Requests beyond the bound wait in order of arrival. The bound of
// the newest request holds also for those that wait. A request fails with [ErrConnLimit] if no connection became free within
// [Transport.DialTimeout], counted from when it began to look for one. A connection that was switched to another protocol,
// such as a WebSocket's, counts until it is closed.
//
// [Transport.MaxIdleConns] and [Transport.MaxIdleConnsPerTarget] bound the idle connections. If the process runs out of file
// descriptors, idle connections of any Target are closed first. If that does not help, the request fails with
// [ErrNoDescriptors].
//
// # How dead connections are found
//
// Before a request goes out on an idle HTTP/1.1 connection, the socket is read without waiting. The end of the stream, a
// reset, a TLS alert, and bytes that nobody asked for all mean that it is dead. So a process that was frozen knows before it
// sends. One timer for all connections does the same every five seconds, so that connections that an origin has closed do not
// use file descriptors.
//
// If a path drops packets silently, the kernel tells: [Transport.AckTimeout] bounds for how long what was sent may stay
// unacknowledged. An origin that is only slow has acknowledged the request, and may take as long as
// [Transport.ResponseHeaderTimeout] allows. No HTTP/2 PING has to be
// answered unless [Transport.PingTimeout] is set.
//
// # What is dialled
//
// The addresses of a Target are tried in order, within one time for all of them ([Transport.DialTimeout]). If the name of an
// address is not found, or if the address refuses, hangs, or breaks off the handshake, the next one is tried, and this one
// comes last for a while. If an address answers with a certificate that does not verify, the request fails: people should
// learn who answers there. IPv6 and IPv4 addresses of one name race, as net.Dialer does it. A handshake that failed is not
// tried again for a second: requests for the same Target have the same error ([Transport.RememberFailure]).
//
// Every IP address is checked after DNS, immediately before it is dialled. Loopback, private, link-local, carrier-grade NAT,
// metadata and other special-purpose networks are refused, unless [Transport.AllowCIDRs] names them. HTTP_PROXY and similar
// variables are ignored: a proxy would choose the address instead.
//
// # What is sent twice
//
// The comment of [Transport] has the rules. A safe request is sent once more, on a new connection, if its connection was dead,
// if an HTTP/2 server ended it by RST_STREAM or GOAWAY or broke the protocol before a response began, or if the response was
// 421. A request that is not safe is sent once more only if it was certainly not processed. To avoid losing such a request, it
// goes out on a connection that the origin has just answered on, or else on a new one. All ages are by the wall clock: a
// process that was frozen, as Lambda's are between invocations, finds its connections as old as they are.
//
// # Errors and observation
//
// Every error is an *[Error] with its type in RFC 9209 and its cause. A fault of a certificate is a *[CertificateError], with
// a reason and the names that the certificate is for. A request that an HTTP/2 server ended has a *[ResetError].
// [Error.Unprocessed] says whether the request can be sent again whatever it asks for. Over HTTP/1.1 no error quotes what an
// origin sent instead of a response.
//
// [Transport.Observe] gets, for each request, the origin, the connection, how many times the request was sent, and where its
// time went. Hooks of net/http/httptrace work too, except GetConn and PutIdleConn.
//
// # Limits
//
// At most [Transport.MaxTargets] hosts are remembered. Connections in use are bounded only if the caller sets a bound. The
// header of a response is bounded ([Transport.MaxResponseHeaderBytes]), and so are interim responses, at 100 for each request.
// A body is not bounded.
//
// Redirects are the client's business. Bodies are passed on as they are: the transport does not ask for compression, and does
// not decompress. HTTP/3 and HTTP/2 without TLS are not supported.
package sni
