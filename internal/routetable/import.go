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

// Import writes the routes of a document into a table. It compares each route with that of the table, and writes only
// differences. An interrupted import is resumed by running it again.
//
// A route that the table lacks is created exactly as in the document, audit attributes included, so that the copy of a
// table is identical. A route that differs gets audit attributes for this change ([Stamp]). A version in the document is the
// one that its author has seen. If the table has another version, the route is not written. Each write has the condition
// that nobody else has changed the route since it was read. If somebody has, Import compares it again.
//
// The fields must not change while Run runs.
type Import struct {
	Table Table

	// By becomes updated_by of changed routes. Empty leaves updated_by out.
	By string

	// Overwrite also writes routes whose version in the document is not the table's.
	Overwrite bool

	// DryRun writes nothing, and reports what would be written.
	DryRun bool

	// AsIs also writes routes that cannot be used. Otherwise such a route is NotWritten.
	AsIs bool

	// Parallel is the number of writes at a time. Zero or less means 32.
	Parallel int

	// Report gets the outcome of each route once. Its calls do not overlap. In a DryRun they are in the order of
	// the document. Report must not be nil.
	Report func(Outcome)

	reporting sync.Mutex
}

const defaultParallel = 32

// batchesInFlight is the number of batches that are read or written at a time. It is enough that no write waits for a read.
const batchesInFlight = 4

// maxBatchBytes bounds the memory of a batch, by the strings in its routes.
const maxBatchBytes = 1 << 20

// Outcome is the result for one route.
type Outcome struct {
	Host          string
	Result        Result
	Before, After origin.Item // the table's items before and after; nil means none
	Err           error       // if Result is Conflicting, NotWritten, Staying, NotRemoved or NotKnown
}

// Result says what Import did with a route.
type Result string

// The results.
const (
	Created     Result = "created"
	Updated     Result = "updated"
	Unchanged   Result = "unchanged"
	Conflicting Result = "conflict" // its Err is a *StaleError
	NotWritten  Result = "failed"
	NotKnown    Result = "unknown"          // it may have been written, or removed if After is nil: the request had no whole response
	Removed     Result = "removed"          // the document does not have it
	Staying     Result = "removed_conflict" // its Err is a *ChangedError
	NotRemoved  Result = "removed_failed"
)

// StaleError says that the version of a route in a document is not the table's. Nothing was written.
type StaleError struct {
	Seen    origin.Item // the document's
	Current origin.Item
}

func (e *StaleError) Error() string {
	has := "no version"
	if _, ok := e.Current[origin.VersionAttribute]; ok {
		has = "version " + VersionText(e.Current)
	}
	has += ChangedBy(e.Seen, e.Current)
	if names := Difference(e.Seen.WithoutAudit(), e.Current.WithoutAudit()); len(names) > 0 {
		has += ", with another " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("route %q: the document has seen version %s, and the stored route has %s; it was not written", e.Seen.Host(), VersionText(e.Seen), has)
}

// Unwrap returns a *[ConflictError].
func (e *StaleError) Unwrap() error { return &ConflictError{Change{e.Seen, e.Seen}, e.Current} }

// ChangedError says that somebody changed a route after it was chosen for removal. It was not removed.
type ChangedError struct{ Seen, Current origin.Item }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("route %q was changed meanwhile%s (%s); it was not removed", e.Seen.Host(), ChangedBy(e.Seen, e.Current), changes(e.Seen, e.Current))
}

// Unwrap returns a *[ConflictError].
func (e *ChangedError) Unwrap() error { return &ConflictError{Change{Before: e.Seen}, e.Current} }

// decide returns what to do if the table has current and the document has item, and the item to write.
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

// Run imports items, which have different hosts. Then it removes the routes of remove, except those that somebody has changed
// since. It returns after its last request. The error is nil if every route was reported, ctx's if it was interrupted, and
// another one if going on is useless. A routes file is written at the end, as a whole or not at all, and outcomes are
// reported after that.
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

// invalid returns why an item must not be written, or nil.
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

	// A dry run has one worker, which keeps the order.
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

// batch reads and writes up to maxBatch routes. Its error ends the import.
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

// look returns the outcome of a route, and whether that needs no write. If decide is nil, the route is to be removed, unless
// current differs from item.
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

// maxLooks bounds the attempts at a route that others change at the same time.
const maxLooks = 10

// write makes the change of an outcome, and reports the result. Its error ends the import.
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
			im.report(o.failed(forRoute(o.Host, err)))
			return nil
		case failed && request.Unknown:
			o.Result, o.Err = NotKnown, forRoute(o.Host, err)
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

// forRoute adds the route to an error that names only the table.
func forRoute(host string, err error) error { return fmt.Errorf("route %q: %w", host, err) }

// failed returns the outcome of a route that err left as it was.
func (o Outcome) failed(err error) Outcome {
	result := NotWritten
	if o.After == nil {
		result = NotRemoved
	}
	return Outcome{Host: o.Host, Result: result, Before: o.Before, After: o.Before, Err: err}
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

// Others returns the items of the table whose hosts are not in hosts, sorted by host, and the number of all routes of the
// table.
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
