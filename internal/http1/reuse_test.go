package http1

import (
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
)

// A connection that the kernel has given up is dead. Its error says timeout, as that of a Read without data does.
func TestConnectionThatTheSystemHasGivenUpIsDead(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{os.NewSyscallError("read", syscall.ETIMEDOUT), false},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}, false},
		{os.ErrDeadlineExceeded, true},
	} {
		if got := (&Conn{Conn: failingConn{err: c.err}}).Alive(); got != c.want {
			t.Errorf("%v: alive is %t, want %t", c.err, got, c.want)
		}
	}
}

type failingConn struct {
	net.Conn
	err error
}

func (c failingConn) Read([]byte) (int, error) { return 0, c.err }

// A server closes the connection if the request says so, even if its answer does not.
func TestConnectionIsNotUsedAgainAfterARequestWithClose(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"Close":  func(r *http.Request) { r.Close = true },
		"header": func(r *http.Request) { r.Header.Set("Connection", "x, Close") },
	} {
		c, done := pipe(t, empty)
		req := request(t, "GET", nil)
		change(req)
		resp, err := c.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if ends := done(); len(ends) != 1 || ends[0] {
			t.Errorf("%s: reusable %v", name, ends)
		}
	}
}
