package origin

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

// health is what is known of how the store does. It is guarded by the cache's mutex.
type health struct {
	failing bool
	since   moment        // when that began
	last    moment        // when it failed last
	pause   time.Duration // between attempts, without jitter
	retryAt moment        // when to find out whether it answers again
	streak  int           // how often in a row it failed when it was asked

	// For the log.
	warned   moment // when it was last said that the store fails; 0 means never
	told     bool   // of this failure
	failures int    // since that was said
	served   int    // old routes since, while the store failed
}

const (
	minPause  = time.Second
	maxPause  = 30 * time.Second
	logPeriod = time.Minute
)

// mayAsk reports whether the store may be asked about a host whose route is known. Of a store
// that fails, that is for one request each pause, which then is the probe. Where its failure is
// long ago, it is for the others, too: until it has told, their routes may be as old.
func (h *health) mayAsk(now moment) (ask, probe bool) {
	if !h.failing {
		return true, false
	}
	if wait := h.retryAt.since(now); wait > 0 && wait <= 2*maxPause { // else the clock was set back
		return !h.failedLately(now), false
	}
	h.retryAt = now.add(jitter(h.pause)) // for the others, until this one has told
	return true, true
}

// failedLately reports whether there is no use in waiting. Of a failure that nobody has looked
// at for long, in a sandbox that was frozen for instance, nothing follows.
func (h *health) failedLately(now moment) bool {
	return h.failing && within(h.last, now, 2*maxPause)
}

// patience is for how long a look-up is waited for that began with base.
func (h *health) patience(base, limit time.Duration) time.Duration {
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

// failed notes that the store does not answer.
func (h *health) failed(now moment, probe bool) {
	h.last = now
	switch {
	case !h.failing:
		h.failing, h.since, h.told = true, now, false
		h.pause, h.streak = minPause, 1
		h.retryAt = now.add(jitter(h.pause))
	case probe:
		h.streak++
		h.pause = min(2*h.pause, maxPause)
		h.retryAt = now.add(jitter(h.pause))
	}
}

// untold notes that a probe was broken off before it has told, so that the next may ask.
func (h *health) untold(now moment) { h.retryAt = now }

// tell counts a look-up that has failed, and returns what to say of why.
func (h *health) tell(now moment, err error) *line {
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
	h.warned, h.told, h.failures, h.served = now, true, 0, 0
	return &line{slog.LevelWarn, "the routes cannot be read; those that are known are served on", attrs}
}

// answered notes that the store did, and returns what to say of it.
func (h *health) answered(now moment) *line {
	if !h.failing {
		return nil
	}
	told := h.told
	h.failing, h.told, h.streak = false, false, 0
	if !told {
		return nil
	}
	return &line{slog.LevelInfo, "the routes can be read again", []slog.Attr{
		slog.Duration("lasted", now.since(h.since).Round(time.Millisecond)),
		slog.Int("failed_lookups", h.failures), slog.Int("served_from_memory", h.served),
	}}
}

// jitter returns d, give or take a quarter.
func jitter(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2+1) }

// line is a line for the log.
type line struct {
	level   slog.Level
	message string
	attrs   []slog.Attr
}

// say writes a line, if there is one.
func (c *Cache) say(ctx context.Context, l *line) {
	if l != nil {
		c.logger().LogAttrs(ctx, l.level, l.message, l.attrs...)
	}
}
