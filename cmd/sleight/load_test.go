package main_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/testdeps"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

const (
	connsPerHost = 250 // of clients; 2,000 with eight hosts
	changeEvery  = 100 * time.Millisecond
	restartEvery = 2 * time.Second
)

// loadHost is a host that one wrk requests, on its own connections. Most of the routes have HTTP/2. Otherwise there would be a connection
// for each request at a time, and the origins, which may have the race detector, would mostly make handshakes.
type loadHost struct {
	name    string
	method  string
	http1   bool          // its origins have HTTP/1.1; otherwise HTTP/2
	origins []*loadOrigin // its route has one of them at a time
	comes   bool          // its route is removed and added again
	dies    bool          // its origin is restarted
}

// loadOrigin counts requests. It answers with the server name and the host of the request. It can be restarted at its address.
type loadOrigin struct {
	addr    string                   // "127.0.0.1:port" after the start
	configs map[string]*tls.Config   // by server name
	seen    map[string]*atomic.Int64 // requests by host
	late    atomic.Int64             // connections that it closed
	server  *http.Server
	ended   chan struct{}
}

// Write takes a line of the server's log. On a loaded machine, net/http silently closes connections over HTTP/2 if it could not read the
// first frame within two seconds.
func (o *loadOrigin) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("timeout waiting for SETTINGS")) {
		o.late.Add(1)
	}
	return len(line), nil
}

func newLoadOrigin() *loadOrigin {
	return &loadOrigin{addr: "127.0.0.1:0", configs: map[string]*tls.Config{}, seen: map[string]*atomic.Int64{}}
}

func (o *loadOrigin) add(t *testing.T, ca *devca.Authority, name string, http1 bool) {
	o.seen[name] = new(atomic.Int64)
	o.configs[name] = &tls.Config{Certificates: []tls.Certificate{tlstest.Leaf(t, ca, name)}, NextProtos: []string{"h2"}}
	if http1 {
		o.configs[name].NextProtos = []string{"http/1.1"}
	}
}

// start listens and serves. The channel that it returns is closed when each of the names was requested.
func (o *loadOrigin) start() (met <-chan struct{}, err error) {
	listener, err := net.Listen("tcp", o.addr)
	// An outgoing connection of another process may have got the port meanwhile.
	for late := time.After(patience); errors.Is(err, syscall.EADDRINUSE); {
		select {
		case <-late:
			return nil, err
		case <-time.After(time.Millisecond):
			listener, err = net.Listen("tcp", o.addr)
		}
	}
	if err != nil {
		return nil, err
	}
	if o.server == nil {
		o.addr = listener.Addr().String()
	}
	all, first := make(chan struct{}), map[string]func(){}
	var missing atomic.Int64
	missing.Store(int64(len(o.seen)))
	for name := range o.seen {
		first[name] = sync.OnceFunc(func() {
			if missing.Add(-1) == 0 {
				close(all)
			}
		})
	}
	server := &http.Server{
		ErrorLog: log.New(o, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			if seen := o.seen[r.Host]; seen != nil {
				seen.Add(1)
				first[r.Host]()
			}
			io.WriteString(w, r.TLS.ServerName+" "+r.Host)
		}),
	}
	listener = tls.NewListener(listener, &tls.Config{
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if c := o.configs[hello.ServerName]; c != nil {
				return c, nil
			}
			return nil, fmt.Errorf("no certificate for %q", hello.ServerName)
		},
	})
	ended := make(chan struct{})
	go func() { defer close(ended); server.Serve(listener) }()
	o.server, o.ended = server, ended
	return all, nil
}

// stop closes the listener, and then all connections, with the requests on them.
func (o *loadOrigin) stop() {
	o.server.Close()
	<-o.ended
}

// load is a server under load.
type load struct {
	hosts    []loadHost
	dying    *loadOrigin
	origins  []*loadOrigin // all of them
	ca       *devca.Authority
	routes   string
	url      string
	p        *process
	step     int // number of changes so far
	runs     int
	restarts int
	seen     []tally // by host, for all runs
}

// startLoad starts the origins and the server. It keeps the lines of the log that do not occur by the thousand. The heap may have only a
// quarter of garbage, so that its memory is close to what it needs.
func startLoad(t *testing.T) *load {
	t.Helper()
	a, b, c := newLoadOrigin(), newLoadOrigin(), newLoadOrigin()
	living, dying := []*loadOrigin{a, b}, []*loadOrigin{c}
	l := &load{dying: c, origins: []*loadOrigin{a, b, c}, ca: tlstest.NewAuthority(t), hosts: []loadHost{
		{name: "get.h2.test", method: "GET", origins: living},
		{name: "post.h2.test", method: "POST", origins: living},
		{name: "get.h1.test", method: "GET", http1: true, origins: living},
		{name: "post.h1.test", method: "POST", http1: true, origins: living},
		{name: "comes.test", method: "GET", origins: living, comes: true},
		{name: "dying-get.h2.test", method: "GET", origins: dying, dies: true},
		{name: "dying-get.h1.test", method: "GET", http1: true, origins: dying, dies: true},
		{name: "dying-post.h2.test", method: "POST", origins: dying, dies: true},
	}}
	l.seen = make([]tally, len(l.hosts))
	for _, h := range l.hosts {
		for _, o := range h.origins {
			o.add(t, l.ca, h.name, h.http1)
		}
	}
	for _, o := range l.origins {
		if _, err := o.start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(o.stop)
	}
	l.routes = routesFile(t)
	replaceRoutes(t, l.routes, l.document(t))
	l.p = runKeeping(t, func(line []byte) bool {
		has := func(s string) bool { return bytes.Contains(line, []byte(s)) }
		switch {
		case has(` msg="routes read again" `):
			return false
		case has(" msg=request "):
			return !has(" level=INFO ") && !has(" host=dying-")
		}
		return true
	}, []string{"GOGC=25"}, "serve", "--routes", l.routes, "--allow-cidr", "127.0.0.0/8", "--listen", "127.0.0.1:0")
	l.url = l.p.waitFor(t, `msg=serving url=(http://\S+)$`)[1]
	go func() {
		for range l.p.lines { // otherwise it would wait for a reader
		}
	}()
	return l
}

// absent reports whether the route of the host with comes is removed in this step.
func (l *load) absent() bool { return l.step%10 >= 3 && l.step%10 < 6 }

// covered reports whether each host was answered, and each of its origins requested, and the host with comes was requested without
// a route. On a machine under other load, a run may have too few changes of the routes for that.
func (l *load) covered() bool {
	for i, h := range l.hosts {
		if l.seen[i].Right == 0 || h.comes && l.seen[i].Failed["404 destination_not_found"] == 0 {
			return false
		}
		for _, o := range h.origins {
			if o.seen[h.name].Load() == 0 {
				return false
			}
		}
	}
	return true
}

// document returns the routes file of this step.
func (l *load) document(t *testing.T) string {
	t.Helper()
	var routes []map[string]any
	for i, h := range l.hosts {
		if h.comes && l.absent() {
			continue
		}
		at := l.step + i
		if h.http1 {
			at /= 5 // each change costs a handshake for each connection
		}
		protocols := []string{"h2"}
		if h.http1 {
			protocols = []string{"http/1.1"}
		}
		routes = append(routes, map[string]any{
			"protocols": protocols, "host": h.name, "origin": h.origins[at%len(h.origins)].addr, "ca_pem": l.ca.PEM(),
			"connect_timeout": "20s", "handshake_timeout": "20s", // for a loaded machine
		})
	}
	b, err := json.Marshal(map[string]any{"routes": routes})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// run puts load on the server for that time. Meanwhile it changes the routes and restarts an origin.
func (l *load) run(t *testing.T, d time.Duration) {
	t.Helper()
	wrk, dir := testdeps.Path(t, "wrk"), t.TempDir()
	ctx, done := context.WithCancel(t.Context())
	var all, clients sync.WaitGroup
	l.runs++
	for i, h := range l.hosts {
		clients.Go(func() {
			seen, err := runWrk(ctx, wrk, dir, l.url, h, d)
			if err != nil {
				t.Error(err)
			}
			l.seen[i].add(seen)
		})
	}
	all.Go(func() { clients.Wait(); done() })
	all.Go(func() { l.keepRestarting(ctx, t) })
	defer all.Wait()
	defer done()
	tick := time.NewTicker(changeEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		l.step++
		replaceRoutes(t, l.routes, l.document(t))
		l.p.cmd.Process.Signal(syscall.SIGHUP)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// keepRestarting restarts the origin of the host with dies, until ctx ends.
func (l *load) keepRestarting(ctx context.Context, t *testing.T) {
	tick := time.NewTicker(restartEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		l.restarts++
		l.dying.stop()
		met, err := l.dying.start()
		if err != nil {
			t.Error(err)
			return
		}
		select {
		case <-met:
		case <-ctx.Done():
		case <-time.After(patience):
			t.Error("an origin is up again, and there is a host whose requests do not reach it")
			return
		}
	}
}

// settle waits until the server has no more files open than before the load, after the clients and then the origins have gone. It returns
// the memory of the server, in KiB.
func (l *load) settle(t *testing.T, before int) (memory int) {
	t.Helper()
	const few = 10
	unused := len(l.hosts) * connsPerHost // idle connections to origins that it may keep
	l.waitFiles(t, before+unused+few)
	for _, o := range l.origins {
		o.stop()
	}
	memory = l.waitFiles(t, before+few)
	for _, o := range l.origins {
		if _, err := o.start(); err != nil {
			t.Fatal(err)
		}
	}
	return memory
}

// waitFiles waits until the server has at most that many files open. It returns its memory.
func (l *load) waitFiles(t *testing.T, most int) (memory int) {
	t.Helper()
	for late := time.After(patience); ; {
		memory, files := resources(t, l.p.cmd.Process.Pid)
		if files <= most {
			return memory
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			t.Fatalf("after the load the server has %d files open, and should have at most %d", files, most)
		}
	}
}

// judge compares the counts of the clients and the origins.
func (l *load) judge(t *testing.T) {
	t.Helper()
	for i, h := range l.hosts {
		seen, inFlight, arrived, cuts := l.seen[i], l.runs*connsPerHost, 0, 0 // in flight at the end of the time
		for _, o := range h.origins {
			n := int(o.seen[h.name].Load())
			if n == 0 {
				t.Errorf("%s: no request has gone to one of its origins", h.name)
			}
			arrived += n
			cuts += int(o.late.Load()) * connsPerHost
		}
		if h.dies {
			cuts += l.restarts * connsPerHost
		}
		// The end of a connection cuts off at most one request of each client.
		cut := min(seen.Read+seen.Failed["502 connection_terminated"], cuts)
		failed, lost, most := seen.Connect+seen.Read+seen.Write+seen.Timeout, cut, seen.Right+inFlight+cut
		if h.method == "GET" { // it is sent once more
			most += cuts
		}
		for _, n := range seen.Failed {
			failed += n
		}
		switch {
		case h.comes:
			missing := seen.Failed["404 destination_not_found"]
			if lost += missing; missing == 0 {
				t.Errorf("%s: its route was always there", h.name)
			}
		case h.dies: // the kernel refuses connections for a moment
			lost += seen.Failed["502 connection_refused"]
		}
		if failed != lost || seen.Wrong > 0 || seen.Right == 0 || arrived < seen.Right || arrived > most {
			t.Errorf("%s: %d requests failed, of which %d may; %d arrived, of which at most %d may; in %d runs with %d restarts, and %d requests that their origins may have cut off, wrk saw %+v",
				h.name, failed, lost, arrived, most, l.runs, l.restarts, cuts, seen)
		}
	}
}

// resources returns the memory of a process, in KiB, and the number of its open files.
func resources(t *testing.T, pid int) (memory, files int) {
	t.Helper()
	var status string
	if runtime.GOOS == "linux" {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, status, _ = strings.Cut(string(b), "VmRSS:")
		files = len(all)
	} else {
		b, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
		if err != nil {
			t.Fatal(err)
		}
		all, err := exec.Command("lsof", "-p", strconv.Itoa(pid)).Output()
		if err != nil {
			t.Fatal(err)
		}
		status, files = string(b), bytes.Count(all, []byte("\n"))
	}
	if _, err := fmt.Sscan(status, &memory); err != nil {
		t.Fatal(err)
	}
	return memory, files
}

// The load test relies on a line of net/http's log.
func TestConnectionThatAnOriginGivesUpIsCounted(t *testing.T) {
	t.Parallel()
	o, ca := newLoadOrigin(), tlstest.NewAuthority(t)
	o.add(t, ca, "a.test", false)
	if _, err := o.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.stop)
	c, err := tls.Dial("tcp", o.addr, &tls.Config{ServerName: "a.test", RootCAs: ca.Pool(), NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	if _, err := io.Copy(io.Discard, c); err != nil || o.late.Load() != 1 {
		t.Errorf("%v, %d counted", err, o.late.Load())
	}
}

// Two thousand clients keep two processors busy for half a minute. The test does not measure speed.
func TestLoadLosesAndMixesUpNothing(t *testing.T) {
	t.Parallel()
	needOpenFiles(t, 6000)
	l := startLoad(t)
	pid := l.p.cmd.Process.Pid
	_, files := resources(t, pid)
	l.run(t, 3*time.Second)
	kept := []int{l.settle(t, files)}
	// The first run has allocated memory for the connections. The other runs are longer, so that a leak for each request is
	// visible. Such a leak is in each run. More requests at a time than before, as on a loaded machine, are in a single run.
	for grows := true; grows || !l.covered(); {
		if len(kept) == 5 {
			if grows {
				t.Errorf("the server grows with each run of load: to %d KiB", kept)
			}
			break
		}
		l.run(t, 7*time.Second)
		before, after := kept[len(kept)-1], l.settle(t, files)
		kept = append(kept, after)
		grows = after > before*9/8+4<<10
	}
	l.judge(t)
	for _, h := range l.hosts {
		if status, body := get(t, l.url, h.name); !h.comes && (status != 200 || body != h.name+" "+h.name) {
			t.Errorf("%s after the load: %d %s", h.name, status, body)
		}
	}
	l.p.cmd.Process.Signal(syscall.SIGTERM)
	if status := l.p.exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	for line := range strings.Lines(l.p.output()) {
		// The clients have counted their failures. The others are of clients that had gone.
		if !strings.Contains(line, " level=WARN msg=request ") && !strings.Contains(line, " msg=serving ") && !strings.Contains(line, ` msg="stopping, `) &&
			!strings.Contains(line, ` msg="the limits of connections and requests depend `) {
			t.Errorf("unexpected in the log: %s", line)
		}
	}
}
