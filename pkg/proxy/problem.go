package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// A problem is a row of the table of errors. Clients see its title, happened and next, so these hold no address, no header and
// no text that somebody else sent. Placeholders in happened and next are {host} for the requested host, {limit} for a size
// or a number, and {code} for an HTTP/2 error code.
type problem struct {
	name      string           // must not change: it is in URIs, logs and docs/errors.md
	cause     func(error) bool // whether the row is for an error, if no earlier row is
	status    int              // 0 means that the client gets no error response
	errorType sni.ErrorType    // RFC 9209 section 2.3
	level     slog.Level
	retry     retry
	after     time.Duration // for Retry-After; 0 means no such field
	fix       party         // who can fix it

	title    string // a few words, without placeholders (RFC 9457 section 3.1.3)
	happened string
	next     string // what to do
	usually  string // the usual causes, for docs/errors.md
}

// retry says whether the same request can succeed later.
type retry string

// A row has retryIfSafe if the origin may have processed the request. The answer for an [sni.Error] that is Unprocessed has
// retryNow instead.
const (
	retryNow    retry = "yes, at once"
	retryIfSafe retry = "only if it is safe to repeat"
	retryLater  retry = "later"
	retryNever  retry = "no, until corrected"
)

// party says who can fix a problem.
type party string

const (
	byClient        party = "client"
	byProxy         party = "operator of the proxy"
	byOrigin        party = "operator of the origin"
	byOriginOrProxy party = "operator of the origin or of the proxy"
)

// The error types of RFC 9209 that pkg/sni does not return.
const (
	destinationNotFound    sni.ErrorType = "destination_not_found"
	connectionWriteTimeout sni.ErrorType = "connection_write_timeout"
	httpRequestDenied      sni.ErrorType = "http_request_denied"
	httpResponseIncomplete sni.ErrorType = "http_response_incomplete"
	httpResponseBodySize   sni.ErrorType = "http_response_body_size"
	httpUpgradeFailed      sni.ErrorType = sni.HTTPUpgradeFailed
	proxyLoopDetected      sni.ErrorType = "proxy_loop_detected"
)

// lastProblem is the row for causes without a row of their own.
const lastProblem = "proxy-fault"

// busyPause is the Retry-After of a busy proxy: long enough for requests to end, and short enough for people.
const busyPause = 5 * time.Second

// The texts of more than one row.
const (
	certificateOf  = "The origin of {host} presented a certificate "
	newCertificate = "Install a valid certificate for that name at the origin."
	retryThenLook  = "Try again if the request is safe to repeat. If the error stays, see the origin's log."
	seeLog         = "The proxy's log has the cause."
)

// problems is the table of errors. The first row that matches a cause is for it, so the proxy's and its server's own causes
// come before the transport's view of the same failure. The statuses are those that RFC 9209 recommends, or a comment says
// why not. docs/errors.md is generated from the table.
var problems = []problem{
	// The first row, because the error that it wraps may have a row of its own.
	{name: "hook-failed", cause: as[*HookError], status: 500, errorType: sni.ProxyInternalError, level: slog.LevelError, retry: retryNever, fix: byProxy,
		title: "Processing failed", happened: "The proxy could not process the request for {host} or the origin's response.", next: seeLog,
		usually: "A middleware or a hook that was added to the proxy returned an error. It may choose another status. If the response had begun to reach the client, it is cut short instead."},

	// Faults of the request.
	{name: "client-gone", cause: is(ErrClientGone), level: slog.LevelInfo, retry: retryIfSafe, fix: byClient,
		title: "The client is gone", happened: "The client left before the response was complete.", next: "Nothing. Only the log has this error.",
		usually: "Somebody closed the page or lost the network, or the client's timeout is shorter than the origin needs."},
	{name: "client-too-slow", cause: is(ErrSlowClient), level: slog.LevelInfo, retry: retryIfSafe, fix: byClient,
		title: "The client does not read", happened: "The client did not read the response.", next: "Nothing. Only the log has this error.",
		usually: "The client's network failed, or an attacker holds connections open."},
	{name: "websocket-idle", cause: is(ErrWebSocketIdle), level: slog.LevelInfo, retry: retryIfSafe, fix: byOriginOrProxy,
		title: "WebSocket idle", happened: "Neither side of a WebSocket sent anything for too long.", next: "Let one side send a ping more often, or give the route a longer idle_timeout.",
		usually: "The site sends little on its WebSockets, or the client was switched off."},
	{name: "bad-host", cause: as[*badHostError], status: 400, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryNever, fix: byClient,
		title: "Not a hostname", happened: "The request's Host is not a hostname.", next: "Send the name of the site as Host.",
		usually: "A scanner, or a client that puts a user name, a path or a list into Host. Behind a CDN: the header that `TRUSTED_HOST_HEADER` names came twice."},
	{name: "method-not-allowed", cause: is(ErrMethod), status: 405, errorType: httpRequestDenied, level: slog.LevelInfo, retry: retryNever, fix: byClient, // not 403: the client is not the reason
		title: "Method not forwarded", happened: "The proxy does not forward the request's method.", next: "Use a method that the Allow header lists.",
		usually: "A scanner that tries TRACE, or a client that takes this for a forward proxy and sends CONNECT."},
	{name: "url-too-long", cause: is(ErrURLTooLong), status: 414, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryNever, fix: byClient,
		title: "URL too long", happened: "The request's URL is longer than {limit}.", next: "Send long data in the body.",
		usually: "A form that is sent with GET, or redirects that add to the query each time."},
	{name: "request-header-too-large", cause: is(ErrHeaderTooLarge), status: 431, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryNever, fix: byClient,
		title: "Request headers too large", happened: "The request's headers are larger than {limit}.", next: "Send fewer or shorter headers. In a browser, delete the cookies of the site.",
		usually: "Too many cookies, perhaps from other sites under the same domain."},
	{name: "too-many-request-headers", cause: is(ErrTooManyFields), status: 431, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryNever, fix: byClient,
		title: "Too many request headers", happened: "The request has more than {limit} header fields.", next: "Send fewer header fields.",
		usually: "A faulty or hostile client. Ordinary clients send some dozens."},
	{name: "request-body-too-large", cause: either(is(ErrBodyTooLarge), as[*http.MaxBytesError]), status: 413, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryNever, fix: byClient,
		title: "Request body too large", happened: "The request's body is larger than {limit}.", next: "Send less in a request.",
		usually: "A large upload. Fronts have limits of their own, which cannot be raised."},
	{name: "request-body-timeout", cause: is(ErrSlowBody), status: 408, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryIfSafe, fix: byClient,
		title: "Request body too slow", happened: "The request's body did not arrive in time.", next: "Try again, over a faster network or with a smaller body.",
		usually: "A client on a slow network, a client that sends less than it announced, or an attacker that holds connections open."},
	{name: "upgrade-unsupported", cause: is(ErrUpgrade), status: 501, errorType: httpUpgradeFailed, level: slog.LevelInfo, retry: retryNever, fix: byProxy, // not 502: the request did not reach the origin
		title: "No protocol switch here", happened: "The request asks for another protocol, such as WebSocket, which this proxy cannot switch to.", next: "Use plain requests if the site supports them. The proxy's operator can run it where connections can switch protocols.",
		usually: "A site with WebSockets behind a front that forwards single requests, as all fronts of Lambda do."},
	{name: "upgrade-not-in-route", cause: is(ErrUpgradeProtocol), status: 501, errorType: httpUpgradeFailed, level: slog.LevelWarn, retry: retryNever, fix: byProxy, // not 502: the request did not reach the origin
		title: "No protocol switch on this route", happened: "The request asks for another protocol, such as WebSocket. The route for {host} allows only HTTP/2, which has no such switch here.", next: "Use plain requests if the site supports them. The proxy's operator can add http/1.1 to the route's protocols if the origin speaks it.",
		usually: "A route whose `protocols` has only `h2`, for a site with WebSockets. With `h2` and `http/1.1`, the proxy uses HTTP/1.1 for WebSockets, and HTTP/2 for other requests."},
	{name: "bad-request", cause: is(ErrBadRequest), status: 400, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryNever, fix: byClient,
		title: "Malformed request", happened: "The request is malformed.", next: "Check its method, path, headers and body encoding.",
		usually: "A body whose chunks are malformed, or a body that ended early."},

	{name: "busy", cause: is(ErrBusy), status: 503, errorType: httpRequestDenied, level: slog.LevelWarn, retry: retryLater, after: busyPause, fix: byProxy, // not 403: it is temporary
		title: "Too many requests at a time", happened: "The proxy has as many requests as it may have at a time, from all clients or from this client.", next: "Try again in some seconds, with fewer requests at a time. The proxy's operator can allow more (MAX_REQUESTS).",
		usually: "A client sends hundreds of requests at once or does not read its responses; origins have become slow, so that requests pile up; or the process may have only few file descriptors (`ulimit -n`). The log says how many requests each client has. Behind a balancer that is not in `TRUSTED_PROXIES`, all clients count as a single client."},

	// Faults of the proxy or its routes.
	{name: "unsupported-event", cause: is(ErrInvocation), status: 500, errorType: sni.ProxyConfigurationError, level: slog.LevelError, retry: retryNever, fix: byProxy,
		title: "Unsupported event", happened: "The proxy does not support the event that it was invoked with.", next: "The proxy's log says what its operator has to set.",
		usually: "An HTTP API whose integration has payload format version 1.0 instead of 2.0; VPC Lattice with event version V1; or an event that is not from an HTTP front: a test event of the console, a queue, a schedule."},
	{name: "unknown-host", cause: is(origin.ErrNotFound), status: 404, errorType: destinationNotFound, level: slog.LevelInfo, retry: retryNever, fix: byProxy, // not 500: the client chose the name
		title: "No such site", happened: "No site is served here for {host}.", next: "Check the name; if it is yours, add a route for it. A new route takes some seconds to be seen.",
		usually: "DNS points here, but there is no route yet, the route is switched off, or it has expired. Or a scanner tries names."},
	{name: "invalid-route", cause: as[*origin.InvalidRouteError], status: 500, errorType: sni.ProxyConfigurationError, level: slog.LevelError, retry: retryNever, fix: byProxy,
		title: "Invalid route", happened: "The route for {host} is not valid.", next: "The proxy's log names the attribute to correct.",
		usually: "An attribute is misspelt, has the wrong type or is out of range. Other hosts are not affected."},
	{name: "routes-unavailable", cause: as[*lookupError], status: 503, errorType: sni.ProxyInternalError, level: slog.LevelError, retry: retryLater, after: 5 * time.Second, fix: byProxy, // not 500: it is temporary
		title: "Routes unavailable", happened: "The proxy cannot read its routes at the moment.", next: "Try again in some seconds.",
		usually: "The table is throttled, deleted or in another Region, the proxy may not read it, or another server responds in its place. Hosts that were requested before keep their last routes."},
	{name: "loop", cause: is(ErrLoop), status: 502, errorType: proxyLoopDetected, level: slog.LevelError, retry: retryNever, fix: byProxy,
		title: "Loop", happened: "The request for {host} came back to the proxy that had sent it.", next: "The proxy's operator has to give the route an origin that does not lead back to the proxy.",
		usually: "The origin of the route is the public name of the site, and DNS points that name at the proxy."},

	// Faults of the origin that the proxy or its server finds.
	{name: "wrong-upgrade", cause: either(is(ErrUpgradeMismatch), transport(sni.HTTPUpgradeFailed)), status: 502, errorType: httpUpgradeFailed, level: slog.LevelWarn, retry: retryNever, fix: byOrigin,
		title: "Wrong protocol switch", happened: "The origin of {host} switched to another protocol than the client asked for.", next: "Check the origin's responses to requests with Upgrade.",
		usually: "A server or proxy at the origin that responds to every request with 101, or always with the same protocol."},
	{name: "incomplete-response", cause: is(ErrIncompleteResponse), status: 502, errorType: httpResponseIncomplete, level: slog.LevelWarn, retry: retryIfSafe, fix: byOrigin,
		title: "Incomplete response", happened: "The origin of {host} ended its response before it was complete.", next: retryThenLook,
		usually: "The origin crashed or was restarted during its response, or sent less than its Content-Length says. If the response had begun to reach the client, it is cut short instead."},
	{name: "response-too-large", cause: is(ErrResponseTooLarge), status: 502, errorType: httpResponseBodySize, level: slog.LevelWarn, retry: retryNever, fix: byProxy,
		title: "Response too large", happened: "The response of the origin of {host} is larger than {limit}, and this front cannot stream it.", next: "Ask for less at a time, for example with a Range header. The proxy's operator can choose a front that streams, and RESPONSE_MODE=stream.",
		usually: "A download through a front that does not stream. Its limit is 6 MB with encoding, or 1 MB behind a load balancer."},
	{name: "response-header-too-large", cause: either(is(ErrResponseHeaderTooLarge), transport(sni.HTTPResponseHeaderSectionSize)), status: 502, errorType: sni.HTTPResponseHeaderSectionSize, level: slog.LevelWarn, retry: retryNever, fix: byOrigin,
		title: "Response headers too large", happened: "The response of the origin of {host} has too many headers, or headers that are too long.", next: "Check which headers the origin sends, first its cookies.",
		usually: "Many or large Set-Cookie headers, or a long Content-Security-Policy. Fronts accept less than origins may send."},
	{name: "origin-stalled", cause: is(ErrResponseStalled), status: 504, errorType: sni.HTTPResponseTimeout, level: slog.LevelWarn, retry: retryIfSafe, fix: byOrigin,
		title: "Response stalled", happened: "The origin of {host} stopped in the middle of its response.", next: retryThenLook,
		usually: "The origin waits for something during its response. Usually only the log has this error: if the response had begun to reach the client, it is cut short instead."},
	{name: "upload-stalled", cause: is(ErrUploadStalled), status: 504, errorType: connectionWriteTimeout, level: slog.LevelWarn, retry: retryIfSafe, fix: byOrigin,
		title: "Upload stalled", happened: "The origin of {host} did not read the request's body in time.", next: retryThenLook,
		usually: "The origin is busy or stuck and does not read, or it reads uploads only after other work."},
	{name: "time-budget", cause: is(ErrTimeout), status: 504, errorType: sni.HTTPResponseTimeout, level: slog.LevelWarn, retry: retryLater, fix: byOriginOrProxy,
		title: "Took too long", happened: "The response of the origin of {host} was not complete within the time that a request may take here.", next: "Try again if the request is safe to repeat, and ask for less at a time. If the error stays, check the load of the origin.",
		usually: "A slow origin behind a front with a fixed limit. If its quota was raised, set `FRONT_TIMEOUT`. Long responses need a front that streams."},

	// Faults of the origin that pkg/sni finds. Causes come before types, because several causes have the same type.
	{name: "origin-connection-limit", cause: either(is(sni.ErrConnLimit), transport(sni.ConnectionLimitReached)), status: 503, errorType: sni.ConnectionLimitReached, level: slog.LevelWarn, retry: retryLater, after: 2 * time.Second, fix: byOriginOrProxy,
		title: "All connections in use", happened: "All connections that may be open to the origin of {host} are in use, and none became free in time.", next: "Try again in some seconds. If the error stays, find out why the origin is slow. The proxy's operator can raise the route's max_connections.",
		usually: "A slow origin, more visitors than `max_connections` allows, or clients that do not read their responses. The request was not sent."},
	{name: "no-file-descriptors", cause: is(sni.ErrNoDescriptors), status: 503, errorType: sni.ProxyInternalError, level: slog.LevelError, retry: retryLater, after: 2 * time.Second, fix: byProxy, // not 500: it is temporary
		title: "Out of file descriptors", happened: "The proxy has no file descriptor left for a connection to the origin of {host}.", next: "Try again in some seconds. The proxy's operator can raise the limit of open files, or lower --max-requests.",
		usually: "More requests at a time than the limit of open files allows: each request may need a connection from its client and a connection to an origin (`ulimit -n`, systemd's `LimitNOFILE`). The request was not sent."},
	{name: "origin-renegotiates", cause: is(sni.ErrRenegotiation), status: 502, errorType: sni.TLSProtocolError, level: slog.LevelWarn, retry: retryNever, fix: byOrigin,
		title: "Origin asks to renegotiate TLS", happened: "The origin of {host} asked for TLS renegotiation, which the proxy does not support.", next: "Let the origin ask for the client certificate in the first handshake, for the whole site, or enable TLS 1.3.",
		usually: "A server such as IIS that asks for a client certificate only on some paths, after it has read the request, over TLS 1.2."},
	{name: "origin-http2-only", cause: is(sni.ErrHTTP2Only), status: 502, errorType: sni.HTTPProtocolError, level: slog.LevelWarn, retry: retryNever, fix: byProxy,
		title: "Origin speaks only HTTP/2", happened: "The origin of {host} speaks only HTTP/2, which its route does not list.", next: "The proxy's operator can add h2 to the route's protocols. The origin's operator can enable HTTP/1.1.",
		usually: "A gRPC server, or a load balancer's target group for HTTP/2 only. `protocols` is `[\"http/1.1\"]` by default."},
	{name: "origin-no-common-protocol", cause: alerted(noApplicationProtocol), status: 502, errorType: sni.TLSAlertReceived, level: slog.LevelWarn, retry: retryNever, fix: byOriginOrProxy,
		title: "No HTTP version in common", happened: "The origin of {host} accepts none of the HTTP versions that its route lists.", next: "The proxy's operator can list the origin's versions in the route's protocols, or correct the route's port.",
		usually: "A server that speaks only HTTP/2 while `protocols` is `[\"http/1.1\"]`, the default; a server without HTTP/2 while it is `[\"h2\"]`; or a port for another protocol."},
	{name: "origin-ping-timeout", cause: is(sni.ErrPingTimeout), status: 502, errorType: sni.ConnectionTerminated, level: slog.LevelWarn, retry: retryIfSafe, fix: byOriginOrProxy,
		title: "No response to a PING", happened: "The origin of {host} did not respond to an HTTP/2 PING in time, so the proxy closed the connection.", next: retryThenLook + " The proxy's operator can remove h2 from the route's protocols.",
		usually: "A network that silently dropped the connection, or a server that does nothing else while it works on a request, such as a Node program that computes. Only programs that set `PingTimeout` of the library have this error."},
	{name: "origin-reset", cause: as[*sni.ResetError], status: 502, errorType: sni.ConnectionTerminated, level: slog.LevelWarn, retry: retryIfSafe, fix: byOriginOrProxy,
		title: "Origin ended the request", happened: "The origin of {host} ended the request over HTTP/2 before it responded, with the error {code}.", next: "Try again if the request is safe to repeat. If the error stays, send smaller headers, or see the origin's log. The proxy's operator can remove h2 from the route's protocols.",
		usually: "`ENHANCE_YOUR_CALM`: the request's headers are larger than the origin accepts over HTTP/2 (nginx, HAProxy, Tomcat), its body came in many small pieces, or many clients canceled requests. `PROTOCOL_ERROR`: Tomcat refuses a Host that is not the server name. A GOAWAY ends the other requests of the connection too. The log has the text that the origin sent with the error."},
	{name: "unsendable-request", cause: transport(sni.HTTPRequestError), status: 400, errorType: sni.HTTPRequestError, level: slog.LevelWarn, retry: retryNever, fix: byClient,
		title: "Request cannot be forwarded", happened: "The request cannot be forwarded.", next: "Check its method, its path and its headers.",
		usually: "A request line with another host than the Host header, an invalid header, or more headers than the origin accepts."},
	{name: "unusable-route", cause: transport(sni.ProxyConfigurationError), status: 500, errorType: sni.ProxyConfigurationError, level: slog.LevelError, retry: retryNever, fix: byProxy,
		title: "Route cannot be used", happened: "The proxy cannot use the route for {host}.", next: seeLog,
		usually: "`http://` while `FORCE_HTTPS` is on, a `client_cert` that is not in `CLIENT_CERTS_DIR`, or a `ca_pem` without a certificate."},
	{name: "origin-dns-error", cause: transport(sni.DNSError), status: 502, errorType: sni.DNSError, level: slog.LevelWarn, retry: retryNever, fix: byOriginOrProxy,
		title: "Origin not found in DNS", happened: "DNS has no address for the origin of {host}.", next: "Check the route's origin, and the DNS of its name.",
		usually: "A typing error in `origin`, a deleted load balancer, or a private name that the proxy's network cannot resolve."},
	{name: "origin-dns-timeout", cause: transport(sni.DNSTimeout), status: 504, errorType: sni.DNSTimeout, level: slog.LevelWarn, retry: retryLater, fix: byOriginOrProxy,
		title: "DNS too slow", happened: "DNS did not return the address of the origin of {host} in time.", next: "Try again. If the error stays, check the route's origin, and the DNS of its name.",
		usually: "The name servers of the origin's domain do not respond, or the proxy's network does not reach a resolver."},
	{name: "origin-address-prohibited", cause: transport(sni.DestinationIPProhibited), status: 502, errorType: sni.DestinationIPProhibited, level: slog.LevelWarn, retry: retryNever, fix: byProxy,
		title: "Origin's address prohibited", happened: "The proxy may not connect to the address of the origin of {host}.", next: "The proxy's operator can allow the network (ORIGIN_ALLOW_CIDRS) if it is meant to be an origin.",
		usually: "An origin inside a private network that was not allowed. If somebody else points the name at a private address, leave it prohibited."},
	{name: "origin-unroutable", cause: transport(sni.DestinationIPUnroutable), status: 502, errorType: sni.DestinationIPUnroutable, level: slog.LevelWarn, retry: retryNever, fix: byProxy,
		title: "No network route to the origin", happened: "The proxy's network has no way to the origin of {host}.", next: "Check the route's origin, and the network of the proxy.",
		usually: "A function in a VPC without NAT, or an origin with only IPv6 addresses."},
	{name: "origin-refused", cause: transport(sni.ConnectionRefused), status: 502, errorType: sni.ConnectionRefused, level: slog.LevelWarn, retry: retryLater, fix: byOrigin,
		title: "Origin refuses connections", happened: "The origin of {host} refuses connections.", next: "Check whether the origin runs, the route's port, and the firewall.",
		usually: "No server listens on that port: the server is down or restarting, or the port is wrong."},
	{name: "origin-closed", cause: transport(sni.ConnectionTerminated), status: 502, errorType: sni.ConnectionTerminated, level: slog.LevelWarn, retry: retryIfSafe, fix: byOrigin,
		title: "Origin closed the connection", happened: "The origin of {host} closed the connection before it responded.", next: retryThenLook,
		usually: "The server crashed at the request, was restarted, or closes connections for a reason of its own: an unknown server name (Envoy, Node), an untrusted client certificate (Node), or a Host. Over HTTP/2, the reason may be another request of the same connection."},
	{name: "origin-connect-timeout", cause: transport(sni.ConnectionTimeout), status: 504, errorType: sni.ConnectionTimeout, level: slog.LevelWarn, retry: retryLater, fix: byOrigin,
		title: "No connection in time", happened: "The proxy could not connect to the origin of {host} in time.", next: "Check whether the origin runs, and its firewall.",
		usually: "A firewall or security group that drops packets from the proxy, an overloaded origin, or a port that does not speak TLS and waits."},
	{name: "origin-tls-alert", cause: transport(sni.TLSAlertReceived), status: 502, errorType: sni.TLSAlertReceived, level: slog.LevelWarn, retry: retryNever, fix: byOriginOrProxy,
		title: "TLS refused", happened: "The origin of {host} refused the TLS handshake.", next: "Check whether the origin knows the name and has a certificate for it, which TLS versions it accepts, and whether it wants a client certificate.",
		usually: "A load balancer without a certificate for the name, a version below the route's `tls_min`, a certificate with a key type that the proxy does not accept (ML-DSA, RSASSA-PSS, brainpool), or a missing or refused `client_cert`. The log has the alert (`tls_alert`)."},
	{name: "origin-tls-error", cause: transport(sni.TLSProtocolError), status: 502, errorType: sni.TLSProtocolError, level: slog.LevelWarn, retry: retryNever, fix: byOriginOrProxy,
		title: "TLS failed", happened: "The TLS handshake with the origin of {host} failed.", next: "Check whether the route's port speaks TLS, and which versions.",
		usually: "A port for plain HTTP, or a server that supports only TLS 1.1 and older."},

	// Certificates. The texts do not have the names in the certificate: these are often the load balancer's, and a client
	// could bypass the proxy with them.
	{name: "wrong-certificate-name", cause: certificate(sni.WrongName), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, fix: byOriginOrProxy,
		title: "Certificate for another name", happened: certificateOf + "for somebody else: it does not have the name that it must prove.", next: "Install a certificate for that name at the origin, or set the route's server_name to a name in the certificate. The proxy's log has those names.",
		usually: "A load balancer presents its default certificate, because it has no certificate for the name yet (`certificate_names` in the log); or the `origin` leads to another server."},
	{name: "untrusted-certificate", cause: certificate(sni.UnknownAuthority), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, fix: byOriginOrProxy,
		title: "Certificate not trusted", happened: certificateOf + "from an authority that is not trusted.", next: "Let the origin send its whole chain from a public authority, or set the route's ca_pem to the private authority.",
		usually: "A missing intermediate certificate, which browsers fetch and proxies do not; a self-signed certificate; or an old `ca_pem` of the authority."},
	{name: "pin-mismatch", cause: certificate(sni.PinMismatch), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, fix: byOriginOrProxy,
		title: "Key is not pinned", happened: certificateOf + "whose key is not one of the route's pins.", next: "If the origin's key was changed on purpose, add the new key to the route's spki_pins. If not, another server responds at that address.",
		usually: "A renewed certificate with a new key, before its pin was added."},
	{name: "expired-certificate", cause: certificate(sni.Expired), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, fix: byOrigin,
		title: "Certificate expired", happened: certificateOf + "that has expired.", next: newCertificate,
		usually: "A failed renewal, or a server that did not load the new file. The expired certificate may be an intermediate (`certificate_not_after` in the log)."},
	{name: "premature-certificate", cause: certificate(sni.NotYetValid), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryLater, fix: byOrigin,
		title: "Certificate not valid yet", happened: certificateOf + "that is not valid yet.", next: newCertificate,
		usually: "A certificate that was installed too early, or a wrong clock: the authority's, or the clock of the proxy's machine."},
	{name: "wrong-certificate-usage", cause: certificate(sni.WrongUsage), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, fix: byOrigin,
		title: "Certificate not for servers", happened: certificateOf + "that is not for servers.", next: newCertificate,
		usually: "A certificate for clients or for code signing, from a private authority."},
	{name: "constrained-certificate", cause: certificate(sni.NameConstraint), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, fix: byOrigin,
		title: "Authority may not issue the name", happened: certificateOf + "whose authority may not issue certificates for that name.", next: newCertificate,
		usually: "A private authority that is limited to other domains."},
	{name: "weak-certificate-key", cause: certificate(sni.WeakKey), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, fix: byOrigin,
		title: "Certificate's key too short", happened: certificateOf + "that could be forged: its key, or an authority's key, is too short.", next: newCertificate,
		usually: "An RSA key below 2,048 bits, or a curve below 256 bits, in the certificate or in its chain."},
	{name: "insecure-certificate-signature", cause: certificate(sni.InsecureSignature), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, fix: byOrigin,
		title: "Certificate's signature insecure", happened: certificateOf + "that could be forged: its signature algorithm is broken.", next: newCertificate,
		usually: "A signature with SHA-1 or MD5, from an old private authority."},
	{name: "malformed-certificate", cause: certificate(sni.Malformed), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, fix: byOrigin,
		title: "Certificate malformed", happened: certificateOf + "that is malformed.", next: newCertificate,
		usually: "A certificate that was made by hand or by an old tool, and violates the rules of its format."},
	{name: "invalid-certificate", cause: transport(sni.TLSCertificateError), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, fix: byOrigin,
		title: "Certificate not valid", happened: certificateOf + "that is not valid.", next: newCertificate,
		usually: "A fault without a row of its own, such as a chain that is too long, or an unknown extension. The log has the reason."},

	// Faults of an origin after it was verified.
	{name: "origin-timeout", cause: timedOut, status: 504, errorType: sni.HTTPResponseTimeout, level: slog.LevelWarn, retry: retryLater, fix: byOrigin,
		title: "Origin too slow", happened: "The origin of {host} did not respond in time.", next: "Try again if the request is safe to repeat. If the error stays, check the load of the origin.",
		usually: "An overloaded origin, or a request that needs more time than its timeout."},
	{name: "origin-protocol-error", cause: transport(sni.HTTPProtocolError), status: 502, errorType: sni.HTTPProtocolError, level: slog.LevelWarn, retry: retryNever, fix: byOrigin,
		title: "Not a valid HTTP response", happened: "The origin of {host} did not send a valid HTTP response.", next: "See the origin's log, and check which server listens on its port.",
		usually: "A server that does not speak HTTP, a malformed header, contradicting lengths, or an unknown status."},

	// The last row, for all other causes.
	{name: lastProblem, cause: func(error) bool { return true }, status: 500, errorType: sni.ProxyInternalError, level: slog.LevelError, retry: retryLater, fix: byProxy,
		title: "Fault of the proxy", happened: "The proxy failed.", next: "Try again. If the error stays, see the proxy's log.",
		usually: "Too little memory, or a bug in the proxy: please report it with the log line."},
}

// timedOut reports whether the origin did not respond in time. An [sni.Error] says itself which timeout it is.
func timedOut(err error) bool {
	if e, ok := errors.AsType[*sni.Error](err); ok {
		return e.Type == sni.HTTPResponseTimeout
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errNoResponse)
}
