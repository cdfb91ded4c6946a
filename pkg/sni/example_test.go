package sni_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
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
		AllowCIDRs: onLoopback,
		RootCAs:    roots.Pool(),
	}}
	defer client.CloseIdleConnections()
	show(client.Get("https://one.spec-trust.test/"))
	// Output: 200 OK: SNI one.spec-trust.test, Host one.spec-trust.test
}

// The customers' names and their load balancers come from somewhere that changes, such
// as a database.
func ExampleFunc() {
	balancer, roots := startLoadBalancer("one.spec-trust.test")
	defer balancer.Close()

	transport := &sni.Transport{
		Translate: sni.TranslatorFunc(func(ctx context.Context, host string) (sni.Target, error) {
			if host != "one.spec-trust.test" { // ask the database here
				return sni.Target{}, fmt.Errorf("no customer has the host %q", host)
			}
			return sni.Target{Addresses: []string{balancer.Listener.Addr().String()}}, nil
		}),
		AllowCIDRs: onLoopback, // only since this is an example
		RootCAs:    roots.Pool(),
	}
	client := &http.Client{Transport: transport}
	defer client.CloseIdleConnections()
	show(client.Get("https://one.spec-trust.test/"))
	_, err := client.Get("https://two.spec-trust.test/")
	fmt.Println(err)
	// Output:
	// 200 OK: SNI one.spec-trust.test, Host one.spec-trust.test
	// Get "https://two.spec-trust.test/": sni: "two.spec-trust.test": translate: no customer has the host "two.spec-trust.test"
}

// A customer has a certificate of their own authority, and an internal name in it. Roots hold for
// this host alone, in place of the public ones.
func ExampleTarget_privateAuthority() {
	balancer, customer := startLoadBalancer("shop.internal.test")
	defer balancer.Close()

	client := &http.Client{Transport: &sni.Transport{
		Translate: sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) {
			return sni.Target{
				Addresses:  []string{balancer.Listener.Addr().String()},
				ServerName: "shop.internal.test",
				Roots:      sni.RootsFromPEM(customer.PEM()),
			}, nil
		}),
		AllowCIDRs: onLoopback, // only since this is an example
	}}
	defer client.CloseIdleConnections()
	show(client.Get("https://one.spec-trust.test/"))
	// Output: 200 OK: SNI shop.internal.test, Host one.spec-trust.test
}

// The origin takes requests only from who shows a certificate: this proxy, and not whoever
// finds out its address.
func ExampleTarget_clientCertificate() {
	balancer, roots := startLoadBalancer("one.spec-trust.test", func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert })
	defer balancer.Close()
	certificate, err := roots.Leaf([]string{"our-proxy"}, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	if err != nil {
		panic(err)
	}

	client := &http.Client{Transport: &sni.Transport{
		Translate: sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) {
			return sni.Target{Addresses: []string{balancer.Listener.Addr().String()}, ClientCert: "shop"}, nil
		}),
		// Certificates that are in files come from OpenCertificateDir.
		ClientCertificates: certificateMap{"shop": &certificate},
		AllowCIDRs:         onLoopback, // only since this is an example
		RootCAs:            roots.Pool(),
	}}
	defer client.CloseIdleConnections()
	show(client.Get("https://one.spec-trust.test/"))
	// Output: 200 OK: SNI one.spec-trust.test, Host one.spec-trust.test, client our-proxy
}

// Pins narrow trust down to keys that the customer has named. Two are wise: the one in use, and
// one in a drawer.
func ExampleTarget_pins() {
	balancer, roots := startLoadBalancer("one.spec-trust.test")
	defer balancer.Close()

	// Of a certificate in a file:
	//	openssl x509 -in cert.pem -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256
	inUse := sha256.Sum256(balancer.Certificate().RawSubjectPublicKeyInfo)
	inTheDrawer := sha256.Sum256([]byte("the key to come"))

	target := sni.Target{Addresses: []string{balancer.Listener.Addr().String()}, SPKIPins: [][32]byte{inUse, inTheDrawer}}
	client := &http.Client{Transport: &sni.Transport{
		Translate:  sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) { return target, nil }),
		AllowCIDRs: onLoopback, // only since this is an example
		RootCAs:    roots.Pool(),
	}}
	defer client.CloseIdleConnections()
	show(client.Get("https://one.spec-trust.test/"))

	target.SPKIPins = [][32]byte{inTheDrawer} // a changed target holds from the next request on
	_, err := client.Get("https://one.spec-trust.test/")
	if problem, ok := errors.AsType[*sni.CertificateError](err); ok {
		fmt.Println(problem.Reason)
	}
	// Output:
	// 200 OK: SNI one.spec-trust.test, Host one.spec-trust.test
	// pin mismatch
}

// What happened to a request, for a log.
func ExampleTransport_observe() {
	balancer, roots := startLoadBalancer("one.spec-trust.test")
	defer balancer.Close()

	client := &http.Client{Transport: &sni.Transport{
		Translate: sni.Static{"one.spec-trust.test": balancer.Listener.Addr().String()},
		Observe: func(_ context.Context, x *sni.Exchange) {
			fmt.Printf("%s over %s to %v, reused: %v, %s\n", x.ServerName, x.Protocol, x.RemoteAddr.Addr(), x.Reused, tls.VersionName(x.TLSVersion))
		},
		AllowCIDRs: onLoopback, // only since this is an example
		RootCAs:    roots.Pool(),
	}}
	defer client.CloseIdleConnections()
	for range 2 {
		show(client.Get("https://one.spec-trust.test/"))
	}
	// Output:
	// one.spec-trust.test over HTTP/1.1 to 127.0.0.1, reused: false, TLS 1.3
	// 200 OK: SNI one.spec-trust.test, Host one.spec-trust.test
	// one.spec-trust.test over HTTP/1.1 to 127.0.0.1, reused: true, TLS 1.3
	// 200 OK: SNI one.spec-trust.test, Host one.spec-trust.test
}

var onLoopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func show(resp *http.Response, err error) {
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Printf("%s: %s\n", resp.Status, body)
}

func startLoadBalancer(name string, change ...func(*tls.Config)) (server *httptest.Server, roots *devca.Authority) {
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
		for _, c := range r.TLS.PeerCertificates {
			fmt.Fprintf(w, ", client %s", c.Subject.CommonName)
		}
	}))
	server.TLS = serverConfig(leaf)
	for _, f := range change {
		f(server.TLS)
	}
	server.StartTLS()
	return server, ca
}
