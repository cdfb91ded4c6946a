package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// If a connection is closed while the client is still sending, it is reset, and the client may lose the response.
func TestClientThatIsStillSendingGetsTheResponse(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	b := start(t, routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}), func(c *proxy.Config) { c.Limits.BodyBytes = 64 << 10 })
	for _, framing := range []string{"Transfer-Encoding: chunked", "Content-Length: 1000000000"} {
		for _, field := range []string{"", "Expect: 100-continue\r\n", "Connection: close\r\n"} {
			t.Run(framing+" "+field, func(t *testing.T) {
				t.Parallel()
				chunk := "10000\r\n" + strings.Repeat("x", 0x10000) + "\r\n"
				c := b.send(t, "POST / HTTP/1.1\r\nHost: a.test\r\n"+framing+"\r\n"+field+"\r\n"+chunk)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for _, err := io.WriteString(c, chunk); err == nil; {
						_, err = io.WriteString(c, chunk)
					}
				}()
				defer func() { c.Close(); <-sent }()
				from := bufio.NewReader(c)
				resp, err := http.ReadResponse(from, nil)
				for err == nil && resp.StatusCode == http.StatusContinue {
					resp, err = http.ReadResponse(from, nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				result{resp.StatusCode, resp.Header, string(body)}.want(t, 413, "http_request_error")
				if _, err := from.ReadByte(); err != io.EOF { // a slow client could get a reset in place of the response
					t.Errorf("after the answer: %v, want its end", err)
				}
			})
		}
	}
}

func TestConnectionIsKeptAfterAnExpectedBody(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	b := start(t, routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}))
	c := b.send(t, "")
	from := bufio.NewReader(c)
	for range 2 {
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
		for _, want := range []int{100, 200} {
			resp, err := http.ReadResponse(from, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != want || resp.Close {
				t.Fatalf("%s, %v, the last: %t; want %d", resp.Status, err, resp.Close, want)
			}
			if want == 100 {
				io.WriteString(c, "body")
			}
		}
	}
}

// A server in shutdown sets Connection: close in each response. Otherwise clients would send requests on connections that it
// closes.
func TestServersConnectionCloseReachesTheClient(t *testing.T) {
	t.Parallel()
	w := newWire(t, always("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"+ok))
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Connection", "close")
		w.handler.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	for host, status := range map[string]string{"a.test": "200", "unmapped.test": "404"} {
		// send fails if the connection stays open.
		got := (&wire{addr: server.Listener.Addr().String()}).send(t, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		if !strings.Contains(got, "HTTP/1.1 "+status+" ") {
			t.Errorf("%s: %q", host, got)
		}
	}
}
