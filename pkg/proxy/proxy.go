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
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"

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
		Rewrite:        rewrite,
		Transport:      c.Transport,
		ModifyResponse: checkResponse,
		ErrorHandler:   h.Fail,
		BufferPool:     &bufferPool{},
		ErrorLog:       slog.NewLogLogger(c.Logger.Handler(), slog.LevelWarn),
	}
	return h
}

// exchange is what is known of a request once its route was found.
type exchange struct {
	host  string // normalized
	route *origin.Route
	body  *requestBody // nil where the request has none
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	authority, host, err := h.asked(r)
	if err != nil {
		h.Fail(w, r, err)
		return
	}
	// Before the forwarding begins, since there nothing may fail any more: ReverseProxy
	// calls the origin whatever Rewrite comes to.
	route, err := h.config.Routes.Lookup(r.Context(), host)
	if err != nil {
		h.Fail(w, r, &lookupError{err})
		return
	}
	x := &exchange{host: host, route: route}
	in := r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	in.Host = authority
	if in.Body != nil && in.Body != http.NoBody {
		x.body = &requestBody{ReadCloser: in.Body}
		in.Body = x.body
	}
	if _, ok := in.Header["Upgrade"]; ok {
		// Clients offer h2c on ordinary requests, and origins over HTTP/2 do not take the header.
		in.Header = in.Header.Clone()
		in.Header.Del("Upgrade")
	}
	w.Header()["Content-Type"] = nil // net/http would make one up where the origin sends none
	h.forward.ServeHTTP(w, in)
}

// asked returns which host the client asked for: the authority as it wrote it, and the
// name under which the route is looked up.
func (h *Handler) asked(r *http.Request) (authority, host string, err error) {
	authority = r.Host
	if name := h.config.TrustedHostHeader; name != "" {
		switch values := r.Header.Values(name); len(values) {
		case 0:
		case 1:
			authority = values[0]
		default:
			return "", "", &badHostError{errors.New("more than one " + name)}
		}
	}
	if host, err = hostname.Normalize(authority); err == nil {
		return authority, host, nil
	}
	bare := authority
	if name, _, splitErr := net.SplitHostPort(authority); splitErr == nil {
		bare = name
	}
	if hostname.IsIP(bare) {
		return "", "", &lookupError{origin.ErrNotFound} // well-formed, but no route has one
	}
	return "", "", &badHostError{err}
}

// requestBody notices when the client's body cannot be read, which to the transport looks
// like any other failure.
type requestBody struct {
	io.ReadCloser
	broken atomic.Bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	// The transport closes a body that it has no more use for, perhaps during a Read.
	if err != nil && err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) {
		b.broken.Store(true)
	}
	return n, err
}

// checkResponse refuses what is no final answer (RFC 9110 section 15). Further on, such a
// status would be a panic, or a success.
func checkResponse(r *http.Response) error {
	if r.StatusCode < 200 || r.StatusCode > 599 {
		return &sni.Error{Type: sni.HTTPProtocolError, Err: fmt.Errorf("origin answered with status %d", r.StatusCode)}
	}
	return nil
}

// rewrite cannot fail: what could was done before.
func rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	pr.Out.URL.Scheme = x.route.Scheme
	pr.Out.URL.Host = x.host
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // ReverseProxy drops what it cannot parse, such as ";"
	pr.Out.Host = pr.In.Host
	pr.SetXForwarded()
}

// translate hands the route of the request to the transport. Without one there is
// nothing to dial.
func translate(ctx context.Context, _ string) (sni.Target, error) {
	x := exchangeOf(ctx)
	if x == nil {
		return sni.Target{}, origin.ErrNotFound
	}
	target := sni.Target{
		Addresses:  x.route.Addresses,
		ServerName: x.route.ServerName,
		HostHeader: x.route.HostHeader,
		SPKIPins:   x.route.SPKIPins,
		ClientCert: x.route.ClientCert,
		MinVersion: x.route.TLSMin,
	}
	if x.route.CAPEM != "" {
		target.Roots = sni.PEM(x.route.CAPEM)
	}
	return target, nil
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
