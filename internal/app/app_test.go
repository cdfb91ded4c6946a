package app_test

import (
	"bytes"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/app"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

type environment map[string]string

func (e environment) get(name string) string { return e[name] }

func TestDefaults(t *testing.T) {
	// The template sets variables that have no value.
	got, err := app.FromEnvironment(environment{"ROUTES_TABLE": "routes", "ORIGIN_ALLOW_CIDRS": "", "TRUSTED_HOST_HEADER": ""}.get)
	want := app.Settings{RoutesTable: "routes", RoutesTTL: 30 * time.Second, RoutesMaxStale: 24 * time.Hour, ForceHTTPS: true}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestEveryVariableIsRead(t *testing.T) {
	got, err := app.FromEnvironment(environment{
		"ROUTES_FILE": "routes.json", "ROUTES_TTL": "1m30s", "ROUTES_MAX_STALE": "2h", "ROUTES_MAX_HOSTS": "500", "ORIGIN_ALLOW_CIDRS": "10.0.0.0/8, fd00::/8", "FORCE_HTTPS": "false",
		"TRUSTED_HOST_HEADER": "X-Forwarded-Host", "LOG_LEVEL": "debug", "RESPONSE_MODE": "stream", "CLIENT_CERTS_DIR": "/etc/certs",
		"FRONT_TIMEOUT": "60s", "BASE_PATH": "/api/", "STRIP_STAGE": "true", "TRUSTED_PROXIES": "192.0.2.0/24", "CDN_LOOP_ID": "sleight-1",
		"CONNECT_TIMEOUT": "1s", "HANDSHAKE_TIMEOUT": "2s", "RESPONSE_TIMEOUT": "3s", "IDLE_TIMEOUT": "0", "REQUEST_TIMEOUT": "5s", "MAX_REQUEST_BODY": "2MiB",
		"WARM_HOSTS": "one.test, TWO.test,one.test", "MAX_REQUESTS": "700", "MAX_CONNECTIONS_PER_ORIGIN": "20",
	}.get)
	want := app.Settings{
		RoutesFile: "routes.json", RoutesTTL: 90 * time.Second, RoutesMaxStale: 2 * time.Hour, RoutesMaxHosts: 500, TrustedHostHeader: "X-Forwarded-Host", LogLevel: slog.LevelDebug, ClientCertsDir: "/etc/certs",
		Stream: true, FrontTimeout: time.Minute, BasePath: "/api", StripStage: true, LoopID: "sleight-1", MaxRequestBody: 2 << 20, MaxRequests: 700, MaxOriginConns: 20,
		WarmHosts:      []string{"one.test", "two.test"},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Timeouts:       proxy.Timeouts{Connect: time.Second, Handshake: 2 * time.Second, Response: 3 * time.Second, Idle: -1, Request: 5 * time.Second},
		AllowCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// A zero is said of a variable, and means the default to the cache.
func TestVariablesOfTheCacheReachIt(t *testing.T) {
	for _, c := range []struct {
		env           environment
		ttl, maxStale time.Duration
		maxHosts      int
	}{
		{environment{}, 30 * time.Second, 24 * time.Hour, 0},
		{environment{"ROUTES_TTL": "90s", "ROUTES_MAX_STALE": "2h", "ROUTES_MAX_HOSTS": "500"}, 90 * time.Second, 2 * time.Hour, 500},
		{environment{"ROUTES_TTL": "0", "ROUTES_MAX_STALE": "0"}, -1, -1, 0},
	} {
		c.env["ROUTES_TABLE"] = "routes"
		s, err := app.FromEnvironment(c.env.get)
		if err != nil {
			t.Fatal(err)
		}
		logger := slog.New(slog.DiscardHandler)
		routes, err := app.Routes(s, logger, func() (dynamodb.BatchGetter, error) { return nil, nil })
		if err != nil {
			t.Fatal(err)
		}
		cache := routes.(*origin.Cache)
		if cache.TTL != c.ttl || cache.MaxStale != c.maxStale || cache.MaxHosts != c.maxHosts || cache.Logger != logger {
			t.Errorf("%v: TTL %v, MaxStale %v, MaxHosts %d", c.env, cache.TTL, cache.MaxStale, cache.MaxHosts)
		}
	}
}

func TestBoundsOfConnectionsReachTheTransport(t *testing.T) {
	for _, c := range []struct {
		env               environment
		idle              int // what serve sets
		perOrigin         int
		kept, hosts, most int // the last being requests
	}{
		{environment{}, 0, 0, 0, 0, 0}, // in Lambda, all of the transport's own
		{environment{"MAX_CONNECTIONS_PER_ORIGIN": "20", "MAX_REQUESTS": "5"}, 300, 20, 300, 0, 5},
		{environment{"MAX_CONNECTIONS_PER_ORIGIN": "0", "MAX_REQUESTS": "0"}, 5000, 0, 5000, 5000, -1},
	} {
		c.env["ROUTES_TABLE"] = "routes"
		s, err := app.FromEnvironment(c.env.get)
		if err != nil {
			t.Fatal(err)
		}
		s.MaxIdleConns = c.idle
		transport, err := app.NewTransport(s)
		if err != nil {
			t.Fatal(err)
		}
		if transport.MaxConnsPerTarget != c.perOrigin || transport.MaxIdleConns != c.kept || transport.MaxIdleConnsPerTarget != c.kept || transport.MaxTargets != c.hosts || s.MaxRequests != c.most {
			t.Errorf("%v: %d connections to an origin, %d idle, %d of them to one, %d hosts, %d requests", c.env,
				transport.MaxConnsPerTarget, transport.MaxIdleConns, transport.MaxIdleConnsPerTarget, transport.MaxTargets, s.MaxRequests)
		}
	}
}

func TestWrongConfigurationFailsWithOneLineThatSaysWhatToSet(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.json")
	if err := os.WriteFile(broken, []byte(`{"routes":`), 0o600); err != nil {
		t.Fatal(err)
	}
	credentials := environment{"ROUTES_TABLE": "t", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "eu-west-1"}
	with := func(name, value string) environment {
		e := environment{name: value}
		for k, v := range credentials {
			if k != name {
				e[k] = v
			}
		}
		return e
	}
	for _, c := range []struct {
		env  environment
		says []string
	}{
		{environment{}, []string{"ROUTES_TABLE", "ROUTES_FILE"}},
		{environment{"ROUTES_TABLE": "t", "ROUTES_FILE": "f"}, []string{"both set"}},
		{environment{"ROUTES_FILE": filepath.Join(dir, "none.json")}, []string{"none.json", "no such file", "put the file there, or set ROUTES_FILE to another"}},
		{environment{"ROUTES_FILE": broken}, []string{"broken.json", "JSON of the form", "correct the file, or set ROUTES_FILE to another"}},
		{with("AWS_ACCESS_KEY_ID", ""), []string{"AWS_ACCESS_KEY_ID"}},
		{with("AWS_REGION", ""), []string{"AWS_REGION"}},
		{with("MAX_REQUESTS", "-1"), []string{`MAX_REQUESTS is "-1"`, "a number such as 1000"}},
		{with("MAX_CONNECTIONS_PER_ORIGIN", "many"), []string{`MAX_CONNECTIONS_PER_ORIGIN is "many"`, "a number such as 100"}},
		{with("AWS_ENDPOINT_URL_DYNAMODB", "localhost:8000"), []string{"AWS_ENDPOINT_URL_DYNAMODB", "localhost:8000"}},
		{with("AWS_CA_BUNDLE", filepath.Join(dir, "none.pem")), []string{"AWS_CA_BUNDLE", "none.pem"}},
		{with("AWS_CA_BUNDLE", broken), []string{"AWS_CA_BUNDLE", "no certificate"}},
		{with("AWS_MAX_ATTEMPTS", "many"), []string{"AWS_MAX_ATTEMPTS"}},
		{with("ROUTES_TTL", "30"), []string{"ROUTES_TTL", `"30"`, "30s"}},
		{with("ROUTES_TTL", "-1s"), []string{"ROUTES_TTL"}},
		{with("ROUTES_MAX_STALE", "a day"), []string{"ROUTES_MAX_STALE", `"a day"`, "24h"}},
		{with("ROUTES_MAX_STALE", "-1h"), []string{"ROUTES_MAX_STALE"}},
		{with("ROUTES_MAX_HOSTS", "0"), []string{"ROUTES_MAX_HOSTS", "10000"}},
		{with("ROUTES_MAX_HOSTS", "many"), []string{"ROUTES_MAX_HOSTS"}},
		{with("ORIGIN_ALLOW_CIDRS", "10.0.0.0"), []string{"ORIGIN_ALLOW_CIDRS"}},
		{with("ORIGIN_ALLOW_CIDRS", "::ffff:10.0.0.0/104"), []string{"ORIGIN_ALLOW_CIDRS"}},
		{with("ORIGIN_ALLOW_CIDRS", "10.0.0.1/8"), []string{"ORIGIN_ALLOW_CIDRS"}},
		{with("FORCE_HTTPS", "maybe"), []string{"FORCE_HTTPS", "true or false"}},
		{with("TRUSTED_HOST_HEADER", "X Y"), []string{"TRUSTED_HOST_HEADER"}},
		{with("CLIENT_CERTS_DIR", filepath.Join(dir, "none")), []string{"CLIENT_CERTS_DIR", "no such file"}},
		{with("CLIENT_CERTS_DIR", broken), []string{"CLIENT_CERTS_DIR", "not a directory"}},
		{with("LOG_LEVEL", "loud"), []string{"LOG_LEVEL", "debug, info, warn or error"}},
		{with("RESPONSE_MODE", "streaming"), []string{"RESPONSE_MODE", "buffered or stream"}},
		{with("FRONT_TIMEOUT", "30"), []string{"FRONT_TIMEOUT", "60s"}},
		{with("FRONT_TIMEOUT", "1ms"), []string{"FRONT_TIMEOUT"}},
		{with("BASE_PATH", "api"), []string{"BASE_PATH", "/api"}},
		{with("BASE_PATH", "/a//b"), []string{"BASE_PATH"}},
		{with("BASE_PATH", "/a b"), []string{"BASE_PATH"}},
		{with("STRIP_STAGE", "live"), []string{"STRIP_STAGE", "true or false"}},
		{with("TRUSTED_PROXIES", "cdn"), []string{"TRUSTED_PROXIES", "10.0.0.0/8"}},
		{with("CDN_LOOP_ID", "a b"), []string{"CDN_LOOP_ID"}},
		{with("CONNECT_TIMEOUT", "5"), []string{"CONNECT_TIMEOUT", "10s"}},
		{with("REQUEST_TIMEOUT", "-5s"), []string{"REQUEST_TIMEOUT"}},
		{with("MAX_REQUEST_BODY", "10 Mb"), []string{"MAX_REQUEST_BODY", "10MB"}},
		{with("MAX_REQUEST_BODY", "99999999999GiB"), []string{"MAX_REQUEST_BODY"}},
		{with("WARM_HOSTS", "one.test,,two.test"), []string{"WARM_HOSTS", "one.example.com"}},
		{environment{"ROUTES_TTL": "x", "FORCE_HTTPS": "y"}, []string{"ROUTES_TTL", "FORCE_HTTPS"}},
	} {
		_, err := app.NewFunction(c.env.get, io.Discard, log.New(io.Discard, "", 0))
		if err == nil {
			t.Errorf("%v: no error", c.env)
			continue
		}
		for _, s := range c.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%v: %q does not say %q", c.env, err, s)
			}
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %q is more than a line", c.env, err)
		}
	}
	if _, err := app.NewFunction(credentials.get, io.Discard, log.New(io.Discard, "", 0)); err != nil {
		t.Errorf("the right configuration: %v", err)
	}
}

func TestBadRouteOfAFileIsLoggedAndDoesNotStopTheStart(t *testing.T) {
	name := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(name, []byte(`{"routes":[{"host":"a.test","origin":"b.test","tls_min":"1.0"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	_, err := app.Routes(app.Settings{RoutesFile: name}, slog.New(slog.NewTextHandler(&log, nil)), func() (dynamodb.BatchGetter, error) {
		return nil, errors.New("not called for a file")
	})
	if err != nil || !strings.Contains(log.String(), "a.test") || !strings.Contains(log.String(), "tls_min") {
		t.Errorf("%v, log %s", err, &log)
	}
}

func TestProcsFollowTheShareOfCPU(t *testing.T) {
	for _, c := range []struct {
		memory, procs, concurrency string
		want                       int
	}{
		{"128", "", "", 1}, {"512", "", "", 1}, {"1769", "", "", 1}, {"1770", "", "", 2}, {"10240", "", "", 6},
		{"", "", "", 0}, {"much", "", "", 0}, {"-1", "", "", 0}, {"512", "2", "", 0}, {"512", "", "8", 0},
	} {
		env := environment{"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": c.memory, "GOMAXPROCS": c.procs, "AWS_LAMBDA_MAX_CONCURRENCY": c.concurrency}
		if got := app.Procs(env.get); got != c.want {
			t.Errorf("%v: %d, want %d", env, got, c.want)
		}
	}
}
