package sni

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sleightproxy/sleight/internal/http1"
)

// multiplex is what is known of a connection over HTTP/2, which the requests of strangers share. They
// must not feel each other: an origin that is angry with one of them ends the connection for all, and
// one that is slow with the body of one holds up the bodies of the others.
//
// All but http and conn is guarded by the Transport's mutex. Under that, nothing may be called on http
// that runs its state hook: that leaves Err, Available and InFlight, and taking the hook away.
type multiplex struct {
	conn    *conn
	http    *http.ClientConn
	lengths *lengthReader
	writer  *resetWriter
	alone   bool            // carries one request at a time: those that could end or hold up others
	unknown bool            // how many requests it takes; only its first one is on it until then
	waiting *flight         // what ends when that is known
	sharing *time.Timer     // when it is taken for known
	reading int             // answers that are not read to their end
	bodies  []*uploadedBody // that are being sent
	resets  int             // requests that one side has reset, for what the other sent
}

const (
	// assumedStreams is how many requests at once net/http thinks that a server takes before it says so.
	assumedStreams = 100

	// maxWaiting is how many requests may wait for their answers on one connection before another
	// one is made. Servers work on few requests of one connection at a time, and do not say so: Tomcat
	// on 20 while it announces 100, Apache on some ten.
	maxWaiting = 10

	// maxStreams bounds the requests on one connection, those included whose answers are being read:
	// what net/http keeps for all of them may not exceed what it keeps for the connection.
	maxStreams = 64

	// streamBuffer is how much of an answer net/http keeps that nobody reads. Its own default is 4 MiB.
	streamBuffer = 256 << 10

	// maxResets is after how many requests that were reset a connection gets no more: the server may be
	// angry with one client. Those that are given up are another matter: see resetWriter.
	maxResets = 20

	// largeHeader is from which size on a header may be too much for a server. nginx, HAProxy and
	// Tomcat then end the connection, from 8 kB on for a single field.
	largeHeader = 4 << 10

	// manyFields is from how many fields on a header may be too much. HAProxy ends the connection after a
	// hundred.
	manyFields = 64

	// largeBody is from which size on a body may fill the window of its connection if the server
	// does not read it: 64 KiB to begin with (RFC 9113 section 6.9.2).
	largeBody = 32 << 10

	// heldUp is for how long net/http may sit on a piece of a body before that counts as held up by
	// the server.
	heldUp = 50 * time.Millisecond
)

// needsOwn reports whether a request has to have a connection over HTTP/2 to itself: one that could end
// or hold up others.
func needsOwn(req *http.Request) bool {
	// A server treats trailers as it does a header, and they are known only when they are sent. A body that
	// the client wants to be asked for is not read before: see readAhead.
	return hasLargeHeader(req) || hasLargeBody(req) || len(req.Trailer) > 0 || hasBody(req) && http1.AsksFirst(req)
}

// hasLargeHeader reports whether a request has a large header section, or one of many fields, as it is sent
// over HTTP/2: method and target are fields too (RFC 9113 section 8.3.1), and so is each cookie (section
// 8.2.3).
func hasLargeHeader(req *http.Request) bool {
	size := headerSize(req.Header) + int64(len(req.Method)+len(req.URL.RequestURI())+len(req.Host))
	fields := 0
	for _, values := range req.Header {
		fields += len(values)
	}
	for _, cookies := range req.Header["Cookie"] {
		fields += strings.Count(cookies, ";")
	}
	return size > largeHeader || fields > manyFields
}

// hasLargeBody reports whether a request has a body that is large, or whose length nobody knows.
func hasLargeBody(req *http.Request) bool {
	return hasBody(req) && (req.ContentLength <= 0 || req.ContentLength > largeBody)
}

func hasBody(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }

// takes reports whether another request may go out on the connection. crowded says that there will be
// no other connection for it. t.mu is held.
func (m *multiplex) takes(alone, crowded bool, now time.Time) bool {
	switch {
	case m.unknown || m.alone != alone || (m.conn.spent || m.writer.hasGivenUp()) && !crowded:
		return false
	case m.conn.idle:
		return true
	case alone || m.conn.starting+m.reading >= maxStreams || !m.hasRoom():
		return false
	case crowded:
		return true
	}
	return m.conn.starting < maxWaiting && !slices.ContainsFunc(m.bodies, func(b *uploadedBody) bool { return b.heldUp(now) })
}

// hasRoom reports whether the server takes another request at once. Of the requests that
// have got the connection, net/http may not know all yet; taking one too many makes it wait, no more.
//
// ClientConn.Reserve would count exactly, and deadlocks where a server's SETTINGS come to allow
// fewer requests than are reserved by then: net/http waits for the reservations to be used up,
// and for that, with the lock that using them takes.
func (m *multiplex) hasRoom() bool {
	return m.http.Available() > max(0, m.conn.starting-max(0, m.http.InFlight()-m.reading))
}

// share opens a new connection to other requests than its first. t.mu is held.
//
// Before a server's SETTINGS have come, net/http assumes that it takes 100 requests at once. Of
// a hundred that wait for a new connection to a server that takes ten, ninety would be refused, or
// worse: some servers then say that the client has broken the protocol.
func (m *multiplex) share() {
	if !m.unknown {
		return
	}
	m.unknown = false
	m.http.SetStateHook(nil)
	if m.sharing != nil {
		m.sharing.Stop()
	}
	if m.waiting != nil {
		m.waiting.end(m.conn.pool)
		m.waiting = nil
	}
	m.conn.pool.wake()
}

// shareBy opens the connection by itself after a time in which SETTINGS arrive: as long as it took
// to connect, which is more round trips than they need. A server may allow just the hundred, and
// its first answer may be slow.
func (m *multiplex) shareBy(d time.Duration) {
	m.sharing = time.AfterFunc(d, func() {
		m.conn.pool.t.mu.Lock()
		defer m.conn.pool.t.mu.Unlock()
		m.share()
	})
}

// changed is called by net/http when a request has ended, or the connection; only until
// it is known how many requests it takes. It may miss what begins and ends while it runs; update is
// called elsewhere too.
func (m *multiplex) changed(*http.ClientConn) {
	t := m.conn.pool.t
	t.mu.Lock()
	if m.unknown && m.http.Available()+m.http.InFlight() != assumedStreams {
		m.share()
	}
	closing := m.conn.update()
	t.mu.Unlock()
	closeAll(closing)
}

// answered notes how a request went. t.mu is held.
func (m *multiplex) answered(resp *http.Response, err error) {
	switch {
	case err == nil, neverProcessed2(err):
	case isStreamError(err), errors.Is(err, errNotOneLength):
		if m.resets++; m.resets >= maxResets {
			m.conn.retired = true
		}
	default: // it was given up, which the resetWriter may not know yet, or the connection has ended
		m.conn.spent = true
	}
	if resp != nil {
		// lighttpd answers 400 to all that come over a connection after a header that was too much for it.
		m.conn.retired = m.conn.retired || m.alone && resp.StatusCode >= http.StatusBadRequest
		if _, ok := resp.Body.(*answerBody); ok {
			m.reading++
		}
	}
}

// exchange2 sends a request over HTTP/2.
func (l lease) exchange2(req *http.Request, x *Exchange) (resp *http.Response, err error) {
	m := l.h2
	if m.alone {
		l.raw.awaitAcks(l.pool.t.ackTimeoutFor(req))
	}
	if hasBody(req) {
		if m.alone {
			l.retire() // Tomcat counts small frames for as long as a connection lives, and then ends it
		}
		body := newUploadedBody(m, req.Body)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{WroteRequest: body.wasSent}))
		req.Body = body
	} else if len(req.Trailer) > 0 {
		without := *req
		without.Trailer = nil // net/http would announce them, and never end the request
		req = &without
	}
	hooked, h := hook(req, x != nil)
	resp, err = m.http.RoundTrip(hooked)
	if err == nil || h.hasWritten() { // which may be told after the answer
		x.wrote()
	}
	if hookErr := h.finish(); hookErr != nil {
		if err == nil {
			resp.Body.Close()
		}
		return nil, hookErr
	}
	defer func() {
		if err != nil && h.hasHeard() {
			err = begunError{err}
		}
	}()
	if s, ok := errors.AsType[streamError](err); ok {
		err = cmp.Or(m.lengths.fault(s.StreamID), err)
	}
	if err != nil && !l.reused && m.http.Err() != nil {
		// net/http has forgotten why. Nobody reads this connection any more, and crypto/tls remembers.
		if _, tlsErr := l.secure.Read(make([]byte, 1)); isAlert(tlsErr) {
			err = tlsErr
		}
	}
	return resp, err
}

// neverProcessed2 is neverProcessed for what fails over HTTP/2.
func neverProcessed2(err error) bool {
	return refusedStream(err) || notSent2(err) ||
		err.Error() == "http2: Transport received Server's graceful shutdown GOAWAY" // and this stream is after its last
}

// notSent2 reports whether nothing of a request was sent over HTTP/2. The texts are net/http's, which
// does not export them.
func notSent2(err error) bool {
	switch err.Error() {
	case "http2: client conn not usable", "http2: client conn could not be established":
		return true
	}
	return false
}

// refusedStream reports whether an HTTP/2 server has refused the one request, rather than the
// connection.
func refusedStream(err error) bool {
	const refused = 0x7 // RFC 9113 section 7
	s, ok := errors.AsType[streamError](err)
	return ok && s.Code == refused
}

// isConnectionError reports whether net/http has ended an HTTP/2 connection, with all that was on it, since
// the origin broke the protocol (RFC 9113 section 5.4.1). The text is net/http's, whose type is not exported.
func isConnectionError(err error) bool { return strings.HasPrefix(err.Error(), "connection error: ") }

// streamError has the form of the errors by which net/http says that a stream was reset; its
// own type converts itself to any such.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "stream " + strconv.Itoa(int(e.StreamID)) + " was reset" }

func isStreamError(err error) bool {
	_, ok := errors.AsType[streamError](err)
	return ok
}

// errorCodes are the names of RFC 9113 section 7.
var errorCodes = []string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
	"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// resetOf returns how an HTTP/2 server ended a request, and nil if it did not.
func resetOf(err error) *ResetError {
	if named, ok := errors.AsType[*ResetError](err); ok {
		return named
	}
	if s, ok := errors.AsType[streamError](err); ok {
		if s.Cause == nil || s.Cause.Error() != "received from peer" {
			return nil // net/http has ended it
		}
		code := "error code " + strconv.Itoa(int(s.Code))
		if int(s.Code) < len(errorCodes) {
			code = errorCodes[s.Code]
		}
		return &ResetError{Code: code}
	}
	// net/http's texts: "... GOAWAY ...; LastStreamID=1, ErrCode=NO_ERROR, debug=\"...\"".
	text := err.Error()
	_, text, ok := strings.Cut(text, "GOAWAY")
	if !ok {
		return nil
	}
	_, text, ok = strings.Cut(text, "ErrCode")
	if !ok || text == "" {
		return nil
	}
	reset := &ResetError{GoAway: true, Code: text[1:]}
	if end := strings.IndexFunc(reset.Code, func(c rune) bool { return !(c == '_' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') }); end >= 0 {
		reset.Code = reset.Code[:end]
	}
	if _, quoted, ok := strings.Cut(text, ", debug="); ok {
		if prefix, err := strconv.QuotedPrefix(quoted); err == nil {
			debug, _ := strconv.Unquote(prefix)
			reset.Debug = debug[:min(len(debug), maxDebug)]
		}
	}
	return reset
}

// maxDebug bounds what is kept of what an origin says beside a GOAWAY.
const maxDebug = 200

// answerBody tells its connection over HTTP/2 when it has come to its end. net/http tells too, for
// a lock here and there with each request, and not every time.
type answerBody struct {
	io.ReadCloser
	ctx   context.Context
	conn  *conn
	left  int64 // of its length; negative if nobody knows
	whole atomic.Bool
	ended atomic.Bool
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if err != nil && b.left == 0 {
		err = io.EOF // a client that has all of it may leave before the server has said that this is the end
	}
	if err != nil {
		b.whole.Store(err == io.EOF)
		b.end()
		err = namedCause(err)
	}
	return n, err
}

func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

func (b *answerBody) end() {
	if b.ended.Swap(true) {
		return
	}
	c := b.conn
	c.pool.t.mu.Lock()
	c.h2.reading--
	c.spent = c.spent || !b.whole.Load() && b.ctx.Err() != nil // likewise
	c.idleAt = wallClock()
	closing := c.update()
	c.pool.wake()
	c.pool.t.mu.Unlock()
	closeAll(closing)
}
