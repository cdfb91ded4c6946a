package main_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
)

// serveWith runs serve with limits that a shell sets. It returns the URLs.
func serveWith(t *testing.T, limits, routes string, args ...string) (p *process, url, admin string) {
	t.Helper()
	args = append([]string{"-c", limits + `; exec "$0" "$@"`, linked(t), "serve", "--routes", routes, "--allow-cidr", "127.0.0.0/8", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)
	p = start(t, nil, nil, exec.Command("sh", args...))
	m := p.waitFor(t, `msg=serving url=(http://127\.0\.0\.1:\d+).* admin=(http://127\.0\.0\.1:\d+)$`)
	return p, m[1], m[2]
}

// If there was no bound, two clients used up 400 descriptors, and ten others got 500.
func TestTwoGreedyClientsLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	const streams, others = 250, 10
	ca := tlstest.NewAuthority(t)
	held, release := make(chan struct{}, 2*streams), make(chan struct{})
	o := &tlstest.Origin{HTTP1: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}}
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			held <- struct{}{}
			<-release
		}
		io.WriteString(w, "here")
	})
	o.Start(t)
	let := sync.OnceFunc(func() { close(release) })
	t.Cleanup(let)
	p, url, _ := serveWith(t, "ulimit -n 400", routesFile(t, map[string]any{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}), "--h2c")
	go func() {
		for range p.lines { // some hundred lines, which must not fill the channel
		}
	}()

	answers := make(chan string, 2*streams)
	for range 2 {
		greedy := client(t, true)
		if got, _ := ask(t, greedy, url); got != "200 here" { // so that all streams find the connection
			t.Fatal(got)
		}
		for range streams {
			go func() { got, _ := ask(t, greedy, url+"/slow"); answers <- got }()
		}
	}
	waiting, refused := 0, 0
	count := func(got string) {
		if refused++; !strings.HasPrefix(got, "503 ") || !strings.Contains(got, "errors.md#busy") {
			t.Errorf("a greedy client got %s", got)
		}
	}
	for waiting+refused < 2*streams {
		select {
		case <-held:
			waiting++
		case got := <-answers:
			count(got)
		}
	}
	if waiting == 0 || refused == 0 || waiting > 80 { // of 120
		t.Errorf("%d requests of the greedy clients wait for the origin, and %d were refused", waiting, refused)
	}
	var all sync.WaitGroup
	for range others {
		all.Go(func() { expect(t, client(t, false), url, "200 here") })
	}
	all.Wait()
	let()
	for range waiting {
		if got := <-answers; got != "200 here" {
			t.Errorf("of a request that was taken: %s", got)
		}
	}
	expect(t, client(t, true), url, "200 here")
	if n := len(regexp.MustCompile(` msg=request .* status=503 .* problem=busy .* error="proxy: there is no room for another request: a connection from 127\.0\.0\.1 has \d+ of the \d+ that are under way, and the limit is 120"`).FindAllString(p.output(), -1)); n != refused {
		t.Errorf("%d of %d refusals are logged", n, refused)
	}
}

// If the bounds are too high, the server stays alive, and serves again when descriptors are free.
func TestAdminAnswersWhileNoDescriptorIsLeft(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	p, url, admin := serveWith(t, "ulimit -n 100", routesFile(t, map[string]any{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}), "--max-connections", "0", "--max-requests", "0")
	p.waitFor(t, "level=WARN .*lower --max-connections and --max-requests.* descriptors=100 ")
	expect(t, client(t, false), url, "200 a.test")
	o.WaitConns(t, 1) // it stays idle
	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			c.Close()
		}
	}()
	for range 200 {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	p.waitFor(t, `level=ERROR msg="no file descriptor is left to accept connections;.* of=clients `)
	o.WaitConns(t, 0) // it was closed for its descriptor
	for i := range 3 * 8 {
		if got, _ := ask(t, client(t, false), admin+"/livez"); got != "200 ok" {
			t.Fatalf("livez, time %d: %s", i, got)
		}
	}
	for _, c := range idle {
		c.Close()
	}
	expect(t, client(t, false), url, "200 a.test")
	p.cmd.Process.Kill()
	p.exit(t)
	for line := range strings.Lines(p.output()) {
		if !strings.HasPrefix(line, "time=") || strings.Contains(line, "Accept error") {
			t.Errorf("a line of somebody else: %s", line)
		}
	}
	for _, of := range []string{`of=clients `, `of="the admin address" `} {
		if n := len(regexp.MustCompile(`(?m)msg="no file descriptor is left .*`+of).FindAllString(p.output(), -1)); n > 1 {
			t.Errorf("%s: it is said %d times", of, n)
		}
	}
}

func TestBoundsFollowFromTheDescriptorsThatThereMayBe(t *testing.T) {
	t.Parallel()
	for limits, want := range map[string]string{
		"ulimit -n 1000": `descriptors=1000 max_connections=320 max_requests=320`,
		// Shells and service managers allow few descriptors unless a program raises its limit.
		"ulimit -S -n 100; ulimit -H -n 1000": `descriptors=(999|1000) max_connections=(319|320) max_requests=(319|320)`,
	} {
		p, _, _ := serveWith(t, limits, routesFile(t))
		p.waitFor(t, "level=INFO .*to raise them, allow the process more.* "+want+"$")
	}
	p, _, _ := serveWith(t, "ulimit -n 1000", routesFile(t), "--max-connections", "500", "--max-requests", "300")
	p.waitFor(t, "level=WARN .*allow the process more.* descriptors=1000 max_connections=500 max_requests=300$")
	p, url, _ := serveWith(t, "ulimit -n 1000", routesFile(t), "--max-connections", "100", "--max-requests", "200")
	get(t, url, "a.test")
	p.waitFor(t, "msg=request ")
	if strings.Contains(p.output(), "descriptors") {
		t.Errorf("said of bounds that hold: %s", p.output())
	}
}

// With the 256 idle connections of a function, each of these hosts would need a handshake for each request.
func TestManyBusyHostsKeepTheirConnections(t *testing.T) {
	t.Parallel()
	const hosts = 300
	ca := tlstest.NewAuthority(t)
	leaf := tlstest.Leaf(t, ca, "*.many.test")
	o := &tlstest.Origin{HTTP1: true, Certificates: map[string]tls.Certificate{}}
	for i := range hosts {
		o.Certificates[fmt.Sprintf("h%d.many.test", i)] = leaf
	}
	o.Start(t)
	_, url, _ := serveWith(t, "ulimit -n 1000", routesFile(t, map[string]any{"host": "*.many.test", "origin": o.Addr, "ca_pem": ca.PEM()}))
	for range 2 {
		for host := range o.Certificates {
			if status, body := get(t, url, host); status != 200 {
				t.Fatalf("%s: %d %s", host, status, body)
			}
		}
	}
	if n := o.Conns(); n != hosts {
		t.Errorf("%d connections for 2 requests to each of %d hosts", n, hosts)
	}
}

// With the default of 100 idle connections for one host, the other requests would need a handshake each time.
func TestBusyHostKeepsItsConnections(t *testing.T) {
	t.Parallel()
	const rounds, atOnce = 5, 150
	ca := tlstest.NewAuthority(t)
	var arrived sync.WaitGroup
	o := &tlstest.Origin{HTTP1: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}}
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived.Done()
		arrived.Wait() // all requests of the round
		io.WriteString(w, "here")
	})
	o.Start(t)
	_, url, _ := serveWith(t, "ulimit -n 1000", routesFile(t, map[string]any{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}))
	c := client(t, false)
	for range rounds {
		arrived.Add(atOnce)
		var all sync.WaitGroup
		for range atOnce {
			all.Go(func() { expect(t, c, url, "200 here") })
		}
		all.Wait()
	}
	if n := o.Conns(); n > 2*atOnce { // some may become idle late, but not 50 each time
		t.Errorf("%d connections for %d requests at a time", n, atOnce)
	}
}

func TestConnectionsToOneOriginAreBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ env, flags []string }{
		"flag":     {[]string{"MAX_CONNECTIONS_PER_ORIGIN=100"}, []string{"--max-connections-per-origin", "2"}},
		"variable": {[]string{"MAX_CONNECTIONS_PER_ORIGIN=2"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := tlstest.NewAuthority(t)
			held, release := make(chan struct{}, 3), make(chan struct{})
			o := &tlstest.Origin{HTTP1: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test"), "b.test": tlstest.Leaf(t, ca, "b.test")}}
			o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Host == "a.test" {
					held <- struct{}{}
					<-release
				}
				io.WriteString(w, r.Host)
			})
			o.Start(t)
			let := sync.OnceFunc(func() { close(release) })
			t.Cleanup(let)
			p := run(t, c.env, append([]string{"serve", "--allow-cidr", "127.0.0.0/8", "--listen", "127.0.0.1:0", "--routes", routesFile(t,
				map[string]any{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}, map[string]any{"host": "b.test", "origin": o.Addr, "ca_pem": ca.PEM()})}, c.flags...)...)
			url := p.waitFor(t, `msg=serving url=(http://\S+)`)[1]
			answers := make(chan string, 3)
			for range 3 {
				go func() { got, _ := ask(t, client(t, false), url); answers <- got }()
			}
			<-held
			<-held
			for range 50 { // enough time for the third request, if it got through
				if status, body := get(t, url, "b.test"); status != 200 || body != "b.test" {
					t.Errorf("another host: %d %s", status, body)
				}
			}
			if len(held) > 0 {
				t.Error("a third request was sent to an origin that may have two connections")
			}
			let()
			for range 3 {
				if got := <-answers; got != "200 a.test" {
					t.Error(got)
				}
			}
		})
	}
}
