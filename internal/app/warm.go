package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sleightproxy/sleight/pkg/proxy"
)

const (
	// warmTime bounds the whole: the first request waits for it, and Lambda gives the start of a function ten seconds,
	// and bills them.
	warmTime = 3 * time.Second

	// warmAtOnce bounds the handshakes at a time: a small function has a share of a CPU, and with more of them all
	// would be late.
	warmAtOnce = 8
)

// Warm looks up and connects to the hosts of WARM_HOSTS, so that their first requests wait for neither. It returns when
// that is done, after three seconds at most. It logs each failure, since the request itself may still succeed.
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
				logger.WarnContext(ctx, "host of WARM_HOSTS could not be warmed: its first request waits for the lookup and the connection", slog.String("host", host), slog.Any("error", err))
			}
		})
	}
	wg.Wait()
}
