package lambdahttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sleightproxy/sleight/internal/localfront"
	"github.com/sleightproxy/sleight/internal/runtimeapi"
	"github.com/sleightproxy/sleight/pkg/lambdahttp"
)

// behind puts a handler behind a front, with events and replies, without a process.
func behind(kind localfront.Kind, handler http.Handler) *localfront.Front {
	stream := kind == localfront.RESTStream || kind == localfront.FunctionURL
	a := &lambdahttp.Adapter{Handler: handler, Stream: stream}
	return &localfront.Front{Kind: kind, Invoke: func(ctx context.Context, payload []byte) (*runtimeapi.Reply, error) {
		var e lambdahttp.Event
		if err := json.Unmarshal(payload, &e); err != nil {
			return nil, err
		}
		reply, err := a.Handle(ctx, e)
		if err != nil {
			return nil, err
		}
		r := &runtimeapi.Reply{Header: http.Header{}, Trailer: http.Header{}}
		if typed, ok := reply.(interface{ ContentType() string }); ok {
			r.Header.Set("Content-Type", typed.ContentType())
		}
		body, err := io.ReadAll(reply)
		if c, ok := reply.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		return r, err
	}}
}

// FuzzRoundTrip sends requests through each front and the adapter to a handler, and responses back. Both must arrive unchanged, except
// for the losses of the front.
func FuzzRoundTrip(f *testing.F) {
	f.Add("a%2Fb/c%20d;e", "a=1&b=2&a=3&flag", "value, \"quoted\"", []byte("body\x00\xff"), "text/plain", []byte("<answer>"), 200)
	f.Add("%C3%A9//x/", "q=a+b&r=a%2Bb", "", []byte(""), "", []byte("\x1f\x8b"), 404)
	f.Add("100%25", "", "é", []byte("ä"), "application/json", []byte(`{"a":"\"\\"}`), 500)
	f.Add("", "k%5Bx%5D=1", "x", []byte{}, "image/png", []byte{0, 1, 2}, 204)
	f.Fuzz(func(t *testing.T, path, query, value string, body []byte, typ string, answer []byte, status int) {
		target := "/" + path
		if query != "" {
			target += "?" + query
		}
		u, err := url.ParseRequestURI(target)
		if err != nil || u.EscapedPath() != "/"+path || u.RawQuery != query || strings.ContainsFunc(target, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '#' }) ||
			!printable(value) || strings.TrimSpace(value) != value || !printable(typ) || strings.TrimSpace(typ) != typ || status < 200 || status > 599 {
			return // no server accepts or sends it
		}
		for _, kind := range localfront.Kinds() {
			var got *http.Request
			var gotBody []byte
			front := behind(kind, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r
				gotBody, _ = io.ReadAll(r.Body)
				h := w.Header()
				if typ != "" {
					h.Set("Content-Type", typ)
				}
				h.Set("X-Value", value)
				h["Set-Cookie"] = []string{"a=1", "b=2"}
				w.WriteHeader(status)
				w.Write(answer)
			}))
			r := httptest.NewRequest("POST", target, bytes.NewReader(body))
			r.Host = "one.spec-trust.test"
			r.Header["X-Value"], r.Header["Cookie"] = []string{value}, []string{"c=1; d=2"}
			w := httptest.NewRecorder()
			front.ServeHTTP(w, r)
			if w.Code == http.StatusRequestHeaderFieldsTooLarge || w.Code == http.StatusRequestEntityTooLarge {
				continue
			}
			if got == nil {
				t.Fatalf("%s: %q did not arrive: %d %s", kind, target, w.Code, w.Body)
			}
			if got.Method != "POST" || got.Host != "one.spec-trust.test" || got.RemoteAddr != "192.0.2.1:0" ||
				!reflect.DeepEqual(got.Header["X-Value"], []string{value}) || !reflect.DeepEqual(got.Header["Cookie"], []string{"c=1; d=2"}) || !bytes.Equal(gotBody, body) {
				t.Errorf("%s: got %q %q %q %q, body %q", kind, got.Method, got.Host, got.RemoteAddr, got.Header, gotBody)
			}
			if kind != localfront.HTTPAPI && got.URL.EscapedPath() != u.EscapedPath() {
				t.Errorf("%s: path %q, want %q", kind, got.URL.EscapedPath(), u.EscapedPath())
			}
			if (kind == localfront.HTTPAPI || kind == localfront.FunctionURL) && got.URL.RawQuery != query {
				t.Errorf("%s: query %q, want %q", kind, got.URL.RawQuery, query)
			}
			// REST APIs split at semicolons, and encode values that cannot be decoded.
			if want, err := url.ParseQuery(query); err == nil && !reflect.DeepEqual(params(got.URL.RawQuery), want) {
				t.Errorf("%s: parameters %q, want %q", kind, got.URL.RawQuery, query)
			}
			want := answer
			if status == 204 || status == 304 {
				want = nil
			}
			if w.Code != status || !bytes.Equal(w.Body.Bytes(), want) || w.Header().Get("X-Value") != value || !reflect.DeepEqual(w.Header()["Set-Cookie"], []string{"a=1", "b=2"}) ||
				typ != "" && want != nil && w.Header().Get("Content-Type") != typ {
				t.Errorf("%s: answer %d %q, body %q; want %d %q", kind, w.Code, w.Header(), w.Body, status, want)
			}
		}
	})
}

// params reads a query without its order.
func params(query string) url.Values {
	values, _ := url.ParseQuery(query)
	return values
}

// printable reports whether s may be in a field and in an event.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}
