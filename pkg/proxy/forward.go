package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/sni"
	"github.com/sleightproxy/sleight/pkg/uri"
)

// forwarder returns the handler that sends requests to their origins, and the responses through the hooks to the client.
func (h *Handler) forwarder() http.Handler {
	return watchReplaced(&httputil.ReverseProxy{
		Rewrite:      rewrite,
		Transport:    h.transport,
		ErrorHandler: h.Fail,
		BufferPool:   &bufferPool{},
		ErrorLog:     log.New(io.Discard, "", 0), // the request's own log line has the error

		// This is for responses of known length: their first bytes would wait in the server's buffers for a slow origin.
		// ReverseProxy flushes other responses at once.
		FlushInterval: 100 * time.Millisecond,
		ModifyResponse: func(r *http.Response) error {
			if err := h.runHooks(r); err != nil {
				return err
			}
			announce(r)
			return nil
		},
	})
}

// asSent are the fields that ReverseProxy removes, because a client may have set them. Here addForwarded has set them.
var asSent = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// rewrite makes the request to the origin. It cannot fail: ReverseProxy would send the request all the same, so all checks
// come earlier.
func rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	pr.Out.URL.Scheme = x.Route.Scheme
	pr.Out.URL.Host = x.Host
	pr.Out.URL.RawPath = encodedPath(pr.In.URL)
	pr.Out.URL.RawQuery = uri.EscapeQuery(pr.In.URL.RawQuery) // ReverseProxy drops what it cannot parse, such as ";"
	pr.Out.Host = pr.In.Host
	pr.Out.Trailer = pr.In.Trailer // the same map, because the server fills it at the end of the body
	for _, name := range asSent {
		if values, ok := pr.In.Header[name]; ok {
			pr.Out.Header[name] = values
		}
	}
}

// encodedPath returns the RawPath for a path that is sent as the client encoded it. It escapes bytes that a path may not
// have, such as the "|" of browsers. Otherwise net/url would encode such a path itself, and turn "%2F" into a slash.
func encodedPath(u *url.URL) string {
	if u.RawPath == "" || u.EscapedPath() == u.RawPath {
		return u.RawPath
	}
	return uri.EscapePath(u.RawPath)
}

// targetLength returns the length of the path and the query as they are sent.
func targetLength(u *url.URL) int {
	path := encodedPath(u)
	if path == "" {
		path = u.EscapedPath()
	}
	return len(path) + len(uri.EscapeQuery(u.RawQuery))
}

// translate returns the target of the request's route for the transport.
func translate(ctx context.Context, _ string) (sni.Target, error) {
	x := exchangeOf(ctx)
	if x == nil || x.Route == nil {
		return sni.Target{}, origin.ErrNotFound
	}
	target := Target(x.Route)
	target.ConnectTimeout, target.HandshakeTimeout = x.watch.timeouts.Connect, x.watch.timeouts.Handshake
	// WebSockets over HTTP/2 (RFC 8441) are not in net/http. Any other list stays as it is: the transport
	// closes the idle connections of a host whose target changes.
	if x.Upgrade && slices.Contains(target.ALPN, "h2") {
		target.ALPN = []string{"http/1.1"}
	}
	return target, nil
}

// Target returns the target that the transport uses for requests of a route. A [Handler] changes two things in it: its own
// timeouts replace those that are zero, and it offers only HTTP/1.1 for an upgrade. route must not be nil.
func Target(route *origin.Route) sni.Target {
	target := sni.Target{
		Addresses:        route.Addresses,
		Scheme:           route.Scheme,
		ServerName:       route.ServerName,
		HostHeader:       route.HostHeader,
		SPKIPins:         route.SPKIPins,
		ClientCert:       route.ClientCert,
		MaxConns:         route.MaxConnections,
		ConnectTimeout:   route.Timeouts.Connect,
		HandshakeTimeout: route.Timeouts.Handshake,
	}
	if route.Scheme != "http" || route.TLSMin != tls.VersionTLS12 { // the default, also of routes without TLS
		target.MinVersion = route.TLSMin
	}
	if route.Scheme != "http" {
		target.ALPN = route.Protocols
	}
	if route.CAPEM != "" {
		target.Roots = sni.RootsFromPEM(route.CAPEM)
	}
	return target
}

// offersHTTP1 reports whether a route allows HTTP/1.1 to its origin.
func offersHTTP1(route *origin.Route) bool {
	return route.Scheme == "http" || len(route.Protocols) == 0 || slices.Contains(route.Protocols, "http/1.1")
}

// checkStatus is the hook that refuses a status that is not of a final response (RFC 9110 section 15). net/http would panic at
// it, or treat it as a success.
func checkStatus(r *http.Response) error {
	x := exchangeOf(r.Request.Context())
	switch {
	case r.StatusCode == http.StatusSwitchingProtocols && x.Upgrade:
		if to := r.Header.Get("Upgrade"); !strings.EqualFold(to, "websocket") {
			return fmt.Errorf("%w: to %.40q", ErrUpgradeMismatch, to)
		}
	case r.StatusCode < 200 || r.StatusCode > 599:
		return &sni.Error{Type: sni.HTTPProtocolError, Err: fmt.Errorf("the origin's response has the status %d", r.StatusCode)}
	}
	return nil
}

// checkLength is the hook that refuses a response whose Content-Length is not a single number (RFC 9110 section 8.6). Clients
// over HTTP/1.1 could read two lengths differently. pkg/sni and net/http refuse some of these responses. Over HTTP/2, Go up
// to 1.26.8 refuses none. The same number more than once counts as a single number.
func checkLength(r *http.Response) error {
	lengths, ok := r.Header["Content-Length"]
	if !ok {
		return nil
	}
	bad := len(lengths) == 0
	for _, length := range lengths {
		if _, err := strconv.ParseUint(length, 10, 63); err != nil || length != lengths[0] {
			bad = true
		}
	}
	if bad {
		return &sni.Error{Type: sni.HTTPProtocolError, Err: errors.New("the Content-Length of the response is not a single number")}
	}
	if len(lengths) > 1 {
		r.Header["Content-Length"] = lengths[:1]
	}
	return nil
}

// RewritesNames reports whether the proxy replaces the origin's name by the client's in the responses of a route. host is the
// requested host. A route's own rewrite decides. By default, names are replaced if the route's host_header differs from
// host, because the origin then may not know host.
func RewritesNames(route *origin.Route, host string) bool {
	switch {
	case route.Rewrite != nil:
		return *route.Rewrite
	case route.HostHeader == "":
		return false
	}
	sent, err := hostname.Normalize(route.HostHeader)
	return err != nil || sent != host
}

// bufferPool holds the buffers that ReverseProxy copies bodies with.
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
