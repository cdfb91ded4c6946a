package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// routesCommand is what the commands below "routes" share.
type routesCommand struct {
	tables tableFlags
	output format
	now    func() time.Time

	// check, if not nil, looks whether a route can work before it is written; --force goes on where
	// it cannot.
	check func(c *cobra.Command, route *origin.Route) error
}

// addCheck gives a command the flags of that check. A wrong network is refused, also if nothing is checked.
func (r *routesCommand) addCheck(c *cobra.Command, force *bool) {
	if r.check != nil {
		c.Flags().BoolVar(force, "force", false, "write the route also where it is found not to work")
		addAllowCIDR(c)
		c.PreRunE = func(c *cobra.Command, _ []string) error {
			own := pflag.NewFlagSet("", pflag.ContinueOnError) // since other flags are of the route, such as its timeouts
			own.AddFlag(c.Flags().Lookup("allow-cidr"))
			_, _, err := proxySettings(own, func(string) string { return "" })
			return err
		}
	}
}

// guard is what a writer asks before it writes: whether the route can work, unless only what is for people
// changes. It is nil where that is not to be asked.
func (r *routesCommand) guard(c *cobra.Command, force bool) func(before, after origin.Item) error {
	if r.check == nil || force {
		return nil
	}
	return func(before, after origin.Item) error {
		if slices.Equal(routetable.Difference(before.WithoutAudit(), after.WithoutAudit()), []string{"note"}) {
			return nil
		}
		route, err := after.Route()
		if err != nil {
			return usageError{err}
		}
		return r.check(c, route)
	}
}

func newRoutes(getenv func(string) string) *cobra.Command {
	r := &routesCommand{tables: tableFlags{getenv: getenv}, now: time.Now, check: checkBeforeWrite(getenv)}
	c := &cobra.Command{
		Use:   "routes",
		Short: "List, read, change, copy and compare routes",
		Long: `Reads and edits the routes in a DynamoDB table (--table) or a routes file (--routes).

A route that cannot be used is refused before anything is written. A change is written only if
nobody else has changed the same route since it was read: otherwise the exit status is 3, the
message says who has and what, and nothing was written. With --dry-run, commands that write
show what they would change if nobody else did so meanwhile, and write nothing.

What is written counts "version" up and says in "updated_at" and "updated_by" when and by
whom: --by NAME, else USER@hostname, where USER is SUDO_USER, USER, LOGNAME or the name of the
account. A running proxy goes by the new route once ROUTES_TTL has passed, and a routes file
is read again within a second.

Questions are asked on a terminal only. Colours are for terminals, and go with NO_COLOR.
Ctrl-C leaves a route as it was or changed as a whole.

Exit status:
  0    success; also where there was nothing to change
  1    something failed, or a route that was asked for is not there
  2    the call was not understood, or the route is invalid; nothing was written
  3    somebody else had changed the route meanwhile; nothing was written to it
  130  interrupted
"routes diff" has 1 for differences and 4 for failures.

Files:
  A routes file is JSON, {"routes":[{"host":"a.example","origin":"b.example"}]}, with the
  attributes of a DynamoDB item. It is written with one line for each route. A change replaces
  it as a whole, by a new file of the same mode and owner; where it is a symbolic link, what the
  link points at. Writers lock the file itself (flock), so that none loses another's change;
  editors know nothing of the lock. A command that has to wait for the lock says so, and gives
  up after 30 seconds with exit status 1. "routes put" makes a file that is not there.

Permissions in IAM, on the table:
  get                  dynamodb:GetItem
  list, diff           dynamodb:Scan (diff: of both tables); so does the completion of HOST
  put, edit            dynamodb:GetItem, dynamodb:PutItem
  enable, disable      dynamodb:GetItem, dynamodb:PutItem
  rm                   dynamodb:GetItem, dynamodb:DeleteItem
  export               dynamodb:Scan
  import               dynamodb:BatchGetItem, dynamodb:PutItem
  import --prune       dynamodb:Scan, dynamodb:DeleteItem beside

Environment:
  ROUTES_TABLE, ROUTES_FILE  where the routes are, without --table and --routes
  AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_DYNAMODB and all that the AWS SDK reads
  ORIGIN_ALLOW_CIDRS (also --allow-cidr), FORCE_HTTPS, CLIENT_CERTS_DIR and others of the proxy
                             what "put", "edit" and "enable" check a route by
  VISUAL, EDITOR             what "routes edit" starts, vi by default
  NO_COLOR                   any value but the empty one: no colours`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	r.tables.add(c.PersistentFlags())
	completeTables(c)
	c.AddCommand(r.newList(), r.newGet(), r.newPut(), r.newEdit(), r.newRemove(), r.newEnable(true), r.newEnable(false), r.newDiff(), r.newImport(), r.newExport())
	return c
}

// permissions is the annotation of a command with the actions in IAM that it needs on the table.
const permissions = "permissions"

// shown is how people are shown a host or pattern.
func shown(host string) string { return fmt.Sprintf("%q", host) }

// hostArgument reads the HOST of a command.
func hostArgument(arg string) (string, error) {
	host, err := hostname.NormalizePattern(arg)
	if err != nil {
		return "", usageError{err}
	}
	return host, nil
}

// find reads the item of a HOST. One that is stored under a name which is none, or is written
// otherwise than it has to be, is found by what it is stored under: or nobody could mend it.
func find(ctx context.Context, table routetable.Table, arg string) (origin.Item, error) {
	host, invalid := hostArgument(arg)
	for _, name := range slices.Compact([]string{host, arg}) {
		if name == "" || len(name) > maxKey {
			continue
		}
		item, err := table.Get(ctx, name)
		if !errors.Is(err, routetable.ErrNotFound) {
			return item, err
		}
	}
	if invalid != nil {
		return nil, invalid
	}
	return nil, notFound(ctx, table, host)
}

const maxKey = 2048 // bytes of a partition key in DynamoDB

// absentError says that there is no route for a host.
type absentError struct {
	table    routetable.Table
	host     string
	wildcard string // which covers it, or ""
}

func (e *absentError) Error() string {
	s := fmt.Sprintf("%v has no route for %s", e.table, shown(e.host))
	if e.wildcard != "" {
		s += fmt.Sprintf("; %s covers it", shown(e.wildcard))
	}
	return s
}

func (e *absentError) Unwrap() error { return routetable.ErrNotFound }

func notFound(ctx context.Context, table routetable.Table, host string) error {
	e := &absentError{table: table, host: host}
	if pattern, ok := hostname.Wildcard(host); ok && !strings.HasPrefix(host, "*.") {
		if _, err := table.Get(ctx, pattern); err == nil {
			e.wildcard = pattern
		}
	}
	return e
}

// author is who a change is said to be by, without --by.
func author(getenv func(string) string) string {
	name := cmp.Or(getenv("SUDO_USER"), getenv("USER"), getenv("LOGNAME"))
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	machine, _ := os.Hostname()
	switch {
	case name == "":
		return machine
	case machine == "":
		return name
	}
	return name + "@" + machine
}
