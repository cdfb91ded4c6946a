// Package proxy is the reverse proxy as an http.Handler. It finds the route of the host that a client asks for,
// forwards the request to the route's origin under the client's name, and returns the origin's response.
//
// The Host header is a stranger's input. It chooses among the routes, and does nothing else: a host without a route
// is refused before anything is dialled.
//
// The proxy changes a request by a list of [Middleware], and a response by a list of [ResponseHook]. Both lists are in
// [New], in order, with the caller's own among them. A [Record] says what became of a request.
package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Config is what a [Handler] is made of.
type Config struct {
	// Routes finds the route of a host. It is asked for every request, and must not be nil.
	Routes origin.Store

	// Transport has the settings of the transport that reaches the origins; the Handler uses a copy. Its Translate must
	// be nil, since Routes decide where requests go. Nil means a zero Transport.
	Transport *sni.Transport

	// TrustedHostHeader names the header in which a CDN in front passes the host that the client asked for. It is
	// believed if it comes from TrustedProxies. If TrustedProxies is empty, it is believed from everybody, also from
	// clients that reach the proxy directly; set it so only if nobody but the CDN can. Empty means that Host alone
	// counts.
	TrustedHostHeader string

	// TrustedProxies are the networks of the proxies in front. What such a peer says of its client (X-Forwarded-*,
	// Forwarded, X-Request-Id) is kept and added to. What others say is replaced. Nil trusts nobody, except for
	// TrustedHostHeader.
	TrustedProxies []netip.Prefix

	// LoopID is the name by which the proxy recognizes its own requests, in CDN-Loop (RFC 8586). If one deployment may
	// forward to another, each needs its own. Empty means "sleight".
	LoopID string

	// Limits bound requests, Timeouts what they wait for.
	Limits   Limits
	Timeouts Timeouts

	// Middleware sees requests whose route is known (see [RouteOf]), as the origin will see them: fields that are for
	// the proxy alone are gone. The first is the outermost.
	Middleware []Middleware

	// ResponseHooks see responses before they go to the client. They are called in order.
	ResponseHooks []ResponseHook

	// Identify returns the ids by which a request is found in logs: its own, and its trace's. If it is nil, or
	// returns "" for one of them, the request has the X-Request-Id of a trusted proxy or a random id, and the trace of a
	// W3C traceparent.
	Identify func(*http.Request) (requestID, traceID string)

	// Observe is called once for each request, after its response has ended and its log line was written, with the
	// request's context, by many goroutines at once. It must not keep or change the Record, and must not panic. The
	// request waits for it. Nil observes nothing.
	Observe func(context.Context, *Record)

	// Logger gets one line for each request. Nil means slog.Default().
	Logger *slog.Logger
}

// Handler is the proxy. It is safe for concurrent use, and holds the connections to the origins: make one for the whole
// process.
type Handler struct {
	config    Config
	transport *sni.Transport
	hooks     []ResponseHook // the proxy's own
	chain     http.Handler
}

// New makes a Handler. It returns an error if Routes is nil or if Transport.Translate is not.
func New(c Config) (*Handler, error) {
	switch {
	case c.Routes == nil:
		return nil, errors.New("proxy: Config.Routes is nil")
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
		h.limitRequests, // at a time: of all clients, and of one
		h.rejectInvalid, // what no origin should see, or no proxy pass on
		h.route,         // host -> route
		h.limitTime,     // of the route, or the proxy's own
		h.dropHopByHop,
		h.addForwarded, // who asked, and through whom: Via, CDN-Loop, Forwarded, X-Forwarded-*
		h.rejectUpgrade,
	}
	h.hooks = []ResponseHook{
		checkStatus,
		checkLength,
		passFields, // names checked, hop-by-hop fields dropped; Location, Link, cookies: from the origin's name to the client's
		followBody, // time, and what ends it; its trailers
	}
	h.chain = Chain(h.forwarder(), append(requests, c.Middleware...)...)
	return h, nil
}

// ServeHTTP answers r, whose header is not changed.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// From here on the request is a copy, and the proxy's own to change. Its header is not, until dropHopByHop has
	// made it so.
	x := exchangeOf(r.Context())
	settled := x == nil // if not, the server may still answer otherwise
	if settled {
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
		if settled && x.stage == running {
			own.breakOff()
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

// CloseIdleConnections closes the connections to origins that no request uses, for servers that have no file descriptor
// left.
func (h *Handler) CloseIdleConnections() { h.transport.CloseIdleConnections() }

// Begin starts the [Record] of a request, and returns what completes it once the response has ended. ServeHTTP does both
// itself. A server that may call [Handler.Fail] after ServeHTTP has returned calls Begin before, and done after, and
// passes the request that it got back.
func (h *Handler) Begin(r *http.Request) (begun *http.Request, done func()) {
	x := newExchange(h, r)
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	return r, func() { h.finish(r.Context(), x) }
}

// RouteOf returns the route of a request on its way through a [Handler], and nil for others. It
// must not be changed.
func RouteOf(ctx context.Context) *origin.Route {
	if x := exchangeOf(ctx); x != nil {
		return x.Route
	}
	return nil
}

// RequestID returns the id by which a request on its way through a [Handler] is found in the log,
// and "" for others.
func RequestID(ctx context.Context) string {
	if x := exchangeOf(ctx); x != nil {
		return x.RequestID
	}
	return ""
}
