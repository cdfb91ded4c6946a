// Package proxy is the reverse proxy as an http.Handler: it finds the route of the host
// that a client asked for, forwards the request to the route's origin under the client's
// name, and returns what the origin answers.
//
// The Host header is a stranger's input. It chooses among the routes, and nothing else:
// a host without a route is refused before anything is dialled.
//
// What the proxy does to a request is a list of [Middleware], and to an answer a list of
// [ResponseHook]; both are in [New], in order, with the caller's own among them.
package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Config is what a [Handler] is made of.
type Config struct {
	// Routes finds the route of a host; it is asked for every request.
	Routes origin.Store

	// Transport reaches the origins. Its Translate and Observe are set by [New].
	Transport *sni.Transport

	// TrustedHostHeader names the header in which a CDN in front passes the host that the
	// client asked for. It is believed from TrustedProxies alone. If there are none, it is believed from all:
	// whoever can reach the proxy directly can set it too, so that is for proxies that only the
	// CDN can reach. Empty means that Host alone counts.
	TrustedHostHeader string

	// TrustedProxies are the networks of the proxies in front. What such a peer says of its client
	// (X-Forwarded-*, Forwarded, X-Request-Id) is kept and added to; what others say
	// is replaced. Nil trusts nobody, but for TrustedHostHeader.
	TrustedProxies []netip.Prefix

	// LoopID is how the proxy knows its own requests again, in CDN-Loop (RFC 8586): give each
	// deployment its own where one may stand before another. Empty means "sleight".
	LoopID string

	// Limits bound requests, Timeouts what they wait for.
	Limits   Limits
	Timeouts Timeouts

	// Middleware sees requests whose route is known (see [RouteOf]), as the origin will see them,
	// without what is between the client and the proxy alone. The first is the outermost.
	Middleware []Middleware

	// ResponseHooks see answers before they go to the client. They are called in order.
	ResponseHooks []ResponseHook

	// Identify tells by which ids a request is found in logs: its own, and its trace's. Where it is
	// nil, or knows none, the request has X-Request-Id of a trusted proxy or a random one, and the trace
	// of a W3C traceparent.
	Identify func(*http.Request) (requestID, traceID string)

	// Logger gets one line for each request. Nil means slog.Default().
	Logger *slog.Logger
}

// Handler is the proxy. It is safe for concurrent use, and holds the connections to the
// origins: make one for the whole process.
type Handler struct {
	config Config
	hooks  []ResponseHook
	chain  http.Handler
}

// New makes a Handler. The transport becomes its own.
func New(c Config) *Handler {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.LoopID == "" {
		c.LoopID = name
	}
	h := &Handler{config: c}
	c.Transport.Translate = sni.Func(translate)
	c.Transport.Observe = observe
	requests := []Middleware{
		h.limitRequests, // at a time: of all clients, and of one
		h.refuse,        // what no origin should see, or no proxy pass on
		h.route,         // host -> route
		h.limitTime,     // of the route, or the proxy's own
		h.endToEnd,      // hop-by-hop fields end here
		h.introduce,     // who asked, and through whom: Via, CDN-Loop, Forwarded, X-Forwarded-*
		h.switchOver,    // Upgrade
	}
	h.hooks = []ResponseHook{
		checkStatus,
		checkLength,
		passFields, // names checked, hop-by-hop fields end here; Location, Link, cookies: from the origin's name to the client's
		followBody, // time, and what ends it; its trailers
	}
	requests = append(requests, c.Middleware...)
	h.hooks = append(h.hooks, c.ResponseHooks...)
	h.chain = Chain(h.forwarder(), requests...)
	return h
}

// ServeHTTP answers r, whose header is not changed.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// From here on the request is a copy, and the proxy's own to change; its header is not, until
	// endToEnd has made it so.
	x := exchangeOf(r.Context())
	settled := x == nil // else the server may still answer otherwise
	if settled {
		var done func()
		r, done = h.Begin(r)
		defer done()
		x = exchangeOf(r.Context())
	} else {
		r = r.WithContext(r.Context())
	}
	x.complete = false // until it returns: a panic means that what was written is not all
	own := newResponseWriter(w, r, x)
	defer func() {
		if settled && !x.complete {
			own.breakOff()
		}
	}()
	if r.Body != nil && r.Body != http.NoBody {
		x.body = h.newRequestBody(r, x)
		r.Body = x.body
	}
	h.chain.ServeHTTP(own, r)
	own.limitRest(h.config.Timeouts)
	x.complete = true
}

// CloseIdleConnections closes the connections to origins that no request uses, for servers that have
// no file descriptor left.
func (h *Handler) CloseIdleConnections() { h.config.Transport.CloseIdleConnections() }

// Begin starts the account of a request, and returns what writes it to the log when the answer is
// done with. ServeHTTP does both itself; a server that may call [Handler.Fail] after ServeHTTP
// has returned calls Begin before, and done after, and passes the request that it got back.
func (h *Handler) Begin(r *http.Request) (begun *http.Request, done func()) {
	x := newExchange(h, r)
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	return r, func() { h.log(r, x) }
}

// RouteOf returns the route of a request on its way through a [Handler], and nil for others. It
// must not be changed.
func RouteOf(ctx context.Context) *origin.Route {
	if x := exchangeOf(ctx); x != nil {
		return x.route
	}
	return nil
}

// RequestID returns the id by which a request on its way through a [Handler] is found in the log,
// and "" for others.
func RequestID(ctx context.Context) string {
	if x := exchangeOf(ctx); x != nil {
		return x.requestID
	}
	return ""
}
