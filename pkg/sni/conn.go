package sni

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A conn is one connection of a pool. Over HTTP/1.1 it carries one request at a time, over
// HTTP/2 many.
type conn struct {
	pool    *pool
	http    *http.ClientConn
	raw     *rawConn
	address *address
	secure  *tls.Conn            // nil for plain HTTP
	tls     *tls.ConnectionState // likewise
	http2   bool

	aboutOnce  sync.Once
	aboutValue *Exchange // see about

	// Guarded by the Transport's mutex. Under it, nothing may be called on http that runs the
	// state hook, which takes the mutex itself: that leaves Err, Available and InFlight, and
	// taking the hook away.
	element   *list.Element
	unknown   bool        // over HTTP/2: how many requests it takes; only its first one is on it until then
	waiting   *flight     // what ends when that is known
	sharing   *time.Timer // when it is taken for known
	starting  int         // requests that have got the conn and wait for their answer
	answered  int         // over HTTP/2: answers that are not read to their end
	idle      bool        // no request is on it
	idleAt    time.Time
	aliveAt   time.Time     // when the origin was certainly there, by the wall clock
	announced time.Duration // the origin's own limit on that; negative where it tells none
	retired   bool          // closes as soon as it is idle
	upgraded  bool          // speaks another protocol, for its one request, until that closes it
	gone      bool          // closed, or about to be
}

// A lease is a conn for one request.
type lease struct {
	*conn
	reused bool  // it carried requests before
	before int64 // bytes written to it before this request
}

// checkout returns an existing connection that a request may go out on, and false where
// there is none.
func (t *Transport) checkout(p *pool, safe bool) (lease, bool) {
	t.mu.Lock()
	c, wasIdle, closing := p.pick(safe)
	t.mu.Unlock()
	closeAll(closing)
	switch {
	case c == nil:
		return lease{}, false
	case !safe && wasIdle && !c.http2 && !c.raw.quiet():
		// Something arrived on it that nobody has read, and that was not asked for: most likely
		// that the other side hangs up. Over HTTP/2, much arrives that nobody asks for, and who
		// hangs up says what was not processed.
		c.retire()
		c.done(nil)
		return lease{}, false
	}
	return lease{c, true, c.raw.written.Load()}, true
}

// queue returns the HTTP/2 connection that has refused a request, for the request to wait on until
// there is room, and false where that is of no use. Servers tell how many requests they take at
// once only when the first are on their way, and refuse the others; net/http has learned it by then.
func (t *Transport) queue(c *conn) (lease, bool) {
	if c == nil {
		return lease{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.gone || c.retired || c.pool.retired {
		return lease{}, false
	}
	t.conns.take(c)
	return lease{c, true, c.raw.written.Load()}, true
}

// pick chooses a connection, and returns those that are to be closed. t.mu is held.
func (p *pool) pick(safe bool) (c *conn, wasIdle bool, closing []*conn) {
	t, now := p.t, wallClock()
	for i := len(p.shared) - 1; i >= 0; i-- {
		if i >= len(p.shared) {
			continue // an update has removed more than one
		}
		c := p.shared[i]
		if !c.idle {
			closing = append(closing, c.update()...)
		}
		switch {
		case c.gone, c.retired, c.unknown:
		case c.idle && (c.expired(now) || c.http.Available() == 0): // or it is dead, or was told to go away
			t.conns.remove(c)
			closing = append(closing, c)
		case (c.idle || c.hasRoom()) && (safe || c.answeredLately(now)):
			return c, t.conns.take(c), closing
		}
	}
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		switch {
		case c.http.Err() != nil:
			t.conns.remove(c)
		case c.expired(now):
			t.conns.remove(c)
			closing = append(closing, c)
		case safe || c.answeredLately(now):
			return c, t.conns.take(c), closing
		default: // and those before it were used longer ago
			return nil, false, closing
		}
	}
	return nil, false, closing
}

// share opens a new HTTP/2 connection to other requests than its first. t.mu is held.
//
// Before a server's SETTINGS have come, net/http assumes that it takes 100 requests at once. Of
// a hundred that wait for a new connection to a server that takes ten, ninety would be refused, or
// worse: some servers then say that the client has broken the protocol.
func (c *conn) share() {
	if !c.unknown {
		return
	}
	c.unknown = false
	c.http.SetStateHook(nil)
	if c.sharing != nil {
		c.sharing.Stop()
	}
	if c.waiting != nil {
		c.waiting.end(c.pool)
		c.waiting = nil
	}
}

// assumedStreams is how many requests at once net/http thinks that a server takes before it says so.
const assumedStreams = 100

// shareBy opens the conn by itself after a time in which SETTINGS arrive: as long as it took
// to connect, which is more round trips than they need. A server may allow just the hundred, and
// its first answer may be slow.
func (c *conn) shareBy(d time.Duration) {
	c.sharing = time.AfterFunc(d, func() {
		c.pool.t.mu.Lock()
		defer c.pool.t.mu.Unlock()
		c.share()
	})
}

// hasRoom reports whether an HTTP/2 connection takes another request at once. Of the requests that
// have got it, net/http may not know all yet; taking one too many makes it wait, no more.
//
// ClientConn.Reserve would count exactly, and deadlocks where a server's SETTINGS come to allow
// fewer requests than are reserved by then: net/http waits for the reservations to be used up,
// and for that, with the lock that using them takes.
func (c *conn) hasRoom() bool {
	return c.http.Available() > max(0, c.starting-c.http.InFlight())
}

// roundTrip sends a request on the conn, which counts its requests from here on by itself.
func (l lease) roundTrip(req *http.Request, x *Exchange) (*http.Response, error) {
	begin := x.passed()
	resp, err := l.http.RoundTrip(req)
	x.answered(begin)
	if err != nil && l.http2 && !l.reused && l.http.Err() != nil {
		// net/http has forgotten why. Nobody reads this connection any more, and crypto/tls remembers.
		if _, tlsErr := l.secure.Read(make([]byte, 1)); isAlert(tlsErr) {
			err = tlsErr
		}
	}
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		if both, ok := resp.Body.(bothWays); ok && upgrades(req.Header) {
			resp.Body = &upgradedBody{both, l.conn}
		} else {
			l.raw.Close() // nobody knows what it speaks now
			resp, err = nil, errUnaskedSwitch
		}
	}
	if limit := l.pool.t.maxHeader(); err == nil && headerSize(resp.Header) > limit {
		l.retire()
		resp.Body.Close()
		resp, err = nil, fmt.Errorf("%w than %d bytes", errHeaderSize, limit)
	}
	if err == nil && l.http2 && !isEmpty(req, resp) {
		resp.Body = &answerBody{ReadCloser: resp.Body, conn: l.conn}
	}
	l.done(resp)
	return resp, err
}

// done ends the time from checkout to answer.
func (c *conn) done(resp *http.Response) {
	announced := time.Duration(-1)
	if resp != nil && !c.http2 {
		announced = keepAliveTimeout(resp.Header)
	}
	c.pool.t.mu.Lock()
	c.starting--
	c.share()
	if resp != nil {
		if resp.StatusCode == http.StatusSwitchingProtocols {
			c.upgraded = true
		}
		c.idleAt = wallClock()
		c.aliveAt = c.idleAt
		if _, ok := resp.Body.(*answerBody); ok {
			c.answered++
		}
	}
	if announced >= 0 {
		c.announced = announced
	}
	closing := c.update()
	c.pool.t.mu.Unlock()
	closeAll(closing)
}

// changed is called by net/http when a request has ended, or the connection; over HTTP/2 only until
// it is known how many requests it takes. It may miss what begins and ends while it runs; update is
// called elsewhere too.
func (c *conn) changed(*http.ClientConn) {
	c.pool.t.mu.Lock()
	switch {
	case c.http2:
		if c.unknown && c.http.Available()+c.http.InFlight() != assumedStreams {
			c.share()
		}
	case c.starting == 0 && !c.idle:
		c.idleAt = wallClock()
		c.aliveAt = c.idleAt // somebody has just read an answer to its end
	}
	closing := c.update()
	c.pool.t.mu.Unlock()
	closeAll(closing)
}

// retire keeps further requests from the conn, which closes as soon as it is idle.
func (c *conn) retire() {
	var closing []*conn
	c.pool.t.mu.Lock()
	c.retired = true
	if c.idle {
		c.pool.t.conns.remove(c)
		closing = append(closing, c)
	}
	c.pool.t.mu.Unlock()
	closeAll(closing)
}

// update notices that the conn has become idle, or is dead, and returns what is to be
// closed for it. t.mu is held.
func (c *conn) update() (closing []*conn) {
	t := c.pool.t
	switch {
	case c.gone || c.upgraded || c.idle && c.http.Err() == nil:
	case !c.idle && (c.starting > 0 || c.answered > 0 || !c.http2 && c.http.InFlight() > 0):
	case c.http.Err() != nil:
		t.conns.remove(c)
	case c.retired || c.pool.retired || c.idleLimit() <= 0:
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
	if !l.http2 {
		return l.raw.written.Load() == l.before && l.http.Err() != nil && exchangeErrorType(err) == ConnectionTerminated
	}
	// net/http's own, which it does not export.
	return refusedStream(err) || slices.ContainsFunc([]string{
		"http2: client conn not usable",
		"http2: client conn could not be established",
		"http2: Transport received Server's graceful shutdown GOAWAY", // and this stream is after its last
	}, func(s string) bool { return err.Error() == s })
}

// refusedStream reports whether an HTTP/2 server has refused the one request, rather than the
// connection.
func refusedStream(err error) bool {
	const refused = 0x7 // RFC 9113 section 7
	s, ok := errors.AsType[streamError](err)
	return ok && s.Code == refused
}

// streamError has the form of the errors by which net/http says that a stream was reset; its
// own type converts itself to any such.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "stream " + strconv.Itoa(int(e.StreamID)) + " was reset" }

// observe tells which connection a request gets, to x and to the hooks of net/http/httptrace.
func (l lease) observe(ctx context.Context, x *Exchange) {
	x.got(l)
	if hooks := httptrace.ContextClientTrace(ctx); hooks != nil && hooks.GotConn != nil {
		hooks.GotConn(httptrace.GotConnInfo{Conn: l.raw, Reused: l.reused, WasIdle: l.reused})
	}
}

// errUnaskedSwitch is the cause of the error for an answer after which nobody knows what the
// connection speaks: taken for an answer, what follows would be read as whatever suits the origin.
var errUnaskedSwitch = errors.New("the origin switches protocols, which the request did not ask for")

// upgrades reports whether a header is that of a change of protocols (RFC 9110 section 7.8).
func upgrades(h http.Header) bool {
	if h.Get("Upgrade") == "" {
		return false
	}
	for _, field := range h["Connection"] {
		for option := range strings.SplitSeq(field, ",") {
			if strings.EqualFold(strings.TrimSpace(option), "upgrade") {
				return true
			}
		}
	}
	return false
}

// closeAll closes connections, without waiting for it: over TLS, it takes seconds where the
// other side does not read.
func closeAll(all []*conn) {
	if len(all) > 0 {
		go closeNow(all)
	}
}

func closeNow(all []*conn) {
	for _, c := range all {
		c.http.Close()
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
