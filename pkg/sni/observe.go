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

// An Exchange is what one request went through, for [Transport.Observe]. A step that did not happen is
// zero: a request on a connection that was there has no Connect, one that failed early has no
// connection. If a request was sent more than once, the connection is the last one,
// and the durations are sums.
type Exchange struct {
	Host       string         // that was asked for, as it was looked up
	ServerName string         // in the connection's handshake; empty for plain HTTP
	Address    string         // of the Target, as it was dialled: name and port
	RemoteAddr netip.AddrPort // the very address that the connection is to
	Protocol   string         // "HTTP/1.1" or "HTTP/2"

	TLSVersion   uint16    // as in crypto/tls; zero for plain HTTP
	CipherSuite  uint16    // as in crypto/tls
	Resumed      bool      // the handshake resumed a session
	LeafSHA256   [32]byte  // of the origin's certificate
	LeafNotAfter time.Time // when that expires

	Reused bool // the connection carried requests before
	Sent   int  // how many times the request was sent: its header, or a part of that

	Translate time.Duration // in the Translator
	DNS       time.Duration
	Connect   time.Duration // in TCP, all addresses that were tried
	Handshake time.Duration // in TLS
	Answer    time.Duration // from the request's first byte to the headers of its answer
	Total     time.Duration

	Status int   // of the answer; zero where there is none
	Err    error // of RoundTrip

	start time.Time
	last  time.Duration // from start to the last answer
}

// The methods below do nothing for a nil Exchange, so that nothing is measured where
// nobody looks.

// passed is the time since the request began. Asking for it costs half of what asking for the time does.
func (x *Exchange) passed() time.Duration {
	if x == nil {
		return 0
	}
	return time.Since(x.start)
}

// translated is called when the Translator has answered, which is the first that takes time.
func (x *Exchange) translated(host string) {
	if x != nil {
		x.Host, x.Translate = host, x.passed()
	}
}

// watchDNS returns a context in which a dialler tells how long it took to look a name up.
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

// got notes the connection that the request goes out on.
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

// about returns what is the same for all requests on a conn. It is found out once: a hash for
// each request would be the most of what watching them costs.
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

// wrote is called when the request went out on a connection.
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
		x.last = x.passed() // there may be no answer, or another attempt after it
	}
	x.Err, x.Total = err, x.last
}
