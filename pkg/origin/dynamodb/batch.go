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
	// maxCalls bounds the calls under way, and so the connections.
	maxCalls = 4

	// maxQuestions is how many look-ups share a call: DynamoDB takes 100 keys, and each has two.
	maxQuestions = 50

	// maxReads bounds how often keys that DynamoDB leaves unprocessed are asked for again.
	maxReads = 3

	// readPause is the longest before the second of these reads; each next may be twice that.
	readPause = 50 * time.Millisecond
)

// question is a look-up on its way into a call.
type question struct {
	ctx   context.Context // of who waits
	names []string        // the keys to read, the more specific first

	// Guarded by the store's mutex.
	call *call // that reads them; nil while the question waits for its turn
	over bool  // it is answered, or nobody waits

	done  chan struct{} // closed when the answer is there
	route *origin.Route
	err   error
}

// call is a BatchGetItem under way, with its repetitions.
type call struct {
	cancel context.CancelFunc
	open   int           // questions that are not over. Guarded by the store's mutex
	done   chan struct{} // closed when it has ended
}

// next begins a call for what waits, if anything does. The mutex is held.
func (d *Store) next() {
	// Who has given up shall not have it begin.
	d.waiting = slices.DeleteFunc(d.waiting, func(q *question) bool { q.over = q.ctx.Err() != nil; return q.over })
	n := min(len(d.waiting), maxQuestions)
	if n == 0 {
		return
	}
	questions := slices.Clone(d.waiting[:n])
	d.waiting = slices.Delete(d.waiting, 0, n)
	d.calls++
	// It has until the last who waits gives up, and keeps what belongs to the first, for the log.
	ctx := context.WithoutCancel(questions[0].ctx)
	c := &call{open: n, done: make(chan struct{})}
	if end, ok := lastDeadline(questions); ok {
		ctx, c.cancel = context.WithDeadline(ctx, end)
	} else {
		ctx, c.cancel = context.WithCancel(ctx)
	}
	for _, q := range questions {
		q.call = c
	}
	go d.run(ctx, c, questions)
}

// lastDeadline returns the latest, if all have one.
func lastDeadline(questions []*question) (last time.Time, ok bool) {
	for _, q := range questions {
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

// run makes a call, and hands its turn on.
func (d *Store) run(ctx context.Context, c *call, questions []*question) {
	rest, err := d.read(ctx, c, questions)
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

// read answers what it can, and returns the rest with the reason why it cannot.
func (d *Store) read(ctx context.Context, c *call, questions []*question) (rest []*question, err error) {
	rest = questions
	defer func() {
		if v := recover(); v != nil { // in this goroutine it would end the process
			err = fmt.Errorf("the client panicked: %v", v)
		}
	}()
	names := namesOf(questions)
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
		var open []*question
		for _, q := range rest {
			// Going on with what there is could take a wildcard for a host whose own item exists.
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

// namesOf returns the names whose items to read, each once: DynamoDB refuses a call that has one twice,
// and hosts share wildcards.
func namesOf(questions []*question) (want []string) {
	seen := map[string]bool{}
	for _, q := range questions {
		for _, name := range q.names {
			if !seen[name] {
				seen[name] = true
				want = append(want, name)
			}
		}
	}
	return want
}

// answer tells who asked.
func (d *Store) answer(c *call, q *question, route *origin.Route, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q.route, q.err = route, err
	close(q.done)
	if !q.over {
		q.over = true
		c.open--
	}
}

// leave is for who does not wait any more. A call that nobody waits for ends; when leave returns,
// it has.
func (d *Store) leave(q *question) {
	d.mu.Lock()
	c := q.call
	if q.over || c == nil { // without a call, it will get none
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

// sleep waits, and reports whether ctx let it.
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
