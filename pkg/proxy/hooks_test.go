package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

var errHook = errors.New("the dictionary of customer 4711 is broken")

// failingReader returns some bytes of a body, and then an error.
type failingReader struct {
	io.ReadCloser
	left int
	err  error
}

func (f *failingReader) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, f.err
	}
	n, err := f.ReadCloser.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

// swallowingReader returns io.EOF in place of every error.
type swallowingReader struct{ io.ReadCloser }

func (s swallowingReader) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// withHook gives a proxy a response hook.
func withHook(hook proxy.ResponseHook) func(*proxy.Config) {
	return func(c *proxy.Config) { c.ResponseHooks = []proxy.ResponseHook{hook} }
}

// withBody gives a proxy a middleware that replaces request bodies.
func withBody(replace func(io.ReadCloser) io.ReadCloser) func(*proxy.Config) {
	return func(c *proxy.Config) {
		c.Middleware = []proxy.Middleware{func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r = r.WithContext(r.Context())
				r.Body = replace(r.Body)
				next.ServeHTTP(w, r)
			})
		}}
	}
}

// read requests a.test, and returns the body of the response until its end or an error.
func (b *bench) read(t *testing.T) ([]byte, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", b.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "a.test"
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// wantFailure checks the log line of a failed request.
func wantFailure(t *testing.T, line map[string]any, status int, problem string, level slog.Level, cause string) {
	t.Helper()
	text, _ := line["error"].(string)
	if line["status"] != float64(status) || line["problem"] != problem || line["level"] != level.String() || !strings.Contains(text, cause) || strings.Contains(text, "panicked") {
		t.Errorf("logged %v, want status %d, problem %q, level %v and an error with %q", line, status, problem, level, cause)
	}
}

func TestErrorOfAHookHasItsStatusAndItsCause(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	address := serveOrigin(t, ca, false, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	for _, c := range []struct {
		name      string
		err       error
		status    int
		errorType string
		problem   string
		level     slog.Level
	}{
		{"an error of its own", errHook, 500, "proxy_internal_error", "hook-failed", slog.LevelError},
		{"a HookError without status", &proxy.HookError{Err: errHook}, 500, "proxy_internal_error", "hook-failed", slog.LevelError},
		{"a status and a level of its choice", fmt.Errorf("wrapped: %w", &proxy.HookError{Status: 503, Level: slog.LevelWarn, Err: errHook}), 503, "proxy_internal_error", "hook-failed", slog.LevelWarn},
		{"a status that is not an error's", &proxy.HookError{Status: 200, Err: errHook}, 500, "proxy_internal_error", "hook-failed", slog.LevelError},
		{"a cause that the proxy has a row for", fmt.Errorf("%w: %w", proxy.ErrResponseTooLarge, errHook), 502, "http_response_body_size", "response-too-large", slog.LevelWarn},
		{"a HookError around such a cause", &proxy.HookError{Err: fmt.Errorf("%w: %w", proxy.ErrResponseTooLarge, errHook)}, 500, "proxy_internal_error", "hook-failed", slog.LevelError},
		{"time that ran out in the hook alone", fmt.Errorf("%w: %w", contextDeadline{}, errHook), 500, "proxy_internal_error", "hook-failed", slog.LevelError},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, lines := one(t, route{"origin": address, "ca_pem": ca.PEM()}, withHook(func(*http.Response) error { return c.err }))
			b.do(t, "a.test").want(t, c.status, c.errorType)
			wantFailure(t, lines.next(t), c.status, c.problem, c.level, errHook.Error())
		})
	}
}

// contextDeadline returns the error of a hook's own context.
type contextDeadline struct{}

func (contextDeadline) Error() string        { return "context deadline exceeded" }
func (contextDeadline) Is(target error) bool { return target.Error() == "context deadline exceeded" }

func TestErrorOfAHookInMidStreamIsNotLoggedAsAPanic(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	address := serveOrigin(t, ca, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Write(bytes.Repeat([]byte("x"), 1<<20))
	})
	for _, c := range []struct {
		name  string
		err   error
		level slog.Level
	}{
		{"an error of its own", errHook, slog.LevelError},
		{"a level of its choice", &proxy.HookError{Level: slog.LevelWarn, Err: errHook}, slog.LevelWarn},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, lines := one(t, route{"origin": address, "ca_pem": ca.PEM()}, withHook(func(r *http.Response) error {
				r.Body = &failingReader{r.Body, 100_000, c.err}
				return nil
			}))
			if body, err := b.read(t); err == nil || len(body) > 100_000 {
				t.Errorf("%d bytes, error %v: the answer passed for a whole one", len(body), err)
			}
			wantFailure(t, lines.next(t), 200, "hook-failed", c.level, errHook.Error())
		})
	}
}

func TestErrorOfAHookInTheRequestIsNotTheOriginsFault(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for _, http2 := range []bool{false, true} {
		for _, size := range []int{10, 100_000} { // over HTTP/2, the smaller one is read ahead
			t.Run(fmt.Sprint("HTTP/2 ", http2, ", ", size, " bytes"), func(t *testing.T) {
				address := serveOrigin(t, ca, http2, func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.Copy(io.Discard, r.Body); err == nil {
						t.Error("the origin takes the request for whole")
					}
				})
				b, lines := one(t, route{"origin": address, "ca_pem": ca.PEM(), "protocols": offers(http2)}, withBody(func(body io.ReadCloser) io.ReadCloser {
					return &failingReader{body, size / 2, &proxy.HookError{Status: 422, Level: slog.LevelInfo, Err: errHook}}
				}))
				got := b.do(t, "a.test", func(r *http.Request) {
					r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(strings.NewReader(strings.Repeat("y", size))), -1
				})
				got.want(t, 422, "proxy_internal_error")
				wantFailure(t, lines.next(t), 422, "hook-failed", slog.LevelInfo, errHook.Error())
			})
		}
	}
}

func TestHookCannotHideTheErrorOfABody(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	t.Run("response", func(t *testing.T) {
		address := serveOrigin(t, ca, false, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "half")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		b, lines := one(t, route{"origin": address, "ca_pem": ca.PEM()}, withHook(func(r *http.Response) error {
			r.Body = swallowingReader{r.Body}
			return nil
		}))
		if body, err := b.read(t); err == nil {
			t.Errorf("%q passed for a whole answer", body)
		}
		wantFailure(t, lines.next(t), 200, "incomplete-response", slog.LevelWarn, "incomplete")
	})
	t.Run("request", func(t *testing.T) {
		address := serveOrigin(t, ca, false, func(w http.ResponseWriter, r *http.Request) {
			if body, err := io.ReadAll(r.Body); err == nil {
				t.Errorf("the origin takes %q for a whole request", body)
			}
		})
		b, lines := one(t, route{"origin": address, "ca_pem": ca.PEM()}, withBody(func(body io.ReadCloser) io.ReadCloser { return swallowingReader{body} }))
		readResponse(t, b.send(t, "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nbroken\r\n\r\n")).want(t, 400, "http_request_error")
		wantFailure(t, lines.next(t), 400, "bad-request", slog.LevelInfo, "its body")
	})
}

func TestPanicOfAHookIsLoggedAsOne(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	address := serveOrigin(t, ca, false, func(http.ResponseWriter, *http.Request) {})
	b, lines := one(t, route{"origin": address, "ca_pem": ca.PEM()}, withHook(func(*http.Response) error { panic(http.ErrAbortHandler) }))
	b.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if line := lines.next(t); line["problem"] != "proxy-fault" || !strings.Contains(line["error"].(string), "panicked") {
		t.Errorf("logged %v", line)
	}
}

func TestMiddlewareRespondsWithAnError(t *testing.T) {
	t.Parallel()
	b, lines := one(t, route{"origin": "127.0.0.1:1"}, func(c *proxy.Config) {
		c.Middleware = []proxy.Middleware{func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				proxy.Fail(w, r, &proxy.HookError{Status: 403, Level: slog.LevelInfo, Err: errHook})
			})
		}}
	})
	b.do(t, "a.test").want(t, 403, "proxy_internal_error")
	wantFailure(t, lines.next(t), 403, "hook-failed", slog.LevelInfo, errHook.Error())
}

// pkg/lambdahttp replaces an incomplete response by an error response.
func TestServersReplacementKeepsTheHooksError(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	address := serveOrigin(t, ca, false, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	b, lines := one(t, route{"origin": address, "ca_pem": ca.PEM()}, withHook(func(r *http.Response) error {
		r.Body = &failingReader{r.Body, 2, &proxy.HookError{Status: 503, Err: errHook}}
		return nil
	}))
	ctx := context.WithValue(t.Context(), http.ServerContextKey, &http.Server{})
	r, done := b.handler.Begin(httptest.NewRequestWithContext(ctx, "GET", "http://a.test/", nil))
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("the handler ended with %v", v)
			}
		}()
		b.handler.ServeHTTP(httptest.NewRecorder(), r)
	}()
	w := httptest.NewRecorder()
	b.handler.Fail(w, r, proxy.ErrIncompleteResponse)
	done()
	result{w.Code, w.Header(), w.Body.String()}.want(t, 503, "proxy_internal_error")
	wantFailure(t, lines.next(t), 503, "hook-failed", slog.LevelError, errHook.Error())
}
