package proxy

import (
	"context"
	"net/url"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

// Warm looks up the route of a host and connects to its origin, so that the first request for the host waits for neither. It
// sends no request. It returns an error if host is not a hostname, an error of the store, or an *[sni.Error].
func (h *Handler) Warm(ctx context.Context, host string) error {
	host, err := hostname.Normalize(host)
	if err != nil {
		return err
	}
	route, err := h.config.Routes.Lookup(ctx, host)
	if err != nil {
		return &lookupError{host, err}
	}
	x := &exchange{handler: h, watch: &watch{timeouts: h.config.Timeouts.For(route)}}
	x.Host, x.Route = host, route
	return h.transport.Connect(context.WithValue(ctx, exchangeKey{}, x), &url.URL{Scheme: route.Scheme, Host: host})
}
