package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/printable"
	"github.com/sleightproxy/sleight/internal/terminal"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func (r *routesCommand) newGet() *cobra.Command {
	c := &cobra.Command{
		Use:   "get HOST",
		Short: "Show one route as it is stored",
		Long: `Shows the route of a host, or of a wildcard such as '*.spec-trust.com', with all its attributes,
and whether it is valid. Certificates are shown with their subject and end; --output json and
yaml print everything as it is stored.

Exit status: 0, also if the route is invalid; 1 if there is no route.`,
		Example: `  sleight routes get one.spec-trust.com --table routes
  sleight routes get one.spec-trust.com --table routes -o json`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: r.tables.completeHosts(false),
		Annotations:       map[string]string{permissions: "dynamodb:GetItem"},
		RunE: func(c *cobra.Command, args []string) error {
			table, err := r.tables.open(c.Context())
			if err != nil {
				return err
			}
			item, err := find(c.Context(), table, args[0])
			if err != nil {
				return err
			}
			t := newTerminal(c)
			return r.output.print(t, item, func() { printItem(t, item, r.now()) })
		},
	}
	addOutput(c, &r.output)
	return c
}

// printItem prints one route for people.
func printItem(t *terminal.Terminal, item origin.Item, now time.Time) {
	s := stateOf(item, now)
	const header = "attribute"
	indent := len(header) + 2
	for _, name := range item.Names() {
		indent = max(indent, len(printable.Text(name))+2)
	}
	var rows [][]string
	// add wraps a value. A terminal would cut off the rest of a long line, and it could be seen nowhere.
	add := func(style terminal.Style, name, v string) {
		for line := range strings.SplitSeq(t.Wrap(indent, v), "\n") {
			rows = append(rows, []string{printable.Text(name), t.Styled(style, strings.TrimLeft(line, " "))})
			name = ""
		}
	}
	add(s.style, "state", s.text)
	for _, name := range item.Names() {
		lines := []string{valueText(name, item[name])}
		switch v := item[name].(type) {
		case origin.StringSet:
			lines = strings.Split(lines[0], ", ")
		case []any:
			if len(v) > 1 {
				lines = nil
				for _, e := range v {
					lines = append(lines, valueText(name, e))
				}
			}
		case string:
			if all, ok := certificates(v); ok && name == "ca_pem" {
				lines = all
			}
		}
		for n, line := range lines {
			if n > 0 {
				name = ""
			}
			add(terminal.Plain, name, line)
		}
	}
	t.Table([]string{header, "value"}, rows)
	switch s.name {
	case disabled:
		fmt.Fprintln(t.Out, "A disabled route answers as if there were none, and hides a wildcard.")
	case expired:
		fmt.Fprintln(t.Out, "An expired route is as one that is not there. DynamoDB may remove it at any time.")
	case invalid:
		fmt.Fprintln(t.Out, "Its host is answered with an error, also where a wildcard covers it. Correct it with \"routes put\" or \"routes edit\".")
	}
}
