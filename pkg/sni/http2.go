package sni

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sleightproxy/sleight/internal/http1"
)

// multiplex is a connection over HTTP/2, which the requests of strangers share. They must not affect each other: an origin
// that does not like one of them ends the connection for all, and one that is slow with the body of one delays the bodies of
// the others.
//
// All fields but http and conn are guarded by the Transport's mutex. With that held, nothing may be called on http that runs
// its state hook. Err, Available, InFlight and removing the hook are allowed.
type multiplex struct {
	conn    *conn
	http    *http.ClientConn
	lengths *lengthReader
	writer  *resetWriter
	alone   bool // carries one request at a time: those that could end or delay others

	awaitingSettings bool        // it is not known how many requests it takes; until then it carries its first one alone
	group            *dialGroup  // ends when that is known
	settingsTimer    *time.Timer // ends the wait

	openBodies int             // responses whose body was not read to its end
	bodies     []*uploadedBody // that are being sent
	resets     int             // requests that one side has reset for what the other sent
}

const (
	// assumedStreams is how many requests at once a server takes, as net/http assumes before the server says so.
	assumedStreams = 100

	// maxWaiting is how many requests may wait for their responses on one connection before another one is made. Servers work
	// on few requests of one connection at a time, and do not say so: Tomcat on 20 while it announces 100, Apache on some ten.
	maxWaiting = 10

	// maxStreams bounds the requests on one connection, including those whose responses are being read: what net/http buffers
	// for all of them may not exceed what it buffers for the connection.
	maxStreams = 64

	// streamBuffer is how much of a response net/http buffers if nobody reads it. Its own default is 4 MiB.
	streamBuffer = 256 << 10

	// maxResets is after how many requests that were reset a connection gets no more: the server may not like one client.
	// Canceled requests do not count here: see resetWriter.
	maxResets = 20

	// largeHeader is the size of a header, in bytes, that may be too much for a server. nginx, HAProxy and Tomcat then end the
	// connection, from 8 kB on for a single field.
	largeHeader = 4 << 10

	// manyFields is how many header fields may be too many. HAProxy ends the connection after a hundred.
	manyFields = 64

	// largeBody is the size of a body, in bytes, that may fill the window of its connection if the server does not read it: 64 KiB
	// at first (RFC 9113 section 6.9.2).
	largeBody = 32 << 10

	// heldUp is for how long net/http may keep a piece of a body before the server counts as not taking it.
	heldUp = 50 * time.Millisecond
)

// needsOwn reports whether a request needs an HTTP/2 connection of its own, since it could end or delay other requests.
func needsOwn(req *http.Request) bool {
	// A server treats trailers as it treats a header, and they are known only when they are sent. The body of a request with
	// Expect is not read before the origin asks for it: see readAhead.
	return hasLargeHeader(req) || hasLargeBody(req) || len(req.Trailer) > 0 || hasBody(req) && http1.AsksFirst(req)
}

// hasLargeHeader reports whether the header section of a request is large, or has many fields. Over HTTP/2, method and target
// are fields too (RFC 9113 section 8.3.1), and so is each cookie (section 8.2.3).
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

// hasLargeBody reports whether a request has a body that is large or of unknown length.
func hasLargeBody(req *http.Request) bool {
	return hasBody(req) && (req.ContentLength <= 0 || req.ContentLength > largeBody)
}

func hasBody(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }

// takes reports whether another request may go out on the connection. crowded says that no other connection will be made for
// it. t.mu is held.
func (m *multiplex) takes(alone, crowded bool, now time.Time) bool {
	switch {
	case m.awaitingSettings || m.alone != alone || (m.conn.avoided || m.writer.hasGivenUp()) && !crowded:
		return false
	case m.conn.idle:
		return true
	case alone || m.conn.awaitingHeader+m.openBodies >= maxStreams || !m.hasRoom():
		return false
	case crowded:
		return true
	}
	return m.conn.awaitingHeader < maxWaiting && !slices.ContainsFunc(m.bodies, func(b *uploadedBody) bool { return b.heldUp(now) })
}

// hasRoom reports whether the server takes another request now. net/http may not yet know all requests that have got the
// connection. If one is sent too many, it waits, and nothing else happens.
//
// ClientConn.Reserve would count exactly. It deadlocks if a server's SETTINGS allow fewer requests than are reserved by then:
// net/http waits for the reservations to be used, with the lock that using them takes.
func (m *multiplex) hasRoom() bool {
	return m.http.Available() > max(0, m.conn.awaitingHeader-max(0, m.http.InFlight()-m.openBodies))
}

// admitOthers opens a new connection to other requests than its first one. t.mu is held.
//
// Before a server's SETTINGS have come, net/http assumes that it takes 100 requests at once. If a hundred requests wait for a
// connection to a server that takes ten, ninety would be refused, or worse: some servers then say that the client has broken
// the protocol.
func (m *multiplex) admitOthers() {
	if !m.awaitingSettings {
		return
	}
	m.awaitingSettings = false
	m.http.SetStateHook(nil)
	if m.settingsTimer != nil {
		m.settingsTimer.Stop()
	}
	if m.group != nil {
		m.group.end(m.conn.pool)
		m.group = nil
	}
	m.conn.pool.wake()
}

// admitOthersAfter opens the connection after d, if SETTINGS have not arrived by then. d is how long it took to connect: that
// took more round trips than SETTINGS need. A server may allow just the hundred, and its first response may be slow.
func (m *multiplex) admitOthersAfter(d time.Duration) {
	m.settingsTimer = time.AfterFunc(d, func() {
		t := m.conn.pool.t
		t.mu.Lock()
		defer t.unlock()
		m.admitOthers()
	})
}

// changed is called by net/http when a request or the connection has ended, until it is known how many requests the
// connection takes. It may miss what begins and ends while it runs; update is called elsewhere too.
func (m *multiplex) changed(*http.ClientConn) {
	t := m.conn.pool.t
	t.mu.Lock()
	defer t.unlock()
	if m.awaitingSettings && m.http.Available()+m.http.InFlight() != assumedStreams {
		m.admitOthers()
	}
	m.conn.update()
}

var _ protocol = (*multiplex)(nil)

func (m *multiplex) inUse() bool { return m.openBodies > 0 }
func (m *multiplex) dead() bool  { return m.http.Err() != nil }
func (m *multiplex) alive() bool { return true } // net/http reads it all the time
func (m *multiplex) close()      { m.http.Close() }

func (m *multiplex) answered(resp *http.Response, err error) {
	m.admitOthers()
	switch {
	case err == nil, neverProcessed(err):
	case isStreamError(err), errors.Is(err, errNotOneLength):
		if m.resets++; m.resets >= maxResets {
			m.conn.retired = true
		}
	default: // it was canceled, which the resetWriter may not know yet, or the connection has ended
		m.conn.avoided = true
	}
	if resp != nil {
		// lighttpd answers 400 to all requests on a connection after a header that was too large for it.
		m.conn.retired = m.conn.retired || m.alone && resp.StatusCode >= http.StatusBadRequest
		if _, ok := resp.Body.(*responseBody); ok {
			m.openBodies++
		}
	}
}

func (m *multiplex) roundTrip(l lease, req *http.Request, x *Exchange) (*http.Response, error) {
	resp, err := m.exchange(l, req, x)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		l.raw.Close() // nobody knows what it speaks now
		return nil, http1.ErrUnaskedSwitch
	}
	if limit := l.pool.t.maxHeader(); headerSize(resp.Header) > limit {
		l.retire()
		resp.Body.Close()
		return nil, fmt.Errorf("%w than %d bytes", errHeaderSize, limit)
	}
	if isEmpty(req, resp) {
		// A 304 and the response to HEAD may have a Content-Length (RFC 9110 section 8.6). net/http would miss the bytes.
		resp.Body.Close()
		resp.Body = http.NoBody
	} else {
		resp.Body = &responseBody{ReadCloser: resp.Body, ctx: req.Context(), conn: l.conn, left: resp.ContentLength}
	}
	return resp, nil
}

// exchange sends a request, and returns the response of net/http, or the reason why it failed.
func (m *multiplex) exchange(l lease, req *http.Request, x *Exchange) (resp *http.Response, err error) {
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
	if err == nil || h.hasWritten() { // a response may come before the hook is called
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
		// net/http has forgotten the reason. Nobody reads this connection any more, and crypto/tls still has it.
		if _, tlsErr := l.secure.Read(make([]byte, 1)); isAlert(tlsErr) {
			err = tlsErr
		}
	}
	return resp, err
}

// speakHTTP2 gives the connection to net/http.
func (c *conn) speakHTTP2(ctx context.Context) error {
	c.raw.handed = true
	// net/http begins to write at once, and ignores the context (golang/go#79253).
	stop := context.AfterFunc(ctx, func() { c.raw.Close() })
	resets := newResetWriter(c.secure, c.avoid)
	lengths := newLengthReader(resets, resets.ended)
	client, err := c.pool.t.base.NewClientConn(context.WithValue(context.Background(), handOverKey{}, net.Conn(lengths)), c.pool.key.scheme, "origin:443")
	if !stop() { // the context has ended, and has caused the failure if there is one
		if err == nil {
			client.Close()
		}
		err = context.Cause(ctx)
	}
	c.h2 = &multiplex{conn: c, http: client, lengths: lengths, writer: resets}
	c.protocol = c.h2
	return err
}

// handOver is the dial function of the http.Transport. It returns a connection that is there already.
func handOver(ctx context.Context, _, _ string) (net.Conn, error) {
	c, ok := ctx.Value(handOverKey{}).(net.Conn)
	if !ok {
		return nil, errors.New("no connection was handed over")
	}
	return c, nil
}

type handOverKey struct{}

func (m *multiplex) unprocessed(_ lease, err error) bool { return neverProcessed(err) }

// neverProcessed reports whether an HTTP/2 server has certainly not processed a request that failed with err.
func neverProcessed(err error) bool {
	return refusedStream(err) || notSent(err) ||
		err.Error() == "http2: Transport received Server's graceful shutdown GOAWAY" // and this stream is after its last
}

// notSent reports whether nothing of a request was sent over HTTP/2. net/http does not export these errors; the texts are its
// own.
func notSent(err error) bool {
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

// isConnectionError reports whether net/http has ended an HTTP/2 connection, with all requests on it, because the origin broke
// the protocol (RFC 9113 section 5.4.1). The type is not exported; the text is net/http's.
func isConnectionError(err error) bool { return strings.HasPrefix(err.Error(), "connection error: ") }

// streamError has the form of net/http's error for a stream that was reset. That type converts itself to any type of this
// form.
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

// resetOf returns how an HTTP/2 server has ended a request, or nil if err does not say so.
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

// maxDebug bounds how much of the debug data of a GOAWAY is kept, in bytes.
const maxDebug = 200

// responseBody is the body of a response over HTTP/2. It tells its connection when it has ended. net/http tells too, but it
// needs some locks for each request, and does not tell every time.
type responseBody struct {
	io.ReadCloser
	ctx   context.Context
	conn  *conn
	left  int64 // of its length; negative if that is unknown
	whole atomic.Bool
	ended atomic.Bool
}

func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if err != nil && b.left == 0 {
		err = io.EOF // a client that has all of it may leave before the server says that this is the end
	}
	if err != nil {
		b.whole.Store(err == io.EOF)
		b.end()
		err = namedCause(err)
	}
	return n, err
}

func (b *responseBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

func (b *responseBody) end() {
	if b.ended.Swap(true) {
		return
	}
	c, t := b.conn, b.conn.pool.t
	t.mu.Lock()
	defer t.unlock()
	c.h2.openBodies--
	c.avoided = c.avoided || !b.whole.Load() && b.ctx.Err() != nil // the request was canceled
	c.idleAt = wallClock()
	c.update()
	c.pool.wake()
}
