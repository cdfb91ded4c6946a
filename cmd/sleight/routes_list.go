package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/printable"
	"github.com/sleightproxy/sleight/internal/routes"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/internal/terminal"
	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// listing selects the routes to list.
type listing struct {
	filter string
	states map[string]*bool // by state: the flag for it
}

func (r *routesCommand) newList() *cobra.Command {
	l := listing{states: map[string]*bool{}}
	c := &cobra.Command{
		Use:   "list",
		Short: "List the routes, by domain",
		Long: `Lists the routes with their origins and states, sorted by domain, so that a wildcard comes before
the names that it covers. The number of routes goes to standard error.

--filter takes a part of the host, as it is stored or in Unicode, or a pattern with * for any
text, ? for one character and [a-c] for one of several. --invalid, --disabled and --expired list
the routes in any of the given states. Both may be combined.

--output json prints the routes as they are stored, in the format of a routes file. Expired
routes may disappear at any time: DynamoDB removes them by itself.

Exit status: 0, also if no route matches; 1 if the routes could not all be read or printed.`,
		Example: `  sleight routes list --table routes
  sleight routes list --table routes --filter '*.spec-trust.com' --invalid --expired
  sleight routes list --table routes -o json >routes.json`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		Annotations:       map[string]string{permissions: "dynamodb:Scan"},
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := path.Match(l.filter, ""); err != nil {
				return usageError{fmt.Errorf("--filter %q is no pattern: a [ has to be closed", l.filter)}
			}
			table, err := r.tables.open(c.Context())
			if err != nil {
				return err
			}
			return r.list(c, table, l)
		},
	}
	addOutput(c, &r.output)
	c.Flags().StringVar(&l.filter, "filter", "", "only hosts that contain `text`, or match it where it has *, ? or [")
	completeValues(c, nil, nil, "filter")
	for _, name := range []string{invalid, disabled, expired} {
		l.states[name] = c.Flags().Bool(name, false, "only routes that are "+name)
	}
	return c
}

// shows reports whether routes in a state are listed.
func (l listing) shows(i stated) bool {
	filter := strings.ToLower(l.filter)
	matches := func(host string) bool {
		if !strings.ContainsAny(filter, "*?[") {
			return strings.Contains(host, filter)
		}
		ok, err := path.Match(filter, host)
		return ok && err == nil
	}
	if host := i.item.Host(); !matches(host) && !matches(hostname.Display(host)) {
		return false
	}
	asked := false
	for name, ask := range l.states {
		if *ask && name == i.state.name {
			return true
		}
		asked = asked || *ask
	}
	return !asked
}

// showsProgress is after how many routes a bar is drawn. Fewer are read at once.
const showsProgress = 2000

// readAll reads all items, with a bar on a terminal.
func readAll(ctx context.Context, t *terminal.Terminal, table routetable.Table) ([]origin.Item, error) {
	var items []origin.Item
	var progress *terminal.Progress
	defer func() {
		if progress != nil {
			progress.Done()
		}
	}()
	for item, err := range table.All(ctx) {
		if err != nil {
			return nil, err
		}
		items = append(items, item)
		switch {
		case len(items) == showsProgress:
			progress = t.Progress("Reading routes", 0)
			progress.Add(showsProgress)
		case progress != nil:
			progress.Add(1)
		}
	}
	return items, nil
}

func (r *routesCommand) list(c *cobra.Command, table routetable.Table, l listing) error {
	t := newTerminal(c)
	items, err := readAll(c.Context(), t, table)
	if err != nil {
		return err
	}
	all := withStates(items, r.now())
	all = slices.DeleteFunc(all, func(i stated) bool { return !l.shows(i) })
	switch {
	case !r.output.forPeople():
		if err := r.printItems(t, all); err != nil {
			return err
		}
	case len(all) > 0:
		if err := t.Printing(func() { printList(t, all) }); err != nil {
			return err
		}
	}
	fmt.Fprintln(t.Err, listed(table, all, len(items)))
	return nil
}

// stated is an item with its state.
type stated struct {
	item  origin.Item
	state state
}

// withStates sorts items by domain, and finds the state of each. If a file has a host more than once, all its routes are invalid.
func withStates(items []origin.Item, now time.Time) []stated {
	all := make([]stated, 0, len(items))
	for _, i := range routetable.Sorted(items) {
		s := stated{i, stateOf(i, now)}
		if n := len(all); n > 0 && all[n-1].item.Host() == i.Host() {
			s.state = unusable(routes.ErrTwice(i.Host()))
			all[n-1].state = s.state
		}
		all = append(all, s)
	}
	return all
}

// listed says how many routes there are, and their states.
func listed(table routetable.Table, all []stated, total int) string {
	n, states := len(all), map[string]int{}
	for _, i := range all {
		states[i.state.name]++
	}
	s := fmt.Sprintf("%s in %v", count(total, "route"), table)
	if n != total {
		s = fmt.Sprintf("%d of %s", n, s)
	}
	var of []string
	for _, name := range []string{invalid, disabled, expired} {
		if states[name] > 0 {
			of = append(of, fmt.Sprintf("%d %s", states[name], name))
		}
	}
	if len(of) > 0 {
		s += ": " + strings.Join(of, ", ")
	}
	return s
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// printList writes the table, without empty columns. Important columns come before long ones, since a terminal cuts off the ends of
// lines.
func printList(t *terminal.Terminal, all []stated) {
	header := []string{"host", "state", "origin", "server name", "host header", "protocols", "max connections", "version", "updated", "by", "problem"}
	used := map[int]bool{0: true, 1: true, 2: true}
	rows := make([][]string, 0, len(all))
	for _, i := range all {
		value := func(name string) string {
			if v, ok := i.item[name]; ok {
				return printable.Text(valueText(name, v))
			}
			return ""
		}
		s := i.state
		text, problem := s.text, ""
		if s.name == invalid { // the reason is long, and comes last
			text, problem, _ = strings.Cut(s.text, ": ")
		}
		row := []string{
			value("host"), t.Styled(s.style, text), value("origin"), value("server_name"), value("host_header"), value("protocols"), value("max_connections"),
			value("version"), value("updated_at"), value("updated_by"), "",
		}
		if problem != "" {
			row[len(row)-1] = t.Styled(s.style, problem)
		}
		for n := range row {
			used[n] = used[n] || row[n] != ""
		}
		rows = append(rows, row)
	}
	only := func(row []string) []string {
		var cells []string
		for n, cell := range row {
			if used[n] {
				cells = append(cells, cell)
			}
		}
		return cells
	}
	for n, row := range rows {
		rows[n] = only(row)
	}
	t.Table(only(header), rows)
}

// printItems writes items as a routes document. It leaves out values that JSON does not have, and says so.
func (r *routesCommand) printItems(t *terminal.Terminal, all []stated) error {
	left := 0
	printable := func(yield func(origin.Item, error) bool) {
		for _, s := range all {
			i := s.item
			if _, err := i.MarshalJSON(); err != nil {
				left++
				fmt.Fprintf(t.Err, "sleight: left out: %v\n", printable.Text(err.Error()))
				continue
			}
			if !yield(i, nil) {
				return
			}
		}
	}
	write := routetable.FormatItems
	if r.output == "yaml" {
		write = formatYAML
	}
	if err := write(t.Out, printable); err != nil {
		return err
	}
	if left > 0 {
		return errors.New(count(left, "route") + " could not be printed")
	}
	return nil
}

// formatYAML writes the document of [routetable.FormatItems] in YAML.
func formatYAML(w io.Writer, items iter.Seq2[origin.Item, error]) error {
	any := false
	for item, err := range items {
		if err != nil {
			return err
		}
		list, err := toYAML(append(append([]byte("["), mustJSON(item)...), ']'))
		if err != nil {
			return err
		}
		if !any {
			any = true
			if _, err := io.WriteString(w, "routes:\n"); err != nil {
				return err
			}
		}
		if _, err := list.WriteTo(w); err != nil {
			return err
		}
	}
	if !any {
		_, err := io.WriteString(w, "routes: []\n")
		return err
	}
	return nil
}
