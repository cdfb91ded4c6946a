package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// short is a time that runs out in these tests, long one that must not.
// What has to happen before a time runs out has medium for it.
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

// offers is the attribute protocols of a route whose origin serveOrigin has made so.
func offers(http2 bool) []string {
	if http2 {
		return []string{"h2", "http/1.1"}
	}
	return []string{"http/1.1"}
}

// one starts a proxy with one route, for a.test, and its log.
func one(t testing.TB, r route, change ...func(*proxy.Config)) (*bench, logLines) {
	t.Helper()
	lines := make(logLines, 100)
	r["host"] = "a.test"
	return start(t, routes(t, r), append(change, logTo(lines))...), lines
}

// send writes to a new connection, which ends with the test at the latest.
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

// answer reads one from a connection.
func answer(t testing.TB, c net.Conn) result {
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

// silent is an origin that takes all, and answers nothing.
func silent(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body) // or net/http would not see that the client is gone
	<-r.Context().Done()
	panic(http.ErrAbortHandler) // or this would be an answer
}

// Requests, of which the first is to be continued.
const (
	aPost   = "POST / HTTP/1.1\r\nHost: a.test\r\n"
	aGet    = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	aSwitch = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
)

func TestOriginThatDoesNotAnswerHasATime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		route    route
		timeouts proxy.Timeouts
		problem  string
	}{
		"of the proxy":                      {route{}, proxy.Timeouts{Response: short}, "origin-timeout"},
		"of the route":                      {route{"response_timeout": "200ms"}, proxy.Timeouts{Response: -1}, "origin-timeout"},
		"for the whole":                     {route{}, proxy.Timeouts{Request: short}, "time-budget"},
		"for the whole, of the route":       {route{"request_timeout": "200ms"}, proxy.Timeouts{Request: long, Response: long}, "time-budget"},
		"the shorter one, of two":           {route{"request_timeout": "30s"}, proxy.Timeouts{Response: short}, "origin-timeout"},
		"no bound on the beginning, but so": {route{}, proxy.Timeouts{Response: -1, Request: short}, "time-budget"},
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
				if began.Load() { // on a busy machine, time may run out before
					<-ended // it need not work any longer
				}
			})
		}
	}
}

func TestConnectionThatDoesNotComeHasTheRoutesTime(t *testing.T) {
	t.Parallel()
	mute := tlstest.Listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	b, lines := one(t, route{"origin": mute, "handshake_timeout": "200ms"}, within(proxy.Timeouts{Handshake: long}),
		func(c *proxy.Config) { c.Transport.DialTimeout = long })
	b.do(t, "a.test").want(t, 504, "connection_timeout")
	wantLine(t, lines.next(t), 504, "origin-connect-timeout")
}

func TestSlowRequestBodyIsGivenUp(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for _, framing := range []string{"Content-Length: 9\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"} {
		b, lines := one(t, route{"origin": serveOrigin(t, ca, false, silent), "ca_pem": ca.PEM()}, within(proxy.Timeouts{Idle: short}))
		c := b.send(t, aPost+framing)
		answer(t, c).want(t, 408, "http_request_error")
		wantLine(t, lines.next(t), 408, "request-body-timeout")
		// What comes late must not be the beginning of another request.
		io.WriteString(c, aGet)
		if rest, _ := io.ReadAll(c); len(rest) != 0 {
			t.Errorf("the connection went on: %q", rest)
		}
	}
}

// Who answers without the body must not wait for it either.
func TestRefusalDoesNotWaitForTheBody(t *testing.T) {
	t.Parallel()
	b := start(t, routes(t))
	for _, framing := range []string{"Content-Length: 9\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"} {
		c := b.send(t, aPost+framing)
		answer(t, c).want(t, 404, "destination_not_found")
		// What comes late must not be the beginning of another request.
		io.WriteString(c, aGet)
		if rest, _ := io.ReadAll(c); len(rest) != 0 {
			t.Errorf("the connection went on: %q", rest)
		}
	}
}

func TestOriginThatDoesNotTakeTheBodyHasATime(t *testing.T) {
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
	answer(t, c).want(t, 504, "connection_write_timeout")
	wantLine(t, lines.next(t), 504, "upload-stalled")
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// begins answers with a little, and then with nothing.
func begins(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "half")
	http.NewResponseController(w).Flush()
	silent(w, r)
}

func TestAnswerThatStallsIsCutOff(t *testing.T) {
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

// pours answers for as long as somebody takes it.
func pours(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	io.Copy(w, endless{})
}

func TestClientThatDoesNotTakeTheAnswerIsCutOff(t *testing.T) {
	t.Parallel()
	for problem, timeouts := range map[string]proxy.Timeouts{
		"client-too-slow": {Idle: medium},                // until the buffers in between are full, things have to move
		"time-budget":     {Idle: long, Request: medium}, // which must not go on waiting for who takes nothing
	} {
		for _, http2 := range []bool{false, true} {
			ca := tlstest.NewAuthority(t)
			ended := make(chan struct{})
			b, lines := one(t, route{"origin": serveOrigin(t, ca, http2, func(w http.ResponseWriter, r *http.Request) { pours(w, r); close(ended) }), "ca_pem": ca.PEM(), "protocols": offers(http2)}, within(timeouts))
			b.send(t, aGet)
			wantLine(t, lines.next(t), 200, problem)
			<-ended
		}
	}
}

func TestStreamThatDoesNotTakeTheAnswerIsCutOff(t *testing.T) {
	t.Parallel()
	for problem, timeouts := range map[string]proxy.Timeouts{"client-too-slow": {Idle: medium}, "time-budget": {Idle: long, Request: medium}} {
		for _, http2 := range []bool{false, true} {
			ca := tlstest.NewAuthority(t)
			b, lines := one(t, route{"origin": serveOrigin(t, ca, http2, pours), "ca_pem": ca.PEM(), "protocols": offers(http2)}, within(timeouts))
			client, url := b.h2c(t)
			r, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
			r.Host = "a.test"
			resp, err := client.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			wantLine(t, lines.next(t), 200, problem)
			if _, err := io.Copy(io.Discard, resp.Body); err == nil {
				t.Error("half an answer passed for a whole one")
			}
			resp.Body.Close()
		}
	}
}

// Nobody watched over the writing of an interim answer.
func TestClientThatTakesNoInterimAnswerIsCutOff(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		ca := tlstest.NewAuthority(t)
		b, lines := one(t, route{"origin": serveOrigin(t, ca, http2, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</"+strings.Repeat("x", 20_000)+">; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
		}), "ca_pem": ca.PEM(), "protocols": offers(http2)}, within(proxy.Timeouts{Idle: medium, Response: medium}))
		found := false
		for try := 0; try < 5 && !found; try++ { // the buffers in between may be full just when the final answer comes
			c := b.send(t, "")
			cut := make(chan struct{})
			go func() {
				defer close(cut)
				for err := error(nil); err == nil; {
					_, err = io.WriteString(c, aGet)
				}
			}()
			for ended := cut; ended != nil || len(lines) > 0; {
				select {
				case line := <-lines:
					found = found || line["problem"] == "client-too-slow"
				case <-ended:
					ended = nil
				}
			}
		}
		if !found {
			t.Errorf("HTTP/2 %t: no client was cut off", http2)
		}
	}
}

// h2c serves the proxy over HTTP/2 too.
func (b *bench) h2c(t testing.TB) (*http.Transport, string) {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	s := httptest.NewUnstartedServer(b.handler)
	s.Config.Protocols = protocols
	s.Start()
	t.Cleanup(s.Close)
	client := &http.Transport{Protocols: protocols, DisableCompression: true}
	t.Cleanup(client.CloseIdleConnections)
	return client, s.URL
}

// Small answers wait in buffers until after the handler, where nobody watches. Asked for by the
// thousand, and not read, each connection would be kept for ever.
func TestClientThatOnlyAsksIsCutOff(t *testing.T) {
	t.Parallel()
	b := start(t, routes(t), within(proxy.Timeouts{Idle: short}))
	c := b.send(t, "")
	batch := strings.Repeat(aGet, 100)
	for {
		if _, err := io.WriteString(c, batch); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the connection was kept")
		} else if err != nil {
			return
		}
	}
}

// A time that has run out must not be felt by the next request of the connection.
func TestConnectionIsAsBeforeAfterATimeout(t *testing.T) {
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

// Nor must the end of one answer be that of the next, if only that goes on.
func TestStreamOutlastsTheBoundOfTheAnswerBefore(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	const parts = 8
	b, lines := one(t, route{"origin": serveOrigin(t, ca, false, func(w http.ResponseWriter, r *http.Request) {
		for range parts {
			io.WriteString(w, "part")
			http.NewResponseController(w).Flush()
			if r.URL.Path != "/stream" {
				return
			}
			select { // the time between two parts is what this is about
			case <-time.After(medium / 4):
			case <-r.Context().Done():
			}
		}
	}), "ca_pem": ca.PEM()}, within(proxy.Timeouts{Idle: medium / 2}))
	c := b.send(t, "")
	reader := bufio.NewReader(c)
	for _, path := range []string{"/", "/stream"} {
		want := "part"
		if path == "/stream" {
			want = strings.Repeat(want, parts)
		}
		io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a.test\r\n\r\n")
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != want {
			t.Errorf("%s: %q, %v, logged %v", path, body, err, lines.next(t))
		}
	}
}

func TestWebSocketThatIsSilentEnds(t *testing.T) {
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

// upgrades is an origin that speaks something else after the switch.
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

func TestContextsDeadlineWinsOverLongerTimes(t *testing.T) {
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

// A client that sends no body to whom has refused it must not keep the connection either.
func TestRefusedClientIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	b := start(t, routes(t), within(proxy.Timeouts{Idle: short}))
	for _, framing := range []string{"Content-Length: 9\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"} {
		c := b.send(t, aPost+framing)
		if all, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 404 ") {
			t.Errorf("%q, %v", all, err)
		}
	}
}

// The end of one side is waited for no longer than anything else.
func TestWebSocketWhoseOriginLeftEnds(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	b, lines := one(t, route{"origin": serveOrigin(t, ca, false, upgrades(func(c net.Conn) {})), "ca_pem": ca.PEM()}, within(proxy.Timeouts{Idle: short}))
	b.send(t, aSwitch)
	wantLine(t, lines.next(t), 101, "websocket-idle")
}
