package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// descriptorsKept are for all else than connections of clients and to origins: the listeners, the admin
// address, the routes, the table.
const descriptorsKept = 40

// most is what the bounds are with descriptors enough: ten thousand busy requests take a GB of memory.
const most = 10_000

// boundFor is how many clients' connections a server has by default, how many requests at a time, and
// how many idle connections to origins, each. Together they fit into the file descriptors that
// the process may have: a request takes one towards the origin, or two for a moment while the name
// is looked up.
func boundFor(descriptors uint64) int {
	if descriptors < descriptorsKept {
		return 1
	}
	return int(min(max((descriptors-descriptorsKept)/3, 1), most))
}

// need returns how many descriptors the bounds may take. Zero or less means no bound.
func need(connections, requests int) uint64 {
	if connections <= 0 || requests <= 0 {
		return math.MaxUint64
	}
	return uint64(connections) + 2*uint64(requests) + descriptorsKept
}

// tellOfBounds says what an operator should know of the bounds: that they may be too large for the
// descriptors, or that the descriptors make them small.
func tellOfBounds(logger *slog.Logger, descriptors uint64, connections, requests int) {
	attrs := []slog.Attr{slog.Uint64("descriptors", descriptors), slog.Int("max_connections", connections), slog.Int("max_requests", max(requests, 0))}
	const allow = "allow the process more (ulimit -n, LimitNOFILE)"
	switch {
	case need(connections, requests) > descriptors:
		logger.LogAttrs(context.Background(), slog.LevelWarn, "more connections and requests are allowed than there are file descriptors for: lower --max-connections and --max-requests, or "+allow, attrs...)
	case boundFor(descriptors) < most && boundFor(descriptors) == min(connections, requests):
		logger.LogAttrs(context.Background(), slog.LevelInfo, "the bounds of connections and requests follow from the file descriptors: to raise them, "+allow, attrs...)
	}
}

// noDescriptors reports whether the process, or the system, has no file descriptor left.
func noDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// patientListener tries again if there was no descriptor for a connection. net/http does so too, but
// writes a line of its own for each attempt, and frees nothing.
type patientListener struct {
	net.Listener
	free func() // closes what can be spared; may be nil
	log  func(error)

	closed    chan struct{}
	closeOnce sync.Once
}

func patient(l net.Listener, free func(), log func(error)) *patientListener {
	return &patientListener{Listener: l, free: free, log: log, closed: make(chan struct{})}
}

func (l *patientListener) Accept() (net.Conn, error) {
	const longest = time.Second
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, longest) {
		c, err := l.Listener.Accept()
		if err == nil || !noDescriptors(err) {
			return c, err
		}
		l.log(err)
		if l.free != nil {
			l.free()
			if c, err = l.Listener.Accept(); err == nil || !noDescriptors(err) {
				return c, err
			}
		}
		select {
		case <-time.After(pause):
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

// Close also ends an Accept that waits.
func (l *patientListener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// tellOfLack returns what logs that there was no descriptor for a connection to what, once a minute.
func tellOfLack(logger *slog.Logger, what string) func(error) {
	once := &onceAMinute{}
	return func(err error) {
		if once.now() {
			logger.LogAttrs(context.Background(), slog.LevelError, "no file descriptor is left to accept connections; lower --max-connections and --max-requests, or allow the process more descriptors (ulimit -n)",
				slog.String("of", what), slog.String("error", err.Error()))
		}
	}
}

// tellOfShare returns what logs that connections of an address are closed, once a minute.
func tellOfShare(logger *slog.Logger) func(netip.Addr) {
	once := &onceAMinute{}
	return func(client netip.Addr) {
		if once.now() {
			logger.LogAttrs(context.Background(), slog.LevelWarn, "connections of an address are closed that has its share of --max-connections; raise that, or if it is a balancer's, name it in TRUSTED_PROXIES",
				slog.String("client", client.String()))
		}
	}
}

// onceAMinute keeps what happens often from filling the log.
type onceAMinute struct {
	mu   sync.Mutex
	told time.Time
}

// now reports whether to tell.
func (o *onceAMinute) now() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if !o.told.IsZero() && now.Sub(o.told) < time.Minute {
		return false
	}
	o.told = now
	return true
}

// spareListener keeps some descriptors open, and closes one for a connection if the process may open no
// other. So the admin address answers then too.
type spareListener struct {
	*net.TCPListener

	mu     sync.Mutex
	spare  []*os.File
	closed bool
}

const spares = 8

func keepSpares(l *net.TCPListener) *spareListener {
	s := &spareListener{TCPListener: l}
	s.refill()
	return s
}

func (s *spareListener) Accept() (net.Conn, error) {
	c, err := s.AcceptTCP()
	for noDescriptors(err) && s.give() {
		c, err = s.AcceptTCP()
	}
	if err != nil {
		return nil, err
	}
	return &limitedConn{TCPConn: c, leave: s.refill}, nil
}

// give closes a spare descriptor, and reports whether there was one.
func (s *spareListener) give() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.spare)
	if n == 0 {
		return false
	}
	s.spare[n-1].Close()
	s.spare = s.spare[:n-1]
	return true
}

// refill opens descriptors again, as many as there are.
func (s *spareListener) refill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && len(s.spare) < spares {
		file, err := os.Open(os.DevNull)
		if err != nil {
			return
		}
		s.spare = append(s.spare, file)
	}
}

// Close closes the spare descriptors too.
func (s *spareListener) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for s.give() {
	}
	return s.TCPListener.Close()
}
