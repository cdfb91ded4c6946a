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

// Transport is an http.RoundTripper that dials one host and names another. It is safe
// for concurrent use and meant to be made once and shared: the connections are in it.
// Its fields must not change after the first request.
//
// The zero Transport translates nothing, offers HTTP/1.1 alone, and refuses networks that are not
// public. A Target may list HTTP/2, and then requests share connections. The package comment has the
// rules.
//
// A connection that was unused for a while may be dead: the server, a load balancer or a NAT gateway
// gave it up, or this process was frozen meanwhile. Before a request goes out on an idle HTTP/1.1 connection,
// its socket is asked, without waiting. That does not tell of a server that hangs up at this very
// moment, nor of a path that drops packets silently. So a request that is not safe (RFC 9110 section 9.2.1: its method
// is not GET, HEAD, OPTIONS or TRACE) goes out on a connection that the origin has answered on a moment
// ago (see UnsafeReuse), or else on a new one. A safe request takes any connection; if that turns
// out to be dead, it is sent once more, on a new one. A safe request that an HTTP/2 server ends by RST_STREAM
// or GOAWAY, before an answer began, is sent once more too, and one whose HTTP/2 connection it has broken. Nothing else is ever sent twice,
// except what certainly was not processed: not a byte of it was written, or an HTTP/2 server said so
// (RFC 9113 section 8.7). An Idempotency-Key is no permission to repeat: in a proxy it is a stranger who
// sets it.
//
// A safe request that an origin answers with 421 (Misdirected Request) is sent once more, on a new
// connection; the second answer counts. The first connection gets no further request after any
// 421. A safe request is also sent once more if it was answered with 408 (Request Timeout) and
// close on a connection that was used before: it was the connection that was late, and not the request.
// All these reasons together repeat a request once.
//
// A request for another protocol (Connection: Upgrade, RFC 9110 section 7.8), such as a WebSocket's,
// needs a Target whose ALPN does not list "h2"; HTTP/2 has no such thing. If the origin answers
// with 101 (Switching Protocols), the body is an io.ReadWriteCloser, and the connection is the
// caller's until that is closed: no limit of the Transport ends it, nor does the request's context.
// A 101 that was not asked for is an error. The caller compares which protocol the origin has
// chosen.
//
// A request is sent again only if its body can be: if it has no Request.GetBody, the first 32 KiB of the body
// are kept for that.
type Transport struct {
	// Translate finds the Target of a request's host. Nil translates nothing.
	Translate Translator

	// ForceHTTPS refuses requests that would go out without TLS, with [ErrPlainHTTP].
	ForceHTTPS bool

	// RootCAs are the certificate authorities to trust for a Target without Roots. Nil means the system's.
	RootCAs *x509.CertPool

	// ClientCertificates has the certificates that Targets refer to. If it is nil, such a
	// Target is an error.
	ClientCertificates ClientCertificates

	// AllowCIDRs names networks that may be dialled although they are not public.
	AllowCIDRs []netip.Prefix

	// Resolver looks up the addresses of Targets. Nil means net.DefaultResolver.
	Resolver *net.Resolver

	// DialTimeout bounds the whole way to a connection: all addresses of a Target, with DNS,
	// TCP and TLS. An address that hangs gets no more than its share of it, so that the next
	// one has a chance. Zero means 15 seconds; negative means no bound but the request's
	// context. A Target with longer timeouts of its own makes it longer. A request that waits for one
	// of a bounded number of connections waits for as long, from when it began to look for one.
	DialTimeout time.Duration

	// ConnectTimeout bounds the connecting to one address of a Target, its look-up in DNS
	// included. Zero means 5 seconds; negative means no bound of its own.
	ConnectTimeout time.Duration

	// HandshakeTimeout bounds one TLS handshake. Zero means 5 seconds; negative means no
	// bound of its own.
	HandshakeTimeout time.Duration

	// AvoidFailed is for how long an address that could not be connected to is tried after the
	// other addresses of its Target. Zero means 30 seconds; negative means not at all.
	AvoidFailed time.Duration

	// IdleConnTimeout is how long an unused connection may be used again, by the wall clock: a
	// sandbox that was frozen for longer finds them expired. If an origin announces less (Keep-Alive:
	// timeout), that counts, minus a second or half of it. Zero means 55 seconds,
	// below the 60 of AWS load balancers. Negative means that connections are not reused.
	IdleConnTimeout time.Duration

	// UnsafeReuse is how long ago, by the wall clock, the origin must have answered on a connection
	// that is to carry a request which is not safe. Zero means half a second: servers are known
	// to hang up after one, and what is on its way then is lost. Half of what an origin announces
	// (Keep-Alive: timeout) is the most. Negative means that such requests always get a new
	// connection.
	UnsafeReuse time.Duration

	// ResponseHeaderTimeout bounds the wait for the headers of an answer, after the request was
	// sent. Zero or less means no bound but the request's context.
	ResponseHeaderTimeout time.Duration

	// MaxResponseHeaderBytes bounds the header of an answer, and each interim answer and trailer section
	// over HTTP/1.1: names and values, and four bytes for each field. More is an error, of type
	// HTTPResponseHeaderSectionSize, and the connection is not used again. Zero means 256 KiB, which is
	// what browsers take; negative means 10 MB, as net/http has it. If an HTTP/2 origin goes beyond it by more
	// than a megabyte, net/http ends the connection, with all that is on it, and calls it a protocol
	// error.
	MaxResponseHeaderBytes int64

	// AckTimeout bounds for how long what was sent may stay unacknowledged by the other side's
	// kernel. After that the path is dead, and the request fails with ConnectionTerminated. An
	// origin that thinks is not affected: it has acknowledged the request. There is no such bound for a
	// request with a body that is larger than 32 KiB or of unknown length: Linux also counts the time while
	// an origin does not read (TCP_USER_TIMEOUT, tcp(7)). Zero means 5 seconds. Negative means what the system does by
	// itself, which takes minutes; other systems than Linux and macOS always do that.
	AckTimeout time.Duration

	// PingTimeout bounds for how long an HTTP/2 connection may be silent before it is asked
	// whether it is alive, and again for how long the answer may take. Then all requests on it
	// fail with [ErrPingTimeout], also if the origin was only busy. Zero or less means that nobody asks:
	// AckTimeout tells a dead path from a busy origin.
	PingTimeout time.Duration

	// RememberFailure is for how long a TLS handshake that failed, by an alert, a certificate or a fault
	// of the protocol, is not tried again: requests for the same Target have the same error. A
	// client that asks again and again does not have the origin shake hands each time. Zero means a second; negative
	// means that each request tries.
	RememberFailure time.Duration

	// MaxIdleConns bounds the unused connections of all Targets together; the one that was
	// unused for the longest time is closed. Zero or less means 256: a Lambda function has
	// 1,024 file descriptors. A server with more of them, and many hosts, needs more.
	MaxIdleConns int

	// MaxIdleConnsPerTarget bounds the unused connections of one Target. Zero or less
	// means 100.
	MaxIdleConnsPerTarget int

	// MaxConnsPerTarget bounds the connections of one Target that has no MaxConns of its own: those in use, idle
	// ones, and those that are being made. Requests beyond it wait in order ([ErrConnLimit]). Zero
	// or less means no bound.
	MaxConnsPerTarget int

	// MaxTargets bounds for how many hosts the Target is remembered, and with it TLS sessions
	// and unused connections. The host that was not asked for for the longest time is
	// forgotten: its requests finish, then its connections close. Zero or less means 1,024.
	MaxTargets int

	// Observe, if it is not nil, is told of every request once its answer has begun or it
	// has failed. It is called on the goroutine of the request, with its context, by many
	// goroutines at once, and must not keep x.
	Observe func(ctx context.Context, x *Exchange)

	once sync.Once
	base *http.Transport // makes an HTTP/2 connection of a TLS connection, and nothing else

	mu      sync.Mutex
	targets targetCache
	conns   connList
}

// The values that a zero ConnectTimeout and a zero HandshakeTimeout of a [Transport] stand for.
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

	// headerRoom is how much more of a header net/http reads than is taken. Its own limit would end
	// an HTTP/2 connection, and so the requests of others, without saying why.
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
	body.settle(err == nil)
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

// ackTimeoutFor returns what ackTimeout does, and 0 while a body is sent that may fill the other side's
// buffer.
func (t *Transport) ackTimeoutFor(req *http.Request) time.Duration {
	if hasLargeBody(req) {
		return 0
	}
	return t.ackTimeout()
}

// ackTimeout returns how long what was sent may be unacknowledged, and 0 if that is not bounded.
func (t *Transport) ackTimeout() time.Duration { return bound(t.AckTimeout, defaultAckTimeout) }

func (t *Transport) init() {
	ping := max(t.PingTimeout, 0)
	header := t.maxHeader()
	if header <= math.MaxInt64-headerRoom {
		header += headerRoom
	}
	// What is handed over is no tls.Conn, and net/http goes by the protocol that it is told: it speaks
	// no other.
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

// maxHeader is how large the header of an answer may be.
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

// canonicalHost returns the URL's host as hostname.Normalize has it, or its IP address.
func canonicalHost(u *url.URL) (string, error) {
	if host := u.Hostname(); hostname.IsIP(host) {
		return host, nil
	}
	return hostname.Normalize(u.Host)
}

// checkForm refuses requests whose target (RFC 9112 section 3.2) would name another host than the
// Host header, and win over it: "GET x:https://other.test/" reaches a proxy as a URL with an
// opaque part. CONNECT asks for a tunnel, to a port of the client's choice.
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

// sameHost reports whether a Host header means the URL's host. A middleware that rewrites one
// and forgets the other would send a request for one customer to another's origin.
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

// bound returns d, its default if it is zero, and 0, "no bound", if it is negative.
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
