// Package serve runs a handler as an HTTP server: with bounds that no client can use up, an address for probes, and an end
// that loses no request.
package serve

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

// Server runs a handler on the network until it is told to stop. It is for one [Server.Run].
type Server struct {
	Listen         string         // address to listen on
	Admin          string         // address of /livez and /readyz; empty means none
	ShutdownDelay  time.Duration  // for how long to go on accepting once it is told to stop
	H2C            bool           // HTTP/2 without TLS too, with prior knowledge (RFC 9113 section 3.3)
	MaxConnections int            // of clients; zero means no bound
	Trusted        []netip.Prefix // networks of proxies; their connections are not one client's

	Handler http.Handler          // must not be nil
	Started func()                // called once it serves; may be nil
	Free    func()                // closes what can be spared if no file descriptor is left; may be nil
	Reload  func()                // called on SIGHUP; may be nil
	Watch   func(context.Context) // runs until its context ends; may be nil
	Logger  *slog.Logger          // must not be nil
	Attrs   []slog.Attr           // logged with the URL that it serves

	limits limits // zero means defaultLimits
}

// limits are the times and sizes that users do not choose.
type limits struct {
	readHeader time.Duration // for the header of a request, against clients that never finish it
	idle       time.Duration // of a connection without a request; over HTTP/2 also until a PING asks whether it is alive
	shutdown   time.Duration // for running requests to finish
	hijacked   time.Duration // for hijacked connections to end after that
	header     int           // bytes of a request's header
	streams    int           // of one HTTP/2 connection at a time
	unread     int           // bytes of a body that an HTTP/2 client may send before they are read
	unreadAll  int           // the same, of all bodies on its connection
}

var defaultLimits = limits{
	readHeader: 10 * time.Second,
	idle:       time.Minute,
	shutdown:   25 * time.Second, // containers are killed after 30 s
	hijacked:   time.Second,
	header:     128 << 10, // above the proxy's own limit, whose error says more
	streams:    250,

	// net/http's are 1 MiB for either: a body that an origin does not take would hold up all others on the
	// connection. With these it takes 63 such bodies.
	unread:    64 << 10,
	unreadAll: 4<<20 - 1,
}

// ballast delays the garbage collector. The live heap is a few MB, so that it would run tens of times a second, for a
// tenth of the CPU. ballast is never touched, and so takes no memory; the garbage that it lets pile up does.
const ballast = 16 << 20

// Run serves until ctx ends, and lets running requests finish.
func (s *Server) Run(ctx context.Context) error {
	if s.limits == (limits{}) {
		s.limits = defaultLimits
	}
	defer runtime.KeepAlive(make([]byte, ballast))

	// Until the very end, since SIGHUP ends the process by default.
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)

	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	url := "http://" + listener.Addr().String()
	var connState func(net.Conn, http.ConnState)
	if tcp, ok := listener.(*net.TCPListener); ok && s.MaxConnections > 0 {
		limited := limit(tcp, s.MaxConnections, s.Trusted)
		limited.refused = logShare(s.Logger)
		listener, connState = limited, limited.connState
	}
	listener = withRetry(listener, s.Free, logLack(s.Logger, "clients"))
	defer listener.Close()

	// base is canceled to end the handlers of hijacked connections. Shutdown does not know them.
	base, endHijacked := context.WithCancel(context.WithoutCancel(ctx))
	defer endHijacked()
	var state health
	running := &running{handler: s.Handler, last: state.stopping.Load}
	main := s.httpServer(running)
	main.ConnState = connState
	main.BaseContext = func(net.Listener) context.Context { return base }
	failed := make(chan error, 2)

	attrs := append([]slog.Attr{slog.String("url", url)}, s.Attrs...)
	if s.Admin != "" {
		l, err := net.Listen("tcp", s.Admin)
		if err != nil {
			return fmt.Errorf("%w; choose another address with --admin", err)
		}
		attrs = append(attrs, slog.String("admin", "http://"+l.Addr().String()))
		if tcp, ok := l.(*net.TCPListener); ok {
			l = keepSpares(tcp)
		}
		l = withRetry(l, nil, logLack(s.Logger, "the admin address"))
		admin := s.httpServer(state.handler())
		admin.SetKeepAlivesEnabled(false) // a probe that keeps its connection would keep a spare descriptor
		defer admin.Close()               // last, so that it answers until the end
		go func() { failed <- admin.Serve(l) }()
	}
	go func() { failed <- main.Serve(listener) }()
	s.Logger.LogAttrs(ctx, slog.LevelInfo, "serving", attrs...)
	if s.Started != nil {
		s.Started()
	}

	// Nobody waits for these: a file system that hangs must not hold up the end.
	beside, end := context.WithCancel(base)
	defer end()
	go s.follow(beside, hangUp)
	if s.Watch != nil {
		go s.Watch(beside)
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	state.stopping.Store(true)
	s.Logger.Info("stopping, running requests may finish", slog.Duration("within", s.limits.shutdown), slog.Duration("delay", s.ShutdownDelay))
	select {
	case err := <-failed:
		return err
	case <-time.After(s.ShutdownDelay):
	}
	stop, cancel := context.WithTimeout(base, s.limits.shutdown)
	defer cancel()
	err = main.Shutdown(stop)
	endHijacked()
	running.wait(s.limits.hijacked)
	if errors.Is(err, context.DeadlineExceeded) {
		main.Close()
		return fmt.Errorf("requests that were still running after %v were cut off", s.limits.shutdown)
	}
	return err
}

// follow reloads at each signal until ctx ends.
func (s *Server) follow(ctx context.Context, hangUp <-chan os.Signal) {
	for {
		select {
		case <-hangUp:
			if s.Reload != nil {
				s.Reload()
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(s.H2C)
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
		ErrorLog:          app.LibraryLog(s.Logger),

		DisableGeneralOptionsHandler: true, // "OPTIONS *" is for the origin
	}
	countFields(server, s.limits.header) // each has some bytes
	return server
}

// running passes requests on and counts those that have not ended, also on hijacked connections.
type running struct {
	handler http.Handler
	last    func() bool // reports whether a request is the last of its connection

	mu   sync.Mutex
	n    int
	none chan struct{} // closed when n becomes 0; nil unless somebody waits
}

func (r *running) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.add(1)
	defer r.add(-1)
	// The client leaves after its response, and so no connection is closed while a request is on its way. A protocol
	// switch has its own use for this header.
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

// wait returns when no request runs any more, or after the time. It is called once.
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
