package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/hostname"
)

// routesCommand is what the commands below "routes" share.
type routesCommand struct {
	tables tableFlags
	output format
}

func newRoutes(getenv func(string) string) *cobra.Command {
	r := &routesCommand{tables: tableFlags{getenv: getenv}}
	c := &cobra.Command{
		Use:   "routes",
		Short: "List, read, change, copy and compare routes",
		Long: `Reads and edits the routes in a DynamoDB table (--table) or a routes file (--routes).

A change is written only if nobody else has changed the same route since it was read: the exit
status is then 3, the message says who has, and nothing was written.`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	r.tables.add(c.PersistentFlags())
	c.AddCommand(r.newGet())
	return c
}

func (r *routesCommand) newGet() *cobra.Command {
	c := &cobra.Command{
		Use:     "get HOST",
		Short:   "Show one route as it is stored",
		Example: `  sleight routes get one.spec-trust.com --table routes -o json`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			host, err := hostname.NormalizePattern(args[0])
			if err != nil {
				return usageError{err}
			}
			table, err := r.tables.open(c.Context())
			if err != nil {
				return err
			}
			return r.get(c, table, host)
		},
	}
	addOutput(c, &r.output)
	return c
}

func (r *routesCommand) get(c *cobra.Command, table routetable.Table, host string) error {
	item, err := table.Get(c.Context(), host)
	if err != nil {
		return fmt.Errorf("%v has no route for %q: %w", table, host, err)
	}
	t := newTerminal(c)
	return r.output.print(t.Out, item, func() {
		var rows [][]string
		for _, name := range item.Names() {
			rows = append(rows, []string{name, fmt.Sprint(item[name])})
		}
		t.Table([]string{"attribute", "value"}, rows)
	})
}
