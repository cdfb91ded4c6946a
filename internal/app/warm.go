package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sleightproxy/sleight/pkg/proxy"
)

const (
	// warmTime bounds what the first request may have to wait for: Lambda gives the start of a function
	// ten seconds, and bills them.
	warmTime = 3 * time.Second

	// warmAtOnce bounds the handshakes under way: on the share of a CPU that a small function has, more
	// would all come too late.
	warmAtOnce = 8
)

// Warm makes ready what the first requests for WARM_HOSTS need, and returns when that is done or
// time is up. What fails is logged and no more: the request itself may fare better.
func Warm(ctx context.Context, s Settings, logger *slog.Logger, handler *proxy.Handler) {
	ctx, cancel := context.WithTimeout(ctx, warmTime)
	defer cancel()
	var wg sync.WaitGroup
	turns := make(chan struct{}, warmAtOnce)
	for _, host := range s.WarmHosts {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if err := handler.Warm(ctx, host); err != nil {
				logger.WarnContext(ctx, "host of WARM_HOSTS could not be made ready, its first request has to", slog.String("host", host), slog.Any("error", err))
			}
		})
	}
	wg.Wait()
}
