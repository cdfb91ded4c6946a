package sni

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

// Transport is an http.RoundTripper that dials one host and names another. It is safe
// for concurrent use and meant to be made once and shared: the connections are in it.
// Its fields must not change after the first request.
//
// The zero Transport translates nothing, speaks HTTP/1.1 and HTTP/2, and refuses networks
// that are not public.
//
// A request is sent again only as net/http does on a reused connection that turned out to be
// dead: where nothing of it was sent, or its method is GET, HEAD, OPTIONS or TRACE and it
// has no body or can rewind it. Idempotency-Key, which net/http takes for a permission to
// send a POST twice, is none here: in a proxy it is a stranger who sets it.
type Transport struct {
	// Translate finds the Target of a request's host. Nil translates nothing.
	Translate Translator

	// ForceHTTPS refuses requests that would go out without TLS, with [ErrPlainHTTP].
	ForceHTTPS bool

	// RootCAs are the certificate authorities to trust where a Target brings none of its own.
	// Nil means the system's.
	RootCAs *x509.CertPool

	// AllowCIDRs names networks that may be dialled although they are not public.
	AllowCIDRs []netip.Prefix

	// ConnectTimeout bounds the connecting to one address of a Target, its look-up in DNS
	// included. Zero means 5 seconds; negative means no bound but the request's context.
	ConnectTimeout time.Duration

	// HandshakeTimeout bounds one TLS handshake. Zero means 5 seconds; negative means no
	// bound but the request's context.
	HandshakeTimeout time.Duration

	// IdleConnTimeout is how long an unused connection may be used again, by the wall clock:
	// a sandbox that was frozen for longer finds none. Zero means 4 seconds, below
	// the 5 after which Node.js and Apache hang up; a request that is not safe to repeat is
	// lost where the server hangs up first. Negative means that connections are not reused.
	IdleConnTimeout time.Duration

	// ResponseHeaderTimeout bounds the wait for the headers of an answer, after the request was
	// sent. Zero or less means no bound but the request's context.
	ResponseHeaderTimeout time.Duration

	// PingTimeout bounds for how long an HTTP/2 connection with requests under way may be silent
	// before it is asked whether it is alive, and again for how long the answer may take. Without,
	// one flow that was lost fails every request of a busy host. Zero means 5 seconds;
	// negative means that nobody asks.
	PingTimeout time.Duration

	// MaxIdleConnsPerTarget bounds the unused connections of one pool, that is, of one server
	// name and Target. Zero or less means 100.
	MaxIdleConnsPerTarget int

	// MaxTargets bounds how many pools are kept, one for each server name and Target. The
	// one that was unused for the longest time is given up: its idle connections close, its
	// requests finish. Zero or less means 512.
	MaxTargets int

	mu    sync.Mutex
	pools poolCache
}

const (
	defaultConnectTimeout   = 5 * time.Second
	defaultHandshakeTimeout = 5 * time.Second
	defaultIdleConnTimeout  = 4 * time.Second
	defaultMaxIdleConns     = 100
	defaultMaxTargets       = 512
	defaultPingTimeout      = 5 * time.Second
)

// RoundTrip sends req to the Target of its host. Its errors are of type *[Error].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	p, out, err := t.prepare(req)
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	d := &dialState{}
	if end, ok := req.Context().Deadline(); ok {
		d.deadline = end
	}
	resp, err := p.http.RoundTrip(out.WithContext(context.WithValue(req.Context(), dialKey{}, d)))
	if err != nil {
		return nil, exchangeError(p.key.serverName, d, err)
	}
	return resp, nil
}

// CloseIdleConnections closes the connections that no request uses.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	all := t.pools.all()
	t.mu.Unlock()
	for _, p := range all {
		p.http.CloseIdleConnections()
	}
}

// prepare finds the pool for req and the request as it goes to that pool.
func (t *Transport) prepare(req *http.Request) (*pool, *http.Request, error) {
	if req.URL == nil {
		return nil, nil, &Error{Type: HTTPRequestError, Err: errors.New("request has no URL")}
	}
	host, err := canonicalHost(req.URL)
	if err != nil {
		return nil, nil, &Error{Type: HTTPRequestError, Err: err}
	}
	var target Target
	if t.Translate != nil {
		if target, err = t.Translate.Translate(req.Context(), host); err != nil {
			return nil, nil, &Error{Type: ProxyInternalError, ServerName: host, Err: fmt.Errorf("translate: %w", err)}
		}
	}
	scheme := req.URL.Scheme
	if target.Scheme != "" {
		scheme = target.Scheme
	}
	switch {
	case scheme != "https" && scheme != "http":
		return nil, nil, &Error{Type: HTTPRequestError, ServerName: host, Err: fmt.Errorf("scheme %q is neither https nor http", scheme)}
	case scheme == "http" && t.ForceHTTPS:
		return nil, nil, &Error{Type: ProxyConfigurationError, ServerName: host, Err: ErrPlainHTTP}
	}
	p, err := t.pool(&target, host)
	if err != nil {
		return nil, nil, &Error{Type: ProxyConfigurationError, ServerName: host, Err: err}
	}
	return p, canonicalRequest(req, scheme, p.key.serverName), nil
}

// pool returns the pool for requests to host under target, and makes it where it is new.
func (t *Transport) pool(target *Target, host string) (*pool, error) {
	serverName, err := target.serverName(host)
	if err != nil {
		return nil, err
	}
	if len(target.Addresses) == 0 && serverName != host {
		// The pool goes by server name: what is dialled has to be in the key where it is
		// another, or two hosts would share it.
		target.Addresses = []string{hostname.JoinAddress(host, "")}
	}
	k := target.key(serverName)
	t.mu.Lock()
	p := t.pools.get(k)
	t.mu.Unlock()
	if p != nil {
		return p, nil
	}
	if p, err = t.newPool(target, k); err != nil {
		return nil, err
	}
	t.mu.Lock()
	p, evicted := t.pools.add(p, positive(t.MaxTargets, defaultMaxTargets))
	t.mu.Unlock()
	if evicted != nil {
		// Running requests finish. Over HTTP/1 their connections close after it; over HTTP/2
		// they do once they have been idle for IdleConnTimeout.
		evicted.http.CloseIdleConnections()
	}
	return p, nil
}

// A pool is an http.Transport of its own for one key. That no connection can cross
// keys needs no further proof: there is nothing through which it could.
type pool struct {
	key       key
	addresses []hostPort // empty: the requested host
	tls       *tls.Config
	dialer    net.Dialer
	handshake time.Duration
	http      *http.Transport
}

func (t *Transport) newPool(target *Target, k key) (*pool, error) {
	addresses, err := target.addresses()
	if err != nil {
		return nil, err
	}
	config, err := target.tlsConfig(k.serverName, t.RootCAs)
	if err != nil {
		return nil, err
	}
	p := &pool{
		key:       k,
		addresses: addresses,
		tls:       config,
		handshake: bound(t.HandshakeTimeout, defaultHandshakeTimeout),
		dialer: net.Dialer{
			Timeout:        bound(t.ConnectTimeout, defaultConnectTimeout),
			ControlContext: guard{t.AllowCIDRs}.control,
		},
	}
	ping := bound(t.PingTimeout, defaultPingTimeout)
	p.http = &http.Transport{
		DialContext:           p.dialPlain,
		DialTLSContext:        p.dialTLS,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: ping, PingTimeout: ping},
		ResponseHeaderTimeout: max(t.ResponseHeaderTimeout, 0),
		DisableCompression:    true,
		DisableKeepAlives:     t.IdleConnTimeout < 0,
		MaxIdleConnsPerHost:   positive(t.MaxIdleConnsPerTarget, defaultMaxIdleConns),
		IdleConnTimeout:       bound(t.IdleConnTimeout, defaultIdleConnTimeout),
		ExpectContinueTimeout: time.Second,
	}
	return p, nil
}

// dialState is what a request and the dialling on its behalf know of each other. net/http
// dials apart from the request's context, to keep the connection for others; without the
// deadline it would go on for seconds after a Lambda function has replied.
type dialState struct {
	deadline time.Time   // zero: none
	pending  atomic.Bool // from the begin of dialling until there is a connection
}

type dialKey struct{}

func (p *pool) dialPlain(ctx context.Context, network, requested string) (net.Conn, error) {
	return p.dialEach(ctx, requested, func(ctx context.Context, address string) (net.Conn, error) {
		return p.connect(ctx, network, address)
	})
}

func (p *pool) dialTLS(ctx context.Context, network, requested string) (net.Conn, error) {
	return p.dialEach(ctx, requested, func(ctx context.Context, address string) (net.Conn, error) {
		raw, err := p.connect(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if p.handshake > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, p.handshake)
			defer cancel()
		}
		conn := tls.Client(raw, p.tls)
		if err := conn.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, &Error{handshakeErrorType(err), p.key.serverName, address, fmt.Errorf("TLS handshake: %w", err)}
		}
		return conn, nil
	})
}

func (p *pool) connect(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := p.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, &Error{connectErrorType(err), p.key.serverName, address, err}
	}
	return conn, nil
}

// dialEach tries the addresses in turn. A certificate that does not verify ends it: who
// answers under the customer's name with the wrong certificate is a finding, and trying on
// would hide it.
func (p *pool) dialEach(ctx context.Context, requested string, dial func(context.Context, string) (net.Conn, error)) (conn net.Conn, err error) {
	if d, ok := ctx.Value(dialKey{}).(*dialState); ok {
		d.pending.Store(true)
		defer func() { d.pending.Store(err != nil) }()
		if !d.deadline.IsZero() {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, d.deadline)
			defer cancel()
		}
	}
	if len(p.addresses) == 0 {
		return dial(ctx, requested)
	}
	_, requestedPort, err := net.SplitHostPort(requested)
	if err != nil {
		return nil, &Error{HTTPRequestError, p.key.serverName, "", err}
	}
	var first error
	for _, a := range p.addresses {
		port := a.port
		if port == "" {
			port = requestedPort
		}
		if conn, err = dial(ctx, net.JoinHostPort(a.host, port)); err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
		var e *Error
		if errors.As(err, &e) && e.Type == TLSCertificateError {
			return nil, err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// exchangeError gives what net/http says the type that dialling has given it already.
func exchangeError(serverName string, d *dialState, err error) error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case isTimeout(err) && d.pending.Load():
		return &Error{Type: ConnectionTimeout, ServerName: serverName, Err: err}
	}
	return &Error{Type: exchangeErrorType(err), ServerName: serverName, Err: err}
}

// canonicalHost returns the URL's host as hostname.Normalize has it, or its IP address.
func canonicalHost(u *url.URL) (string, error) {
	if host := u.Hostname(); hostname.IsIP(host) {
		return host, nil
	}
	return hostname.Normalize(u.Host)
}

// canonicalRequest returns req with the scheme, and with the server name as the URL's host:
// the pool below tells connections apart by it. The Host header keeps the client's.
func canonicalRequest(req *http.Request, scheme, serverName string) *http.Request {
	authority := serverName
	if hostname.IsIP(serverName) {
		authority = req.URL.Host // as it is: brackets, zone, port
	} else if port := req.URL.Port(); port != "" {
		authority += ":" + port
	}
	replayable := claimsToBeReplayable(req)
	if req.URL.Scheme == scheme && req.URL.Host == authority && !replayable {
		return req
	}
	u := *req.URL
	u.Scheme, u.Host = scheme, authority
	out := *req
	out.URL = &u
	if out.Host == "" {
		out.Host = req.URL.Host
	}
	if replayable {
		out.Header = req.Header.Clone()
		for _, name := range replayHeaders {
			if values, ok := out.Header[name]; ok {
				delete(out.Header, name)
				out.Header[strings.ToLower(name)] = values
			}
		}
	}
	return &out
}

// replayHeaders make net/http repeat requests. It looks for them in their canonical
// spelling; on the way to the origin, the spelling is of no importance.
var replayHeaders = []string{"Idempotency-Key", "X-Idempotency-Key"}

// claimsToBeReplayable reports whether net/http would send req twice because of what the
// client says, though its method is not safe.
func claimsToBeReplayable(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return false
	}
	return slices.ContainsFunc(replayHeaders, func(name string) bool { return req.Header[name] != nil })
}

// bound returns d, its default where it is zero, and 0, "no bound", where it is negative.
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
