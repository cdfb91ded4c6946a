package routetable

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"

	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

const (
	firstPause = 25 * time.Millisecond
	maxPause   = 5 * time.Second
	maxCall    = 30 * time.Second // one request; a batch is answered within a second

	// How long a server may fail or be out of reach: not long for a wrong endpoint, longer for one that
	// has answered.
	patienceBefore = 5 * time.Second
	patienceAfter  = 2 * time.Minute
)

// pace makes requests as often as they have to be made, and no faster than they are taken: all who
// share it pause before each request, longer the more of them are throttled. It is safe for
// concurrent use.
type pace struct {
	longest time.Duration // pause; zero means maxPause

	mu     sync.Mutex
	pause  time.Duration
	slowed time.Time // when it became longer
	failed time.Time // when the first request failed since one was answered; zero means none
	ever   bool      // one was answered, if only with being throttled
}

// do makes a request until it is answered. One that is throttled is made again until ctx ends, one
// that fails for other reasons that may pass for as long as patience. What is under way when ctx ends is
// not broken off, so that it is known what became of it; its error is ctx's where it was not
// made, or is not made again.
func (p *pace) do(ctx context.Context, request func(context.Context) error) error {
	for {
		if err := p.wait(ctx); err != nil {
			return err
		}
		began := time.Now()
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxCall)
		err := request(call)
		cancel()
		switch {
		case err == nil:
			p.heard()
			p.faster()
			return nil
		case dynamodb.IsThrottled(err):
			p.heard()
		case !mayPass(err) || p.tired():
			return err
		}
		p.slower(began)
	}
}

func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	pause := p.pause
	p.mu.Unlock()
	if pause > 0 {
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// heard notes that the server is there.
func (p *pace) heard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed, p.ever = time.Time{}, true
}

func (p *pace) faster() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pause -= p.pause / 16; p.pause < time.Millisecond {
		p.pause = 0
	}
}

// slower doubles the pause, once for all the requests that were under way together.
func (p *pace) slower(began time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if began.Before(p.slowed) {
		return
	}
	p.pause = min(max(2*p.pause, firstPause), cmp.Or(p.longest, maxPause))
	p.slowed = time.Now()
}

// tired notes that the server has failed, and reports whether it has for as long as patience.
func (p *pace) tired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed.IsZero() {
		p.failed = time.Now()
	}
	patience := patienceBefore
	if p.ever {
		patience = patienceAfter
	}
	return time.Since(p.failed) > patience
}

// mayPass reports whether the same request may succeed later: the network failed, the server did, no
// answer came in time, or not the whole of one.
func mayPass(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) ||
		retry.IsErrorRetryables(retry.DefaultRetryables).IsErrorRetryable(err).Bool()
}
