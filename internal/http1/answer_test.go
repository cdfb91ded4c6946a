package http1

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipe returns a Conn whose server answers each request with the next of the answers, in one write, and closes the connection after the
// last.
func pipe(t testing.TB, answers ...string) (c *Conn, done func() []bool) {
	t.Helper()
	ours, theirs := net.Pipe()
	var ends []bool
	c = &Conn{
		Conn: ours, Abort: func() { ours.Close() }, MaxHeaderBytes: 4 << 10,
		Done: func(reusable bool) { ends = append(ends, reusable) },
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer theirs.Close()
		br := bufio.NewReader(theirs)
		for _, answer := range answers {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			if _, err := io.WriteString(theirs, answer); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { ours.Close(); <-served })
	return c, func() []bool { return ends }
}

func request(t testing.TB, method string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://a.test/", body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// answer is the result of one request.
type answer struct {
	status   int
	header   http.Header
	body     string
	trailer  http.Header
	reusable bool
	err      error
}

func ask(t testing.TB, method, raw string) (a answer) {
	t.Helper()
	c, ends := pipe(t, raw)
	resp, err := c.RoundTrip(request(t, method, nil))
	if err != nil {
		a.err = err
	} else {
		a.status, a.header = resp.StatusCode, resp.Header
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		a.body, a.trailer, a.err = string(body), resp.Trailer, err
	}
	if all := ends(); len(all) != 1 {
		t.Errorf("%q: the exchange ended %d times", raw, len(all))
	} else {
		a.reusable = all[0]
	}
	return a
}

const ok = "HTTP/1.1 200 OK\r\n"

// An answer with a single meaning in RFC 9112 is read so. If the server has lost count of its bytes, the connection ends.
func TestAnswersAreReadAsRFC9112Says(t *testing.T) {
	for _, c := range []struct {
		name, method, raw string
		body              string
		reusable          bool
		header, trailer   http.Header
	}{
		{"length", "GET", ok + "Content-Length: 2\r\n\r\n{}", "{}", true, http.Header{"Content-Length": {"2"}}, nil},
		{"no body", "GET", ok + "Content-Length: 0\r\n\r\n", "", true, http.Header{"Content-Length": {"0"}}, nil},
		{"chunks", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n", "abc", true, http.Header{}, nil},
		{"chunked in capitals", "GET", ok + "Transfer-Encoding: CHUNKED\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", "0123456789", true, http.Header{}, nil},
		{"trailer", "GET", ok + "Transfer-Encoding: chunked\r\nTrailer: X-Sum, Content-Length\r\n\r\n0\r\nx-sum : 1\r\n\r\n", "", true, http.Header{}, http.Header{"X-Sum": {"1"}}},
		{"to the end", "GET", ok + "\r\nall", "all", false, http.Header{}, nil},
		{"lines ended by LF", "GET", "HTTP/1.1 200 OK\nContent-Length: 1\n\nx", "x", true, http.Header{"Content-Length": {"1"}}, nil},
		{"no reason", "GET", "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", "x", true, http.Header{"Content-Length": {"1"}}, nil},
		{"values with blanks", "GET", ok + "Content-Length:\t2 \r\nX:\r\n\r\nxy", "xy", true, http.Header{"Content-Length": {"2"}, "X": {""}}, nil},
		{"close", "GET", ok + "Connection: close\r\nContent-Length: 1\r\n\r\nx", "x", false, http.Header{"Connection": {"close"}, "Content-Length": {"1"}}, nil},
		{"close among others", "GET", ok + "Connection: x, Close\r\nContent-Length: 0\r\n\r\n", "", false, http.Header{"Connection": {"x, Close"}, "Content-Length": {"0"}}, nil},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", "x", false, http.Header{"Content-Length": {"1"}}, nil},
		{"HTTP/1.0, kept", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", "x", true, http.Header{"Connection": {"keep-alive"}, "Content-Length": {"1"}}, nil},
		{"HEAD", "HEAD", ok + "Content-Length: 100\r\n\r\n", "", true, http.Header{"Content-Length": {"100"}}, nil},
		{"HEAD, chunked", "HEAD", ok + "Transfer-Encoding: chunked\r\n\r\n", "", true, http.Header{}, nil},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", "", true, http.Header{"Content-Length": {"100"}}, nil},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "", true, http.Header{}, nil},
		{"interim answers", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink : </a>\r\n\r\n" + ok + "Content-Length: 1\r\n\r\nx", "x", true, http.Header{"Content-Length": {"1"}}, nil},

		// RFC 9112 section 5.1: a proxy has to remove the blank.
		{"blank before the colon", "GET", ok + "Set-Cookie : sid=1\r\nCache-Control\t: private\r\nContent-Length : 2\r\n\r\nok", "ok", true, http.Header{"Set-Cookie": {"sid=1"}, "Cache-Control": {"private"}, "Content-Length": {"2"}}, nil},
		{"blank before chunked", "GET", ok + "Transfer-Encoding : chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok", true, http.Header{}, nil},

		{"longer than its length", "GET", ok + "Content-Length: 2\r\n\r\n{}and ten bytes", "{}", false, http.Header{"Content-Length": {"2"}}, nil},
		{"newline behind", "GET", ok + "Content-Length: 2\r\n\r\n{}\r\n", "{}", false, http.Header{"Content-Length": {"2"}}, nil},
		{"two answers", "GET", ok + "Content-Length: 1\r\n\r\nx" + ok + "Content-Length: 1\r\n\r\ny", "x", false, http.Header{"Content-Length": {"1"}}, nil},
		{"bytes behind chunks", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n0\r\n\r\n", "x", false, http.Header{}, nil},
		{"HEAD with a body", "HEAD", ok + "Content-Length: 1\r\n\r\nx", "", false, http.Header{"Content-Length": {"1"}}, nil},
		{"304 with a body", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1\r\n\r\nx", "", false, http.Header{"Content-Length": {"1"}}, nil},
		{"204 with a body", "GET", "HTTP/1.1 204 No Content\r\n\r\nx", "", false, http.Header{}, nil},
		{"204 with a length", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n", "", false, http.Header{"Content-Length": {"1"}}, nil},
		{"204, chunked", "GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "", false, http.Header{}, nil},
		{"a length beside chunked", "GET", ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "x", false, http.Header{}, nil},
		{"a length twice", "GET", ok + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", "x", false, http.Header{"Content-Length": {"1"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ask(t, c.method, c.raw)
			if got.err != nil || got.body != c.body || got.reusable != c.reusable {
				t.Errorf("body %q, reusable %t, %v; want %q, %t", got.body, got.reusable, got.err, c.body, c.reusable)
			}
			if !maps.EqualFunc(got.header, c.header, slices.Equal) || !maps.EqualFunc(got.trailer, c.trailer, slices.Equal) {
				t.Errorf("header %q, trailer %q; want %q, %q", got.header, got.trailer, c.header, c.trailer)
			}
		})
	}
}

// An answer that could have two meanings is an error. The text of the error has no byte of the answer.
func TestAnswersWithoutOneMeaningAreErrors(t *testing.T) {
	chunked := ok + "Transfer-Encoding: chunked\r\n\r\n"
	for name, raw := range map[string]string{
		"two lengths":                         ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
		"a list of lengths":                   ok + "Content-Length: 1, 1\r\n\r\nx",
		"a signed length":                     ok + "Content-Length: +1\r\n\r\nx",
		"a negative length":                   ok + "Content-Length: -1\r\n\r\nx",
		"an empty length":                     ok + "Content-Length:\r\n\r\nx",
		"a length that overflows":             ok + "Content-Length: 9223372036854775808\r\n\r\nx",
		"another coding":                      ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"identity":                            ok + "Transfer-Encoding: identity\r\n\r\nx",
		"chunked twice":                       ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunked in HTTP/1.0":                 "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a line that goes on":                 ok + "X: SECRET\r\n more\r\n\r\n",
		"a blank first":                       ok + " X: SECRET\r\n\r\n",
		"bare CR in a value":                  ok + "X: SECRET\rY: b\r\n\r\n",
		"bare CR in the status line":          "HTTP/1.1 200 OK\rX: SECRET\r\n\r\n",
		"two CRs":                             ok + "X: SECRET\r\r\n\r\n",
		"NUL in a value":                      ok + "X: SECRET\x00b\r\n\r\n",
		"a control in a value":                ok + "X: SECRET\x01\r\n\r\n",
		"no colon":                            ok + "SECRET\r\n\r\n",
		"no name":                             ok + ": SECRET\r\n\r\n",
		"blank inside a name":                 ok + "X SECRET: v\r\n\r\n",
		"a name that is no token":             ok + "X(SECRET): v\r\n\r\n",
		"no status line":                      "SECRET\r\n\r\n",
		"an empty line first":                 "\r\n" + ok + "\r\n",
		"another version":                     "HTTP/2.0 200 OK\r\n\r\n",
		"a status of two digits":              "HTTP/1.1 20 OK\r\n\r\n",
		"a status of four digits":             "HTTP/1.1 2000 OK\r\n\r\n",
		"a signed status":                     "HTTP/1.1 +20 OK\r\n\r\n",
		"a status below 100":                  "HTTP/1.1 099 No\r\n\r\n",
		"two blanks in a status line":         "HTTP/1.1  200 OK\r\n\r\n",
		"a control in the reason":             "HTTP/1.1 200 SECRET\x00\r\n\r\n",
		"a 101 nobody asked for":              "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: SECRET\r\n\r\n",
		"a field error in a 103":              "HTTP/1.1 103 Early Hints\r\nX SECRET: v\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n",
		"no size":                             chunked + "\r\nSECRET",
		"no hexadecimal size":                 chunked + "SECRET\r\n",
		"a size with a sign":                  chunked + "+1\r\nx\r\n0\r\n\r\n",
		"a size with 0x":                      chunked + "0x1\r\nx\r\n0\r\n\r\n",
		"a size that overflows":               chunked + "10000000000000001\r\nx\r\n0\r\n\r\n",
		"a negative size":                     chunked + "ffffffffffffffff\r\nx\r\n0\r\n\r\n",
		"a size ended by LF":                  chunked + "1\nx\r\n0\r\n\r\n",
		"a size and then a word":              chunked + "1 SECRET\r\nx\r\n0\r\n\r\n",
		"bare CR in an extension":             chunked + "1;a\rb\r\nx\r\n0\r\n\r\n",
		"data longer than its size":           chunked + "1\r\nxSECRET\r\n0\r\n\r\n",
		"data ended by LF":                    chunked + "1\r\nx\n0\r\n\r\n",
		"a bad trailer":                       chunked + "0\r\nX SECRET: v\r\n\r\n",
		"a line before a chunk without end":   chunked + "1;" + strings.Repeat("SECRET", 10_000),
		"extensions that outweigh their data": chunked + strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\nx\r\n", 100) + "0\r\n\r\n",
		"HTTP/2":                              "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64",
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, "GET", raw)
			if got.err == nil || got.reusable {
				t.Fatalf("body %q, reusable %t, %v", got.body, got.reusable, got.err)
			}
			if _, isAnswerError := errors.AsType[*AnswerError](got.err); !isAnswerError && !errors.Is(got.err, ErrHTTP2) && !errors.Is(got.err, ErrUnaskedSwitch) {
				t.Errorf("error %v", got.err)
			}
			if strings.Contains(got.err.Error(), "SECRET") {
				t.Errorf("the error holds what came: %v", got.err)
			}
		})
	}
}

func TestAnswersThatAreCutAreErrors(t *testing.T) {
	for _, raw := range []string{
		ok + "Content-Length: 10\r\n\r\nhalf",
		ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhalf",
		ok + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf",
		ok + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n",
		ok + "Content-Le",
		ok,
		"HTTP/1.1 100 Continue\r\n\r\nHTTP",
	} {
		got := ask(t, "GET", raw)
		if !errors.Is(got.err, io.ErrUnexpectedEOF) || got.reusable {
			t.Errorf("%q: body %q, reusable %t, %v", raw, got.body, got.reusable, got.err)
		}
	}
	if got := ask(t, "GET", ""); !errors.Is(got.err, io.EOF) {
		t.Errorf("no answer at all: %v", got.err)
	}
}

func TestHeaderSectionsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 5<<10)
	many := strings.Repeat("X: y\r\n", 1000)
	for name, raw := range map[string]string{
		"one value":      ok + "X: " + long + "\r\n\r\n",
		"many fields":    ok + many + "\r\n",
		"a reason":       "HTTP/1.1 200 " + long + "\r\n\r\n",
		"a 103":          "HTTP/1.1 103 x\r\n" + many + "\r\n" + ok + "\r\n",
		"a trailer":      ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + many + "\r\n",
		"without end":    ok + "X: " + strings.Repeat("x", 1<<20),
		"no line at all": strings.Repeat("x", 1<<20),
	} {
		if got := ask(t, "GET", raw); !isSizeError(got.err) {
			t.Errorf("%s: %v", name, got.err)
		}
	}
	// Each field counts four bytes beside its name and value. The status line does not count.
	exact := ok + "X: " + strings.Repeat("x", 4<<10-1-4-len("Content-Length: 0\r\n")) + "\r\nContent-Length: 0\r\n\r\n"
	if got := ask(t, "GET", exact); got.err != nil {
		t.Errorf("a header of just the limit: %v", got.err)
	}
	if got := ask(t, "GET", strings.Replace(exact, "X: x", "X: xx", 1)); !isSizeError(got.err) {
		t.Errorf("a header of a byte more: %v", got.err)
	}
}

func isSizeError(err error) bool {
	_, ok := errors.AsType[*HeaderSizeError](err)
	return ok
}

func TestInterimAnswersWithoutEndAreAnError(t *testing.T) {
	if got := ask(t, "GET", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 101)+ok+"\r\n"); !errors.Is(got.err, ErrManyInterim) {
		t.Errorf("101: %v", got.err)
	}
	if got := ask(t, "GET", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100)+ok+"Content-Length: 1\r\n\r\nx"); got.err != nil || got.body != "x" {
		t.Errorf("100: %q, %v", got.body, got.err)
	}
}

// If the rest of a body has arrived, the connection is kept. Close does not wait for the rest.
func TestBodyThatIsClosedEarlyIsNotWaitedFor(t *testing.T) {
	for _, c := range []struct {
		raw      string
		reusable bool
	}{
		{ok + "Content-Length: 4\r\n\r\nrest", true},
		{ok + "Content-Length: 5\r\n\r\nrest", false},
		{ok + "Content-Length: 4\r\n\r\nrest and more", false},
		{ok + "Transfer-Encoding: chunked\r\n\r\n4\r\nrest\r\n0\r\n\r\n", false},
	} {
		conn, ends := pipe(t, c.raw)
		resp, err := conn.RoundTrip(request(t, "GET", nil))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := resp.Body.Close(); err != nil {
				t.Error(err)
			}
		}
		if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("%q: read %d, %v after Close", c.raw, n, err)
		}
		if got := ends(); !slices.Equal(got, []bool{c.reusable}) {
			t.Errorf("%q: ended %v, want %t", c.raw, got, c.reusable)
		}
	}
}

// Close must end a Read that waits.
func TestCloseEndsAReadThatWaits(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	ended := make(chan bool, 1)
	c := &Conn{Conn: ours, Abort: func() { ours.Close() }, MaxHeaderBytes: 1 << 10, Done: func(reusable bool) { ended <- reusable }}
	go func() {
		br := bufio.NewReader(theirs)
		http.ReadRequest(br)
		io.WriteString(theirs, ok+"Content-Length: 5\r\n\r\nhalf")
	}()
	resp, err := c.RoundTrip(request(t, "GET", nil))
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(resp.Body, make([]byte, 4))
	read := make(chan error, 1)
	go func() { _, err := resp.Body.Read(make([]byte, 1)); read <- err }()
	time.AfterFunc(10*time.Millisecond, func() { resp.Body.Close() })
	if err := <-read; !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("the Read ended with %v", err)
	}
	if <-ended {
		t.Error("the connection may be used again")
	}
}

// FuzzAnswers compares with net/http, which is less strict: if this package takes an answer for complete, so does net/http, with the same
// status and body.
func FuzzAnswers(f *testing.F) {
	for _, raw := range []string{
		ok + "Content-Length: 2\r\n\r\n{}", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: y\r\n\r\n",
		ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "HTTP/1.0 200\n\nto the end",
		ok + "Set-Cookie : sid=1\r\nContent-Length : 2\r\n\r\nok", ok + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nx", "HTTP/1.1 304 x\r\n\r\n", ok + "X: a\r\n b\r\n\r\n", ok + "Connection: close\r\n\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n", "HTTP/1.1 103 x\r\nLink: y\r\n\r\n" + ok + "\r\n",
		"HTTP/1.0 200 OK\r\nConnection: close, keep-alive\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n",
		ok + "Connection: keep-alive, close\r\nContent-Length: 0\r\n\r\n", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n\n", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n",
	} {
		f.Add(raw, "GET")
		f.Add(raw, "HEAD")
	}
	f.Fuzz(func(t *testing.T, raw, method string) {
		if method != "HEAD" {
			method = "GET"
		}
		head, err := readHead(bufio.NewReader(strings.NewReader(raw)), 1<<20)
		if err != nil || head.status < 200 {
			return
		}
		if strings.Contains(raw, " :") || strings.Contains(raw, "\t:") {
			return // net/http reads it under another name
		}
		got := ask(t, method, raw)
		theirs, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), &http.Request{Method: method})
		if err != nil {
			if got.status != 0 {
				t.Fatalf("net/http refuses it (%v), we read %+v", err, got)
			}
			return
		}
		if got.err != nil {
			return
		}
		body, err := io.ReadAll(theirs.Body)
		if err != nil || string(body) != got.body || theirs.StatusCode != got.status {
			t.Fatalf("net/http reads %d %q, %v; we read %d %q", theirs.StatusCode, body, err, got.status, got.body)
		}
		if got.reusable && theirs.Close {
			t.Fatal("the connection may be used again, and net/http closes it")
		}
	})
}
