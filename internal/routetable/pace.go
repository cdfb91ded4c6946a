package routetable

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

const (
	firstPause = 25 * time.Millisecond
	maxPause   = 5 * time.Second
	maxCall    = 30 * time.Second // one request; DynamoDB responds to a batch within a second

	// How long a server may fail or be unreachable, before its first response and after that. The first is short, since
	// the endpoint may be wrong.
	maxOutageBefore = 5 * time.Second
	maxOutageAfter  = 2 * time.Minute
)

// pace retries requests, and makes them no faster than the server takes them. All its users pause before each request. The more
// requests are throttled, the longer is the pause. A pace is safe for concurrent use.
type pace struct {
	longest time.Duration // pause; zero means maxPause

	mu     sync.Mutex
	pause  time.Duration
	slowed time.Time // when pause was raised
	failed time.Time // the first failure since the last response; zero means no failure
	ever   bool      // there was a response, at least that a request is throttled
}

// do makes a request until there is a response. It retries a throttled request until ctx ends, and one with another transient
// error until the outage is too long. The end of ctx does not cancel a request under way, so that its outcome is known. The
// error is ctx's if the request was not made, or is not retried.
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
			p.responded()
			p.faster()
			return nil
		case dynamodb.IsThrottled(err):
			p.responded()
		case !dynamodb.IsTransient(err) || p.downTooLong():
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

// responded notes that the server works.
func (p *pace) responded() {
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

// slower doubles the pause, once for all requests that were under way together.
func (p *pace) slower(began time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if began.Before(p.slowed) {
		return
	}
	p.pause = min(max(2*p.pause, firstPause), cmp.Or(p.longest, maxPause))
	p.slowed = time.Now()
}

// downTooLong notes a failure of the server, and reports whether the outage is too long.
func (p *pace) downTooLong() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed.IsZero() {
		p.failed = time.Now()
	}
	longest := maxOutageBefore
	if p.ever {
		longest = maxOutageAfter
	}
	return time.Since(p.failed) > longest
}
