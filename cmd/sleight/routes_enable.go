package main

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/routes"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func (r *routesCommand) newEnable(on bool) *cobra.Command {
	var flags writeFlags
	var force bool
	use, title, example := "enable HOST...", "Put routes in force again", "  sleight routes enable one.spec-trust.com --table routes"
	long := `Sets "enabled" of routes to true, which is the default. Nothing is written for routes that are
enabled already. Each route is checked from here first, as "routes put" does it, and stays
disabled if it cannot work, unless --force is given.`
	if !on {
		use, title, example = "disable HOST...", "Answer for hosts as if they had no route", "  sleight routes disable one.spec-trust.com two.spec-trust.com --table routes"
		long = `Sets "enabled" of routes to false: their hosts are answered as if they had no route, also if a
wildcard covers them. A disabled wildcard does not affect hosts that have routes of their own.`
	}
	c := &cobra.Command{
		Use:     use,
		Short:   title,
		Example: example,
		Long: long + `

Attributes that somebody else changes at the same time stay. If they have changed "enabled" itself,
nothing is written. An invalid route is not changed.

Exit status: 0, also if there was nothing to change; 1 if a route was not there, or cannot work;
2 if a route is invalid; 3 if somebody else was faster. The other routes are changed all the
same. A route counts as "not known" if its change got no answer. --output json and yaml print
the result for each.`,
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: r.tables.completeHosts(true),
		Annotations:       map[string]string{permissions: "dynamodb:GetItem, dynamodb:PutItem"},
		RunE: func(c *cobra.Command, args []string) error {
			table, err := r.tables.open(c.Context())
			if err != nil {
				return err
			}
			w := r.newWriter(c, table, flags)
			if on {
				w.Approve = r.guard(c, force)
			}
			return r.enable(c, w, args, on)
		},
	}
	flags.add(c)
	if on {
		r.addCheck(c, &force)
	}
	addOutput(c, &r.output)
	return c
}

// enabling returns an edit that sets "enabled".
func enabling(on bool) routes.Edit {
	return func(before origin.Item) (origin.Item, error) {
		if err := validate(before, before); err != nil {
			return nil, err
		}
		if is, ok := before["enabled"].(bool); is == on && ok || on && !ok {
			return before, nil
		}
		after := maps.Clone(before)
		after["enabled"] = on
		return after, nil
	}
}

func (r *routesCommand) enable(c *cobra.Command, w *writer, args []string, on bool) error {
	ctx, verb := c.Context(), map[bool]string{true: enabled, false: disabled}[on]
	var hosts []string
	for _, arg := range args {
		host, err := hostArgument(arg)
		if err != nil {
			return err
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	sum := tally{Outcomes: []fate{}}
	for _, host := range hosts {
		found := len(hosts) - sum.Absent
		if err := ctx.Err(); err != nil {
			return sum.end(w, verb, found, err)
		}
		before, err := w.Table.Get(ctx, host)
		if errors.Is(err, routetable.ErrNotFound) {
			sum.failed(w, &sum.Absent, host, "absent", notFound(ctx, w.Table, host))
			continue
		}
		var after origin.Item
		if err == nil {
			after, err = w.Change(ctx, before, enabling(on), true)
		}
		conflict, lost := errors.AsType[*routetable.ConflictError](err)
		_, bad := errors.AsType[usageError](err)
		_, refused := errors.AsType[*unworkableError](err)
		switch {
		case lost:
			sum.lost(w, conflict)
			continue
		case bad:
			sum.failed(w, &sum.Invalid, host, "invalid", err)
			continue
		case refused:
			sum.failed(w, &sum.Refused, host, "refused", err)
			continue
		case err != nil:
			return sum.end(w, verb, found, sum.unknown(host, err))
		case before.SameRoute(after):
			sum.add(&sum.Unchanged, host, "unchanged", nil)
			w.sayf("%s in %v is %s already; nothing was written", quoteHost(host), w.Table, verb)
			continue
		}
		sum.add(&sum.Done, host, verb, nil)
		w.report(before, after)
		if s := stateOf(after, w.Now()); s.name == expired {
			w.sayf("It is not in force: %s", s.text)
		} else if pattern, ok := hostname.Wildcard(host); ok && !on && !strings.HasPrefix(host, "*.") {
			if _, err := w.Table.Get(ctx, pattern); err == nil {
				w.sayf("%s does not take over: a disabled route hides its wildcard. Remove the route to have it do so.", quoteHost(pattern))
			}
		}
	}
	w.unwritten()
	return sum.end(w, verb, len(hosts)-sum.Absent, nil)
}
