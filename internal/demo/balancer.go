package demo

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/pkg/hostname"
)

// loadBalancer stands in for the load balancers of several customers. It has one address and a certificate for each name, and
// refuses a request whose host is not the server name of its connection.
type loadBalancer struct {
	ca           *devca.Authority
	certificates map[string]*tls.Certificate // by server name
	server       *http.Server
	listener     net.Listener
}

// Customers of the demo. The origin of the last customer presents a certificate for somebody else.
const (
	customerOne   = "one.spec-trust.test"
	customerTwo   = "two.spec-trust.test"
	customerWrong = "wrong.spec-trust.test"
	somebodyElse  = "somebody-else.test"
)

func startLoadBalancer() (*loadBalancer, error) {
	ca, err := devca.New("sleight demo root")
	if err != nil {
		return nil, err
	}
	b := &loadBalancer{ca: ca, certificates: map[string]*tls.Certificate{}}
	for serverName, certified := range map[string]string{customerOne: customerOne, customerTwo: customerTwo, customerWrong: somebodyElse} {
		leaf, err := ca.Leaf([]string{certified})
		if err != nil {
			return nil, err
		}
		b.certificates[serverName] = &leaf
	}
	if b.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("demo: load balancer: %w", err)
	}
	b.server = &http.Server{
		Handler:  http.HandlerFunc(answer),
		ErrorLog: log.New(io.Discard, "", 0), // the demo has handshakes that fail
	}
	config := &tls.Config{
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: b.certificate,
	}
	go b.server.Serve(tls.NewListener(b.listener, config))
	return b, nil
}

func (b *loadBalancer) close() { b.server.Close() }

// address returns its address with a name instead of an IP address, as load balancers have names.
func (b *loadBalancer) address() string {
	_, port, _ := net.SplitHostPort(b.listener.Addr().String())
	return net.JoinHostPort("localhost", port)
}

var errUnknownName = errors.New("demo: no certificate for that name")

func (b *loadBalancer) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c, ok := b.certificates[hello.ServerName]; ok {
		return c, nil
	}
	return nil, errUnknownName // crypto/tls then aborts the handshake
}

func answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if host, err := hostname.Normalize(r.Host); err != nil || host != r.TLS.ServerName {
		w.WriteHeader(http.StatusMisdirectedRequest)
		fmt.Fprintf(w, "The connection is for %q, and the request is for another host.\n", r.TLS.ServerName)
		return
	}
	fmt.Fprintf(w, "Hello from the load balancer. SNI: %s, Host: %s, path: %s\n", r.TLS.ServerName, r.Host, r.URL.Path)
}
