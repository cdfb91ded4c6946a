package proxy_test

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

func TestSlowRequestBodyTimesOut(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for _, framing := range []string{"Content-Length: 9\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"} {
		b, lines := one(t, route{"origin": serveOrigin(t, ca, false, silent), "ca_pem": ca.PEM()}, within(proxy.Timeouts{Idle: short}))
		c := b.send(t, aPost+framing)
		readResponse(t, c).want(t, 408, "http_request_error")
		wantLine(t, lines.next(t), 408, "request-body-timeout")
		// Late bytes must not become another request.
		io.WriteString(c, aGet)
		if rest, _ := io.ReadAll(c); len(rest) != 0 {
			t.Errorf("the connection went on: %q", rest)
		}
	}
}

// A response that does not need the body must not wait for it.
func TestRefusalDoesNotWaitForTheBody(t *testing.T) {
	t.Parallel()
	b := start(t, routes(t))
	for _, framing := range []string{"Content-Length: 9\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"} {
		c := b.send(t, aPost+framing)
		readResponse(t, c).want(t, 404, "destination_not_found")
		// Late bytes must not become another request.
		io.WriteString(c, aGet)
		if rest, _ := io.ReadAll(c); len(rest) != 0 {
			t.Errorf("the connection went on: %q", rest)
		}
	}
}

// pours is an origin whose response does not end.
func pours(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	io.Copy(w, endless{})
}

func TestClientThatDoesNotReadIsCutOff(t *testing.T) {
	t.Parallel()
	for problem, timeouts := range map[string]proxy.Timeouts{
		"client-too-slow": {Idle: medium},                // long enough to fill the buffers in between
		"time-budget":     {Idle: long, Request: medium}, // a write that is blocked must end too
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

func TestStreamThatIsNotReadIsCutOff(t *testing.T) {
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
				t.Error("an incomplete response looked complete")
			}
			resp.Body.Close()
		}
	}
}

// The write of an interim response once had no timeout.
func TestClientThatDoesNotReadInterimResponsesIsCutOff(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		ca := tlstest.NewAuthority(t)
		b, lines := one(t, route{"origin": serveOrigin(t, ca, http2, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</"+strings.Repeat("x", 20_000)+">; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
		}), "ca_pem": ca.PEM(), "protocols": offers(http2)}, within(proxy.Timeouts{Idle: medium, Response: medium}))
		found := false
		for try := 0; try < 5 && !found; try++ { // the buffers may become full at a final response instead
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

// The server flushes small responses after the handler has returned. A client that sends thousands of requests and reads no
// response must not hold its connection for ever.
func TestClientThatOnlySendsRequestsIsCutOff(t *testing.T) {
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

// A refused client that does not send its body must not hold the connection.
func TestRefusedClientDoesNotHoldTheConnection(t *testing.T) {
	t.Parallel()
	b := start(t, routes(t), within(proxy.Timeouts{Idle: short}))
	for _, framing := range []string{"Content-Length: 9\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"} {
		c := b.send(t, aPost+framing)
		if all, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 404 ") {
			t.Errorf("%q, %v", all, err)
		}
	}
}

// The write deadline at the end of a response must not hold for the next response of the connection.
func TestStreamOutlastsTheDeadlineOfThePreviousResponse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const idle, parts = time.Minute, 8
		handler := newHandler(t, proxy.Config{
			Routes:   routes(t, route{"host": "a.test", "origin": "192.0.2.1"}),
			Timeouts: proxy.Timeouts{Idle: idle},
			Logger:   slog.New(slog.DiscardHandler),
			Middleware: []proxy.Middleware{func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					for range parts {
						io.WriteString(w, "part")
						http.NewResponseController(w).Flush()
						if r.URL.Path != "/stream" {
							return
						}
						select {
						case <-time.After(idle / 2):
						case <-r.Context().Done(): // the test has failed
							return
						}
					}
				})
			}},
		})
		c, serverSide := net.Pipe()
		connections := make(pipeListener, 1)
		connections <- serverSide
		server := &http.Server{Handler: handler}
		go server.Serve(connections)
		defer server.Close()
		defer c.Close()

		reader := bufio.NewReader(c)
		for _, path := range []string{"/", "/stream"} {
			io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a.test\r\n\r\n")
			resp, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := "part"
			if path == "/stream" {
				want = strings.Repeat(want, parts)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != want {
				t.Errorf("%s: %q, %v", path, body, err)
			}
		}
	})
}

// pipeListener accepts the connections in it, until it is closed.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Close() error   { close(l); return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
