package tlstest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Relay stands before an origin as a NAT gateway does: it forgets flows, and tells nobody. The
// client learns of it by a reset, and only once it sends something; the origin never does. A
// gateway forgets what was idle for too long; a relay forgets when [Relay.Forget] says so, or
// else a machine with much to do would have it forget what goes on. Before Start, its fields may
// be set; afterwards they must not change. Its methods are safe for concurrent use.
type Relay struct {
	// Origin is the address behind the relay.
	Origin string

	// Blackhole leaves the client of a forgotten flow without a reset: what it sends is
	// swallowed, as by a gateway that was replaced.
	Blackhole bool

	// Addr is "127.0.0.1:port" once started.
	Addr string

	mu     sync.Mutex
	wg     sync.WaitGroup
	closed bool
	open   map[*flow]struct{}
	flows  int
	resets int
	last   time.Time // when something went through
}

// flow is a connection of a client and the one to the origin that belongs to it.
type flow struct {
	client, origin *net.TCPConn

	// Guarded by the relay's mutex.
	forgotten bool
	met       bool // the client sent something after it was forgotten
}

// NewRelay starts a relay to the address.
func NewRelay(t testing.TB, origin string) *Relay {
	t.Helper()
	r := &Relay{Origin: origin}
	r.Start(t)
	return r
}

// Start listens and relays until the test ends.
func (r *Relay) Start(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.Addr, r.open = listener.Addr().String(), map[*flow]struct{}{}
	r.wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			r.relay(client.(*net.TCPConn))
		}
	})
	t.Cleanup(func() {
		listener.Close()
		r.mu.Lock()
		r.closed = true
		for f := range r.open {
			f.close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
}

func (r *Relay) relay(client *net.TCPConn) {
	origin, err := net.Dial("tcp", r.Origin)
	if err != nil {
		client.Close()
		return
	}
	f := &flow{client: client, origin: origin.(*net.TCPConn)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		f.close()
		return
	}
	r.flows++
	r.last = time.Now()
	r.open[f] = struct{}{}
	r.wg.Go(func() {
		var both sync.WaitGroup
		both.Go(func() { r.copy(f, f.origin, f.client) })
		both.Go(func() { r.copy(f, f.client, f.origin) })
		both.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		f.close()
		delete(r.open, f)
	})
}

// copy hands over what from sends, its end included, while the flow is known.
func (r *Relay) copy(f *flow, to, from *net.TCPConn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n == 0 && errors.Is(err, net.ErrClosed) { // by the other direction, or by the end of the test
			return
		}
		if r.passes(f) {
			if n > 0 {
				if _, werr := to.Write(b[:n]); werr != nil {
					f.reset()
					return
				}
			}
			switch {
			case errors.Is(err, io.EOF):
				to.CloseWrite()
				return
			case err != nil:
				f.reset()
				return
			}
			continue
		}
		// What arrives of a forgotten flow goes no further.
		if from == f.client {
			if n > 0 {
				r.meet(f)
			}
			if err != nil { // nobody is left who could be told
				f.close()
			}
		}
		if err != nil {
			return
		}
	}
}

// meet notes that the client sent something on a forgotten flow, and tells it.
func (r *Relay) meet(f *flow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !f.met {
		f.met = true
		r.resets++
	}
	if !r.Blackhole {
		f.reset()
	}
}

// passes reports whether the flow is known.
func (r *Relay) passes(f *flow) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !f.forgotten {
		r.last = time.Now()
	}
	return !f.forgotten
}

// reset ends the flow with a reset in both directions.
func (f *flow) reset() {
	f.client.SetLinger(0)
	f.origin.SetLinger(0)
	f.close()
}

func (f *flow) close() {
	f.client.Close()
	f.origin.Close()
}

// Flows returns how many connections were relayed so far.
func (r *Relay) Flows() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flows
}

// Resets returns how many forgotten flows the client sent something on, be it no more than
// TLS's close_notify. Each was reset for it, but for those that a Blackhole has.
func (r *Relay) Resets() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.resets
}

// Known returns how many open flows are not forgotten.
func (r *Relay) Known() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for f := range r.open {
		if !f.forgotten {
			n++
		}
	}
	return n
}

// Forget forgets all flows that are open, once nothing has gone through for as long as idle.
func (r *Relay) Forget(idle time.Duration) {
	for {
		r.mu.Lock()
		wait := idle - time.Since(r.last)
		if wait <= 0 {
			for f := range r.open {
				f.forgotten = true
			}
		}
		r.mu.Unlock()
		if wait <= 0 {
			return
		}
		<-time.After(wait)
	}
}
