package proxy_test

import (
	"bytes"
	"context"
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

// A proxy for example.com. The client connects to the proxy. The proxy connects to the route's origin, but names and verifies
// example.com in TLS.
func ExampleHandler() {
	balancer := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Host %s, server name %s", r.Host, r.TLS.ServerName)
	}))
	defer balancer.Close()
	roots := x509.NewCertPool()
	roots.AddCert(balancer.Certificate())

	routes, err := origin.ReadRoutes(strings.NewReader(`{"routes": [{"host": "example.com", "origin": "` + balancer.Listener.Addr().String() + `"}]}`))
	if err != nil {
		log.Fatal(err)
	}
	handler, err := proxy.New(proxy.Config{
		Routes:    routes,
		Transport: &sni.Transport{RootCAs: roots, AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Logger:    quiet,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer handler.CloseIdleConnections()
	server := httptest.NewServer(handler)
	defer server.Close()

	for _, host := range []string{"example.com", "unknown.example"} {
		r, err := http.NewRequest("GET", server.URL, nil)
		if err != nil {
			log.Fatal(err)
		}
		r.Host = host
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			log.Fatal(err)
		}
		if response.StatusCode == http.StatusOK {
			body, _ := io.ReadAll(response.Body)
			fmt.Printf("%s: %s\n", host, body)
		} else {
			fmt.Printf("%s: %d, Proxy-Status: %s\n", host, response.StatusCode, response.Header.Get("Proxy-Status"))
		}
		response.Body.Close()
	}
	// Output:
	// example.com: Host example.com, server name example.com
	// unknown.example: 404, Proxy-Status: sleight; error=destination_not_found
}

// An Observe that prints the labels that metrics could have.
func ExampleConfig_observe() {
	shop := startShop(func(http.ResponseWriter, *http.Request) {})
	defer shop.Close()
	observe := func(_ context.Context, r *proxy.Record) {
		fmt.Printf("route %q, status %d, problem %q\n", r.RouteKey, r.Status, r.Problem)
	}
	handler, err := proxy.New(proxy.Config{Routes: shop.routes, Transport: shop.transport, Logger: quiet, Observe: observe})
	if err != nil {
		log.Fatal(err)
	}
	defer handler.CloseIdleConnections()

	for _, host := range []string{"example.com", "unknown.example"} {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "http://"+host+"/", nil))
	}
	// Output:
	// route "example.com", status 200, problem ""
	// route "", status 404, problem "unknown-host"
}

// A middleware that adds a header to requests. It knows the route. A client cannot remove the header by naming it in Connection,
// because the proxy handles Connection earlier.
func ExampleMiddleware() {
	addCustomer := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r = r.Clone(r.Context()) // the incoming request must not be changed
			r.Header.Set("X-Customer", proxy.RouteOf(r.Context()).Note)
			next.ServeHTTP(w, r)
		})
	}

	shop := startShop(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "customer %s", r.Header.Get("X-Customer"))
	})
	defer shop.Close()
	handler, err := proxy.New(proxy.Config{Routes: shop.routes, Transport: shop.transport, Logger: quiet, Middleware: []proxy.Middleware{addCustomer}})
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

// A response hook that hashes a body while it streams to the client.
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

// hashed is a body that prints its hash at its end.
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

// shop is an origin for example.com, with the route and the transport of a proxy before it.
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
