package sni

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"time"
)

// A pool holds the connections for one key, and what is needed to make them. No connection can get from one key to another:
// there is nothing through which it could.
type pool struct {
	t           *Transport
	key         key
	tls         *tls.Config // nil for plain HTTP
	dialer      net.Dialer
	addresses   []*address
	wantsHTTP1  bool // HTTP/1.1 is in the list of protocols
	offersHTTP2 bool

	// Guarded by t.mu.
	hosts      int        // how many hosts have this for their Target
	retired    bool       // no host has: connections close as soon as they are idle
	idleHTTP1  []*conn    // the last one used is at the end
	http2Conns []*conn    // idle or not
	conns      int        // how many connections there are, or are being made
	maxConns   int        // zero is no bound
	queue      []*turn    // requests that wait, because there are as many connections as there may be
	dialing    *dialGroup // the newest dial that others may wait for
	http1      bool       // the last connection spoke HTTP/1.1, or nothing else is offered

	failure   *Error // of the last handshake; nil if that succeeded
	failureAt time.Time
}

// pool returns the pool for requests to host under target. It makes the pool if it does not exist.
func (t *Transport) pool(ctx context.Context, host hostKey, target *Target) (*pool, error) {
	serverName, err := target.serverName(host.host)
	if err != nil {
		return nil, err
	}
	var clientCert *tls.Certificate
	if target.ClientCert != "" {
		if clientCert, err = t.clientCertificate(ctx, target.ClientCert); err != nil {
			return nil, err
		}
	}
	k := target.key(host, serverName, clientCert)
	host.alpn = k.alpn
	t.mu.Lock()
	p := t.targets.find(host, k)
	if p != nil {
		p.limit(t.maxConns(target))
	}
	t.unlock()
	if p != nil {
		return p, nil
	}
	if p, err = t.newPool(target, host, k, clientCert); err != nil {
		return nil, err
	}
	t.mu.Lock()
	p, unused := t.targets.bind(host, p, positive(t.MaxTargets, defaultMaxTargets))
	p.limit(t.maxConns(target))
	for _, old := range unused {
		old.retired = true
		t.conns.closeIdle(slices.Concat(old.idleHTTP1, old.http2Conns))
	}
	t.unlock()
	return p, nil
}

func (t *Transport) newPool(target *Target, host hostKey, k key, clientCert *tls.Certificate) (*pool, error) {
	p := &pool{
		t: t, key: k, wantsHTTP1: true,
		dialer: net.Dialer{
			Resolver:       t.Resolver,
			ControlContext: guard{t.AllowCIDRs}.control,
		},
	}
	var err error
	if p.addresses, err = target.addresses(host.host, host.port); err != nil {
		return nil, err
	}
	if k.scheme == "http" {
		if field := target.needsTLS(); field != "" {
			return nil, &TargetError{Field: field, Reason: "cannot hold over plain http"}
		}
	} else {
		if p.tls, p.wantsHTTP1, err = target.tlsConfig(k.serverName, t.RootCAs, clientCert); err != nil {
			return nil, err
		}
		p.offersHTTP2 = slices.Contains(p.tls.NextProtos, "h2")
		p.http1 = !p.offersHTTP2
	}
	return p, nil
}

// hostKey is what a Target is looked up for, and the protocols that the Target offers: a host whose WebSockets go over HTTP/1.1
// and whose other requests go over HTTP/2 has two Targets, which do not replace each other.
type hostKey struct{ scheme, host, port, alpn string }

// targetCache has the current pool of each host, in order of use. The zero value is empty. It is guarded by the Transport's
// mutex.
type targetCache struct {
	hosts map[hostKey]*list.Element // of *binding
	order list.List                 // most recently used first
	pools map[key]*pool
}

type binding struct {
	host hostKey
	pool *pool
}

// find returns the pool of host if it is the one for k, and nil otherwise.
func (c *targetCache) find(host hostKey, k key) *pool {
	e, ok := c.hosts[host]
	if !ok {
		return nil
	}
	if b := e.Value.(*binding); b.pool.key == k {
		c.order.MoveToFront(e)
		return b.pool
	}
	return nil
}

// bind makes p the pool of host, or the pool that is there already for the same key, and returns it. unused are the pools
// that no host has any more.
func (c *targetCache) bind(host hostKey, p *pool, limit int) (kept *pool, unused []*pool) {
	if c.hosts == nil {
		c.hosts, c.pools = make(map[hostKey]*list.Element), make(map[key]*pool)
	}
	if other, ok := c.pools[p.key]; ok {
		p = other
	} else {
		c.pools[p.key] = p
	}
	p.hosts++
	release := func(b *binding) {
		if b.pool.hosts--; b.pool.hosts == 0 {
			delete(c.pools, b.pool.key)
			unused = append(unused, b.pool)
		}
	}
	if e, ok := c.hosts[host]; ok {
		b := e.Value.(*binding)
		release(b)
		b.pool = p
		c.order.MoveToFront(e)
	} else {
		c.hosts[host] = c.order.PushFront(&binding{host, p})
	}
	for c.order.Len() > limit {
		b := c.order.Remove(c.order.Back()).(*binding)
		delete(c.hosts, b.host)
		release(b)
	}
	return p, unused
}

// address is one of the addresses of a Target, and when it failed.
type address struct {
	host, port string

	mu       sync.Mutex
	failedAt time.Time // by the wall clock; zero if it was reached since
}

func (a *address) String() string { return net.JoinHostPort(a.host, a.port) }

// failed notes that no connection to the address could be made.
func (a *address) failed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failedAt = wallClock()
}

func (a *address) reached() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failedAt = time.Time{}
}

// failedWithin returns when the address failed if that was less than d before now, and zero otherwise.
func (a *address) failedWithin(d time.Duration, now time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if age := now.Sub(a.failedAt); a.failedAt.IsZero() || age < 0 || age >= d {
		return time.Time{}
	}
	return a.failedAt
}

// wallClock returns the time without its monotonic reading, which may stop while a sandbox is frozen.
func wallClock() time.Time { return time.Now().Round(0) }
