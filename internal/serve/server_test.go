package serve

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const patience = 30 * time.Second

// started is a server that runs in this process.
type started struct {
	addr string
	stop context.CancelFunc
	done chan error // what run returns
}

// start runs s on loopback until it is stopped or the test ends.
func start(t *testing.T, s Server) *started {
	t.Helper()
	addr := make(chan string, 1)
	s.Listen = "127.0.0.1:0"
	s.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == "url" {
			addr <- strings.TrimPrefix(a.Value.String(), "http://")
		}
		return a
	}}))
	ctx, stop := context.WithCancel(t.Context())
	r := &started{stop: stop, done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() { defer close(ended); r.done <- s.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	select {
	case r.addr = <-addr:
	case <-ended:
		t.Fatal(<-r.done)
	}
	return r
}

// send opens a connection and sends what a client would.
func (r *started) send(t *testing.T, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

func line(c net.Conn) string {
	s, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(s)
}

const request = "GET %s HTTP/1.1\r\nHost: a.test\r\n\r\n"

func TestClientsThatDoNotGoOnAreCut(t *testing.T) {
	t.Parallel()
	short := defaultLimits
	short.readHeader, short.idle = 20*time.Millisecond, 20*time.Millisecond
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for _, h2c := range []bool{false, true} {
		r := start(t, Server{Handler: http.NotFoundHandler(), limits: short, H2C: h2c})
		for name, text := range map[string]string{
			"nothing": "", "half a line": "GET / HT", "no end of the headers": "GET / HTTP/1.1\r\nHost: a.test\r\nX: y\r\n",
			"idle after an answer": fmt.Sprintf(request, "/"), "half a preface": preface[:16], "HTTP/2 without a frame": preface,
			"HTTP/2 that settles and is silent": preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00",
			"HTTP/2 headers without an end":     preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82",
		} {
			if !h2c && strings.Contains(name, "HTTP/2") {
				continue
			}
			c := r.send(t, text)
			if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%s, h2c %t: %v", name, h2c, err)
			}
		}
	}
}

func TestHeadersAreLimited(t *testing.T) {
	t.Parallel()
	r := start(t, Server{Handler: http.NotFoundHandler(), limits: defaultLimits})
	for kilobytes, want := range map[int]string{120: "HTTP/1.1 404 Not Found", 140: "HTTP/1.1 431 Request Header Fields Too Large"} {
		c := r.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nX: "+strings.Repeat("x", kilobytes<<10)+"\r\n\r\n")
		if got := line(c); got != want {
			t.Errorf("%d KiB: %s, want %s", kilobytes, got, want)
		}
	}
}

// The proxy has a limit for how many fields a request may have, and says so.
func TestFieldsAreNotCountedByTheServer(t *testing.T) {
	t.Parallel()
	const fields = 20_000
	r := start(t, Server{H2C: true, limits: defaultLimits, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, len(r.Header["X"]))
	})})
	c := r.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n"+strings.Repeat("X:\r\n", fields)+"\r\n")
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") || !strings.HasSuffix(string(answer), "\r\n20000") {
		t.Errorf("%.200q, error %v", answer, err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Transport{Protocols: protocols}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+r.addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header["X"] = make([]string, 2000) // HTTP/2 counts 32 bytes for each beside its own
	resp, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); string(got) != "2000" {
		t.Errorf("HTTP/2: %d %q, error %v", resp.StatusCode, got, err)
	}
}

// takeOver answers /taken as a protocol switch does: the connection is no longer HTTP, and
// lasts until the request's context ends. It tells its context.
func takeOver(t *testing.T, taken chan<- context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/taken", func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "taken over\n")
		taken <- r.Context()
		gone := make(chan struct{})
		go func() { defer close(gone); io.Copy(io.Discard, c) }()
		select {
		case <-r.Context().Done():
			io.WriteString(c, "goodbye\n")
		case <-gone:
		}
		c.Close()
		<-gone
	})
	return mux
}

func TestConnectionTakenOverKeepsItsSlotUntilItIsClosed(t *testing.T) {
	t.Parallel()
	taken := make(chan context.Context, 1)
	r := start(t, Server{Handler: takeOver(t, taken), limits: defaultLimits, MaxConnections: 2})
	first := r.send(t, fmt.Sprintf(request, "/taken"))
	<-taken
	kept := r.send(t, "")
	second := r.send(t, fmt.Sprintf(request, "/"))
	answered := make(chan string, 1)
	go func() { answered <- line(second) }()
	if got := line(first); got != "taken over" {
		t.Error(got)
	}
	answers := bufio.NewReader(kept)
	for range 50 { // time enough, were it let in
		fmt.Fprintf(kept, request, "/")
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
	}
	select {
	case got := <-answered:
		t.Fatalf("served beside a connection that was taken over: %s", got)
	default:
	}
	first.Close()
	if got := <-answered; got != "HTTP/1.1 404 Not Found" {
		t.Error(got)
	}
}

// Nothing is accepted while all slots are taken, so that this must not keep a server from ending.
func TestServerEndsWhileConnectionsWait(t *testing.T) {
	t.Parallel()
	taken := make(chan context.Context, 1)
	r := start(t, Server{Handler: takeOver(t, taken), limits: defaultLimits, MaxConnections: 1})
	r.send(t, fmt.Sprintf(request, "/taken"))
	<-taken
	r.send(t, fmt.Sprintf(request, "/"))
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

func TestConnectionsTakenOverEndAfterTheOthers(t *testing.T) {
	t.Parallel()
	taken, arrived, release := make(chan context.Context, 1), make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/taken", takeOver(t, taken))
	mux.HandleFunc("/slow", func(http.ResponseWriter, *http.Request) { close(arrived); <-release })
	limits := defaultLimits
	limits.hijacked = patience
	r := start(t, Server{Handler: mux, limits: limits})
	over := r.send(t, fmt.Sprintf(request, "/taken"))
	if got := line(over); got != "taken over" {
		t.Fatal(got)
	}
	ctx := <-taken
	slow := r.send(t, fmt.Sprintf(request, "/slow"))
	<-arrived
	r.stop()
	for { // until the listener is closed
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			break
		}
		c.Close()
	}
	if ctx.Err() != nil {
		t.Error("the connection that was taken over ended while a request was running")
	}
	close(release)
	if got := line(slow); got != "HTTP/1.1 200 OK" {
		t.Error(got)
	}
	if got := line(over); got != "goodbye" {
		t.Error(got)
	}
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

func TestNobodyKeepsTheServerFromEnding(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/slow", "/taken"} {
		arrived, release := make(chan struct{}), make(chan struct{})
		mux := http.NewServeMux()
		mux.HandleFunc("/slow", func(http.ResponseWriter, *http.Request) { close(arrived); <-release })
		mux.HandleFunc("/taken", func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			close(arrived)
			<-release
		})
		limits := defaultLimits
		limits.shutdown, limits.hijacked = 20*time.Millisecond, 20*time.Millisecond
		r := start(t, Server{Handler: mux, limits: limits})
		c := r.send(t, fmt.Sprintf(request, path))
		<-arrived
		r.stop()
		err := <-r.done
		if path == "/slow" {
			if err == nil || !strings.Contains(err.Error(), "still running after 20ms") {
				t.Errorf("%s: %v", path, err)
			}
			if got := line(c); got != io.EOF.Error() {
				t.Errorf("%s: %s, want it to be cut off", path, got)
			}
		} else if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		close(release)
	}
}

// The PING finds clients that are gone silently. They would keep their requests for good.
func TestSilentHTTP2ClientIsAskedWhetherItIsThere(t *testing.T) {
	t.Parallel()
	limits := defaultLimits
	limits.idle = 20 * time.Millisecond
	release := make(chan struct{})
	defer close(release)
	r := start(t, Server{H2C: true, limits: limits, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })})
	c := r.send(t, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var header bytes.Buffer
	e := hpack.NewEncoder(&header)
	for _, field := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a.test"}, {Name: ":path", Value: "/"}} {
		if err := e.WriteField(field); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: header.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("no PING: %v", err)
		}
		if ping, ok := frame.(*http2.PingFrame); ok && !ping.IsAck() {
			return
		}
	}
}
