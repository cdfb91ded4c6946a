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

// An exchange is the state of one request: its [Record], and the fields that the handlers need until the Record is complete.
// A single goroutine at a time uses it, except for the fields below the mutex.
type exchange struct {
	Record
	handler *Handler

	peer      netip.Addr // the address of Client, without zone; zero if unknown
	trusted   bool       // peer is one of Config.TrustedProxies
	http2     bool       // the client speaks HTTP/2
	authority string     // the requested host and port, as the client wrote it, but with A-labels for Unicode

	body  *requestBody // nil if the request has no body
	watch *watch       // nil until the route is known

	stage      stage
	status     int  // sent to the client; 0 if none yet, 499 if none was sent before the client left
	headerSent bool // the server got the header of a final response

	writeErr   error // why the response could not be written
	interimErr error // why an interim response of the origin could not be forwarded

	failed *problem // nil if nothing failed
	cause  error    // of failed

	mu      sync.Mutex // because the transport and hooks may read bodies on other goroutines
	sent    int64      // bytes of the response's body
	bodyErr error      // why the client's body could not be read
	readErr error      // why the origin's response could not be read
	hookErr error      // why a hook's replacement of a body could not be read
}

// A stage is the progress of ServeHTTP with a request.
type stage int

const (
	notServed stage = iota // a server may respond without ServeHTTP
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

// identify sets the ids of the request and of its trace.
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

// trusts reports whether an address is in Config.TrustedProxies.
func (h *Handler) trusts(address netip.Addr) bool {
	return slices.ContainsFunc(h.config.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

// randomID returns an id that no other request has. It is not a secret.
func randomID() string {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(b[8:], rand.Uint64())
	return hex.EncodeToString(b[:])
}

// traceOf returns the trace id in a traceparent field, and "" if the field is malformed.
// https://www.w3.org/TR/trace-context/#traceparent-header
func traceOf(parent string) string {
	parts := strings.Split(parent, "-")
	if len(parts) < 4 || len(parts[1]) != 32 || strings.Trim(parts[1], "0123456789abcdef") != "" {
		return ""
	}
	return parts[1]
}

// isID reports whether s has at most 128 characters that are safe in logs and header fields.
func isID(s string) bool {
	const most = 128
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-_.:=/+", c))
	})
}

// observe copies the transport's measurements to the Record.
func observe(ctx context.Context, e *sni.Exchange) {
	if x := exchangeOf(ctx); x != nil {
		x.Origin = *e
	}
}

// resetResponse forgets a response that the server replaces by another.
func (x *exchange) resetResponse() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.status, x.headerSent, x.sent = 0, false, 0
}

// addSent counts bytes of the response's body.
func (x *exchange) addSent(n int) {
	x.mu.Lock()
	x.sent += int64(n)
	x.mu.Unlock()
}

// setFirst sets one of the error fields below the mutex if it is nil.
func (x *exchange) setFirst(field *error, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if *field == nil {
		*field = err
	}
}

// load returns the error in one of the fields below the mutex.
func (x *exchange) load(field *error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return *field
}

// uploadFailed notes why the client's body could not be read. The transport's error does not tell that from other failures.
func (x *exchange) uploadFailed(err error) { x.setFirst(&x.bodyErr, err) }

// responseFailed notes why the origin's response could not be read.
func (x *exchange) responseFailed(err error) { x.setFirst(&x.readErr, err) }

// hookFailed notes why a hook's replacement of a body could not be read.
func (x *exchange) hookFailed(err error) { x.setFirst(&x.hookErr, err) }

// brokenUpload, brokenResponse and hookFailure return the noted error, and nil if there is no error.
func (x *exchange) brokenUpload() error   { return x.load(&x.bodyErr) }
func (x *exchange) brokenResponse() error { return x.load(&x.readErr) }
func (x *exchange) hookFailure() error    { return x.load(&x.hookErr) }

// uploadCause returns brokenUpload as an error that has a row in problems.
func (x *exchange) uploadCause(ctx context.Context) error {
	err := x.brokenUpload()
	switch {
	case err == nil:
		return nil
	case as[*RequestTooLargeError](err):
		return err
	case x.http2, ctx.Err() != nil: // the stream or the connection has ended
		return fmt.Errorf("%w: its body: %w", ErrClientGone, err)
	}
	return fmt.Errorf("%w: its body: %w", ErrBadRequest, err)
}
