// Package tlstest runs real TLS origins on loopback for tests, and records the requests that reach them. Certificates are made in
// memory. The kernel chooses the ports.
package tlstest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/devca"
)

// Loopback is the network of the origins of this package, for guards that have to allow it.
var Loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// NewAuthority makes a root for the test.
func NewAuthority(t testing.TB) *devca.Authority {
	t.Helper()
	ca, err := devca.New(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// Leaf makes a server certificate for one name, altered by change before it is signed.
func Leaf(t testing.TB, ca *devca.Authority, name string, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	leaf, err := ca.Leaf([]string{name}, change...)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// A Request is the record of a request that reached an Origin.
type Request struct {
	Conn       int64  // number of the connection, from 1
	SNI        string // of the connection's handshake; empty for plain HTTP
	Host       string
	Proto      string // "HTTP/1.1" or "HTTP/2.0"
	Method     string
	URI        string
	Header     http.Header
	Body       string
	Resumed    bool
	TLSVersion uint16
	ClientCert string // common name of the client's certificate; empty if it sent none
}

// Origin is a server with several names on one address. The fields may be set before Start, and must not change after that. The
// methods are safe for concurrent use.
type Origin struct {
	// Certificates has the certificate for each server name. A handshake with another name fails. A handshake without a
	// name fails unless there is a certificate for "".
	Certificates map[string]tls.Certificate

	// Handler answers a request after it was recorded. The recorder has read the body, and Handler can read it again. Nil
	// answers with the server name.
	Handler http.Handler

	// Unread means that the body is not recorded, and that only Handler reads it.
	Unread bool

	// HTTP1 switches HTTP/2 off.
	HTTP1 bool

	// HTTP2 configures HTTP/2. May be nil.
	HTTP2 *http.HTTP2Config

	// Plain serves HTTP without TLS.
	Plain bool

	// Config alters the TLS configuration of the server. May be nil.
	Config func(*tls.Config)

	// Addr is "127.0.0.1:port" once started.
	Addr string

	server  *http.Server
	nextID  atomic.Int64
	mu      sync.Mutex
	hellos  []string
	seen    []Request
	open    map[net.Conn]http.ConnState
	changed *sync.Cond
}

// NewOrigin starts an origin that holds a certificate of ca for each of the names.
func NewOrigin(t testing.TB, ca *devca.Authority, names ...string) *Origin {
	t.Helper()
	o := &Origin{Certificates: map[string]tls.Certificate{}}
	for _, name := range names {
		o.Certificates[name] = Leaf(t, ca, name)
	}
	o.Start(t)
	return o
}

// Start listens and serves until the test ends.
func (o *Origin) Start(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Addr = listener.Addr().String()
	o.open = map[net.Conn]http.ConnState{}
	o.changed = sync.NewCond(&o.mu)
	o.server = &http.Server{
		Handler:  http.HandlerFunc(o.serve),
		HTTP2:    o.HTTP2,
		ErrorLog: log.New(io.Discard, "", 0), // many tests have failed handshakes
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, o.nextID.Add(1))
		},
		ConnState: o.connState,
	}
	if !o.Plain {
		listener = tls.NewListener(listener, o.tlsConfig())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := o.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("tlstest: %v", err)
		}
	}()
	t.Cleanup(func() {
		o.server.Close()
		<-done
	})
}

type connKey struct{}

func (o *Origin) tlsConfig() *tls.Config {
	config := &tls.Config{
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			o.mu.Lock()
			o.hellos = append(o.hellos, hello.ServerName)
			o.mu.Unlock()
			if c, ok := o.Certificates[hello.ServerName]; ok {
				return &c, nil
			}
			return nil, fmt.Errorf("no certificate for %q", hello.ServerName)
		},
	}
	if o.HTTP1 {
		config.NextProtos = []string{"http/1.1"}
	}
	if o.Config != nil {
		o.Config(config)
	}
	return config
}

func (o *Origin) serve(w http.ResponseWriter, r *http.Request) {
	var body []byte
	if !o.Unread {
		body, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	seen := Request{
		Conn: r.Context().Value(connKey{}).(int64), Host: r.Host, Proto: r.Proto, Method: r.Method,
		URI: r.RequestURI, Header: r.Header.Clone(), Body: string(body),
	}
	if r.TLS != nil {
		seen.SNI, seen.Resumed, seen.TLSVersion = r.TLS.ServerName, r.TLS.DidResume, r.TLS.Version
		if len(r.TLS.PeerCertificates) > 0 {
			seen.ClientCert = r.TLS.PeerCertificates[0].Subject.CommonName
		}
	}
	o.mu.Lock()
	o.seen = append(o.seen, seen)
	o.mu.Unlock()
	if o.Handler != nil {
		o.Handler.ServeHTTP(w, r)
		return
	}
	fmt.Fprintln(w, seen.SNI)
}

func (o *Origin) connState(c net.Conn, s http.ConnState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s == http.StateClosed || s == http.StateHijacked {
		delete(o.open, c)
	} else {
		o.open[c] = s
	}
	o.changed.Broadcast()
}

// Requests returns the requests so far, in the order of their arrival.
func (o *Origin) Requests() []Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.seen)
}

// Last returns the newest request. It fails the test if there is no request.
func (o *Origin) Last(t testing.TB) Request {
	t.Helper()
	all := o.Requests()
	if len(all) == 0 {
		t.Fatal("the origin saw no request")
	}
	return all[len(all)-1]
}

// WantOwnNames fails the test unless exactly n requests arrived, each over a connection whose server name is the request's host.
// With Plain, connections have no server name.
func (o *Origin) WantOwnNames(t testing.TB, n int) {
	t.Helper()
	all := o.Requests()
	if len(all) != n {
		t.Errorf("%d requests arrived, want %d", len(all), n)
	}
	for _, r := range all {
		if !o.Plain && r.SNI != r.Host {
			t.Errorf("SNI %q carried Host %q", r.SNI, r.Host)
		}
	}
}

// Handshakes returns the server name of each handshake, in order.
func (o *Origin) Handshakes() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.hellos)
}

// Conns returns the number of connections that were accepted so far.
func (o *Origin) Conns() int { return int(o.nextID.Load()) }

// WaitConns waits until exactly n connections are open. It fails the test after ten seconds.
func (o *Origin) WaitConns(t testing.TB, n int) {
	t.Helper()
	var late bool
	timer := time.AfterFunc(10*time.Second, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		late = true
		o.changed.Broadcast()
	})
	defer timer.Stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.open) != n && !late {
		o.changed.Wait()
	}
	if len(o.open) != n {
		t.Errorf("%d connections to the origin are open, want %d", len(o.open), n)
	}
}

// CloseIdle closes the connections that have no request.
func (o *Origin) CloseIdle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c, state := range o.open {
		if state == http.StateIdle {
			c.Close()
		}
	}
}

// Port returns the port of Addr.
func (o *Origin) Port() string { return o.Addr[strings.LastIndexByte(o.Addr, ':')+1:] }

// Refusing returns an address on loopback that refuses connections until the end of the test. It is the client's end of an open
// connection, so that no listener can get the port meanwhile.
func Refusing(t testing.TB) string {
	t.Helper()
	address := Listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().String()
}

// Listen accepts connections on loopback, calls serve with each, and closes them when the test ends. It returns its address.
func Listen(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}
