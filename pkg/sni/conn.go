package sni

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sleightproxy/sleight/internal/http1"
)

// A conn is one connection of a pool. Over HTTP/1.1 it carries one request at a time, over
// HTTP/2 many.
type conn struct {
	pool    *pool
	h1      *http1.Conn // nil over HTTP/2
	h2      *multiplex  // nil over HTTP/1.1
	raw     *rawConn
	address *address
	secure  *tls.Conn            // nil for plain HTTP
	tls     *tls.ConnectionState // likewise

	aboutOnce  sync.Once
	aboutValue *Exchange // see about

	// Guarded by the Transport's mutex. Under it, nothing may be called on an HTTP/2 connection that
	// runs its state hook, which takes the mutex itself: see multiplex.
	element   *list.Element
	starting  int  // requests that have got the conn and wait for their answer
	busy      bool // over HTTP/1.1: an exchange is on it, until its answer was read
	broken    bool // over HTTP/1.1: the exchange has closed it
	idle      bool // no request is on it
	idleAt    time.Time
	aliveAt   time.Time     // when the origin was certainly there, by the wall clock
	announced time.Duration // the origin's own limit on that; negative if it tells none
	retired   bool          // gets no further requests, and closes as soon as it is idle
	spent     bool          // likewise, unless there is no other
	upgraded  bool          // speaks another protocol, for its one request, until that closes it
	gone      bool          // closed, or about to be
}

// A lease is a conn for one request.
type lease struct {
	*conn
	reused bool  // it carried requests before
	before int64 // bytes written to it before this request
}

func (c *conn) lease(reused bool) lease { return lease{c, reused, c.raw.written.Load()} }

// dead reports whether the conn is closed as far as is known without asking the network. t.mu is
// held.
func (c *conn) dead() bool {
	if c.h2 != nil {
		return c.h2.http.Err() != nil
	}
	return c.broken
}

// inUse reports whether a request is on the conn. t.mu is held.
func (c *conn) inUse() bool {
	return c.starting > 0 || c.busy || c.h2 != nil && c.h2.reading > 0
}

// alive asks an idle HTTP/1.1 connection that was taken out of the pool whether the origin has hung
// up on it, or sent what nobody has asked for. After a thaw such things wait in the kernel. It does
// not wait.
func (c *conn) alive() bool {
	c.raw.now = true
	defer func() { c.raw.now = false }()
	return c.h1.Alive() && !c.raw.stuck
}

// roundTrip sends a request on the conn, which counts its requests from here on by itself.
func (l lease) roundTrip(req *http.Request, x *Exchange) (*http.Response, error) {
	begin := x.passed()
	var (
		resp *http.Response
		err  error
	)
	if l.h2 != nil {
		resp, err = l.exchange2(req, x)
	} else {
		l.raw.awaitAcks(l.pool.t.ackTimeoutFor(req))
		if resp, err = l.h1.RoundTrip(req); err != nil && l.h1.Begun() {
			err = begunError{err}
		}
		if l.raw.written.Load() > l.before {
			x.wrote()
		}
	}
	x.answered(begin)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols && l.h2 != nil {
		l.raw.Close() // nobody knows what it speaks now
		resp, err = nil, http1.ErrUnaskedSwitch
	}
	if limit := l.pool.t.maxHeader(); err == nil && l.h2 != nil && headerSize(resp.Header) > limit {
		l.retire()
		resp.Body.Close()
		resp, err = nil, fmt.Errorf("%w than %d bytes", errHeaderSize, limit)
	}
	if err == nil {
		resp.TLS = l.tls
		if l.h2 != nil && !isEmpty(req, resp) {
			resp.Body = &answerBody{ReadCloser: resp.Body, ctx: req.Context(), conn: l.conn, left: resp.ContentLength}
		}
	}
	l.done(resp, err)
	return resp, err
}

// begun is called by the HTTP/1.1 exchange when it has the header of its answer.
func (c *conn) begun(resp *http.Response) {
	announced := keepAliveTimeout(resp.Header)
	c.pool.t.mu.Lock()
	defer c.pool.t.mu.Unlock()
	c.upgraded = resp.StatusCode == http.StatusSwitchingProtocols
	if announced >= 0 {
		c.announced = announced
	}
}

// ended is called by the HTTP/1.1 exchange when it has ended.
func (c *conn) ended(reusable bool) {
	c.pool.t.mu.Lock()
	c.busy, c.upgraded, c.broken = false, false, !reusable
	if c.starting == 0 { // somebody has just read an answer to its end
		c.idleAt = wallClock()
		c.aliveAt = c.idleAt
	}
	closing := c.update()
	c.pool.t.mu.Unlock()
	closeAll(closing)
}

// done ends the time from checkout to answer.
func (c *conn) done(resp *http.Response, err error) {
	c.pool.t.mu.Lock()
	c.starting--
	if c.h2 != nil {
		c.h2.share()
		c.h2.answered(resp, err)
	}
	if resp != nil {
		c.idleAt = wallClock()
		c.aliveAt = c.idleAt
		// A connection that is not for the name (RFC 9110 section 15.5.20) may never be.
		c.retired = c.retired || resp.StatusCode == http.StatusMisdirectedRequest
	}
	closing := c.update()
	c.pool.wake()
	c.pool.t.mu.Unlock()
	closeAll(closing)
}

// retire keeps further requests from the conn, which closes as soon as it is idle.
func (c *conn) retire() { c.giveUp(&c.retired) }

// spend keeps further requests from the conn as long as there may be another one, since a request on it was given
// up. It closes as soon as it is idle.
func (c *conn) spend() { c.giveUp(&c.spent) }

// giveUp sets why, which is retired or spent, and closes the conn if it is idle.
func (c *conn) giveUp(why *bool) {
	var closing []*conn
	c.pool.t.mu.Lock()
	*why = true
	if c.idle {
		c.pool.t.conns.remove(c)
		closing = append(closing, c)
	}
	c.pool.wake()
	c.pool.t.mu.Unlock()
	closeAll(closing)
}

// update notices that the conn has become idle, or is dead, and returns what is to be
// closed for it. t.mu is held.
func (c *conn) update() (closing []*conn) {
	t := c.pool.t
	switch {
	case c.gone || c.upgraded || c.idle && !c.dead():
	case !c.idle && c.inUse():
	case c.dead():
		t.conns.remove(c)
	case c.retired || c.spent || c.pool.retired || c.idleLimit() <= 0 || c.pool.isOver():
		t.conns.remove(c)
		closing = append(closing, c)
	default:
		closing = t.conns.put(c)
	}
	return closing
}

// idleLimit is for how long the conn may be unused.
func (c *conn) idleLimit() time.Duration {
	limit := bound(c.pool.t.IdleConnTimeout, defaultIdleConnTimeout)
	if c.announced >= 0 {
		limit = min(limit, c.announced-min(c.announced/2, time.Second))
	}
	return limit
}

func (c *conn) expired(now time.Time) bool {
	age := now.Sub(c.idleAt)
	return age < 0 || age >= c.idleLimit()
}

// answeredLately reports whether the origin was there so lately that a request which must not be
// lost may go out.
//
// What counts is an answer that somebody waited for, since nobody is frozen then. Anything
// else that is read, such as the acknowledgement of a ping, may have arrived long before, and
// may be read only now that the process goes on.
func (c *conn) answeredLately(now time.Time) bool {
	limit := bound(c.pool.t.UnsafeReuse, defaultUnsafeReuse)
	if c.announced >= 0 {
		limit = min(limit, c.announced/2)
	}
	age := now.Sub(c.aliveAt)
	return age >= 0 && age < limit
}

// neverProcessed reports whether a request that failed with err can be sent again whatever it
// asks for, since the origin has certainly done nothing about it.
func (l lease) neverProcessed(err error) bool {
	if l.h2 != nil {
		return neverProcessed2(err)
	}
	return l.raw.written.Load() == l.before && exchangeErrorType(err) == ConnectionTerminated
}

// wasAtFault reports whether a request that failed with err may fare better on another connection.
func (l lease) wasAtFault(err error) bool {
	switch {
	case hasBegun(err):
		return false
	case l.h2 != nil && (resetOf(err) != nil || isConnectionError(err)):
		return !refusedStream(err)
	}
	return l.reused && exchangeErrorType(err) == ConnectionTerminated
}

// A begunError is the failure of a request of which something came back.
type begunError struct{ error }

func (e begunError) Unwrap() error { return e.error }

func hasBegun(err error) bool {
	_, ok := errors.AsType[begunError](err)
	return ok
}

// observe tells which connection a request gets, to x and to the hooks of net/http/httptrace.
func (l lease) observe(ctx context.Context, x *Exchange) {
	x.got(l)
	if hooks := httptrace.ContextClientTrace(ctx); hooks != nil && hooks.GotConn != nil {
		hooks.GotConn(httptrace.GotConnInfo{Conn: l.raw, Reused: l.reused, WasIdle: l.reused})
	}
}

// closeAll closes connections, without waiting for it: over TLS, it takes seconds if the
// other side does not read.
func closeAll(all []*conn) {
	if len(all) > 0 {
		go closeNow(all)
	}
}

func closeNow(all []*conn) {
	for _, c := range all {
		if c.h2 != nil {
			c.h2.http.Close()
		} else {
			c.h1.Conn.Close()
		}
	}
}

// keepAliveTimeout returns what an origin announces in Keep-Alive: timeout=5, or -1. The field
// is of no standard in force, and most servers send it that hang up soon.
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
