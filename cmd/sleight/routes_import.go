package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/printable"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/internal/terminal"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// importFlags are the flags of "routes import".
type importFlags struct {
	writeFlags
	overwrite, prune, yes, asIs bool
	parallel                    int
}

const maxParallel = 256 // more are throttled, or are too many for this machine

func (r *routesCommand) newImport() *cobra.Command {
	var flags importFlags
	c := &cobra.Command{
		Use:   "import (FILE | -)",
		Short: "Write all routes of a document, or continue an interrupted import",
		Long: `Writes the routes of a routes document, as "routes export" makes it, or of standard input (-)
into the table or the routes file.

The whole document is checked first. If anything is wrong with it, the first 20 faults are listed
and the others counted, the exit status is 2, and nothing is written.

Each route is then compared with the table. An equal route is not written, whatever its version.
A route that the table lacks is created exactly as in the document, version included, so that
export and import make an exact copy. A different route is replaced, and its version raised. The
version in the document is the one that its author has seen: if the table has another version
now, the route is a conflict. It is not written without --overwrite, and the message says who
has changed what and when.

Throttled requests are repeated, more slowly, for as long as it takes. Ctrl-C ends the import
after the running requests. After any interruption, the same command goes on from there: routes
that were written count as unchanged. A routes file is replaced once, at the end.

--prune removes the routes that the document lacks, after the import. It asks first on a
terminal, and needs --yes elsewhere. A route that somebody else changes meanwhile stays.

The counts at the end add up: each route of the document was created, updated, unchanged, a
conflict, failed, not known (its write got no answer), or left after an interruption. With
--prune, the counts after the semicolon add up to the routes that the document lacks.

Exit status: 0 for success, 1 if a route or the import failed, 2 if the document or the call was
wrong and nothing was written, 3 if there were conflicts and nothing else failed, 130 if
interrupted.`,
		Example: `  sleight routes import routes.json --table routes
  sleight routes import routes.json --table routes --prune --dry-run
  sleight routes export --table staging | sleight routes import - --table production`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.FixedCompletions([]string{"json"}, cobra.ShellCompDirectiveFilterFileExt),
		Annotations:       map[string]string{permissions: "dynamodb:BatchGetItem, dynamodb:GetItem, dynamodb:PutItem; with --prune dynamodb:Scan and dynamodb:DeleteItem"},
		RunE: func(c *cobra.Command, args []string) error {
			if flags.parallel < 1 || flags.parallel > maxParallel {
				return usageError{fmt.Errorf("--parallel is %d and has to be from 1 to %d", flags.parallel, maxParallel)}
			}
			return r.importFrom(c, args[0], flags)
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&flags.overwrite, "overwrite", false, "write conflicts anyway")
	c.Flags().BoolVar(&flags.prune, "prune", false, "remove the routes that the document does not have")
	c.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&flags.asIs, "as-is", false, "also write routes that cannot be used, as an exact copy needs them")
	c.Flags().IntVar(&flags.parallel, "parallel", 32, "`number` of writes under way at a time")
	addOutput(c, &r.output)
	return c
}

func (r *routesCommand) importFrom(c *cobra.Command, name string, flags importFlags) error {
	table, _, err := r.tables.openOrCreate(c.Context())
	if err != nil {
		return err
	}
	return r.importInto(c, table, name, flags)
}

func (r *routesCommand) importInto(c *cobra.Command, table routetable.Table, name string, flags importFlags) error {
	ctx := c.Context()
	sayWaiting(table, c.ErrOrStderr())
	table = routetable.Retrying(table)
	sayHowInputEnds(c, name)
	document, err := openDocument(ctx, c.InOrStdin(), name)
	if ctx.Err() != nil {
		return interruptedError{"interrupted; nothing was written"}
	}
	if err != nil {
		return err
	}
	defer document.Close()
	name = inputName(name)
	checked, err := routetable.Check(ctx, document, flags.asIs)
	if err != nil {
		return interruptedError{"interrupted; nothing was written"}
	}
	t := newTerminal(c)
	if checked.Count > 0 {
		for _, problem := range checked.Problems {
			fmt.Fprintln(t.Err, printable.Text(fmt.Sprintf("sleight: %s: %v", name, problem)))
		}
		if more := checked.Count - len(checked.Problems); more > 0 {
			fmt.Fprintf(t.Err, "sleight: %s: and %d more\n", name, more)
		}
		return usageError{fmt.Errorf("%s cannot be imported: %s; nothing was written", name, count(checked.Count, "problem"))}
	}
	if err := table.Allows(ctx, routetable.Change{After: checked.Attributes}); err != nil {
		if ctx.Err() != nil {
			return interruptedError{"interrupted; nothing was written"}
		}
		return err
	}
	if _, err := document.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var remove []origin.Item
	if flags.prune {
		if remove, err = r.askToPrune(ctx, t, table, checked, flags); err != nil {
			if ctx.Err() != nil {
				return interruptedError{"interrupted; nothing was written"}
			}
			return err
		}
	}
	if flags.by == "" {
		flags.by = author(r.tables.getenv)
	}
	run := &importRun{
		flags: flags, output: r.output, terminal: t, table: table, began: r.now(),
		sum: importSum{Routes: checked.Routes, ToRemove: len(remove), DryRun: flags.dryRun, Problems: []importProblem{}},
	}
	return run.do(ctx, document, remove)
}

// askToPrune returns the routes to remove, after a question.
func (r *routesCommand) askToPrune(ctx context.Context, t *terminal.Terminal, table routetable.Table, checked *routetable.Checked, flags importFlags) ([]origin.Item, error) {
	remove, all, err := routetable.Others(ctx, table, checked.Hosts)
	if err != nil || len(remove) == 0 || flags.dryRun || flags.yes {
		return remove, err
	}
	question := fmt.Sprintf("%d of the %s in %v are not in the document. Import it, and remove them?", len(remove), count(all, "route"), table)
	switch ok, err := t.Confirm(ctx, question); {
	case errors.Is(err, terminal.ErrNotInteractive):
		return nil, usageError{fmt.Errorf("%d of the %s in %v are not in the document, and there is no terminal to ask on whether to remove them: give --yes, or leave out --prune; nothing was written", len(remove), count(all, "route"), table)}
	case err != nil:
		return nil, err
	case !ok:
		return nil, errors.New("not imported: the answer was no")
	}
	return remove, nil
}

// openDocument opens a document so that it can be read twice. It copies a pipe into a temporary file, which disappears however this
// process ends.
func openDocument(ctx context.Context, stdin io.Reader, name string) (*os.File, error) {
	if name == "-" {
		return spool(ctx, stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = fmt.Errorf("%q is a directory", name)
	case info.Mode().IsRegular():
		return f, nil
	default:
		defer f.Close()
		return spool(ctx, f)
	}
	f.Close()
	return nil, err
}

func spool(ctx context.Context, r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "sleight-import-*")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	_, err = terminal.Read(ctx, func() (int64, error) { return io.Copy(f, r) })
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// importSum is the result of an import, as --output json prints it. Created to Left add up to Routes, and Removed to LeftThere add up
// to ToRemove.
type importSum struct {
	Routes      int             `json:"routes"` // in the document
	Created     int             `json:"created"`
	Updated     int             `json:"updated"`
	Unchanged   int             `json:"unchanged"`
	Conflicts   int             `json:"conflicts"`
	Failed      int             `json:"failed"`
	Unknown     int             `json:"unknown"`   // not known whether they were written
	Left        int             `json:"left"`      // not tried
	ToRemove    int             `json:"to_remove"` // that the document does not have
	Removed     int             `json:"removed"`
	Staying     int             `json:"removed_conflicts"` // somebody else has changed them meanwhile
	NotRemoved  int             `json:"removed_failed"`
	UnknownGone int             `json:"removed_unknown"` // not known whether they were removed
	LeftThere   int             `json:"removed_left"`    // not tried
	DryRun      bool            `json:"dry_run"`
	Interrupted bool            `json:"interrupted"`
	Seconds     float64         `json:"seconds"`
	Problems    []importProblem `json:"problems"`                   // conflicts and failures
	MoreProbs   int             `json:"problems_left_out"`          // beyond maxListed
	Changes     []importChange  `json:"changes,omitempty"`          // of a dry run
	MoreChanges int             `json:"changes_left_out,omitempty"` // beyond maxListed

	problems, changes map[routetable.Result]int // how many of each kind
}

type importProblem struct {
	Host  string            `json:"host"`
	What  routetable.Result `json:"what"`
	Error string            `json:"error"`
}

type importChange struct {
	Host       string            `json:"host"`
	What       routetable.Result `json:"what"`
	Attributes []string          `json:"attributes"`

	before, after origin.Item
}

// The bounds are for each kind: many conflicts must not hide a failure.
const (
	maxListed = 1000 // in JSON
	maxShown  = 20   // for people
)

func (s *importSum) add(o routetable.Outcome) {
	switch o.Result {
	case routetable.Created:
		s.Created++
	case routetable.Updated:
		s.Updated++
	case routetable.Unchanged:
		s.Unchanged++
	case routetable.Conflicting:
		s.Conflicts++
	case routetable.NotWritten:
		s.Failed++
	case routetable.Removed:
		s.Removed++
	case routetable.Staying:
		s.Staying++
	case routetable.NotRemoved:
		s.NotRemoved++
	case routetable.NotKnown:
		if o.After == nil {
			s.UnknownGone++
		} else {
			s.Unknown++
		}
	}
	if s.problems == nil {
		s.problems, s.changes = map[routetable.Result]int{}, map[routetable.Result]int{}
	}
	if o.Err != nil {
		if s.problems[o.Result]++; s.problems[o.Result] > maxListed {
			s.MoreProbs++
		} else {
			s.Problems = append(s.Problems, importProblem{o.Host, o.Result, o.Err.Error()})
		}
	}
	if !s.DryRun || o.Result == routetable.Unchanged || o.Err != nil {
		return
	}
	if s.changes[o.Result]++; s.changes[o.Result] > maxListed {
		s.MoreChanges++
		return
	}
	s.Changes = append(s.Changes, importChange{o.Host, o.Result, routetable.Difference(o.Before, o.After), o.Before, o.After})
}

// done returns how many routes of the document have a known result.
func (s *importSum) done() int {
	return s.Created + s.Updated + s.Unchanged + s.Conflicts + s.Failed
}

// progress says how far an unfinished import has come.
func (s *importSum) progress() string {
	if s.DryRun || s.done()+s.Unknown+s.Removed+s.Staying+s.NotRemoved+s.UnknownGone == 0 {
		return "nothing was written"
	}
	line := fmt.Sprintf("%d of %s done", s.done(), count(s.Routes, "route"))
	if s.Unknown > 0 {
		line += fmt.Sprintf(", %d not known", s.Unknown)
	}
	if s.ToRemove > 0 {
		line += fmt.Sprintf(", %d of %d removed", s.Removed, s.ToRemove)
	}
	if s.UnknownGone > 0 {
		line += fmt.Sprintf(", %d not known whether removed", s.UnknownGone)
	}
	return line + "; the same command goes on from there"
}

func (s *importSum) String() string {
	would := ""
	if s.DryRun {
		would = "would be "
	}
	line := fmt.Sprintf("%s: %s%d created, %d updated, %d unchanged, %s, %d failed", count(s.Routes, "route"), would,
		s.Created, s.Updated, s.Unchanged, count(s.Conflicts, "conflict"), s.Failed)
	if s.Unknown > 0 {
		line += fmt.Sprintf(", %d not known", s.Unknown)
	}
	if s.Left > 0 {
		line += fmt.Sprintf(", %d left", s.Left)
	}
	if s.ToRemove == 0 {
		return line
	}
	line += fmt.Sprintf("; %d not in the document %sremoved", s.Removed, would)
	for _, rest := range []struct {
		n    int
		what string
	}{{s.Staying, "changed by others meanwhile"}, {s.NotRemoved, "failed"}, {s.UnknownGone, "not known"}, {s.LeftThere, "left"}} {
		if rest.n > 0 {
			line += fmt.Sprintf(", %d %s", rest.n, rest.what)
		}
	}
	return line
}

// importRun is a running import.
type importRun struct {
	flags    importFlags
	output   format
	terminal *terminal.Terminal
	table    routetable.Table
	began    time.Time

	mu  sync.Mutex // guards the fields below and standard error
	sum importSum
	bar *terminal.Progress
}

// noticePeriod is how often a line says how far an import is, if no bar is drawn.
const noticePeriod = 10 * time.Second

func (r *importRun) do(ctx context.Context, document io.Reader, remove []origin.Item) error {
	r.bar = r.terminal.Progress("Importing", int64(r.sum.Routes+len(remove)))
	ended := make(chan struct{})
	var notices sync.WaitGroup
	if !r.bar.Drawn() {
		notices.Go(func() { r.notice(ended) })
	}
	im := &routetable.Import{
		Table: r.table, By: r.flags.by, Overwrite: r.flags.overwrite, DryRun: r.flags.dryRun, AsIs: r.flags.asIs,
		Parallel: r.flags.parallel, Report: r.report,
	}
	err := im.Run(ctx, origin.Items(document), remove)
	close(ended)
	notices.Wait()
	r.bar.Done()
	return r.end(err)
}

func (r *importRun) notice(ended <-chan struct{}) {
	tick := time.NewTicker(noticePeriod)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			r.mu.Lock()
			done := r.sum.done()
			fmt.Fprintf(r.terminal.Err, "%d of %s, %.0f/s\n", done, count(r.sum.Routes, "route"), float64(done)/time.Since(r.began).Seconds())
			r.mu.Unlock()
		}
	}
}

func (r *importRun) report(o routetable.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.add(o)
	r.bar.Add(1)
	if o.Err == nil || o.Result == routetable.NotKnown { // this ends the import, and is printed then
		return
	}
	switch shown := r.sum.problems[o.Result]; {
	case shown <= maxShown:
		r.terminal.Sayf(r.bar, "%s", printable.Text("sleight: "+o.Err.Error()))
	case shown == maxShown+1:
		r.terminal.Sayf(r.bar, "sleight: and more %s; --output json lists up to %d", problemNames[o.Result], maxListed)
	}
}

// problemNames name the kinds of problems that are not shown.
var problemNames = map[routetable.Result]string{
	routetable.Conflicting: "conflicts", routetable.NotWritten: "that failed", routetable.NotRemoved: "that were not removed",
	routetable.Staying: "that were changed by others meanwhile",
}

// interruptedError says how to continue an interrupted command.
type interruptedError struct{ said string }

func (e interruptedError) Error() string { return e.said }
func (e interruptedError) Unwrap() error { return context.Canceled }

// end prints the sum, and returns the error of the command.
func (r *importRun) end(err error) error {
	s := &r.sum
	s.Left = s.Routes - s.done() - s.Unknown
	s.LeftThere = s.ToRemove - s.Removed - s.Staying - s.NotRemoved - s.UnknownGone
	s.Interrupted = errors.Is(err, context.Canceled)
	s.Seconds = float64(time.Since(r.began).Milliseconds()) / 1000
	printErr := r.output.print(r.terminal, s, func() {
		if s.DryRun {
			r.showChanges()
		}
		fmt.Fprintln(r.terminal.Out, s)
		if s.DryRun {
			fmt.Fprintln(r.terminal.Out, "Nothing was written: this was a dry run.")
		}
	})
	switch {
	case s.Interrupted:
		return interruptedError{"interrupted: " + s.progress()}
	case err != nil:
		return fmt.Errorf("%w (%s)", err, s.progress())
	case printErr != nil:
		return printErr
	case s.Failed > 0 && s.NotRemoved > 0:
		return statusError{1, fmt.Errorf("%s not written, and %d not removed", count(s.Failed, "route"), s.NotRemoved)}
	case s.Failed > 0:
		return statusError{1, fmt.Errorf("%s not written", count(s.Failed, "route"))}
	case s.NotRemoved > 0:
		return statusError{1, fmt.Errorf("%s not removed", count(s.NotRemoved, "route"))}
	case s.Conflicts > 0:
		return statusError{3, fmt.Errorf("%s: export again and make your changes to that, or write them anyway with --overwrite", count(s.Conflicts, "conflict"))}
	case s.Staying > 0:
		return statusError{3, fmt.Errorf("%s changed by others meanwhile and not removed; to work from the current routes, run the same command again", count(s.Staying, "route"))}
	}
	return nil
}

// showChanges prints the first changes of a dry run for people.
func (r *importRun) showChanges() {
	verbs := map[routetable.Result]string{routetable.Created: "Would create", routetable.Updated: "Would change", routetable.Removed: "Would remove"}
	seen := map[routetable.Result]int{}
	for _, change := range r.sum.Changes {
		if seen[change.What]++; seen[change.What] > maxShown {
			continue
		}
		fmt.Fprintf(r.terminal.Out, "%s %s%s\n", verbs[change.What], printable.Text(quoteHost(change.Host)), map[bool]string{true: ":"}[change.What == routetable.Updated])
		if change.What == routetable.Updated {
			printDifferences(r.terminal, change.before.WithoutAudit(), change.after.WithoutAudit())
		}
	}
	for _, what := range []routetable.Result{routetable.Created, routetable.Updated, routetable.Removed} {
		if more := r.sum.changes[what] - maxShown; more > 0 {
			fmt.Fprintf(r.terminal.Out, "%s %d more\n", verbs[what], more)
		}
	}
}
