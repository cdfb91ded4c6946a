package proxy

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// An exchange is one request on its way through the proxy. It is the request's [Record], and what the handlers
// need until that is complete. One goroutine at a time uses it, except for what is behind the mutex.
type exchange struct {
	Record
	handler *Handler

	peer      netip.Addr // the address of Client, without zone; zero if unknown
	trusted   bool       // peer is one of Config.TrustedProxies
	http2     bool       // the client speaks HTTP/2
	authority string     // that the client asked for: as it wrote it, a name in Unicode as A-labels

	body  *requestBody // nil if the request has none
	watch *watch       // nil until the route is known

	stage  stage
	status int // that the client was sent; 0 if none yet

	writeErr   error // why no more of the response could be sent
	interimErr error // what is wrong with an interim response of the origin

	failed *problem // what the client was told, or why a response broke off; nil if nothing failed
	cause  error    // why

	mu      sync.Mutex // the transport and hooks may read bodies on goroutines of their own
	sent    int64      // bytes of the response's body
	bodyErr error      // why the client's body could not be read
	readErr error      // why no more of the origin's response could be read
	hookErr error      // why a body that a hook has put in place could not be read
}

// A stage says how far ServeHTTP has come with a request.
type stage int

const (
	notServed stage = iota // a server may answer without ServeHTTP
	running
	returned
)

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

func newExchange(h *Handler, r *http.Request) *exchange {
	x := &exchange{handler: h, http2: r.ProtoMajor == 2}
	x.Began, x.Method, x.Protocol = time.Now(), r.Method, r.Proto
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		x.Client, x.peer = ap, ap.Addr().Unmap().WithZone("")
		x.trusted = h.trusts(x.peer)
	}
	x.Scheme = "http"
	if r.TLS != nil {
		x.Scheme = "https"
	}
	if said := r.Header["X-Forwarded-Proto"]; x.trusted && len(said) == 1 && (said[0] == "https" || said[0] == "http") {
		x.Scheme = said[0]
	}
	x.Upgrade = r.ProtoMajor == 1 && r.ProtoMinor > 0 && lists(r.Header["Connection"], "upgrade") && lists(r.Header["Upgrade"], "websocket")
	x.identify(r)
	return x
}

// identify sets the ids by which the request is found in logs.
func (x *exchange) identify(r *http.Request) {
	if x.handler.config.Identify != nil {
		x.RequestID, x.TraceID = x.handler.config.Identify(r)
	}
	if id := r.Header.Get("X-Request-Id"); x.RequestID == "" && x.trusted && isID(id) {
		x.RequestID = id
	} else if x.RequestID == "" {
		x.RequestID = randomID()
	}
	if parent := r.Header.Get("Traceparent"); x.TraceID == "" && parent != "" {
		x.TraceID = traceOf(parent)
	}
}

// trusts reports whether an address is one of a proxy in front.
func (h *Handler) trusts(address netip.Addr) bool {
	return slices.ContainsFunc(h.config.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

// randomID returns an id that no other request has. Nobody gains anything if they guess it.
func randomID() string {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(b[8:], rand.Uint64())
	return hex.EncodeToString(b[:])
}

// traceOf returns the trace id of a traceparent, and "" if that is malformed.
// https://www.w3.org/TR/trace-context/#traceparent-header
func traceOf(parent string) string {
	parts := strings.Split(parent, "-")
	if len(parts) < 4 || len(parts[1]) != 32 || strings.Trim(parts[1], "0123456789abcdef") != "" {
		return ""
	}
	return parts[1]
}

// isID reports whether s is short and plain enough for logs and header fields.
func isID(s string) bool {
	const most = 128
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-_.:=/+", c))
	})
}

// observe keeps the transport's part of the Record.
func observe(ctx context.Context, e *sni.Exchange) {
	if x := exchangeOf(ctx); x != nil {
		x.Origin = *e
	}
}

// replaced forgets a response in whose place the server sends another one.
func (x *exchange) replaced() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.status, x.sent = 0, 0
}

// addSent counts bytes of the response's body.
func (x *exchange) addSent(n int) {
	x.mu.Lock()
	x.sent += int64(n)
	x.mu.Unlock()
}

// first keeps the first error that is noted in one of the fields behind the mutex.
func (x *exchange) first(field *error, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if *field == nil {
		*field = err
	}
}

// noted returns the error in one of the fields behind the mutex.
func (x *exchange) noted(field *error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return *field
}

// uploadFailed notes why the client's body could not be read. To the transport, that looks like any other failure.
func (x *exchange) uploadFailed(err error) { x.first(&x.bodyErr, err) }

// answerFailed notes why the origin's response could not be read.
func (x *exchange) answerFailed(err error) { x.first(&x.readErr, err) }

// hookFailed notes why a body could not be read that a hook has put in place.
func (x *exchange) hookFailed(err error) { x.first(&x.hookErr, err) }

// brokenUpload, brokenAnswer and hookFailure return what was noted, and nil if nothing was.
func (x *exchange) brokenUpload() error { return x.noted(&x.bodyErr) }
func (x *exchange) brokenAnswer() error { return x.noted(&x.readErr) }
func (x *exchange) hookFailure() error  { return x.noted(&x.hookErr) }

// uploadCause returns brokenUpload as the cause of a failure.
func (x *exchange) uploadCause(ctx context.Context) error {
	err := x.brokenUpload()
	switch {
	case err == nil:
		return nil
	case as[*RequestTooLargeError](err):
		return err
	case x.http2, ctx.Err() != nil: // the stream, or the connection, has ended
		return fmt.Errorf("%w: its body: %w", ErrClientGone, err)
	}
	return fmt.Errorf("%w: its body: %w", ErrBadRequest, err)
}
