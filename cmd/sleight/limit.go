package main

import (
	"net"
	"sync"
)

// limitedListener accepts no more connections than it has slots; others wait in the
// kernel's backlog. A connection has its slot until it is closed, by whomever it was taken
// over meanwhile.
//
// netutil.LimitListener of golang.org/x/net does so too, but its connections have lost
// CloseWrite: net/http could no longer end an answer before it cuts off a client that is
// still sending, and that client would read a reset instead of the answer.
type limitedListener struct {
	*net.TCPListener
	slots     chan struct{}
	closed    chan struct{}
	closeOnce sync.Once
}

func limit(l *net.TCPListener, connections int) *limitedListener {
	return &limitedListener{TCPListener: l, slots: make(chan struct{}, connections), closed: make(chan struct{})}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.AcceptTCP()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{TCPConn: c, leave: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close also ends an Accept that waits for a slot.
func (l *limitedListener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}

type limitedConn struct {
	*net.TCPConn
	leave func()
}

func (c *limitedConn) Close() error {
	defer c.leave()
	return c.TCPConn.Close()
}
