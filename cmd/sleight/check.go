package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/app"
	"github.com/sleightproxy/sleight/internal/check"
	"github.com/sleightproxy/sleight/internal/routes"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// newChecker returns a Checker that does what a proxy with these settings would do. close closes its client certificates.
func newChecker(s app.Settings) (c *check.Checker, close func(), err error) {
	c = &check.Checker{AllowCIDRs: s.AllowCIDRs, ForceHTTPS: s.ForceHTTPS, Timeouts: s.Timeouts, LoopID: s.LoopID}
	if s.ClientCertsDir == "" {
		return c, func() {}, nil
	}
	certs, err := sni.OpenCertificateDir(s.ClientCertsDir)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: set --client-certs or CLIENT_CERTS_DIR to the directory of the client certificates, or leave it out", err)
	}
	c.ClientCertificates = certs
	return c, func() { certs.Close() }, nil
}

// checkBeforeWrite returns the check that commands run before they write a single route. It checks the new route with the settings
// of the environment and of --allow-cidr. If the route cannot work, the error is an *unworkableError, and only --force writes the
// route. Lesser findings go to standard error. A route that is disabled or has expired is not checked.
func checkBeforeWrite(getenv func(string) string) func(c *cobra.Command, route *origin.Route) error {
	return func(c *cobra.Command, route *origin.Route) error {
		if route.State(time.Now()) != origin.Usable {
			return nil
		}
		settings, _, err := proxySettings(c.Flags(), getenv) // the timeouts among the flags are the route's
		if err != nil {
			return err
		}
		checker, close, err := newChecker(settings)
		if err != nil {
			return err
		}
		defer close()
		host, err := check.HostToCheck(route.Host, "")
		if err != nil {
			return usageError{err}
		}
		result := checker.Check(c.Context(), host, route)
		if c.Context().Err() != nil {
			return c.Context().Err()
		}
		if result.CannotWork() {
			return &unworkableError{host, result.Verdict, result.Advice}
		}
		if result.Status != check.OK {
			t := newTerminal(c)
			fmt.Fprintf(t.Err, "%s: %s: %s\n", result.Status, host, result.Verdict)
		}
		return nil
	}
}

// unworkableError refuses a route that cannot work.
type unworkableError struct{ host, verdict, advice string }

func (e *unworkableError) Error() string {
	return fmt.Sprintf("nothing was written, because the route of %s cannot work: %s. To fix it: %s. --force writes it anyway", quoteHost(e.host), e.verdict, e.advice)
}

// checkCommand is "sleight check".
type checkCommand struct {
	tables tableFlags
	output format
	getenv func(string) string

	attributes             attributeFlags
	file, as               string
	all, verbose, inactive bool
	target                 []string
	path, method, resolver string
	parallel, warnDays     int
	timeout                time.Duration
}

func newCheck(getenv func(string) string) *cobra.Command {
	k := &checkCommand{tables: tableFlags{getenv: getenv}, getenv: getenv}
	c := &cobra.Command{
		Use:   "check (HOST | --all)",
		Short: "Prove that a route works, before and after it goes live",
		Long: `Does what the proxy would do, and says what happens. It looks up HOST in DNS, to find out where
clients go, and the origin. It connects to every address of the origin, shakes hands under the
name that the proxy would send and verify, with the same code, and sends a request. The first
line is the verdict. The lines below say what to change, and who can change it.

The route is the one that HOST would get from --table or --routes. With --origin, it is a route
that is in no table yet. Flags of attributes, such as --server-name, alter it for the check.
--from-file reads routes that are in no table yet: one object or {"routes":[...]}, in JSON or
YAML. HOST chooses one of them, and may be left out if there is only one. With --all, every route
of the table or the file is checked.

A wildcard is checked with a name that it covers: give that name as HOST or with --as. Otherwise
"sleight-check" replaces the star.

If an address of the origin fails and others work, that is a warning, as is a certificate that
ends soon. Disabled and expired routes are checked, but do not fail the run without
--fail-inactive. Exit status: 0 if all is ok or warns, 1 if something fails, 130 if interrupted.
docs/check.md has the codes of findings and the fields of --output json, which are stable.`,
		Example: `  sleight check one.spec-trust.com --origin one.lb.aws.amazon.com
  sleight check one.spec-trust.com --table routes --target d-abc123.execute-api.eu-west-1.amazonaws.com
  sleight check --from-file route.yaml
  sleight check --all --table routes --warn-days 30
  sleight check --all --routes routes.json -o json | jq -r '.routes[] | select(.status=="fail") | .host'`,
		Args:              usage(cobra.MaximumNArgs(1)),
		Annotations:       map[string]string{permissions: "dynamodb:GetItem; with --all dynamodb:Scan"},
		ValidArgsFunction: k.tables.completeHosts(false),
		RunE:              k.run,
	}
	f := c.Flags()
	k.tables.add(f)
	f.StringVar(&k.file, "from-file", "", "JSON or YAML `file` with routes that are in no table yet; - is standard input")
	f.BoolVar(&k.all, "all", false, "check every route")
	f.StringVar(&k.as, "as", "", "`name` to check a wildcard with")
	k.attributes.add(c)
	f.StringVar(&k.path, "path", "/", "`path` and query of the request")
	f.StringVar(&k.method, "method", "GET", "`method` of the request: GET, HEAD or OPTIONS")
	f.StringSliceVar(&k.target, "target", nil, "`name` or address of the proxy that DNS should lead clients to; may be repeated")
	f.StringVar(&k.resolver, "resolver", "", "`address` of the DNS server to ask (default: the system's)")
	f.IntVar(&k.parallel, "parallel", 32, "how many addresses to try at once, `N`")
	f.DurationVar(&k.timeout, "timeout", 15*time.Second, "for what `duration` to wait for each lookup and each address")
	f.IntVar(&k.warnDays, "warn-days", 14, "warn of certificates that end within `N` days; 0 warns of none")
	f.BoolVar(&k.inactive, "fail-inactive", false, "let disabled and expired routes fail the run too")
	f.BoolVarP(&k.verbose, "verbose", "v", false, "with --all: show the details of each route")
	addProxyFlags(c)
	addOutput(c, &k.output)
	completeTables(c)
	completeValues(c,
		map[string][]string{"method": {"GET", "HEAD", "OPTIONS"}},
		map[string][]string{"from-file": {"json", "yaml", "yml"}},
		"as", "path", "target", "resolver", "parallel", "timeout", "warn-days")
	return c
}

// validate refuses flags that contradict each other.
func (k *checkCommand) validate(c *cobra.Command, args []string) error {
	f := c.Flags()
	given := func(names ...string) string {
		for _, n := range names {
			if f.Changed(n) {
				return "--" + n
			}
		}
		return ""
	}
	altered := cmp.Or(k.attributes.changed(), given("as"))
	stored := given("table", "routes")
	u, err := url.ParseRequestURI(k.path)
	switch {
	case k.all && len(args) > 0:
		return usageError{errors.New("HOST and --all are both given: give one of them")}
	case !k.all && len(args) == 0 && k.file == "":
		return usageError{fmt.Errorf("give a HOST, or --all; see %q", c.CommandPath()+" --help")}
	case k.all && altered != "":
		return usageError{fmt.Errorf("%s is given with --all: it is for one route", altered)}
	case k.file == "-" && k.attributes.caFile == "-":
		return errBothStdin("--from-file")
	case k.file != "" && stored != "":
		return usageError{fmt.Errorf("--from-file and %s are both given: --from-file is for routes that are in no table yet", stored)}
	case f.Changed("origin") && (stored != "" || k.file != ""):
		return usageError{errors.New("--origin makes a route that is in no table yet: leave out --table, --routes and --from-file")}
	case err != nil || !strings.HasPrefix(k.path, "/") || u.Host != "":
		return usageError{fmt.Errorf("--path is %q: it begins with a slash, such as /health?full=1", k.path)}
	case k.method != "GET" && k.method != "HEAD" && k.method != "OPTIONS":
		return usageError{fmt.Errorf("--method is %q: a check may be repeated, so it is one of GET, HEAD and OPTIONS", k.method)}
	case k.parallel < 1 || k.parallel > 1000:
		return usageError{errors.New("--parallel has to be from 1 to 1000: each may have two file descriptors")}
	case k.timeout <= 0:
		return usageError{errors.New("--timeout has to be more than 0")}
	case k.warnDays < 0:
		return usageError{errors.New("--warn-days cannot be negative")}
	}
	for i, t := range k.target {
		if _, err := netip.ParseAddr(t); err != nil {
			if k.target[i], err = hostname.Normalize(t); err != nil {
				return usageError{fmt.Errorf("--target: %w", err)}
			}
		}
	}
	return nil
}

// checker returns the Checker for the flags.
func (k *checkCommand) checker(c *cobra.Command) (*check.Checker, func(), error) {
	settings, _, err := proxySettings(c.Flags(), k.getenv)
	if err != nil {
		return nil, nil, err
	}
	checker, close, err := newChecker(settings)
	if err != nil {
		return nil, nil, err
	}
	checker.Method, checker.Path, checker.Target = k.method, k.path, k.target
	checker.Parallel, checker.Timeout, checker.WarnDays = k.parallel, k.timeout, k.warnDays
	if k.warnDays == 0 {
		checker.WarnDays = -1
	}
	if k.resolver != "" {
		server := k.resolver
		if _, _, err := net.SplitHostPort(server); err != nil {
			server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
		}
		checker.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server)
		}}
	}
	return checker, close, nil
}

func (k *checkCommand) run(c *cobra.Command, args []string) error {
	if err := k.validate(c, args); err != nil {
		return err
	}
	checker, close, err := k.checker(c)
	if err != nil {
		return err
	}
	defer close()
	source, err := k.source(c, args)
	if err != nil {
		return err
	}
	if k.all {
		return k.runAll(c, checker, source)
	}
	host, item, err := k.pick(c, source, args)
	if err != nil {
		return err
	}
	result := checker.CheckItem(c.Context(), host, item)
	if c.Context().Err() != nil {
		return c.Context().Err()
	}
	t := newTerminal(c)
	if err := k.output.print(t, result, func() { showResult(t, result, source.String()) }); err != nil {
		return err
	}
	if result.Status == check.Fail && (result.InForce() || k.inactive) {
		return fmt.Errorf("%s fails the check", host)
	}
	return nil
}

// source returns the source of the routes.
func (k *checkCommand) source(c *cobra.Command, args []string) (routes.Source, error) {
	switch {
	case k.file != "":
		return readRouteFile(c, k.file)
	case c.Flags().Changed("origin"):
		key, err := hostArgument(args[0])
		if err != nil {
			return nil, err
		}
		item := origin.Item{"host": key}
		return routes.NewDocument("the command line", func(yield func(origin.Item, error) bool) { yield(item, k.alter(item)) })
	}
	return k.tables.openSource(c.Context())
}

// pick returns the item for the HOST of the command, and the name to check it with.
func (k *checkCommand) pick(c *cobra.Command, source routes.Source, args []string) (string, origin.Item, error) {
	ctx := c.Context()
	if len(args) == 0 {
		d := source.(*routes.Document)
		if len(d.Items()) != 1 {
			return "", nil, usageError{fmt.Errorf("%v has %d routes: give a HOST, or --all", d, len(d.Items()))}
		}
		args = []string{d.Items()[0].Host()}
	}
	asked, err := hostArgument(args[0])
	if err != nil {
		return "", nil, err
	}
	host, err := check.HostToCheck(asked, k.as)
	if err != nil {
		return "", nil, usageError{fmt.Errorf("--as: %w", err)}
	}
	var item origin.Item
	if strings.HasPrefix(asked, "*.") {
		item, err = source.Get(ctx, asked)
	} else {
		item, err = k.inForce(ctx, source, host)
	}
	switch {
	case errors.Is(err, origin.ErrNotFound), errors.Is(err, routetable.ErrNotFound):
		return "", nil, fmt.Errorf("%v has no route for %s; give --origin to check a route that does not exist yet", source, asked)
	case ctx.Err() != nil:
		return "", nil, ctx.Err()
	case err != nil:
		return "", nil, err
	}
	item = maps.Clone(item)
	if c.Flags().Changed("origin") { // source has altered it
		return host, item, nil
	}
	return host, item, k.alter(item)
}

// inForce returns the item that decides for a host, or if none does, the one that has expired.
func (k *checkCommand) inForce(ctx context.Context, source routes.Source, host string) (origin.Item, error) {
	e, items, err := routes.LookUp(ctx, source, host)
	if err != nil {
		return nil, err
	}
	var expired origin.Item
	for _, candidate := range e.Candidates {
		item := items[candidate.Key]
		switch {
		case candidate.Decides && item == nil: // a host that is there twice
			return nil, candidate.Err
		case candidate.Decides:
			return item, nil
		case candidate.State == origin.Expired && expired == nil:
			expired = item
		}
	}
	if expired == nil {
		return nil, origin.ErrNotFound
	}
	return expired, nil
}

// alter sets the attributes that flags give.
func (k *checkCommand) alter(item origin.Item) error {
	given, err := k.attributes.given(time.Now())
	maps.Copy(item, given)
	return err
}

// runAll checks every route.
func (k *checkCommand) runAll(c *cobra.Command, checker *check.Checker, source routes.Source) error {
	ctx := c.Context()
	var mappings []check.Mapping
	var unreadable []*check.Result
	for item, err := range source.All(ctx) {
		if err != nil {
			return cmp.Or(ctx.Err(), err)
		}
		host, err := check.HostToCheck(item.Host(), "")
		d, isDocument := source.(*routes.Document)
		if twice := isDocument && d.Twice(item.Host()); err != nil || twice {
			if twice {
				err = routes.ErrTwice(item.Host())
			}
			unreadable = append(unreadable, check.Invalid(item.Host(), err))
			continue
		}
		mappings = append(mappings, check.Mapping{Host: host, Item: item})
	}
	t := newTerminal(c)
	progress := t.Progress("Checking", int64(len(mappings)))
	results, err := checker.All(ctx, mappings, func(*check.Result) { progress.Add(1) })
	progress.Done()
	if err != nil {
		return ctx.Err()
	}
	report := check.NewReport(append(unreadable, results...))
	if err := k.output.print(t, report, func() { showReport(t, report, source.String(), k.verbose) }); err != nil {
		return err
	}
	failed := report.Summary.Fail
	if k.inactive {
		failed += report.Summary.InactiveFail
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s fail the check", failed, count(report.Summary.Routes, "route"))
	}
	return nil
}
