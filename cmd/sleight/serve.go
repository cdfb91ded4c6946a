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
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

func newServe(getenv func(string) string) *cobra.Command {
	s := server{limits: serveLimits}
	var aws awsFlags
	c := &cobra.Command{
		Use:   "serve (--routes FILE | --table NAME)",
		Short: "Serve the proxy over plain HTTP",
		Long: `Serves the same proxy as the Lambda function, over plain HTTP: on a laptop, in a container,
behind a load balancer that terminates TLS. The flags mirror the function's variables, which
are the defaults. AWS credentials come from wherever the AWS SDK finds them: environment,
profiles, SSO, roles.

SIGTERM and Ctrl-C let running requests finish, for 25 seconds at most; a second one ends
at once. A changed routes file is read again within a second, and on SIGHUP; one that cannot
be used leaves the routes as they were.

With --front it plays that front of AWS, and serves by running the Lambda function itself,
as built by make build, which knows no profiles: give it credentials in the environment.`,
		Example: `  sleight serve --routes routes.json
  sleight serve --table routes --profile staging --listen 127.0.0.1:9000
  sleight serve --routes routes.json --listen :8080 --admin :8081 --shutdown-delay 10s
  sleight serve --routes routes.json --front rest`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := c.Flags()
	f.StringVar(&s.listen, "listen", "127.0.0.1:8080", "`address` to listen on")
	f.StringVar(&s.admin, "admin", "", "`address` to answer /livez and /readyz on (default none)")
	f.DurationVar(&s.shutdownDelay, "shutdown-delay", 0, "for what `duration` to go on accepting after SIGTERM, while /readyz says 503 (default 0s)")
	f.BoolVar(&s.h2c, "h2c", false, "also speak HTTP/2 without TLS, to clients that know beforehand")
	f.IntVar(&s.maxConnections, "max-connections", 0, "how many connections to have open, `N`; more wait to be accepted; 0 sets no limit (default as many as there are file descriptors for, 10000 at most)")
	f.String("routes", "", "JSON `file` with the routes (ROUTES_FILE)")
	f.String("table", "", "DynamoDB table with the routes, by its `name` (ROUTES_TABLE)")
	aws.add(f)
	f.String("routes-ttl", "", "for what `duration` a route of the table is used unasked (ROUTES_TTL, default 30s)")
	f.String("routes-max-stale", "", "for what `duration` a route is served while the table cannot be read; 0 for not at all (ROUTES_MAX_STALE, default 24h)")
	f.String("routes-max-hosts", "", "for how many hosts routes of the table are remembered, `N` (ROUTES_MAX_HOSTS, default 10000)")
	f.StringSlice("warm-host", nil, "`host` to look up and connect to before listening; may be repeated (WARM_HOSTS)")
	f.String("trusted-host-header", "", "`header` in which a CDN passes the client's host (TRUSTED_HOST_HEADER)")
	f.StringSlice("trusted-proxies", nil, "`network` of proxies in front whose X-Forwarded-* are believed; may be repeated (TRUSTED_PROXIES)")
	f.String("loop-id", "", "`name` in CDN-Loop by which own requests are known again (CDN_LOOP_ID, default sleight)")
	f.String("connect-timeout", "", "`duration` to connect to one address of an origin (CONNECT_TIMEOUT, default 5s)")
	f.String("handshake-timeout", "", "`duration` of a TLS handshake (HANDSHAKE_TIMEOUT, default 5s)")
	f.String("response-timeout", "", "`duration` until an answer begins (RESPONSE_TIMEOUT, default 1m)")
	f.String("idle-timeout", "", "`duration` that nothing may move in a body or WebSocket (IDLE_TIMEOUT, default 5m)")
	f.String("request-timeout", "", "`duration` of a request as a whole (REQUEST_TIMEOUT, default none)")
	f.String("max-request-body", "", "`size` of a request's body, such as 10MB (MAX_REQUEST_BODY, default no limit)")
	f.String("max-requests", "", "how many requests to work on at a time, `N`; more get a 503; 0 sets no limit (MAX_REQUESTS, default as many as there are file descriptors for, 10000 at most)")
	f.String("max-connections-per-origin", "", "how many connections to have to one origin, `N`; more requests wait; 0 sets no limit (MAX_CONNECTIONS_PER_ORIGIN, default no limit)")
	f.String("log-level", "", "`level`: debug, info, warn or error (LOG_LEVEL, default info)")
	addProxyFlags(c)
	front := f.String("front", "", "`kind` of front to run the Lambda function behind: "+localfront.KindNames())
	bootstrap := f.String("bootstrap", "", "`file` of the Lambda function, for --front (default: bootstrap beside this command)")
	completeValues(c,
		map[string][]string{"front": strings.Split(localfront.KindNames(), ", "), "log-level": {"debug", "info", "warn", "error"}},
		nil)
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
		if s.h2c && f.Changed("front") {
			return usageError{errors.New("--h2c is given with --front: that plays a front of AWS, which is spoken to over HTTP/1.1")}
		}
		if s.shutdownDelay < 0 || s.maxConnections < 0 {
			return usageError{errors.New("--shutdown-delay and --max-connections cannot be negative")}
		}
		if !f.Changed("max-connections") {
			s.maxConnections = boundFor(mayHave())
		}
		settings, setting, err := proxySettings(f, getenv)
		if err != nil {
			return err
		}
		if settings.RoutesFile == "" && settings.RoutesTable == "" {
			return usageError{errors.New("no routes: give --routes FILE or --table NAME")}
		}
		s.trusted = settings.TrustedProxies
		s.logger = slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: settings.LogLevel}))
		app.LogLibraries(log.Default(), s.logger)
		if f.Changed("front") {
			front := &frontServer{kind, *bootstrap, setting, settings, c.ErrOrStderr(), s.logger}
			return front.serve(c.Context(), s)
		}
		return serveProxy(c.Context(), s, settings, aws)
	}
	return c
}

// serveProxy serves the proxy itself, where the other way is behind a front of AWS.
func serveProxy(ctx context.Context, on server, settings app.Settings, aws awsFlags) error {
	routes, err := app.Routes(settings, on.logger, func() (dynamodb.BatchGetter, error) { return aws.lastingClient(ctx) })
	if err != nil {
		return err
	}
	bound := boundFor(mayHave())
	settings.MaxRequests = cmp.Or(settings.MaxRequests, bound)
	settings.MaxIdleConns = bound
	handler, err := app.New(settings, on.logger, routes)
	if err != nil {
		return err
	}
	on.free = handler.CloseIdleConnections
	on.started = func() { tellOfBounds(on.logger, mayHave(), on.maxConnections, settings.MaxRequests) }
	app.Warm(ctx, settings, on.logger, handler)
	on.handler = handler
	on.reload = func() {
		on.logger.Info("nothing to read again: routes of a table are, once they are older than ROUTES_TTL", slog.Duration("ttl", settings.RoutesTTL))
	}
	if file, ok := routes.(*origin.WatchedFile); ok {
		on.reload, on.watch = file.Reload, file.Watch
	}
	return on.run(ctx)
}
