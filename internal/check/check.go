// Package check proves that a route works, before and after it goes live. It does what the proxy would do: it sends a request through
// pkg/sni to each address of the origin, with the proxy's target for the route. It reports the result, the cause, and what to
// change.
//
// So the same code verifies the same things as in the proxy. Nothing is sent to an address that the proxy would not dial, and
// nothing on a connection that did not verify. If the first try leaves open which of two causes a failure has, or whether the
// origin supports HTTP/2, further tries find out (see tryAgain).
package check

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/proxy"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Checker checks routes as a proxy with the same settings would use them. It is safe for concurrent use. The fields must not change after
// the first check.
type Checker struct {
	// The settings of the proxy.
	AllowCIDRs         []netip.Prefix         // networks that may be dialled, although they are not public
	ForceHTTPS         bool                   // whether routes with http:// are refused
	ClientCertificates sni.ClientCertificates // the certificates that routes name; nil has no certificates
	Timeouts           proxy.Timeouts         // Connect and Handshake, for routes without their own
	LoopID             string                 // the name of the proxy in CDN-Loop; empty means "sleight"

	// RootCAs are the roots for routes without their own. Nil means the system's roots.
	RootCAs *x509.CertPool

	// Resolver looks up the names of hosts and of origins. Nil means net.DefaultResolver.
	Resolver *net.Resolver

	// Target has the names or IP addresses of the proxy, such as the target of an API Gateway domain. The DNS of hosts must
	// lead there. If it is empty, that is not checked.
	Target []string

	// Method and Path are those of the request. Empty values mean GET and /.
	Method, Path string

	// Timeout bounds each lookup, and the time of each address from connecting to the beginning of the response. Zero or less
	// means 15 seconds. The wait for other checks (see Parallel) does not count.
	Timeout time.Duration

	// WarnDays is the number of days that certificates must still be valid. Fewer days are a warning. Zero means 14. Negative
	// means no warnings.
	WarnDays int

	// Parallel bounds the lookups and addresses under way in all checks together. An address takes one file descriptor, and a
	// lookup takes two. Zero or less means 32.
	Parallel int

	once  sync.Once
	slots chan struct{}

	targetMu sync.Mutex
	targets  *clientTarget // the result of the lookup; nil before it
}

const (
	defaultTimeout  = 15 * time.Second
	defaultWarnDays = 14
	defaultParallel = 32

	// maxIPs bounds the addresses of one name that are tried. Ordinary names have fewer.
	maxIPs = 32
)

func (c *Checker) init() {
	c.slots = make(chan struct{}, c.parallel())
}

func (c *Checker) parallel() int {
	if c.Parallel > 0 {
		return c.Parallel
	}
	return defaultParallel
}

func (c *Checker) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return defaultTimeout
}

// enter waits for a slot, and returns a function that frees it. It returns false if ctx ended before.
func (c *Checker) enter(ctx context.Context) (leave func(), ok bool) {
	c.once.Do(c.init)
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots }, true
	case <-ctx.Done():
		return nil, false
	}
}

// HostToCheck returns the name to check a route with: its host, or a name that its wildcard covers. as is the wanted name. If it is
// empty, HostToCheck makes up a label for a wildcard.
func HostToCheck(key, as string) (string, error) {
	pattern, err := hostname.NormalizePattern(key)
	if err != nil {
		return "", err
	}
	parent, wild := strings.CutPrefix(pattern, "*.")
	switch {
	case as == "" && wild:
		return madeUp + "." + parent, nil
	case as == "":
		return pattern, nil
	}
	name, err := hostname.Normalize(as)
	if err != nil {
		return "", err
	}
	if covering, ok := hostname.Wildcard(name); name != pattern && (!ok || covering != pattern) {
		return "", fmt.Errorf("the route %[2]q does not cover %[1]q", name, pattern)
	}
	return name, nil
}

// madeUp is the label for the star of a wildcard.
const madeUp = "sleight-check"

// CheckItem is [Checker.Check] for a stored item. An item that is not a valid route fails.
func (c *Checker) CheckItem(ctx context.Context, host string, item origin.Item) *Result {
	route, err := item.Route()
	if err != nil {
		r := Invalid(item.Host(), err)
		r.Host = host
		return r
	}
	return c.Check(ctx, host, route)
}

// Check checks a route for one of its hosts. If ctx ends, it returns early, and the result says so.
func (c *Checker) Check(ctx context.Context, host string, route *origin.Route) *Result {
	began := now()
	r := &Result{
		Host: host, Route: route.Host, State: route.State(began), CheckedAt: began,
		ServerName: serverName(route, host), HostHeader: hostHeader(route, host),
		Origins: make([]Origin, len(route.Addresses)),
	}
	var client *ClientDNS
	var all sync.WaitGroup
	all.Go(func() { client = c.clientDNS(ctx, host) })
	for i, address := range route.Addresses {
		all.Go(func() { r.Origins[i] = c.origin(ctx, host, route, address) })
	}
	all.Wait()
	r.Client = client
	r.Took = took(began)
	if ctx.Err() != nil {
		r.add(Finding{Level: LevelFail, Code: "interrupted", Message: "the check was interrupted"})
		r.conclude()
		return r
	}
	r.judge(ctx, c)
	return r
}

// serverName returns the name to send as SNI and to verify, for a host of the route. It is empty without TLS.
func serverName(route *origin.Route, host string) string {
	if route.Scheme != "https" {
		return ""
	}
	return cmp.Or(route.ServerName, host)
}

// hostHeader returns the Host to send.
func hostHeader(route *origin.Route, host string) string { return cmp.Or(route.HostHeader, host) }

// origin checks one entry of a route's origin.
func (c *Checker) origin(ctx context.Context, host string, route *origin.Route, address string) Origin {
	at, port, err := hostname.SplitAddress(address)
	if err != nil { // valid routes have no such entry
		return Origin{Address: address, Error: err.Error(), Status: Fail, IPs: []Probe{}}
	}
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[route.Scheme]
	}
	o := Origin{Address: net.JoinHostPort(at, port), name: at, IPs: []Probe{}, refused: c.ForceHTTPS && route.Scheme == "http"}
	var ips []netip.Addr
	if ip, err := netip.ParseAddr(at); err == nil {
		ips = []netip.Addr{ip}
	} else {
		found := c.lookup(ctx, at)
		o.CNAME, o.DNS, o.dnsErr = found.cname, &found.took, found.err
		if found.err != nil {
			o.Error = dnsText(found.err)
		}
		ips = found.ips
	}
	if o.left = len(ips) - maxIPs; o.left > 0 {
		ips = ips[:maxIPs]
	}
	o.IPs = make([]Probe, len(ips))
	var all sync.WaitGroup
	for i, ip := range ips {
		all.Go(func() { o.IPs[i] = c.probe(ctx, host, route, at, ip, port) })
	}
	all.Wait()
	return o
}

// Mapping is a route to check, and the host to check it with.
type Mapping struct {
	Host string
	Item origin.Item
}

// All checks many routes. It returns the results in the order of their ends. done, if it is not nil, is called after each
// check, by one goroutine at a time. The error is that of ctx.
func (c *Checker) All(ctx context.Context, mappings []Mapping, done func(*Result)) ([]*Result, error) {
	var (
		mu      sync.Mutex
		results = make([]*Result, 0, len(mappings))
		work    = make(chan Mapping)
		all     sync.WaitGroup
	)
	for range min(c.parallel(), len(mappings)) {
		all.Go(func() {
			for m := range work {
				r := c.CheckItem(ctx, m.Host, m.Item)
				mu.Lock()
				results = append(results, r)
				if done != nil && ctx.Err() == nil {
					done(r)
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range mappings {
		if ctx.Err() != nil {
			break
		}
		work <- m
	}
	close(work)
	all.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return results, nil
}

func (c *Checker) method() string { return cmp.Or(c.Method, http.MethodGet) }

// now returns the time without its monotonic reading, because it is compared with the times in certificates.
func now() time.Time { return time.Now().Round(0) }
