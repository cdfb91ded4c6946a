package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// wire returns a Conn, and the server's end of its connection.
func wire(t testing.TB) (c *Conn, server net.Conn, ended chan bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return connOn(t, ours, server)
}

// connOn is [wire] on a given connection. A test in a bubble of testing/synctest gives the ends of a net.Pipe.
func connOn(t testing.TB, ours, server net.Conn) (*Conn, net.Conn, chan bool) {
	t.Cleanup(func() { ours.Close(); server.Close() })
	ended := make(chan bool, 10)
	return &Conn{Conn: ours, Abort: func() { ours.Close() }, MaxHeaderBytes: 4 << 10, Done: func(reusable bool) { ended <- reusable }}, server, ended
}

// readUntil reads up to and including mark.
func readUntil(t testing.TB, br *bufio.Reader, mark string) string {
	t.Helper()
	var b strings.Builder
	for !strings.HasSuffix(b.String(), mark) {
		c, err := br.ReadByte()
		if err != nil {
			t.Fatalf("%v after %q", err, b.String())
		}
		b.WriteByte(c)
	}
	return b.String()
}

const empty = ok + "Content-Length: 0\r\n\r\n"

func TestRequestsAreWrittenAsTheyAre(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		want   string
	}{
		{"GET", func(*http.Request) {}, "GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"},
		{"no method", func(r *http.Request) { r.Method = "" }, "GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"},
		{"fields in order", func(r *http.Request) {
			r.Header = http.Header{"X-B": {"1", "2 "}, "Accept": {"*/*"}, "User-Agent": {""}, "Host": {"other.test"}, "Content-Length": {"7"}, "Transfer-Encoding": {"x"}, "Trailer": {"y"}}
		}, "GET / HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nX-B: 1\r\nX-B: 2\r\n\r\n"},
		{"two agents", func(r *http.Request) { r.Header["User-Agent"] = []string{"a", "b"} }, "GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: a\r\nUser-Agent: b\r\n\r\n"},
		{"target", func(r *http.Request) { r.URL, _ = url.Parse("http://a.test/a%2Fb//?q=1;2&x#part") }, "GET /a%2Fb//?q=1;2&x HTTP/1.1\r\nHost: a.test\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"},
		{"host", func(r *http.Request) { r.Host = "b.test:81" }, "GET / HTTP/1.1\r\nHost: b.test:81\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"},
		{"zone", func(r *http.Request) { r.Host = "[fe80::1%25eth0]:81" }, "GET / HTTP/1.1\r\nHost: [fe80::1]:81\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"},
		{"close", func(r *http.Request) { r.Close = true }, "GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: Go-http-client/1.1\r\nConnection: close\r\n\r\n"},
		{"POST without a body", func(r *http.Request) { r.Method = "POST" }, "POST / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 0\r\n\r\n"},
		{"DELETE without a body", func(r *http.Request) { r.Method = "DELETE" }, "DELETE / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"},
		{"OPTIONS *", func(r *http.Request) { r.Method, r.URL.Path, r.URL.Opaque = "OPTIONS", "", "*" }, "OPTIONS * HTTP/1.1\r\nHost: a.test\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"},
		{"length", func(r *http.Request) {
			r.Method, r.ContentLength, r.Body = "PUT", 4, io.NopCloser(strings.NewReader("body"))
		}, "PUT / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 4\r\n\r\nbody"},
		{"chunks", func(r *http.Request) {
			r.Method, r.ContentLength, r.Body = "PUT", -1, io.NopCloser(io.MultiReader(strings.NewReader("0123456789abcdefg"), strings.NewReader("x")))
		}, "PUT / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: Go-http-client/1.1\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n0123456789abcdefg\r\n1\r\nx\r\n0\r\n\r\n"},
		{"trailers", func(r *http.Request) {
			r.Method, r.ContentLength, r.Body, r.Trailer = "PUT", -1, io.NopCloser(strings.NewReader("x")), http.Header{"X-B": {"2"}, "X-A": {"1"}}
		}, "PUT / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: Go-http-client/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: X-A,X-B\r\n\r\n1\r\nx\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, server, ended := wire(t)
			req := request(t, "GET", nil)
			c.change(req)
			if err := Check(req); err != nil {
				t.Fatal(err)
			}
			got := make(chan string, 1)
			go func() {
				b := make([]byte, len(c.want))
				n, _ := io.ReadFull(server, b)
				got <- string(b[:n])
				io.WriteString(server, empty)
			}()
			resp, err := conn.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if g := <-got; g != c.want {
				t.Errorf("wrote %q\nwant  %q", g, c.want)
			}
			if reusable := <-ended; reusable == req.Close {
				t.Errorf("the connection can be used again: %t", reusable)
			}
		})
	}
}

func TestRequestsThatWouldBeOthersAreRefused(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"method":               func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX: y\r\n\r\nGET" },
		"blank in the query":   func(r *http.Request) { r.URL.RawQuery = "a b" },
		"newline in the query": func(r *http.Request) { r.URL.RawQuery = "a\r\nX: y" },
		"DEL in the query":     func(r *http.Request) { r.URL.RawQuery = "a\x7f" },
		"host":                 func(r *http.Request) { r.Host = "a.test\r\nX: y" },
		"no host":              func(r *http.Request) { r.Host, r.URL.Host = "", "" },
		"name":                 func(r *http.Request) { r.Header["X: y\r\nZ"] = []string{"1"} },
		"blank in a name":      func(r *http.Request) { r.Header["X y"] = []string{"1"} },
		"value":                func(r *http.Request) { r.Header["X"] = []string{"1\r\nY: 2"} },
		"NUL in a value":       func(r *http.Request) { r.Header["X"] = []string{"1\x00"} },
		"trailer":              func(r *http.Request) { r.Trailer = http.Header{"X y": nil} },
		"framing as a trailer": func(r *http.Request) { r.Trailer = http.Header{"Content-Length": nil} },
		"no header":            func(r *http.Request) { r.Header = nil },
		"length without body":  func(r *http.Request) { r.ContentLength = 3 },
	} {
		req := request(t, "GET", nil)
		change(req)
		if _, ok := errors.AsType[*RequestError](Check(req)); !ok {
			t.Errorf("%s: %v", name, Check(req))
		}
	}
}

// If an origin has answered during an upload, the rest of the body is of no use.
func TestAnswerAmidAnUploadIsSeen(t *testing.T) {
	conn, server, ended := wire(t)
	source, writer := io.Pipe() // only the beginning is written to it
	go io.WriteString(writer, "beginning")
	go func() {
		readUntil(t, bufio.NewReader(server), "beginning")
		io.WriteString(server, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
	}()
	req := request(t, "POST", source)
	req.ContentLength = 1 << 20
	resp, err := conn.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); resp.StatusCode != 413 || string(body) != "big" || err != nil {
		t.Errorf("%d %q, %v", resp.StatusCode, body, err)
	}
	if <-ended {
		t.Error("the connection may be used again amid a request")
	}
	if _, err := writer.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the body is still open: %v", err)
	}
}

// If an answer comes during the upload, both may go on to their ends.
func TestAnswerMayBeginBeforeTheRequestEnds(t *testing.T) {
	conn, server, ended := wire(t)
	source, writer := io.Pipe()
	go func() {
		br := bufio.NewReader(server)
		readUntil(t, br, "\r\n\r\n1\r\na\r\n")
		io.WriteString(server, ok+"Transfer-Encoding: chunked\r\n\r\n1\r\nA\r\n")
		readUntil(t, br, "1\r\nb\r\n0\r\n\r\n")
		io.WriteString(server, "1\r\nB\r\n0\r\n\r\n")
	}()
	go io.WriteString(writer, "a")
	req := request(t, "POST", source)
	resp, err := conn.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := io.ReadFull(resp.Body, b); err != nil || b[0] != 'A' {
		t.Errorf("%q, %v", b, err)
	}
	io.WriteString(writer, "b")
	writer.Close()
	if rest, err := io.ReadAll(resp.Body); string(rest) != "B" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	if <-ended {
		t.Error("the connection may be used again: who says that the server has read the rest?")
	}
}

func TestBodiesThatAreNotWhatTheySayEndTheConnection(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name   string
		length int64
		body   io.Reader
		want   error
	}{
		{"too short", 5, strings.NewReader("four"), io.ErrUnexpectedEOF},
		{"too long", 3, strings.NewReader("four"), nil},
		{"breaks off", 5, io.MultiReader(strings.NewReader("four"), failing{boom}), boom},
		{"breaks off, chunked", -1, io.MultiReader(strings.NewReader("four"), failing{boom}), boom},
	} {
		conn, server, ended := wire(t)
		got := make(chan []byte, 1)
		go func() { b, _ := io.ReadAll(server); got <- b }()
		req := request(t, "POST", io.MultiReader(c.body))
		req.ContentLength = c.length
		_, err := conn.RoundTrip(req)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if <-ended {
			t.Errorf("%s: the connection may be used again", c.name)
		}
		if b := <-got; bytes.HasSuffix(b, []byte("0\r\n\r\n")) {
			t.Errorf("%s: the server has it for whole: %q", c.name, b)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestBodyWaitsForContinue(t *testing.T) {
	for _, c := range []struct {
		name, interim, final string
		sent, reusable       bool
	}{
		{"asked for", "HTTP/1.1 100 Continue\r\n\r\n", empty, true, true},
		{"asked for twice", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", empty, true, true},
		{"another interim answer first", "HTTP/1.1 103 x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", empty, true, true},
		{"not wanted", "", "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", false, false},
	} {
		conn, server, ended := wire(t)
		go func() {
			br := bufio.NewReader(server)
			readUntil(t, br, "\r\n\r\n")
			io.WriteString(server, c.interim)
			if c.sent {
				readUntil(t, br, "body")
			}
			io.WriteString(server, c.final)
		}()
		read := false
		req := request(t, "PUT", io.MultiReader(atRead(func() { read = true }), strings.NewReader("body")))
		req.ContentLength = 4
		req.Header.Set("Expect", "100-continue")
		resp, err := conn.RoundTrip(req)
		if err != nil {
			t.Fatal(c.name, err)
		}
		resp.Body.Close()
		if reusable := <-ended; reusable != c.reusable || read != c.sent {
			t.Errorf("%s: reusable %t, read %t", c.name, reusable, read)
		}
	}
}

// atRead is an empty reader that calls a function when it is read.
type atRead func()

func (f atRead) Read([]byte) (int, error) { f(); return 0, io.EOF }

// A server that never says 100 gets the body after a while.
func TestBodyDoesNotWaitForContinueForEver(t *testing.T) {
	conn, server, ended := wire(t)
	go func() {
		br := bufio.NewReader(server)
		readUntil(t, br, "\r\n\r\nbody")
		io.WriteString(server, empty)
	}()
	req := request(t, "PUT", strings.NewReader("body"))
	req.Header.Set("Expect", "100-continue")
	resp, err := conn.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if !<-ended {
		t.Error("the connection cannot be used again")
	}
}

func TestContextEndsTheExchangeAtEachStep(t *testing.T) {
	boom := errors.New("boom")
	for _, step := range []string{"before", "waiting for the answer", "reading the body", "sending the body"} {
		t.Run(step, func(t *testing.T) {
			conn, server, ended := wire(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			var body io.Reader
			if step == "sending the body" {
				body, _ = io.Pipe()
			}
			req := request(t, "POST", body).WithContext(ctx)
			if step == "before" {
				cancel(boom)
			}
			go func() {
				br := bufio.NewReader(server)
				readHeader(br)
				if step == "reading the body" {
					io.WriteString(server, ok+"Content-Length: 5\r\n\r\nhalf")
				} else {
					cancel(boom)
				}
				io.Copy(io.Discard, br)
			}()
			resp, err := conn.RoundTrip(req)
			if err == nil {
				io.ReadFull(resp.Body, make([]byte, 4))
				cancel(boom)
				_, err = io.ReadAll(resp.Body)
			}
			if !errors.Is(err, boom) {
				t.Errorf("ended with %v", err)
			}
			if <-ended {
				t.Error("the connection may be used again")
			}
		})
	}
}

func readHeader(br *bufio.Reader) {
	for {
		if line, err := br.ReadString('\n'); err != nil || line == "\r\n" {
			return
		}
	}
}

func TestResponseTimeoutCountsFromTheEndOfTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		conn, server, ended := connOn(t, ours, theirs)
		conn.ResponseTimeout = time.Second
		go io.Copy(io.Discard, server)
		source, writer := io.Pipe()
		go func() {
			io.WriteString(writer, "a")
			time.Sleep(time.Minute)
			io.WriteString(writer, "b")
			writer.Close()
		}()
		began := time.Now()
		_, err := conn.RoundTrip(request(t, "POST", source))
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			t.Errorf("ended with %v", err)
		}
		if took := time.Since(began); took != time.Minute+time.Second {
			t.Errorf("it took %v", took)
		}
		if <-ended {
			t.Error("the connection may be used again")
		}
	})
}

// A body may take longer than the timeout.
func TestResponseTimeoutEndsWithTheHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		conn, server, ended := connOn(t, ours, theirs)
		conn.ResponseTimeout = time.Second
		go func() {
			br := bufio.NewReader(server)
			readUntil(t, br, "\r\n\r\n")
			io.WriteString(server, ok+"Content-Length: 4\r\n\r\nha")
			time.Sleep(time.Minute)
			io.WriteString(server, "lf")
		}()
		resp, err := conn.RoundTrip(request(t, "GET", nil))
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); string(body) != "half" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
		if !<-ended {
			t.Error("the connection cannot be used again")
		}
	})
}

func TestSwitchedConnectionIsTheCallers(t *testing.T) {
	conn, server, ended := wire(t)
	go func() {
		br := bufio.NewReader(server)
		readUntil(t, br, "\r\n\r\n")
		io.WriteString(server, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst")
		io.Copy(server, br)
		server.(*net.TCPConn).CloseWrite()
	}()
	ctx, cancel := context.WithCancel(t.Context())
	req := request(t, "GET", nil).WithContext(ctx)
	req.Header = http.Header{"Connection": {"upgrade"}, "Upgrade": {"echo"}}
	resp, err := conn.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	cancel() // it has no effect any more
	both := resp.Body.(interface {
		io.ReadWriteCloser
		CloseWrite() error
	})
	io.WriteString(both, " second")
	both.CloseWrite()
	if b, err := io.ReadAll(both); string(b) != "first second" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	select {
	case <-ended:
		t.Error("it ended before it was closed")
	default:
	}
	both.Close()
	both.Close()
	if reusable := <-ended; reusable || len(ended) != 0 {
		t.Error("it may be used again, or ended twice")
	}
}

func TestHooksTellOfEachStep(t *testing.T) {
	conn, server, ended := wire(t)
	go func() {
		br := bufio.NewReader(server)
		readUntil(t, br, "\r\n\r\n")
		io.WriteString(server, "HTTP/1.1 100 Continue\r\n\r\n")
		readUntil(t, br, "x")
		io.WriteString(server, empty)
	}()
	steps := make(chan string, 20)
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteHeaders:         func() { steps <- "header" },
		Wait100Continue:      func() { steps <- "waits" },
		Got100Continue:       func() { steps <- "continue" },
		WroteRequest:         func(i httptrace.WroteRequestInfo) { steps <- fmt.Sprint("sent ", i.Err) },
		GotFirstResponseByte: func() { steps <- "first byte" },
	})
	req := request(t, "PUT", strings.NewReader("x")).WithContext(ctx)
	req.Header.Set("Expect", "100-continue")
	resp, err := conn.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-ended
	sending, receiving := []string{}, []string{} // each is used by its own goroutine
	for len(steps) > 0 {
		switch step := <-steps; step {
		case "first byte", "continue":
			receiving = append(receiving, step)
		default:
			sending = append(sending, step)
		}
	}
	if want := []string{"header", "waits", "sent <nil>"}; !slices.Equal(sending, want) {
		t.Errorf("steps of sending %q, want %q", sending, want)
	}
	if want := []string{"first byte", "continue"}; !slices.Equal(receiving, want) {
		t.Errorf("steps of receiving %q, want %q", receiving, want)
	}
}
