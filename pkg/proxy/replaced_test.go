package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// piped is the usual way to transform a body while it streams.
func piped(body io.ReadCloser) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, body)
		w.CloseWithError(err)
	}()
	return r
}

// The transport closes a body that it no longer needs. That ends a read of the pipe, which is no fault of the middleware.
func TestEarlyResponseIsWholeIfAMiddlewarePipesTheBody(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", http2), func(t *testing.T) {
			t.Parallel()
			address := serveOrigin(t, ca, http2, func(w http.ResponseWriter, _ *http.Request) {
				http.NewResponseController(w).EnableFullDuplex()
				io.WriteString(w, "part one;")
				http.NewResponseController(w).Flush()
				io.WriteString(w, "part two")
			})
			b, lines := one(t, route{"origin": address, "ca_pem": ca.PEM(), "protocols": offers(http2)}, withBody(piped))
			for range 10 {
				upload, client := io.Pipe()
				go client.Write([]byte(strings.Repeat("z", 1000))) // and no end
				req, err := http.NewRequestWithContext(t.Context(), "POST", b.url+"/", upload)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = "a.test"
				resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				client.Close()
				if line := lines.next(t); err != nil || string(body) != "part one;part two" || line["problem"] != nil {
					t.Errorf("%q, %v, logged %v", body, err, line)
				}
			}
		})
	}
}

// closeCount counts the calls of Close.
type closeCount struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c closeCount) Close() error { c.n.Add(1); return c.ReadCloser.Close() }

// Otherwise the goroutine of a pipe would wait for good. ReverseProxy of Go 1.26 does not close bodies.
func TestReplacedBodyIsClosedOnce(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	address := serveOrigin(t, ca, false, func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	for name, origin := range map[string]string{"answered": address, "refused": tlstest.Refusing(t)} {
		var closed atomic.Int64
		b, lines := one(t, route{"origin": origin, "ca_pem": ca.PEM()}, withBody(func(body io.ReadCloser) io.ReadCloser { return closeCount{body, &closed} }))
		b.do(t, "a.test", func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(strings.NewReader("hello")), 5
		})
		if lines.next(t); closed.Load() != 1 {
			t.Errorf("%s: closed %d times", name, closed.Load())
		}
	}
}

func TestHookThatStopsBecauseTheClientIsGoneHasNotFailed(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	address := serveOrigin(t, ca, false, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	for name, wrap := range map[string]func(error) error{
		"as it is": func(err error) error { return err }, "wrapped": func(err error) error { return fmt.Errorf("waiting: %w", err) },
		"with a status": func(err error) error { return &proxy.HookError{Status: 503, Err: err} },
	} {
		waits := make(chan struct{})
		b, lines := one(t, route{"origin": address, "ca_pem": ca.PEM()}, withHook(func(r *http.Response) error {
			close(waits)
			<-r.Request.Context().Done()
			return wrap(context.Cause(r.Request.Context()))
		}))
		c := b.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		<-waits
		c.Close()
		if line := lines.next(t); line["problem"] != "client-gone" || line["status"] != 499.0 || line["level"] != "INFO" || line["bytes"] != 0.0 {
			t.Errorf("%s: %v", name, line)
		}
	}
}

func TestHookThatReadsABrokenBodyHasNotFailed(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for http2, problem := range map[bool]string{false: "incomplete-response", true: "origin-reset"} {
		address := serveOrigin(t, ca, http2, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "half")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		for _, wrap := range []string{"%w", "reading: %w"} {
			b, lines := one(t, route{"origin": address, "ca_pem": ca.PEM(), "protocols": offers(http2)}, withHook(func(r *http.Response) error {
				_, err := io.ReadAll(r.Body)
				return fmt.Errorf(wrap, err)
			}))
			got := b.do(t, "a.test")
			if line := lines.next(t); got.status != 502 || line["problem"] != problem {
				t.Errorf("HTTP/2 %v, %s: %d, %v", http2, wrap, got.status, line)
			}
		}
	}
}

// Such a client counts as gone. net/http would send a 200 of its own if something was flushed.
func TestClientThatEndsItsSideGetsNoResponseOfNobody(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	arrived := make(chan struct{}, 1)
	address := serveOrigin(t, ca, false, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	b, lines := one(t, route{"origin": address, "ca_pem": ca.PEM()}, func(*proxy.Config) {})
	for _, version := range []string{"1.0", "1.1"} {
		c := b.send(t, "GET / HTTP/"+version+"\r\nHost: a.test\r\n\r\n")
		<-arrived
		c.(*net.TCPConn).CloseWrite()
		got, _ := io.ReadAll(c)
		if line := lines.next(t); len(got) != 0 || line["status"] != 499.0 || line["problem"] != "client-gone" {
			t.Errorf("HTTP/%s: %q, %v", version, got, line)
		}
	}
}

// RFC 9110 section 8.6 allows the length of the response that the 304 stands for.
func TestNotModifiedMayHaveALength(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for _, http2 := range []bool{false, true} {
		address := serveOrigin(t, ca, http2, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusNotModified)
		})
		b, lines := one(t, route{"origin": address, "ca_pem": ca.PEM(), "protocols": offers(http2)}, func(*proxy.Config) {})
		c := b.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
		got, err := io.ReadAll(c)
		if n := strings.Count(string(got), "HTTP/1.1 304"); n != 2 || err != nil {
			t.Errorf("HTTP/2 %v: %d of 2 responses, %v: %q", http2, n, err, got)
		}
		for range 2 {
			if line := lines.next(t); line["problem"] != nil || line["status"] != 304.0 {
				t.Errorf("HTTP/2 %v: %v", http2, line)
			}
		}
	}
}
