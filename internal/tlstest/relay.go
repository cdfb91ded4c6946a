package tlstest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Relay stands before an origin as a NAT gateway does: it forgets flows silently. The client gets a reset once it sends something.
// The origin gets nothing. A gateway forgets flows that were idle for too long. A relay forgets them at [Relay.Forget], because
// on a loaded machine a busy flow could look idle. The fields may be set before Start, and must not change after that. The
// methods are safe for concurrent use.
type Relay struct {
	// Origin is the address behind the relay.
	Origin string

	// Blackhole drops what the client of a forgotten flow sends, without a reset, as if the gateway had been replaced.
	Blackhole bool

	// Addr is "127.0.0.1:port" once started.
	Addr string

	mu     sync.Mutex
	wg     sync.WaitGroup
	closed bool
	open   map[*flow]struct{}
	flows  int
	resets int
	last   time.Time // when the relay last copied something
}

// flow is a connection of a client, and the relay's connection to the origin for it.
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

// copy copies what from sends, including its end, until the flow is forgotten.
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
		// Data of a forgotten flow is dropped.
		if from == f.client {
			if n > 0 {
				r.meet(f)
			}
			if err != nil { // both ends are gone
				f.close()
			}
		}
		if err != nil {
			return
		}
	}
}

// meet notes that the client sent something on a forgotten flow, and resets the flow unless Blackhole is set.
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

// passes reports whether the flow is not forgotten.
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

// Flows returns the number of connections that were relayed so far.
func (r *Relay) Flows() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flows
}

// Resets returns the number of forgotten flows that got something from their client, such as TLS's close_notify. Each of these
// was reset, unless Blackhole is set.
func (r *Relay) Resets() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.resets
}

// Known returns the number of open flows that are not forgotten.
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

// Forget forgets all open flows. It first waits until the relay has copied nothing for the time idle.
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
