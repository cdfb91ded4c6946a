package localfront_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/localfront"
	"github.com/sleightproxy/sleight/internal/runtimeapi"
)

const get = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"

const nul8 = "\x00\x00\x00\x00\x00\x00\x00\x00"

// says returns a function that always sends this reply.
func says(payload string) func(context.Context, []byte) (*runtimeapi.Reply, error) {
	return func(context.Context, []byte) (*runtimeapi.Reply, error) {
		return &runtimeapi.Reply{Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(payload)), Trailer: http.Header{}}, nil
	}
}

func streams(raw string) func(context.Context, []byte) (*runtimeapi.Reply, error) {
	return func(context.Context, []byte) (*runtimeapi.Reply, error) {
		return &runtimeapi.Reply{Header: http.Header{"Content-Type": {runtimeapi.Streamed}}, Body: io.NopCloser(strings.NewReader(raw)), Trailer: http.Header{}}, nil
	}
}

func ask(t testing.TB, f localfront.Front, raw string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	f.ServeHTTP(w, parse(t, raw))
	return w.Result()
}

func read(t testing.TB, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAnswers(t *testing.T) {
	const (
		api  = localfront.HTTPAPI
		rest = localfront.REST
		alb  = localfront.ALB
		url  = localfront.FunctionURL
	)
	const multi = `{"statusCode":201,"headers":{"x-a":"1","content-type":"text/x"},"multiValueHeaders":{"X-A":["2","3"]},"cookies":["c=1","d=2"],"body":"b"}`
	const wrong = `{"message": "Internal server error"}`
	for _, c := range []struct {
		name    string
		front   localfront.Front
		payload string
		status  int
		header  http.Header // some headers; a nil value means that there is no such header
		body    string      // a part of the body
	}{
		{"no status", localfront.Front{Kind: api}, `{"an":"object"}`, 200, http.Header{"Content-Type": {"application/json"}}, `{"an":"object"}`},
		{"a string", localfront.Front{Kind: api}, `"Hello"`, 200, http.Header{"Content-Type": {"application/json"}}, `Hello`},
		{"no JSON", localfront.Front{Kind: api}, `Hello`, 500, nil, `{"message":"Internal Server Error"}`},
		{"status 0", localfront.Front{Kind: api}, `{"statusCode":0}`, 500, nil, "Internal"},
		{"informational", localfront.Front{Kind: api}, `{"statusCode":103}`, 500, nil, "Internal"},
		{"a body that is no string", localfront.Front{Kind: api}, `{"statusCode":200,"body":{}}`, 500, nil, "Internal"},
		{"bad base64", localfront.Front{Kind: api}, `{"statusCode":200,"body":"!","isBase64Encoded":true}`, 500, nil, "Internal"},
		{"default type", localfront.Front{Kind: api}, `{"statusCode":200,"body":"x"}`, 200, http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, "x"},
		{"no multi", localfront.Front{Kind: api}, multi, 201, http.Header{"X-A": {"1"}, "Set-Cookie": {"c=1", "d=2"}, "Content-Type": {"text/x"}}, "b"},
		{"base64", localfront.Front{Kind: api}, `{"statusCode":"200","body":"eA==","isBase64Encoded":true}`, 200, nil, "x"},
		{"hop by hop", localfront.Front{Kind: api}, `{"statusCode":200,"body":"x","headers":{"transfer-encoding":"chunked","content-length":"99","connection":"close"}}`, 200,
			http.Header{"Transfer-Encoding": nil, "Content-Length": nil, "Connection": nil}, "x"},
		{"204", localfront.Front{Kind: api}, `{"statusCode":204,"body":"x"}`, 204, http.Header{"Content-Type": nil}, ""},

		{"multi wins", localfront.Front{Kind: rest}, multi, 201, http.Header{"X-A": {"2", "3"}, "Set-Cookie": nil, "Content-Type": {"text/x"}}, "b"},
		{"default type", localfront.Front{Kind: rest}, `{"statusCode":200,"body":"x"}`, 200, http.Header{"Content-Type": {"application/json"}}, "x"},
		{"no status", localfront.Front{Kind: rest}, `{"an":"object"}`, 502, http.Header{"Content-Type": {"application/json"}}, wrong},
		{"a string", localfront.Front{Kind: rest}, `"Hello"`, 502, nil, wrong},
		{"null", localfront.Front{Kind: rest}, `null`, 502, nil, wrong},
		{"header list", localfront.Front{Kind: rest}, `{"statusCode":200,"headers":{"a":["b"]}}`, 502, nil, wrong},
		{"header number", localfront.Front{Kind: rest}, `{"statusCode":200,"headers":{"a":7,"b":true}}`, 200, http.Header{"A": {"7"}, "B": {"true"}}, ""},
		{"renamed", localfront.Front{Kind: rest}, `{"statusCode":401,"headers":{"www-authenticate":"Basic","server":"s"}}`, 401,
			http.Header{"Www-Authenticate": nil, "X-Amzn-Remapped-Www-Authenticate": {"Basic"}, "X-Amzn-Remapped-Server": {"s"}}, ""},

		{"multi", localfront.Front{Kind: alb}, multi, 201, http.Header{"X-A": {"2", "3"}, "Content-Type": nil, "Set-Cookie": nil}, "b"},
		{"single", localfront.Front{Kind: alb, SingleValue: true}, multi, 201, http.Header{"X-A": {"1"}, "Content-Type": {"text/x"}}, "b"},
		{"spellings", localfront.Front{Kind: alb, SingleValue: true}, `{"statusCode":200,"headers":{"Set-Cookie":"a=1","sEt-Cookie":"b=2"}}`, 200, http.Header{"Set-Cookie": {"a=1", "b=2"}}, ""},
		{"no status", localfront.Front{Kind: alb}, `{}`, 502, http.Header{"Content-Type": {"text/html"}}, "<h1>502 Bad Gateway</h1>"},
		{"a large reply", localfront.Front{Kind: alb}, `{"statusCode":200,"body":"` + strings.Repeat("x", 1<<20) + `"}`, 502, nil, "<h1>502 Bad Gateway</h1>"},

		{"verbatim", localfront.Front{Kind: url}, `{"statusCode":201}`, 200, http.Header{"Content-Type": {"application/json"}}, `{"statusCode":201}`},
		{"buffered", localfront.Front{Kind: url, Buffered: true}, multi, 201, http.Header{"X-A": {"1"}, "Set-Cookie": {"c=1", "d=2"}}, "b"},
		{"not streamed", localfront.Front{Kind: localfront.RESTStream}, `{"statusCode":201}`, 502, nil, wrong},
	} {
		t.Run(fmt.Sprint(c.front.Kind, " ", c.name), func(t *testing.T) {
			c.front.Invoke = says(c.payload)
			r := ask(t, c.front, get)
			if body := read(t, r); r.StatusCode != c.status || !strings.Contains(body, c.body) || c.body == "" && body != "" {
				t.Errorf("%d %q", r.StatusCode, body)
			}
			wantHeader(t, r, c.header)
		})
	}
}

func wantHeader(t *testing.T, r *http.Response, want http.Header) {
	t.Helper()
	for name, values := range want {
		if got := r.Header[name]; !reflect.DeepEqual(got, values) && len(got)+len(values) > 0 {
			t.Errorf("%s is %q, want %q", name, got, values)
		}
	}
}

func TestStreamedAnswers(t *testing.T) {
	const prelude = `{"statusCode":201,"headers":{"X-A":"1"},"multiValueHeaders":{"X-B":["2","3"]},"cookies":["c=1","d=2"]}`
	for _, c := range []struct {
		name   string
		kind   localfront.Kind
		raw    string
		status int
		header http.Header
		body   string
	}{
		{"all", localfront.RESTStream, prelude + nul8 + "body\x00", 201, http.Header{"X-A": {"1"}, "X-B": {"2", "3"}, "Set-Cookie": {"c=1", "d=2"}, "Content-Type": {"application/octet-stream"}}, "body\x00"},
		{"all", localfront.FunctionURL, prelude + nul8 + "body", 201, http.Header{"X-A": {"1"}, "X-B": nil, "Set-Cookie": {"c=1", "d=2"}}, "body"},
		{"no body", localfront.RESTStream, prelude + nul8, 201, nil, ""},
		{"nothing", localfront.RESTStream, "", 502, nil, `{"message": "Internal server error"}`},
		{"no end", localfront.FunctionURL, prelude, 502, nil, "Internal Server Error"},
		{"too late an end", localfront.RESTStream, `{"statusCode":200,"headers":{"a":"` + strings.Repeat("x", 17<<10) + `"}}` + nul8, 502, nil, `{"message": "Internal server error"}`},
		{"a long one", localfront.RESTStream, `{"statusCode":200,"headers":{"a":"` + strings.Repeat("x", 15<<10) + `"}}` + nul8 + "body", 200, nil, "body"},
		{"no JSON", localfront.FunctionURL, "prelude" + nul8, 502, nil, "Internal Server Error"},
		{"no status", localfront.RESTStream, "{}" + nul8, 502, nil, `{"message": "Internal server error"}`},
		{"no status", localfront.FunctionURL, "{}" + nul8 + "body", 200, nil, "body"},
		{"304", localfront.FunctionURL, `{"statusCode":304,"headers":{"etag":"x"}}` + nul8 + "stray", 304, http.Header{"Etag": {"x"}, "Content-Type": nil}, ""},
	} {
		t.Run(fmt.Sprint(c.kind, " ", c.name), func(t *testing.T) {
			r := ask(t, localfront.Front{Kind: c.kind, Invoke: streams(c.raw)}, get)
			if body := read(t, r); r.StatusCode != c.status || body != c.body {
				t.Errorf("%d %q", r.StatusCode, body)
			}
			wantHeader(t, r, c.header)
		})
	}
	// A front that does not stream fails at such a reply, because it is not JSON.
	if r := ask(t, localfront.Front{Kind: localfront.REST, Invoke: streams(prelude + nul8)}, get); r.StatusCode != 502 {
		t.Error(r.StatusCode)
	}
}

func TestHead(t *testing.T) {
	const head = "HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	r := ask(t, localfront.Front{Kind: localfront.HTTPAPI, Invoke: says(`{"statusCode":200,"body":"x","headers":{"content-length":"99"}}`)}, head)
	if body := read(t, r); body != "" || r.Header.Get("Content-Length") != "99" {
		t.Errorf("%q %v", body, r.Header)
	}
	r = ask(t, localfront.Front{Kind: localfront.FunctionURL, Invoke: streams(`{"statusCode":200}` + nul8 + "x")}, head)
	if body := read(t, r); body != "" || r.StatusCode != 200 {
		t.Errorf("%d %q", r.StatusCode, body)
	}
}

func TestFailedInvocations(t *testing.T) {
	for kind, want := range map[localfront.Kind]string{
		localfront.HTTPAPI: `500 {"message":"Internal Server Error"}`, localfront.REST: `502 {"message": "Internal server error"}`,
		localfront.RESTStream: `502 {"message": "Internal server error"}`, localfront.FunctionURL: `502 Internal Server Error`,
		localfront.ALB: "502 <html>",
	} {
		report := func(context.Context, []byte) (*runtimeapi.Reply, error) {
			return &runtimeapi.Reply{Failed: true, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"errorMessage":"secret"}`)), Trailer: http.Header{}}, nil
		}
		none := func(context.Context, []byte) (*runtimeapi.Reply, error) { return nil, errors.New("secret") }
		for _, invoke := range []func(context.Context, []byte) (*runtimeapi.Reply, error){report, none} {
			r := ask(t, localfront.Front{Kind: kind, Invoke: invoke}, get)
			if got := fmt.Sprint(r.StatusCode, " ", read(t, r)); !strings.HasPrefix(got, want) || strings.Contains(got, "secret") {
				t.Errorf("%s: %s", kind, got)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	post := func(size int, header string) string {
		return fmt.Sprintf("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Type: text/plain\r\nX: %s\r\nContent-Length: %d\r\n\r\n%s", header, size, strings.Repeat("x", size))
	}
	large := strings.Repeat("h", 10240)
	for _, c := range []struct {
		kind    localfront.Kind
		request string
		status  int
		body    string
	}{
		{localfront.HTTPAPI, post(5<<20, ""), 200, ""},
		{localfront.HTTPAPI, post(6<<20, ""), 413, `{"message":"Request Entity Too Large"}`},
		{localfront.HTTPAPI, post(10<<20+1, ""), 413, `{"message":"Request Entity Too Large"}`},
		{localfront.HTTPAPI, post(1, large), 431, `{"message":"Request Header Fields Too Large"}`},
		{localfront.HTTPAPI, "GET /" + large + " HTTP/1.1\r\nHost: a.test\r\n\r\n", 431, ""},
		{localfront.REST, post(4<<20, ""), 200, ""},
		{localfront.REST, post(5<<20, ""), 413, `{"message": "Request Too Long"}`}, // as base64
		{localfront.REST, post(1, large), 431, ""},
		{localfront.RESTStream, post(5<<20, ""), 413, `{"message": "Request Too Long"}`},
		{localfront.FunctionURL, post(6<<20, ""), 413, ""},
		{localfront.FunctionURL, post(1, large), 200, ""},
		{localfront.ALB, post(1<<20, ""), 200, ""},
		{localfront.ALB, post(1<<20+1, ""), 413, "<h1>413 Request Entity Too Large</h1>"},
		{localfront.ALB, post(1, large), 200, ""},
	} {
		f := localfront.Front{Kind: c.kind, Invoke: says(`{"statusCode":200}`)}
		if c.kind == localfront.RESTStream {
			f.Invoke = streams(`{"statusCode":200}` + nul8)
		}
		r := ask(t, f, c.request)
		if body := read(t, r); r.StatusCode != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%s, %d bytes: %d %.100s, want %d", c.kind, len(c.request), r.StatusCode, body, c.status)
		}
	}
}

func TestTimeouts(t *testing.T) {
	for kind, want := range map[localfront.Kind]string{
		localfront.HTTPAPI: `503 {"message":"Service Unavailable"}`, localfront.REST: `504 {"message": "Endpoint request timed out"}`,
		localfront.RESTStream: `504 {"message": "Endpoint request timed out"}`, localfront.FunctionURL: "504 Gateway Timeout", localfront.ALB: "504 <html>",
	} {
		f := localfront.Front{Kind: kind, Timeout: time.Millisecond, Invoke: func(ctx context.Context, _ []byte) (*runtimeapi.Reply, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		r := ask(t, f, get)
		if got := fmt.Sprint(r.StatusCode, " ", read(t, r)); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", kind, got)
		}
	}
}

func TestParseKind(t *testing.T) {
	for _, k := range localfront.Kinds() {
		if got, err := localfront.ParseKind(string(k)); err != nil || got != k {
			t.Errorf("%q: %q, %v", k, got, err)
		}
	}
	if _, err := localfront.ParseKind("rset"); err == nil || !strings.Contains(err.Error(), `"rset"; there are http-api, rest, alb, function-url, rest-stream`) {
		t.Error(err)
	}
	if r := ask(t, localfront.Front{}, get); r.StatusCode != 500 {
		t.Error(r.StatusCode)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(uint(0), `{"statusCode":200,"headers":{"a":"b"},"cookies":["c"],"body":"eA==","isBase64Encoded":true}`)
	f.Add(uint(1), `{"statusCode":"204","multiValueHeaders":{"Trailer:a":["b"],"":[""]},"headers":{"A":1.5,"a":null}}`)
	f.Add(uint(3), `{"statusCode":304}`+nul8+"body")
	f.Add(uint(4), `{}`+nul8)
	f.Add(uint(0), `"text"`)
	f.Fuzz(func(t *testing.T, kind uint, payload string) {
		kinds := localfront.Kinds()
		for _, invoke := range []func(context.Context, []byte) (*runtimeapi.Reply, error){says(payload), streams(payload)} {
			r := ask(t, localfront.Front{Kind: kinds[kind%uint(len(kinds))], Invoke: invoke}, get)
			body := read(t, r)
			if r.StatusCode < 200 || r.StatusCode > 599 || (r.StatusCode == 204 || r.StatusCode == 304) && body != "" || len(r.Trailer) > 0 {
				t.Errorf("%d, %d bytes, trailer %v", r.StatusCode, len(body), r.Trailer)
			}
		}
	})
}
