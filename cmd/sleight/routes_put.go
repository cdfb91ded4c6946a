package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/routes"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// putCommand is one call of put.
type putCommand struct {
	writeFlags
	attributes attributeFlags
	file       string
	unset      []string
	replace    bool
	force      bool
}

func (r *routesCommand) newPut() *cobra.Command {
	p := &putCommand{}
	c := &cobra.Command{
		Use:   "put [HOST] [--origin ADDRESS]... [--file FILE]",
		Short: "Make a route, or change attributes of one",
		Long: `Makes the route of a host, or of a wildcard such as '*.spec-trust.com', with the given
attributes. If the route exists, changes these attributes and keeps the others; --unset removes
an attribute, and --replace removes all that are not given. An invalid route is refused before
anything is read or written.

A route that will be in force is checked before it is written, as "sleight check" does it from
here, and refused if it cannot work, unless --force is given. --allow-cidr allows networks that
are not public. A change of "note" alone is not checked.

--file takes the attributes of one route as an object of JSON or YAML, such as "routes get -o
json" prints, or as a document {"routes":[...]} with one route. Flags take precedence over it,
and HOST may be left out if the file has it. A "version" in the file is a condition: if the table
has another one, the file has an old version of the route, and nothing is written (exit status
3). "updated_at" and "updated_by" in it are not written.

If somebody else changes the route at the same time, the change is made on their route, unless
they have changed one of the same attributes: then nothing is written, both are shown, and the
exit status is 3. A route that was removed meanwhile is not created again.

A missing routes file is created.`,
		Example: `  sleight routes put one.spec-trust.com --origin one.lb.aws.amazon.com --table routes
  sleight routes put one.spec-trust.com --origin a.example:8443 --origin b.example --note "failover" --table routes
  sleight routes put one.spec-trust.com --tls-min 1.3 --unset ca_pem --dry-run --table routes
  sleight routes put trial.spec-trust.com --origin trial.example --expires-at +30d --table routes
  sleight routes get one.spec-trust.com --table routes -o yaml >one.yaml; vi one.yaml; sleight routes put --file one.yaml --replace --table routes`,
		Args:              usage(cobra.MaximumNArgs(1)),
		ValidArgsFunction: r.tables.completeHosts(false),
		Annotations:       map[string]string{permissions: "dynamodb:GetItem, dynamodb:PutItem"},
		RunE: func(c *cobra.Command, args []string) error {
			do, err := p.read(c, args, r.now())
			if err != nil {
				return err
			}
			table, exists, err := r.tables.openOrCreate(c.Context())
			if err != nil {
				return err
			}
			w := r.newWriter(c, table, p.writeFlags)
			w.Approve = r.guard(c, p.force)
			return r.put(c, w, do, exists)
		},
	}
	addOutput(c, &r.output)
	p.attributes.add(c)
	f := c.Flags()
	f.StringVar(&p.file, "file", "", "`file` with one route in JSON or YAML; - is standard input")
	f.StringSliceVar(&p.unset, "unset", nil, "`attribute` to remove, so that its default holds; may be repeated")
	f.BoolVar(&p.replace, "replace", false, "remove all attributes that are not given")
	r.addCheck(c, &p.force)
	p.writeFlags.add(c)
	completeValues(c, map[string][]string{"unset": removable()}, nil)
	return c
}

func removable() []string {
	return slices.DeleteFunc(origin.AttributeNames(), func(name string) bool {
		return name == "host" || name == "origin" || origin.IsAudit(name)
	})
}

// putRequest is a parsed call of put.
type putRequest struct {
	host    string
	given   origin.Item
	unset   []string
	replace bool
	record  origin.Item // version, updated_at and updated_by in the file
}

// read parses the call, and refuses attributes that cannot become a route whatever is stored.
func (p *putCommand) read(c *cobra.Command, args []string, now time.Time) (*putRequest, error) {
	do := &putRequest{given: origin.Item{}, unset: p.unset, replace: p.replace}
	if p.file == "-" && p.attributes.caFile == "-" {
		return nil, errBothStdin("--file")
	}
	if p.file != "" {
		b, err := readInput(c, p.file, maxDocument)
		if err != nil && c.Context().Err() != nil {
			return nil, err
		}
		if err != nil {
			return nil, usageError{fmt.Errorf("--file: %w", err)}
		}
		item, err := parsePut(inputName(p.file), b, now)
		if err != nil {
			return nil, usageError{fmt.Errorf("--file %q: %w", p.file, err)}
		}
		if err := do.take(item); err != nil {
			return nil, usageError{fmt.Errorf("--file %q: %w", p.file, err)}
		}
	}
	fromFlags, err := p.attributes.given(now)
	if err != nil {
		return nil, err
	}
	maps.Copy(do.given, fromFlags)
	if len(args) > 0 {
		host, err := hostArgument(args[0])
		if err != nil {
			return nil, err
		}
		if do.host != "" && do.host != host {
			return nil, usageError{fmt.Errorf("the route in --file %q is of %s, not of %s", p.file, quoteHost(do.host), quoteHost(host))}
		}
		do.host = host
	}
	for _, name := range do.unset {
		_, given := do.given[name]
		switch {
		case given:
			return nil, usageError{fmt.Errorf("--unset %s: it is given as well", name)}
		case name == "host", name == "origin", origin.IsAudit(name):
			return nil, usageError{fmt.Errorf("--unset %s: every route has it", name)}
		}
	}
	switch {
	case do.host == "":
		return nil, usageError{errors.New("no host: give HOST, or --file with a route that has one")}
	case len(do.given) == 0 && len(do.unset) == 0 && !do.replace:
		return nil, usageError{errors.New("nothing to change: give an attribute such as --origin, --unset or --file")}
	case do.replace && do.given["origin"] == nil:
		return nil, usageError{errors.New("--replace removes the origin: give --origin as well")}
	}
	probe := maps.Clone(do.given)
	probe["host"] = do.host
	if probe["origin"] == nil {
		probe["origin"] = "origin.invalid"
	}
	return do, validate(nil, probe)
}

// parsePut reads a file with one route: an object, or a routes document.
func parsePut(what string, b []byte, now time.Time) (origin.Item, error) {
	item, err := routes.ParseItem(b, now)
	if _, document := item["routes"]; err != nil || !document {
		return item, err
	}
	d, err := routes.ParseDocument(what, b)
	switch {
	case err != nil:
		return nil, err
	case len(d.Items()) != 1:
		return nil, fmt.Errorf("is a document of %s, and has to be of one route: write several with \"sleight routes import\"", count(len(d.Items()), "route"))
	}
	item = d.Items()[0]
	return item, routes.SetExpiry(item, now)
}

// take takes over the attributes of a file.
func (d *putRequest) take(item origin.Item) error {
	if v, ok := item[origin.VersionAttribute]; ok {
		if _, ok := v.(json.Number); !ok {
			return errors.New("attribute \"version\" has to be a number")
		}
	}
	d.record = maps.Clone(item)
	maps.DeleteFunc(d.record, func(name string, _ any) bool { return !origin.IsAudit(name) })
	if v, ok := item["host"]; ok {
		s, ok := v.(string)
		if !ok {
			return errors.New("attribute \"host\" has to be a string")
		}
		host, err := hostArgument(s)
		if err != nil {
			return fmt.Errorf("attribute \"host\": %w", err)
		}
		d.host = host
	}
	d.given = item.WithoutAudit()
	delete(d.given, "host")
	return nil
}

// edit is a routes.Edit.
func (d *putRequest) edit(before origin.Item) (origin.Item, error) {
	after := origin.Item{}
	if !d.replace {
		after = before.WithoutAudit()
	}
	for _, name := range d.unset {
		delete(after, name)
	}
	maps.Copy(after, d.given)
	after["host"] = d.host
	if before == nil && after["origin"] == nil {
		return nil, usageError{fmt.Errorf("%s has no route yet, and a new one needs --origin", quoteHost(d.host))}
	}
	if err := validate(before, after); err != nil {
		return nil, err
	}
	if _, ok := d.record[origin.VersionAttribute]; ok && before != nil && !routetable.SameVersion(d.record, before) {
		seen := d.file()
		maps.Copy(seen, d.record)
		return nil, &routetable.StaleError{Seen: seen, Current: before}
	}
	return after, nil
}

// file returns the attributes that were given, with the host.
func (d *putRequest) file() origin.Item {
	item := maps.Clone(d.given)
	item["host"] = d.host
	return item
}

func (r *routesCommand) put(c *cobra.Command, w *writer, do *putRequest, exists bool) error {
	ctx := c.Context()
	before, err := w.Table.Get(ctx, do.host)
	if err != nil && !errors.Is(err, routetable.ErrNotFound) {
		return err
	}
	after, err := w.Change(ctx, before, do.edit, true)
	if stale, ok := errors.AsType[*routetable.StaleError](err); ok {
		fmt.Fprintln(w.err.Out, "From what is there to what the file has:")
		printDifferences(w.err, before.WithoutAudit(), do.file())
		return statusError{3, fmt.Errorf("%w. Look at it with \"sleight routes get\", or leave \"version\" out of the file to write regardless", stale)}
	}
	if conflict, ok := errors.AsType[*routetable.ConflictError](err); ok {
		w.lost(conflict)
		return fmt.Errorf("%w. To change the current route, run the same command again", conflict)
	}
	if err != nil {
		return err
	}
	if !r.output.forPeople() {
		if w.DryRun {
			fmt.Fprintln(w.err.Out, "Nothing was written: this was a dry run.")
		}
		return r.output.print(w.out, after, nil)
	}
	if before != nil && before.SameRoute(after) {
		w.sayf("%s in %v already has these attributes; nothing was written", quoteHost(do.host), w.Table)
		return nil
	}
	if !exists {
		w.sayf("%s %v, which was not there", map[bool]string{false: "Created", true: "Would create"}[w.DryRun], w.Table)
	}
	w.report(before, after)
	if s := stateOf(after, w.Now()); s.name != enabled && !w.DryRun {
		w.sayf("It is not in force: %s", s.text)
	}
	w.unwritten()
	return nil
}
