package main_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/localfront"
	"github.com/sleightproxy/sleight/internal/runtimeapi"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

const frontHost = "one.spec-trust.test"

// wire is an origin that keeps the bytes of each request, and responds with the test's bytes for its path. It speaks HTTP/1.1 over
// TLS.
type wire struct {
	addr, caPEM string

	answers map[string]string // by path; other paths get "ok"

	mu   sync.Mutex
	seen []string
	more chan struct{} // closed and replaced at each request
}

func newWire(t *testing.T, answers map[string]string) *wire {
	t.Helper()
	ca := tlstest.NewAuthority(t)
	leaf := tlstest.Leaf(t, ca, frontHost)
	o := &wire{caPEM: ca.PEM(), answers: answers, more: make(chan struct{})}
	o.addr = tlstest.Listen(t, func(c net.Conn) {
		o.serve(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{leaf}, NextProtos: []string{"http/1.1"}}))
	})
	return o
}

func (o *wire) serve(c net.Conn) {
	defer c.Close()
	for r := bufio.NewReader(c); ; {
		var head bytes.Buffer
		length := 0
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			head.WriteString(line)
			if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "Content-Length") {
				length, _ = strconv.Atoi(strings.TrimSpace(value))
			}
			if line == "\r\n" {
				break
			}
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		request := head.String() + string(body)
		target := strings.Fields(request)[1]
		path, _, _ := strings.Cut(target, "?")
		o.mu.Lock()
		o.seen = append(o.seen, request)
		close(o.more)
		o.more = make(chan struct{})
		answer, ok := o.answers[path]
		if !ok {
			answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
		}
		o.mu.Unlock()
		io.WriteString(c, answer)
		if strings.Contains(answer, "\r\nConnection: close\r\n") {
			return
		}
	}
}

// last returns the last request: its line, its headers, its body.
func (o *wire) last(t *testing.T) (line string, header textproto.MIMEHeader, body string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.seen) == 0 {
		t.Fatal("the origin saw no request")
	}
	r := textproto.NewReader(bufio.NewReader(strings.NewReader(o.seen[len(o.seen)-1])))
	line, err := r.ReadLine()
	if err != nil {
		t.Fatal(err)
	}
	if header, err = r.ReadMIMEHeader(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r.R)
	if err != nil {
		t.Fatal(err)
	}
	return line, header, string(rest)
}

// await returns the first request with this beginning, and "" if ctx ends before.
func (o *wire) await(ctx context.Context, prefix string) string {
	for {
		o.mu.Lock()
		i := slices.IndexFunc(o.seen, func(s string) bool { return strings.HasPrefix(s, prefix) })
		more := o.more
		if i >= 0 {
			defer o.mu.Unlock()
			return o.seen[i]
		}
		o.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return ""
		}
	}
}

func (o *wire) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.seen)
}

// localFront is a front of one kind before the function.
type localFront struct {
	name string
	localfront.Front
}

func localFronts() []localFront {
	return []localFront{
		{"http-api", localfront.Front{Kind: localfront.HTTPAPI}},
		{"rest", localfront.Front{Kind: localfront.REST}},
		{"alb", localfront.Front{Kind: localfront.ALB}},
		{"alb-single", localfront.Front{Kind: localfront.ALB, SingleValue: true}},
		{"function-url", localfront.Front{Kind: localfront.FunctionURL}},
		{"function-url-buffered", localfront.Front{Kind: localfront.FunctionURL, Buffered: true}},
		{"rest-stream", localfront.Front{Kind: localfront.RESTStream}},
	}
}

func (f *localFront) streams() bool { return f.name == "function-url" || f.name == "rest-stream" }

// startFront serves the function behind a front, and returns the front's address.
func startFront(t *testing.T, f *localFront, o *wire, env ...string) (addr string) {
	t.Helper()
	routes := routesFile(t, object{"host": frontHost, "origin": o.addr, "ca_pem": o.caPEM})
	mode := "buffered"
	if f.streams() {
		mode = "stream"
	}
	var log bytes.Buffer
	function := &runtimeapi.Function{Config: runtimeapi.Config{Binary: lambdatest.Build(t), Output: &log, Env: append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_LAMBDA_FUNCTION_NAME=test", "AWS_REGION=us-east-1",
		"ROUTES_FILE=" + routes, "ORIGIN_ALLOW_CIDRS=127.0.0.0/8", "RESPONSE_MODE=" + mode,
	}, env...)}}
	if err := function.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.Invoke = function.Invoke
	server := httptest.NewServer(&f.Front)
	t.Cleanup(func() {
		server.Close()
		function.Close()
		if t.Failed() {
			t.Logf("the function's output:\n%s", &log)
		}
	})
	return server.Listener.Addr().String()
}

// send sends the bytes of a request, and reads the response as clients do.
func send(t *testing.T, addr, method, raw string) (r *http.Response, body string, err error) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Minute)) // a front that hangs
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	if r, err = http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method}); err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return r, string(b), err
}

func everyLocalFront(t *testing.T, answers map[string]string, test func(t *testing.T, f *localFront, addr string, o *wire)) {
	for _, f := range localFronts() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			o := newWire(t, answers)
			test(t, &f, startFront(t, &f, o), o)
		})
	}
}

func TestRequestsReachTheOriginByteForByte(t *testing.T) {
	t.Parallel()
	everyLocalFront(t, nil, func(t *testing.T, f *localFront, addr string, o *wire) {
		decodes := f.name == "http-api"
		for path, decoded := range map[string]string{
			"/capture/space%20value": "", "/a%2Fb": "/a/b", "/a%3Fb": "/a", "/a%23b": "", "/100%25": "", "/%C3%A9": "", "/a;b": "", "//x//y": "", "/x/": "",
			"/x%252Fy": "", "/a%zz": "/a%25zz", "/[x]": "/%5Bx%5D",
		} {
			want := path
			if decodes && decoded != "" {
				want = decoded
			}
			before := o.count()
			r, body, err := send(t, addr, "GET", "GET "+path+" HTTP/1.1\r\nHost: "+frontHost+"\r\n\r\n")
			if path == "/a%zz" && r.StatusCode == 400 && o.count() == before {
				continue // the function or the local front refuses it
			}
			if err != nil || r.StatusCode != 200 || body != "ok" {
				t.Errorf("%s: %d %q, %v", path, r.StatusCode, body, err)
			}
			if line, _, _ := o.last(t); line != "GET "+want+" HTTP/1.1" {
				t.Errorf("%s: the origin saw %q", path, line)
			}
		}
		for query, sorted := range map[string]string{
			"repeat=one&repeat=two&redirect=https%3A%2F%2Fexample.com%2Fa%2Fb&lit=a+b&enc=a%2Bb&empty=": "empty=&enc=a%2Bb&lit=a+b&redirect=https%3A%2F%2Fexample.com%2Fa%2Fb&repeat=one&repeat=two",
			"k%5Bx%5D=1": "k%5Bx%5D=1", "flag": "flag=", "a=1&b=2&a=3": "a=1&a=3&b=2", "": "",
		} {
			want := query
			switch f.name {
			case "rest", "rest-stream": // these fronts decode the path
				want = strings.ReplaceAll(sorted, "lit=a+b", "lit=a%20b")
			case "alb":
				want = sorted
			case "alb-single":
				want = strings.NewReplacer("repeat=one&", "", "a=1&a=3", "a=3").Replace(sorted)
			}
			if want != "" {
				want = "?" + want
			}
			target := strings.TrimSuffix("/q?"+query, "?")
			if _, _, err := send(t, addr, "GET", "GET "+target+" HTTP/1.1\r\nHost: "+frontHost+"\r\n\r\n"); err != nil {
				t.Error(err)
			}
			if line, _, _ := o.last(t); line != "GET /q"+want+" HTTP/1.1" {
				t.Errorf("%s: the origin saw %q, want %q", query, line, want)
			}
		}
		body := "a\x00b\xff 🙂\r\n"
		if _, _, err := send(t, addr, "PROPFIND", "PROPFIND /h HTTP/1.1\r\nHost: "+frontHost+"\r\nContent-Length: "+fmt.Sprint(len(body))+"\r\n"+
			"If-None-Match: \"a,b\"\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nSec-Ch-Ua: \"A\";v=\"1\", \"B\"\r\nX-Two: first\r\nX-Two: second\r\n"+
			"Cookie: a=1; b=2\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil.test\r\nX-GoLambdaProxy-ApiGw-Context: {}\r\nUpgrade: h2c\r\n"+
			"Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nTe: trailers, deflate\r\nProxy-Authorization: x\r\nUser-Agent: a (b, c)\r\n\r\n"+body); err != nil {
			t.Error(err)
		}
		line, header, got := o.last(t)
		if line != "PROPFIND /h HTTP/1.1" || got != body {
			t.Errorf("the origin saw %q, body %q", line, got)
		}
		two := []string{"first", "second"}
		switch f.name {
		case "http-api", "function-url", "function-url-buffered":
			two = []string{"first,second"}
		case "alb-single":
			two = two[1:]
		}
		proto := "https"
		if strings.HasPrefix(f.name, "alb") {
			proto = "http" // the client's
		}
		for name, want := range map[string][]string{
			"Host": {frontHost}, "If-None-Match": {`"a,b"`}, "Date": {"Tue, 15 Nov 1994 08:12:31 GMT"}, "Sec-Ch-Ua": {`"A";v="1", "B"`}, "X-Two": two,
			"Cookie": {"a=1; b=2"}, "X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {frontHost}, "X-Forwarded-Proto": {proto},
			"X-Golambdaproxy-Apigw-Context": nil, "Upgrade": nil, "X-Hop": nil, "Keep-Alive": nil, "Proxy-Authorization": nil, "Connection": nil,
			"User-Agent": {"a (b, c)"}, "Content-Length": {fmt.Sprint(len(body))}, "Accept-Encoding": nil,
		} {
			if !slices.Equal(header[name], want) {
				t.Errorf("%s: %q, want %q", name, header[name], want)
			}
		}
		if r, body, err := send(t, addr, "GET", "GET / HTTP/1.1\r\nHost: x.execute-api.us-east-1.amazonaws.com\r\n\r\n"); err != nil || r.StatusCode != 404 || !strings.Contains(body, "No site is served") {
			t.Errorf("a host without a route: %d %s %v", r.StatusCode, body, err)
		}
	})
}

func TestResponsesReachTheClientUnchanged(t *testing.T) {
	t.Parallel()
	gzip := "\x1f\x8b\x08\x00\xff\x00"
	everyLocalFront(t, map[string]string{
		"/gzip":      "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\n" + gzip,
		"/gziptext":  "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nvalid",
		"/png":       "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 6\r\n\r\nas\x00cii",
		"/latin":     "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Length: 1\r\n\r\n\xe4",
		"/cookies":   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\nSet-Cookie: b=2\r\nVary: Accept\r\nVary: Origin\r\nContent-Length: 2\r\n\r\nok",
		"/early":     "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok",
		"/204":       "HTTP/1.1 204 No Content\r\nEtag: \"e\"\r\n\r\n",
		"/304":       "HTTP/1.1 304 Not Modified\r\nEtag: \"e\"\r\nContent-Length: 100\r\n\r\n",
		"/head":      "HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\nContent-Length: 10000000\r\n\r\n",
		"/empty":     "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"/302":       "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
		"/no-type":   "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
		"/chunked":   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
		"/401":       "HTTP/1.1 401 Unauthorized\r\nWww-Authenticate: Basic realm=\"x\"\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno",
		"/close":     "HTTP/1.1 200 OK\r\nConnection: close\r\nKeep-Alive: timeout=5\r\nContent-Type: text/plain\r\n\r\nuntil the end",
		"/truncated": "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf",
		"/http10":    "HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\nold",
	}, func(t *testing.T, f *localFront, addr string, _ *wire) {
		rest := strings.HasPrefix(f.name, "rest")
		for _, c := range []struct {
			method, path string
			status       int
			body         string
			header       http.Header // a nil value means no such field
		}{
			{"GET", "/gzip", 200, gzip, http.Header{"Content-Encoding": {"gzip"}, "Content-Type": {"text/html"}}},
			{"GET", "/gziptext", 200, "valid", http.Header{"Content-Encoding": {"gzip"}}},
			{"GET", "/png", 200, "as\x00cii", http.Header{"Content-Type": {"image/png"}}},
			{"GET", "/latin", 200, "\xe4", http.Header{"Content-Type": {"text/plain; charset=iso-8859-1"}}},
			{"GET", "/early", 200, "ok", http.Header{"Link": nil}},
			{"GET", "/204", 204, "", http.Header{"Etag": {`"e"`}, "Content-Type": nil}},
			{"GET", "/304", 304, "", http.Header{"Etag": {`"e"`}, "Content-Type": nil}},
			{"HEAD", "/head", 200, "", http.Header{"Content-Type": {"application/zip"}}},
			{"GET", "/empty", 200, "", nil},
			{"GET", "/302", 302, "", http.Header{"Location": {"/x"}}},
			{"GET", "/no-type", 200, "<html>", http.Header{"Content-Type": {"text/html; charset=utf-8"}}},
			{"GET", "/chunked", 200, "ok", http.Header{"Trailer": nil, "X-T": nil, "Trailer:x-T": nil}},
			{"GET", "/close", 200, "until the end", http.Header{"Keep-Alive": nil}},
			{"GET", "/http10", 200, "old", nil},
		} {
			r, body, err := send(t, addr, c.method, c.method+" "+c.path+" HTTP/1.1\r\nHost: "+frontHost+"\r\n\r\n")
			if err != nil || r.StatusCode != c.status || body != c.body {
				t.Errorf("%s: %d %q, %v", c.path, r.StatusCode, body, err)
			}
			for name, want := range c.header {
				if !slices.Equal(r.Header[name], want) {
					t.Errorf("%s: %s is %q, want %q", c.path, name, r.Header[name], want)
				}
			}
		}
		if r, _, _ := send(t, addr, "HEAD", "HEAD /head HTTP/1.1\r\nHost: "+frontHost+"\r\n\r\n"); !rest && r.Header.Get("Content-Length") != "10000000" {
			t.Errorf("HEAD: Content-Length %q", r.Header.Get("Content-Length"))
		}
		r, _, _ := send(t, addr, "GET", "GET /cookies HTTP/1.1\r\nHost: "+frontHost+"\r\n\r\n")
		cookies := slices.Sorted(slices.Values(r.Header["Set-Cookie"]))
		if !slices.Equal(cookies, []string{"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"}) {
			t.Errorf("cookies %q", cookies)
		}
		if vary := strings.ReplaceAll(strings.Join(r.Header["Vary"], ","), " ", ""); vary != "Accept,Origin" {
			t.Errorf("Vary %q", vary)
		}
		challenge := "Www-Authenticate"
		if rest {
			challenge = "X-Amzn-Remapped-Www-Authenticate"
		}
		if r, body, _ := send(t, addr, "GET", "GET /401 HTTP/1.1\r\nHost: "+frontHost+"\r\n\r\n"); r.StatusCode != 401 || body != "no" || r.Header.Get(challenge) != `Basic realm="x"` {
			t.Errorf("401: %d %q %v", r.StatusCode, body, r.Header)
		}
		// An incomplete response must not look complete.
		r, body, err := send(t, addr, "GET", "GET /truncated HTTP/1.1\r\nHost: "+frontHost+"\r\n\r\n")
		if f.streams() && (r.StatusCode != 200 || body != "half" || err == nil) || !f.streams() && (r.StatusCode != 502 || r.Header.Get("Proxy-Status") != "sleight; error=http_response_incomplete" || err != nil) {
			t.Errorf("truncated: %d %q, %v", r.StatusCode, body, err)
		}
	})
}

func TestResponsesBeyondTheFrontsLimitAreRefused(t *testing.T) {
	t.Parallel()
	length := func(n int, typ, fill string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", typ, n, strings.Repeat(fill, n))
	}
	everyLocalFront(t, map[string]string{
		"/text": length(5_900_000, "text/plain", "a"), "/binary": length(4_600_000, "image/png", "a"), "/binary-over": length(4_800_000, "image/png", "a"),
		"/quotes": length(3_200_000, "text/plain", `"`), "/control": length(3_000_000, "text/plain", "\x01"), "/over": length(7_000_000, "text/plain", "a"),
		"/megabyte": length(1_000_000, "text/plain", "a"), "/headers": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Large: " + strings.Repeat("x", 11_000) + "\r\n\r\n",
	}, func(t *testing.T, f *localFront, addr string, _ *wire) {
		for path, c := range map[string]struct{ api, alb, length int }{
			"/text": {200, 502, 5_900_000}, "/binary": {200, 502, 4_600_000}, "/binary-over": {502, 502, 4_800_000}, "/quotes": {200, 502, 3_200_000},
			"/control": {200, 502, 3_000_000}, "/over": {502, 502, 7_000_000}, "/megabyte": {200, 200, 1_000_000}, "/headers": {200, 200, 0},
		} {
			want, limit := c.api, "6.29 MB" // Lambda's limit of a reply, with its encoding
			if strings.HasPrefix(f.name, "alb") {
				want, limit = c.alb, "1 MiB"
			}
			if f.streams() {
				want = 200
			}
			r, body, err := send(t, addr, "GET", "GET "+path+" HTTP/1.1\r\nHost: "+frontHost+"\r\n\r\n")
			if err != nil || r.StatusCode != want || want == 200 && len(body) != c.length {
				t.Errorf("%s: %d with %d bytes, %v; want %d", path, r.StatusCode, len(body), err, want)
			}
			if want == 502 && (r.Header.Get("Proxy-Status") != "sleight; error=http_response_body_size" || !strings.Contains(body, "RESPONSE_MODE=stream") || !strings.Contains(body, limit)) {
				t.Errorf("%s: %q %s", path, r.Header.Get("Proxy-Status"), body)
			}
		}
	})
}

// If the front timed out first, its response would not name the cause.
func TestSlowOriginTimesOutBeforeTheFrontDoes(t *testing.T) {
	t.Parallel()
	everyLocalFront(t, map[string]string{"/slow": ""}, func(t *testing.T, f *localFront, _ string, o *wire) {
		again := localFront{name: f.name, Front: localfront.Front{Kind: f.Kind, SingleValue: f.SingleValue, Buffered: f.Buffered, Timeout: 2 * time.Second}}
		addr := startFront(t, &again, o, "FRONT_TIMEOUT=2s")
		r, body, err := send(t, addr, "GET", "GET /slow HTTP/1.1\r\nHost: "+frontHost+"\r\n\r\n")
		if err != nil || r.StatusCode != 504 || r.Header.Get("Proxy-Status") != "sleight; error=http_response_timeout" {
			t.Errorf("%d %s, %v", r.StatusCode, body, err)
		}
	})
}

func TestCurlSeesTheOriginThroughEveryFront(t *testing.T) {
	t.Parallel()
	page := strings.Repeat("<p>hello</p>\n", 1000)
	everyLocalFront(t, map[string]string{"/page": fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: %d\r\n\r\n%s", len(page), page)},
		func(t *testing.T, f *localFront, addr string, o *wire) {
			jar := filepath.Join(t.TempDir(), "cookies")
			for range 2 { // the second time with the cookies of the first
				cmd := exec.Command("curl", "--silent", "--show-error", "--fail", "--max-time", "20", "--compressed", "--cookie", jar, "--cookie-jar", jar,
					"--data-binary", "x=ü&y=1", "--connect-to", "::"+addr, "http://"+frontHost+"/page?a=1")
				out, err := cmd.CombinedOutput()
				if err != nil || string(out) != page {
					t.Fatalf("curl: %v: %.300s", err, out)
				}
			}
			line, header, body := o.last(t)
			if line != "POST /page?a=1 HTTP/1.1" || body != "x=ü&y=1" || header.Get("Content-Type") != "application/x-www-form-urlencoded" ||
				!strings.Contains(header.Get("Cookie"), "a=1") || !strings.Contains(header.Get("Cookie"), "b=2") || len(header["Cookie"]) != 1 {
				t.Errorf("the origin saw %q %q %q", line, header, body)
			}
		})
}

// Each front treats Accept, HEAD and the length of a response in its own way.
func TestErrorsHaveTheFormThatTheClientPrefers(t *testing.T) {
	t.Parallel()
	everyLocalFront(t, nil, func(t *testing.T, _ *localFront, addr string, _ *wire) {
		for _, c := range []struct{ method, accept, contentType, begins string }{
			{"GET", "*/*", "application/problem+json", "{\n  \"type\": "},
			{"GET", "text/html,*/*;q=0.8", "text/html; charset=utf-8", "<!DOCTYPE html>"},
			{"HEAD", "text/html,*/*;q=0.8", "text/html; charset=utf-8", ""},
		} {
			r, body, err := send(t, addr, c.method, c.method+" / HTTP/1.1\r\nHost: unmapped.test\r\nAccept: "+c.accept+"\r\n\r\n")
			if err != nil || r.StatusCode != 404 || r.Header.Get("Proxy-Status") != "sleight; error=destination_not_found" || r.Header.Get("Content-Type") != c.contentType ||
				!strings.HasPrefix(body, c.begins) || (body == "") != (c.method == "HEAD") {
				t.Errorf("%s with Accept: %s: %d %v %q, %v", c.method, c.accept, r.StatusCode, r.Header, body, err)
			}
		}
	})
}
