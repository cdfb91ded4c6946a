package origin

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

// health is the state of the store. The cache's mutex guards it.
type health struct {
	failing bool
	since   moment        // the beginning of the failure
	last    moment        // the last failed lookup
	pause   time.Duration // between probes, without jitter
	retryAt moment        // the time of the next probe
	streak  int           // failures in a row: the first, and probes

	// For the log.
	warned   moment // the last warning; 0 means never
	logged   bool   // there was a warning about this failure
	failures int    // failed lookups since the last warning
	served   int    // old routes that were served since then, while the store failed
}

const (
	minPause  = time.Second
	maxPause  = 30 * time.Second
	logPeriod = time.Minute
)

// mayAsk reports whether the store may be asked for a host with a known route. If the store fails, one request in each pause
// may ask, as a probe. If its last failure is long ago, the others may ask too: until the probe has ended, their
// routes may be as old as that failure.
func (h *health) mayAsk(now moment) (ask, probe bool) {
	if !h.failing {
		return true, false
	}
	if wait := h.retryAt.since(now); wait > 0 && wait <= 2*maxPause { // otherwise the clock was set back
		return !h.failedLately(now), false
	}
	h.retryAt = now.add(jitter(h.pause)) // the others wait for the result of this probe
	return true, true
}

// failedLately reports whether waiting for the store is useless. An old failure proves nothing, for instance in a
// sandbox that was frozen.
func (h *health) failedLately(now moment) bool {
	return h.failing && within(h.last, now, 2*maxPause)
}

// maxWait returns how long to wait for a lookup: base, doubled for each failure in a row, up to limit.
func (h *health) maxWait(base, limit time.Duration) time.Duration {
	if base == 0 {
		return 0
	}
	for range h.streak {
		if base *= 2; base >= limit {
			return limit
		}
	}
	return base
}

// failed notes that the store did not answer.
func (h *health) failed(now moment, probe bool) {
	h.last = now
	switch {
	case !h.failing:
		h.failing, h.since, h.logged = true, now, false
		h.pause, h.streak = minPause, 1
		h.retryAt = now.add(jitter(h.pause))
	case probe:
		h.streak++
		h.pause = min(2*h.pause, maxPause)
		h.retryAt = now.add(jitter(h.pause))
	}
}

// probeAborted notes that a probe ended without a result, so that the next request probes.
func (h *health) probeAborted(now moment) { h.retryAt = now }

// failureEntry counts a failed lookup, and returns the warning about it, or nil if there was one within logPeriod.
func (h *health) failureEntry(now moment, err error) *logEntry {
	h.failures++
	if h.warned != 0 && within(h.warned, now, logPeriod) {
		return nil
	}
	attrs := []slog.Attr{slog.Any("error", err)}
	var advisor interface{ Advice() string }
	if errors.As(err, &advisor) && advisor.Advice() != "" {
		attrs = append(attrs, slog.String("advice", advisor.Advice()))
	}
	attrs = append(attrs, slog.Duration("lasts", now.since(h.since).Round(time.Millisecond)),
		slog.Int("failed_lookups", h.failures), slog.Int("served_from_memory", h.served))
	h.warned, h.logged, h.failures, h.served = now, true, 0, 0
	return &logEntry{slog.LevelWarn, "the routes cannot be read; those that are known are served on", attrs}
}

// answered notes that the store answered. It returns a log entry if a failure that was logged has ended.
func (h *health) answered(now moment) *logEntry {
	if !h.failing {
		return nil
	}
	logged := h.logged
	h.failing, h.logged, h.streak = false, false, 0
	if !logged {
		return nil
	}
	return &logEntry{slog.LevelInfo, "the routes can be read again", []slog.Attr{
		slog.Duration("lasted", now.since(h.since).Round(time.Millisecond)),
		slog.Int("failed_lookups", h.failures), slog.Int("served_from_memory", h.served),
	}}
}

// jitter returns d plus or minus up to a quarter at random.
func jitter(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2+1) }

// logEntry is an entry for the log.
type logEntry struct {
	level   slog.Level
	message string
	attrs   []slog.Attr
}

// log writes e, if it is not nil.
func (c *Cache) log(ctx context.Context, e *logEntry) {
	if e != nil {
		c.logger().LogAttrs(ctx, e.level, e.message, e.attrs...)
	}
}
