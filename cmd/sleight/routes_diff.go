package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/printable"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/internal/terminal"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// comparison is the result of "routes diff", as --output json prints it.
type comparison struct {
	From    string        `json:"from"`
	To      string        `json:"to"`
	Added   []origin.Item `json:"added"`
	Changed []changed     `json:"changed"`
	Removed []origin.Item `json:"removed"`
	Same    int           `json:"same"`
}

type changed struct {
	Host       string      `json:"host"`
	Attributes []string    `json:"attributes"`
	Before     origin.Item `json:"before"`
	After      origin.Item `json:"after"`
}

func (r *routesCommand) newDiff() *cobra.Command {
	to := tableFlags{getenv: func(string) string { return "" }}
	c := &cobra.Command{
		Use:   "diff (FILE | --to-routes FILE | --to-table NAME)",
		Short: "Compare the routes with those of a file or another table",
		Long: `Compares the routes of --table or --routes with those of a routes file or of another table. It
says what has to be added, changed and removed in the first to get the second, as "routes import
--prune" would do it. The attributes that tools write ("version", "updated_at", "updated_by")
are not compared.

The other table is in the region, profile and endpoint of the first one, unless --to-region,
--to-profile or --to-endpoint-url are given.

Exit status, as diff(1) has it except for failures: 0 if both are the same, 1 if they differ, 2
for a mistake in the call, 4 if something failed, 130 if interrupted.`,
		Example: `  sleight routes diff routes.json --table routes
  sleight routes diff --table routes --profile staging --to-table routes --to-profile production
  sleight routes diff --routes old.json --to-routes new.json -o json`,
		Args:        usage(cobra.MaximumNArgs(1)),
		Annotations: map[string]string{permissions: "dynamodb:Scan (of both tables)"},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"json"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(c *cobra.Command, args []string) error {
			err := r.diff(c, args, &to)
			if _, ok := errors.AsType[statusError](err); err != nil && !ok && exitStatus(err) == 1 {
				return statusError{4, err}
			}
			return err
		},
	}
	addOutput(c, &r.output)
	f := c.Flags()
	f.StringVar(&to.routes, "to-routes", "", "JSON `file` with the routes to compare with, as FILE")
	f.StringVar(&to.table, "to-table", "", "DynamoDB table to compare with, by its `name`")
	f.StringVar(&to.region, "to-region", "", "AWS `region` of that table (default that of the first)")
	f.StringVar(&to.profile, "to-profile", "", "`name` of the AWS profile for that table (default that of the first)")
	f.StringVar(&to.endpoint, "to-endpoint-url", "", "`URL` of DynamoDB for that table (default that of the first)")
	completeValues(c, nil, map[string][]string{"to-routes": {"json"}}, "to-table", "to-region", "to-profile", "to-endpoint-url")
	return c
}

func (r *routesCommand) diff(c *cobra.Command, args []string, to *tableFlags) error {
	ctx, t := c.Context(), newTerminal(c)
	given := 0
	for _, s := range append(args, to.routes, to.table) {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		return usageError{errors.New("give one thing to compare with: FILE, --to-routes FILE or --to-table NAME")}
	}
	if len(args) > 0 {
		to.routes = args[0]
	}
	to.region = cmp.Or(to.region, r.tables.region)
	to.profile = cmp.Or(to.profile, r.tables.profile)
	to.endpoint = cmp.Or(to.endpoint, r.tables.endpoint)
	old, err := r.tables.open(ctx)
	if err != nil {
		return err
	}
	other, err := to.open(ctx)
	if err != nil {
		return err
	}
	was, err := byHost(ctx, t, old)
	if err != nil {
		return err
	}
	is, err := byHost(ctx, t, other)
	if err != nil {
		return err
	}
	result := compare(was, is)
	result.From, result.To = fmt.Sprint(old), fmt.Sprint(other)
	if err := r.output.print(t, result, func() { printComparison(t, result) }); err != nil {
		return err
	}
	if len(result.Added)+len(result.Changed)+len(result.Removed) > 0 {
		return statusError{status: 1}
	}
	return nil
}

// byHost reads all routes. Each host may be there only once.
func byHost(ctx context.Context, t *terminal.Terminal, table routetable.Table) (map[string]origin.Item, error) {
	items, err := readAll(ctx, t, table)
	if err != nil {
		return nil, err
	}
	all := make(map[string]origin.Item, len(items))
	for n, i := range items {
		host := i.Host()
		switch {
		case host == "":
			return nil, fmt.Errorf("%v: route %d of the list has no host", table, n+1)
		case all[host] != nil:
			return nil, fmt.Errorf("%v: %s occurs more than once", table, quoteHost(host))
		}
		all[host] = i
	}
	return all, nil
}

func compare(was, is map[string]origin.Item) comparison {
	result := comparison{Added: []origin.Item{}, Changed: []changed{}, Removed: []origin.Item{}}
	var both []origin.Item
	for host, i := range was {
		if is[host] == nil {
			result.Removed = append(result.Removed, i)
		} else {
			both = append(both, i)
		}
	}
	for host, i := range is {
		if was[host] == nil {
			result.Added = append(result.Added, i)
		}
	}
	for _, i := range routetable.Sorted(both) {
		if now := is[i.Host()]; i.SameRoute(now) {
			result.Same++
		} else {
			result.Changed = append(result.Changed, changed{i.Host(), routetable.Difference(i, now), i, now})
		}
	}
	result.Added, result.Removed = routetable.Sorted(result.Added), routetable.Sorted(result.Removed)
	return result
}

func printComparison(t *terminal.Terminal, c comparison) {
	for _, i := range c.Removed {
		fmt.Fprintln(t.Out, t.Styled(terminal.Bad, "- "+i.Host()+" -> "+valueText("origin", i["origin"])))
	}
	for _, i := range c.Added {
		fmt.Fprintln(t.Out, t.Styled(terminal.Good, "+ "+i.Host()+" -> "+valueText("origin", i["origin"])))
	}
	for _, d := range c.Changed {
		fmt.Fprintln(t.Out, t.Styled(terminal.Warning, "~ "+d.Host))
		printDifferences(t, d.Before, d.After)
	}
	fmt.Fprintf(t.Out, "From %s to %s: %d added, %d changed, %d removed, %d the same\n", printable.Text(c.From), printable.Text(c.To), len(c.Added), len(c.Changed), len(c.Removed), c.Same)
}
