package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/sleightproxy/sleight/internal/app"
)

// server runs a handler on the network until it is told to stop. It is for one run.
type server struct {
	listen         string         // address
	admin          string         // address of /livez and /readyz; empty means none
	shutdownDelay  time.Duration  // how long to go on accepting after the end was announced
	h2c            bool           // HTTP/2 without TLS too, with prior knowledge
	maxConnections int            // zero means any number
	trusted        []netip.Prefix // whose connections are not one client's
	limits         limits

	handler http.Handler
	started func()                // called once it serves; may be nil
	free    func()                // closes what can be spared if no file descriptor is left; may be nil
	reload  func()                // on SIGHUP
	watch   func(context.Context) // runs beside until its context ends; may be nil
	logger  *slog.Logger
	attrs   []slog.Attr // logged with the URL that it serves
}

// limits are the server's times and sizes that are not for the user to choose.
type limits struct {
	readHeader time.Duration // slowloris: connections that never finish their headers
	idle       time.Duration // of a connection without a request; for HTTP/2 also whether it lives
	shutdown   time.Duration // what running requests get to finish
	takenOver  time.Duration // what connections get to end that are no longer HTTP, after that
	header     int           // bytes of a request's headers
	streams    int           // of one HTTP/2 connection at a time
	unread     int           // bytes of a body that an HTTP/2 client may send before they are read
	unreadAll  int           // the same, of all bodies on its connection
}

var serveLimits = limits{
	readHeader: 10 * time.Second,
	idle:       time.Minute,
	shutdown:   25 * time.Second, // containers are killed after 30 s
	takenOver:  time.Second,
	header:     128 << 10, // above the proxy's own limit, which says more nicely what is wrong
	streams:    250,

	// net/http's are 1 MiB for either: a body that an origin does not take would hold up all others
	// on the connection. Now it takes 63 of them.
	unread:    64 << 10,
	unreadAll: 4<<20 - 1,
}

// ballast has the garbage collector wait. Of the few MB that a proxy keeps, Go would look for what has
// died every time as much again was allocated: tens of times a second, for a tenth of the CPU. This
// is never touched, and so takes no memory but on paper; what it lets pile up does.
const ballast = 16 << 20

// run serves until ctx ends, and lets running requests finish.
func (s *server) run(ctx context.Context) error {
	defer runtime.KeepAlive(make([]byte, ballast))

	// Until the very end, as its default is to end the process.
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)

	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	url := "http://" + listener.Addr().String()
	var connState func(net.Conn, http.ConnState)
	if tcp, ok := listener.(*net.TCPListener); ok && s.maxConnections > 0 {
		limited := limit(tcp, s.maxConnections, s.trusted)
		limited.refused = tellOfShare(s.logger)
		listener, connState = limited, limited.connState
	}
	listener = patient(listener, s.free, tellOfLack(s.logger, "clients"))
	defer listener.Close()

	// What the handlers of connections that were taken over end by: Shutdown does not know them.
	base, endTakenOver := context.WithCancel(context.WithoutCancel(ctx))
	defer endTakenOver()
	var state health
	running := &running{handler: s.handler, last: state.stopping.Load}
	main := s.httpServer(running)
	main.ConnState = connState
	main.BaseContext = func(net.Listener) context.Context { return base }
	failed := make(chan error, 2)

	attrs := append([]slog.Attr{slog.String("url", url)}, s.attrs...)
	if s.admin != "" {
		l, err := net.Listen("tcp", s.admin)
		if err != nil {
			return fmt.Errorf("%w; choose another address with --admin", err)
		}
		attrs = append(attrs, slog.String("admin", "http://"+l.Addr().String()))
		if tcp, ok := l.(*net.TCPListener); ok {
			l = keepSpares(tcp)
		}
		l = patient(l, nil, tellOfLack(s.logger, "the admin address"))
		admin := s.httpServer(state.handler())
		admin.SetKeepAlivesEnabled(false) // a probe that keeps its connection would keep a spare descriptor
		defer admin.Close()               // the last, so that it tells of the end to the end
		go func() { failed <- admin.Serve(l) }()
	}
	go func() { failed <- main.Serve(listener) }()
	s.logger.LogAttrs(ctx, slog.LevelInfo, "serving", attrs...)
	if s.started != nil {
		s.started()
	}

	// Beside, and not waited for: a file system that hangs must not hold up the end.
	beside, end := context.WithCancel(base)
	defer end()
	go s.follow(beside, hangUp)
	if s.watch != nil {
		go s.watch(beside)
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	state.stopping.Store(true)
	s.logger.Info("stopping, running requests may finish", slog.Duration("within", s.limits.shutdown), slog.Duration("delay", s.shutdownDelay))
	select {
	case err := <-failed:
		return err
	case <-time.After(s.shutdownDelay):
	}
	stop, cancel := context.WithTimeout(base, s.limits.shutdown)
	defer cancel()
	err = main.Shutdown(stop)
	endTakenOver()
	running.wait(s.limits.takenOver)
	if errors.Is(err, context.DeadlineExceeded) {
		main.Close()
		return fmt.Errorf("requests that were still running after %v were cut off", s.limits.shutdown)
	}
	return err
}

// follow reloads at each signal until ctx ends.
func (s *server) follow(ctx context.Context, hangUp <-chan os.Signal) {
	for {
		select {
		case <-hangUp:
			s.reload()
		case <-ctx.Done():
			return
		}
	}
}

func (s *server) httpServer(h http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(s.h2c)
	server := &http.Server{
		Handler:   h,
		Protocols: protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: s.limits.streams, SendPingTimeout: s.limits.idle,
			MaxReceiveBufferPerStream: s.limits.unread, MaxReceiveBufferPerConnection: s.limits.unreadAll,
		},
		ReadHeaderTimeout: s.limits.readHeader,
		IdleTimeout:       s.limits.idle,
		MaxHeaderBytes:    s.limits.header,
		ErrorLog:          app.LibraryLog(s.logger),

		DisableGeneralOptionsHandler: true, // "OPTIONS *" is for the origin
	}
	countFields(server, s.limits.header) // each has some bytes
	return server
}

// running passes requests on and counts those that have not ended, on connections that
// were taken over too.
type running struct {
	handler http.Handler
	last    func() bool // whether a request is to be the last of its connection

	mu   sync.Mutex
	n    int
	none chan struct{} // closed where n becomes 0; nil unless somebody waits
}

func (r *running) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.add(1)
	defer r.add(-1)
	// The client leaves after its answer, and no connection has to be closed under a request
	// that is on its way. A protocol switch has its own use for this header.
	if r.last() && req.Header.Get("Upgrade") == "" {
		w.Header().Set("Connection", "close")
	}
	r.handler.ServeHTTP(w, req)
}

func (r *running) add(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n += n; r.n == 0 && r.none != nil {
		close(r.none)
		r.none = nil
	}
}

// wait returns when nothing runs any more, or after the time. It is called once.
func (r *running) wait(atMost time.Duration) {
	r.mu.Lock()
	if r.n == 0 {
		r.mu.Unlock()
		return
	}
	none := make(chan struct{})
	r.none = none
	r.mu.Unlock()
	select {
	case <-none:
	case <-time.After(atMost):
	}
}
