package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/internal/terminal"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// writeFlags are what every command has that writes.
type writeFlags struct {
	by     string
	dryRun bool
}

func (w *writeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&w.by, "by", "", "`name` to write into updated_by (default USER@hostname)")
	c.Flags().BoolVar(&w.dryRun, "dry-run", false, "show what would be changed, and write nothing")
	completeValues(c, nil, nil, "by")
}

// writer makes changes, and says so.
type writer struct {
	writeFlags
	table  routetable.Table
	now    func() time.Time
	out    *terminal.Terminal
	err    *terminal.Terminal               // its Out is what others call standard error
	before func(was, is origin.Item) error  // if not nil, has to agree before anything is written
	sayf   func(format string, args ...any) // results for people
	output format
}

func (r *routesCommand) newWriter(c *cobra.Command, table routetable.Table, flags writeFlags) *writer {
	w := &writer{writeFlags: flags, table: table, now: r.now, out: newTerminal(c), err: newErrTerminal(c), output: r.output}
	sayWaiting(table, w.err.Err)
	if w.by == "" {
		w.by = author(r.tables.getenv)
	}
	w.sayf = func(format string, args ...any) {
		if w.output.forPeople() {
			fmt.Fprintln(w.out.Out, terminal.Safe(fmt.Sprintf(format, args...)))
		}
	}
	return w
}

// edit makes the item that is to be from the one that is, which is nil where there is none. It does not
// change it, and may be called again, on what somebody else has made of it.
type edit func(before origin.Item) (after origin.Item, err error)

// attempts bounds how often a change is made again on what others have written meanwhile.
const attempts = 50

// change edits an item, and returns what it is then. It returns the same item where there was nothing to
// change. What was read is given, so that a change is to what its author saw.
//
// Where others were first, it is made again on their item, if merge says so and they have
// changed none of the attributes that this one changes: what they have set is never set back.
func (w *writer) change(ctx context.Context, seen origin.Item, do edit, merge bool) (origin.Item, error) {
	before := seen
	var mine origin.Item   // what do made of what was seen
	var agreed origin.Item // what w.before was asked about
	for n := 0; ; n++ {
		after, err := do(before)
		if err != nil {
			return nil, err
		}
		if before.SameRoute(after) && before != nil {
			return before, nil
		}
		if mine == nil {
			mine = after
		}
		after = routetable.Stamp(before, after, w.by, w.now())
		if w.before != nil && !agreed.SameRoute(after) {
			if err := w.before(before, after); err != nil {
				return nil, err
			}
			agreed = after
		}
		if w.dryRun {
			return after, nil
		}
		err = w.table.Write(ctx, routetable.Change{Before: before, After: after})
		conflict, ok := errors.AsType[*routetable.ConflictError](err)
		if err == nil {
			return after, nil
		}
		if !ok {
			return nil, err
		}
		// To its author it is the change of what was seen.
		conflict.Change = routetable.Change{Before: seen, After: mine}
		if !merge || n == attempts || conflict.Current == nil { // to put it back is not what was meant
			return nil, conflict
		}
		again, err := do(conflict.Current)
		if err != nil || !apart(seen, conflict.Current, again) { // each may be right, and both together not
			return nil, conflict
		}
		before = conflict.Current
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(rand.N(10 * time.Millisecond << min(n, 4))):
		}
	}
}

// apart reports whether making again of theirs leaves alone all that theirs has otherwise than
// what was seen.
func apart(seen, theirs, again origin.Item) bool {
	changed := routetable.Difference(seen.WithoutRecord(), theirs.WithoutRecord())
	for _, name := range routetable.Difference(theirs.WithoutRecord(), again.WithoutRecord()) {
		if slices.Contains(changed, name) {
			return false
		}
	}
	return true
}

// validate checks a route before it is written. Before is what it is made of, or nil.
func validate(before, after origin.Item) error {
	_, err := after.WithoutRecord().Route()
	if err == nil {
		return nil
	}
	if before != nil {
		if _, old := before.WithoutRecord().Route(); old != nil && old.Error() == err.Error() {
			return usageError{fmt.Errorf("%w; it is stored so: correct it with \"sleight routes put\" (--unset removes an attribute) or \"sleight routes edit\"", err)}
		}
	}
	return usageError{err}
}

// lost tells what was there before a change was lost, and what is there now.
func (w *writer) lost(e *routetable.ConflictError) {
	before, current := e.Change.Before, e.Current
	host := shown(e.Change.Host())
	switch {
	case current == nil:
		fmt.Fprintf(w.err.Out, "Somebody else has removed %s meanwhile. It was:\n", host)
	case before == nil:
		fmt.Fprintf(w.err.Out, "Somebody else has made %s meanwhile%s. It is:\n", host, byAndAt(before, current))
	default:
		fmt.Fprintf(w.err.Out, "Somebody else has changed %s meanwhile%s. From what you saw to what is there now:\n", host, byAndAt(before, current))
	}
	printDifferences(w.err, before, current)
}

// byAndAt says who changed before into i, and when, as far as i tells.
func byAndAt(before, i origin.Item) string {
	if routetable.Unsigned(before, i) {
		return ", " + routetable.NoName
	}
	return recordOf(i)
}

// recordOf is what an item says of its last change.
func recordOf(i origin.Item) string {
	s := ""
	if by, ok := i[origin.UpdatedByAttribute].(string); ok {
		s += ", by " + terminal.Safe(by)
	}
	if at, ok := i[origin.UpdatedAtAttribute].(string); ok {
		s += ", at " + terminal.Safe(at)
	}
	return s
}

// report says what was changed, or would be.
func (w *writer) report(before, after origin.Item) {
	if !w.output.forPeople() {
		return
	}
	host := shown(routetable.Change{Before: before, After: after}.Host())
	switch {
	case w.dryRun:
		verb := "change"
		if before == nil {
			verb = "create"
		} else if after == nil {
			verb = "remove"
		}
		w.sayf("Would %s %s in %v:", verb, host, w.table)
		printDifferences(w.out, before, after)
	case before == nil:
		w.sayf("Created %s in %v (version %d)", host, w.table, routetable.Version(after))
	case after == nil:
		w.sayf("Removed %s in %v", host, w.table)
	default:
		w.sayf("Changed %s in %v (version %d, was %s): %s", host, w.table, routetable.Version(after), routetable.VersionText(before),
			strings.Join(routetable.Difference(before, after), ", "))
	}
}

// unwritten ends a dry run.
func (w *writer) unwritten() {
	if w.dryRun {
		w.sayf("Nothing was written: this was a dry run.")
	}
}
