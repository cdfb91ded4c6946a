package proxy_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"hash"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/proxy"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// A middleware that adds a header to requests. It knows the route, and a client cannot have the
// header removed by naming it in Connection, since such fields are gone by then.
func ExampleMiddleware() {
	tell := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r = r.Clone(r.Context()) // a request that came in is not changed
			r.Header.Set("X-Customer", proxy.RouteOf(r.Context()).Note)
			next.ServeHTTP(w, r)
		})
	}

	shop := startShop(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "customer %s", r.Header.Get("X-Customer"))
	})
	defer shop.Close()
	handler, err := proxy.New(proxy.Config{Routes: shop.routes, Transport: shop.transport, Logger: quiet, Middleware: []proxy.Middleware{tell}})
	if err != nil {
		log.Fatal(err)
	}
	defer handler.CloseIdleConnections()

	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "http://example.com/", nil)
	r.Header.Set("X-Customer", "somebody else")
	r.Header.Set("Connection", "X-Customer")
	handler.ServeHTTP(w, r)
	fmt.Println(w.Body)
	// Output: customer 4711
}

// A response hook that looks at a body while it streams to the client, and keeps none of it.
func ExampleResponseHook() {
	digest := func(r *http.Response) error {
		r.Body = &hashed{ReadCloser: r.Body, sum: sha256.New()}
		return nil
	}

	shop := startShop(func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			io.WriteString(w, "la ")
			http.NewResponseController(w).Flush()
		}
	})
	defer shop.Close()
	handler, err := proxy.New(proxy.Config{Routes: shop.routes, Transport: shop.transport, Logger: quiet, ResponseHooks: []proxy.ResponseHook{digest}})
	if err != nil {
		log.Fatal(err)
	}
	defer handler.CloseIdleConnections()

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "http://example.com/", nil))
	fmt.Println(w.Body)
	// Output:
	// 9 bytes with the SHA-256 e34074
	// la la la
}

// hashed reads a body through, and tells of it at its end.
type hashed struct {
	io.ReadCloser
	sum hash.Hash
	n   int
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	h.sum.Write(p[:n])
	h.n += n
	if err == io.EOF {
		fmt.Printf("%d bytes with the SHA-256 %x\n", h.n, h.sum.Sum(nil)[:3])
	}
	return n, err
}

// shop is an origin for example.com, with what a proxy needs to reach it.
type shop struct {
	*httptest.Server
	routes    origin.Store
	transport *sni.Transport
}

func startShop(h http.HandlerFunc) *shop {
	server := httptest.NewTLSServer(h)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	routes, err := origin.ReadRoutes(strings.NewReader(`{"routes":[{"host":"example.com","origin":"` + server.Listener.Addr().String() + `","note":"4711"}]}`))
	if err != nil {
		log.Fatal(err)
	}
	return &shop{server, routes, &sni.Transport{RootCAs: roots, AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
}

var quiet = slog.New(slog.NewTextHandler(new(bytes.Buffer), &slog.HandlerOptions{Level: slog.LevelError}))
