package sni_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// switched is the head of a response that accepts a WebSocket.
const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

// startRaw serves HTTP/1.1 with serve, which gets each request after its head. If serve returns false, the connection ends.
func startRaw(t *testing.T, ca *devca.Authority, over protocol, serve func(c net.Conn, br *bufio.Reader, r *http.Request) bool) (address string) {
	t.Helper()
	config := serverConfig(tlstest.Leaf(t, ca, "a.test"))
	config.NextProtos = []string{"http/1.1"}
	return tlstest.Listen(t, func(c net.Conn) {
		if over == overTLS1 {
			c = tls.Server(c, config)
		}
		defer c.Close()
		br := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(br)
			if err != nil || !serve(c, br, r) {
				return
			}
		}
	})
}

// echo answers with 101, and then echoes each line. It answers /plain without an upgrade.
func echo(c net.Conn, br *bufio.Reader, r *http.Request) bool {
	if r.URL.Path == "/plain" {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")
		return true
	}
	io.WriteString(c, switched+"first words\n") // in one record with the head
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return false
		}
		io.WriteString(c, strings.ToUpper(line))
	}
}

// toHTTP1 returns a transport to one address with HTTP/1.1.
func toHTTP1(t *testing.T, ca *devca.Authority, over protocol, address string) *sni.Transport {
	return newTransport(t, to(http1Target(ca, over, address)))
}

func http1Target(ca *devca.Authority, over protocol, address string) sni.Target {
	return over.target(sni.Target{Addresses: []string{address}, Roots: sni.RootsFromPEM(ca.PEM()), ALPN: []string{"http/1.1"}})
}

func handshake(t *testing.T, ctx context.Context) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "keep-alive, Upgrade")
	req.Header.Set("Upgrade", "websocket")
	return req
}

// wantHeld fails the test unless the transport has that many connections and idle connections.
func wantHeld(t *testing.T, tr *sni.Transport, conns, idle int) {
	t.Helper()
	if _, _, c, i := tr.Held(); c != conns || i != idle {
		t.Errorf("%d connections are held, %d of them idle; want %d, %d", c, i, conns, idle)
	}
}

// An upgraded connection belongs to its request. Bounds and sweeps of idle connections must not end it, and no other request may get it.
func TestUpgradedConnectionIsItsRequestsUntilItIsClosed(t *testing.T) {
	overHTTP1(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		var open sync.WaitGroup
		address := startRaw(t, ca, over, func(c net.Conn, br *bufio.Reader, r *http.Request) bool {
			open.Add(1)
			defer open.Done()
			return echo(c, br, r)
		})
		s := &switchable{http1Target(ca, over, address)}
		tr := newTransport(t, s)
		tr.MaxIdleConns, tr.MaxIdleConnsPerTarget = 1, 1
		last := observe(tr)
		mustGet(t, tr, "https://a.test/plain")
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := tr.RoundTrip(handshake(t, ctx))
		if err != nil {
			t.Fatal(err)
		}
		if x := last(); resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || x.Status != 101 || !x.Reused {
			t.Errorf("answer %+v, exchange %+v", resp, x)
		}
		wantHeld(t, tr, 1, 0)
		cancel() // the request has ended, and the upgraded connection goes on
		mustGet(t, tr, "https://a.test/plain")
		if last().Reused {
			t.Error("a request went out on the upgraded connection")
		}
		wantHeld(t, tr, 2, 1)
		tr.Sweep()
		s.target.Addresses = []string{address, address} // the earlier pool is retired
		mustGet(t, tr, "https://a.test/plain")
		tr.CloseIdleConnections()
		wantHeld(t, tr, 1, 0)

		both := resp.Body.(io.ReadWriteCloser)
		br := bufio.NewReader(both)
		say := func(what string) {
			if _, err := io.WriteString(both, what); err != nil {
				t.Fatal(err)
			}
		}
		hear := func(want string) {
			t.Helper()
			if line, err := br.ReadString('\n'); err != nil || line != want {
				t.Fatalf("heard %q, %v; want %q", line, err, want)
			}
		}
		hear("first words\n")
		say("half a ")
		say("message\n")
		hear("HALF A MESSAGE\n")
		say(strings.Repeat("x", 100<<10) + "\n")
		hear(strings.Repeat("X", 100<<10) + "\n")
		if err := both.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
		if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
			t.Errorf("after the end: %q, %v", rest, err)
		}
		wantHeld(t, tr, 1, 0)
		for range 2 { // a proxy may close it more than once
			both.Close()
		}
		wantHeld(t, tr, 0, 0)
		open.Wait()
	})
}

func TestOriginThatHangsUpAfterAnUpgradeIsHeard(t *testing.T) {
	overHTTP1(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		tr := toHTTP1(t, ca, over, startRaw(t, ca, over, func(c net.Conn, _ *bufio.Reader, _ *http.Request) bool {
			io.WriteString(c, switched+"bye")
			return false
		}))
		resp, err := tr.RoundTrip(handshake(t, t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if words, err := io.ReadAll(resp.Body); string(words) != "bye" || err != nil {
			t.Errorf("heard %q, %v", words, err)
		}
		resp.Body.Close()
		wantHeld(t, tr, 0, 0)
	})
}

// The bounds of idle connections must not apply to connections in use.
func TestManyUpgradesAtOnceLeaveNothingBehind(t *testing.T) {
	overHTTP1(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		tr := toHTTP1(t, ca, over, startRaw(t, ca, over, echo))
		tr.MaxIdleConns, tr.MaxIdleConnsPerTarget = 2, 2
		const many = 50
		held := make(chan struct{})
		var open, spoken, wg sync.WaitGroup
		open.Add(many)
		spoken.Add(many)
		for i := range many {
			wg.Go(func() {
				resp, err := tr.RoundTrip(handshake(t, t.Context()))
				open.Done()
				if err != nil {
					t.Error(err)
					spoken.Done()
					return
				}
				defer resp.Body.Close()
				<-held
				fmt.Fprintf(resp.Body.(io.Writer), "n%d\n", i)
				br := bufio.NewReader(resp.Body)
				br.ReadString('\n')
				if line, err := br.ReadString('\n'); line != fmt.Sprintf("N%d\n", i) || err != nil {
					t.Errorf("heard %q, %v", line, err)
				}
				spoken.Done()
				spoken.Wait()
			})
		}
		open.Wait()
		wantHeld(t, tr, many, 0)
		close(held)
		mustGet(t, tr, "https://a.test/plain")
		wg.Wait()
		wantHeld(t, tr, 1, 1)
	})
}

// After a 101 that nobody asked for, the origin can send anything. Passed on, it would be a tunnel to the client.
func TestSwitchThatNobodyAskedForIsAnError(t *testing.T) {
	overHTTP1(t, func(t *testing.T, over protocol) {
		for name, c := range map[string]struct {
			change func(http.Header)
			head   string
		}{
			"plain request":      {func(h http.Header) { h.Del("Connection"); h.Del("Upgrade") }, switched},
			"no Connection":      {func(h http.Header) { h.Del("Connection") }, switched},
			"no Upgrade":         {func(h http.Header) { h.Del("Upgrade") }, switched},
			"other option":       {func(h http.Header) { h.Set("Connection", "upgraded") }, switched},
			"answer without any": {func(http.Header) {}, "HTTP/1.1 101 Switching Protocols\r\n\r\n"},
			"answer without Connection": {func(http.Header) {},
				"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ca := tlstest.NewAuthority(t)
				ended := make(chan struct{})
				tr := toHTTP1(t, ca, over, startRaw(t, ca, over, func(conn net.Conn, br *bufio.Reader, _ *http.Request) bool {
					io.WriteString(conn, c.head+"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
					io.Copy(io.Discard, br)
					close(ended)
					return false
				}))
				req := handshake(t, t.Context())
				c.change(req.Header)
				resp, err := tr.RoundTrip(req)
				if err == nil {
					resp.Body.Close()
				}
				wantType(t, err, sni.HTTPProtocolError)
				<-ended
				for _, _, conns, _ := tr.Held(); conns > 0; _, _, conns, _ = tr.Held() {
					runtime.Gosched() // until net/http has seen it
				}
			})
		}
	})
}

// A WebSocket handshake that met a dead connection did not reach the origin. As a GET, it is sent once more.
func TestUpgradeOnADeadConnectionIsSentOnceMore(t *testing.T) {
	overHTTP1(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		var mu sync.Mutex
		heard, refuse := 0, 1
		tr := toHTTP1(t, ca, over, startRaw(t, ca, over, func(c net.Conn, br *bufio.Reader, r *http.Request) bool {
			if r.URL.Path == "/plain" {
				return echo(c, br, r)
			}
			mu.Lock()
			heard++
			dead := heard <= refuse
			mu.Unlock()
			return !dead && echo(c, br, r)
		}))
		last := observe(tr)
		mustGet(t, tr, "https://a.test/plain")
		resp, err := tr.RoundTrip(handshake(t, t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if x := last(); x.Sent != 2 || x.Reused {
			t.Errorf("sent %d times, at last on a connection that was reused: %t", x.Sent, x.Reused)
		}
		mu.Lock()
		refuse = 100
		mu.Unlock()
		mustGet(t, tr, "https://a.test/plain")
		_, err = tr.RoundTrip(handshake(t, t.Context()))
		if wantType(t, err, sni.ConnectionTerminated); last().Sent != 2 {
			t.Errorf("sent %d times", last().Sent)
		}
	})
}

// The body of a request is sent before the origin can switch protocols.
func TestUpgradeAfterABody(t *testing.T) {
	overHTTP1(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		tr := toHTTP1(t, ca, over, startRaw(t, ca, over, func(c net.Conn, br *bufio.Reader, r *http.Request) bool {
			body, _ := io.ReadAll(r.Body)
			r.Body.Close()
			io.WriteString(c, switched+string(body)+"\n")
			return false
		}))
		req := handshake(t, t.Context())
		closed := make(chan struct{})
		req.Method, req.ContentLength, req.Body = "POST", -1, &closing{Reader: strings.NewReader("hello"), closed: closed}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if words, err := io.ReadAll(resp.Body); string(words) != "hello\n" || err != nil {
			t.Errorf("heard %q, %v", words, err)
		}
		resp.Body.Close()
		<-closed
	})
}

// closing is a body that reports when it is closed.
type closing struct {
	io.Reader
	once   sync.Once
	closed chan struct{}
}

func (c *closing) Close() error { c.once.Do(func() { close(c.closed) }); return nil }

// HTTP/2 has no upgrades (RFC 9113 section 8.6).
func TestUpgradeOverHTTP2IsRefusedBeforeItIsSent(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := startOrigin(t, overHTTP2, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
	tr := newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	_, err := tr.RoundTrip(handshake(t, t.Context()))
	wantType(t, err, sni.HTTPRequestError)
	if n := len(o.Requests()); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
}

// The standard library's proxy passes a WebSocket on. The last bytes of each side must reach the other.
func TestReverseProxyPassesAnUpgradeOn(t *testing.T) {
	overHTTP1(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		tr := toHTTP1(t, ca, over, startRaw(t, ca, over, echo))
		proxy := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "https", "a.test", "" },
			Transport: tr,
		})
		defer proxy.Close()
		c, err := net.Dial("tcp", proxy.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" {
			t.Fatalf("%+v, %v", resp, err)
		}
		io.WriteString(c, "hello\n")
		c.(*net.TCPConn).CloseWrite()
		if words, err := io.ReadAll(br); string(words) != "first words\nHELLO\n" || err != nil {
			t.Errorf("heard %q, %v", words, err)
		}
		proxy.Close() // when the handlers have returned
		for _, _, conns, _ := tr.Held(); conns > 0; _, _, conns, _ = tr.Held() {
			runtime.Gosched() // the proxy closes on another goroutine
		}
	})
}
