package http1

import (
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
)

// What the system has given up is dead, although the error says timeout: so does the error of a Read
// that finds nothing.
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

// A server that was told so hangs up, whether or not its answer says it too.
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
