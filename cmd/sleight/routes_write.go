package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/printable"
	"github.com/sleightproxy/sleight/internal/routes"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/internal/terminal"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// writeFlags are the flags of every command that writes.
type writeFlags struct {
	by     string
	dryRun bool
}

func (w *writeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&w.by, "by", "", "`name` to write into updated_by (default USER@hostname)")
	c.Flags().BoolVar(&w.dryRun, "dry-run", false, "show what would be changed, and write nothing")
	completeValues(c, nil, nil, "by")
}

// writer makes changes, and says what it has changed.
type writer struct {
	routes.Editor
	out    *terminal.Terminal
	err    *terminal.Terminal               // its Out is standard error
	sayf   func(format string, args ...any) // results for people
	output format
}

func (r *routesCommand) newWriter(c *cobra.Command, table routetable.Table, flags writeFlags) *writer {
	w := &writer{out: newTerminal(c), err: newErrTerminal(c), output: r.output}
	w.Editor = routes.Editor{Table: table, By: flags.by, Now: r.now, DryRun: flags.dryRun}
	sayWaiting(table, w.err.Err)
	if w.By == "" {
		w.By = author(r.tables.getenv)
	}
	w.sayf = func(format string, args ...any) {
		if w.output.forPeople() {
			fmt.Fprintln(w.out.Out, printable.Text(fmt.Sprintf(format, args...)))
		}
	}
	return w
}

// validate checks a route before it is written. before is the item that it is made from, or nil.
func validate(before, after origin.Item) error {
	_, err := after.WithoutAudit().Route()
	if err == nil {
		return nil
	}
	if before != nil {
		if _, old := before.WithoutAudit().Route(); old != nil && old.Error() == err.Error() {
			return usageError{fmt.Errorf("%w; it is stored so: correct it with \"sleight routes put\" (--unset removes an attribute) or \"sleight routes edit\"", err)}
		}
	}
	return usageError{err}
}

// lost says what was there before a change was lost, and what is there now.
func (w *writer) lost(e *routetable.ConflictError) {
	before, current := e.Change.Before, e.Current
	host := quoteHost(e.Change.Host())
	switch {
	case current == nil:
		fmt.Fprintf(w.err.Out, "Somebody else has removed %s meanwhile. It was:\n", host)
	case before == nil:
		fmt.Fprintf(w.err.Out, "Somebody else has created %s meanwhile%s. It is:\n", host, routetable.ChangedBy(before, current))
	default:
		fmt.Fprintf(w.err.Out, "Somebody else has changed %s meanwhile%s. From what you saw to what is there now:\n", host, routetable.ChangedBy(before, current))
	}
	printDifferences(w.err, before, current)
}

// lastChange names the author and the time of an item's last change.
func lastChange(i origin.Item) string {
	s := ""
	if by, ok := i[origin.UpdatedByAttribute].(string); ok {
		s += ", by " + printable.Text(by)
	}
	if at, ok := i[origin.UpdatedAtAttribute].(string); ok {
		s += ", at " + printable.Text(at)
	}
	return s
}

// report says what was changed, or what would be in a dry run.
func (w *writer) report(before, after origin.Item) {
	if !w.output.forPeople() {
		return
	}
	host := quoteHost(routetable.Change{Before: before, After: after}.Host())
	switch {
	case w.DryRun:
		verb := "change"
		if before == nil {
			verb = "create"
		} else if after == nil {
			verb = "remove"
		}
		w.sayf("Would %s %s in %v:", verb, host, w.Table)
		printDifferences(w.out, before, after)
	case before == nil:
		w.sayf("Created %s in %v (version %d)", host, w.Table, routetable.Version(after))
	case after == nil:
		w.sayf("Removed %s in %v", host, w.Table)
	default:
		w.sayf("Changed %s in %v (version %d, was %s): %s", host, w.Table, routetable.Version(after), routetable.VersionText(before),
			strings.Join(routetable.Difference(before, after), ", "))
	}
}

// unwritten says at the end of a dry run that nothing was written.
func (w *writer) unwritten() {
	if w.DryRun {
		w.sayf("Nothing was written: this was a dry run.")
	}
}
