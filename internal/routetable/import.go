package routetable

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// Import writes the routes of a document into a table. Everything is compared with what the table has,
// and what is there already is not written; so an import that was interrupted, however, is resumed by
// doing it again.
//
// What the table has not is made as the document has it, record or no record, so that the copy of a
// table is one to the byte. What differs is written with a version and
// record of its own ([Stamp]). A version in the document says which one its author has
// seen: where the table has another one by now, the route is not written. Each write holds only
// if nobody else has changed the route since it was read; where somebody has, it is looked at again.
//
// Its fields must not change while it runs.
type Import struct {
	Table Table

	// By is who changes the routes, for their record.
	By string

	// Overwrite writes routes too whose document has seen another version than the table has.
	Overwrite bool

	// DryRun writes nothing, and reports what would be done.
	DryRun bool

	// AsIs also writes routes that cannot be used, which would otherwise fail.
	AsIs bool

	// Parallel is how many writes are under way at a time. Zero or less means 32.
	Parallel int

	// Report is told of each route what became of it: of each once, one after the other, and of a
	// DryRun in the order of the document. It must not be nil.
	Report func(Outcome)

	reporting sync.Mutex
}

const defaultParallel = 32

// batchesInFlight is how many batches are read or written at a time: enough that no write waits for
// a read.
const batchesInFlight = 4

// maxBatchBytes bounds the memory of a batch, by what its routes have in text.
const maxBatchBytes = 1 << 20

// Outcome is what became of a route.
type Outcome struct {
	Host          string
	Result        Result
	Before, After origin.Item // what the table had and has; nil for nothing
	Err           error       // why it is Conflicting, NotWritten, Staying, NotRemoved or NotKnown
}

// Result is what became of a route.
type Result string

// What may become of a route.
const (
	Created     Result = "created"
	Updated     Result = "updated"
	Unchanged   Result = "unchanged"
	Conflicting Result = "conflict" // its Err is a *StaleError
	NotWritten  Result = "failed"
	NotKnown    Result = "unknown"          // it may have been written, or removed if After is nil: the request had no whole answer
	Removed     Result = "removed"          // is not in the document
	Staying     Result = "removed_conflict" // its Err is a *ChangedError
	NotRemoved  Result = "removed_failed"
)

// StaleError says that a document has seen another version of a route than the table has, and something else in
// it. Nothing was written.
type StaleError struct {
	Seen    origin.Item // as the document has it
	Current origin.Item
}

func (e *StaleError) Error() string {
	has := "no version"
	if _, ok := e.Current[origin.VersionAttribute]; ok {
		has = "version " + VersionText(e.Current)
	}
	has += madeBy(e.Seen, e.Current, "of")
	return fmt.Sprintf("route %q: the document has seen version %s, and the table has %s, with another %s; it was not written",
		e.Seen.Host(), VersionText(e.Seen), has, strings.Join(Difference(e.Seen, e.Current), ", "))
}

// Unwrap makes it one of the conflicts.
func (e *StaleError) Unwrap() error { return &ConflictError{Change{e.Seen, e.Seen}, e.Current} }

// ChangedError says that somebody has changed a route since it was read to be removed. It was not removed.
type ChangedError struct{ Seen, Current origin.Item }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("route %q was changed meanwhile%s (%s); it was not removed", e.Seen.Host(), madeBy(e.Seen, e.Current, "at"), what(e.Seen, e.Current))
}

// Unwrap makes it one of the conflicts.
func (e *ChangedError) Unwrap() error { return &ConflictError{Change{Before: e.Seen}, e.Current} }

// decide says what is to become of current, where the document has item, and what is written for it.
func (im *Import) decide(current, item origin.Item) (Result, origin.Item) {
	switch {
	case current == nil:
		return Created, item
	case current.SameRoute(item):
		return Unchanged, nil
	case !im.Overwrite && item[origin.VersionAttribute] != nil && !SameVersion(item, current):
		return Conflicting, nil
	}
	return Updated, Stamp(current, item, im.By, time.Now())
}

// Run imports items, whose hosts are there once each, and then removes the routes of remove, unless somebody has changed
// them since. It returns when nothing is under way any more: nil when all was reported, ctx's error when it was
// interrupted before, another one where it is of no use to go on. A routes file is written at the
// end, in one piece or not at all, and nothing is reported before.
func (im *Import) Run(ctx context.Context, items iter.Seq2[origin.Item, error], remove []origin.Item) error {
	switch t := Retrying(im.Table).(type) {
	case *File:
		return im.runFile(ctx, t, items, remove)
	case batcher:
		return im.runBatches(ctx, newRetrying(t), items, remove)
	case *retrying:
		return im.runBatches(ctx, t, items, remove)
	}
	return fmt.Errorf("routetable: %v cannot be imported into", im.Table)
}

func (im *Import) report(o Outcome) {
	im.reporting.Lock()
	defer im.reporting.Unlock()
	im.Report(o)
}

// invalid returns why an item must not be written, nil where it may.
func (im *Import) invalid(item origin.Item) error {
	if _, err := item.Route(); err != nil && (!im.AsIs || item.Host() == "") {
		return err
	}
	return nil
}

func (im *Import) runBatches(ctx context.Context, table *retrying, items iter.Seq2[origin.Item, error], remove []origin.Item) error {
	run, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	writes := make(chan struct{}, im.parallel())

	// Each batch is worked on by one of several; of a dry run by one, which keeps the order.
	workers := batchesInFlight
	if im.DryRun {
		workers = 1
	}
	each := func(batches iter.Seq2[[]origin.Item, error], decide func(current, item origin.Item) (Result, origin.Item)) {
		work := make(chan []origin.Item)
		var running sync.WaitGroup
		for range workers {
			running.Go(func() {
				for batch := range work {
					if err := im.batch(run, table, writes, batch, decide); err != nil {
						fail(err)
					}
				}
			})
		}
		for batch, err := range batches {
			if err != nil {
				fail(err)
			}
			if run.Err() != nil {
				break
			}
			select {
			case work <- batch:
			case <-run.Done():
			}
		}
		close(work)
		running.Wait()
	}
	each(inBatches(items), im.decide)
	each(inBatches(all(remove)), nil)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return context.Cause(run)
}

func (im *Import) parallel() int {
	if im.Parallel > 0 {
		return im.Parallel
	}
	return defaultParallel
}

func inBatches(items iter.Seq2[origin.Item, error]) iter.Seq2[[]origin.Item, error] {
	return func(yield func([]origin.Item, error) bool) {
		var batch []origin.Item
		bytes := 0
		for item, err := range items {
			if err != nil {
				yield(nil, err)
				return
			}
			batch = append(batch, item)
			for _, v := range item {
				if s, ok := v.(string); ok {
					bytes += len(s)
				}
			}
			if len(batch) == maxBatch || bytes >= maxBatchBytes {
				if !yield(batch, nil) {
					return
				}
				batch, bytes = nil, 0
			}
		}
		if len(batch) > 0 {
			yield(batch, nil)
		}
	}
}

func all(items []origin.Item) iter.Seq2[origin.Item, error] {
	return func(yield func(origin.Item, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// batch reads and writes up to maxBatch routes. Its error is one that ends the import.
func (im *Import) batch(ctx context.Context, table *retrying, writes chan struct{}, batch []origin.Item, decide func(current, item origin.Item) (Result, origin.Item)) error {
	hosts := make([]string, 0, len(batch))
	for _, item := range batch {
		hosts = append(hosts, item.Host())
	}
	current, err := table.read(ctx, hosts)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	failed := make(chan error, len(batch))
	for _, item := range batch {
		o, done := im.look(current[item.Host()], item, decide)
		if done || im.DryRun {
			im.report(o)
			continue
		}
		select {
		case writes <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			failed <- ctx.Err()
			break
		}
		running.Go(func() {
			defer func() { <-writes }()
			if err := im.write(ctx, table, o, item, decide); err != nil {
				failed <- err
			}
		})
	}
	running.Wait()
	close(failed)
	for err := range failed {
		if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
			return err
		}
	}
	return ctx.Err()
}

// look says what is to become of a route, and whether that is done without writing. Without decide it
// is removed if it is still the item.
func (im *Import) look(current, item origin.Item, decide func(current, item origin.Item) (Result, origin.Item)) (o Outcome, done bool) {
	o = Outcome{Host: item.Host(), Before: current}
	if decide == nil {
		o.Result = Removed
		if current != nil && !current.Equal(item) {
			o.Result, o.After, o.Err = Staying, current, &ChangedError{item, current}
		}
		return o, current == nil || o.Result == Staying
	}
	if err := im.invalid(item); err != nil {
		o.Result, o.After, o.Err = NotWritten, current, err
		return o, true
	}
	o.Result, o.After = decide(current, item)
	switch o.Result {
	case Unchanged:
		o.After = current
		return o, true
	case Conflicting:
		o.After, o.Err = current, &StaleError{item, current}
		return o, true
	}
	return o, false
}

// maxLooks bounds how often a route is looked at that others change meanwhile.
const maxLooks = 10

// write makes the change of an outcome and reports what became of it. Its error is one that ends the
// import.
func (im *Import) write(ctx context.Context, table *retrying, o Outcome, item origin.Item, decide func(current, item origin.Item) (Result, origin.Item)) error {
	for range maxLooks {
		err := table.Write(ctx, Change{o.Before, o.After})
		if err == nil {
			im.report(o)
			return nil
		}
		conflict, lost := errors.AsType[*ConflictError](err)
		request, failed := errors.AsType[*RequestError](err)
		switch {
		case lost:
			var done bool
			if o, done = im.look(conflict.Current, item, decide); done {
				im.report(o)
				return nil
			}
		case failed && request.Kind == Refused:
			im.report(o.failed(of(o.Host, err)))
			return nil
		case failed && request.Unknown:
			o.Result, o.Err = NotKnown, of(o.Host, err)
			im.report(o)
			return o.Err
		default:
			return err
		}
	}
	err := fmt.Errorf("route %q is changed by others again and again; import again when they have ended", o.Host)
	im.report(o.failed(err))
	return nil
}

// of names the route in an error, which names the table alone.
func of(host string, err error) error { return fmt.Errorf("route %q: %w", host, err) }

// failed returns what became of a route that stays as it was.
func (o Outcome) failed(err error) Outcome {
	what := NotWritten
	if o.After == nil {
		what = NotRemoved
	}
	return Outcome{Host: o.Host, Result: what, Before: o.Before, After: o.Before, Err: err}
}

// runFile decides on all items, replaces the file, and then reports.
func (im *Import) runFile(ctx context.Context, file *File, items iter.Seq2[origin.Item, error], remove []origin.Item) error {
	var outcomes []Outcome
	plan := func(old iter.Seq2[origin.Item, error]) ([]origin.Item, bool, error) {
		now, err := file.unique(old)
		if err != nil {
			return nil, false, err
		}
		at := make(map[string]int, len(now))
		for i, item := range now {
			at[item.Host()] = i
		}
		changed := false
		for item, err := range items {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return nil, false, err
			}
			var current origin.Item
			i, there := at[item.Host()]
			if there {
				current = now[i]
			}
			o, done := im.look(current, item, im.decide)
			outcomes = append(outcomes, o)
			switch {
			case done:
				continue
			case there:
				now[i] = o.After
			default:
				at[item.Host()] = len(now)
				now = append(now, o.After)
			}
			changed = true
		}
		gone := make(map[string]bool, len(remove))
		for _, item := range remove {
			var current origin.Item
			if i, there := at[item.Host()]; there {
				current = now[i]
			}
			o, done := im.look(current, item, nil)
			outcomes = append(outcomes, o)
			gone[item.Host()] = !done
			changed = changed || !done
		}
		now = slices.DeleteFunc(now, func(item origin.Item) bool { return gone[item.Host()] })
		return now, changed, nil
	}
	var err error
	if im.DryRun {
		_, _, err = plan(file.All(ctx))
	} else {
		err = file.rewrite(ctx, plan)
	}
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		im.report(o)
	}
	return nil
}

// Others returns the items of the table whose hosts are not among hosts, sorted by these, and how many routes the table has.
func Others(ctx context.Context, table Table, hosts map[string]int) (others []origin.Item, all int, err error) {
	for item, err := range table.All(ctx) {
		if err != nil {
			return nil, 0, err
		}
		all++
		if _, ok := hosts[item.Host()]; !ok {
			others = append(others, item)
		}
	}
	slices.SortFunc(others, func(a, b origin.Item) int { return strings.Compare(a.Host(), b.Host()) })
	return others, all, nil
}
