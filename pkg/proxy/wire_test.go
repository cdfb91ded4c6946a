package proxy_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// wire is a proxy between two sockets. The tests choose every byte on both, because net/http on both sides would agree with
// itself, and corrects malformed input. The origin is a.test, over TLS.
type wire struct {
	addr    string // of the proxy
	handler http.Handler

	mu   sync.Mutex
	seen []string
}

// newWire starts the proxy and the origin. The origin calls serve for each connection.
func newWire(t testing.TB, serve func(*originConn), change ...func(*proxy.Config)) *wire {
	t.Helper()
	w := &wire{}
	ca := tlstest.NewAuthority(t)
	config := &tls.Config{NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{tlstest.Leaf(t, ca, "a.test")}}
	address := tlstest.Listen(t, func(raw net.Conn) {
		c := tls.Server(raw, config)
		defer c.Close()
		if c.Handshake() == nil {
			serve(&originConn{c, bufio.NewReader(c), w})
		}
	})
	b := start(t, routes(t, route{"host": "a.test", "origin": address, "ca_pem": ca.PEM()}), change...)
	w.handler = b.handler
	server := httptest.NewUnstartedServer(b.handler)
	server.Config.DisableGeneralOptionsHandler = true // "OPTIONS *" is for the handler too
	server.Start()
	t.Cleanup(server.Close)
	w.addr = server.Listener.Addr().String()
	return w
}

// requests returns the requests that the origin has received so far, byte for byte. After the end of the test or t.Run that made
// the wire, these are all.
func (w *wire) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// dial connects a client.
func (w *wire) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// send writes the bytes to the proxy, and returns its bytes until it closes the connection. It fails the test if the proxy does
// not close it.
func (w *wire) send(t testing.TB, bytes string) string {
	t.Helper()
	c := w.dial(t)
	if _, err := io.WriteString(c, bytes); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Errorf("the connection stays open after %q: %.300q", bytes, got)
	}
	return string(got)
}

// originConn is the origin's side of a connection.
type originConn struct {
	*tls.Conn
	r *bufio.Reader
	w *wire
}

// request reads a request with its body, and records it. It returns false at the end of the connection.
func (c *originConn) request() (string, bool) {
	head, ok := c.head()
	if !ok {
		return "", false
	}
	whole := head + c.body(head)
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.seen = append(c.w.seen, whole)
	return whole, true
}

// head reads up to the empty line.
func (c *originConn) head() (string, bool) {
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		b.WriteString(line)
		switch {
		case err != nil && b.Len() == 0:
			return "", false
		case err != nil || line == "\r\n":
			return b.String(), true
		}
	}
}

// body reads the body after the head, with its framing.
func (c *originConn) body(head string) string {
	if strings.EqualFold(field(head, "Transfer-Encoding"), "chunked") {
		var b strings.Builder
		for {
			line, err := c.r.ReadString('\n')
			b.WriteString(line)
			size, _ := strconv.ParseInt(strings.TrimSpace(line), 16, 64)
			if err != nil {
				return b.String()
			}
			if size == 0 {
				trailers, _ := c.head()
				return b.String() + trailers
			}
			io.CopyN(&b, c.r, size+int64(len("\r\n")))
		}
	}
	n, _ := strconv.Atoi(field(head, "Content-Length"))
	body := make([]byte, n)
	n, _ = io.ReadFull(c.r, body)
	return string(body[:n])
}

// always is an origin that sends the same bytes for every request. It closes the connection after a response without a length.
func always(answer string) func(*originConn) {
	return func(c *originConn) {
		for {
			if _, ok := c.request(); !ok {
				return
			}
			io.WriteString(c, answer)
			if field(answer, "Content-Length") == "" && field(answer, "Transfer-Encoding") == "" && !strings.Contains(answer, " 204 ") && !strings.Contains(answer, " 304 ") {
				return
			}
		}
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// lines returns the first line of a message, its fields and its body. It sorts the fields by name, because the order of different
// names has no meaning (RFC 9110 section 5.3). It keeps the order of fields with the same name.
func lines(message string) (first string, fields []string, body string) {
	head, body, _ := strings.Cut(message, "\r\n\r\n")
	fields = strings.Split(head, "\r\n")
	first, fields = fields[0], fields[1:]
	slices.SortStableFunc(fields, func(a, b string) int { return strings.Compare(fieldName(a), fieldName(b)) })
	return first, fields, body
}

func fieldName(line string) string {
	name, _, _ := strings.Cut(line, ":")
	return strings.ToLower(name)
}

// field returns the values of a field, joined by "|".
func field(message, name string) string {
	_, fields, _ := lines(message)
	var all []string
	for _, f := range fields {
		if fieldName(f) == strings.ToLower(name) {
			_, value, _ := strings.Cut(f, ":")
			all = append(all, strings.TrimSpace(value))
		}
	}
	return strings.Join(all, "|")
}

// added are the fields that the proxy adds to a request. Other tests are for them.
var added = []string{"via", "cdn-loop", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}

// plain returns a message without the fields that the proxy adds, with the other fields sorted.
func plain(message string) string {
	first, fields, body := lines(message)
	fields = slices.DeleteFunc(fields, func(f string) bool { return slices.Contains(added, fieldName(f)) })
	return strings.Join(append([]string{first}, fields...), "\r\n") + "\r\n\r\n" + body
}

// wantSame compares two messages without the fields that the proxy adds.
func wantSame(t *testing.T, what, got, want string) {
	t.Helper()
	if got, want := plain(got), plain(want); got != want {
		t.Errorf("%s\n%q, want\n%q", what, got, want)
	}
}

func TestRequestPassesUnchanged(t *testing.T) {
	t.Parallel()
	const closing = "Host: a.test\r\nConnection: close\r\n"
	for name, row := range map[string]struct{ in, out string }{
		"path and query": {"GET /a%2Fb/../c;d?x=1;y=%zz&& HTTP/1.1\r\n" + closing + "\r\n", "GET /a%2Fb/../c;d?x=1;y=%zz&& HTTP/1.1\r\nHost: a.test\r\n\r\n"},
		"double slashes": {"GET //a//b//?// HTTP/1.1\r\n" + closing + "\r\n", "GET //a//b//?// HTTP/1.1\r\nHost: a.test\r\n\r\n"},
		"empty query":    {"GET /? HTTP/1.1\r\n" + closing + "\r\n", "GET /? HTTP/1.1\r\nHost: a.test\r\n\r\n"},
		"escapes":        {"GET /%41%7e%2f%C3%a9/'()*!$,:@ HTTP/1.1\r\n" + closing + "\r\n", "GET /%41%7e%2f%C3%a9/'()*!$,:@ HTTP/1.1\r\nHost: a.test\r\n\r\n"},
		// Browsers do not escape such bytes. An escaped slash must stay escaped.
		"bar beside a %2F":   {"GET /a%2Fb|c HTTP/1.1\r\n" + closing + "\r\n", "GET /a%2Fb%7Cc HTTP/1.1\r\nHost: a.test\r\n\r\n"},
		"quote beside a %2F": {"GET /..%2F\"%2F.. HTTP/1.1\r\n" + closing + "\r\n", "GET /..%2F%22%2F.. HTTP/1.1\r\nHost: a.test\r\n\r\n"},
		// Bytes that a request target may not have are escaped. Other bytes that a query may not have stay.
		"raw bytes":        {"GET /\xc3\xa9\"<>^`{|}?\xe9\"<> HTTP/1.1\r\n" + closing + "\r\n", "GET /%C3%A9%22%3C%3E%5E%60%7B%7C%7D?%E9\"<> HTTP/1.1\r\nHost: a.test\r\n\r\n"},
		"asterisk":         {"OPTIONS * HTTP/1.1\r\n" + closing + "\r\n", "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n"},
		"own method":       {"PURGE-it / HTTP/1.1\r\n" + closing + "\r\n", "PURGE-it / HTTP/1.1\r\nHost: a.test\r\n\r\n"},
		"method override":  {"POST / HTTP/1.1\r\n" + closing + "X-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nX-Http-Method-Override: DELETE\r\n\r\n"},
		"repeated fields":  {"GET / HTTP/1.1\r\n" + closing + "X-B: 2\r\nX-A: b\r\nX-B: 1\r\nX-A: a, c\r\nCookie: a=1\r\nCookie: b=2; c=3\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\nX-B: 2\r\nX-B: 1\r\nX-A: b\r\nX-A: a, c\r\nCookie: a=1\r\nCookie: b=2; c=3\r\n\r\n"},
		"odd values":       {"GET / HTTP/1.1\r\n" + closing + "X-Empty:\r\nX-Latin: caf\xe9 \"\\\t;,\r\nAccept-Encoding:  br;q=0 \t\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\nX-Empty: \r\nX-Latin: caf\xe9 \"\\\t;,\r\nAccept-Encoding: br;q=0\r\n\r\n"},
		"length":           {"POST / HTTP/1.1\r\n" + closing + "Content-Length: 5\r\n\r\nhello", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello"},
		"length and GET":   {"GET / HTTP/1.1\r\n" + closing + "Content-Length: 5\r\n\r\nhello", "GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello"},
		"length 0":         {"POST / HTTP/1.1\r\n" + closing + "Content-Length: 0\r\n\r\n", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n"},
		"length 0 and GET": {"GET / HTTP/1.1\r\n" + closing + "Content-Length: 0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"}, // the same message (RFC 9112 section 6.3)
		"chunked":          {"PUT / HTTP/1.1\r\n" + closing + "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n", "PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"empty chunked":    {"PUT / HTTP/1.1\r\n" + closing + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		"HTTP/1.0":         {"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"},
		"Host as written":  {"GET / HTTP/1.1\r\nHost: A.Test.:8080\r\nConnection: close\r\n\r\n", "GET / HTTP/1.1\r\nHost: A.Test.:8080\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, always(ok))
			answer := w.send(t, row.in)
			seen := w.requests()
			if len(seen) != 1 || !strings.HasSuffix(answer, "\r\n\r\nok") {
				t.Fatalf("the origin saw %q, the client %q", seen, answer)
			}
			wantSame(t, "the origin saw", seen[0], row.out)
		})
	}
}

func TestResponsePassesUnchanged(t *testing.T) {
	t.Parallel()
	const date = "Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n"
	const closing = date + "Connection: close\r\n"
	gzipped := "\x1f\x8b\x08\x00 not what it says"
	for name, row := range map[string]struct{ method, origin, client string }{
		"length":              {"GET", "HTTP/1.1 200 OK\r\n" + date + "Content-Length: 5\r\n\r\nhello", "HTTP/1.1 200 OK\r\n" + closing + "Content-Length: 5\r\n\r\nhello"},
		"length 0":            {"GET", "HTTP/1.1 200 OK\r\n" + date + "Content-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\n" + closing + "Content-Length: 0\r\n\r\n"},
		"chunked":             {"GET", "HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\n" + closing + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"chunked, not length": {"GET", "HTTP/1.1 200 OK\r\n" + date + "Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\n" + closing + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"until the end":       {"GET", "HTTP/1.1 200 OK\r\n" + date + "\r\nhello", "HTTP/1.1 200 OK\r\n" + closing + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"until the end, 1.0":  {"GET", "HTTP/1.0 200 OK\r\n" + date + "\r\nhello", "HTTP/1.1 200 OK\r\n" + closing + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"HEAD":                {"HEAD", "HTTP/1.1 200 OK\r\n" + date + "Content-Length: 5\r\nContent-Type: x/y\r\n\r\n", "HTTP/1.1 200 OK\r\n" + closing + "Content-Length: 5\r\nContent-Type: x/y\r\n\r\n"},
		"HEAD without length": {"HEAD", "HTTP/1.1 200 OK\r\n" + date + "\r\n", "HTTP/1.1 200 OK\r\n" + closing + "\r\n"},
		"204":                 {"GET", "HTTP/1.1 204 No Content\r\n" + date + "X-A: b\r\n\r\n", "HTTP/1.1 204 No Content\r\n" + closing + "X-A: b\r\n\r\n"},
		"304":                 {"GET", "HTTP/1.1 304 Not Modified\r\n" + date + "ETag: \"x\"\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n" + closing + "Etag: \"x\"\r\n\r\n"},
		"gzip":                {"GET", "HTTP/1.1 200 OK\r\n" + date + "Content-Encoding: gzip\r\nContent-Length: 21\r\n\r\n" + gzipped, "HTTP/1.1 200 OK\r\n" + closing + "Content-Encoding: gzip\r\nContent-Length: 21\r\n\r\n" + gzipped},
		"range":               {"GET", "HTTP/1.1 206 Partial Content\r\n" + date + "Content-Range: bytes 0-1/5\r\nContent-Length: 2\r\n\r\nhe", "HTTP/1.1 206 Partial Content\r\n" + closing + "Content-Range: bytes 0-1/5\r\nContent-Length: 2\r\n\r\nhe"},
		"repeated fields":     {"GET", "HTTP/1.1 200 OK\r\n" + date + "Set-Cookie: b=2\r\nServer: caf\xe9\r\nSet-Cookie: a=1, \"\r\nX-Empty:\r\nWWW-Authenticate: Negotiate\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\n" + closing + "Set-Cookie: b=2\r\nSet-Cookie: a=1, \"\r\nServer: caf\xe9\r\nX-Empty: \r\nWww-Authenticate: Negotiate\r\nWww-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"},
		"other errors":        {"GET", "HTTP/1.1 503 Slow Down\r\n" + date + "Retry-After: 7\r\nContent-Length: 2\r\n\r\nno", "HTTP/1.1 503 Service Unavailable\r\n" + closing + "Retry-After: 7\r\nContent-Length: 2\r\n\r\nno"}, // the reason phrase is net/http's (RFC 9112 section 4)
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newWire(t, always(row.origin)).send(t, row.method+" / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
			wantSame(t, "the client got", got, row.client)
		})
	}
}

// A response with two lengths must be refused: a client that uses the other length would take a part of the body for the next
// response. An incomplete response must not look complete.
func TestResponseWithInvalidFramingIsRefused(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"two lengths":   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		"signed length": "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
		"unknown codes": "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nok",
		"no status":     "HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok",
		"no HTTP":       "SSH-2.0-OpenSSH\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newWire(t, func(c *originConn) { c.request(); io.WriteString(c, answer) }).send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 502 ") || field(got, "Proxy-Status") != "sleight; error=http_protocol_error" {
				t.Errorf("%q", got)
			}
		})
	}
	for name, answer := range map[string]string{
		"length":         "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
		"chunked":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
		"no last chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
		"chunk too long": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
	} {
		t.Run("incomplete, "+name, func(t *testing.T) {
			t.Parallel()
			got := newWire(t, func(c *originConn) { c.request(); io.WriteString(c, answer) }).send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
			r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), nil)
			if err != nil {
				// On a reused connection, a client would retry the request, even a POST (RFC 9112 section 9.3.1).
				t.Fatalf("the client did not get a header: %v", err)
			}
			defer r.Body.Close()
			if body, err := io.ReadAll(r.Body); err == nil && r.StatusCode == 200 {
				t.Errorf("a complete response of %q: %q", body, got)
			}
		})
	}
}
