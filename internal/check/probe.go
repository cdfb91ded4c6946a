package check

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/proxy"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// facts has everything that is known about one address, for the tables of advice.
type facts struct {
	checker *Checker
	host    string // of the request
	name    string // to verify; empty without TLS
	route   *origin.Route
	origin  string // name or address in the entry, without port
	port    string
	ip      netip.Addr
	now     time.Time

	exchange  sni.Exchange
	err       *sni.Error // nil if there is a response
	asked     bool       // whether the origin asked for a client certificate
	shaken    bool       // whether the handshake succeeded, and the certificate verified
	state     tls.ConnectionState
	presented []*x509.Certificate
	chain     []*x509.Certificate // the chain that verified, the leaf first
	response  *http.Response      // its body is closed
	body      string              // the beginning of the body

	change  func(*sni.Target) // the change of a further try; nil in the first try
	offered []string          // protocols, in the handshake

	// The results of further tries (see tryAgain).
	renamed *facts // of a request with one name; nil if there was no such request
	unnamed bool   // whether only a handshake without a name was answered
	http2   *bool  // whether the origin agrees to HTTP/2; nil if that is not known
	instead string // the protocol of the origin, if the request failed because it was not offered; otherwise empty
}

// probe sends the request to one address, and returns the result with its findings.
func (c *Checker) probe(ctx context.Context, host string, route *origin.Route, entry string, ip netip.Addr, port string) Probe {
	p := Probe{IP: ip.String()}
	leave, ok := c.enter(ctx)
	if !ok {
		p.Status, p.Error = Fail, &Failure{string(sni.ConnectionTimeout), context.Cause(ctx).Error()}
		return p
	}
	defer leave()
	f := &facts{checker: c, host: host, name: serverName(route, host), route: route, origin: entry, ip: ip, port: port, now: now()}
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	f.ask(ctx)
	f.tryAgain(ctx)
	p.describe(f)
	p.findings = advise(f)
	p.answered = f.exchange.RemoteAddr.IsValid() || f.err != nil && f.err.Type == sni.TLSCertificateError
	for _, finding := range p.findings {
		if s := finding.Level.status(); s.rank() > p.Status.rank() {
			p.Status = s
		}
	}
	switch {
	case f.err != nil && isElsewhere(f):
		p.Status = Skipped
	case p.Status == "":
		p.Status = OK
	}
	return p
}

// ask sends the request as the proxy would.
func (f *facts) ask(ctx context.Context) {
	transport := f.transport()
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(f.request(ctx))
	if err != nil {
		f.setError(err)
		return
	}
	f.response = response
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxBody)) // a part of the body is enough
	response.Body.Close()
	f.body = string(body)
}

// shake connects and makes the handshake as ask does, and sends no request.
func (f *facts) shake(ctx context.Context) {
	transport := f.transport()
	defer transport.CloseIdleConnections()
	if err := transport.Connect(f.watch(ctx), &url.URL{Scheme: f.route.Scheme, Host: f.host}); err != nil {
		f.setError(err)
	}
}

func (f *facts) setError(err error) {
	if failed, ok := errors.AsType[*sni.Error](err); ok {
		f.err = failed
	} else {
		f.err = &sni.Error{Type: sni.ProxyInternalError, Err: err}
	}
}

// transport returns the transport for one try, to this address only. Each try has its own transport, because connections and sessions
// of another try prove nothing.
func (f *facts) transport() *sni.Transport {
	c := f.checker
	target := proxy.Target(f.route)
	target.Addresses = []string{net.JoinHostPort(f.ip.String(), f.port)}
	if f.change != nil {
		f.change(&target)
	}
	if f.offered = target.ALPN; len(f.offered) == 0 {
		f.offered = []string{alpnHTTP1}
	}
	timeouts := c.Timeouts.For(f.route)
	target.ConnectTimeout, target.HandshakeTimeout = timeouts.Connect, timeouts.Handshake
	return &sni.Transport{
		Translate:          sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) { return target, nil }),
		ForceHTTPS:         c.ForceHTTPS,
		RootCAs:            c.RootCAs,
		ClientCertificates: c.ClientCertificates,
		AllowCIDRs:         c.AllowCIDRs,
		IdleConnTimeout:    -1,
		Observe:            func(_ context.Context, x *sni.Exchange) { f.exchange = *x },
	}
}

// watch returns a context that records the handshake in f.
func (f *facts) watch(ctx context.Context) context.Context {
	ctx = sni.WithCertificateRequest(ctx, func(*tls.CertificateRequestInfo) { f.asked = true })
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{TLSHandshakeDone: func(state tls.ConnectionState, err error) {
		f.state, f.shaken = state, err == nil
		f.presented = state.PeerCertificates
		if failed, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			f.presented = failed.UnverifiedCertificates
		}
		f.chain = longestLasting(state.VerifiedChains)
	}})
}

// request returns the request that the proxy would send for a client behind an HTTPS front.
func (f *facts) request(ctx context.Context) *http.Request {
	const self = "sleight"
	u := &url.URL{Path: f.path()}
	if parsed, err := url.ParseRequestURI(f.path()); err == nil {
		u = parsed
	}
	u.Scheme, u.Host = f.route.Scheme, f.host
	return (&http.Request{Method: f.checker.method(), URL: u, Host: f.host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
		"Accept":            {"*/*"},
		"User-Agent":        {"sleight-check"},
		"Via":               {"1.1 " + self},
		"Cdn-Loop":          {cmp.Or(f.checker.LoopID, self)}, // if the origin is a proxy with that name, it refuses the request
		"X-Forwarded-Host":  {f.host},
		"X-Forwarded-Proto": {"https"},
	}}).WithContext(f.watch(ctx))
}

// describe fills in the result from the facts.
func (p *Probe) describe(f *facts) {
	if f.err != nil {
		p.Error = &Failure{string(f.err.Type), cutAt(f.err.Error(), maxMessage)}
	}
	phase := func(into **Millis, took time.Duration) {
		if took > 0 {
			m := Millis(took)
			*into = &m
		}
	}
	phase(&p.Connect, f.exchange.Connect)
	phase(&p.Handshake, f.exchange.Handshake)
	if f.response != nil {
		phase(&p.FirstByte, f.exchange.Answer)
		p.HTTP = &HTTP{
			Protocol: f.exchange.Protocol, Method: f.response.Request.Method, Path: f.response.Request.URL.RequestURI(), Status: f.response.StatusCode,
			Location: cut(f.response.Header.Get("Location")), Server: cut(f.response.Header.Get("Server")),
		}
	}
	if f.name == "" || f.exchange.Handshake == 0 {
		return
	}
	p.TLS = &TLS{ServerName: f.name, Verified: f.shaken, ClientCertWanted: f.asked, SpeaksHTTP2: f.http2}
	if f.state.Version != 0 {
		p.TLS.Version, p.TLS.ALPN = tls.VersionName(f.state.Version), f.state.NegotiatedProtocol
		p.TLS.CipherSuite = tls.CipherSuiteName(f.state.CipherSuite)
	}
	if wrong := reasonOf(f); wrong != nil {
		p.TLS.VerificationError = wrong.Error()
	}
	p.Certificates = describeChain(f.presented, f.chain, f.now)
	for _, certificate := range f.chain {
		if slices.Contains(f.route.SPKIPins, pinOf(certificate)) {
			p.TLS.PinsMatched = append(p.TLS.PinsMatched, base64Pin(certificate))
		}
	}
	if f.shaken {
		days := daysLeft(endOf(f.chain), f.now)
		p.daysLeft = &days
	}
}

// isElsewhere reports whether an address could not be reached because of the place where the check runs.
func isElsewhere(f *facts) bool {
	return f.err.Type == sni.DestinationIPUnroutable && f.ip.Is6()
}
