package sni

import (
	"context"
	"crypto/sha256"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"sync"
	"time"
)

// An Exchange says how one request was sent, for [Transport.Observe]. A step that did not happen is zero: a request on an
// existing connection has no Connect, and a request that failed early has no connection. If a request was sent more than once,
// the connection is the last one, and the durations are sums.
type Exchange struct {
	Host       string         // the requested host, as Translate got it
	ServerName string         // in the connection's handshake; empty for plain HTTP
	Address    string         // the address of the Target that was dialled: name and port
	RemoteAddr netip.AddrPort // the IP address and port of the connection
	Protocol   string         // "HTTP/1.1" or "HTTP/2"

	TLSVersion   uint16    // as in crypto/tls; zero for plain HTTP
	CipherSuite  uint16    // as in crypto/tls
	Resumed      bool      // the handshake resumed a session
	LeafSHA256   [32]byte  // of the origin's certificate
	LeafNotAfter time.Time // when that expires

	Reused bool // the connection has carried other requests
	Sent   int  // how many times the request was sent, or a part of its header

	Translate time.Duration // in the Translator
	DNS       time.Duration
	Connect   time.Duration // in TCP, for all addresses that were tried
	Handshake time.Duration // in TLS
	Answer    time.Duration // from the first byte of the request to the header of the response
	Total     time.Duration

	Status int   // of the response; zero without a response
	Err    error // that RoundTrip returns

	start time.Time
	last  time.Duration // from start to the last response
}

// The methods below do nothing for a nil Exchange, so that nothing is measured without an observer.

// passed returns the time since the request began. It costs half as much as time.Now.
func (x *Exchange) passed() time.Duration {
	if x == nil {
		return 0
	}
	return time.Since(x.start)
}

// translated is called when the Translator has returned.
func (x *Exchange) translated(host string) {
	if x != nil {
		x.Host, x.Translate = host, x.passed()
	}
}

// watchDNS returns a context for a dialer, and the time that the dialer will spend in DNS.
func (x *Exchange) watchDNS(ctx context.Context) (context.Context, *dnsWatch) {
	if x == nil {
		return ctx, nil
	}
	w := &dnsWatch{}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { w.mu.Lock(); w.start = time.Now(); w.mu.Unlock() },
		DNSDone:  func(httptrace.DNSDoneInfo) { w.mu.Lock(); w.took = time.Since(w.start); w.mu.Unlock() },
	}), w
}

type dnsWatch struct {
	mu    sync.Mutex
	start time.Time
	took  time.Duration
}

func (x *Exchange) connected(begin time.Duration, w *dnsWatch) {
	if x != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		x.DNS += w.took
		x.Connect += x.passed() - begin - w.took
	}
}

func (x *Exchange) shook(begin time.Duration) {
	if x != nil {
		x.Handshake += x.passed() - begin
	}
}

// got notes the connection of the request.
func (x *Exchange) got(l lease) {
	if x == nil {
		return
	}
	c := l.about()
	x.ServerName, x.Address, x.RemoteAddr, x.Protocol = c.ServerName, c.Address, c.RemoteAddr, c.Protocol
	x.TLSVersion, x.CipherSuite, x.Resumed = c.TLSVersion, c.CipherSuite, c.Resumed
	x.LeafSHA256, x.LeafNotAfter = c.LeafSHA256, c.LeafNotAfter
	x.Reused = l.reused
}

// about returns the facts that are the same for all requests on a conn. It computes them once: a hash for each request would be
// most of the cost of observing it.
func (c *conn) about() *Exchange {
	c.aboutOnce.Do(func() {
		x := &Exchange{Address: c.address.String(), Protocol: "HTTP/1.1"}
		if c.h2 != nil {
			x.Protocol = "HTTP/2"
		}
		if tcp, ok := c.raw.RemoteAddr().(*net.TCPAddr); ok {
			ap := tcp.AddrPort()
			x.RemoteAddr = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
		}
		if s := c.tls; s != nil {
			leaf := s.PeerCertificates[0]
			x.ServerName, x.TLSVersion, x.CipherSuite, x.Resumed = s.ServerName, s.Version, s.CipherSuite, s.DidResume
			x.LeafSHA256, x.LeafNotAfter = sha256.Sum256(leaf.Raw), leaf.NotAfter
		}
		c.aboutValue = x
	})
	return c.aboutValue
}

// wrote is called when the request was written to a connection.
func (x *Exchange) wrote() {
	if x != nil {
		x.Sent++
	}
}

func (x *Exchange) answered(begin time.Duration) {
	if x != nil {
		x.last = x.passed()
		x.Answer += x.last - begin
	}
}

func (x *Exchange) finish(resp *http.Response, err error) {
	if resp != nil {
		x.Status = resp.StatusCode
	}
	if err != nil {
		x.last = x.passed() // without a response, or in an attempt after it
	}
	x.Err, x.Total = err, x.last
}
