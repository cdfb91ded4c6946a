package dynamodb

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
)

const (
	// maxCalls bounds the calls at a time, and thus the connections.
	maxCalls = 4

	// maxLookups bounds the lookups that share a call. DynamoDB takes 100 keys, and a lookup has two.
	maxLookups = 50

	// maxReads bounds the requests of a call, which repeats the request for keys that DynamoDB left unprocessed.
	maxReads = 3

	// readPause is the longest pause before the second request. Each further pause may be twice as long.
	readPause = 50 * time.Millisecond
)

// lookup is a lookup that waits for a call or for its answer.
type lookup struct {
	ctx   context.Context // of the caller
	names []string        // the keys to read, the more specific first

	// Guarded by the store's mutex.
	call *call // that reads the keys; nil while the lookup waits for a call
	over bool  // it is answered, or its caller has left

	done  chan struct{} // closed with the answer
	route *origin.Route
	err   error
}

// call is a BatchGetItem under way, with its repetitions.
type call struct {
	cancel context.CancelFunc
	open   int           // lookups that are not over; guarded by the store's mutex
	done   chan struct{} // closed at its end
}

// next begins a call for lookups that wait, if there are any. The mutex is held.
func (d *Store) next() {
	// No call begins for callers that have left.
	d.waiting = slices.DeleteFunc(d.waiting, func(q *lookup) bool { q.over = q.ctx.Err() != nil; return q.over })
	n := min(len(d.waiting), maxLookups)
	if n == 0 {
		return
	}
	lookups := slices.Clone(d.waiting[:n])
	d.waiting = slices.Delete(d.waiting, 0, n)
	d.calls++
	// The call has the latest deadline of its callers, and the values of the first caller's context, for the log.
	ctx := context.WithoutCancel(lookups[0].ctx)
	c := &call{open: n, done: make(chan struct{})}
	if end, ok := lastDeadline(lookups); ok {
		ctx, c.cancel = context.WithDeadline(ctx, end)
	} else {
		ctx, c.cancel = context.WithCancel(ctx)
	}
	for _, q := range lookups {
		q.call = c
	}
	go d.run(ctx, c, lookups)
}

// lastDeadline returns the latest deadline, and false if a lookup has no deadline.
func lastDeadline(lookups []*lookup) (last time.Time, ok bool) {
	for _, q := range lookups {
		end, ok := q.ctx.Deadline()
		if !ok {
			return time.Time{}, false
		}
		if end.After(last) {
			last = end
		}
	}
	return last, true
}

// run makes a call, and begins the next one.
func (d *Store) run(ctx context.Context, c *call, lookups []*lookup) {
	rest, err := d.read(ctx, c, lookups)
	for _, q := range rest {
		d.answer(c, q, nil, &tableError{d.Table, err})
	}
	c.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	close(c.done)
	d.calls--
	d.next()
}

// read answers lookups. It returns those without an answer, with the reason.
func (d *Store) read(ctx context.Context, c *call, lookups []*lookup) (rest []*lookup, err error) {
	rest = lookups
	defer func() {
		if v := recover(); v != nil { // in this goroutine a panic would end the process
			err = fmt.Errorf("the client panicked: %v", v)
		}
	}()
	names := namesOf(lookups)
	found := map[string]*origin.Stored{}
	for n := range maxReads {
		if n > 0 && !sleep(ctx, rand.N(readPause<<(n-1))) {
			return rest, ctx.Err()
		}
		items, left, err := GetItems(ctx, d.Client, d.Table, names, false)
		if err != nil {
			return rest, err
		}
		for _, item := range items {
			route, err := item.Route()
			found[item.Host()] = &origin.Stored{Route: route, Err: err}
		}
		var open []*lookup
		for _, q := range rest {
			// If only one key was read, a host that has its own item could get its wildcard's route.
			if slices.ContainsFunc(q.names, func(name string) bool { return slices.Contains(left, name) }) {
				open = append(open, q)
				continue
			}
			var wildcard *origin.Stored
			if len(q.names) > 1 {
				wildcard = found[q.names[1]]
			}
			route, err := origin.InForce(found[q.names[0]], wildcard, time.Now())
			d.answer(c, q, route, err)
		}
		if rest = open; len(rest) == 0 {
			return nil, nil
		}
		names = left
	}
	return rest, ErrUnprocessed
}

// namesOf returns the keys of lookups, each once. Hosts share wildcards, and DynamoDB refuses a request that has a key
// twice.
func namesOf(lookups []*lookup) (want []string) {
	seen := map[string]bool{}
	for _, q := range lookups {
		for _, name := range q.names {
			if !seen[name] {
				seen[name] = true
				want = append(want, name)
			}
		}
	}
	return want
}

// answer gives a lookup its answer.
func (d *Store) answer(c *call, q *lookup, route *origin.Route, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q.route, q.err = route, err
	close(q.done)
	if !q.over {
		q.over = true
		c.open--
	}
}

// leave notes that the caller of q waits no longer. It ends the call if no other caller waits for it, and returns after its
// end.
func (d *Store) leave(q *lookup) {
	d.mu.Lock()
	c := q.call
	if q.over || c == nil { // next will drop it, since its context has ended
		d.mu.Unlock()
		return
	}
	q.over = true
	c.open--
	last := c.open == 0
	d.mu.Unlock()
	if last {
		c.cancel()
		<-c.done
	}
}

// sleep waits for d. It returns false if ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
