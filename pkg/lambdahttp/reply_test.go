package lambdahttp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sleightproxy/sleight/pkg/lambdahttp"
)

func answerWith(t testing.TB, event any, handler http.HandlerFunc) reply {
	t.Helper()
	return invoke(t, &lambdahttp.Adapter{Handler: handler}, event)
}

func TestHeadersOfTheReply(t *testing.T) {
	bothFronts(t, func(t *testing.T, event object, rest bool) {
		r := answerWith(t, event, func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h["Set-Cookie"] = []string{"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"}
			h["Vary"] = []string{"Accept", "Origin"}
			h["Connection"], h["Transfer-Encoding"], h["Keep-Alive"], h["Trailer"], h["Upgrade"] = []string{"close"}, []string{"chunked"}, []string{"5"}, []string{"X"}, []string{"h2c"}
			h["Content-Length"] = []string{"99"}
			h["Www-Authenticate"] = []string{"Basic"}
			w.WriteHeader(201)
			h.Set("X-Late", "1")
			h.Set(http.TrailerPrefix+"X-Trailer", "1")
			w.WriteHeader(500)
			io.WriteString(w, "hello <&>")
		})
		if r.StatusCode != 201 || r.Body != "hello <&>" {
			t.Errorf("%+v", r)
		}
		want := object{"Vary": "Accept,Origin", "Www-Authenticate": "Basic", "Content-Type": "text/plain; charset=utf-8"}
		if rest {
			want = object{"Vary": []any{"Accept", "Origin"}, "Www-Authenticate": []any{"Basic"}, "Content-Type": []any{"text/plain; charset=utf-8"},
				"Set-Cookie": []any{"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"}}
			if len(r.Cookies)+len(r.Headers) != 0 {
				t.Errorf("cookies %q, headers %q", r.Cookies, r.Headers)
			}
		} else if !reflect.DeepEqual(r.Cookies, []string{"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"}) || len(r.MultiValueHeaders) != 0 {
			t.Errorf("cookies %q, multi %q", r.Cookies, r.MultiValueHeaders)
		}
		got := object{}
		for k, v := range r.Headers {
			got[k] = v
		}
		for k, v := range r.MultiValueHeaders {
			all := make([]any, len(v))
			for i := range v {
				all[i] = v[i]
			}
			got[k] = all
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

func TestStatusOfTheReply(t *testing.T) {
	event := sample(t, "http-api")
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		status  int
		body    string
		typ     string
	}{
		"nothing written": {func(http.ResponseWriter, *http.Request) {}, 200, "", ""},
		"interim first": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(100)
			io.WriteString(w, "x")
		}, 200, "x", "text/plain; charset=utf-8"},
		"no content": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204); io.WriteString(w, "x") }, 204, "", ""},
		"not modified": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Etag", `"e"`)
			w.WriteHeader(304)
			io.WriteString(w, "x")
		}, 304, "", ""},
		"empty redirect":  {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", "/x"); w.WriteHeader(302) }, 302, "", ""},
		"type is sniffed": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, 200, "<html>", "text/html; charset=utf-8"},
		"coded, no type": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, "\x1f\x8b\x08")
		}, 200, "\x1f\x8b\x08", "application/octet-stream"},
		"type is the own": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "x/y")
			io.WriteString(w, "<html>")
		}, 200, "<html>", "x/y"},
		"flushing is fine": {func(w http.ResponseWriter, _ *http.Request) {
			http.NewResponseController(w).Flush()
			io.WriteString(w, "x")
		}, 200, "x", "text/plain; charset=utf-8"},
	} {
		r := answerWith(t, event, c.handler)
		if r.StatusCode != c.status || r.body(t) != c.body || r.header("Content-Type") != c.typ {
			t.Errorf("%s: %+v", name, r)
		}
	}
	bothFronts(t, func(t *testing.T, event object, _ bool) {
		r := answerWith(t, event, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil // the handler says that it has no type
			w.WriteHeader(302)
		})
		if len(r.Headers)+len(r.MultiValueHeaders) != 0 {
			t.Errorf("headers without a value: %+v", r)
		}
	})
	event["requestContext"].(object)["http"].(object)["method"] = "HEAD"
	r := answerWith(t, event, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10000000")
		w.Write(make([]byte, 1000))
	})
	if r.StatusCode != 200 || r.Body != "" || r.header("Content-Length") != "10000000" {
		t.Errorf("HEAD: %+v", r)
	}
}

func TestBase64WheneverTheBodyIsNotSafeText(t *testing.T) {
	bothFronts(t, func(t *testing.T, event object, _ bool) {
		for _, c := range []struct {
			typ, coding, body string
			binary            bool
		}{
			{"text/html; charset=utf-8", "", "ä 🙂 \u2028 \x01", false},
			{"application/json", "", `{"a":1}`, false},
			{"application/problem+json", "", `{}`, false},
			{"image/svg+xml", "", `<svg/>`, false},
			{"text/plain", "identity", "x", false},
			{"text/html; charset=iso-8859-1", "", "\xe4", true},
			{"text/html", "gzip", "valid UTF-8 all the same", true},
			{"application/json", "br", "{}", true},
			{"image/png", "", "ascii", true},
			{"application/octet-stream", "", "ascii\x00", true},
			{"nonsense", "", "x", true},
			{"text/plain", "", "\xff\xfe", true},
		} {
			r := answerWith(t, event, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.typ)
				if c.coding != "" {
					w.Header().Set("Content-Encoding", c.coding)
				}
				io.WriteString(w, c.body)
			})
			if r.IsBase64Encoded != c.binary || r.body(t) != c.body {
				t.Errorf("%s %s: base64 %v, body %q", c.typ, c.coding, r.IsBase64Encoded, r.body(t))
			}
		}
	})
}

func TestFailuresBecomeReplies(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		err     error
		status  int
	}{
		"panic":            {func(http.ResponseWriter, *http.Request) { panic("boom") }, lambdahttp.ErrPanic, 500},
		"run-time panic":   {func(_ http.ResponseWriter, r *http.Request) { _ = r.URL.Path[len(r.URL.Path)] }, lambdahttp.ErrPanic, 500},
		"panic after body": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "half"); panic("boom") }, lambdahttp.ErrPanic, 500},
		"abort":            {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "half"); panic(http.ErrAbortHandler) }, lambdahttp.ErrAborted, 502},
		"invalid status":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(99) }, lambdahttp.ErrPanic, 500},
		"far too large": {func(w http.ResponseWriter, _ *http.Request) {
			for range 1000 {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					panic(http.ErrAbortHandler) // as ReverseProxy does
				}
			}
			t.Error("a gigabyte was taken")
		}, lambdahttp.ErrTooLarge, 502},
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Write(make([]byte, 4_800_000))
		}, lambdahttp.ErrTooLarge, 502},
		"declared too large": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "6291557")
			if _, err := io.WriteString(w, "x"); err == nil {
				t.Error("the beginning was taken")
			}
		}, lambdahttp.ErrTooLarge, 502},
		"too large once escaped": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Write(bytes.Repeat([]byte(`"`), 4_800_000))
		}, lambdahttp.ErrTooLarge, 502},
	} {
		t.Run(name, func(t *testing.T) {
			bothFronts(t, func(t *testing.T, event object, rest bool) {
				var got error
				a := &lambdahttp.Adapter{Handler: c.handler}
				if r := invoke(t, a, event); r.StatusCode != c.status || strings.Contains(r.body(t), "half") || strings.Contains(r.body(t), "boom") {
					t.Errorf("without a Lifecycle: %+v", r)
				}
				a.Lifecycle = failFunc(func(w http.ResponseWriter, r *http.Request, err error) { got = err; w.WriteHeader(599) })
				if r := invoke(t, a, event); r.StatusCode != 599 || r.Body != "" || !errors.Is(got, c.err) {
					t.Errorf("with a Lifecycle: %+v, %v", r, got)
				}
				a.Lifecycle = failFunc(func(http.ResponseWriter, *http.Request, error) { panic("again") })
				if r := invoke(t, a, event); r.StatusCode != 500 {
					t.Errorf("with a Lifecycle that panics: %+v", r)
				}
			})
		})
	}
	page := answerWith(t, sample(t, "http-api"), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write(bytes.Repeat([]byte("<"), 3_000_000)) // six times as long in JSON for HTML
	})
	if page.StatusCode != 200 || len(page.Body) != 3_000_000 {
		t.Errorf("a page full of tags: %d", page.StatusCode)
	}
	quotes := answerWith(t, sample(t, "http-api"), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Write(bytes.Repeat([]byte(`"`), 3_200_000)) // 6.4 MB escaped, and less in base64
	})
	if quotes.StatusCode != 200 || quotes.body(t) != strings.Repeat(`"`, 3_200_000) {
		t.Errorf("a text full of quotes: %d", quotes.StatusCode)
	}
	just := answerWith(t, sample(t, "http-api"), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(make([]byte, 4_700_000))
	})
	if just.StatusCode != 200 || len(just.body(t)) != 4_700_000 {
		t.Errorf("just below the limit: %d", just.StatusCode)
	}
}

// httputil.ReverseProxy reports an incomplete body only if the context has a server. Otherwise half a body would arrive as a
// complete 200.
func TestTruncatedBodyIsNotACompleteReply(t *testing.T) {
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(*httputil.ProxyRequest) {},
		ErrorLog: log.New(io.Discard, "", 0),
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			body := io.MultiReader(strings.NewReader("half"), brokenReader{})
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body), ContentLength: 100, Request: r}, nil
		}),
	}
	bothFronts(t, func(t *testing.T, event object, _ bool) {
		if r := invoke(t, &lambdahttp.Adapter{Handler: proxy}, event); r.StatusCode != 502 {
			t.Errorf("%+v", r)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestReplyComesBeforeTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		event := sample(t, "http-api")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		end, _ := ctx.Deadline()
		for margin, want := range map[time.Duration]time.Duration{0: 500 * time.Millisecond, time.Second: time.Second, -1: 0} {
			invokeContext(ctx, t, &lambdahttp.Adapter{Margin: margin, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if got, ok := r.Context().Deadline(); !ok || !got.Equal(end.Add(-want)) {
					t.Errorf("margin %v: the request ends %v before the function", margin, end.Sub(got))
				}
			})}, event)
		}
		late := &lambdahttp.Adapter{Margin: 5*time.Second - 50*time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "half")
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		})}
		if r := invokeContext(ctx, t, late, event); r.StatusCode != 504 {
			t.Errorf("%+v", r)
		}
		var got error
		late.Lifecycle = failFunc(func(_ http.ResponseWriter, _ *http.Request, err error) { got = err })
		late.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			panic("a bug")
		})
		again, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if invokeContext(again, t, late, event); !errors.Is(got, lambdahttp.ErrPanic) {
			t.Errorf("a bug behind the deadline is reported as %v", got)
		}
	})
}

// The handler must not seem slow if no time was left at the beginning.
func TestDeadlinesThatWereOverBeforeTheEvent(t *testing.T) {
	everyFront(t, func(t *testing.T, front string, event object) {
		synctest.Test(t, func(t *testing.T) {
			reached := false
			a := &lambdahttp.Adapter{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				reached = true
				end, ok := r.Context().Deadline()
				if timeout := map[string]time.Duration{"http-api": 30 * time.Second, "rest-api": 29 * time.Second}[front]; ok != (timeout > 0) || ok && time.Until(end) != timeout-500*time.Millisecond {
					t.Errorf("the request ends in %v, %v", time.Until(end), ok)
				}
				if r.Context().Err() != nil {
					t.Error(r.Context().Err())
				}
			})}
			for _, past := range []time.Time{time.UnixMilli(5000), time.Now()} { // a duration as a date, as @vercel/fun 1.3 sends it
				ctx, cancel := context.WithDeadline(t.Context(), past)
				if r := invokeContext(ctx, t, a, event); r.StatusCode != 200 || !reached {
					t.Errorf("%v: %+v", past, r)
				}
				cancel()
			}
			reached = false
			var got error
			a.Lifecycle = failFunc(func(w http.ResponseWriter, r *http.Request, err error) {
				got = err
				if r.Context().Err() != nil {
					t.Error("there is no time to say so")
				}
				w.WriteHeader(599)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if r := invokeContext(ctx, t, a, event); r.StatusCode != 599 || reached || !errors.Is(got, lambdahttp.ErrDeadline) || !strings.Contains(got.Error(), "300ms before the front or Lambda gives up, of which 500ms are kept") {
				t.Errorf("%+v, %v", r, got)
			}
		})
	})
}
