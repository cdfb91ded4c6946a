package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// echo responds at once, and streams the request's body back.
func echo(w http.ResponseWriter, r *http.Request) {
	client := http.NewResponseController(w)
	client.EnableFullDuplex()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	client.Flush()
	b := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(b)
		if _, err := w.Write(b[:n]); err != nil {
			return
		}
		client.Flush()
		if err != nil {
			return
		}
	}
}

// net/http's server reads the rest of an upload before a response begins. The origin would not get that rest, and a client that
// waits for the response before it sends more would wait for ever.
func TestUploadContinuesDuringTheResponse(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	upload := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	for _, originHTTP2 := range []bool{false, true} {
		b, lines := one(t, route{"origin": serveOrigin(t, ca, originHTTP2, echo), "ca_pem": ca.PEM(), "protocols": offers(originHTTP2)})
		http2, http2URL := b.h2c(t)
		http1 := &http.Transport{DisableCompression: true}
		t.Cleanup(http1.CloseIdleConnections)
		for client, url := range map[*http.Transport]string{http1: b.url, http2: http2URL} {
			for _, length := range []int64{int64(len(upload)), -1} {
				var all sync.WaitGroup
				for range 4 {
					all.Go(func() {
						pr, pw := io.Pipe()
						r, _ := http.NewRequestWithContext(t.Context(), "POST", url, pr)
						r.Host, r.ContentLength = "a.test", length
						begun := make(chan struct{})
						go func() {
							pw.Write(upload[:1])
							<-begun
							pw.Write(upload[1:])
							pw.Close()
						}()
						resp, err := client.RoundTrip(r)
						close(begun)
						if err != nil {
							t.Errorf("origin HTTP/2 %v, client %v, length %d: %v", originHTTP2, client == http2, length, err)
							return
						}
						defer resp.Body.Close()
						if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, upload) {
							t.Errorf("origin HTTP/2 %v, client %v, length %d: %d bytes, %v", originHTTP2, client == http2, length, len(got), err)
						}
					})
				}
				all.Wait()
				for range 4 {
					if line := lines.next(t); line["problem"] != nil || line["bytes"] != float64(len(upload)) {
						t.Errorf("logged %v", line)
					}
				}
			}
		}
	}
}

// If a client disconnects, its request ends at the origin, and the log does not blame the origin or the proxy.
func TestClientThatDisconnectsIsLoggedAsGone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request string
		origin  http.HandlerFunc // nil if the request does not reach it
		status  float64
	}{
		"during the look-up":                      {aGet, nil, 499},
		"before the response":                     {aGet, silent, 499},
		"in the response":                         {aGet, begins, 200},
		"in the upload":                           {aPost + "Content-Length: 99999\r\n\r\nabc", silent, 499}, // over HTTP/2, smaller bodies are read ahead
		"in a chunk":                              {aPost + "Transfer-Encoding: chunked\r\n\r\n9\r\nabc", silent, 499},
		"in the upload, after the response began": {aPost + "Content-Length: 99999\r\n\r\nabc", echo, 200},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ca := tlstest.NewAuthority(t)
				arrived, ended := make(chan struct{}, 9), make(chan struct{}, 9)
				address := serveOrigin(t, ca, http2, func(w http.ResponseWriter, r *http.Request) {
					arrived <- struct{}{}
					defer func() { ended <- struct{}{} }()
					c.origin(w, r)
				})
				store := routes(t, route{"host": "a.test", "origin": address, "ca_pem": ca.PEM(), "protocols": offers(http2)})
				if c.origin == nil {
					store = storeFunc(func(ctx context.Context, _ string) (*origin.Route, error) {
						arrived <- struct{}{}
						<-ctx.Done()
						ended <- struct{}{}
						return nil, ctx.Err()
					})
				}
				lines := make(logLines, 9)
				b := start(t, store, logTo(lines))
				conn := b.send(t, c.request)
				<-arrived
				if c.status == 200 {
					bufio.NewReader(conn).ReadString('\n')
				}
				conn.Close()
				<-ended
				wantLine(t, lines.next(t), c.status, "client-gone")
			})
		}
	}
}

func TestResetStreamIsLoggedAsGone(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for _, http2 := range []bool{false, true} {
		arrived, ended := make(chan struct{}), make(chan struct{})
		b, lines := one(t, route{"origin": serveOrigin(t, ca, http2, func(_ http.ResponseWriter, r *http.Request) {
			close(arrived)
			defer close(ended)
			silent(nil, r)
		}), "ca_pem": ca.PEM(), "protocols": offers(http2)})
		client, url := b.h2c(t)
		ctx, cancel := context.WithCancel(t.Context())
		pr, pw := io.Pipe()
		defer pw.Close()
		r, _ := http.NewRequestWithContext(ctx, "POST", url, pr)
		r.Host = "a.test"
		go func() { <-arrived; cancel() }()
		if resp, err := client.RoundTrip(r); err == nil {
			resp.Body.Close()
			t.Error("no error")
		}
		<-ended
		wantLine(t, lines.next(t), 499, "client-gone")
	}
}

// If a body exceeds the limit while the origin responds, that is the client's fault.
func TestBodyLimitDuringTheResponseIsLogged(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for _, http2 := range []bool{false, true} {
		b, lines := one(t, route{"origin": serveOrigin(t, ca, http2, echo), "ca_pem": ca.PEM(), "protocols": offers(http2)}, func(c *proxy.Config) { c.Limits.BodyBytes = 10 })
		c := b.send(t, aPost+"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		io.WriteString(c, "f\r\naaaaaaaaaaaaaaa\r\n0\r\n\r\n")
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Error("half an answer passed for a whole one")
		}
		resp.Body.Close()
		wantLine(t, lines.next(t), 200, "request-body-too-large")
	}
}

// A client may close its write side and still read.
func TestHalfClosedWebSocketStillReceives(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	b, lines := one(t, route{"origin": serveOrigin(t, ca, false, upgrades(func(c net.Conn) {
		all, _ := io.ReadAll(c)
		io.WriteString(c, strconv.Itoa(len(all)))
	})), "ca_pem": ca.PEM()})
	c := b.send(t, aSwitch)
	reader := bufio.NewReader(c)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	io.WriteString(c, "hello")
	c.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(reader); err != nil || string(rest) != "5" {
		t.Errorf("%q, %v", rest, err)
	}
	if line := lines.next(t); line["status"] != 101.0 || line["problem"] != nil || line["bytes"] != 1.0 {
		t.Errorf("logged %v", line)
	}
}

// A hook may refuse a switch.
func TestRefusedSwitchGetsAResponse(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	b, lines := one(t, route{"origin": serveOrigin(t, ca, false, upgrades(func(net.Conn) {})), "ca_pem": ca.PEM()},
		func(c *proxy.Config) {
			c.ResponseHooks = []proxy.ResponseHook{func(*http.Response) error { return errors.New("no") }}
		})
	readResponse(t, b.send(t, aSwitch)).want(t, 500, "proxy_internal_error")
	wantLine(t, lines.next(t), 500, "hook-failed")
}

// If a handler writes a header twice or not at all, the log has the status that the client got.
func TestMiddlewaresResponseIsLoggedAsSent(t *testing.T) {
	t.Parallel()
	for want, serve := range map[int]http.HandlerFunc{
		202: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202); w.WriteHeader(500) },
		201: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(201) },
		200: func(w http.ResponseWriter, _ *http.Request) {
			http.NewResponseController(w).Flush()
			w.WriteHeader(500)
		},
		404: nil, // not reached
	} {
		lines := make(logLines, 9)
		store := routes(t, route{"host": "a.test", "origin": "127.0.0.1:1"})
		if serve == nil {
			store = routes(t)
		}
		b := start(t, store, logTo(lines), func(c *proxy.Config) {
			c.Middleware = []proxy.Middleware{func(http.Handler) http.Handler { return serve }}
		})
		if got := b.do(t, "a.test"); got.status != want {
			t.Errorf("%d: %+v", want, got)
		}
		if line := lines.next(t); line["status"] != float64(want) {
			t.Errorf("%d: logged %v", want, line)
		}
	}
}

// Some servers treat trailers like header fields.
func TestTrailersHaveNoForwardedFields(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for _, http2 := range []bool{false, true} {
		b, _ := one(t, route{"origin": serveOrigin(t, ca, http2, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			r.Trailer.Write(w)
		}), "ca_pem": ca.PEM(), "protocols": offers(http2)})
		got := readResponse(t, b.send(t, aPost+"Te: trailers\r\nTrailer: X-Forwarded-For, X-Sum, Via, Connection\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"+
			"X-Forwarded-For: 6.6.6.6\r\nX-Sum: 1\r\nX-Forwarded-Host: evil.test\r\nVia: 1.1 evil\r\nConnection: X-Sum\r\nForwarded: for=6.6.6.6\r\n\r\n"))
		if strings.TrimSpace(got.body) != "X-Sum: 1" {
			t.Errorf("HTTP/2 %v: the origin saw the trailers %q", http2, got.body)
		}
	}
}

// An open quote must not hide the proxy's identifier: each request would loop until a timeout.
func TestOpenQuoteDoesNotHideALoop(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"sleight", `other, SLEIGHT;x="a"`, `"`, `x;y="`, `x;y="\`, `x;y="a, b"`} {
		ca := tlstest.NewAuthority(t)
		var b *bench
		again := 0
		address := serveOrigin(t, ca, false, func(w http.ResponseWriter, r *http.Request) {
			if again++; again > 1 {
				t.Errorf("%q came around as %q", field, r.Header["Cdn-Loop"])
				return
			}
			r.RemoteAddr = "192.0.2.1:1"
			b.handler.ServeHTTP(w, r)
		})
		b = start(t, routes(t, route{"host": "a.test", "origin": address, "ca_pem": ca.PEM()}))
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "http://a.test/", nil)
		r.Header.Set("Cdn-Loop", field)
		b.handler.ServeHTTP(w, r)
		result{w.Code, w.Header(), w.Body.String()}.want(t, 502, "proxy_loop_detected")
	}
}

// If the proxy cancels a request, the origin may end its response early. Such a response is incomplete.
func TestResponseThatEndsAtATimeoutIsIncomplete(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, HTTP1: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.NewResponseController(w).Flush() // otherwise net/http would set a length
		io.WriteString(w, "half")
	})}
	o.Start(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	b, lines := one(t, route{"origin": o.Addr, "ca_pem": ca.PEM()}, func(c *proxy.Config) {
		c.ResponseHooks = []proxy.ResponseHook{func(*http.Response) error { cancel(context.DeadlineExceeded); return nil }}
	})
	r := httptest.NewRequestWithContext(context.WithValue(ctx, http.ServerContextKey, &http.Server{}), "GET", "http://a.test/", nil)
	defer func() {
		if got := recover(); got != http.ErrAbortHandler {
			t.Errorf("panic %v", got)
		}
		if line := lines.next(t); line["problem"] == nil {
			t.Errorf("logged %v", line)
		}
	}()
	b.handler.ServeHTTP(httptest.NewRecorder(), r)
}

// If the origin pauses after the first bytes of a response of known length, the client gets them before the rest.
func TestBeginningOfAResponseIsFlushed(t *testing.T) {
	t.Parallel()
	seen := make(chan struct{})
	w := newWire(t, func(c *originConn) {
		if _, ok := c.request(); ok {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst")
			<-seen
			io.WriteString(c, "last")
		}
	})
	defer sync.OnceFunc(func() { close(seen) })()
	client := w.dial(t)
	io.WriteString(client, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if head := readHead(t, client); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		t.Fatalf("%q", head)
	}
	readAs(t, client, "first")
}
