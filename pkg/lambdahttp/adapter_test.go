package lambdahttp_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/awslabs/aws-lambda-go-api-proxy/core"
	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/pkg/lambdahttp"
)

var _ lambda.Handler = (*lambdahttp.Adapter)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// object is an event that tests can change.
type object = map[string]any

func sample(t testing.TB, name string) object {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var e object
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// bothFronts runs test with an event of each front.
func bothFronts(t *testing.T, test func(t *testing.T, event object, rest bool)) {
	t.Run("HTTPAPI", func(t *testing.T) { test(t, sample(t, "http-api"), false) })
	t.Run("RESTAPI", func(t *testing.T) { test(t, sample(t, "rest-api"), true) })
}

type reply struct {
	StatusCode        int
	Headers           map[string]string
	MultiValueHeaders map[string][]string
	Cookies           []string
	Body              string
	IsBase64Encoded   bool
}

func (r reply) body(t testing.TB) string {
	t.Helper()
	if !r.IsBase64Encoded {
		return r.Body
	}
	b, err := base64.StdEncoding.DecodeString(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// header returns a header of either form.
func (r reply) header(name string) string {
	if v, ok := r.Headers[name]; ok {
		return v
	}
	return strings.Join(r.MultiValueHeaders[name], ",")
}

func invoke(t testing.TB, a *lambdahttp.Adapter, event any) reply {
	t.Helper()
	return invokeContext(t.Context(), t, a, event)
}

func invokeContext(ctx context.Context, t testing.TB, a *lambdahttp.Adapter, event any) reply {
	t.Helper()
	payload, ok := event.([]byte)
	if !ok {
		var err error
		if payload, err = json.Marshal(event); err != nil {
			t.Fatal(err)
		}
	}
	b, err := a.Invoke(ctx, payload)
	if err != nil {
		t.Fatalf("the invocation failed: %v", err)
	}
	var r reply
	if err := json.Unmarshal(b, &r); err != nil || r.StatusCode == 0 {
		t.Fatalf("reply %s: %v", b, err)
	}
	return r
}

// seen is the request that the handler got.
type seen struct {
	method, host, uri, escaped, remote, body string
	header                                   http.Header
	tls                                      bool
	length                                   int64
}

// receive returns the request that the handler gets for an event, or the status if the adapter refuses the event.
func receive(t testing.TB, event any) (*seen, int) {
	t.Helper()
	var got *seen
	r := invoke(t, &lambdahttp.Adapter{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = &seen{r.Method, r.Host, r.RequestURI, r.URL.EscapedPath(), r.RemoteAddr, string(body), r.Header, r.TLS != nil, r.ContentLength}
	})}, event)
	return got, r.StatusCode
}

func mustReceive(t testing.TB, event any) *seen {
	t.Helper()
	got, status := receive(t, event)
	if got == nil {
		t.Fatalf("refused with %d", status)
	}
	return got
}

func TestSampleEventsArriveWhole(t *testing.T) {
	bothFronts(t, func(t *testing.T, event object, rest bool) {
		got := mustReceive(t, event)
		want := &seen{
			method: "POST", host: "one.spec-trust.test", uri: "/my/path?parameter1=value1&parameter1=value2&parameter2=value", escaped: "/my/path",
			remote: "192.0.2.1:0", body: `{"hello":"world"}`, tls: true, length: 17,
			header: http.Header{
				"Accept": {"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}, "Content-Type": {"application/json"},
				"Cookie": {"cookie1=one; cookie2=two"}, "Date": {"Tue, 15 Nov 1994 08:12:31 GMT"}, "Header1": {"value1"}, "Header2": {"value1,value2"},
				"If-None-Match": {`"a,b","c"`}, "User-Agent": {"agent/1.0 (a, b)"}, "X-Amzn-Trace-Id": {"Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e"},
				"X-Forwarded-For": {"6.6.6.6, 192.0.2.1"}, "X-Forwarded-Port": {"443"}, "X-Forwarded-Proto": {"https"},
			},
		}
		if rest {
			want.uri = "/my/path?a=1&a=3&b=2"
			want.header = http.Header{
				"Accept": {"text/html"}, "Cloudfront-Forwarded-Proto": {"https"}, "Content-Type": {"application/json"},
				"Cookie": {"cookie1=one; cookie2=two"}, "User-Agent": {"agent/1.0 (a, b)"}, "X-Amzn-Trace-Id": {"Root=1-5bdb40ca-556d8b0c50dc66f0511bf520"},
				"X-Forwarded-For": {"6.6.6.6, 192.0.2.1"}, "X-Forwarded-Port": {"443"}, "X-Forwarded-Proto": {"https"}, "X-Two": {"first", "second"},
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

// The library parses the decoded path as part of a URL: "?" and "#" cut it off, and "%" fails.
func TestHTTPAPIPathIsEncodedAgain(t *testing.T) {
	for raw, want := range map[string]string{
		"/capture/space value": "/capture/space%20value", "/a?b": "/a%3Fb", "/a#b": "/a%23b", "/100%": "/100%25", "/50% off": "/50%25%20off",
		"/é": "/%C3%A9", "/x%2Fy": "/x%252Fy", "/a;b": "/a;b", "//x//y": "//x//y", "/x/": "/x/", "/(a)'!*,$&+=:@~": "/(a)'!*,$&+=:@~",
		"/RSC/@id/..#save.txt": "/RSC/@id/..%23save.txt", "no-slash": "/no-slash", "*": "/*", "/[x]|\"<>": "/%5Bx%5D%7C%22%3C%3E", "/a\\b": "/a%5Cb", "/a\r\nb": "/a%0D%0Ab",
	} {
		event := sample(t, "http-api")
		event["rawPath"] = raw
		event["rawQueryString"] = "q=a?b#c"
		if got := mustReceive(t, event); got.uri != want+"?q=a?b%23c" || got.escaped != want {
			t.Errorf("%q: URI %q, path %q; want %q", raw, got.uri, got.escaped, want)
		}
	}
	event := sample(t, "http-api")
	event["rawPath"] = ""
	if got := mustReceive(t, event); got.escaped != "/my/path" {
		t.Errorf("without rawPath: %q", got.escaped)
	}
}

func TestRESTAPIPathArrivesByteForByte(t *testing.T) {
	for raw, want := range map[string]string{
		"/capture/space%20value": "", "/a%2Fb": "", "/a%3Fb": "", "/a%23b": "", "/100%25": "", "/%C3%A9": "", "/%c3%a9": "", "/a;b": "", "//x//y": "", "/x/": "",
		"/a(b)!": "", "/a%2Fb|c\"^{}é": "/a%2Fb%7Cc%22%5E%7B%7D%C3%A9", "no-slash": "/no-slash", "": "/", "*": "/*",
	} {
		event := sample(t, "rest-api")
		event["path"] = raw
		if want == "" {
			want = raw
		}
		if got := mustReceive(t, event); got.escaped != want || !strings.HasPrefix(got.uri, want+"?") {
			t.Errorf("%q: URI %q, path %q", raw, got.uri, got.escaped)
		}
	}
	event := sample(t, "rest-api")
	event["path"] = "/a%zz"
	if got, status := receive(t, event); got != nil || status != 400 {
		t.Errorf("bad escape: %+v, %d", got, status)
	}
}

func TestHTTPAPIQueryArrivesByteForByte(t *testing.T) {
	for _, query := range []string{"", "a=1&b=2&a=3", "x=a+b&y=a%2Bb", "flag", "a=1;b=2", "k%5Bx%5D=1", "redirect=https%3A%2F%2Fexample.com%2Fa%2Fb", "a=%zz", `a="<>|\^{}`} {
		event := sample(t, "http-api")
		event["rawQueryString"] = query
		want := "/my/path"
		if query != "" {
			want += "?" + query
		}
		if got := mustReceive(t, event); got.uri != want {
			t.Errorf("%q: %q", query, got.uri)
		}
	}
}

// A space would end the request's target in the middle of the request line.
func TestQueryCannotBreakTheRequestLine(t *testing.T) {
	event := sample(t, "http-api")
	event["rawQueryString"] = "a=b HTTP/1.1\r\nX: y#\x00\x7fü"
	if got := mustReceive(t, event); got.uri != "/my/path?a=b%20HTTP/1.1%0D%0AX:%20y%23%00%7F%C3%BC" {
		t.Errorf("%q", got.uri)
	}
}

func TestRESTAPIQueryIsTheSameEveryTime(t *testing.T) {
	event := sample(t, "rest-api")
	event["multiValueQueryStringParameters"] = object{"repeat": []string{"one", "two"}, "s": []string{"a b"}, "p": []string{"a+b"}, "empty": []string{""}, "k[x]": []string{"ü&="}}
	for range 100 {
		if got := mustReceive(t, event); got.uri != "/my/path?empty=&k%5Bx%5D=%C3%BC%26%3D&p=a%2Bb&repeat=one&repeat=two&s=a%20b" {
			t.Fatal(got.uri)
		}
	}
	event["multiValueQueryStringParameters"] = nil
	if got := mustReceive(t, event); got.uri != "/my/path?a=3&b=2" {
		t.Errorf("from the single-value map: %q", got.uri)
	}
	event["queryStringParameters"] = nil
	if got := mustReceive(t, event); got.uri != "/my/path" {
		t.Errorf("without query: %q", got.uri)
	}
}

func TestHostIsTheClientsElseTheDomains(t *testing.T) {
	bothFronts(t, func(t *testing.T, event object, rest bool) {
		event["requestContext"].(object)["domainName"] = "domain.test"
		if got := mustReceive(t, event); got.host != "one.spec-trust.test" || got.header["Host"] != nil {
			t.Errorf("host %q, header %q", got.host, got.header["Host"])
		}
		delete(event["headers"].(object), "host")
		delete(event["headers"].(object), "Host")
		if rest {
			delete(event["multiValueHeaders"].(object), "Host")
		}
		if got := mustReceive(t, event); got.host != "domain.test" {
			t.Errorf("without a Host header: %q", got.host)
		}
		delete(event["requestContext"].(object), "domainName")
		if got := mustReceive(t, event); got.host != "" {
			t.Errorf("without any: %q", got.host)
		}
	})
	event := sample(t, "rest-api")
	event["multiValueHeaders"].(object)["Host"] = []string{"a.test", "b.test"}
	if got, status := receive(t, event); got != nil || status != 400 {
		t.Errorf("two Hosts: %+v, %d", got, status)
	}
}

func TestRESTAPIHeadersOfEitherForm(t *testing.T) {
	for _, multi := range []any{nil, object{}} {
		event := sample(t, "rest-api")
		event["multiValueHeaders"] = multi
		got := mustReceive(t, event)
		if got.host != "one.spec-trust.test" || got.header.Get("X-Two") != "second" {
			t.Errorf("multiValueHeaders %v: host %q, %v", multi, got.host, got.header)
		}
	}
	event := sample(t, "rest-api")
	event["headers"] = nil
	if got := mustReceive(t, event); got.host != "one.spec-trust.test" || len(got.header["X-Two"]) != 2 {
		t.Errorf("headers null: %+v", got)
	}
	event["multiValueHeaders"].(object)["Cookie"] = []string{"a=1", "b=2"}
	if got := mustReceive(t, event); !reflect.DeepEqual(got.header["Cookie"], []string{"a=1; b=2"}) {
		t.Errorf("cookies %q", got.header["Cookie"])
	}
}

func TestCookiesAreOneLine(t *testing.T) {
	event := sample(t, "http-api")
	event["headers"].(object)["cookie"] = "cookie1=one; cookie2=two" // function URLs send both
	if got := mustReceive(t, event); !reflect.DeepEqual(got.header["Cookie"], []string{"cookie1=one; cookie2=two"}) {
		t.Errorf("cookies %q", got.header["Cookie"])
	}
}

func TestContextAccessorsOfTheLibraryWork(t *testing.T) {
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "request-1"})
	bothFronts(t, func(t *testing.T, event object, rest bool) {
		invokeContext(ctx, t, &lambdahttp.Adapter{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			var domain, variable, id string
			if rest {
				c, _ := core.GetAPIGatewayContextFromContext(r.Context())
				vars, _ := core.GetStageVarsFromContext(r.Context())
				lc, _ := core.GetRuntimeContextFromContext(r.Context())
				domain, variable, id = c.DomainName, vars["stageVariable1"], lc.AwsRequestID
			} else {
				c, _ := core.GetAPIGatewayV2ContextFromContext(r.Context())
				vars, _ := core.GetStageVarsFromContextV2(r.Context())
				lc, _ := core.GetRuntimeContextFromContextV2(r.Context())
				domain, variable, id = c.DomainName, vars["stageVariable1"], lc.AwsRequestID
			}
			if domain != "one.spec-trust.test" || variable != "value1" || id != "request-1" {
				t.Errorf("domain %q, stage variable %q, request %q", domain, variable, id)
			}
		})}, event)
	})
}

// The status of a fault that only an operator can fix must not blame the client. The error says what to set.
func TestEventsThatCannotBeAnsweredAreBlamedOnWhoCanMendThem(t *testing.T) {
	log.SetOutput(io.Discard) // the library logs
	defer log.SetOutput(os.Stderr)
	sqs := `{"Records":[{"messageId":"1","body":"x","eventSource":"aws:sqs"}]}`
	latticeV1 := `{"raw_path":"/","method":"GET","headers":{"host":"a.test"},"query_string_parameters":{},"body":"","is_base64_encoded":false}`
	format1 := `{"version":"1.0","httpMethod":"GET","path":"/","headers":{"host":"a.test"},"requestContext":{"identity":{}}}`
	operators := []string{
		``, `{`, `null`, `[]`, `"x"`, `{}`, `true`, sqs, latticeV1, format1, `{"version":"2.0","method":"GET","path":"/","headers":{"host":"a.test"}}`, `{"version":"2.0","method":"GET","path":"/","requestContext":1}`, `{"version":"2.0"}`, `{"version":"2.0","requestContext":{}}`, `{"version":"2.0","requestContext":[]}`,
		`{"version":"2.0","requestContext":{"http":{"method":"GET"}},"headers":[]}`, `{"version":"2.0","requestContext":{"http":{"method":"GET"}},"headers":{"x":1}}`,
		`{"version":"2.0","requestContext":{"http":{"method":"GET"},"domainName":"a b"}}`,
		`{"httpMethod":"GET"}`, `{"httpMethod":"GET","requestContext":{},"multiValueHeaders":{"a":"b"}}`,
	}
	clients := []string{
		`{"version":"2.0","requestContext":{"http":{"method":"GET"}},"headers":{"x":"a\r\nb"}}`, `{"version":"2.0","requestContext":{"http":{"method":"GET"}},"headers":{"x":"a\u0001b"}}`, `{"version":"2.0","requestContext":{"http":{"method":"GET"}},"headers":{"x y":"a"}}`,
		`{"httpMethod":"GET","requestContext":{},"queryStringParameters":[]}`, `{"version":"2.0","requestContext":{"http":{"method":"G T"}}}`,
	}
	for status, events := range map[int][]string{500: operators, 400: clients} {
		want := map[int]error{500: lambdahttp.ErrSetup, 400: lambdahttp.ErrEvent}[status]
		for _, event := range events {
			if got, is := receive(t, []byte(event)); got != nil || is != status {
				t.Errorf("%s: %+v, %d, want %d", event, got, is, status)
			}
			var cause error
			invoke(t, &lambdahttp.Adapter{Lifecycle: failFunc(func(w http.ResponseWriter, _ *http.Request, err error) { cause = err; w.WriteHeader(599) })}, []byte(event))
			if !errors.Is(cause, want) || errors.Is(cause, lambdahttp.ErrSetup) && errors.Is(cause, lambdahttp.ErrEvent) {
				t.Errorf("%s: %v, want %v", event, cause, want)
			}
		}
	}
	for event, says := range map[string]string{
		format1: "set the payload format version of the HTTP API's integration to 2.0", sqs: "triggers", latticeV1: "event version V2",
	} {
		var cause error
		invoke(t, &lambdahttp.Adapter{Lifecycle: failFunc(func(w http.ResponseWriter, _ *http.Request, err error) { cause = err; w.WriteHeader(599) })}, []byte(event))
		if !strings.Contains(fmt.Sprint(cause), says) {
			t.Errorf("%s: %v, want %q", event, cause, says)
		}
	}
}

// Readers of the log do not know the types of this package.
func TestForeignEventsAreExplainedWithoutTypesOfGo(t *testing.T) {
	const noFront = "it comes from no HTTP front"
	for event, says := range map[string]string{
		`"hello there"`: "it is a JSON string, and no object. So " + noFront, `[1]`: "it is a JSON array, and no object. So " + noFront, `true`: "it is a JSON bool, and no object. So " + noFront,
		`1.5`: "it is a JSON number, and no object. So " + noFront, `"2.0"`: "it is a JSON string, and no object. So " + noFront, `{}`: noFront, `null`: noFront,
		`{"headers":"x"}`: `its "headers" has a JSON string where`, `{"body":{"a":1}}`: `its "body" has a JSON object where`, `{"httpMethod":"GET","headers":{"a":1}}`: `its "headers" has a JSON number where`,
		`{"version":"2.0","requestContext":{"http":{"method":5}}}`: `its "requestContext.http.method" has a JSON number where`, `{"httpMethod":"GET","requestContext":"SECRET"}`: `its "requestContext" has a JSON string where`,
		`{"version":"2.0","requestContext":{"http":{"method":"GET"},"timeEpoch":1.5}}`: `its "requestContext.timeEpoch" has a JSON number where`,
		`{"version":"2.0","method":"GET","headers":{"a":"b"}}`:                         `its "headers" has a JSON string where`,
		`{"httpMethod":"GET"}`: "it has no requestContext", `{`: "it is not JSON", ``: "it is not JSON",
		`{"httpMethod":"GET","requestContext":{},"queryStringParameters":[]}`: "query: a JSON array is where none belongs",
	} {
		var cause error
		invoke(t, &lambdahttp.Adapter{Lifecycle: failFunc(func(w http.ResponseWriter, _ *http.Request, err error) { cause = err; w.WriteHeader(599) })}, []byte(event))
		text := fmt.Sprint(cause)
		if !strings.Contains(text, says) || strings.Contains(text, "Go ") || strings.Contains(text, "json:") || strings.Contains(text, "SECRET") {
			t.Errorf("%s: %s, want %q", event, text, says)
		}
		if errors.Is(cause, lambdahttp.ErrSetup) && !strings.Contains(text, "Look at what invokes the function (its triggers, its resource-based policy)") {
			t.Errorf("%s: %s, which does not say what to do", event, text)
		}
	}
}

// Events of HTTP APIs with payload format 1.0 look like those of REST APIs, except that their paths are decoded.
func TestVersion1IsARESTAPIsOnlyIfItsResourceSaysSo(t *testing.T) {
	for resource, rest := range map[any]bool{"ab12cd": true, "1234567890": true, nil: false, "": false, "$default": false, "GET /x": false, "ANY /{proxy+}": false} {
		event := sample(t, "rest-api")
		event["version"], event["path"] = "1.0", "/a%2Fb"
		event["requestContext"].(object)["resourceId"] = resource
		got, status := receive(t, event)
		if (got != nil) != rest || rest && got.escaped != "/a%2Fb" || !rest && status != 500 {
			t.Errorf("resource %v: %+v, %d", resource, got, status)
		}
		delete(event, "version")
		if got := mustReceive(t, event); got.escaped != "/a%2Fb" {
			t.Errorf("resource %v without a version: %+v", resource, got)
		}
	}
}

// Emulators add their port to the domain name, or an empty port.
func TestDomainNameDoesNotFailARequestThatHasAHost(t *testing.T) {
	bothFronts(t, func(t *testing.T, event object, rest bool) {
		for domain, served := range map[string]bool{
			"localhost:3000": true, "127.0.0.1:4566": true, "api.localhost:65535": true, "[::1]:3000": true, "[::1]": true, "": true, "a.test": true, "a.test:": true,
			"a.test:x": false, "a.test:65536": false, "a.test:-1": false, "::1": false, "[::1": false, "[a]:1": false, "[::1%lo]:1": false, "a/b:1": false, "a@b:1": false,
		} {
			without := sample(t, map[bool]string{false: "http-api", true: "rest-api"}[rest])
			without["requestContext"].(object)["domainName"] = domain
			delete(without["headers"].(object), "host")
			delete(without["headers"].(object), "Host")
			if rest {
				delete(without["multiValueHeaders"].(object), "Host")
			}
			if got, status := receive(t, without); (got != nil) != served || served && got.host != strings.TrimSuffix(domain, ":") || !served && status != 500 {
				t.Errorf("%q without a Host header: %+v, %d", domain, got, status)
			}
			// The name is not used then.
			event["requestContext"].(object)["domainName"] = domain
			if got := mustReceive(t, event); got.host != "one.spec-trust.test" {
				t.Errorf("%q beside a Host header: %+v", domain, got)
			}
		}
	})
}

func TestConcurrentInvocations(t *testing.T) {
	a := &lambdahttp.Adapter{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Path", r.URL.Path)
		io.Copy(w, r.Body)
	})}
	var wg sync.WaitGroup
	for i := range 64 {
		event := sample(t, []string{"http-api", "rest-api"}[i%2])
		path := fmt.Sprintf("/%d", i)
		event["rawPath"], event["path"], event["body"] = path, path, path
		wg.Go(func() {
			if r := invoke(t, a, event); r.header("X-Path") != path || r.Body != path {
				t.Errorf("%s: %+v", path, r)
			}
		})
	}
	wg.Wait()
}
