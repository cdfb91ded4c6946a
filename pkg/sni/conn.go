package sni

import (
	"container/list"
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A conn is one connection of a pool. Over HTTP/1.1 it carries one request at a time, over HTTP/2 many.
type conn struct {
	pool     *pool
	protocol protocol
	h2       *multiplex // protocol over HTTP/2; nil over HTTP/1.1, which has one request at a time
	raw      *rawConn
	address  *address
	secure   *tls.Conn            // nil for plain HTTP
	tls      *tls.ConnectionState // nil for plain HTTP

	aboutOnce  sync.Once
	aboutValue *Exchange // see about

	// Guarded by the Transport's mutex. Under it, nothing may be called on an HTTP/2 connection that runs its state hook,
	// which takes the mutex itself: see multiplex.
	element        *list.Element
	awaitingHeader int  // requests that have got the conn and not yet the header of their response
	busy           bool // over HTTP/1.1: an exchange is on it, until its response was read
	idle           bool // no request is on it
	idleAt         time.Time
	aliveAt        time.Time     // when the origin was certainly there, by the wall clock
	announced      time.Duration // for how long the origin keeps it idle; negative if it does not say
	retired        bool          // gets no further requests, and closes as soon as it is idle
	avoided        bool          // the same, unless there is no other conn
	upgraded       bool          // speaks another protocol, for its one request, until that closes it
	removed        bool          // is not in the pool any more: closed, or about to be
}

// A protocol sends requests over a conn: serial over HTTP/1.1, multiplex over HTTP/2. close may wait; inUse, dead and
// answered are called with the Transport's mutex held, the others without it.
//
// When a request has ended, with the body of its response, the protocol calls conn.update with the mutex held. Over HTTP/1.1,
// it sets conn.busy to false before, and conn.upgraded as long as the connection speaks another protocol.
type protocol interface {
	// roundTrip sends a request, and returns the response once its header is there. If something of a response has come, an
	// error is a begunError, so that the request is not repeated. If bytes of the request were written, it calls x.wrote.
	roundTrip(l lease, req *http.Request, x *Exchange) (*http.Response, error)

	// answered notes how a request went, after roundTrip has returned.
	answered(resp *http.Response, err error)

	// inUse reports whether a request is on the connection that has got the header of its response.
	inUse() bool

	// dead reports whether the connection is closed, without asking the network.
	dead() bool

	// alive asks the network whether an idle connection is still open, without waiting.
	alive() bool

	// unprocessed reports whether the origin has certainly done nothing about a request that failed with err.
	unprocessed(l lease, err error) bool

	close()
}

// A lease is a conn for one request.
type lease struct {
	*conn
	reused bool  // it carried requests before
	before int64 // bytes written to it before this request
}

func (c *conn) lease(reused bool) lease { return lease{c, reused, c.raw.written.Load()} }

// roundTrip sends a request on the conn. From here on, the conn counts its requests by itself.
func (l lease) roundTrip(req *http.Request, x *Exchange) (*http.Response, error) {
	begin := x.passed()
	resp, err := l.protocol.roundTrip(l, req, x)
	x.answered(begin)
	if err == nil {
		resp.TLS = l.tls
	}
	l.done(resp, err)
	return resp, err
}

// isUsed reports whether a request is on the conn. t.mu is held.
func (c *conn) isUsed() bool { return c.awaitingHeader > 0 || c.protocol.inUse() }

// done ends the time from checkout to the header of the response.
func (c *conn) done(resp *http.Response, err error) {
	t := c.pool.t
	t.mu.Lock()
	defer t.unlock()
	c.awaitingHeader--
	c.protocol.answered(resp, err)
	if resp != nil {
		c.idleAt = wallClock()
		c.aliveAt = c.idleAt
		// A connection that is not for the name (RFC 9110 section 15.5.20) may never be.
		c.retired = c.retired || resp.StatusCode == http.StatusMisdirectedRequest
	}
	c.update()
	c.pool.wake()
}

// retire keeps further requests from the conn, which closes as soon as it is idle.
func (c *conn) retire() { c.withdraw(&c.retired) }

// avoid keeps further requests from the conn if there may be another one, since a request on it was canceled. It closes as
// soon as it is idle.
func (c *conn) avoid() { c.withdraw(&c.avoided) }

// withdraw sets why, which is retired or avoided, and closes the conn if it is idle.
func (c *conn) withdraw(why *bool) {
	t := c.pool.t
	t.mu.Lock()
	defer t.unlock()
	*why = true
	if c.idle {
		t.conns.close(c)
	}
	c.pool.wake()
}

// update makes the conn idle if no request is on it, and removes it if it is dead or not wanted any more. t.mu is held.
func (c *conn) update() {
	t, dead := c.pool.t, c.protocol.dead()
	switch {
	case c.removed || c.upgraded || c.idle && !dead:
	case !c.idle && c.isUsed():
	case dead:
		t.conns.remove(c)
	case c.retired || c.avoided || c.pool.retired || c.idleLimit() <= 0 || c.pool.isOver():
		t.conns.close(c)
	default:
		t.conns.put(c)
	}
}

// idleLimit returns for how long the conn may be idle.
func (c *conn) idleLimit() time.Duration {
	limit := bound(c.pool.t.IdleConnTimeout, defaultIdleConnTimeout)
	if c.announced >= 0 {
		limit = min(limit, c.announced-min(c.announced/2, time.Second))
	}
	return limit
}

// expired reports whether the conn has been idle for too long.
func (c *conn) expired(now time.Time) bool {
	age := now.Sub(c.idleAt)
	return age < 0 || age >= c.idleLimit()
}

// answeredLately reports whether the origin was there so recently that a request which must not be lost may go out.
//
// Only a response that somebody waited for counts: the process was not frozen then. Anything else that is read, such as the
// acknowledgement of a PING, may have arrived long before a thaw.
func (c *conn) answeredLately(now time.Time) bool {
	limit := bound(c.pool.t.UnsafeReuse, defaultUnsafeReuse)
	if c.announced >= 0 {
		limit = min(limit, c.announced/2)
	}
	age := now.Sub(c.aliveAt)
	return age >= 0 && age < limit
}

// observe reports the connection that a request gets, to x and to the hooks of net/http/httptrace.
func (l lease) observe(ctx context.Context, x *Exchange) {
	x.got(l)
	if hooks := httptrace.ContextClientTrace(ctx); hooks != nil && hooks.GotConn != nil {
		hooks.GotConn(httptrace.GotConnInfo{Conn: l.raw, Reused: l.reused, WasIdle: l.reused})
	}
}

// keepAliveTimeout returns what an origin announces in Keep-Alive: timeout=5, or -1. The field is in no current standard,
// and most servers that close idle connections early send it.
func keepAliveTimeout(h http.Header) time.Duration {
	for _, field := range h["Keep-Alive"] {
		for param := range strings.SplitSeq(field, ",") {
			name, value, ok := strings.Cut(param, "=")
			if !ok || !strings.EqualFold(strings.TrimSpace(name), "timeout") {
				continue
			}
			if n, err := strconv.ParseUint(strings.Trim(value, ` "`), 10, 16); err == nil {
				return time.Duration(n) * time.Second
			}
		}
	}
	return -1
}
