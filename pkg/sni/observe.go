package sni

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"sync"
	"time"
)

// An Exchange is what one request went through, for [Transport.Observe]. What did not happen is
// zero: a request on a connection of before was not dialled for, one that failed early has no
// connection. Where a request was sent more than once, the connection is the last one,
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
	Sent   int  // how many times the request was sent

	Translate time.Duration // in the Translator
	DNS       time.Duration
	Connect   time.Duration // in TCP, all addresses that were tried
	Handshake time.Duration // in TLS
	Answer    time.Duration // from the request's first byte to the headers of its answer
	Total     time.Duration

	Status int   // of the answer; zero where there is none
	Err    error // of RoundTrip

	start time.Time
}

// The methods below do nothing for a nil Exchange, so that nothing is measured where
// nobody looks.

func (x *Exchange) now() time.Time {
	if x == nil {
		return time.Time{}
	}
	return time.Now()
}

func (x *Exchange) translated(host string, begin time.Time) {
	if x != nil {
		x.Host, x.Translate = host, time.Since(begin)
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

func (x *Exchange) connected(begin time.Time, w *dnsWatch) {
	if x != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		x.DNS += w.took
		x.Connect += time.Since(begin) - w.took
	}
}

func (x *Exchange) shook(begin time.Time) {
	if x != nil {
		x.Handshake += time.Since(begin)
	}
}

// got notes the connection that the request goes out on.
func (x *Exchange) got(l lease) {
	if x == nil {
		return
	}
	x.Reused, x.Address, x.Protocol = l.reused, l.address.String(), "HTTP/1.1"
	if l.http2 {
		x.Protocol = "HTTP/2"
	}
	if tcp, ok := l.raw.RemoteAddr().(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		x.RemoteAddr = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	if l.tls != nil {
		x.setTLS(l.tls)
	}
}

func (x *Exchange) setTLS(s *tls.ConnectionState) {
	x.ServerName, x.TLSVersion, x.CipherSuite, x.Resumed = s.ServerName, s.Version, s.CipherSuite, s.DidResume
	leaf := s.PeerCertificates[0]
	x.LeafSHA256, x.LeafNotAfter = sha256.Sum256(leaf.Raw), leaf.NotAfter
}

func (x *Exchange) answered(begin time.Time) {
	if x != nil {
		x.Sent++
		x.Answer += time.Since(begin)
	}
}

func (x *Exchange) finish(resp *http.Response, err error) {
	if resp != nil {
		x.Status = resp.StatusCode
	}
	x.Err, x.Total = err, time.Since(x.start)
}
