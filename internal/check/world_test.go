package check_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/check"
	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world has the parts of a case: an authority that is trusted, an authority that is not, and names.
type world struct {
	t            *testing.T
	ca, stranger *devca.Authority
	names        tlstest.Names
	checker      *check.Checker
	server       *tlstest.Origin
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ca, err := devca.New("trusted root")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := devca.New("private root")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ca: ca, stranger: stranger, names: tlstest.Names{"one.test": {"proxy.test"}, "proxy.test": {"192.0.2.1"}, "lb.test": {"127.0.0.1"}}}
	w.checker = &check.Checker{
		AllowCIDRs: tlstest.Loopback, ForceHTTPS: true, RootCAs: ca.Pool(), WarnDays: -1, Target: []string{"proxy.test"}, Timeout: 20 * time.Second,
	}
	return w
}

// check checks the route, with the current names.
func (w *world) check(route *origin.Route) *check.Result {
	w.t.Helper()
	_, w.checker.Resolver = tlstest.NameServer(w.t, w.names)
	return w.checker.Check(w.t.Context(), "one.test", route)
}

// serve starts an origin that presents the certificate for each name. It returns the port.
func (w *world) serve(c tls.Certificate, handler http.HandlerFunc, change ...func(*tls.Config)) string {
	w.t.Helper()
	w.server = &tlstest.Origin{Certificates: map[string]tls.Certificate{}}
	for _, name := range []string{"one.test", "lb.test", "other.test"} {
		w.server.Certificates[name] = c
	}
	if handler != nil {
		w.server.Handler = handler
	}
	w.server.Config = func(config *tls.Config) {
		for _, f := range change {
			f(config)
		}
	}
	w.server.Start(w.t)
	return w.server.Port()
}

func (w *world) leaf(names []string, change ...func(*x509.Certificate)) tls.Certificate {
	w.t.Helper()
	return leafOf(w.t, w.ca, nil, names, change...)
}

func leafOf(t *testing.T, ca *devca.Authority, key crypto.Signer, names []string, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	c, err := ca.LeafWithKey(key, names, change...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pemOf returns the certificate itself as a bundle of roots.
func pemOf(c tls.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
}

var quiet = log.New(io.Discard, "", 0)

var oneTest = []string{"one.test"}

// good serves with a valid certificate.
func (w *world) good(handler http.HandlerFunc, change ...func(*tls.Config)) string {
	w.t.Helper()
	return w.serve(w.leaf(oneTest), handler, change...)
}

// plain serves HTTP without TLS.
func (w *world) plain(handler http.HandlerFunc) string {
	w.t.Helper()
	w.server = &tlstest.Origin{Plain: true, Handler: handler}
	w.server.Start(w.t)
	w.checker.ForceHTTPS = false
	return w.server.Port()
}

// raw answers the first bytes of each connection with its own bytes.
func (w *world) raw(answer string) string {
	w.t.Helper()
	return portOf(tlstest.Listen(w.t, func(c net.Conn) {
		c.Read(make([]byte, 2048))
		io.WriteString(c, answer)
		io.Copy(io.Discard, c)
	}))
}

// shaken serves TLS with a valid certificate, and answers with bytes that are not HTTP.
func (w *world) shaken(serve func(net.Conn), protocols ...string) string {
	w.t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{w.leaf(oneTest)}, NextProtos: protocols}
	return portOf(tlstest.Listen(w.t, func(c net.Conn) {
		secure := tls.Server(c, config)
		if secure.HandshakeContext(context.Background()) == nil {
			serve(secure)
		}
		secure.Close()
	}))
}

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

func alert(n byte) string { return string([]byte{21, 3, 3, 0, 2, 2, n}) }

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func page(code int, server, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", server)
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

var rsa1024 = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		panic(err)
	}
	return key
})

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{DNSNames: oneTest, Subject: pkix.Name{CommonName: "one.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// requireClient requires a certificate of the stranger.
func (w *world) requireClient(config *tls.Config) {
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, w.stranger.Pool()
}

type certificateMap map[string]tls.Certificate

func (m certificateMap) ClientCertificate(_ context.Context, name string) (*tls.Certificate, error) {
	if c, ok := m[name]; ok {
		return &c, nil
	}
	return nil, fmt.Errorf("no such entry %q", name)
}
