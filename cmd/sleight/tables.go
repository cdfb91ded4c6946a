package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"github.com/sleightproxy/sleight/internal/printable"
	"github.com/sleightproxy/sleight/internal/routes"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

// tableFlags are the flags for the table or the file with the routes.
type tableFlags struct {
	awsFlags
	table, routes string
	getenv        func(string) string
	flags         *pflag.FlagSet // nil if no flags were added
}

func (t *tableFlags) add(f *pflag.FlagSet) {
	t.flags = f
	f.StringVar(&t.table, "table", "", "DynamoDB table with the routes, by its `name` (ROUTES_TABLE)")
	f.StringVar(&t.routes, "routes", "", "JSON `file` with the routes (ROUTES_FILE)")
	t.awsFlags.add(f)
}

// open opens the table or the file. A flag wins over both variables.
func (t *tableFlags) open(ctx context.Context) (routetable.Table, error) {
	table, file, err := t.where()
	if err != nil {
		return nil, err
	}
	if file != "" {
		return routetable.OpenFile(file)
	}
	return t.openTable(ctx, table)
}

// openOrCreate is open for a routes file that need not exist yet.
func (t *tableFlags) openOrCreate(ctx context.Context) (table routetable.Table, exists bool, err error) {
	name, file, err := t.where()
	if err != nil {
		return nil, false, err
	}
	if file != "" {
		return routetable.OpenOrCreateFile(file)
	}
	table, err = t.openTable(ctx, name)
	return table, err == nil, err
}

// where returns the name of the table, or else of the file.
func (t *tableFlags) where() (table, file string, err error) {
	table, file = t.table, t.routes
	for _, name := range []string{"table", "routes"} {
		// For example an unset variable of a script. The command must not go on with another table.
		if t.flags != nil && t.flags.Changed(name) && t.flags.Lookup(name).Value.String() == "" {
			return "", "", usageError{fmt.Errorf("--%s is empty: give a name, or leave it out for ROUTES_TABLE or ROUTES_FILE", name)}
		}
	}
	if table == "" && file == "" {
		table, file = t.getenv("ROUTES_TABLE"), t.getenv("ROUTES_FILE")
	}
	switch {
	case table != "" && file != "":
		return "", "", usageError{errors.New("a table and a routes file are both given: give one of them")}
	case table == "" && file == "":
		return "", "", usageError{errors.New("no routes: give --table NAME or --routes FILE, or set ROUTES_TABLE or ROUTES_FILE")}
	}
	return table, file, nil
}

// sayWaiting makes a routes file say that a change waits for another process. Otherwise the command would be silent for half a
// minute.
func sayWaiting(table routetable.Table, stderr io.Writer) {
	file, ok := table.(*routetable.File)
	if !ok {
		return
	}
	file.Waiting = func(atMost time.Duration) {
		fmt.Fprintln(stderr, printable.Text(fmt.Sprintf("sleight: another process has locked %v, to change it: waiting for it for at most %v (Ctrl-C ends the wait)", file, atMost.Round(time.Second))))
	}
}

func (a *awsFlags) openTable(ctx context.Context, name string) (routetable.Table, error) {
	client, err := a.client(ctx, dynamodb.ForCommands)
	if err != nil {
		return nil, err
	}
	return &routetable.DynamoDB{Client: client, Table: name}, nil
}

// openSource opens the table or the file for reading. It reads a routes file once, as the proxy does.
func (t *tableFlags) openSource(ctx context.Context) (routes.Source, error) {
	table, err := t.open(ctx)
	if err != nil {
		return nil, err
	}
	if file, ok := table.(*routetable.File); ok {
		return routes.NewDocument(file.String(), file.All(ctx))
	}
	return table, nil
}
