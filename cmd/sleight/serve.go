package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/app"
	"github.com/sleightproxy/sleight/internal/localfront"
	"github.com/sleightproxy/sleight/internal/serve"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

func newServe(getenv func(string) string) *cobra.Command {
	var s serve.Server
	var aws awsFlags
	c := &cobra.Command{
		Use:   "serve (--routes FILE | --table NAME)",
		Short: "Serve the proxy over plain HTTP",
		Long: `Serves the same proxy as the Lambda function, over plain HTTP: on a laptop, in a container,
behind a load balancer that terminates TLS. The flags stand for the function's variables, which
are the defaults. The AWS SDK finds credentials in the environment, profiles, SSO and roles.

After SIGTERM or Ctrl-C, running requests may finish, for 25 seconds at most. A second Ctrl-C
ends the process at once. A changed routes file is read again within a second, and on SIGHUP. If
it cannot be used, the routes stay as they were.

With --front, it emulates that front of AWS, and runs the Lambda function that make build has
built. The function knows no profiles: give it credentials in the environment.`,
		Example: `  sleight serve --routes routes.json
  sleight serve --table routes --profile staging --listen 127.0.0.1:9000
  sleight serve --routes routes.json --listen :8080 --admin :8081 --shutdown-delay 10s
  sleight serve --routes routes.json --front rest`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := c.Flags()
	f.StringVar(&s.Listen, "listen", "127.0.0.1:8080", "`address` to listen on")
	f.StringVar(&s.Admin, "admin", "", "`address` to answer /livez and /readyz on (default none)")
	f.DurationVar(&s.ShutdownDelay, "shutdown-delay", 0, "for what `duration` to accept connections after SIGTERM, while /readyz says 503 (default 0s)")
	f.BoolVar(&s.H2C, "h2c", false, "also speak HTTP/2 without TLS, with prior knowledge")
	f.IntVar(&s.MaxConnections, "max-connections", 0, "how many connections of clients may be open, `N`; more wait to be accepted; 0 sets no limit (default by the file descriptors, 10000 at most)")
	aws.add(f)
	addSettings(c, forServe()...)
	front := f.String("front", "", "`kind` of front to emulate: "+localfront.KindNames())
	bootstrap := f.String("bootstrap", "", "`file` of the Lambda function, for --front (default: bootstrap beside this command)")
	completeValues(c, map[string][]string{"front": strings.Split(localfront.KindNames(), ", ")}, nil)
	completeTables(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if f.Changed("routes") && f.Changed("table") {
			return usageError{errors.New("--routes and --table are both given: give one of them")}
		}
		kind, err := localfront.ParseKind(*front)
		if err != nil && f.Changed("front") {
			return usageError{fmt.Errorf("--front is %q: set it to one of %s", *front, localfront.KindNames())}
		}
		if f.Changed("bootstrap") && !f.Changed("front") {
			return usageError{errors.New("--bootstrap is given without --front")}
		}
		if f.Changed("profile") && f.Changed("front") {
			return usageError{errors.New("--profile is given with --front: the function knows no profiles; give it credentials in the environment, such as \"aws configure export-credentials --format env\" prints")}
		}
		if s.H2C && f.Changed("front") {
			return usageError{errors.New("--h2c is given with --front: --front imitates a front of AWS, and clients use HTTP/1.1 with it")}
		}
		if s.ShutdownDelay < 0 || s.MaxConnections < 0 {
			return usageError{errors.New("--shutdown-delay and --max-connections cannot be negative")}
		}
		if !f.Changed("max-connections") {
			s.MaxConnections = serve.BoundFor(serve.Descriptors())
		}
		settings, setting, err := proxySettings(f, getenv)
		if err != nil {
			return err
		}
		if settings.RoutesFile == "" && settings.RoutesTable == "" {
			return usageError{errors.New("no routes: give --routes FILE or --table NAME")}
		}
		s.Trusted = settings.TrustedProxies
		s.Logger = slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: settings.LogLevel}))
		app.LogLibraries(log.Default(), s.Logger)
		if f.Changed("front") {
			front := &frontServer{kind, *bootstrap, setting, settings, c.ErrOrStderr(), s.Logger}
			return front.serve(c.Context(), s)
		}
		return serveProxy(c.Context(), s, settings, aws)
	}
	return c
}

// serveProxy serves the proxy itself, without a local front.
func serveProxy(ctx context.Context, on serve.Server, settings app.Settings, aws awsFlags) error {
	routes, err := app.Routes(settings, on.Logger, func() (dynamodb.BatchGetter, error) { return aws.lastingClient(ctx) })
	if err != nil {
		return err
	}
	bound := serve.BoundFor(serve.Descriptors())
	settings.MaxRequests = cmp.Or(settings.MaxRequests, bound)
	settings.MaxIdleConns = bound
	handler, err := app.New(settings, on.Logger, routes)
	if err != nil {
		return err
	}
	on.Free = handler.CloseIdleConnections
	on.Started = func() { serve.LogBounds(on.Logger, serve.Descriptors(), on.MaxConnections, settings.MaxRequests) }
	app.Warm(ctx, settings, on.Logger, handler)
	on.Handler = handler
	on.Reload = func() {
		on.Logger.Info("nothing to read again: routes of a table are, once they are older than ROUTES_TTL", slog.Duration("ttl", settings.RoutesTTL))
	}
	if file, ok := routes.(*origin.WatchedFile); ok {
		on.Reload, on.Watch = file.Reload, file.Watch
	}
	return on.Run(ctx)
}
