package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/printable"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/internal/terminal"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func (r *routesCommand) newExport() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "export",
		Short: "Write all routes as one document",
		Long: `Writes all routes of the table or the routes file as one routes document, to standard output or
into a file, which is replaced once all is written. "routes import" and "sleight serve --routes"
read it, as does every reader of JSON.

Each route is one line, in the order of their domains. Two exports of the same routes are
therefore identical, and others can be compared by diff and by version control. The number of
routes goes to standard error.

Invalid routes are exported as they are, and the first 20 are named on standard error; "routes
import" accepts them with --as-is. A route whose values JSON does not have (binary values, sets
in the wrong place) is left out and named, and the exit status is 1.`,
		Example: `  sleight routes export --table routes --to routes.json
  sleight routes export --table routes | jq '.routes | length'`,
		Args:        usage(cobra.NoArgs),
		Annotations: map[string]string{permissions: "dynamodb:Scan"},
		RunE:        func(c *cobra.Command, _ []string) error { return r.export(c, to) },
	}
	c.Flags().StringVar(&to, "to", "", "`file` to write (default standard output)")
	return c
}

// exported is a route for the document.
type exported struct {
	key  string
	json []byte
}

func (r *routesCommand) export(c *cobra.Command, to string) error {
	ctx := c.Context()
	table, err := r.tables.open(ctx)
	if err != nil {
		return err
	}
	table = routetable.Retrying(table)
	t := newTerminal(c)
	routes, e, err := collect(ctx, t, table)
	if ctx.Err() != nil {
		return interruptedError{"interrupted; nothing was written"}
	}
	if err != nil {
		return err
	}
	document := func(w io.Writer) error {
		b := bufio.NewWriterSize(w, 64<<10)
		err := routetable.FormatDocument(b, func(yield func([]byte, error) bool) {
			for _, route := range routes {
				if !yield(route.json, ctx.Err()) {
					return
				}
			}
		})
		if err != nil {
			return err
		}
		return b.Flush()
	}
	where := ""
	if to == "" {
		err = document(t.Out)
	} else {
		where = fmt.Sprintf(" to %q", to)
		err = replaceFile(to, document)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(t.Err, printable.Text(fmt.Sprintf("%s of %v exported%s%s", count(len(routes), "route"), table, where, e)))
	if n := len(e.leftOut); n > 0 {
		return statusError{1, fmt.Errorf("%s left out, which JSON cannot hold as they are", count(n, "route"))}
	}
	return nil
}

// exceptions are the routes to name on standard error.
type exceptions struct {
	terminal          *terminal.Terminal
	bar               *terminal.Progress
	unusable, leftOut []remark
}

// remark is a line about a route.
type remark struct{ key, text string }

func remarkOn(item origin.Item, format string, args ...any) remark {
	return remark{routetable.SortKey(item.Host()), fmt.Sprintf(format, args...)}
}

// say names the first routes that are exported although they are invalid, and all routes that are left out, in the order of their
// domains: the engine may send them in any order.
func (e *exceptions) say() {
	for _, list := range [][]remark{e.unusable, e.leftOut} {
		slices.SortStableFunc(list, func(a, b remark) int { return strings.Compare(a.key, b.key) })
	}
	for _, r := range e.unusable[:min(len(e.unusable), maxShown)] {
		e.terminal.Sayf(e.bar, "%s", printable.Text("sleight: "+r.text))
	}
	if more := len(e.unusable) - maxShown; more > 0 {
		e.terminal.Sayf(e.bar, "sleight: and %d more that cannot be used, which \"sleight routes list --invalid\" lists", more)
	}
	for _, r := range e.leftOut {
		e.terminal.Sayf(e.bar, "%s", printable.Text("sleight: "+r.text))
	}
}

func (e *exceptions) String() string {
	s := ""
	if n := len(e.unusable); n > 0 {
		s += fmt.Sprintf(", %d of which cannot be used", n)
	}
	if n := len(e.leftOut); n > 0 {
		s += fmt.Sprintf("; %d left out", n)
	}
	return s
}

// collect reads all routes, and returns them in JSON and in order.
func collect(ctx context.Context, t *terminal.Terminal, table routetable.Table) ([]exported, *exceptions, error) {
	e := &exceptions{terminal: t, bar: t.Progress(fmt.Sprintf("Reading %v", table), 0)}
	defer e.bar.Done()
	var routes []exported
	for item, err := range table.All(ctx) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, nil, err
		}
		e.bar.Add(1)
		b, err := item.MarshalJSON()
		_, invalid := item.Route()
		switch {
		case err != nil:
			e.leftOut = append(e.leftOut, remarkOn(item, "%v; it is left out", err))
			continue
		case invalid != nil && !comesBack(item, b):
			e.leftOut = append(e.leftOut, remarkOn(item, "%v, and JSON cannot hold it as it is; it is left out", invalid))
			continue
		case invalid != nil:
			e.unusable = append(e.unusable, remarkOn(item, "%v; it is exported as it is", invalid))
		}
		routes = append(routes, exported{routetable.SortKey(item.Host()), b})
	}
	e.say()
	slices.SortStableFunc(routes, func(a, b exported) int { return strings.Compare(a.key, b.key) })
	return routes, e, nil
}

// comesBack reports whether an item read from its own JSON is equal to it.
func comesBack(item origin.Item, b []byte) bool {
	var again origin.Item
	return again.UnmarshalJSON(b) == nil && again.Equal(item)
}

// replaceFile writes a whole file or leaves it unchanged. An existing file keeps its mode, and links to it stay valid. It writes into
// a file that is not regular.
func replaceFile(name string, write func(io.Writer) error) (err error) {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%q is a directory", name)
	case !info.Mode().IsRegular():
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	// In the same directory: a file can be renamed only within a file system. os.CreateTemp would ignore the umask.
	f, err := os.OpenFile(filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"."+rand.Text()[:8]), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if info != nil {
		if err := f.Chmod(info.Mode().Perm()); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
