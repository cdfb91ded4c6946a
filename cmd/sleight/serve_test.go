package main_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

// startServe serves the routes, with an admin address. It returns the URLs.
func startServe(t *testing.T, routes string, args ...string) (p *process, url, admin string) {
	t.Helper()
	p = run(t, nil, append([]string{"serve", "--routes", routes, "--allow-cidr", "127.0.0.0/8,::1/128", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)...)
	m := p.waitFor(t, `msg=serving url=(http://127\.0\.0\.1:\d+).* admin=(http://127\.0\.0\.1:\d+)$`)
	return p, m[1], m[2]
}

// slowOrigin is an origin of a.test that answers with its name. The test decides when it answers /slow.
func slowOrigin(t *testing.T, ca *devca.Authority, name string) (o *tlstest.Origin, arrived <-chan struct{}, release chan<- struct{}) {
	t.Helper()
	in, out := make(chan struct{}), make(chan struct{})
	o = &tlstest.Origin{HTTP1: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}}
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(in)
			<-out
		}
		io.WriteString(w, name)
	})
	o.Start(t)
	return o, in, out
}

// client returns a client that keeps its connections.
func client(t *testing.T, http2 bool) *http.Transport {
	c := &http.Transport{Protocols: new(http.Protocols)}
	c.Protocols.SetUnencryptedHTTP2(http2)
	c.Protocols.SetHTTP1(!http2)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// ask returns the status and the body of the response, and whether it closes the connection.
func ask(t *testing.T, c *http.Transport, url string) (string, bool) {
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		return err.Error(), false
	}
	r.Host = "a.test"
	resp, err := c.RoundTrip(r)
	if err != nil {
		return err.Error(), false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error(), false
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(body))), resp.Close
}

func expect(t *testing.T, c *http.Transport, url, want string) {
	t.Helper()
	if got, _ := ask(t, c, url); got != want {
		t.Errorf("%s: %s, want %s", url, got, want)
	}
}

func TestServeFinishesRunningRequests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		http2 bool
		args  []string
	}{
		{"HTTP/1.1", false, nil},
		{"HTTP/2", true, []string{"--h2c"}},
		{"after a delay", false, []string{"--shutdown-delay", "50ms"}},
		{"HTTP/2 after a delay", true, []string{"--h2c", "--shutdown-delay", "50ms"}},
		{"behind a front", false, []string{"--front", "rest-stream", "--bootstrap", lambdatest.Build(t)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ca := tlstest.NewAuthority(t)
			o, arrived, release := slowOrigin(t, ca, "o")
			p, url, admin := startServe(t, routesFile(t, map[string]any{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}), c.args...)
			probe := &http.Transport{DisableKeepAlives: true}
			expect(t, probe, admin+"/livez", "200 ok")
			expect(t, probe, admin+"/readyz", "200 ok")
			p.cmd.Process.Signal(syscall.SIGHUP) // it does not end with requests under way
			p.waitFor(t, "read again")
			slow := make(chan string, 1)
			go func() {
				got, last := ask(t, client(t, c.http2), url+"/slow")
				slow <- fmt.Sprint(got, ", the last: ", last)
			}()
			<-arrived
			p.cmd.Process.Signal(syscall.SIGTERM)
			p.waitFor(t, "stopping")
			expect(t, probe, admin+"/livez", "200 ok")
			expect(t, probe, admin+"/readyz", "503 shutting down")
			for { // until the listener is closed
				conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
				if err != nil {
					break
				}
				conn.Close()
			}
			expect(t, probe, admin+"/readyz", "503 shutting down")
			close(release)
			if got, want := <-slow, fmt.Sprint("200 o, the last: ", !c.http2); got != want { // HTTP/2 has GOAWAY for that
				t.Errorf("the running request: %s, want %s", got, want)
			}
			if status := p.exit(t); status != 0 {
				t.Errorf("exit status %d", status)
			}
			if conn, err := net.Dial("tcp", strings.TrimPrefix(admin, "http://")); err == nil {
				conn.Close()
				t.Error("the admin address is open after the end")
			}
		})
	}
}

// Load balancers send requests until their health check fails.
func TestShutdownDelayServesWhileNotReady(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2 ", http2), func(t *testing.T) {
			t.Parallel()
			ca := tlstest.NewAuthority(t)
			o := tlstest.NewOrigin(t, ca, "a.test")
			p, url, admin := startServe(t, routesFile(t, map[string]any{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}), "--h2c", "--shutdown-delay", "1h")
			before, after := client(t, http2), client(t, http2)
			expect(t, before, url, "200 a.test")
			p.cmd.Process.Signal(syscall.SIGTERM)
			p.waitFor(t, "stopping")
			expect(t, &http.Transport{DisableKeepAlives: true}, admin+"/readyz", "503 shutting down")
			for range 3 {
				for _, c := range []*http.Transport{before, after} {
					if got, last := ask(t, c, url); got != "200 a.test" || !last && !http2 {
						t.Errorf("%s, the last: %t", got, last)
					}
				}
			}
			p.cmd.Process.Signal(syscall.SIGTERM)
			if status := p.exit(t); status != -1 {
				t.Errorf("exit status %d: the second signal is to end the process at once", status)
			}
		})
	}
}

func TestAdminAnswersNothingElse(t *testing.T) {
	t.Parallel()
	p, url, admin := startServe(t, routesFile(t))
	for path, want := range map[string]string{
		"GET " + admin + "/": "404", "GET " + admin + "/livez/": "404", "HEAD " + admin + "/livez": "200", "HEAD " + admin + "/readyz": "200",
		"POST " + admin + "/livez": "405", "GET " + url + "/livez": "404", // all paths of the proxy belong to the origins
	} {
		method, target, _ := strings.Cut(path, " ")
		args := []string{"-sS", "-o", os.DevNull, "-w", "%{http_code}", "-X", method, target}
		if method == "HEAD" {
			args = append(args, "-I")
		}
		if out, err := exec.Command("curl", args...).CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("%s: %s, %v; want %s", path, out, err, want)
		}
	}
	p.cmd.Process.Signal(os.Interrupt)
	if status := p.exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestHTTP2WithPriorKnowledgeWhenAskedFor(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	routes := routesFile(t, map[string]any{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()})
	for _, c := range []struct{ serve, curl, want string }{
		{"--h2c", "--http2-prior-knowledge", "2 200"},
		{"--h2c", "--http1.1", "1.1 200"},
		{"--h2c", "--http2", "1.1 200"}, // with Upgrade: h2c, which the server ignores
		{"--h2c=false", "--http2-prior-knowledge", ""},
		{"--h2c=false", "--http1.1", "1.1 200"},
	} {
		t.Run(c.serve+" "+c.curl, func(t *testing.T) {
			t.Parallel()
			_, url, _ := startServe(t, routes, c.serve)
			out, err := exec.Command("curl", "-sS", "--max-time", "20", c.curl, "-o", os.DevNull, "-w", "%{http_version} %{http_code}", "-H", "Host: a.test", url+"/").CombinedOutput()
			if c.want == "" && err == nil || c.want != "" && string(out) != c.want {
				t.Errorf("%s, %v; want %q", out, err, c.want)
			}
		})
	}
}

func TestConnectionsAboveTheLimitWait(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	_, url, _ := startServe(t, routesFile(t, map[string]any{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}), "--max-connections", "2")
	first, second, third := client(t, false), client(t, false), client(t, false)
	expect(t, first, url, "200 a.test")
	expect(t, second, url, "200 a.test")
	waiting := make(chan string, 1)
	go func() { got, _ := ask(t, third, url+"/third"); waiting <- got }()
	for range 50 { // enough time, if it got in
		expect(t, first, url, "200 a.test")
		expect(t, second, url, "200 a.test")
	}
	for _, r := range o.Requests() {
		if r.URI == "/third" {
			t.Error("a third connection was served while two were open")
		}
	}
	first.CloseIdleConnections()
	if got := <-waiting; got != "200 a.test" {
		t.Errorf("after one was closed: %s", got)
	}
}

// replaceRoutes replaces the file as editors and deployments do: a new file gets its name.
func replaceRoutes(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func TestNewRoutesDropNoRequest(t *testing.T) {
	t.Parallel()
	for _, hangUp := range []bool{false, true} {
		t.Run(fmt.Sprint("by SIGHUP ", hangUp), func(t *testing.T) {
			t.Parallel()
			ca := tlstest.NewAuthority(t)
			a, arrived, release := slowOrigin(t, ca, "old")
			b, _, _ := slowOrigin(t, ca, "new")
			routes := routesFile(t, map[string]any{"host": "a.test", "origin": a.Addr, "ca_pem": ca.PEM()})
			changed, err := json.Marshal(map[string]any{"routes": []any{map[string]any{"host": "a.test", "origin": b.Addr, "ca_pem": ca.PEM()}}})
			if err != nil {
				t.Fatal(err)
			}
			p, url, _ := startServe(t, routes)
			slow := make(chan string, 1)
			go func() { got, _ := ask(t, client(t, false), url+"/slow"); slow <- got }()
			<-arrived
			var clients, begun sync.WaitGroup
			begun.Add(50)
			for range 50 {
				clients.Go(func() {
					c := client(t, false)
					for i := 0; ; i++ {
						got, _ := ask(t, c, url)
						if i == 0 {
							begun.Done()
						}
						if got == "200 new" {
							return
						}
						if got != "200 old" {
							t.Error(got)
							return
						}
					}
				})
			}
			begun.Wait()
			replaceRoutes(t, routes, string(changed))
			if hangUp {
				p.cmd.Process.Signal(syscall.SIGHUP)
			}
			p.waitFor(t, "routes read again.* routes=1 added=0 changed=1 removed=0")
			clients.Wait()
			close(release)
			if got := <-slow; got != "200 old" {
				t.Errorf("the request under way: %s", got)
			}
			if !hangUp {
				return
			}
			p.cmd.Process.Signal(syscall.SIGHUP)
			p.waitFor(t, "routes read again.* routes=1 added=0 changed=0 removed=0")
		})
	}
}

func TestBrokenRoutesFileLeavesTheRoutes(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	routes := routesFile(t, map[string]any{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()})
	right, err := os.ReadFile(routes)
	if err != nil {
		t.Fatal(err)
	}
	p, url, _ := startServe(t, routes)
	c := client(t, false)
	replaceRoutes(t, routes, string(right[:len(right)/2]))
	p.waitFor(t, `level=ERROR.*correct the file`)
	expect(t, c, url, "200 a.test")
	p.cmd.Process.Signal(syscall.SIGHUP)
	p.waitFor(t, `level=ERROR.*correct the file`)
	expect(t, c, url, "200 a.test")
	replaceRoutes(t, routes, `{"routes":[]}`)
	p.waitFor(t, "routes read again.* routes=0 added=0 changed=0 removed=1")
	if got, _ := ask(t, c, url); !strings.HasPrefix(got, "404 ") {
		t.Errorf("after the route was taken out: %s", got)
	}
	replaceRoutes(t, routes, string(right))
	p.waitFor(t, "routes read again.* added=1")
	expect(t, c, url, "200 a.test")
}
