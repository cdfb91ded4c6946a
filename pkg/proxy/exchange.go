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

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// An exchange is what is known of one request on its way through the proxy. All that handles the
// request writes to it, one after the other; what the transport's goroutines write is behind
// the mutex.
type exchange struct {
	began              time.Time
	requestID, traceID string
	from               netip.AddrPort // the client's end of the connection; zero where that is unknown
	peer               netip.Addr     // who sent the request; zero where that is unknown
	trusted            bool           // the peer is one of Config.TrustedProxies

	authority string        // that the client asked for, as it wrote it, a name in Unicode as A-labels
	host      string        // the same, normalized; empty until known
	scheme    string        // "https" or "http": what the client spoke
	route     *origin.Route // nil until known
	upgrade   bool          // the client asks for a WebSocket
	http2     bool          // the client speaks it
	body      *requestBody  // nil where the request has none

	lookup time.Duration // of the route
	origin sni.Exchange  // zero until the transport has told
	watch  *watch        // nil until the route is known

	status     int   // that the client was told; 0 where it was told none
	bytes      int64 // of the body that it was sent
	writeErr   error // why no more could be sent to it
	interimErr error // what is wrong with an interim answer of the origin
	readErr    error // why no more of the origin's answer could be read
	complete   bool  // the handler has returned

	failed *problem // what the client was told in place of an answer, or why that broke off; nil where all is well
	err    error    // the cause

	mu      sync.Mutex
	bodyErr error // why the client's body could not be read
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

func newExchange(h *Handler, r *http.Request) *exchange {
	x := &exchange{began: time.Now(), complete: true, http2: r.ProtoMajor == 2}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		x.from, x.peer = ap, ap.Addr().Unmap().WithZone("")
		x.trusted = h.trusts(x.peer)
	}
	if h.config.Identify != nil {
		x.requestID, x.traceID = h.config.Identify(r)
	}
	if id := r.Header.Get("X-Request-Id"); x.requestID == "" && x.trusted && isID(id) {
		x.requestID = id
	} else if x.requestID == "" {
		x.requestID = randomID()
	}
	if parent := r.Header.Get("Traceparent"); x.traceID == "" && parent != "" {
		x.traceID = traceOf(parent)
	}
	return x
}

// trusts reports whether an address is one of a proxy in front.
func (h *Handler) trusts(address netip.Addr) bool {
	return slices.ContainsFunc(h.config.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

// randomID returns an id that no other request has. To guess it is of no use to anybody.
func randomID() string {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(b[8:], rand.Uint64())
	return hex.EncodeToString(b[:])
}

// traceOf returns the trace of a traceparent, and "" where that is malformed.
// https://www.w3.org/TR/trace-context/#traceparent-header
func traceOf(parent string) string {
	parts := strings.Split(parent, "-")
	if len(parts) < 4 || len(parts[1]) != 32 || strings.Trim(parts[1], "0123456789abcdef") != "" {
		return ""
	}
	return parts[1]
}

// isID reports whether s is short and plain enough to stand in logs and headers.
func isID(s string) bool {
	const most = 128
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-_.:=/+", c))
	})
}

// observe takes down what the transport tells of the request.
func observe(ctx context.Context, told *sni.Exchange) {
	if x := exchangeOf(ctx); x != nil {
		x.origin = *told
	}
}

// bodyBroke notes why the client's body could not be read, which to the transport looks like
// any other failure.
func (x *exchange) bodyBroke(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.bodyErr == nil {
		x.bodyErr = err
	}
}

// brokenBody returns what was wrong with the client's body, and nil where nothing was.
func (x *exchange) brokenBody(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.bodyErr == nil:
		return nil
	case as[*RequestTooLargeError](x.bodyErr):
		return x.bodyErr
	case x.http2, ctx.Err() != nil: // the stream, or the connection, is no more
		return fmt.Errorf("%w: its body: %w", ErrClientGone, x.bodyErr)
	}
	return fmt.Errorf("%w: its body: %w", ErrBadRequest, x.bodyErr)
}
