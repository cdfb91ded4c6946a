package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// found is the result of a lookup.
type found struct {
	ips   []netip.Addr
	cname string // the name that has the addresses, if it is another name
	err   error
	took  Millis
}

// lookup resolves a name as a dialer does. Go returns only the end of a chain of aliases.
func (c *Checker) lookup(ctx context.Context, name string) found {
	leave, ok := c.enter(ctx)
	if !ok {
		return found{err: context.Cause(ctx)}
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	resolver := cmp.Or(c.Resolver, net.DefaultResolver)
	var f found
	began := time.Now()
	f.ips, f.err = resolver.LookupNetIP(ctx, "ip", name)
	f.took = took(began)
	if f.err != nil {
		return f
	}
	for i := range f.ips {
		f.ips[i] = f.ips[i].Unmap()
	}
	slices.SortStableFunc(f.ips, netip.Addr.Compare)
	f.ips = slices.Compact(f.ips)
	if cname, err := resolver.LookupCNAME(ctx, name); err == nil {
		if cname = plainName(cname); cname != plainName(name) {
			f.cname = cname
		}
	}
	return f
}

func plainName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// isNowhere reports whether DNS says for certain that the name has no addresses.
func isNowhere(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// dnsText returns the text of an error of DNS, without the addresses of the name servers.
func dnsText(err error) string {
	dns, ok := errors.AsType[*net.DNSError](err)
	switch {
	case !ok:
		return err.Error()
	case dns.IsNotFound:
		return "the name does not exist, or has no address"
	case dns.IsTimeout:
		return "DNS did not answer in time"
	}
	return "DNS failed: " + dns.Err
}

// clientDNS finds where the DNS of the host leads clients.
func (c *Checker) clientDNS(ctx context.Context, host string) *ClientDNS {
	f := c.lookup(ctx, host+".")
	client := &ClientDNS{CNAME: f.cname, Addresses: []string{}, Took: f.took, ips: f.ips}
	for _, ip := range f.ips {
		client.Addresses = append(client.Addresses, ip.String())
	}
	switch {
	case isNowhere(f.err):
		client.LeadsTo, client.Error = ToNowhere, dnsText(f.err)
	case f.err != nil:
		client.LeadsTo, client.Error = ToUnknown, dnsText(f.err)
	}
	return client
}

// clientTarget has the names and the addresses of the proxy.
type clientTarget struct {
	names []string
	ips   []netip.Addr
	err   error
}

// target looks up the Target, once for all checks.
func (c *Checker) target(ctx context.Context) *clientTarget {
	c.targetMu.Lock()
	defer c.targetMu.Unlock()
	if c.targets != nil {
		return c.targets
	}
	t := &clientTarget{}
	for _, name := range c.Target {
		if ip, err := netip.ParseAddr(name); err == nil {
			t.ips = append(t.ips, ip.Unmap())
			continue
		}
		f := c.lookup(ctx, plainName(name)+".")
		t.names = append(t.names, plainName(name))
		if f.cname != "" {
			t.names = append(t.names, f.cname)
		}
		t.ips = append(t.ips, f.ips...)
		if f.err != nil {
			t.err = errors.Join(t.err, fmt.Errorf("%s: %s", name, dnsText(f.err)))
		}
	}
	if ctx.Err() == nil {
		c.targets = t
	}
	return t
}

// has reports whether the name or one of the addresses is one of the target.
func (t *clientTarget) has(names []string, ips []netip.Addr) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(t.names, n) }) ||
		slices.ContainsFunc(ips, func(ip netip.Addr) bool { return slices.Contains(t.ips, ip) })
}

// clientFindings returns the findings about where clients are led, and whether the origin leads back to the proxy.
func (c *Checker) clientFindings(ctx context.Context, r *Result) []Finding {
	client := r.Client
	var target *clientTarget
	if len(c.Target) > 0 {
		target = c.target(ctx)
	}
	origins := &clientTarget{}
	for _, o := range r.Origins {
		origins.names = append(origins.names, plainName(o.name))
		if o.CNAME != "" {
			origins.names = append(origins.names, o.CNAME)
		}
		for _, p := range o.IPs {
			if ip, err := netip.ParseAddr(p.IP); err == nil {
				origins.ips = append(origins.ips, ip)
			}
		}
	}
	var all []Finding
	names := []string{r.Host, client.CNAME}
	switch {
	case client.LeadsTo != "": // otherwise it has no address
	case target != nil && target.has(names, client.ips):
		client.LeadsTo = ToTarget
	case origins.has(names, client.ips):
		client.LeadsTo = ToOrigin
	default:
		client.LeadsTo = ToElsewhere
	}
	switch {
	case slices.Contains(origins.names, r.Host):
		all = append(all, Finding{Level: LevelWarn, Code: "origin_is_host", Message: "the origin is the name that clients use: when DNS leads that name to the proxy, the proxy sends each request to itself",
			Advice: "set origin to another name of the customer's load balancer, or to its address"})
	case target == nil:
	case target.has(origins.names, nil), slices.ContainsFunc(origins.ips, func(ip netip.Addr) bool { return slices.Contains(c.Target, ip.String()) }):
		all = append(all, Finding{Level: LevelFail, Code: "origin_is_proxy", Message: "the origin is the proxy itself", Advice: "set origin to the customer's load balancer"})
	case target.has(nil, origins.ips): // names of one service may share addresses
		all = append(all, Finding{Level: LevelWarn, Code: "origin_is_proxy", Message: "the origin and the proxy share an address", Advice: "make sure that origin is the customer's load balancer, and not another name of the proxy"})
	}
	return append(all, c.leadsTo(client, target, r.Host)...)
}

// leadsTo returns the finding about where clients are led. If there is no target, it is only a note, because most checks are about hosts
// that have not moved to the proxy yet. If there is a target, all other places are a warning.
func (c *Checker) leadsTo(client *ClientDNS, target *clientTarget, host string) []Finding {
	to, level := "the proxy", LevelNote
	if target != nil {
		to, level = c.Target[0], LevelWarn
	}
	by := "a CNAME record (or an alias record, at the apex of a zone)"
	if ip, err := netip.ParseAddr(to); err == nil { // a CNAME record cannot have one
		by = "an A record"
		if ip.Is6() {
			by = "an AAAA record"
		}
	}
	have := fmt.Sprintf("when the route shall go live, have the customer point %s to %s with %s", host, to, by)
	switch {
	case target != nil && target.err != nil && client.LeadsTo != ToTarget:
		return []Finding{{Level: LevelWarn, Code: "target_unknown", Message: "the name in --target cannot be looked up: " + strings.ReplaceAll(target.err.Error(), "\n", "; "), Advice: "correct --target"}}
	case client.LeadsTo == ToOrigin:
		return []Finding{{Level: level, Code: "dns_leads_to_origin", Message: "DNS still leads clients of " + host + " to the origin, past the proxy", Advice: have}}
	case client.LeadsTo == ToNowhere:
		return []Finding{{Level: level, Code: "dns_leads_nowhere", Message: "DNS has no address for clients of " + host + ": " + client.Error, Advice: have}}
	case client.LeadsTo == ToUnknown:
		return []Finding{{Level: level, Code: "dns_unknown", Message: "it is not known where DNS leads clients of " + host + ": " + client.Error, Advice: "try again; if it fails again, have the customer look at the name servers of the zone"}}
	case client.LeadsTo == ToElsewhere && target != nil:
		return []Finding{{Level: LevelWarn, Code: "dns_leads_elsewhere", Message: fmt.Sprintf("DNS leads clients of %s to %s, which is not %s", host, cmp.Or(client.CNAME, client.Addresses[0]), to), Advice: have}}
	}
	return nil
}

// dnsFinding returns the finding for an entry without addresses.
func dnsFinding(o *Origin) Finding {
	f := Finding{Level: LevelFail}
	dns, _ := errors.AsType[*net.DNSError](o.dnsErr)
	switch {
	case dns != nil && dns.IsNotFound:
		f.Code, f.Message = "dns_not_found", fmt.Sprintf("%s: %s", o.name, dnsText(o.dnsErr))
		f.Advice = "correct the name in origin, or have the customer create an A or AAAA record for it"
	case dns != nil && dns.IsTimeout, errors.Is(o.dnsErr, context.DeadlineExceeded):
		f.Code, f.Message = "dns_timeout", "DNS did not answer in time for "+o.name
		f.Advice = "try again; if it fails again, have the customer look at the name servers of its zone, or make sure that this machine can reach its resolver"
	default:
		f.Code, f.Message = "dns_failed", fmt.Sprintf("%s: %s", o.name, o.Error)
		f.Advice = "have the customer look at the name servers of its zone (SERVFAIL often means broken DNSSEC)"
	}
	return f
}
