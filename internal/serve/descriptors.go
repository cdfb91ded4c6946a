package serve

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

// descriptorsKept is how many descriptors are left for the listeners, the admin address, the routes and the table.
const descriptorsKept = 40

// most is the bound if there are enough descriptors: ten thousand busy requests take a GB of memory.
const most = 10_000

// BoundFor returns the default bound for each of three things: connections of clients, requests at a time, and idle
// connections to origins. Together they fit into the file descriptors that the process may have. A request takes one
// descriptor towards the origin, and two while the name is looked up.
func BoundFor(descriptors uint64) int {
	if descriptors < descriptorsKept {
		return 1
	}
	return int(min(max((descriptors-descriptorsKept)/3, 1), most))
}

// need returns how many descriptors the bounds may take. A bound of zero or less means no bound.
func need(connections, requests int) uint64 {
	if connections <= 0 || requests <= 0 {
		return math.MaxUint64
	}
	return uint64(connections) + 2*uint64(requests) + descriptorsKept
}

// LogBounds logs a warning if the bounds are too large for the descriptors, and a hint if the descriptors make them small.
func LogBounds(logger *slog.Logger, descriptors uint64, connections, requests int) {
	attrs := []slog.Attr{slog.Uint64("descriptors", descriptors), slog.Int("max_connections", connections), slog.Int("max_requests", max(requests, 0))}
	const allow = "allow the process more (ulimit -n, LimitNOFILE)"
	switch {
	case need(connections, requests) > descriptors:
		logger.LogAttrs(context.Background(), slog.LevelWarn, "more connections and requests are allowed than there are file descriptors for: lower --max-connections and --max-requests, or "+allow, attrs...)
	case BoundFor(descriptors) < most && BoundFor(descriptors) == min(connections, requests):
		logger.LogAttrs(context.Background(), slog.LevelInfo, "the limits of connections and requests depend on the number of file descriptors: to raise them, "+allow, attrs...)
	}
}

// noDescriptors reports whether the process, or the system, has no file descriptor left.
func noDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// retryListener accepts again if there was no descriptor for a connection. net/http does so too, but it logs each attempt,
// and frees nothing.
type retryListener struct {
	net.Listener
	free func() // closes what can be spared; may be nil
	log  func(error)

	closed    chan struct{}
	closeOnce sync.Once
}

func withRetry(l net.Listener, free func(), log func(error)) *retryListener {
	return &retryListener{Listener: l, free: free, log: log, closed: make(chan struct{})}
}

func (l *retryListener) Accept() (net.Conn, error) {
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
func (l *retryListener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// logLack returns a function that logs, once a minute, that there was no descriptor for a connection to what.
func logLack(logger *slog.Logger, what string) func(error) {
	once := &everyMinute{}
	return func(err error) {
		if once.now() {
			logger.LogAttrs(context.Background(), slog.LevelError, "no file descriptor is left to accept connections; lower --max-connections and --max-requests, or allow the process more descriptors (ulimit -n)",
				slog.String("of", what), slog.String("error", err.Error()))
		}
	}
}

// logShare returns a function that logs, once a minute, that connections of an address are closed.
func logShare(logger *slog.Logger) func(netip.Addr) {
	once := &everyMinute{}
	return func(client netip.Addr) {
		if once.now() {
			logger.LogAttrs(context.Background(), slog.LevelWarn, "connections of an address are closed that has its share of --max-connections; raise that, or if it is a balancer's, name it in TRUSTED_PROXIES",
				slog.String("client", client.String()))
		}
	}
}

// everyMinute keeps frequent events from filling the log.
type everyMinute struct {
	mu   sync.Mutex
	last time.Time
}

// now reports whether to log.
func (o *everyMinute) now() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if !o.last.IsZero() && now.Sub(o.last) < time.Minute {
		return false
	}
	o.last = now
	return true
}

// spareListener keeps some descriptors open, and closes one for a connection if the process may open no other. So the admin
// address answers also then.
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

// refill opens as many spare descriptors as the process may.
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
