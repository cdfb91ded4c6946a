package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// short is a timeout that ends a test's request, and long must not. Work before a timeout has medium.
const short, medium, long = 200 * time.Millisecond, 2 * time.Second, 30 * time.Second

// logLines is a log whose lines a test can wait for.
type logLines chan map[string]any

func (l logLines) Write(b []byte) (int, error) {
	var line map[string]any
	if err := json.Unmarshal(b, &line); err != nil {
		return 0, err
	}
	l <- line
	return len(b), nil
}

// next waits for a line.
func (l logLines) next(t testing.TB) map[string]any {
	t.Helper()
	select {
	case line := <-l:
		return line
	case <-time.After(long):
		t.Fatal("no line in the log")
		return nil
	}
}

func logTo(l logLines) func(*proxy.Config) {
	return func(c *proxy.Config) { c.Logger = slog.New(slog.NewJSONHandler(l, nil)) }
}

func within(t proxy.Timeouts) func(*proxy.Config) {
	return func(c *proxy.Config) { c.Timeouts = t }
}

// serveOrigin starts an origin for a.test whose handler sees requests before their bodies have arrived.
func serveOrigin(t testing.TB, ca *devca.Authority, http2 bool, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = http2
	s.TLS = &tls.Config{Certificates: []tls.Certificate{tlstest.Leaf(t, ca, "a.test")}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "https://")
}

// offers returns the protocols of a route to an origin of serveOrigin.
func offers(http2 bool) []string {
	if http2 {
		return []string{"h2", "http/1.1"}
	}
	return []string{"http/1.1"}
}

// one starts a proxy with a single route, for a.test, and returns its log too.
func one(t testing.TB, r route, change ...func(*proxy.Config)) (*bench, logLines) {
	t.Helper()
	lines := make(logLines, 100)
	r["host"] = "a.test"
	return start(t, routes(t, r), append(change, logTo(lines))...), lines
}

// send writes to a new connection, which is closed at the end of the test.
func (b *bench) send(t testing.TB, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(long))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// readResponse reads a response from a connection.
func readResponse(t testing.TB, c net.Conn) result {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return result{resp.StatusCode, resp.Header, string(body)}
}

func wantLine(t testing.TB, line map[string]any, status float64, problem string) {
	t.Helper()
	if got, _ := line["problem"].(string); got != problem || line["status"] != status || line["total_ms"].(float64) >= float64(long.Milliseconds()) {
		t.Errorf("logged %v, want status %v, problem %q", line, status, problem)
	}
}

// silent is an origin that reads the request and never responds.
func silent(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body) // otherwise net/http would not notice that the client is gone
	<-r.Context().Done()
	panic(http.ErrAbortHandler) // otherwise net/http would respond with 200
}

// Requests. The header of aPost is incomplete.
const (
	aPost   = "POST / HTTP/1.1\r\nHost: a.test\r\n"
	aGet    = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	aSwitch = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
)

func TestOriginThatDoesNotRespondTimesOut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		route    route
		timeouts proxy.Timeouts
		problem  string
	}{
		"of the proxy":                 {route{}, proxy.Timeouts{Response: short}, "origin-timeout"},
		"of the route":                 {route{"response_timeout": "200ms"}, proxy.Timeouts{Response: -1}, "origin-timeout"},
		"of the request":               {route{}, proxy.Timeouts{Request: short}, "time-budget"},
		"of the request, of the route": {route{"request_timeout": "200ms"}, proxy.Timeouts{Request: long, Response: long}, "time-budget"},
		"the shorter of two":           {route{"request_timeout": "30s"}, proxy.Timeouts{Response: short}, "origin-timeout"},
		"of the request only":          {route{}, proxy.Timeouts{Response: -1, Request: short}, "time-budget"},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", HTTP/2 ", http2), func(t *testing.T) {
				t.Parallel()
				ca := tlstest.NewAuthority(t)
				var began atomic.Bool
				ended := make(chan struct{}, 1)
				r := route{"ca_pem": ca.PEM(), "protocols": offers(http2), "origin": serveOrigin(t, ca, http2, func(w http.ResponseWriter, r *http.Request) {
					began.Store(true)
					defer func() { ended <- struct{}{} }()
					silent(w, r)
				})}
				maps.Copy(r, c.route)
				b, lines := one(t, r, within(c.timeouts))
				b.do(t, "a.test").want(t, 504, "http_response_timeout")
				wantLine(t, lines.next(t), 504, c.problem)
				if began.Load() { // on a busy machine, the timeout may come first
					<-ended // the origin's request was canceled
				}
			})
		}
	}
}

func TestHandshakeHasTheRoutesTimeout(t *testing.T) {
	t.Parallel()
	mute := tlstest.Listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	b, lines := one(t, route{"origin": mute, "handshake_timeout": "200ms"}, within(proxy.Timeouts{Handshake: long}),
		func(c *proxy.Config) { c.Transport.DialTimeout = long })
	b.do(t, "a.test").want(t, 504, "connection_timeout")
	wantLine(t, lines.next(t), 504, "origin-connect-timeout")
}

func TestOriginThatDoesNotReadTheBodyTimesOut(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	leaf := tlstest.Leaf(t, ca, "a.test")
	end := make(chan struct{})
	address := tlstest.Listen(t, func(c net.Conn) {
		tls.Server(c, &tls.Config{Certificates: []tls.Certificate{leaf}}).Handshake()
		<-end
	})
	t.Cleanup(func() { close(end) })
	b, lines := one(t, route{"origin": address, "ca_pem": ca.PEM()}, within(proxy.Timeouts{Idle: short}))
	c := b.send(t, aPost+"Content-Length: 1000000000\r\n\r\n")
	go io.CopyN(c, endless{}, 1e9)
	readResponse(t, c).want(t, 504, "connection_write_timeout")
	wantLine(t, lines.next(t), 504, "upload-stalled")
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// begins is an origin that sends the first bytes of a response, and then nothing.
func begins(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "half")
	http.NewResponseController(w).Flush()
	silent(w, r)
}

func TestStalledResponseIsCutShort(t *testing.T) {
	t.Parallel()
	for problem, timeouts := range map[string]proxy.Timeouts{"origin-stalled": {Idle: short}, "time-budget": {Request: medium}} {
		for _, http2 := range []bool{false, true} {
			ca := tlstest.NewAuthority(t)
			ended := make(chan struct{})
			b, lines := one(t, route{"origin": serveOrigin(t, ca, http2, func(w http.ResponseWriter, r *http.Request) { defer close(ended); begins(w, r) }), "ca_pem": ca.PEM(), "protocols": offers(http2)}, within(timeouts))
			c := b.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
			all, err := io.ReadAll(c)
			if err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 200 ") || !strings.HasSuffix(string(all), "half\r\n") {
				t.Errorf("%q, %v", all, err)
			}
			wantLine(t, lines.next(t), 200, problem)
			<-ended
		}
	}
}

// A timeout must not affect the next request of the connection.
func TestTimeoutDoesNotAffectTheNextRequest(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for _, http2 := range []bool{false, true} {
		b, _ := one(t, route{"origin": serveOrigin(t, ca, http2, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				silent(w, r)
			}
		}), "ca_pem": ca.PEM(), "protocols": offers(http2)}, within(proxy.Timeouts{Response: medium, Idle: long}))
		c := b.send(t, "")
		reader := bufio.NewReader(c)
		for _, request := range []string{"GET /slow HTTP/1.1\r\n", "GET / HTTP/1.1\r\n", "POST /slow HTTP/1.1\r\nContent-Length: 0\r\n", "POST / HTTP/1.1\r\nContent-Length: 0\r\n"} {
			io.WriteString(c, request+"Host: a.test\r\n\r\n")
			resp, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(request, err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if want := 200 + 304*strings.Count(request, "/slow"); resp.StatusCode != want || resp.Close {
				t.Errorf("HTTP/2 %v, %q: status %d, close %v", http2, request, resp.StatusCode, resp.Close)
			}
		}
	}
}

func TestIdleWebSocketEnds(t *testing.T) {
	t.Parallel()
	for problem, timeouts := range map[string]proxy.Timeouts{"websocket-idle": {Idle: short}, "time-budget": {Request: medium}} {
		ca := tlstest.NewAuthority(t)
		b, lines := one(t, route{"origin": serveOrigin(t, ca, true, upgrades(func(c net.Conn) { io.Copy(c, c) })), "ca_pem": ca.PEM(), "protocols": offers(true)}, within(timeouts))
		c := b.send(t, aSwitch)
		reader := bufio.NewReader(c)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		if rest, err := io.ReadAll(reader); err != nil || len(rest) != 0 {
			t.Errorf("%q, %v", rest, err)
		}
		wantLine(t, lines.next(t), 101, problem)
	}
}

// upgrades is an origin that switches to WebSocket, and then calls serve.
func upgrades(serve func(net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		serve(c)
	}
}

func TestContextsDeadlineWinsOverLongerTimeouts(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for _, http2 := range []bool{false, true} {
		b, lines := one(t, route{"origin": serveOrigin(t, ca, http2, silent), "ca_pem": ca.PEM(), "protocols": offers(http2)}, within(proxy.Timeouts{Response: long, Request: long}))
		ctx, cancel := context.WithTimeout(t.Context(), short)
		w := httptest.NewRecorder()
		b.handler.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "http://a.test/", nil))
		cancel()
		result{w.Code, w.Header(), w.Body.String()}.want(t, 504, "http_response_timeout")
		wantLine(t, lines.next(t), 504, "origin-timeout")
	}
}

// If the origin has closed its side, the idle timeout still holds for the client's.
func TestWebSocketWhoseOriginLeftEnds(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	b, lines := one(t, route{"origin": serveOrigin(t, ca, false, upgrades(func(c net.Conn) {})), "ca_pem": ca.PEM()}, within(proxy.Timeouts{Idle: short}))
	b.send(t, aSwitch)
	wantLine(t, lines.next(t), 101, "websocket-idle")
}
