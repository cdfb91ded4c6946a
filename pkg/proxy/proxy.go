// Package proxy is the reverse proxy as an http.Handler: it finds the route of the host
// that a client asked for, forwards the request to the route's origin under the client's
// name, and returns what the origin answers.
//
// The Host header is a stranger's input. It chooses among the routes, and nothing else:
// a host without a route is refused before anything is dialled.
package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"

	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Config is what a [Handler] is made of.
type Config struct {
	// Routes finds the route of a host; it is asked for every request.
	Routes origin.Store

	// Transport reaches the origins. Its Translate is set by [New].
	Transport *sni.Transport

	// TrustedHostHeader names the header in which a CDN in front passes the host that the
	// client asked for. Whoever can reach the proxy directly can set it too, so it is for
	// proxies that only the CDN can reach. Empty means that Host alone counts.
	TrustedHostHeader string

	// Logger gets one line for each request that failed. Nil means slog.Default().
	Logger *slog.Logger
}

// Handler is the proxy. It is safe for concurrent use, and holds the connections to the
// origins: make one for the whole process.
type Handler struct {
	config  Config
	forward *httputil.ReverseProxy
}

// New makes a Handler. The transport becomes its own.
func New(c Config) *Handler {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Transport.Translate = sni.Func(translate)
	h := &Handler{config: c}
	h.forward = &httputil.ReverseProxy{
		Rewrite:      rewrite,
		Transport:    c.Transport,
		ErrorHandler: h.Fail,
		BufferPool:   &bufferPool{},
		ErrorLog:     slog.NewLogLogger(c.Logger.Handler(), slog.LevelWarn),
	}
	return h
}

// exchange is what is known of a request once its route was found.
type exchange struct {
	host  string // normalized
	route *origin.Route
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	authority := r.Host
	if name := h.config.TrustedHostHeader; name != "" {
		if values := r.Header.Values(name); len(values) > 1 {
			h.Fail(w, r, &badHostError{errors.New("more than one " + name)})
			return
		} else if len(values) == 1 {
			authority = values[0]
		}
	}
	host, err := routingHost(authority)
	if err != nil {
		h.Fail(w, r, err)
		return
	}
	// Before the forwarding begins, since there nothing may fail any more: ReverseProxy
	// calls the origin whatever Rewrite comes to.
	route, err := h.config.Routes.Lookup(r.Context(), host)
	if err != nil {
		h.Fail(w, r, &lookupError{host, err})
		return
	}
	in := r.WithContext(context.WithValue(r.Context(), exchangeKey{}, &exchange{host, route}))
	in.Host = authority
	h.forward.ServeHTTP(w, in)
}

// routingHost returns the name under which the route is looked up.
func routingHost(authority string) (string, error) {
	host, err := hostname.Normalize(authority)
	if err == nil {
		return host, nil
	}
	bare := authority
	if h, _, splitErr := net.SplitHostPort(authority); splitErr == nil {
		bare = h
	}
	if hostname.IsIP(bare) {
		return "", &lookupError{bare, origin.ErrNotFound} // well-formed, but no route has one
	}
	return "", &badHostError{err}
}

// rewrite cannot fail: what could was done before.
func rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	pr.Out.URL.Scheme = x.route.Scheme
	pr.Out.URL.Host = x.host
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // ReverseProxy drops what it cannot parse, such as ";"
	pr.Out.Host = pr.In.Host
	if x.route.HostHeader != "" {
		pr.Out.Host = x.route.HostHeader
	}
	pr.SetXForwarded()
}

// translate hands the route of the request to the transport. Without one there is
// nothing to dial.
func translate(ctx context.Context, _ string) (sni.Target, error) {
	x := exchangeOf(ctx)
	if x == nil {
		return sni.Target{}, origin.ErrNotFound
	}
	return sni.Target{
		Addresses:  x.route.Addresses,
		ServerName: x.route.ServerName,
		RootsPEM:   x.route.CAPEM,
		MinVersion: x.route.TLSMin,
	}, nil
}

// bufferPool lends the buffers through which bodies are copied.
type bufferPool struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[bufferSize]byte); ok {
		return b[:]
	}
	return make([]byte, bufferSize)
}

func (p *bufferPool) Put(b []byte) {
	if len(b) == bufferSize {
		p.pool.Put((*[bufferSize]byte)(b))
	}
}
