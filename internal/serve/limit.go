package serve

import (
	linked "container/list"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
)

// limitedListener accepts no more connections than it has slots; others wait in the kernel's backlog. A connection keeps
// its slot until it is closed, also if it was hijacked.
//
// One address does not get all slots: it gets one if it has fewer than twice as many as are free, which is two thirds if it
// is alone. If it has more, its new connection takes the place of its connection that was idle for the longest time. If
// none is idle, the new connection is closed. Trusted proxies have no such share.
//
// netutil.LimitListener of golang.org/x/net limits connections too, but its connections have no CloseWrite. net/http could
// then not end a response before it cuts off a client that is still sending, and that client would read a reset instead of
// the response.
type limitedListener struct {
	*net.TCPListener
	trusted   []netip.Prefix
	refused   func(netip.Addr) // called with the address whose new connection is closed; may be nil
	slots     chan struct{}
	closed    chan struct{}
	closeOnce sync.Once

	mu   sync.Mutex
	open int
	of   map[netip.Addr]*share
}

// share is the connections of one address.
type share struct {
	open int
	idle linked.List // of *limitedConn without a request, the oldest first
}

func limit(l *net.TCPListener, connections int, trusted []netip.Prefix) *limitedListener {
	return &limitedListener{
		TCPListener: l, trusted: trusted,
		slots: make(chan struct{}, connections), closed: make(chan struct{}), of: map[netip.Addr]*share{},
	}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		tcp, err := l.AcceptTCP()
		if err != nil {
			<-l.slots
			return nil, err
		}
		c := &limitedConn{TCPConn: tcp}
		instead, ok := l.enter(c)
		if instead != nil {
			instead.Close()
		}
		if ok {
			c.leave = sync.OnceFunc(func() { l.exit(c); <-l.slots })
			return c, nil
		}
		tcp.Close()
		if l.refused != nil {
			l.refused(c.client)
		}
	}
}

// enter counts a connection, unless its address has its share. instead is another connection of the address that has to be
// closed in its place; it may be nil.
func (l *limitedListener) enter(c *limitedConn) (instead *limitedConn, ok bool) {
	c.client = clientOf(c.RemoteAddr())
	if slices.ContainsFunc(l.trusted, func(p netip.Prefix) bool { return p.Contains(c.client) }) {
		c.client = netip.Addr{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.client.IsValid() {
		has := l.of[c.client]
		if has == nil {
			has = &share{}
			l.of[c.client] = has
		}
		if has.open >= 2*(cap(l.slots)-l.open) {
			oldest := has.idle.Front()
			if oldest == nil {
				return nil, false
			}
			instead = oldest.Value.(*limitedConn)
			l.setIdle(instead, false)
		}
		has.open++
		l.setIdle(c, true)
	}
	l.open++
	return instead, true
}

// exit undoes what enter has counted.
func (l *limitedListener) exit(c *limitedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if has := l.of[c.client]; has != nil {
		l.setIdle(c, false)
		c.gone = true
		if has.open--; has.open == 0 {
			delete(l.of, c.client)
		}
	}
}

// connState is for http.Server's ConnState.
func (l *limitedListener) connState(conn net.Conn, state http.ConnState) {
	c, ok := conn.(*limitedConn)
	if !ok || state == http.StateClosed || !c.client.IsValid() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setIdle(c, state == http.StateNew || state == http.StateIdle)
}

// setIdle notes whether a connection has no request. l.mu is held.
func (l *limitedListener) setIdle(c *limitedConn, idle bool) {
	has := l.of[c.client]
	switch {
	case has == nil, c.gone:
	case idle && c.idle == nil:
		c.idle = has.idle.PushBack(c)
	case !idle && c.idle != nil:
		has.idle.Remove(c.idle)
		c.idle = nil
	}
}

// Close also ends an Accept that waits for a slot.
func (l *limitedListener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}

type limitedConn struct {
	*net.TCPConn
	leave func()

	client netip.Addr      // the address whose share it is in; zero if it is in no share
	idle   *linked.Element // in that share; nil while it has a request
	gone   bool
}

func (c *limitedConn) Close() error {
	defer c.leave()
	return c.TCPConn.Close()
}

// clientOf returns the address of a client, or the /64 of an IPv6 address: one customer of a network has at least that.
func clientOf(remote net.Addr) netip.Addr {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	address := tcp.AddrPort().Addr().Unmap().WithZone("")
	if address.Is6() {
		if p, err := address.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return address
}
