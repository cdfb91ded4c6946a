package check_test

import (
	"crypto/tls"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/check"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// fullPort returns a port whose queue of connections is full. The kernel drops further connections, as a firewall does.
func fullPort(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	address, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(address.(*syscall.SockaddrInet4).Port)
	for range 10 {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, 100*time.Millisecond)
		if err != nil {
			return port
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue does not fill up")
	return ""
}

func TestSilentFirewallIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.check(&origin.Route{
		Host: "one.test", Scheme: "https", TLSMin: tls.VersionTLS12, Addresses: []string{"127.0.0.1:" + fullPort(t)},
		Timeouts: origin.Timeouts{Connect: 100 * time.Millisecond},
	})
	if r.Status != check.Fail || r.Findings[0].Code != "connection_timeout" || r.Origins[0].IPs[0].TLS != nil {
		t.Errorf("%+v", r.Findings)
	}
}
