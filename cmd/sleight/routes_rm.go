package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/printable"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func (r *routesCommand) newRemove() *cobra.Command {
	var flags writeFlags
	var yes bool
	c := &cobra.Command{
		Use:     "rm HOST...",
		Aliases: []string{"remove", "delete"},
		Short:   "Remove routes",
		Long: `Removes the routes of hosts. It asks first on a terminal, and needs --yes elsewhere. A route
that somebody else changes between the question and the answer stays.

If a wildcard covers the host, it is in force once the host's own route is removed. To have no
route in force, disable the route instead.

Exit status: 0 if all were removed; 1 if one was not there, or the answer was no; 3 if one was
changed meanwhile. The others are still removed. A route counts as "not known" if its
removal got no answer. --output json and yaml print the result for each.`,
		Example: `  sleight routes rm one.spec-trust.com --table routes
  sleight routes rm --yes one.spec-trust.com two.spec-trust.com --routes routes.json`,
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: r.tables.completeHosts(true),
		Annotations:       map[string]string{permissions: "dynamodb:GetItem, dynamodb:DeleteItem"},
		RunE: func(c *cobra.Command, args []string) error {
			table, err := r.tables.open(c.Context())
			if err != nil {
				return err
			}
			return r.remove(c, r.newWriter(c, table, flags), args, yes)
		},
	}
	addOutput(c, &r.output)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&flags.dryRun, "dry-run", false, "show what would be removed, and remove nothing")
	return c
}

func (r *routesCommand) remove(c *cobra.Command, w *writer, args []string, yes bool) error {
	ctx := c.Context()
	if !yes && !w.DryRun && !w.out.Interactive() {
		return usageError{errors.New("there is no terminal to ask on whether to remove routes: give --yes")}
	}
	sum := tally{Outcomes: []fate{}}
	var items []origin.Item
	for _, arg := range args {
		item, err := find(ctx, w.Table, arg)
		switch {
		case errors.Is(err, routetable.ErrNotFound):
			sum.failed(w, &sum.Absent, arg, "absent", err)
			continue
		case err != nil:
			return err
		}
		if !slices.ContainsFunc(items, func(i origin.Item) bool { return i.Host() == item.Host() }) {
			items = append(items, item)
		}
	}
	if len(items) > 0 && !yes && !w.DryRun {
		var names []string
		for _, i := range items {
			names = append(names, quoteHost(i.Host()))
		}
		question := fmt.Sprintf("Remove %s from %v: %s?", count(len(items), "route"), w.Table, strings.Join(names, ", "))
		if ok, err := w.out.Confirm(ctx, question); err != nil {
			return err
		} else if !ok {
			return errors.New("not removed: the answer was no")
		}
	}
	for _, item := range items {
		if err := ctx.Err(); err != nil {
			return sum.end(w, "removed", len(items), err)
		}
		if !w.DryRun {
			err := w.Table.Write(ctx, routetable.Change{Before: item})
			if conflict, ok := errors.AsType[*routetable.ConflictError](err); ok {
				sum.lost(w, conflict)
				continue
			}
			if err != nil {
				return sum.end(w, "removed", len(items), sum.unknown(item.Host(), err))
			}
		}
		sum.add(&sum.Done, item.Host(), "removed", nil)
		w.report(item, nil)
	}
	w.unwritten()
	return sum.end(w, "removed", len(items), nil)
}

// tally counts the results for several routes. Done to Left add up to Routes.
type tally struct {
	Routes    int    `json:"routes"`
	Done      int    `json:"done"`
	Unchanged int    `json:"unchanged"`
	Absent    int    `json:"absent"`
	Invalid   int    `json:"invalid"`
	Refused   int    `json:"refused"` // because they cannot work
	Conflicts int    `json:"conflicts"`
	Unknown   int    `json:"unknown"` // not known whether they were written
	Left      int    `json:"left"`    // not tried
	DryRun    bool   `json:"dry_run"`
	Outcomes  []fate `json:"outcomes"`
}

// fate is the result for one route.
type fate struct {
	Host  string `json:"host"`
	What  string `json:"what"`
	Error string `json:"error,omitempty"`
}

func (s *tally) add(n *int, host, what string, err error) {
	*n++
	f := fate{Host: host, What: what}
	if err != nil {
		f.Error = err.Error()
	}
	s.Outcomes = append(s.Outcomes, f)
}

// failed adds a route that was not changed, and says why.
func (s *tally) failed(w *writer, n *int, host, what string, err error) {
	s.add(n, host, what, err)
	fmt.Fprintln(w.err.Out, printable.Text("sleight: "+err.Error()))
}

// unknown adds the route that was being changed when the command failed, unless it was certainly not written. It returns the error with
// the route's name.
func (s *tally) unknown(host string, err error) error {
	if request, ok := errors.AsType[*routetable.RequestError](err); ok && request.Unknown {
		s.add(&s.Unknown, host, "unknown", err)
	}
	return fmt.Errorf("route %s: %w", quoteHost(host), err)
}

func (s *tally) lost(w *writer, e *routetable.ConflictError) {
	w.lost(e)
	s.failed(w, &s.Conflicts, e.Change.Host(), "conflict", e)
}

// end prints the results if there were several routes or not all succeeded, and returns the error of the command. found is how many
// routes there were.
func (s *tally) end(w *writer, verb string, found int, err error) error {
	s.Routes, s.DryRun = found+s.Absent, w.DryRun
	s.Left = s.Routes - s.Done - s.Unchanged - s.Absent - s.Invalid - s.Refused - s.Conflicts - s.Unknown
	printed := w.output.print(w.out, s, func() {
		if s.Routes > 1 || s.Absent+s.Invalid+s.Refused+s.Conflicts > 0 || err != nil {
			w.sayf("%s", s.line(verb))
		}
	})
	switch {
	case err != nil:
		return err
	case s.Conflicts > 0:
		return statusError{3, fmt.Errorf("%s changed by others meanwhile; to work from the current routes, run the same command again", count(s.Conflicts, "route"))}
	case s.Invalid > 0:
		return statusError{2, fmt.Errorf("%s invalid", count(s.Invalid, "route"))}
	case s.Refused > 0:
		return statusError{1, fmt.Errorf("%s that cannot work", count(s.Refused, "route"))}
	case s.Absent > 0:
		return statusError{1, fmt.Errorf("%s not there", count(s.Absent, "route"))}
	}
	return printed
}

func (s *tally) line(verb string) string {
	line := fmt.Sprintf("%d of %s %s", s.Done, count(s.Routes, "route"), verb)
	if s.DryRun {
		line = fmt.Sprintf("%d of %s would be %s", s.Done, count(s.Routes, "route"), verb)
	}
	for _, part := range []struct {
		n    int
		what string
	}{{s.Unchanged, "so already"}, {s.Absent, "not there"}, {s.Invalid, "invalid"}, {s.Refused, "that cannot work"}, {s.Conflicts, "changed by others meanwhile"}, {s.Unknown, "not known"}, {s.Left, "left as they were"}} {
		if part.n > 0 {
			line += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	return line
}
