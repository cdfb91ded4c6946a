package serve

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// from connects to a server from an address of loopback.
func (r *started) from(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// answered sends a request and returns whether it was answered.
func answered(c net.Conn) error {
	if _, err := fmt.Fprintf(c, request, "/"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// A client that opens connections and does not use them would shut out everybody else.
func TestOneAddressLeavesConnectionsToOthers(t *testing.T) {
	t.Parallel()
	const most, share = 9, 6
	for _, c := range []struct {
		name string
		open func(t *testing.T, conn net.Conn)
	}{
		{"without a request", func(*testing.T, net.Conn) {}},
		{"idle after an answer", func(t *testing.T, conn net.Conn) {
			if err := answered(conn); err != nil {
				t.Error(err)
			}
		}},
		{"that were taken over", func(_ *testing.T, conn net.Conn) { fmt.Fprintf(conn, request, "/taken") }},
		{"with half a request", func(_ *testing.T, conn net.Conn) { io.WriteString(conn, "GET / HTTP/1.1\r\n") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mux := http.NewServeMux()
			mux.HandleFunc("/taken", func(w http.ResponseWriter, r *http.Request) {
				if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
					defer conn.Close()
					io.Copy(io.Discard, conn)
				}
			})
			patient := defaultLimits
			patient.readHeader, patient.idle = time.Hour, time.Hour
			r := start(t, Server{Handler: mux, limits: patient, MaxConnections: most})
			for range 5 * most {
				c.open(t, r.from(t, "127.0.0.1"))
			}
			for i := range most - share {
				if err := answered(r.from(t, fmt.Sprintf("127.0.0.%d", i+2))); err != nil {
					t.Errorf("client %d beside one with many connections: %v", i+2, err)
				}
			}
		})
	}
}

// A client that goes on opening connections has always had its newest answered.
func TestAddressBeyondItsShareLosesTheLongestIdleConnection(t *testing.T) {
	t.Parallel()
	const most, share = 9, 6
	r := start(t, Server{Handler: http.NotFoundHandler(), limits: defaultLimits, MaxConnections: most})
	var all []net.Conn
	for range share {
		c := r.from(t, "127.0.0.1")
		if err := answered(c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if err := answered(all[0]); err != nil { // so that the second is the one
		t.Fatal(err)
	}
	if err := answered(r.from(t, "127.0.0.1")); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	if n, err := all[1].Read(make([]byte, 1)); err == nil {
		t.Errorf("the longest idle connection is open: %d bytes", n)
	}
	for _, i := range []int{0, 2, 3, 4, 5} {
		if err := answered(all[i]); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
}

// A balancer has the connections of all clients.
func TestTrustedProxyMayHaveAllConnections(t *testing.T) {
	t.Parallel()
	const most = 9
	r := start(t, Server{Handler: http.NotFoundHandler(), limits: defaultLimits, MaxConnections: most, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	var all []net.Conn
	for range most {
		all = append(all, r.from(t, "127.0.0.1"))
	}
	for range 2 {
		for i, c := range all {
			if err := answered(c); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		}
	}
}

func TestAddressWhoseConnectionsAreClosedIsNamedOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		told := logShare(slog.New(slog.NewTextHandler(&log, nil)))
		for i := range 121 {
			told(netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i)))
			time.Sleep(time.Second)
		}
		if got := regexp.MustCompile(`client=\S+`).FindAllString(log.String(), -1); !slices.Equal(got, []string{"client=192.0.2.0", "client=192.0.2.60", "client=192.0.2.120"}) {
			t.Errorf("%q:\n%s", got, log.String())
		}
	})
}

func TestNothingIsLeftOfConnectionsThatAreClosed(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limit(listener.(*net.TCPListener), 20, nil)
	server := &http.Server{Handler: http.NotFoundHandler(), ConnState: l.connState}
	ended := make(chan struct{})
	go func() { defer close(ended); server.Serve(l) }()
	r := &started{addr: listener.Addr().String()}
	for i := range 200 {
		c := r.from(t, fmt.Sprintf("127.0.0.%d", i%3+1))
		if i%2 == 0 {
			answered(c)
		}
		if i%5 == 0 {
			c.Close()
		}
	}
	server.Close()
	<-ended
	for late := time.After(patience); ; { // until the last has gone
		l.mu.Lock()
		open, addresses := l.open, len(l.of)
		l.mu.Unlock()
		if open == 0 && addresses == 0 {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-late:
			t.Fatalf("%d connections of %d addresses are counted", open, addresses)
		}
	}
}
