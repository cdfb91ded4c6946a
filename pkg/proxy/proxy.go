// Package proxy is the reverse proxy as an http.Handler. It finds the route of the host that a client asks for,
// forwards the request to the route's origin under the client's name, and returns the origin's response.
//
// The Host header is untrusted input. It only chooses a route: a request for a host without a route is refused before
// anything is dialled.
//
// A chain of [Middleware] changes the request, and a list of [ResponseHook] changes the response. [New] puts the proxy's own
// and the caller's in order. A [Record] says how a request ended.
package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Config configures a [Handler]. Its functions, Middleware and ResponseHooks are called by many goroutines at once.
type Config struct {
	// Routes finds the route of a host. The Handler calls it for every request. It must not be nil.
	Routes origin.Store

	// Transport connects to the origins. The Handler uses a copy. Its Translate must be nil, because Routes decides where
	// requests go. Nil means a zero Transport.
	Transport *sni.Transport

	// TrustedHostHeader names the header that has the host that the client asked for. A CDN in front sets it. The Handler
	// reads it in requests from TrustedProxies. If TrustedProxies is empty, the Handler reads it in all requests, also in
	// those of clients that reach the proxy directly: do that only if nobody except the CDN can. Empty means that only Host
	// counts.
	TrustedHostHeader string

	// TrustedProxies are the networks of the proxies in front. The Handler keeps the fields that such a peer sets about its
	// client (X-Forwarded-*, Forwarded, X-Request-Id), and adds to them. It replaces those of other peers. Nil trusts
	// nobody, except for TrustedHostHeader.
	TrustedProxies []netip.Prefix

	// LoopID is the proxy's identifier in CDN-Loop (RFC 8586). The Handler refuses a request that already has it. If one
	// deployment may forward to another, each needs its own. Empty means "sleight".
	LoopID string

	// Limits bounds requests, and Timeouts bounds their waits. The zero values mean defaults.
	Limits   Limits
	Timeouts Timeouts

	// Middleware is called for requests whose route is known (see [RouteOf]), with the header that the origin gets: fields
	// for the proxy alone are removed already. The first is the outermost. Nil means none.
	Middleware []Middleware

	// ResponseHooks are called in order for each response, before it goes to the client. Nil means none.
	ResponseHooks []ResponseHook

	// Identify returns the ids of a request and of its trace, for logs. If it is nil or returns an empty id, the Handler
	// takes the X-Request-Id of a trusted proxy or else a random id, and the trace id of a W3C traceparent.
	Identify func(*http.Request) (requestID, traceID string)

	// Observe is called once for each request, with the request's context, after the response has ended and the log line
	// was written. The request waits for it. It must not keep or change the Record, and must not panic. Nil means that
	// nothing is called.
	Observe func(context.Context, *Record)

	// Logger gets one line for each request. Nil means slog.Default().
	Logger *slog.Logger
}

// Handler is the proxy. It is safe for concurrent use. It holds the connections to the origins, so a process needs only a
// single Handler. Make it with [New]; the zero Handler is not usable.
type Handler struct {
	config    Config
	transport *sni.Transport
	hooks     []ResponseHook // the proxy's own
	chain     http.Handler
}

// New returns a Handler. It returns an error if Routes or an entry of Middleware or ResponseHooks is nil, or if
// Transport.Translate is not. It does not change what c
// points to.
func New(c Config) (*Handler, error) {
	switch {
	case c.Routes == nil:
		return nil, errors.New("proxy: Config.Routes is nil")
	case slices.ContainsFunc(c.Middleware, func(m Middleware) bool { return m == nil }):
		return nil, errors.New("proxy: Config.Middleware has a nil entry")
	case slices.ContainsFunc(c.ResponseHooks, func(h ResponseHook) bool { return h == nil }):
		return nil, errors.New("proxy: Config.ResponseHooks has a nil entry")
	case c.Transport == nil:
		c.Transport = &sni.Transport{}
	case c.Transport.Translate != nil:
		return nil, errors.New("proxy: Config.Transport.Translate is not nil, and Config.Routes decides where requests go")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.LoopID == "" {
		c.LoopID = name
	}
	h := &Handler{config: c, transport: c.Transport.Clone()}
	h.transport.Translate = sni.TranslatorFunc(translate)
	h.transport.Observe = observe
	if theirs := c.Transport.Observe; theirs != nil {
		h.transport.Observe = func(ctx context.Context, e *sni.Exchange) { observe(ctx, e); theirs(ctx, e) }
	}
	requests := []Middleware{
		h.limitRequests, // concurrent ones, of all clients and of each
		h.rejectInvalid, // requests that a proxy must not forward
		h.route,         // host -> route
		h.limitTime,     // the timeouts of the route, or the proxy's
		h.dropHopByHop,
		h.addForwarded, // Via, CDN-Loop, Forwarded, X-Forwarded-*
		h.rejectUpgrade,
	}
	h.hooks = []ResponseHook{
		checkStatus,
		checkLength,
		cleanFields, // field names, hop-by-hop fields; the origin's name in Location, Link and cookies
		watchBody,   // idle timeout, errors, trailers
	}
	h.chain = Chain(h.forwarder(), append(requests, c.Middleware...)...)
	return h, nil
}

// ServeHTTP forwards r to its origin, and writes the origin's response, or an error response of the proxy's own. It does not
// change r or its header. It panics with [http.ErrAbortHandler], as [httputil.ReverseProxy] does, if the response cannot be
// completed or the client is gone.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// From here on, r is a copy that the proxy may change. Its header is still the caller's until dropHopByHop copies it.
	x := exchangeOf(r.Context())
	final := x == nil // otherwise the server may still send another response
	if final {
		var done func()
		r, done = h.Begin(r)
		defer done()
		x = exchangeOf(r.Context())
	} else {
		r = r.WithContext(r.Context())
	}
	x.stage = running
	own := newResponseWriter(w, r, x)
	defer func() {
		if final && x.stage == running {
			own.flushPartial()
		}
	}()
	if r.Body != nil && r.Body != http.NoBody {
		x.body = h.newRequestBody(r, x)
		r.Body = x.body
	}
	h.chain.ServeHTTP(own, r)
	own.limitRest(h.config.Timeouts)
	x.stage = returned
}

// CloseIdleConnections closes the connections to origins that no request uses. A server calls it to free file descriptors.
func (h *Handler) CloseIdleConnections() { h.transport.CloseIdleConnections() }

// Begin starts the [Record] of a request. It returns the request to pass to [Handler.ServeHTTP], and a function that
// completes the Record, writes the log line, and calls Config.Observe. ServeHTTP does all of that itself for other requests.
// Begin is for a server that may call [Handler.Fail] after ServeHTTP has returned: that server calls done once, when the
// response has ended.
func (h *Handler) Begin(r *http.Request) (begun *http.Request, done func()) {
	x := newExchange(h, r)
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	return r, func() { h.finish(r.Context(), x) }
}

// RouteOf returns the route of a request that a [Handler] is serving, and nil for other requests. The caller must not change
// the route.
func RouteOf(ctx context.Context) *origin.Route {
	if x := exchangeOf(ctx); x != nil {
		return x.Route
	}
	return nil
}

// RequestID returns the id in the log of a request that a [Handler] is serving, and "" for other requests.
func RequestID(ctx context.Context) string {
	if x := exchangeOf(ctx); x != nil {
		return x.RequestID
	}
	return ""
}
