package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/app"
	"github.com/sleightproxy/sleight/internal/localfront"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// shutdownTime is what running requests get to finish; containers are killed after 30 s.
const shutdownTime = 25 * time.Second

func newServe(getenv func(string) string) *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "serve (--routes FILE | --table NAME)",
		Short: "Serve the proxy over plain HTTP",
		Long: `Serves the same proxy as the Lambda function, over plain HTTP: on a laptop, in a container,
behind a load balancer that terminates TLS. The flags mirror the function's variables, which
are the defaults. AWS credentials and the region come from wherever the AWS SDK finds them:
environment, profiles, SSO, roles.

With --front it plays that front of AWS, and serves by running the Lambda function itself,
as built by make build, which knows no profiles: give it credentials in the environment.`,
		Example: `  sleight serve --routes routes.json
  AWS_PROFILE=staging sleight serve --table routes --listen 127.0.0.1:9000
  sleight serve --routes routes.json --front rest`,
		Args: usage(cobra.NoArgs),
	}
	f := c.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:8080", "`address` to listen on")
	routes := f.String("routes", "", "JSON `file` with the routes (ROUTES_FILE)")
	table := f.String("table", "", "DynamoDB table with the routes, by its `name` (ROUTES_TABLE)")
	ttl := f.String("routes-ttl", "", "for what `duration` a route of the table is used unasked (ROUTES_TTL, default 30s)")
	allow := f.StringSlice("allow-cidr", nil, "`network` that may be dialled although it is not public; may be repeated (ORIGIN_ALLOW_CIDRS)")
	force := f.Bool("force-https", true, "refuse routes with http:// (FORCE_HTTPS)")
	trusted := f.String("trusted-host-header", "", "`header` in which a CDN passes the client's host (TRUSTED_HOST_HEADER)")
	certs := f.String("client-certs", "", "`directory` of the client certificates that routes refer to (CLIENT_CERTS_DIR)")
	front := f.String("front", "", "`kind` of front to run the Lambda function behind: "+localfront.KindNames())
	bootstrap := f.String("bootstrap", "", "`file` of the Lambda function, for --front (default: bootstrap beside this command)")
	level := f.String("log-level", "", "`level`: debug, info, warn or error (LOG_LEVEL, default info)")

	// A flag is the variable, said later: one parser serves both.
	mirrors := []mirror{
		{"ROUTES_FILE", "routes", func() string { return *routes }},
		{"ROUTES_TABLE", "table", func() string { return *table }},
		{"ROUTES_TTL", "routes-ttl", func() string { return *ttl }},
		{"ORIGIN_ALLOW_CIDRS", "allow-cidr", func() string { return strings.Join(*allow, ",") }},
		{"FORCE_HTTPS", "force-https", func() string { return strconv.FormatBool(*force) }},
		{"TRUSTED_HOST_HEADER", "trusted-host-header", func() string { return *trusted }},
		{"CLIENT_CERTS_DIR", "client-certs", func() string { return *certs }},
		{"LOG_LEVEL", "log-level", func() string { return *level }},
	}
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
		said := map[string]string{}
		if f.Changed("routes") || f.Changed("table") {
			said["ROUTES_FILE"], said["ROUTES_TABLE"] = "", "" // one flag overrules both variables
		}
		var names []string
		for _, m := range mirrors {
			if f.Changed(m.flag) {
				said[m.variable] = m.value()
				names = append(names, m.variable+" is", "--"+m.flag+" is")
			}
		}
		setting := func(name string) string {
			if v, ok := said[name]; ok {
				return v
			}
			return getenv(name)
		}
		settings, err := app.FromEnvironment(setting)
		if err != nil {
			return usageError{errors.New(strings.NewReplacer(names...).Replace(err.Error()))}
		}
		if settings.RoutesFile == "" && settings.RoutesTable == "" {
			return usageError{errors.New("no routes: give --routes FILE or --table NAME")}
		}
		logger := slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: settings.LogLevel}))
		if f.Changed("front") {
			s := &frontServer{kind, *bootstrap, mirrors, setting, settings, c.ErrOrStderr(), logger}
			return s.serve(c.Context(), listen)
		}
		handler, err := app.New(settings, logger, func() (origin.BatchGetter, error) { return dynamoDB(c.Context()) })
		if err != nil {
			return err
		}
		return serve(c.Context(), listen, handler, logger)
	}
	return c
}

// mirror is a flag that stands for a variable.
type mirror struct {
	variable, flag string
	value          func() string
}

// dynamoDB builds the client as the AWS command line would.
func dynamoDB(ctx context.Context) (origin.BatchGetter, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, errors.New("no AWS region: set AWS_REGION, or a profile that has one")
	}
	return dynamodb.NewFromConfig(cfg, origin.TuneDynamoDB), nil
}

// serve runs until ctx ends, and lets running requests finish. It logs attrs with the
// URL that it serves.
func serve(ctx context.Context, listen string, handler http.Handler, logger *slog.Logger, attrs ...slog.Attr) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second, // slowloris: connections that never finish their headers
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	attrs = append([]slog.Attr{slog.String("url", "http://"+listener.Addr().String())}, attrs...)
	logger.LogAttrs(ctx, slog.LevelInfo, "serving", attrs...)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	logger.Info("stopping, running requests may finish", slog.Duration("within", shutdownTime))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	return server.Shutdown(ctx)
}
