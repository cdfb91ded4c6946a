package lambdahttp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/awslabs/aws-lambda-go-api-proxy/core"

	"github.com/sleightproxy/sleight/pkg/lambdahttp"
)

// frontNames are the fronts, by the names of their samples in testdata.
var frontNames = []string{"http-api", "function-url", "rest-api", "alb-multi", "alb-single", "lattice"}

// everyFront runs test with an event of each front.
func everyFront(t *testing.T, test func(t *testing.T, front string, event object)) {
	for _, name := range frontNames {
		t.Run(name, func(t *testing.T) { test(t, name, sample(t, name)) })
	}
}

func setPath(front string, event object, path string) {
	if front == "http-api" || front == "function-url" {
		event["rawPath"] = path
	} else {
		event["path"] = path
	}
}

func setMethod(front string, event object, method string) {
	switch front {
	case "http-api", "function-url":
		event["requestContext"].(object)["http"].(object)["method"] = method
	case "lattice":
		event["method"] = method
	default:
		event["httpMethod"] = method
	}
}

// setHeader sets a header of an event in the form of the front. It removes the header if there are no values.
func setHeader(front string, event object, name string, values ...string) {
	for _, m := range []string{"headers", "multiValueHeaders"} {
		headers, ok := event[m].(object)
		if !ok {
			continue
		}
		for k := range headers {
			if strings.EqualFold(k, name) {
				delete(headers, k)
			}
		}
		switch {
		case len(values) == 0:
		case m == "multiValueHeaders" || front == "lattice":
			headers[name] = values
		case front == "http-api" || front == "function-url":
			headers[name] = strings.Join(values, ",")
		default:
			headers[name] = values[len(values)-1]
		}
	}
}

func TestEventsOfEveryFrontArriveWhole(t *testing.T) {
	everyFront(t, func(t *testing.T, front string, event object) {
		got := mustReceive(t, event)
		if got.method != "POST" || got.host != "one.spec-trust.test" || got.remote != "192.0.2.1:0" || got.body != `{"hello":"world"}` || got.length != 17 || !got.tls {
			t.Errorf("%+v", got)
		}
		if want := map[bool]string{true: "/my/path?parameter1=value1&parameter1=value2&parameter2=value", false: "/my/path?a=1&a=3&b=2"}[front == "http-api" || front == "function-url"]; got.uri != want && (front != "alb-single" || got.uri != "/my/path?a=3&b=2") {
			t.Errorf("URI %q", got.uri)
		}
		for name, want := range map[string][]string{
			"Cookie": {"cookie1=one; cookie2=two"}, "User-Agent": {"agent/1.0 (a, b)"}, "Content-Length": nil, "Host": nil, "Content-Type": {"application/json"},
		} {
			if !reflect.DeepEqual(got.header[name], want) {
				t.Errorf("%s: %q, want %q", name, got.header[name], want)
			}
		}
	})
}

// The library parses paths as parts of URLs, and splits headers at commas.
func TestEncodedPathsArriveByteForByte(t *testing.T) {
	for _, front := range []string{"function-url", "rest-api", "alb-multi", "alb-single", "lattice"} {
		for _, path := range []string{"/capture/space%20value", "/a%2Fb", "/x%2Fy", "/a%3Fb", "/a%23b", "/100%25", "/%C3%A9", "/%c3%a9", "/a;b", "//x//y", "/x/", "/a%252Fb"} {
			event := sample(t, front)
			setPath(front, event, path)
			if got := mustReceive(t, event); got.escaped != path || !strings.HasPrefix(got.uri, path+"?") {
				t.Errorf("%s %s: %q", front, path, got.uri)
			}
		}
		for path, want := range map[string]string{"": "/", "*": "/*", "x": "/x", "/a b": "/a%20b", "/é": "/%C3%A9"} {
			event := sample(t, front)
			setPath(front, event, path)
			if front == "function-url" && path == "" {
				want = "/my/path" // the context has it too
			}
			if got := mustReceive(t, event); got.escaped != want {
				t.Errorf("%s %q: %q, want %q", front, path, got.escaped, want)
			}
		}
		event := sample(t, front)
		setPath(front, event, "/a%zz")
		if got, status := receive(t, event); got != nil || status != 400 {
			t.Errorf("%s: bad escape: %+v, %d", front, got, status)
		}
	}
}

// The library escapes a second time, although balancers do not decode.
func TestBalancersQueryArrivesByteForByte(t *testing.T) {
	event := sample(t, "alb-multi")
	event["multiValueQueryStringParameters"] = object{"enc": []string{"a%2Bb"}, "lit": []string{"a+b"}, "k%5Bx%5D": []string{"1", "2"}, "empty": []string{""}, "u": []string{"https%3A%2F%2Fexample.com%2Fa"}}
	for range 100 {
		if got := mustReceive(t, event); got.uri != "/my/path?empty=&enc=a%2Bb&k%5Bx%5D=1&k%5Bx%5D=2&lit=a+b&u=https%3A%2F%2Fexample.com%2Fa" {
			t.Fatal(got.uri)
		}
	}
	single := sample(t, "alb-single")
	single["queryStringParameters"] = object{"enc": "a%2Bb", "a b": "x&y#z"}
	if got := mustReceive(t, single); got.uri != "/my/path?a%20b=x%26y%23z&enc=a%2Bb" {
		t.Error(got.uri)
	}
	function := sample(t, "function-url")
	for _, query := range []string{"", "a=1&b=2&a=3", "x=a+b&y=a%2Bb", "flag", "a=1;b=2"} {
		function["rawQueryString"] = query
		if got := mustReceive(t, function); strings.TrimPrefix(strings.TrimPrefix(got.uri, "/my/path"), "?") != query {
			t.Errorf("%q: %q", query, got.uri)
		}
	}
	lattice := sample(t, "lattice")
	setPath("lattice", lattice, "/p%2F?b=2&a=%20&b=1")
	if got := mustReceive(t, lattice); got.uri != "/p%2F?b=2&a=%20&b=1" {
		t.Error(got.uri)
	}
}

func TestEveryHeaderValueIsKeptUnsplit(t *testing.T) {
	everyFront(t, func(t *testing.T, front string, event object) {
		values := map[string]string{
			"If-None-Match": `"a,b", "c"`, "Date": "Tue, 15 Nov 1994 08:12:31 GMT", "Sec-Ch-Ua": `"A";v="1", "B";v="2"`, "If-Range": `"x,y"`,
			"Accept": "text/html, */*;q=0.8", "X-Latin": "é", "X-Empty": "",
		}
		for name, v := range values {
			setHeader(front, event, name, v)
		}
		setHeader(front, event, "X-Two", "first", "second")
		got := mustReceive(t, event)
		for name, v := range values {
			if !reflect.DeepEqual(got.header[name], []string{v}) {
				t.Errorf("%s: %q", name, got.header[name])
			}
		}
		want := []string{"first", "second"}
		switch front {
		case "http-api", "function-url":
			want = []string{"first,second"}
		case "alb-single":
			want = want[1:]
		}
		if !reflect.DeepEqual(got.header["X-Two"], want) {
			t.Errorf("repeated: %q, want %q", got.header["X-Two"], want)
		}
	})
}

func TestCookiesAreOneLineOnEveryFront(t *testing.T) {
	everyFront(t, func(t *testing.T, front string, event object) {
		want := "cookie1=one; cookie2=two"
		if front == "rest-api" || front == "alb-multi" || front == "lattice" {
			setHeader(front, event, "Cookie", "a=1", "b=2") // two lines, as HTTP/2 clients send them
			want = "a=1; b=2"
		}
		if got := mustReceive(t, event); !reflect.DeepEqual(got.header["Cookie"], []string{want}) {
			t.Errorf("%q", got.header["Cookie"])
		}
	})
}

// Only the last entry is from the front; clients choose the entries before it. httputil.ReverseProxy needs an address with a port.
func TestClientIsWhomTheFrontSaw(t *testing.T) {
	everyFront(t, func(t *testing.T, front string, event object) {
		for client, want := range map[string]string{"192.0.2.7": "192.0.2.7:0", "2001:db8::1": "[2001:db8::1]:0", "": "", "test-invoke-source-ip": ""} {
			setHeader(front, event, "X-Forwarded-For", "6.6.6.6", "7.7.7.7, "+client)
			switch front {
			case "http-api", "function-url":
				event["requestContext"].(object)["http"].(object)["sourceIp"] = client
			case "rest-api":
				event["requestContext"].(object)["identity"].(object)["sourceIp"] = client
			}
			if got := mustReceive(t, event); got.remote != want {
				t.Errorf("%q: %q, want %q", client, got.remote, want)
			}
		}
	})
	event := sample(t, "alb-multi")
	for forwarded, want := range map[string]string{"192.0.2.1:4711": "192.0.2.1:4711", "[2001:db8::1]:4711": "[2001:db8::1]:4711", "[2001:db8::1]": "[2001:db8::1]:0"} {
		setHeader("alb-multi", event, "X-Forwarded-For", forwarded)
		if got := mustReceive(t, event); got.remote != want {
			t.Errorf("%q: %q, want %q", forwarded, got.remote, want)
		}
	}
	for proto, want := range map[string]bool{"http": false, "https": true} {
		setHeader("alb-multi", event, "X-Forwarded-Proto", proto)
		if got := mustReceive(t, event); got.tls != want {
			t.Errorf("%s: TLS %v", proto, got.tls)
		}
	}
}

func TestHealthCheckWithoutHostIsAnswered(t *testing.T) {
	for _, front := range []string{"alb-multi", "alb-single"} {
		event := sample(t, front)
		for _, name := range []string{"Host", "X-Forwarded-For", "X-Forwarded-Proto"} {
			setHeader(front, event, name)
		}
		if got := mustReceive(t, event); got.host != "" || got.remote != "" || got.tls {
			t.Errorf("%s: %+v", front, got)
		}
	}
}

func TestMethodsOnEveryFront(t *testing.T) {
	everyFront(t, func(t *testing.T, front string, event object) {
		setHeader(front, event, "X-HTTP-Method-Override", "DELETE") // the adapter must ignore it
		for method, want := range map[string]string{"get": "GET", "PROPFIND": "PROPFIND", "": "", "GET /": "", "G\r\nX": ""} {
			setMethod(front, event, method)
			switch got, status := receive(t, event); {
			case want == "" && (got != nil || status != map[bool]int{true: 500, false: 400}[method == ""]): // each front sends a method
				t.Errorf("%q: %+v, %d", method, got, status)
			case want != "" && (got == nil || got.method != want):
				t.Errorf("%q: %+v, %d", method, got, status)
			}
		}
	})
}

func TestBodiesOnEveryFront(t *testing.T) {
	everyFront(t, func(t *testing.T, _ string, event object) {
		for _, c := range []struct {
			body   any
			base64 bool
			want   string
			status int
		}{
			{"a\x00b 🙂\r\n", false, "a\x00b 🙂\r\n", 200},
			{nil, false, "", 200},
			{"", true, "", 200},
			{base64.StdEncoding.EncodeToString([]byte("\xff\x00\xfe")), true, "\xff\x00\xfe", 200},
			{"!!!", true, "", 400},
			{"_-8=", true, "", 400},
			{"YQ", true, "", 400},
		} {
			event["body"], event["isBase64Encoded"] = c.body, c.base64
			got, status := receive(t, event)
			if status != c.status || got != nil && (got.body != c.want || got.length != int64(len(c.want)) || got.header["Content-Length"] != nil) {
				t.Errorf("%v (base64 %v): %+v, %d", c.body, c.base64, got, status)
			}
		}
	})
}

// Other adapters pass the event's context in headers. A client could make these up.
func TestInternalHeadersAreNotPassedOn(t *testing.T) {
	everyFront(t, func(t *testing.T, front string, event object) {
		for _, name := range []string{core.APIGwContextHeader, core.ALBContextHeader, "x-golambdaproxy-apigw-stagevars", "X-Amzn-Request-Context", "x-amzn-lambda-context"} {
			setHeader(front, event, name, "{}")
		}
		for name := range mustReceive(t, event).header {
			if lower := strings.ToLower(name); strings.Contains(lower, "golambdaproxy") || strings.Contains(lower, "-context") {
				t.Errorf("%s arrived", name)
			}
		}
	})
}

func TestBalancersContextAccessorWorks(t *testing.T) {
	invoke(t, &lambdahttp.Adapter{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if c, ok := core.GetTargetGroupRequetFromContextALB(r.Context()); !ok || !strings.HasPrefix(c.ELB.TargetGroupArn, "arn:aws:elasticloadbalancing:") {
			t.Errorf("%+v, %v", c, ok)
		}
	})}, sample(t, "alb-multi"))
}

// The library would turn "/api-v2/x" into "/-v2/x".
func TestOnlyWholeSegmentsAreTakenOffThePath(t *testing.T) {
	everyFront(t, func(t *testing.T, front string, event object) {
		for path, want := range map[string]string{"/api": "/", "/api/": "/", "/api/x": "/x", "/api-v2/x": "/api-v2/x", "/API/x": "/API/x", "/x/api/": "/x/api/", "/api//x": "//x"} {
			setPath(front, event, path)
			for _, base := range []string{"/api", "/api/"} {
				invoke(t, &lambdahttp.Adapter{BasePath: base, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if r.URL.EscapedPath() != want || !strings.HasPrefix(r.RequestURI, want) {
						t.Errorf("%s: %q, want %q", path, r.RequestURI, want)
					}
				})}, event)
			}
		}
	})
}

func TestStageIsTakenOffOnlyWhenAsked(t *testing.T) {
	for _, front := range []string{"http-api", "rest-api"} {
		event := sample(t, front)
		event["requestContext"].(object)["stage"] = "live"
		for path, want := range map[string]string{"/live/x": "/x", "/live": "/", "/livestock": "/livestock", "/x/live": "/x/live"} {
			setPath(front, event, path)
			for strip, want := range map[bool]string{true: want, false: path} {
				invoke(t, &lambdahttp.Adapter{StripStage: strip, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if r.URL.Path != want {
						t.Errorf("%s %s (strip %v): %q, want %q", front, path, strip, r.URL.Path, want)
					}
				})}, event)
			}
		}
	}
	event := sample(t, "http-api") // its stage is $default
	setPath("http-api", event, "/$default/x")
	invoke(t, &lambdahttp.Adapter{StripStage: true, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/$default/x" {
			t.Errorf("%q", r.URL.Path)
		}
	})}, event)
}

// awsEvents returns the directory of aws-lambda-go (Apache-2.0) with AWS's own events.
func awsEvents(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-lambda-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), dir)
}

func TestAWSOwnSampleEventsArrive(t *testing.T) {
	format2 := "GET id.execute-api.us-east-1.amazonaws.com /my/path?parameter1=value1&parameter1=value2&parameter2=value  13 cookie1; cookie2"
	for name, want := range map[string]string{
		"events/testdata/apigw-request.json":                                                  "POST gy415nuibc.execute-api.us-east-1.amazonaws.com /hello/world?name=me 192.168.196.186:0 13 ",
		"events/testdata/apigw-restapi-openapi-request.json":                                  "POST gy415nuibc.execute-api.us-east-1.amazonaws.com /hello/world?name=me 192.168.196.186:0 13 ",
		"events/testdata/apigw-v2-request-no-authorizer.json":                                 "GET aaaaaaaaaa.execute-api.us-west-2.amazonaws.com / 1.2.3.4:0 0 ",
		"events/testdata/apigw-v2-request-iam.json":                                           format2,
		"events/testdata/apigw-v2-request-jwt-authorizer.json":                                format2,
		"events/testdata/apigw-v2-request-lambda-authorizer.json":                             format2,
		"events/testdata/alb-lambda-target-request-headers-only.json":                         "GET lambda-test-alb-1334523864.us-east-1.elb.amazonaws.com /?key=hello 25.12.198.67:0 0 ",
		"events/testdata/alb-lambda-target-request-multivalue-headers.json":                   "GET lambda-test-alb-1234567.us-east-1.elb.amazonaws.com /?key=hello 72.21.198.67:0 0 ",
		"events/testdata/lambda-urls-request.json":                                            "POST url-id.lambda-url.us-west-2.on.aws /my/path?parameter1=value1&parameter1=value2&parameter2=value 123.123.123.123:0 18 cookie1; cookie2",
		"lambdaurl/testdata/function-url-domain-only-get-request.json":                        "GET lambda-url-id.lambda-url.us-west-2.on.aws / 127.0.0.1:0 0 ",
		"lambdaurl/testdata/function-url-domain-only-get-request-trailing-slash.json":         "GET lambda-url-id.lambda-url.us-west-2.on.aws / 127.0.0.1:0 0 ",
		"lambdaurl/testdata/function-url-domain-only-request-with-base64-encoded-body.json":   "POST lambda-url-id.lambda-url.us-west-2.on.aws / 127.0.0.1:0 6 ",
		"lambdaurl/testdata/function-url-request-with-headers-and-cookies-and-text-body.json": "POST lambda-url-id.lambda-url.us-west-2.on.aws /hello?hello=world&foo=bar 127.0.0.1:0 18 foo=bar; hello=hello",
	} {
		payload, err := os.ReadFile(awsEvents(t, name))
		if err != nil {
			t.Fatal(err)
		}
		got := mustReceive(t, bytes.ReplaceAll(payload, []byte("<url-id>"), []byte("url-id")))
		line := strings.Join([]string{got.method, got.host, got.uri, got.remote, fmt.Sprint(got.length), strings.Join(got.header["Cookie"], "|")}, " ")
		if line != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, line, want)
		}
	}
}

func TestRepliesOfEveryFront(t *testing.T) {
	everyFront(t, func(t *testing.T, front string, event object) {
		b, err := (&lambdahttp.Adapter{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h["Set-Cookie"] = []string{"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2", "c=3"}
			h["Vary"] = []string{"Accept", "Origin"}
			h["X-Latin"] = []string{"caf\xe9"}
			h["X-Split"], h["X Y"] = []string{"a\r\nSet-Cookie: x"}, []string{"no token"}
			h["Content-Type"] = []string{"text/plain"}
			h["Connection"], h["Transfer-Encoding"], h["Content-Length"] = []string{"close"}, []string{"chunked"}, []string{"5"}
			w.WriteHeader(103)
			w.WriteHeader(201)
			h.Set("X-Late", "1")
			io.WriteString(w, "hello")
		})}).Invoke(t.Context(), marshalled(t, event))
		if err != nil {
			t.Fatal(err)
		}
		var got object
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		cookies := []any{"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2", "c=3"}
		joined := object{"Content-Type": "text/plain", "Vary": "Accept,Origin", "X-Latin": "café", "X-Split": "a  Set-Cookie: x"}
		lists := object{"Content-Type": []any{"text/plain"}, "Vary": []any{"Accept", "Origin"}, "Set-Cookie": cookies, "X-Latin": []any{"café"}, "X-Split": []any{"a  Set-Cookie: x"}}
		spelt := maps.Clone(joined)
		spelt["Set-Cookie"], spelt["set-Cookie"], spelt["SEt-Cookie"] = cookies[0], cookies[1], cookies[2]
		want := object{"statusCode": 201.0, "body": "hello"}
		switch front {
		case "http-api", "function-url":
			want["headers"], want["cookies"] = joined, cookies
		case "rest-api":
			want["multiValueHeaders"] = lists
		case "alb-multi":
			want["multiValueHeaders"], want["statusDescription"] = lists, "201 Created"
		default:
			want["headers"], want["statusDescription"] = spelt, "201 Created"
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

func marshalled(t testing.TB, event any) []byte {
	t.Helper()
	b, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The front or Lambda would answer a larger reply with an error of its own.
func TestReplyLimitsAreThoseOfTheFront(t *testing.T) {
	everyFront(t, func(t *testing.T, front string, event object) {
		limit := 6291556
		if strings.HasPrefix(front, "alb") {
			limit = 1 << 20
		}
		answers := func(size int) (int, int) {
			a := &lambdahttp.Adapter{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				w.Write(bytes.Repeat([]byte("a"), size))
			})}
			b, err := a.Invoke(t.Context(), marshalled(t, event))
			var r reply
			if err != nil || json.Unmarshal(b, &r) != nil {
				t.Fatalf("%.100s, %v", b, err)
			}
			return r.StatusCode, len(b)
		}
		_, ten := answers(10)
		overhead := ten - 10
		if status, size := answers(limit - overhead); status != 200 || size != limit {
			t.Errorf("at the limit: %d, %d bytes", status, size)
		}
		if status, _ := answers(limit - overhead + 1); status != 502 {
			t.Errorf("beyond the limit: %d", status)
		}
	})
}

// The buffers of the Runtime API's client can have any size. The reply must be the same for each size.
func TestReplyIsTheSameInPiecesOfAnySize(t *testing.T) {
	for name, body := range map[string]string{"text": strings.Repeat("ab\"\\\n\x01ü🙂", 50), "binary": strings.Repeat("\xff\x00a", 101) + "x"} {
		a := &lambdahttp.Adapter{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, body)
		})}
		var e lambdahttp.Event
		if err := json.Unmarshal(marshalled(t, sample(t, "http-api")), &e); err != nil {
			t.Fatal(err)
		}
		for size := 1; size < 40; size++ {
			r, err := a.Handle(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			var all []byte
			for buf := make([]byte, size); ; {
				n, err := r.Read(buf)
				all = append(all, buf[:n]...)
				if err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			var got reply
			if err := json.Unmarshal(all, &got); err != nil || got.body(t) != body {
				t.Fatalf("%s in pieces of %d: %v, %q", name, size, err, all)
			}
		}
	}
}

// The timeout of a front counts from its receipt of the request, and not from the function's receipt of the event.
func TestReplyComesBeforeTheFrontGivesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	invocation, _ := ctx.Deadline()
	for _, c := range []struct {
		front   string
		adapter *lambdahttp.Adapter
		age     time.Duration
		want    time.Duration // from now; zero means the invocation's
	}{
		{"http-api", &lambdahttp.Adapter{}, 0, 30 * time.Second},
		{"http-api", &lambdahttp.Adapter{}, 10 * time.Second, 20 * time.Second},
		{"http-api", &lambdahttp.Adapter{}, time.Hour, 30 * time.Second},    // a recorded event
		{"http-api", &lambdahttp.Adapter{}, -time.Minute, 30 * time.Second}, // a clock that is ahead
		{"rest-api", &lambdahttp.Adapter{}, 0, 29 * time.Second},
		{"rest-api", &lambdahttp.Adapter{Stream: true}, 0, 0},
		{"rest-api", &lambdahttp.Adapter{FrontTimeout: 2 * time.Minute}, 0, 2 * time.Minute},
		{"http-api", &lambdahttp.Adapter{FrontTimeout: -1}, 0, 0},
		{"function-url", &lambdahttp.Adapter{}, 0, 0},
		{"alb-multi", &lambdahttp.Adapter{}, 0, 0},
		{"lattice", &lambdahttp.Adapter{}, 0, 0},
	} {
		event := sample(t, c.front)
		now := time.Now()
		for _, name := range []string{"timeEpoch", "requestTimeEpoch"} {
			if rc := event["requestContext"].(object); rc[name] != nil && c.front != "lattice" {
				rc[name] = now.Add(-c.age).UnixMilli()
			}
		}
		c.adapter.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			end, ok := r.Context().Deadline()
			want := invocation
			if c.want > 0 {
				want = now.Add(c.want)
			}
			if off := end.Sub(want.Add(-500 * time.Millisecond)); !ok || off < -time.Second || off > 5*time.Second {
				t.Errorf("%s, age %v: off by %v", c.front, c.age, off)
			}
		})
		if _, err := c.adapter.Invoke(ctx, marshalled(t, event)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInvocationsAreKnownByTheirContext(t *testing.T) {
	a := &lambdahttp.Adapter{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, lambdahttp.TraceID(r.Context()))
	})}
	ctx := withTrace{t.Context()}
	if r := invokeContext(ctx, t, a, sample(t, "http-api")); r.Body != "Root=1-a" {
		t.Errorf("%q", r.Body)
	}
	if r := invoke(t, a, sample(t, "http-api")); r.Body != "" || lambdahttp.RequestID(t.Context()) != "" {
		t.Errorf("without: %q", r.Body)
	}
}

// withTrace returns a context with the trace header, under the plain string that aws-lambda-go uses as its key.
type withTrace struct{ context.Context }

func (c withTrace) Value(key any) any {
	if key == "x-amzn-trace-id" {
		return "Root=1-a"
	}
	return c.Context.Value(key)
}

func TestFrontsAreAllSampled(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) != len(frontNames) {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".json"); !slices.Contains(frontNames, name) {
			t.Errorf("%s is not tested", name)
		}
	}
}
