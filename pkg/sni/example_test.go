package sni_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/pkg/sni"
)

func Example() {
	balancer, roots := startLoadBalancer("one.spec-trust.test")
	defer balancer.Close()

	client := &http.Client{Transport: &sni.Transport{
		Translate: sni.Static{"one.spec-trust.test": balancer.Listener.Addr().String()},

		// Only because this load balancer is on loopback, with a certificate of nobody's.
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		RootCAs:    roots.Pool(),
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://one.spec-trust.test/")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.Status, string(body))
	// Output: 200 OK SNI one.spec-trust.test, Host one.spec-trust.test
}

// The customer's names and their load balancers come from somewhere that changes, such
// as a database.
func ExampleFunc() {
	balancer, ca := startLoadBalancer("one.spec-trust.test")
	defer balancer.Close()

	transport := &sni.Transport{
		Translate: sni.Func(func(_ context.Context, host string) (sni.Target, error) {
			if host != "one.spec-trust.test" {
				return sni.Target{}, fmt.Errorf("no customer has the host %q", host)
			}
			return sni.Target{Addresses: []string{balancer.Listener.Addr().String()}, Roots: sni.PEM(ca.PEM())}, nil
		}),
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, // only since this is an example
	}
	defer transport.CloseIdleConnections()

	client := &http.Client{Transport: transport}
	resp, err := client.Get("https://one.spec-trust.test/")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.Status, string(body))
	// Output: 200 OK SNI one.spec-trust.test, Host one.spec-trust.test
}

func startLoadBalancer(name string) (server *httptest.Server, roots *devca.Authority) {
	ca, err := devca.New("example")
	if err != nil {
		panic(err)
	}
	leaf, err := ca.Leaf([]string{name})
	if err != nil {
		panic(err)
	}
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "SNI %s, Host %s", r.TLS.ServerName, r.Host)
	}))
	server.TLS = serverConfig(leaf)
	server.StartTLS()
	return server, ca
}
