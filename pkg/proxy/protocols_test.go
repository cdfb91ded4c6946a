package proxy_test

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// By default the proxy offers only HTTP/1.1, even to an origin with HTTP/2. If the route has protocols, it offers them in that
// order.
func TestOriginIsOfferedTheRoutesProtocols(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	offered := make(chan []string, 1)
	both := &tlstest.Origin{Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Config: func(c *tls.Config) {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			offered <- hello.SupportedProtos
			return nil, nil
		}
	}}
	both.Start(t)
	old := &tlstest.Origin{Certificates: both.Certificates, HTTP1: true}
	old.Start(t)
	for _, c := range []struct {
		name      string
		origin    string
		protocols []string
		offered   string
		protocol  string
	}{
		{"by default", both.Addr, nil, "http/1.1", "HTTP/1.1"},
		{"HTTP/1.1", both.Addr, []string{"http/1.1"}, "http/1.1", "HTTP/1.1"},
		{"HTTP/2", both.Addr, []string{"h2"}, "h2", "HTTP/2"},
		{"HTTP/2 first", both.Addr, []string{"h2", "http/1.1"}, "h2 http/1.1", "HTTP/2"},
		{"HTTP/1.1 first", both.Addr, []string{"http/1.1", "h2"}, "http/1.1 h2", "HTTP/2"}, // the origin may ignore the order
		{"HTTP/2 first, of an origin without", old.Addr, []string{"h2", "http/1.1"}, "h2 http/1.1", "HTTP/1.1"},
	} {
		r := route{"origin": c.origin, "ca_pem": ca.PEM()}
		if c.protocols != nil {
			r["protocols"] = c.protocols
		}
		b, lines := one(t, r)
		if got := b.do(t, "a.test"); got.status != 200 {
			t.Errorf("%s: %+v", c.name, got)
		}
		if line := lines.next(t); line["protocol"] != c.protocol {
			t.Errorf("%s: over %v, want %s", c.name, line["protocol"], c.protocol)
		}
		if c.origin != both.Addr {
			continue
		}
		if got := strings.Join(<-offered, " "); got != c.offered {
			t.Errorf("%s: offered %q, want %q", c.name, got, c.offered)
		}
	}
	b, _ := one(t, route{"origin": old.Addr, "ca_pem": ca.PEM(), "protocols": []string{"h2"}})
	b.do(t, "a.test").want(t, 502, "tls_alert_received")
}

func TestBoundOfConnectionsIsPerRoute(t *testing.T) {
	t.Parallel()
	for most, want := range map[int]int{0: 0, 7: 7} {
		if got := proxy.Target(&origin.Route{Scheme: "https", MaxConnections: most}).MaxConns; got != want {
			t.Errorf("%d is %d to the transport", most, got)
		}
	}
}

// The transport closes the idle connections of a host whose target changes.
func TestWebSocketKeepsIdleConnectionsOfItsHost(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	for name, protocols := range map[string][]string{"by default": nil, "HTTP/1.1": {"http/1.1"}} {
		var both sync.WaitGroup
		both.Add(2)
		r := route{"ca_pem": ca.PEM(), "origin": serveOrigin(t, ca, true, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Header.Get("Upgrade") != "":
				upgrades(func(net.Conn) {})(w, r)
			case r.Method == http.MethodPost: // two concurrent requests need two connections
				both.Done()
				both.Wait()
			}
		})}
		if protocols != nil {
			r["protocols"] = protocols
		}
		b, lines := one(t, r)
		ask := func(request string, want int) {
			c := b.send(t, request)
			defer c.Close()
			if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != want {
				t.Errorf("%s, %.20q: %v, %v", name, request, resp, err)
			}
		}
		var posts sync.WaitGroup
		for range 2 {
			posts.Go(func() { ask(aPost+"Content-Length: 0\r\n\r\n", 200) })
		}
		posts.Wait()
		ask(aSwitch, 101) // uses one of them
		ask(aGet, 200)
		for range 4 {
			if line := lines.next(t); line["method"] == "GET" && line["status"] == 200.0 && line["reused"] != true {
				t.Errorf("%s: %v", name, line)
			}
		}
	}
}
