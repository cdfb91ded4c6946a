package serve

import (
	"errors"
	"math"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
)

// The default bounds must fit into the descriptors. Somebody gets a 500 if they do not.
func TestDefaultBoundsFitIntoTheDescriptors(t *testing.T) {
	t.Parallel()
	for _, descriptors := range []uint64{43, 44, 64, 100, 256, 400, 1000, 1024, 20_000, 30_040, 30_041, 1 << 20, math.MaxInt64, math.MaxUint64} {
		n := BoundFor(descriptors)
		if n < 1 || need(n, n) > descriptors {
			t.Errorf("of %d descriptors, %d connections and as many requests may take %d", descriptors, n, need(n, n))
		}
		if left := descriptors - need(n, n); left > 2 && n != most {
			t.Errorf("of %d descriptors, %d are never used", descriptors, left)
		}
	}
	for _, descriptors := range []uint64{0, 1, 39, 42} { // too few for any bound
		if n := BoundFor(descriptors); n != 1 {
			t.Errorf("%d descriptors: %d", descriptors, n)
		}
	}
}

// lacking is a listener whose Accept fails with err the first times: lacks says how often.
type lacking struct {
	net.Listener
	err   error
	lacks int // how often
	asked int
}

func (l *lacking) Accept() (net.Conn, error) {
	if l.asked++; l.asked <= l.lacks {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", l.err)}
	}
	return l.Listener.Accept()
}

func TestAcceptGoesOnOnceDescriptorsAreFree(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err   error
		lacks int
		freed int // how often
	}{{syscall.EMFILE, 0, 0}, {syscall.EMFILE, 1, 1}, {syscall.ENFILE, 1, 1}, {syscall.EMFILE, 4, 2}} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		freed, told := 0, 0
		l := withRetry(&lacking{Listener: listener, err: c.err, lacks: c.lacks}, func() { freed++ }, func(err error) {
			if told++; !errors.Is(err, c.err) {
				t.Error(err)
			}
		})
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if freed != c.freed || told != c.freed {
			t.Errorf("%v %d times: freed %d times and told %d times, want %d", c.err, c.lacks, freed, told, c.freed)
		}
		client.Close()
		accepted.Close()
		l.Close()
	}
}

func TestAcceptThatWaitsForDescriptorsEndsWithItsListener(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 1)
	l := withRetry(&lacking{Listener: listener, err: syscall.EMFILE, lacks: math.MaxInt}, nil, func(err error) {
		select {
		case told <- err:
		default:
		}
	})
	server := &http.Server{Handler: http.NotFoundHandler()}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	<-told
	server.Close()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

func TestSparesAreGivenAndTakenBack(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := keepSpares(listener.(*net.TCPListener))
	for range spares {
		if !s.give() {
			t.Error("there is none to give")
		}
	}
	if s.give() {
		t.Error("there are more than said")
	}
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted.Close()
	if len(s.spare) != spares {
		t.Errorf("%d were taken back, want %d", len(s.spare), spares)
	}
	s.Close()
	s.refill()
	if len(s.spare) != 0 {
		t.Errorf("%d are kept after the end", len(s.spare))
	}
}
