package sni

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/sleightproxy/sleight/internal/http1"
	"github.com/sleightproxy/sleight/pkg/hostname"
)

// Transport is an http.RoundTripper that dials one host and names another. It is safe for concurrent use. Make one and share
// it: it holds the connections. Its fields must not change after the first request.
//
// The zero Transport translates nothing, offers HTTP/1.1 alone, and refuses networks that are not public. If a Target lists
// HTTP/2, requests share connections. The package comment has the rules.
//
// An idle connection may be dead: the server, a load balancer or a NAT gateway has given it up, or this process was frozen
// meanwhile. Before a request goes out on an idle HTTP/1.1 connection, the socket is read without waiting. That does not find a
// server that closes the connection at this moment, or a path that drops packets silently. So a request that is not safe (RFC
// 9110 section 9.2.1: its method is not GET, HEAD, OPTIONS or TRACE) goes out on a connection that the origin has answered on
// recently (see UnsafeReuse), or else on a new one. A safe request goes out on any connection.
//
// A request is sent once more in these cases alone:
//
//   - It certainly was not processed: nothing of it was written, or an HTTP/2 server said so (RFC 9113 section 8.7).
//   - It is safe, and its connection was used before and turned out to be dead.
//   - It is safe, and before its response began, an HTTP/2 server ended it by RST_STREAM or GOAWAY, or broke the protocol.
//   - It is safe, and the response is 421 (Misdirected Request). The second response counts. After any 421, the first
//     connection gets no further request.
//   - It is safe, and the response is 408 (Request Timeout) with close, on a connection that was used before: the connection
//     was late, and not the request.
//
// It then goes out on a new connection. The last four cases together allow one repetition. An Idempotency-Key is no permission
// to repeat: in a proxy, a stranger sets it. A request is sent again only if its body can be sent again. If it has no GetBody,
// the first 32 KiB of the body are kept for that.
//
// A request for another protocol (Connection: Upgrade, RFC 9110 section 7.8), such as a WebSocket's, needs a Target whose ALPN
// does not list "h2". If the origin answers with 101 (Switching Protocols), the body is an io.ReadWriteCloser. The connection is
// the caller's until the body is closed: neither a limit of the Transport nor the request's context ends it. A 101 that was not
// asked for is an error. The caller has to compare the protocol that the origin has chosen.
type Transport struct {
	// Translate finds the Target of a request's host. Nil translates nothing.
	Translate Translator

	// ForceHTTPS refuses requests that would go out without TLS, with [ErrPlainHTTP].
	ForceHTTPS bool

	// RootCAs are the certificate authorities to trust for a Target without Roots. Nil means the system's.
	RootCAs *x509.CertPool

	// ClientCertificates has the certificates that Targets refer to. If it is nil, a Target with a ClientCert is an error.
	ClientCertificates ClientCertificates

	// AllowCIDRs are networks that may be dialled although they are not public.
	AllowCIDRs []netip.Prefix

	// Resolver looks up the addresses of Targets. Nil means net.DefaultResolver.
	Resolver *net.Resolver

	// DialTimeout bounds the time to get a connection: all addresses of a Target, with DNS, TCP and TLS. An address that hangs
	// gets only its share, so that there is time for the next one. If the number of connections is bounded, a request waits
	// for one for as long, counted from when it began to look for one. Zero means 15 seconds; negative means no bound but the
	// request's context. A Target with longer timeouts extends it.
	DialTimeout time.Duration

	// ConnectTimeout bounds connecting to one address of a Target, with DNS. Zero means 5 seconds; negative means no bound of
	// its own.
	ConnectTimeout time.Duration

	// HandshakeTimeout bounds one TLS handshake. Zero means 5 seconds; negative means no bound of its own.
	HandshakeTimeout time.Duration

	// AvoidFailed is the time for which an address is tried last among the addresses of its Target after a failure to connect.
	// Zero means 30 seconds; negative means not at all.
	AvoidFailed time.Duration

	// IdleConnTimeout is the time for which an idle connection may be used again, by the wall clock: after a longer freeze, all are
	// expired. If an origin announces less (Keep-Alive: timeout), the announced time applies, minus a second or half of it. Zero means 55
	// seconds, below the 60 of AWS load balancers. Negative means that connections are not reused.
	IdleConnTimeout time.Duration

	// UnsafeReuse is for how long after a response, by the wall clock, a connection may carry a request that is not safe. Zero
	// means half a second: some servers close idle connections after a second, and a request that is then on its way is lost.
	// It is at most half of what an origin announces (Keep-Alive: timeout). Negative means that such requests always get a
	// new connection.
	UnsafeReuse time.Duration

	// ResponseHeaderTimeout bounds the wait for the header of a response, after the request was sent. Zero or less means no
	// bound but the request's context.
	ResponseHeaderTimeout time.Duration

	// MaxResponseHeaderBytes bounds the header of a response, and each interim response and trailer section over HTTP/1.1:
	// names and values, and four bytes for each field. A larger one is an error of type HTTPResponseHeaderSectionSize, and the
	// connection is not used again. Zero means 256 KiB, which is what browsers accept. Negative means 10 MB, the bound of
	// net/http, since none is not safe. If an HTTP/2 origin exceeds the bound by more than a megabyte, net/http ends the
	// connection with all requests on it, and reports a protocol error.
	MaxResponseHeaderBytes int64

	// AckTimeout bounds for how long the kernel of the other side may leave sent data unacknowledged. After that the path is
	// dead, and the request fails with ConnectionTerminated. A slow origin is not affected: it has acknowledged the request.
	// A request with a body that is larger than 32 KiB or of unknown length has no such bound: Linux also counts the time
	// while an origin does not read (TCP_USER_TIMEOUT, tcp(7)). Zero means 5 seconds. Negative means the system's own bound,
	// which is minutes; systems other than Linux and macOS always use that.
	AckTimeout time.Duration

	// PingTimeout is the silence after which an HTTP/2 PING is sent, and also the timeout of its answer. If there is no
	// answer, all requests on the connection fail with [ErrPingTimeout], also if the origin was only busy. Zero or less sends
	// no PING: AckTimeout tells a dead path from a busy origin.
	PingTimeout time.Duration

	// RememberFailure is for how long a TLS handshake is not tried again after it failed by an alert, a certificate or a fault
	// of the protocol: requests for the same Target have the same error. So a client that asks again and again does not make
	// the origin shake hands each time. Zero means a second; negative means that each request tries.
	RememberFailure time.Duration

	// MaxIdleConns bounds the idle connections of all Targets together. Beyond it, the one that was idle for the longest time is
	// closed. Zero or less means 256: a Lambda function has 1,024 file descriptors. A server with more of them and with many
	// hosts needs more.
	MaxIdleConns int

	// MaxIdleConnsPerTarget bounds the idle connections of one Target. Zero or less means 100.
	MaxIdleConnsPerTarget int

	// MaxConnsPerTarget bounds the connections of a Target that has no MaxConns: those in use, idle ones, and those that are
	// being made. Requests beyond it wait in order ([ErrConnLimit]). Zero or less means no bound.
	MaxConnsPerTarget int

	// MaxTargets bounds for how many hosts the Target is remembered, with its TLS sessions and idle connections. Beyond it, the
	// host that was not requested for the longest time is forgotten: its requests finish, then its connections close. Zero or
	// less means 1,024.
	MaxTargets int

	// Observe, if it is not nil, is called for every request once its response has begun or it has failed. It is called on the
	// goroutine of the request, with the request's context, by many goroutines at once, and must not keep x.
	Observe func(ctx context.Context, x *Exchange)

	once sync.Once
	base *http.Transport // turns a TLS connection into an HTTP/2 connection, and does nothing else

	mu      sync.Mutex
	targets targetCache
	conns   connList
}

// What a zero ConnectTimeout and a zero HandshakeTimeout of a [Transport] mean, for callers that show them.
const (
	DefaultConnectTimeout   = 5 * time.Second
	DefaultHandshakeTimeout = 5 * time.Second
)

const (
	defaultDialTimeout      = 15 * time.Second
	defaultAvoidFailed      = 30 * time.Second
	defaultIdleConnTimeout  = 55 * time.Second
	defaultUnsafeReuse      = 500 * time.Millisecond
	defaultAckTimeout       = 5 * time.Second
	defaultRememberFailure  = time.Second
	defaultMaxIdleConns     = 256
	defaultMaxIdlePerTarget = 100
	defaultMaxTargets       = 1024
	defaultMaxHeader        = 256 << 10

	// headerRoom is how many more bytes of a header net/http may read than are accepted. Its own limit ends an HTTP/2
	// connection, and so the requests of others, without saying why.
	headerRoom = 1 << 20
)

// RoundTrip sends req to the Target of its host. Its errors are of type *[Error].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	var x *Exchange
	if t.Observe != nil {
		x = &Exchange{start: time.Now()}
	}
	body := trackBody(req)
	resp, err := t.roundTrip(req, body, x)
	body.finish(err == nil)
	if x != nil {
		x.finish(resp, err)
		t.Observe(req.Context(), x)
	}
	if err != nil {
		return nil, err
	}
	resp.Request = req
	return resp, nil
}

// CloseIdleConnections closes the connections that no request uses.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	t.conns.closeIdle(t.conns.snapshot())
	doomed := t.conns.doomed
	t.conns.doomed = nil
	t.mu.Unlock()
	closeAll(doomed) // before this returns
}

// prepare returns the pool for req, the timeouts for a dial, and the request as it goes out.
func (t *Transport) prepare(req *http.Request, x *Exchange) (*pool, budget, *http.Request, error) {
	fail := func(errorType ErrorType, serverName string, err error) (*pool, budget, *http.Request, error) {
		return nil, budget{}, nil, &Error{Type: errorType, ServerName: serverName, Unprocessed: true, Err: err}
	}
	if req.URL == nil {
		return fail(HTTPRequestError, "", errors.New("request has no URL"))
	}
	host, err := canonicalHost(req.URL)
	if err != nil {
		return fail(HTTPRequestError, "", err)
	}
	if err := checkForm(req); err != nil {
		return fail(HTTPRequestError, host, err)
	}
	var target Target
	if t.Translate != nil {
		target, err = t.Translate.Translate(req.Context(), host)
		x.translated(host)
		if err != nil {
			return fail(ProxyInternalError, host, fmt.Errorf("translate: %w", err))
		}
	}
	scheme := req.URL.Scheme
	if target.Scheme != "" {
		scheme = target.Scheme
	}
	switch {
	case scheme != "https" && scheme != "http":
		return fail(HTTPRequestError, host, fmt.Errorf("scheme %q is neither https nor http", scheme))
	case scheme == "http" && t.ForceHTTPS:
		return fail(ProxyConfigurationError, host, ErrPlainHTTP)
	}
	hostHeader := target.HostHeader
	if hostHeader != "" {
		if _, err := canonicalHost(&url.URL{Host: hostHeader}); err != nil {
			return fail(ProxyConfigurationError, host, &TargetError{"HostHeader", err.Error(), err})
		}
	} else {
		if hostHeader = req.Host; !sameHost(hostHeader, req.URL, host) {
			return fail(HTTPRequestError, host, fmt.Errorf("the Host header is %.80q: %w", hostHeader, ErrHostMismatch))
		}
	}
	// In Unicode, net/http would encode it by rules of its own, and refuse more.
	if as := cmp.Or(hostHeader, req.URL.Host); hostname.ASCII(as) != as {
		hostHeader = hostname.ASCII(as)
	}
	p, err := t.pool(req.Context(), hostKey{scheme: scheme, host: host, port: portOf(req.URL, scheme)}, &target)
	switch {
	case lacksDescriptors(err): // to read a client certificate, which is no fault of the route
		return fail(ProxyInternalError, host, fmt.Errorf("%w: %w", ErrNoDescriptors, err))
	case err != nil:
		return fail(ProxyConfigurationError, host, err)
	}
	if scheme != req.URL.Scheme || hostHeader != req.Host {
		u, out := *req.URL, *req
		u.Scheme, out.URL, out.Host = scheme, &u, hostHeader
		req = &out
	}
	if err := http1.Check(req); err != nil {
		return fail(HTTPRequestError, host, err)
	}
	return p, t.budget(&target), req, nil
}

// ackTimeoutFor returns ackTimeout, and 0 for a request whose body may fill the other side's buffer.
func (t *Transport) ackTimeoutFor(req *http.Request) time.Duration {
	if hasLargeBody(req) {
		return 0
	}
	return t.ackTimeout()
}

// ackTimeout returns for how long sent data may be unacknowledged, and 0 for no bound.
func (t *Transport) ackTimeout() time.Duration { return bound(t.AckTimeout, defaultAckTimeout) }

func (t *Transport) init() {
	ping := max(t.PingTimeout, 0)
	header := t.maxHeader()
	if header <= math.MaxInt64-headerRoom {
		header += headerRoom
	}
	// The connections are not of type tls.Conn, and net/http speaks the protocol that it is told.
	var http2 http.Protocols
	http2.SetUnencryptedHTTP2(true)
	t.base = &http.Transport{
		DialContext:    handOver,
		DialTLSContext: handOver,
		Protocols:      &http2,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: ping, PingTimeout: ping,
			MaxReceiveBufferPerStream: streamBuffer, MaxReceiveBufferPerConnection: streamBuffer * maxStreams,
		},
		ResponseHeaderTimeout:  max(t.ResponseHeaderTimeout, 0),
		MaxResponseHeaderBytes: header,
		DisableCompression:     true,
		ExpectContinueTimeout:  time.Second,
	}
}

// maxHeader returns how large the header of a response may be, in bytes.
func (t *Transport) maxHeader() int64 {
	switch n := t.MaxResponseHeaderBytes; {
	case n == 0:
		return defaultMaxHeader
	case n < 0:
		return 10 << 20
	default:
		return n
	}
}

// canonicalHost returns the URL's host as hostname.Normalize returns it, or its IP address.
func canonicalHost(u *url.URL) (string, error) {
	if host := u.Hostname(); hostname.IsIP(host) {
		return host, nil
	}
	return hostname.Normalize(u.Host)
}

// checkForm refuses requests whose target (RFC 9112 section 3.2) would name another host than the Host header, and take precedence
// over it: "GET x:https://other.test/" reaches a proxy as a URL with an opaque part. It refuses CONNECT, which asks for a tunnel
// to a port of the client's choice.
func checkForm(req *http.Request) error {
	path := req.URL.EscapedPath()
	switch {
	case req.Method == http.MethodConnect:
		return errors.New("CONNECT is not forwarded")
	case req.URL.Opaque != "":
		return fmt.Errorf("the URL is opaque: %.80q", req.URL.Opaque)
	case path != "" && path != "*" && path[0] != '/':
		return fmt.Errorf("the path %.80q does not begin with a slash", path)
	}
	return nil
}

// sameHost reports whether a Host header names the URL's host. A middleware that rewrites only one of them would send a request
// for one customer to another's origin.
func sameHost(header string, u *url.URL, host string) bool {
	if header == "" || header == u.Host {
		return true
	}
	other, err := canonicalHost(&url.URL{Host: header})
	return err == nil && other == host
}

func portOf(u *url.URL, scheme string) string {
	if port := u.Port(); port != "" {
		return port
	}
	if scheme == "http" {
		return "80"
	}
	return "443"
}

// bound returns d, or its default if d is zero, or 0 for no bound if d is negative.
func bound(d, zero time.Duration) time.Duration {
	switch {
	case d == 0:
		return zero
	case d < 0:
		return 0
	}
	return d
}

func positive(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}
