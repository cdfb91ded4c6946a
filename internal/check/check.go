// Package check proves that a route works, before and after it goes live, by doing what the
// proxy would do: it sends a request through pkg/sni, under the target that the proxy makes of the
// route, to every address of the origin one by one, and says what came of it, why, and what to
// change.
//
// What is verified here is therefore what the proxy verifies, by the same code. Nothing is sent to
// an address that the proxy would not dial, and nothing over a connection that did not verify. If the
// first try leaves open which of two causes a failure has, or whether the origin speaks HTTP/2, further
// tries tell (see tryAgain).
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

// Checker checks routes as a proxy with the same settings would use them. It is safe for concurrent
// use; its fields must not change after the first check.
type Checker struct {
	// What the proxy has, or is going to have.
	AllowCIDRs         []netip.Prefix         // networks that may be dialled although not public
	ForceHTTPS         bool                   // refuses routes with http://
	ClientCertificates sni.ClientCertificates // what routes refer to; nil has none
	Timeouts           proxy.Timeouts         // Connect and Handshake, where a route has none of its own
	LoopID             string                 // by which the proxy knows its own requests again; empty means "sleight"

	// RootCAs are trusted where a route brings no roots. Nil means the system's.
	RootCAs *x509.CertPool

	// Resolver looks names up, the clients' and the origins'. Nil means net.DefaultResolver.
	Resolver *net.Resolver

	// Target is to where the DNS of hosts has to lead: the names or IP addresses of the proxy, such as
	// the target of an API Gateway domain. Empty leaves open whether it does.
	Target []string

	// Method and Path are those of the request. Empty means GET and /.
	Method, Path string

	// Timeout bounds each look-up, and each address from connecting to the beginning of the
	// answer. Zero or less means 15 seconds. The waiting for others (see Parallel) does not count.
	Timeout time.Duration

	// WarnDays is for how many days certificates have to be valid still, without a warning. Zero
	// means 14; negative warns of nothing.
	WarnDays int

	// Parallel bounds how many look-ups and addresses are under way at once, in all checks
	// together: an address has one file descriptor, a look-up two. Zero or less means 32.
	Parallel int

	once  sync.Once
	slots chan struct{}

	targetMu sync.Mutex
	targets  *clientTarget // once looked up
}

const (
	defaultTimeout  = 15 * time.Second
	defaultWarnDays = 14
	defaultParallel = 32

	// maxIPs bounds the addresses of one name that are tried. None that is meant well has as many.
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

// enter waits for a slot, and returns what gives it back; false where ctx ended before.
func (c *Checker) enter(ctx context.Context) (leave func(), ok bool) {
	c.once.Do(c.init)
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots }, true
	case <-ctx.Done():
		return nil, false
	}
}

// Covered returns a name to check a route with: its host, or one that its wildcard covers. as is a
// wish for that, and empty where there is none: a label is then made up for a wildcard.
func Covered(key, as string) (string, error) {
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
		return "", fmt.Errorf("%q is not covered by the route %q", name, pattern)
	}
	return name, nil
}

// madeUp is the label that stands for the star of a wildcard.
const madeUp = "sleight-check"

// CheckItem is [Checker.Check] for an item as it is stored. One that is no valid route fails.
func (c *Checker) CheckItem(ctx context.Context, host string, item origin.Item) *Result {
	route, err := item.Route()
	if err != nil {
		r := Invalid(item.Host(), err)
		r.Host = host
		return r
	}
	return c.Check(ctx, host, route)
}

// Check checks a route for a host that it is for. It ends early, with a result that says so, where
// ctx does.
func (c *Checker) Check(ctx context.Context, host string, route *origin.Route) *Result {
	began := now()
	r := &Result{
		Host: host, Route: route.Host, State: route.State(began), CheckedAt: began,
		ServerName: serverName(route, host), HostHeader: hostHeader(route, host),
		Origins: make([]Origin, len(route.Addresses)),
	}
	var client *Client
	var all sync.WaitGroup
	all.Go(func() { client = c.client(ctx, host) })
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

// serverName is what is sent as SNI and has to be proved, for a host of the route; empty without TLS.
func serverName(route *origin.Route, host string) string {
	if route.Scheme != "https" {
		return ""
	}
	return cmp.Or(route.ServerName, host)
}

// hostHeader is what is sent as Host.
func hostHeader(route *origin.Route, host string) string { return cmp.Or(route.HostHeader, host) }

// origin checks one entry of a route's origin.
func (c *Checker) origin(ctx context.Context, host string, route *origin.Route, address string) Origin {
	at, port, err := hostname.SplitAddress(address)
	if err != nil { // which no valid route has
		return Origin{Address: address, Error: err.Error(), Status: Fail, IPs: []Probe{}}
	}
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[route.Scheme]
	}
	o := Origin{Address: net.JoinHostPort(at, port), name: at, IPs: []Probe{}}
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

// All checks many routes, and returns what came of each, in the order in which they ended. done, where it
// is not nil, is called after each, by one goroutine at a time. The error is the context's.
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

// now returns the time without its monotonic reading: it is compared with what certificates say.
func now() time.Time { return time.Now().Round(0) }
