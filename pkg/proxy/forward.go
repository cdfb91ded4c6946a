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

// forwarder sends requests to their origins, and what these answer through the hooks to the
// client.
func (h *Handler) forwarder() http.Handler {
	return followReplaced(&httputil.ReverseProxy{
		Rewrite:      rewrite,
		Transport:    h.transport,
		ErrorHandler: h.Fail,
		BufferPool:   &bufferPool{},
		ErrorLog:     log.New(io.Discard, "", 0), // of answers that broke off; the request's own line tells

		// Of answers whose length is known: what is small waits in the server's buffers until more comes,
		// and an origin may take its time. Others are flushed at once.
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

// asSent are the fields that ReverseProxy keeps from origins, since it cannot know who has set
// them. Here we have.
var asSent = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// rewrite cannot fail: what could was done before, since ReverseProxy calls the origin whatever
// this comes to.
func rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	pr.Out.URL.Scheme = x.Route.Scheme
	pr.Out.URL.Host = x.Host
	pr.Out.URL.RawPath = encodedPath(pr.In.URL)
	pr.Out.URL.RawQuery = uri.EscapeQuery(pr.In.URL.RawQuery) // ReverseProxy drops what it cannot parse, such as ";"
	pr.Out.Host = pr.In.Host
	pr.Out.Trailer = pr.In.Trailer // the very map, which is filled when the body has been read
	for _, name := range asSent {
		if values, ok := pr.In.Header[name]; ok {
			pr.Out.Header[name] = values
		}
	}
}

// encodedPath returns what goes into RawPath for the path to be sent as the client encoded it, with what no path
// may have encoded too. Of a path that has such a byte anywhere, such as the "|" of browsers, net/url
// would otherwise send its own encoding, in which "%2F" is a slash.
func encodedPath(u *url.URL) string {
	if u.RawPath == "" || u.EscapedPath() == u.RawPath {
		return u.RawPath
	}
	return uri.EscapePath(u.RawPath)
}

// targetLength returns how long the path and the query are as they are sent.
func targetLength(u *url.URL) int {
	path := encodedPath(u)
	if path == "" {
		path = u.EscapedPath()
	}
	return len(path) + len(uri.EscapeQuery(u.RawQuery))
}

// translate hands the route of the request to the transport. Without one there is
// nothing to dial.
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

// Target returns what requests for a route are translated to. Timeouts that the route has not are
// the proxy's own, and for an upgrade the proxy offers HTTP/1.1 alone.
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
	if route.Scheme != "http" || route.TLSMin != tls.VersionTLS12 { // which every route has, if no other
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

// offersHTTP1 reports whether an origin may be spoken to in HTTP/1.1.
func offersHTTP1(route *origin.Route) bool {
	return route.Scheme == "http" || len(route.Protocols) == 0 || slices.Contains(route.Protocols, "http/1.1")
}

// checkStatus refuses what is no final answer (RFC 9110 section 15). Further on, such a
// status would be a panic, or a success.
func checkStatus(r *http.Response) error {
	x := exchangeOf(r.Request.Context())
	switch {
	case r.StatusCode == http.StatusSwitchingProtocols && x.Upgrade:
		if to := r.Header.Get("Upgrade"); !strings.EqualFold(to, "websocket") {
			return fmt.Errorf("%w: to %.40q", ErrUpgradeMismatch, to)
		}
	case r.StatusCode < 200 || r.StatusCode > 599:
		return &sni.Error{Type: sni.HTTPProtocolError, Err: fmt.Errorf("origin answered with status %d", r.StatusCode)}
	}
	return nil
}

// checkLength refuses an answer whose length is not one number (RFC 9110 section 8.6). A client over HTTP/1.1
// would go by one of two. pkg/sni and net/http do so too, each for a part: over HTTP/2, where frames end a body,
// Go up to 1.26.8 passes lengths on as they are. The same number more than once is one.
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
		return &sni.Error{Type: sni.HTTPProtocolError, Err: errors.New("the Content-Length of the answer is not one length")}
	}
	if len(lengths) > 1 {
		r.Header["Content-Length"] = lengths[:1]
	}
	return nil
}

// RewritesNames reports whether answers of a route get the client's name where they have the origin's.
// Unless the route says it, that is where the origin is told another name than host, and so may not know
// that.
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
