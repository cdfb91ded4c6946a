package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func (r *routesCommand) newLevel() *cobra.Command {
	var flags writeFlags
	c := &cobra.Command{
		Use:   "level [LEVEL]",
		Short: "Show or set which attributes the routes of a table may have",
		Long: `Shows the level of a DynamoDB table, or sets it. A proxy answers a host with 500 if it does not
know an attribute of its route. So each attribute that a new version adds needs a level, and is
refused until the table has that level. The attributes of "routes put --help" need level 0 unless
the help says otherwise, and a table has level 0 at first.

Raise the level once all functions and all "sleight serve" that read the table have the version
that you want to use. To go back to an older version, remove the new attributes from all routes
and lower the level first. It cannot be lowered while a route has an attribute that needs more.
Let imports end before: one that has read the level does not read it again.

A routes file has no level.

Exit status: 0, also if the table has that level already; 1 if a route has an attribute that
needs more; 2 if this sleight does not know the level.`,
		Example: `  sleight routes level --table routes
  sleight routes level 1 --table routes`,
		Args:              usage(cobra.MaximumNArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		Annotations:       map[string]string{permissions: "dynamodb:GetItem; to set it also dynamodb:PutItem, to lower it dynamodb:Scan"},
		RunE: func(c *cobra.Command, args []string) error {
			opened, err := r.tables.open(c.Context())
			if err != nil {
				return err
			}
			table, ok := opened.(*routetable.DynamoDB)
			if !ok {
				return usageError{fmt.Errorf("%v has no level: only a DynamoDB table has one (--table)", opened)}
			}
			if len(args) == 0 {
				return r.showLevel(c, table)
			}
			level, err := strconv.Atoi(args[0])
			switch {
			case err != nil || level < 0:
				return usageError{fmt.Errorf("%q is no level: a level is a whole number from 0 on", args[0])}
			case level > origin.Level():
				return usageError{fmt.Errorf("this sleight knows no attribute that needs level %d, the highest is level %d: use the version that you have deployed", level, origin.Level())}
			}
			return r.setLevel(c, table, level, flags)
		},
	}
	flags.add(c)
	addOutput(c, &r.output)
	return c
}

// levelState is what "routes level" prints for scripts.
type levelState struct {
	Level   int               `json:"level"`   // of the table
	Highest int               `json:"highest"` // that this version knows
	Refused []attributeNeeded `json:"refused"` // attributes that need more than Level
}

type attributeNeeded struct {
	Attribute string `json:"attribute"`
	Level     int    `json:"level"`
}

func newLevelState(level int) levelState {
	s := levelState{Level: level, Highest: origin.Level(), Refused: []attributeNeeded{}}
	for _, row := range origin.Attributes() {
		if row.Level > level {
			s.Refused = append(s.Refused, attributeNeeded{row.Name, row.Level})
		}
	}
	return s
}

func (r *routesCommand) showLevel(c *cobra.Command, table *routetable.DynamoDB) error {
	level, err := table.Level(c.Context())
	if err != nil {
		return err
	}
	t, s := newTerminal(c), newLevelState(level)
	return r.output.print(t, s, func() {
		fmt.Fprintf(t.Out, "%v has level %d. The highest that this sleight knows is level %d.\n", table, s.Level, s.Highest)
		if len(s.Refused) == 0 {
			fmt.Fprintln(t.Out, "All attributes that this sleight knows may be written.")
			return
		}
		var rows [][]string
		for _, a := range s.Refused {
			rows = append(rows, []string{a.Attribute, strconv.Itoa(a.Level)})
		}
		t.Table([]string{"refused attribute", "needs level"}, rows)
	})
}

func (r *routesCommand) setLevel(c *cobra.Command, table *routetable.DynamoDB, level int, flags writeFlags) error {
	w := r.newWriter(c, table, flags)
	before, err := table.SetLevel(c.Context(), level, w.By, r.now(), flags.dryRun)
	if err != nil {
		return err
	}
	now := level
	if flags.dryRun {
		now = before
	}
	return r.output.print(w.out, newLevelState(now), func() {
		switch {
		case before == level:
			fmt.Fprintf(w.out.Out, "%v has level %d already; nothing was written\n", table, level)
		case flags.dryRun:
			fmt.Fprintf(w.out.Out, "Would change the level of %v from %d to %d\n", table, before, level)
			fmt.Fprintln(w.out.Out, "Nothing was written: this was a dry run.")
		default:
			fmt.Fprintf(w.out.Out, "Changed the level of %v from %d to %d\n", table, before, level)
		}
	})
}
