package localfront_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/localfront"
	"github.com/sleightproxy/sleight/internal/runtimeapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse reads a request as a server does.
func parse(t testing.TB, raw string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = "192.0.2.7:4711"
	return r
}

// eventOf returns the event that a front makes of a request.
func eventOf(t testing.TB, f localfront.Front, raw string) map[string]any {
	t.Helper()
	var event map[string]any
	f.Invoke = func(_ context.Context, payload []byte) (*runtimeapi.Reply, error) {
		if err := json.Unmarshal(payload, &event); err != nil {
			t.Error(err)
		}
		return nil, errors.New("only the event counts")
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, parse(t, raw))
	if event == nil {
		t.Fatalf("no event: %d %s", w.Code, w.Body)
	}
	return event
}

// at returns a value by its path, such as "requestContext http path". It returns "absent" if there is no such value.
func at(event any, path string) any {
	for name := range strings.FieldsSeq(path) {
		m, ok := event.(map[string]any)
		if !ok {
			return "absent"
		}
		if event, ok = m[name]; !ok {
			return "absent"
		}
	}
	return event
}

// live is a request whose events others have captured on AWS.
// https://github.com/hotsock/voker
const live = "POST /capture/space%20value?repeat=one&repeat=two&redirect=https%3A%2F%2Fexample.com%2Fa%2Fb&literalPlus=a+b&encodedPlus=a%2Bb&empty= HTTP/1.1\r\n" +
	"Host: api.example.com:8443\r\nContent-Type: application/json\r\nContent-Length: 17\r\nX-Voker-Probe: first\r\nX-Voker-Probe: second\r\n" +
	"Cookie: session=abc123; theme=dark\r\nUser-Agent: probe\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: made-up\r\n\r\n" + `{"hello":"world"}`

func list(v ...any) []any { return v }

func TestEvents(t *testing.T) {
	const rawQuery = "repeat=one&repeat=two&redirect=https%3A%2F%2Fexample.com%2Fa%2Fb&literalPlus=a+b&encodedPlus=a%2Bb&empty="
	body := strings.SplitN(live, "\r\n\r\n", 2)[1]
	for _, c := range []struct {
		front localfront.Front
		want  map[string]any
	}{
		{localfront.Front{Kind: localfront.HTTPAPI}, map[string]any{
			"version": "2.0", "routeKey": "$default", "rawPath": "/capture/space value", "rawQueryString": rawQuery,
			"requestContext http path": "/capture/space value", "requestContext http method": "POST", "requestContext http sourceIp": "192.0.2.7",
			"requestContext http userAgent": "probe", "requestContext http protocol": "HTTP/1.1",
			"requestContext domainName": "api.example.com", "requestContext stage": "$default", "requestContext domainPrefix": "api",
			"queryStringParameters repeat": "one,two", "queryStringParameters literalPlus": "a b", "queryStringParameters encodedPlus": "a+b", "queryStringParameters empty": "",
			"headers x-voker-probe": "first,second", "headers host": "api.example.com:8443", "headers content-length": "17", "headers cookie": "absent",
			"headers x-forwarded-for": "6.6.6.6, 192.0.2.7", "headers x-forwarded-proto": "https", "headers x-forwarded-port": "443",
			"cookies": list("session=abc123", "theme=dark"), "body": body, "isBase64Encoded": false, "multiValueHeaders": "absent",
		}},
		{localfront.Front{Kind: localfront.FunctionURL}, map[string]any{
			"version": "2.0", "rawPath": "/capture/space%20value", "requestContext http path": "/capture/space value", "rawQueryString": rawQuery,
			"requestContext accountId": "anonymous", "headers host": "api.example.com:8443", "headers x-voker-probe": "first,second",
			"headers cookie": "session=abc123; theme=dark", "cookies": list("session=abc123", "theme=dark"), "headers content-length": "17",
			"headers x-forwarded-for": "6.6.6.6", "requestContext http sourceIp": "192.0.2.7", "headers x-amzn-tls-version": "TLSv1.3", "body": body,
		}},
		{localfront.Front{Kind: localfront.REST}, map[string]any{
			"version": "absent", "resource": "/{proxy+}", "path": "/capture/space%20value", "httpMethod": "POST", "requestContext path": "/live/capture/space%20value",
			"pathParameters proxy": "capture/space%20value", "requestContext identity sourceIp": "192.0.2.7", "requestContext domainName": "api.example.com",
			"headers X-Voker-Probe": "second", "multiValueHeaders X-Voker-Probe": list("first", "second"), "headers Host": "api.example.com:8443",
			"headers Content-Length": "absent", "headers Cookie": "session=abc123; theme=dark", "cookies": "absent", "stageVariables": nil,
			"queryStringParameters repeat": "two", "multiValueQueryStringParameters repeat": list("one", "two"),
			"queryStringParameters literalPlus": "a b", "queryStringParameters encodedPlus": "a+b", "queryStringParameters empty": "",
			"queryStringParameters redirect": "https://example.com/a/b", "headers X-Forwarded-For": "6.6.6.6, 192.0.2.7",
			"body": base64.StdEncoding.EncodeToString([]byte(body)), "isBase64Encoded": true,
		}},
		{localfront.Front{Kind: localfront.ALB}, map[string]any{
			"httpMethod": "POST", "path": "/capture/space%20value", "headers": "absent", "multiValueHeaders x-voker-probe": list("first", "second"),
			"multiValueHeaders host": list("api.example.com:8443"), "multiValueHeaders cookie": list("session=abc123; theme=dark"),
			"multiValueQueryStringParameters literalPlus": list("a+b"), "multiValueQueryStringParameters encodedPlus": list("a%2Bb"),
			"multiValueQueryStringParameters repeat": list("one", "two"), "multiValueQueryStringParameters empty": list(""), "queryStringParameters": "absent",
			"multiValueHeaders content-length": list("17"), "multiValueHeaders x-forwarded-proto": list("http"), "multiValueHeaders x-forwarded-port": list("80"),
			"multiValueHeaders x-forwarded-for": list("6.6.6.6, 192.0.2.7"), "body": body, "isBase64Encoded": false, "version": "absent", "requestContext identity": "absent",
		}},
		{localfront.Front{Kind: localfront.ALB, SingleValue: true}, map[string]any{
			"multiValueHeaders": "absent", "headers x-voker-probe": "second", "queryStringParameters repeat": "two", "queryStringParameters encodedPlus": "a%2Bb",
			"multiValueQueryStringParameters": "absent", "headers host": "api.example.com:8443",
		}},
	} {
		t.Run(fmt.Sprint(c.front.Kind, c.front.SingleValue), func(t *testing.T) {
			event := eventOf(t, c.front, live)
			for path, want := range c.want {
				if got := at(event, path); !reflect.DeepEqual(got, want) {
					t.Errorf("%s: %#v, want %#v", path, got, want)
				}
			}
		})
	}
	if a, b := eventOf(t, localfront.Front{Kind: localfront.REST}, live), eventOf(t, localfront.Front{Kind: localfront.RESTStream}, live); !reflect.DeepEqual(a["headers"].(map[string]any)["Host"], b["headers"].(map[string]any)["Host"]) || len(a) != len(b) {
		t.Errorf("%v and %v", a, b)
	}
	if d := at(eventOf(t, localfront.Front{Kind: localfront.FunctionURL}, live), "requestContext domainName").(string); !strings.HasSuffix(d, ".lambda-url.us-east-1.on.aws") {
		t.Error(d)
	}
	if arn := at(eventOf(t, localfront.Front{Kind: localfront.ALB}, live), "requestContext elb targetGroupArn").(string); !strings.HasPrefix(arn, "arn:aws:elasticloadbalancing:") {
		t.Error(arn)
	}
}

func TestPaths(t *testing.T) {
	for sent, decoded := range map[string]string{
		"/": "/", "/a%2Fb": "/a/b", "/a%3Fb": "/a", "/a%23b": "/a#b", "/100%25": "/100%", "/%C3%A9": "/é", "/x%252Fy": "/x%2Fy", "//x//y": "//x//y", "/x/": "/x/", "/a;b": "/a;b",
	} {
		for _, c := range []struct {
			kind       localfront.Kind
			name, want string
		}{
			{localfront.HTTPAPI, "rawPath", decoded}, {localfront.HTTPAPI, "requestContext http path", decoded},
			{localfront.FunctionURL, "rawPath", sent}, {localfront.FunctionURL, "requestContext http path", decoded},
			{localfront.REST, "path", sent}, {localfront.REST, "requestContext path", "/live" + sent}, {localfront.ALB, "path", sent},
		} {
			if got := at(eventOf(t, localfront.Front{Kind: c.kind}, "GET "+sent+" HTTP/1.1\r\nHost: a.test\r\n\r\n"), c.name); got != c.want {
				t.Errorf("%s, %s: %s is %q, want %q", c.kind, sent, c.name, got, c.want)
			}
		}
	}
}

func TestWhatIsAbsent(t *testing.T) {
	const bare = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	for _, c := range []struct {
		kind localfront.Kind
		want map[string]any
	}{
		{localfront.HTTPAPI, map[string]any{"queryStringParameters": "absent", "cookies": "absent", "body": "absent", "isBase64Encoded": false, "rawQueryString": "", "headers content-length": "absent"}},
		{localfront.REST, map[string]any{"queryStringParameters": nil, "multiValueQueryStringParameters": nil, "pathParameters": nil, "resource": "/", "body": nil, "isBase64Encoded": false}},
		{localfront.ALB, map[string]any{"body": "", "isBase64Encoded": false}},
	} {
		event := eventOf(t, localfront.Front{Kind: c.kind}, bare)
		for path, want := range c.want {
			if got := at(event, path); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s is %#v, want %#v", c.kind, path, got, want)
			}
		}
	}
}

func TestBodies(t *testing.T) {
	for _, c := range []struct {
		kind    localfront.Kind
		headers string
		body    string
		base64  bool
	}{
		{localfront.HTTPAPI, "Content-Type: text/plain", "text", false},
		{localfront.HTTPAPI, "Content-Type: application/json; charset=utf-8", "text", false},
		{localfront.HTTPAPI, "Content-Type: Image/PNG", "text", true},
		{localfront.HTTPAPI, "Content-Type: application/octet-stream", "text", true},
		{localfront.HTTPAPI, "Content-Type: text/plain", "\xff\x00", true},
		{localfront.FunctionURL, "Content-Type: application/pdf", "text", true},
		{localfront.REST, "Content-Type: text/plain", "text", true},
		{localfront.ALB, "Content-Type: text/html", "text", false},
		{localfront.ALB, "Content-Type: application/xml", "text", false},
		{localfront.ALB, "Content-Type: application/x-www-form-urlencoded", "text", true},
		{localfront.ALB, "X: no type", "text", true},
		{localfront.ALB, "Content-Type: text/plain\r\nContent-Encoding: identity", "text", true},
	} {
		event := eventOf(t, localfront.Front{Kind: c.kind}, fmt.Sprintf("POST / HTTP/1.1\r\nHost: a.test\r\n%s\r\nContent-Length: %d\r\n\r\n%s", c.headers, len(c.body), c.body))
		if got := bodyOf(t, event); got != c.body || event["isBase64Encoded"] != c.base64 {
			t.Errorf("%s, %s: %q, base64 %v", c.kind, c.headers, got, event["isBase64Encoded"])
		}
	}
	event := eventOf(t, localfront.Front{Kind: localfront.HTTPAPI}, "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	if bodyOf(t, event) != "abc" || at(event, "headers content-length") != "3" {
		t.Error(event)
	}
}

func bodyOf(t testing.TB, event map[string]any) string {
	t.Helper()
	body, _ := event["body"].(string)
	if event["isBase64Encoded"] == true {
		b, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	return body
}

func TestOddRequests(t *testing.T) {
	rest := localfront.Front{Kind: localfront.REST}
	if e := eventOf(t, rest, "POST /?a=1;b=%zz&=x&&c HTTP/1.1\r\nHost: [::1]:80\r\nX-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n"); e["httpMethod"] != "DELETE" ||
		!reflect.DeepEqual(e["queryStringParameters"], map[string]any{"a": "1", "b": "%zz", "": "x", "c": ""}) || at(e, "requestContext domainName") != "::1" {
		t.Errorf("%v", e)
	}
	if e := eventOf(t, localfront.Front{Kind: localfront.HTTPAPI}, "GET http://other.test/x%20y?q HTTP/1.1\r\nHost: a.test\r\n\r\n"); e["rawPath"] != "/x y" || e["rawQueryString"] != "q" {
		t.Errorf("%v", e)
	}
	if e := eventOf(t, rest, "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n"); e["path"] != "/*" {
		t.Errorf("%v", e)
	}
}

func FuzzEvent(f *testing.F) {
	f.Add(uint(0), "POST", "/a%20b?c=d", "v", []byte("body"))
	f.Add(uint(1), "GET", "/a?x=%2B;y=+", "text/plain", []byte("\xff"))
	f.Add(uint(2), "PUT", "//%C3%A9?", "application/pdf", []byte{})
	f.Fuzz(func(t *testing.T, kind uint, method, target, value string, body []byte) {
		kinds := localfront.Kinds()
		k := kinds[kind%uint(len(kinds))]
		raw := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a.test\r\nContent-Type: %s\r\nCookie: %s\r\nContent-Length: %d\r\n\r\n%s", method, target, value, value, len(body), body)
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil || !strings.HasPrefix(target, "/") || len(raw) > 9000 || bytes.ContainsAny([]byte(value), "\r\n") {
			return
		}
		r.RemoteAddr = "192.0.2.7:4711"
		var event map[string]any
		front := localfront.Front{Kind: k, Invoke: func(_ context.Context, payload []byte) (*runtimeapi.Reply, error) {
			if err := json.Unmarshal(payload, &event); err != nil {
				t.Error(err)
			}
			return nil, errors.New("only the event counts")
		}}
		front.ServeHTTP(httptest.NewRecorder(), r)
		if event == nil {
			t.Fatal("no event")
		}
		if got := bodyOf(t, event); got != string(body) {
			t.Errorf("body %q, want %q", got, body)
		}
		path, _, _ := strings.Cut(r.RequestURI, "?")
		if encoded := strings.ToValidUTF8(path, "\ufffd"); k != localfront.HTTPAPI && k != localfront.FunctionURL && strings.ToValidUTF8(event["path"].(string), "\ufffd") != encoded &&
			!strings.Contains(encoded, "\ufffd") {
			t.Errorf("path %q, want %q", event["path"], path)
		}
	})
}
