package proxy_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/proxy"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// records is an Observe whose Records a test can wait for.
type records chan proxy.Record

func (r records) observe(_ context.Context, record *proxy.Record) { r <- *record }

func (r records) next(t *testing.T) proxy.Record {
	t.Helper()
	select {
	case record := <-r:
		return record
	case <-time.After(long):
		t.Fatal("no Record")
		return proxy.Record{}
	}
}

// observed sets Observe and turns the log off, because a Record must not depend on the log.
func observed(all records) func(*proxy.Config) {
	return func(c *proxy.Config) {
		c.Observe = all.observe
		c.Logger = slog.New(slog.DiscardHandler)
		c.Identify = func(*http.Request) (string, string) { return "request-1", "trace-1" }
	}
}

func TestRecordOfARequest(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	address := serveOrigin(t, ca, false, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/broken":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "secret")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/switch":
			upgrades(func(c net.Conn) { io.Copy(c, c) })(w, r)
		default:
			w.WriteHeader(http.StatusTeapot)
			io.WriteString(w, "hello")
		}
	})
	store := routes(t,
		route{"host": "*.a.test", "origin": address, "ca_pem": ca.PEM(), "server_name": "a.test", "version": 7},
		route{"host": "bad.test", "origin": "http://127.0.0.1:1"}, route{"host": "gone.test", "origin": "127.0.0.1:1"})
	all := make(records, 9)
	b := start(t, store, observed(all))
	for _, c := range []struct {
		name, request string
		want          proxy.Record
	}{
		{"an answer of the origin", "GET /secret?secret HTTP/1.1\r\nHost: x.A.test:443\r\nConnection: close\r\n\r\n",
			proxy.Record{Method: "GET", Host: "x.a.test", RouteKey: "*.a.test", Status: 418, Bytes: 5, Level: slog.LevelInfo, Origin: sni.Exchange{Address: address, Status: 418}}},
		{"no route", "BREW / HTTP/1.0\r\nHost: none.test\r\n\r\n",
			proxy.Record{Method: "BREW", Protocol: "HTTP/1.0", Host: "none.test", Status: 404, Problem: "unknown-host", ErrorType: "destination_not_found", Level: slog.LevelInfo}},
		{"no hostname", "GET / HTTP/1.1\r\nHost: a..b\r\nConnection: close\r\n\r\n",
			proxy.Record{Method: "GET", Status: 400, Problem: "bad-host", ErrorType: "http_request_error", Level: slog.LevelInfo}},
		{"no connection", "GET / HTTP/1.1\r\nHost: gone.test\r\nConnection: close\r\n\r\n",
			proxy.Record{Method: "GET", Host: "gone.test", RouteKey: "gone.test", Status: 502, Problem: "origin-refused", ErrorType: "connection_refused", Level: slog.LevelWarn}},
		{"an answer that broke off", "GET /broken HTTP/1.1\r\nHost: y.a.test\r\n\r\n",
			proxy.Record{Method: "GET", Host: "y.a.test", RouteKey: "*.a.test", Status: 200, Bytes: 6, Problem: "incomplete-response", ErrorType: "http_response_incomplete", Level: slog.LevelWarn, Origin: sni.Exchange{Address: address, Status: 200}}},
		{"a WebSocket", "GET /switch HTTP/1.1\r\nHost: z.a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nping",
			proxy.Record{Method: "GET", Host: "z.a.test", RouteKey: "*.a.test", Upgrade: true, Status: 101, Bytes: 4, Level: slog.LevelInfo, Origin: sni.Exchange{Address: address, Status: 101}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := b.send(t, c.request)
			if c.want.Upgrade {
				read := make([]byte, 1<<10)
				for got := ""; !strings.HasSuffix(got, "ping"); {
					n, err := conn.Read(read)
					if got += string(read[:n]); err != nil {
						t.Fatalf("%q, %v", got, err)
					}
				}
			} else {
				io.Copy(io.Discard, conn)
			}
			conn.Close()
			got := all.next(t)
			if got.Began.IsZero() || got.Total <= 0 || got.Total > long || (got.Lookup > 0) != (got.Host != "") {
				t.Errorf("times are %v, %v, %v", got.Began, got.Lookup, got.Total)
			}
			if got.Client.String() != conn.LocalAddr().String() || got.RequestID != "request-1" || got.TraceID != "trace-1" || got.Scheme != "http" {
				t.Errorf("Client %v, RequestID %q, TraceID %q, Scheme %q", got.Client, got.RequestID, got.TraceID, got.Scheme)
			}
			if (got.Route != nil) != (c.want.RouteKey != "") || got.Route != nil && got.Route.Host != c.want.RouteKey {
				t.Errorf("Route %v", got.Route)
			}
			if (got.Err != nil) != (c.want.Problem != "") || (got.ErrorText != "") != (c.want.Problem != "") || strings.Contains(got.ErrorText, "secret") {
				t.Errorf("Err %v, ErrorText %q", got.Err, got.ErrorText)
			}
			if c.want.Bytes == 0 && got.Bytes > 0 { // an error response of the proxy
				c.want.Bytes = got.Bytes
			}
			if c.want.Protocol == "" {
				c.want.Protocol = "HTTP/1.1"
			}
			short := proxy.Record{Method: got.Method, Protocol: got.Protocol, Upgrade: got.Upgrade, Host: got.Host, RouteKey: got.RouteKey, Status: got.Status, Bytes: got.Bytes,
				Problem: got.Problem, ErrorType: got.ErrorType, Level: got.Level, Origin: sni.Exchange{Address: got.Origin.Address, Status: got.Origin.Status}}
			if short != c.want {
				t.Errorf("\n%+v, want\n%+v", short, c.want)
			}
		})
	}
}

// If the server replaces the handler's response, the Record has the replacement.
func TestRecordHasTheServersReplacement(t *testing.T) {
	t.Parallel()
	all := make(records, 1)
	b := start(t, routes(t), observed(all))
	r, done := b.handler.Begin(httptest.NewRequest("GET", "http://a.test/", nil))
	b.handler.ServeHTTP(httptest.NewRecorder(), r)
	b.handler.Fail(httptest.NewRecorder(), r, proxy.ErrResponseTooLarge)
	if len(all) != 0 {
		t.Error("the Record was handed on before the server was done")
	}
	done()
	if got := all.next(t); got.Status != 502 || got.Problem != "response-too-large" || got.Bytes == 0 {
		t.Errorf("status %d, problem %q, %d bytes", got.Status, got.Problem, got.Bytes)
	}
}

func TestNewRefusesAnUnusableConfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config proxy.Config
		want   string
	}{
		"no routes":               {proxy.Config{}, "Config.Routes is nil"},
		"a nil middleware":        {proxy.Config{Routes: routes(t), Middleware: []proxy.Middleware{nil}}, "Config.Middleware has a nil entry"},
		"a nil hook":              {proxy.Config{Routes: routes(t), ResponseHooks: []proxy.ResponseHook{nil}}, "Config.ResponseHooks has a nil entry"},
		"a translator of its own": {proxy.Config{Routes: routes(t), Transport: &sni.Transport{Translate: sni.Static{}}}, "Translate is not nil"},
	} {
		if h, err := proxy.New(c.config); h != nil || err == nil || !strings.HasPrefix(err.Error(), "proxy: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", name, h, err)
		}
	}
	if _, err := proxy.New(proxy.Config{Routes: routes(t)}); err != nil {
		t.Errorf("without a Transport: %v", err)
	}
}

// New once changed the Translate and the Observe of the caller's Transport.
func TestNewLeavesTheCallersTransportAlone(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	address := serveOrigin(t, ca, false, func(http.ResponseWriter, *http.Request) {})
	seen := make(chan string, 9)
	transport := &sni.Transport{AllowCIDRs: tlstest.Loopback, Observe: func(_ context.Context, e *sni.Exchange) { seen <- e.Address }}
	for range 2 { // another Handler may use the same Transport
		b := start(t, routes(t, route{"host": "a.test", "origin": address, "ca_pem": ca.PEM()}), func(c *proxy.Config) { c.Transport = transport })
		if got := b.do(t, "a.test"); got.status != 200 {
			t.Errorf("%+v", got)
		}
		if got := <-seen; got != address {
			t.Errorf("the caller's Observe saw %q", got)
		}
	}
	if transport.Translate != nil {
		t.Error("Translate was set")
	}
}
