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

// routesCommand is shared by the commands of "routes".
type routesCommand struct {
	tables tableFlags
	output format
	now    func() time.Time

	// check, if it is not nil, checks a route before it is written; --force writes it in any case.
	check func(c *cobra.Command, route *origin.Route) error
}

// addCheck gives a command the flags of that check. It refuses a wrong network also if nothing is checked.
func (r *routesCommand) addCheck(c *cobra.Command, force *bool) {
	if r.check != nil {
		c.Flags().BoolVar(force, "force", false, "write the route even if the check fails")
		addAllowCIDR(c)
		c.PreRunE = func(c *cobra.Command, _ []string) error {
			own := pflag.NewFlagSet("", pflag.ContinueOnError) // other flags, such as timeouts, are attributes of the route
			own.AddFlag(c.Flags().Lookup("allow-cidr"))
			_, _, err := proxySettings(own, func(string) string { return "" })
			return err
		}
	}
}

// guard returns the check that a writer makes before it writes, or nil if force is set or there is no check. A change of the note
// alone is not checked.
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

An invalid route is refused before anything is written. A change is written only if nobody else
has changed the same route since it was read. Otherwise nothing is written, the message says who
has changed what, and the exit status is 3. With --dry-run, commands that write show the change,
and write nothing.

Each write raises "version" by one and sets "updated_at" and "updated_by": --by NAME, or else
USER@hostname, with SUDO_USER, USER, LOGNAME or the name of the account as USER. A running proxy
uses the new route once ROUTES_TTL has passed. It reads a routes file again within a second.

Questions are asked only on a terminal. Colours are only for terminals, and not with NO_COLOR.
Ctrl-C never leaves a route half changed.

Exit status:
  0    success; also if there was nothing to change
  1    something failed, or a host has no route
  2    a mistake in the call, or the route is invalid; nothing was written
  3    somebody else has changed the route meanwhile; nothing was written to it
  130  interrupted
"routes diff" has 1 for differences and 4 for failures.

Files:
  A routes file is JSON, {"routes":[{"host":"a.example","origin":"b.example"}]}, with the
  attributes of a DynamoDB item. It is written with one line for each route. A change replaces
  the file by a new one with the same mode and owner. If it is a symbolic link, the target of
  the link is replaced. Writers lock the file itself (flock), so that no change is lost; editors
  do not know the lock. A command that waits for the lock says so, and gives up after 30 seconds
  with exit status 1. "routes put" creates a missing file.

Permissions in IAM, on the table:
  get                  dynamodb:GetItem
  list, diff           dynamodb:Scan (diff: of both tables); also for the completion of HOST
  put, edit            dynamodb:GetItem, dynamodb:PutItem
  enable, disable      dynamodb:GetItem, dynamodb:PutItem
  rm                   dynamodb:GetItem, dynamodb:DeleteItem
  export               dynamodb:Scan
  import               dynamodb:BatchGetItem, dynamodb:GetItem, dynamodb:PutItem
  import --prune       also dynamodb:Scan, dynamodb:DeleteItem
  level                dynamodb:GetItem; level N also dynamodb:PutItem, and Scan to lower it
  sleight check        dynamodb:GetItem; with --all dynamodb:Scan
  sleight explain      dynamodb:GetItem; dynamodb:Scan if HOST has no route

Environment:
  ROUTES_TABLE, ROUTES_FILE  the table or the file, without --table and --routes
  AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_DYNAMODB and others that the AWS SDK reads
  ORIGIN_ALLOW_CIDRS (also --allow-cidr), FORCE_HTTPS, CLIENT_CERTS_DIR and others of the proxy
                             settings for the check that "put", "edit" and "enable" make
  VISUAL, EDITOR             the editor of "routes edit", vi by default
  NO_COLOR                   if it is set and not empty, no colours`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	r.tables.add(c.PersistentFlags())
	completeTables(c)
	c.AddCommand(r.newList(), r.newGet(), r.newPut(), r.newEdit(), r.newRemove(), r.newEnable(true), r.newEnable(false), r.newDiff(), r.newImport(), r.newExport(), r.newLevel())
	return c
}

// permissions is the annotation with the actions in IAM that a command needs on the table.
const permissions = "permissions"

// quoteHost returns a host or pattern for messages.
func quoteHost(host string) string { return fmt.Sprintf("%q", host) }

// hostArgument parses the HOST of a command.
func hostArgument(arg string) (string, error) {
	host, err := hostname.NormalizePattern(arg)
	if err != nil {
		return "", usageError{err}
	}
	return host, nil
}

// find reads the item of a HOST. It also finds an item by an invalid key, exactly as it is stored, so that it can be corrected.
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

const maxKey = 2048 // the largest partition key in DynamoDB, in bytes

// absentError says that a host has no route.
type absentError struct {
	table    routetable.Table
	host     string
	wildcard string // that covers it, or ""
}

func (e *absentError) Error() string {
	s := fmt.Sprintf("%v has no route for %s", e.table, quoteHost(e.host))
	if e.wildcard != "" {
		s += fmt.Sprintf("; %s covers it", quoteHost(e.wildcard))
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

// author returns the value of updated_by without --by.
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
