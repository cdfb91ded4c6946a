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

// A problem is a row of the table from causes to answers. Its texts hold nothing that a client
// does not know or may not see: no address, no header, nothing that somebody else sent. In
// happened and next, {host} stands for the name that was asked for and {limit} for a size.
type problem struct {
	name      string           // stable, since it is in URIs, logs and docs/errors.md
	cause     func(error) bool // whether the row is for an error that no row before it was for
	status    int              // 0 means that there is nobody to answer
	errorType sni.ErrorType    // RFC 9209 section 2.3
	level     slog.Level
	retry     retry
	after     time.Duration // for Retry-After; 0 means none
	mend      party         // who can mend it

	title    string // a few words, the same each time (RFC 9457 section 3.1.3)
	happened string
	next     string // what to do
	usually  string // the usual causes, for docs/errors.md
}

// retry says whether sending the same request again can help.
type retry string

// Rows have retryIfSafe if the origin may have carried the request out. Answers to an [sni.Error] that is
// Unprocessed say retryNow in its place.
const (
	retryNow    retry = "yes, at once"
	retryIfSafe retry = "only if it is safe to repeat"
	retryLater  retry = "later"
	retryNever  retry = "no, until corrected"
)

// party says who can mend a problem.
type party string

const (
	byClient        party = "client"
	byProxy         party = "operator of the proxy"
	byOrigin        party = "operator of the origin"
	byOriginOrProxy party = "operator of the origin, or of the proxy"
)

// The types of RFC 9209 that only the proxy itself comes to know.
const (
	destinationNotFound    sni.ErrorType = "destination_not_found"
	connectionWriteTimeout sni.ErrorType = "connection_write_timeout"
	httpRequestDenied      sni.ErrorType = "http_request_denied"
	httpResponseIncomplete sni.ErrorType = "http_response_incomplete"
	httpResponseBodySize   sni.ErrorType = "http_response_body_size"
	httpUpgradeFailed      sni.ErrorType = sni.HTTPUpgradeFailed
	proxyLoopDetected      sni.ErrorType = "proxy_loop_detected"
)

// lastProblem is the row for all causes that have no other.
const lastProblem = "proxy-fault"

// busyPause is long enough for others to be done, and short enough for people to wait.
const busyPause = 5 * time.Second

// The texts of more than one row.
const (
	certificateOf   = "The origin of {host} presented a certificate "
	newCertificate  = "Have a valid certificate for that name installed at the origin."
	retryThenLook   = "Try again, if the request may be repeated; if it stays, look at the origin's log."
	operatorsReason = "Its operator finds the reason in the log."
)

// problems is the table. The first row that knows a cause is the one for it, so what is told
// by the proxy or its server stands before what the transport saw of the same failure. The
// statuses are those that RFC 9209 recommends, or the row says why not. docs/errors.md is
// generated from it.
var problems = []problem{
	// First, since the cause in it may be one that has a row of its own.
	{name: "hook-failed", cause: as[*HookError], status: 500, errorType: sni.ProxyInternalError, level: slog.LevelError, retry: retryNever, mend: byProxy,
		title: "Processing failed", happened: "The proxy could not process the request for {host}, or the origin's answer to it.", next: "Its operator finds the cause in the log.",
		usually: "A middleware or a hook that was added to the proxy has returned an error. It may choose another status. An answer that had begun to reach the client is cut short instead."},

	// What is wrong with the request.
	{name: "client-gone", cause: is(ErrClientGone), level: slog.LevelInfo, retry: retryIfSafe, mend: byClient,
		title: "The client is gone", happened: "The client left before its request was answered.", next: "Nothing; it is in the log alone.",
		usually: "Somebody closed the page or lost the network, or the client waits for less time than the origin needs."},
	{name: "client-too-slow", cause: is(ErrSlowClient), level: slog.LevelInfo, retry: retryIfSafe, mend: byClient,
		title: "The client takes no answer", happened: "The client did not take what it was sent.", next: "Nothing; it is in the log alone.",
		usually: "A client on a network that broke down, or an attack that holds connections open."},
	{name: "websocket-idle", cause: is(ErrWebSocketIdle), level: slog.LevelInfo, retry: retryIfSafe, mend: byOriginOrProxy,
		title: "WebSocket idle", happened: "Neither side of a WebSocket sent anything for too long.", next: "Have one side send a ping more often than that, or give the route a longer idle_timeout.",
		usually: "A site whose WebSockets are quiet, or a client that was switched off without a word."},
	{name: "bad-host", cause: as[*badHostError], status: 400, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryNever, mend: byClient,
		title: "Not a hostname", happened: "The request's Host is not a hostname.", next: "Send the name of the site as Host.",
		usually: "A scanner, or a client that puts a user name, a path or a list into Host; behind a CDN, `TRUSTED_HOST_HEADER` that came twice."},
	{name: "method-not-allowed", cause: is(ErrMethod), status: 405, errorType: httpRequestDenied, level: slog.LevelInfo, retry: retryNever, mend: byClient, // not 403, since it is not about who asks
		title: "Method not forwarded", happened: "The request's method is not forwarded.", next: "Use one of the methods that the Allow header lists.",
		usually: "A scanner that tries TRACE, or a client that takes this for a forward proxy and sends CONNECT."},
	{name: "url-too-long", cause: is(ErrURLTooLong), status: 414, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryNever, mend: byClient,
		title: "URL too long", happened: "The request's URL is longer than {limit}.", next: "Send what makes it long in the body.",
		usually: "A form that is sent with GET, or redirects that add to the query each time."},
	{name: "request-header-too-large", cause: is(ErrHeaderTooLarge), status: 431, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryNever, mend: byClient,
		title: "Request headers too large", happened: "The request's headers are larger than {limit}.", next: "Send fewer or shorter ones. In a browser, delete the cookies of the site.",
		usually: "Cookies that pile up, also those of other sites under the same domain."},
	{name: "too-many-request-headers", cause: is(ErrTooManyFields), status: 431, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryNever, mend: byClient,
		title: "Too many request headers", happened: "The request has more than {limit} header fields.", next: "Send fewer.",
		usually: "A faulty or hostile client: honest ones send some dozens."},
	{name: "request-body-too-large", cause: either(is(ErrBodyTooLarge), as[*http.MaxBytesError]), status: 413, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryNever, mend: byClient,
		title: "Request body too large", happened: "The request's body is larger than {limit}.", next: "Send less at a time.",
		usually: "An upload that is meant for a place of its own; fronts have limits too, which cannot be raised."},
	{name: "request-body-timeout", cause: is(ErrSlowBody), status: 408, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryIfSafe, mend: byClient,
		title: "Request body too slow", happened: "The request's body did not arrive in time.", next: "Try again, over a faster network or with a smaller body.",
		usually: "A client on a slow network, one that announced more than it sends, or an attack that holds connections open."},
	{name: "upgrade-unsupported", cause: is(ErrUpgrade), status: 501, errorType: httpUpgradeFailed, level: slog.LevelInfo, retry: retryNever, mend: byProxy, // not 502: the origin was not asked
		title: "No protocol switch here", happened: "The request asks for another protocol, such as WebSocket, which cannot be had here.", next: "Use plain requests, if the site has them. Its operator can run the proxy where connections can switch protocols.",
		usually: "A site with WebSockets behind a front that takes each request by itself, as all fronts of Lambda do."},
	{name: "upgrade-not-in-route", cause: is(ErrUpgradeProtocol), status: 501, errorType: httpUpgradeFailed, level: slog.LevelWarn, retry: retryNever, mend: byProxy, // not 502: the origin was not asked
		title: "No protocol switch on this route", happened: "The request asks for another protocol, such as WebSocket, and the origin of {host} is spoken to in HTTP/2 alone, which has no such switch here.", next: "Use plain requests, if the site has them. Its operator can add http/1.1 to the route's protocols, if the origin speaks it.",
		usually: "A route with `protocols` of `h2` alone, for a site with WebSockets. With `h2` and `http/1.1` the proxy asks for WebSockets over HTTP/1.1, and for the rest over HTTP/2."},
	{name: "bad-request", cause: is(ErrBadRequest), status: 400, errorType: sni.HTTPRequestError, level: slog.LevelInfo, retry: retryNever, mend: byClient,
		title: "Malformed request", happened: "The request could not be understood.", next: "Check how it is made: method, path, headers and body encoding.",
		usually: "A body whose chunks are broken or that ended early."},

	{name: "busy", cause: is(ErrBusy), status: 503, errorType: httpRequestDenied, level: slog.LevelWarn, retry: retryLater, after: busyPause, mend: byProxy, // not 403, since it passes
		title: "Too many requests at a time", happened: "The proxy works on as many requests as it may at a time, for all clients or for this one.", next: "Try again in some seconds, with fewer requests at a time. Its operator can allow more of them (MAX_REQUESTS).",
		usually: "A client that sends hundreds of requests at once, or leaves its answers unread; origins that have become slow, so that requests pile up; or a process that may have few file descriptors (`ulimit -n`). The log says which client has how many. Behind a balancer that is not in `TRUSTED_PROXIES`, all clients count as one."},

	// What is wrong with the proxy, or its routes.
	{name: "unsupported-event", cause: is(ErrInvocation), status: 500, errorType: sni.ProxyConfigurationError, level: slog.LevelError, retry: retryNever, mend: byProxy,
		title: "Not invoked as it has to be", happened: "The proxy is not set up for the way in which it was invoked.", next: "Its operator finds in the log what to set.",
		usually: "An HTTP API whose integration has payload format version 1.0, where 2.0 belongs; VPC Lattice with event version V1; an event that comes from no HTTP front: a test event of the console, a queue, a schedule."},
	{name: "unknown-host", cause: is(origin.ErrNotFound), status: 404, errorType: destinationNotFound, level: slog.LevelInfo, retry: retryNever, mend: byProxy, // not 500: the client chose the name
		title: "No such site", happened: "No site is served here for {host}.", next: "Check the name; if it is yours, add a route for it. A new route takes some seconds to be seen.",
		usually: "DNS that points here before the route was added, a route that is switched off or has expired, or a stranger who tries names."},
	{name: "invalid-route", cause: as[*origin.InvalidRouteError], status: 500, errorType: sni.ProxyConfigurationError, level: slog.LevelError, retry: retryNever, mend: byProxy,
		title: "Invalid route", happened: "The route for {host} is not valid.", next: "Its operator finds the attribute to correct in the log.",
		usually: "An attribute that is misspelt, of the wrong type or out of range. No other host is affected."},
	{name: "routes-unavailable", cause: as[*lookupError], status: 503, errorType: sni.ProxyInternalError, level: slog.LevelError, retry: retryLater, after: 5 * time.Second, mend: byProxy, // not 500, since it passes
		title: "Routes unavailable", happened: "The routes cannot be read at the moment.", next: "Try again in some seconds.",
		usually: "The table is throttled, gone or in another Region, the proxy may not read it, or something else answers in its place. Hosts that were asked for before go on with the routes of then."},
	{name: "loop", cause: is(ErrLoop), status: 502, errorType: proxyLoopDetected, level: slog.LevelError, retry: retryNever, mend: byProxy,
		title: "Loop", happened: "The request for {host} came back to the proxy that had sent it.", next: "Its operator has to give the route an origin that does not lead here again.",
		usually: "A route whose origin is the public name of the site, which DNS points at the proxy."},

	// What the proxy, or what serves it, made of the origin's answer.
	{name: "wrong-upgrade", cause: either(is(ErrUpgradeMismatch), transport(sni.HTTPUpgradeFailed)), status: 502, errorType: httpUpgradeFailed, level: slog.LevelWarn, retry: retryNever, mend: byOrigin,
		title: "Wrong protocol switch", happened: "The origin of {host} switched to another protocol than it was asked for.", next: "Look at what the origin answers to requests with Upgrade.",
		usually: "A server or proxy at the origin that answers 101 to everything, or with a fixed protocol."},
	{name: "incomplete-response", cause: is(ErrIncompleteResponse), status: 502, errorType: httpResponseIncomplete, level: slog.LevelWarn, retry: retryIfSafe, mend: byOrigin,
		title: "Answer broke off", happened: "The origin of {host} broke off its answer.", next: retryThenLook,
		usually: "The origin crashed or was restarted while it answered, or sent less than its Content-Length says. An answer that had begun to reach the client is cut short instead."},
	{name: "response-too-large", cause: is(ErrResponseTooLarge), status: 502, errorType: httpResponseBodySize, level: slog.LevelWarn, retry: retryNever, mend: byProxy,
		title: "Answer too large", happened: "The answer of the origin of {host} is larger than {limit}, and can be returned here in one piece only.", next: "Ask for less at a time, for instance with a Range header. Its operator can choose a front that streams answers, and RESPONSE_MODE=stream.",
		usually: "A download through a front that does not stream: 6 MB with encoding is the most there, 1 MB behind a load balancer."},
	{name: "response-header-too-large", cause: either(is(ErrResponseHeaderTooLarge), transport(sni.HTTPResponseHeaderSectionSize)), status: 502, errorType: sni.HTTPResponseHeaderSectionSize, level: slog.LevelWarn, retry: retryNever, mend: byOrigin,
		title: "Answer's headers too large", happened: "The origin of {host} sent an answer with too many headers, or too long ones.", next: "Look at which headers the origin sends; cookies are the usual suspects.",
		usually: "Many or large Set-Cookie headers, or a long Content-Security-Policy. Fronts take less than origins may send."},
	{name: "origin-stalled", cause: is(ErrResponseStalled), status: 504, errorType: sni.HTTPResponseTimeout, level: slog.LevelWarn, retry: retryIfSafe, mend: byOrigin,
		title: "Answer stalled", happened: "The origin of {host} stopped in the middle of its answer.", next: retryThenLook,
		usually: "The origin waits for something while it answers. Mostly it is in the log alone: an answer that had begun to reach the client is cut short."},
	{name: "upload-stalled", cause: is(ErrUploadStalled), status: 504, errorType: connectionWriteTimeout, level: slog.LevelWarn, retry: retryIfSafe, mend: byOrigin,
		title: "Upload stalled", happened: "The origin of {host} did not take the request's body in time.", next: retryThenLook,
		usually: "The origin is busy or stuck, and does not read what it is sent; or it answers uploads only once something else is done."},
	{name: "time-budget", cause: is(ErrTimeout), status: 504, errorType: sni.HTTPResponseTimeout, level: slog.LevelWarn, retry: retryLater, mend: byOriginOrProxy,
		title: "Took too long", happened: "The answer of the origin of {host} was not complete within the time that a request may take here.", next: "Try again, if the request may be repeated, and ask for less at a time; if it stays, look at the origin's load.",
		usually: "A slow origin behind a front with a fixed limit. Where its quota was raised, `FRONT_TIMEOUT` says so to the proxy; long answers need one that streams."},

	// What pkg/sni came to see of the origin. Its causes stand before its types, which several share.
	{name: "origin-connection-limit", cause: either(is(sni.ErrConnLimit), transport(sni.ConnectionLimitReached)), status: 503, errorType: sni.ConnectionLimitReached, level: slog.LevelWarn, retry: retryLater, after: 2 * time.Second, mend: byOriginOrProxy,
		title: "All connections in use", happened: "All connections that may be open to the origin of {host} are in use, and none became free in time.", next: "Try again in some seconds. If it stays, look at why the origin answers slowly; its operator can raise the route's max_connections.",
		usually: "A slow origin, more visitors than `max_connections` is meant for, or clients that hold answers without reading them. The request was not sent."},
	{name: "no-file-descriptors", cause: is(sni.ErrNoDescriptors), status: 503, errorType: sni.ProxyInternalError, level: slog.LevelError, retry: retryLater, after: 2 * time.Second, mend: byProxy, // not 500, since it passes
		title: "Out of file descriptors", happened: "The proxy has no file descriptor left for a connection to the origin of {host}.", next: "Try again in some seconds. Its operator can raise the limit of open files, or lower --max-requests.",
		usually: "More requests at a time than the limit of open files is for: each may have a connection of its client and one to an origin (`ulimit -n`, systemd's `LimitNOFILE`). The request was not sent."},
	{name: "origin-renegotiates", cause: is(sni.ErrRenegotiation), status: 502, errorType: sni.TLSProtocolError, level: slog.LevelWarn, retry: retryNever, mend: byOrigin,
		title: "Origin asks to renegotiate TLS", happened: "The origin of {host} asked for TLS renegotiation, which is not done here.", next: "Have the origin ask for the client certificate in the first handshake, for the whole site, or offer TLS 1.3.",
		usually: "A server such as IIS that asks for a client certificate on some paths only, once it has read the request, over TLS 1.2."},
	{name: "origin-http2-only", cause: is(sni.ErrHTTP2Only), status: 502, errorType: sni.HTTPProtocolError, level: slog.LevelWarn, retry: retryNever, mend: byProxy,
		title: "Origin speaks only HTTP/2", happened: "The origin of {host} speaks only HTTP/2, which its route does not list.", next: "Its operator can add h2 to the route's protocols, or HTTP/1.1 can be enabled at the origin.",
		usually: "A gRPC server or a load balancer's target group that is for HTTP/2 alone: `protocols` is `[\"http/1.1\"]` unless the route says otherwise."},
	{name: "origin-no-common-protocol", cause: alerted(noApplicationProtocol), status: 502, errorType: sni.TLSAlertReceived, level: slog.LevelWarn, retry: retryNever, mend: byOriginOrProxy,
		title: "No HTTP version in common", happened: "The origin of {host} takes none of the HTTP versions that its route lists.", next: "Its operator can set the route's protocols to what the origin speaks, or correct the route's port.",
		usually: "A server for HTTP/2 alone while `protocols` is `[\"http/1.1\"]`, as it is by default; a server without HTTP/2 while it is `[\"h2\"]`; or a port for another protocol."},
	{name: "origin-ping-timeout", cause: is(sni.ErrPingTimeout), status: 502, errorType: sni.ConnectionTerminated, level: slog.LevelWarn, retry: retryIfSafe, mend: byOriginOrProxy,
		title: "Origin answered no PING", happened: "The origin of {host} did not answer an HTTP/2 PING in time, so its connection was given up.", next: retryThenLook + " Its operator can leave h2 out of the route's protocols.",
		usually: "A network that lost the connection without a word, or a server that does nothing else while it works on a request, such as a Node program that computes. Over HTTP/1.1 there is no PING."},
	{name: "origin-reset", cause: as[*sni.ResetError], status: 502, errorType: sni.ConnectionTerminated, level: slog.LevelWarn, retry: retryIfSafe, mend: byOriginOrProxy,
		title: "Origin ended the request", happened: "The origin of {host} ended the request over HTTP/2 before it answered, with the error {code}.", next: "Try again, if the request may be repeated; if it stays, send smaller headers, or look at the origin's log. Its operator can leave h2 out of the route's protocols.",
		usually: "`ENHANCE_YOUR_CALM`: a request's headers are larger than the origin takes over HTTP/2 (nginx, HAProxy, Tomcat), its body came in many small pieces, or many clients hung up. `PROTOCOL_ERROR`: Tomcat refuses a Host that is not the server name. A GOAWAY ends the other requests of the connection too. The log has what the origin said beside it."},
	{name: "unsendable-request", cause: transport(sni.HTTPRequestError), status: 400, errorType: sni.HTTPRequestError, level: slog.LevelWarn, retry: retryNever, mend: byClient,
		title: "Request cannot be sent on", happened: "The request cannot be sent on.", next: "Check its method, its path and its headers.",
		usually: "A request line that names another host than Host does, a header that is not valid, or more headers than the origin takes."},
	{name: "unusable-route", cause: transport(sni.ProxyConfigurationError), status: 500, errorType: sni.ProxyConfigurationError, level: slog.LevelError, retry: retryNever, mend: byProxy,
		title: "Route cannot be used", happened: "The route for {host} cannot be used.", next: operatorsReason,
		usually: "`http://` while `FORCE_HTTPS` is on, a `client_cert` that is not in `CLIENT_CERTS_DIR`, or a `ca_pem` without a certificate."},
	{name: "origin-dns-error", cause: transport(sni.DNSError), status: 502, errorType: sni.DNSError, level: slog.LevelWarn, retry: retryNever, mend: byOriginOrProxy,
		title: "Origin not found in DNS", happened: "The address of the origin of {host} could not be found.", next: "Check the route's origin, and the DNS of its name.",
		usually: "A typing error in `origin`, a load balancer that was deleted, or a private name that is not known where the proxy runs."},
	{name: "origin-dns-timeout", cause: transport(sni.DNSTimeout), status: 504, errorType: sni.DNSTimeout, level: slog.LevelWarn, retry: retryLater, mend: byOriginOrProxy,
		title: "DNS too slow", happened: "The address of the origin of {host} could not be found in time.", next: "Try again; if it stays, check the route's origin, and the DNS of its name.",
		usually: "The name servers of the origin's domain do not answer, or the proxy's network does not reach a resolver."},
	{name: "origin-address-prohibited", cause: transport(sni.DestinationIPProhibited), status: 502, errorType: sni.DestinationIPProhibited, level: slog.LevelWarn, retry: retryNever, mend: byProxy,
		title: "Origin's address prohibited", happened: "The origin of {host} has an address that must not be reached from here.", next: "Its operator can allow the network (ORIGIN_ALLOW_CIDRS) where that is meant.",
		usually: "An origin inside a private network that was not allowed, or a name that somebody points at one: then it should stay so."},
	{name: "origin-unroutable", cause: transport(sni.DestinationIPUnroutable), status: 502, errorType: sni.DestinationIPUnroutable, level: slog.LevelWarn, retry: retryNever, mend: byProxy,
		title: "No way to the origin", happened: "There is no way from here to the origin of {host}.", next: "Check the route's origin, and the network of the proxy.",
		usually: "A function in a VPC without NAT, or an origin that has IPv6 addresses only."},
	{name: "origin-refused", cause: transport(sni.ConnectionRefused), status: 502, errorType: sni.ConnectionRefused, level: slog.LevelWarn, retry: retryLater, mend: byOrigin,
		title: "Origin refuses connections", happened: "The origin of {host} accepts no connection.", next: "Check that it runs, the route's port, and its firewall.",
		usually: "Nothing listens on that port: the server is down or restarting, or the port is another."},
	{name: "origin-closed", cause: transport(sni.ConnectionTerminated), status: 502, errorType: sni.ConnectionTerminated, level: slog.LevelWarn, retry: retryIfSafe, mend: byOrigin,
		title: "Origin closed the connection", happened: "The origin of {host} closed the connection before it answered.", next: retryThenLook,
		usually: "A server that crashed at the request, was restarted, or hangs up on what it does not like: a server name that it does not know (Envoy, Node), a client certificate that it does not trust (Node), a Host. Over HTTP/2 also another request of the same connection that it refused."},
	{name: "origin-connect-timeout", cause: transport(sni.ConnectionTimeout), status: 504, errorType: sni.ConnectionTimeout, level: slog.LevelWarn, retry: retryLater, mend: byOrigin,
		title: "No connection in time", happened: "The origin of {host} could not be connected to in time.", next: "Check that it runs, and its firewall.",
		usually: "A firewall or security group that drops what comes from the proxy, an overloaded origin, or a port that speaks no TLS and waits."},
	{name: "origin-tls-alert", cause: transport(sni.TLSAlertReceived), status: 502, errorType: sni.TLSAlertReceived, level: slog.LevelWarn, retry: retryNever, mend: byOriginOrProxy,
		title: "TLS refused", happened: "The origin of {host} refused the TLS handshake.", next: "Check that the origin knows the name and has a certificate for it, which TLS versions it accepts, and whether it wants a client certificate.",
		usually: "A load balancer without a certificate for the name, a version below the route's `tls_min`, a certificate whose key is of a kind that is not taken here (ML-DSA, RSASSA-PSS, brainpool), or `client_cert` that is missing or not accepted. The log has the alert (`tls_alert`)."},
	{name: "origin-tls-error", cause: transport(sni.TLSProtocolError), status: 502, errorType: sni.TLSProtocolError, level: slog.LevelWarn, retry: retryNever, mend: byOriginOrProxy,
		title: "TLS failed", happened: "The TLS handshake with the origin of {host} failed.", next: "Check that the route's port speaks TLS, and which versions.",
		usually: "A port for plain HTTP, or a server that knows only TLS 1.1 and below."},

	// Certificates. Which names one has is for the log: they often are those of the load
	// balancer, by which a stranger could go around the proxy.
	{name: "wrong-certificate-name", cause: certificate(sni.WrongName), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, mend: byOriginOrProxy,
		title: "Certificate for another name", happened: certificateOf + "for somebody else: the name it has to prove is not in it.", next: "Have a certificate for that name installed at the origin, or set the route's server_name to a name that its certificate has. The operator finds those names in the log.",
		usually: "A load balancer that shows its default certificate, since it has none for the name yet (`certificate_names` in the log); or an `origin` that leads to somebody else."},
	{name: "untrusted-certificate", cause: certificate(sni.UnknownAuthority), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, mend: byOriginOrProxy,
		title: "Certificate not trusted", happened: certificateOf + "of an authority that is not trusted.", next: "Have the origin send its whole chain from a public authority, or set the route's ca_pem to the private one.",
		usually: "A missing intermediate certificate, which browsers fetch and proxies do not; a self-signed certificate; or a `ca_pem` that is not the authority's any more."},
	{name: "pin-mismatch", cause: certificate(sni.PinMismatch), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, mend: byOriginOrProxy,
		title: "Key is not a pinned one", happened: certificateOf + "whose key is none of those that the route pins.", next: "If the origin's key was changed on purpose, add the new one to the route's spki_pins. If it was not, somebody else answers there.",
		usually: "A renewed certificate with a new key, before the new pin was added."},
	{name: "expired-certificate", cause: certificate(sni.Expired), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, mend: byOrigin,
		title: "Certificate expired", happened: certificateOf + "that has expired.", next: newCertificate,
		usually: "A renewal that failed, or a server that was not told to load the new file. It may also be an intermediate's (`certificate_not_after` in the log)."},
	{name: "premature-certificate", cause: certificate(sni.NotYetValid), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryLater, mend: byOrigin,
		title: "Certificate not valid yet", happened: certificateOf + "that is not valid yet.", next: newCertificate,
		usually: "A certificate that was installed ahead of its time, or a clock that is wrong: the authority's, or that of the proxy's machine."},
	{name: "wrong-certificate-usage", cause: certificate(sni.WrongUsage), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, mend: byOrigin,
		title: "Certificate not for servers", happened: certificateOf + "that is not meant for servers.", next: newCertificate,
		usually: "A certificate for clients or for signing code, of a private authority."},
	{name: "constrained-certificate", cause: certificate(sni.NameConstraint), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, mend: byOrigin,
		title: "Authority may not vouch", happened: certificateOf + "whose authority may not vouch for that name.", next: newCertificate,
		usually: "A private authority that is limited to other domains."},
	{name: "weak-certificate-key", cause: certificate(sni.WeakKey), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, mend: byOrigin,
		title: "Certificate's key too short", happened: certificateOf + "that could be forged: its key, or that of an authority, is too short.", next: newCertificate,
		usually: "An RSA key below 2,048 bits, or a curve below 256, in the certificate or the chain above it."},
	{name: "insecure-certificate-signature", cause: certificate(sni.InsecureSignature), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, mend: byOrigin,
		title: "Certificate's signature broken", happened: certificateOf + "that could be forged: its signature is of a broken kind.", next: newCertificate,
		usually: "A signature with SHA-1 or MD5, of an old private authority."},
	{name: "malformed-certificate", cause: certificate(sni.Malformed), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, mend: byOrigin,
		title: "Certificate cannot be read", happened: certificateOf + "that cannot be read.", next: newCertificate,
		usually: "A certificate that was made by hand or by an old tool, and breaks the rules of its format."},
	{name: "invalid-certificate", cause: transport(sni.TLSCertificateError), status: 502, errorType: sni.TLSCertificateError, level: slog.LevelWarn, retry: retryNever, mend: byOrigin,
		title: "Certificate not valid", happened: certificateOf + "that is not valid.", next: newCertificate,
		usually: "What has no row of its own, such as a chain that is too long, or an extension that is not known. The log has the reason."},

	// The exchange with an origin that proved itself.
	{name: "origin-timeout", cause: timedOut, status: 504, errorType: sni.HTTPResponseTimeout, level: slog.LevelWarn, retry: retryLater, mend: byOrigin,
		title: "Origin too slow", happened: "The origin of {host} did not answer in time.", next: "Try again, if the request may be repeated; if it stays, look at the origin's load.",
		usually: "An overloaded origin, or a request that takes longer than requests may."},
	{name: "origin-protocol-error", cause: transport(sni.HTTPProtocolError), status: 502, errorType: sni.HTTPProtocolError, level: slog.LevelWarn, retry: retryNever, mend: byOrigin,
		title: "Not a valid HTTP answer", happened: "The origin of {host} sent something that is not a valid HTTP answer.", next: "Look at the origin's log, and at what else listens on its port.",
		usually: "A server that is not one for HTTP, a header that is malformed, lengths that contradict each other, or a status that there is not."},

	// Last, since it is for whatever is left.
	{name: lastProblem, cause: func(error) bool { return true }, status: 500, errorType: sni.ProxyInternalError, level: slog.LevelError, retry: retryLater, mend: byProxy,
		title: "Fault of the proxy", happened: "Something went wrong in the proxy.", next: "Try again; if it stays, its operator finds the cause in the log.",
		usually: "A lack of memory, or an error in the proxy: please report it with the line of the log."},
}

// timedOut leaves to pkg/sni to say what time ran out for, where it does.
func timedOut(err error) bool {
	if e, ok := errors.AsType[*sni.Error](err); ok {
		return e.Type == sni.HTTPResponseTimeout
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errNoAnswer)
}
