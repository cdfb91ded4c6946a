package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"syscall"
	"time"

	"github.com/sleightproxy/sleight/pkg/lambdahttp"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
	"github.com/sleightproxy/sleight/pkg/proxy"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// usualTargets is how many Targets an [sni.Transport] remembers by default.
const usualTargets = 1024

// New makes the proxy. routes is what [Routes] returns, or any other store.
func New(s Settings, logger *slog.Logger, routes origin.Store) (*proxy.Handler, error) {
	transport, err := newTransport(s)
	if err != nil {
		return nil, err
	}
	return proxy.New(proxy.Config{
		Routes:            routes,
		Transport:         transport,
		TrustedHostHeader: s.TrustedHostHeader,
		TrustedProxies:    s.TrustedProxies,
		LoopID:            s.LoopID,
		Limits:            proxy.Limits{BodyBytes: s.MaxRequestBody, Requests: s.MaxRequests},
		Timeouts:          s.Timeouts,
		Identify:          identify,
		Logger:            logger,
	})
}

func newTransport(s Settings) (*sni.Transport, error) {
	transport := &sni.Transport{
		ForceHTTPS: s.ForceHTTPS,
		AllowCIDRs: s.AllowCIDRs,

		MaxConnsPerTarget:     s.MaxOriginConns,
		MaxIdleConns:          s.MaxIdleConns,
		MaxIdleConnsPerTarget: s.MaxIdleConns, // the one that was idle for the longest time is closed first, for all Targets together
	}
	if s.MaxIdleConns > usualTargets {
		transport.MaxTargets = s.MaxIdleConns // or the connections of one host would be closed for another's
	}
	if s.ClientCertsDir != "" {
		var err error
		if transport.ClientCertificates, err = sni.OpenCertificateDir(s.ClientCertsDir); err != nil {
			return nil, fmt.Errorf("%w: set CLIENT_CERTS_DIR to the directory of the client certificates, or leave it out", err)
		}
	}
	return transport, nil
}

// identify returns the ids of the request's invocation, if there is an invocation, since Lambda's own log lines and X-Ray have
// them too. Otherwise the proxy finds ids by itself.
func identify(r *http.Request) (requestID, traceID string) {
	return lambdahttp.RequestID(r.Context()), lambdahttp.TraceID(r.Context())
}

// Routes opens the store that the settings name: an [origin.Cache] in front of a table, or an [origin.WatchedFile],
// which nobody watches yet. It calls client, which makes the DynamoDB client, for a table only. It logs each invalid
// route of a file; such a route fails its own host alone.
func Routes(s Settings, logger *slog.Logger, client func() (dynamodb.BatchGetter, error)) (origin.Store, error) {
	switch {
	case s.RoutesTable != "" && s.RoutesFile != "":
		return nil, errors.New("ROUTES_TABLE and ROUTES_FILE are both set: set one of them")
	case s.RoutesFile != "":
		file, err := origin.OpenFile(s.RoutesFile, logger)
		if err != nil {
			return nil, fmt.Errorf("%w: %s%s", err, origin.Remedy(err), orAnother(err))
		}
		return file, nil
	case s.RoutesTable != "":
		c, err := client()
		if err != nil {
			return nil, err
		}
		return &origin.Cache{
			Store:    &dynamodb.Store{Client: c, Table: s.RoutesTable},
			TTL:      cmp.Or(s.RoutesTTL, -1), // whose zero is the default
			MaxStale: cmp.Or(s.RoutesMaxStale, -1),
			MaxHosts: s.RoutesMaxHosts,
			Logger:   logger,
		}, nil
	}
	return nil, errors.New("no routes: set ROUTES_TABLE to the name of a DynamoDB table, or ROUTES_FILE to a JSON file")
}

// orAnother is the other remedy if the routes file cannot be used.
func orAnother(err error) string {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return "" // no other could be opened
	}
	return ", or set ROUTES_FILE to another"
}

// NewFunction makes what the Lambda function runs, from its environment. It logs JSON to out, and redirects std, the
// logger that libraries write to, to the same place. The error is one line that says what to set.
func NewFunction(getenv func(string) string, out io.Writer, std *log.Logger) (*lambdahttp.Adapter, error) {
	s, err := FromEnvironment(getenv)
	if err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: s.LogLevel, ReplaceAttr: lambdaNames}))
	LogLibraries(std, logger)
	routes, err := Routes(s, slog.New(invocationHandler{logger.Handler()}), func() (dynamodb.BatchGetter, error) { return dynamodb.NewClient(getenv) })
	if err != nil {
		return nil, err
	}
	handler, err := New(s, logger, routes)
	if err != nil {
		return nil, err
	}
	Warm(context.Background(), s, logger, handler)
	cache, _ := routes.(*origin.Cache)
	return &lambdahttp.Adapter{
		Handler:      handler,
		Lifecycle:    lifecycle{handler, cache},
		Stream:       s.Stream,
		FrontTimeout: s.FrontTimeout,
		BasePath:     s.BasePath,
		StripStage:   s.StripStage,
	}, nil
}

// lifecycle is the proxy's part of each invocation.
type lifecycle struct {
	handler *proxy.Handler
	cache   *origin.Cache // nil if routes are not cached
}

// Begin implements lambdahttp.Lifecycle. The function that it returns waits for the lookups that the request has started, because
// Lambda may freeze the process after the reply.
func (l lifecycle) Begin(r *http.Request) (begun *http.Request, done func()) {
	if l.cache == nil {
		return l.handler.Begin(r)
	}
	l.cache.Begin()
	begun, complete := l.handler.Begin(r)
	return begun, func() {
		l.cache.Join(begun.Context())
		complete() // last, because its log line has the time until here
	}
}

// Fail implements lambdahttp.Lifecycle.
func (l lifecycle) Fail(w http.ResponseWriter, r *http.Request, err error) {
	l.handler.Fail(w, r, cause(err))
}

// invocationHandler adds the ids of its invocation to each line, as Lambda's own lines and X-Ray have them. The proxy's
// lines have them from identify.
type invocationHandler struct{ slog.Handler }

func (h invocationHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := lambdahttp.RequestID(ctx); id != "" {
		r.AddAttrs(slog.String("requestId", id))
	}
	if id := lambdahttp.TraceID(ctx); id != "" {
		r.AddAttrs(slog.String("traceId", id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h invocationHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return invocationHandler{h.Handler.WithAttrs(attrs)}
}

func (h invocationHandler) WithGroup(name string) slog.Handler {
	return invocationHandler{h.Handler.WithGroup(name)}
}

// cause translates an error of the Lambda edge into one that the proxy has an answer to.
func cause(err error) error {
	if large, ok := errors.AsType[*lambdahttp.TooLargeError](err); ok {
		return fmt.Errorf("%w: %w", &proxy.ResponseTooLargeError{Limit: int64(large.Limit)}, err)
	}
	for from, to := range map[error]error{
		lambdahttp.ErrSetup:          proxy.ErrInvocation,
		lambdahttp.ErrEvent:          proxy.ErrBadRequest,
		lambdahttp.ErrAborted:        proxy.ErrIncompleteResponse,
		lambdahttp.ErrDeadline:       proxy.ErrTimeout,
		lambdahttp.ErrHeaderTooLarge: proxy.ErrResponseHeaderTooLarge,
	} {
		if errors.Is(err, from) {
			return fmt.Errorf("%w: %w", to, err)
		}
	}
	return err
}

// lambdaNames gives the time the name that CloudWatch and Lambda's level filter use.
func lambdaNames(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.String("timestamp", a.Value.Time().UTC().Format(time.RFC3339Nano))
	}
	return a
}
