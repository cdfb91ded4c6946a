package proxy

import (
	"context"
	"net/http"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

// Warm looks up the route of a host and makes ready a connection to its origin, so that the
// first request for it waits for neither. Nothing is sent. Its errors are those of the store, or
// *[sni.Error].
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
	r, err := http.NewRequestWithContext(context.WithValue(ctx, exchangeKey{}, x), http.MethodGet, route.Scheme+"://"+host+"/", nil)
	if err != nil {
		return err
	}
	return h.transport.Connect(r)
}
