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

		// Only for this example: its load balancer is on loopback, with a certificate of its own authority.
		AllowCIDRs: onLoopback,
		RootCAs:    roots.Pool(),
	}}
	defer client.CloseIdleConnections()
	show(client.Get("https://one.spec-trust.test/"))
	// Output: 200 OK: SNI one.spec-trust.test, Host one.spec-trust.test
}

// The names of customers and their load balancers come from a source that changes, such as a database.
func ExampleTranslatorFunc() {
	balancer, roots := startLoadBalancer("one.spec-trust.test")
	defer balancer.Close()

	transport := &sni.Transport{
		Translate: sni.TranslatorFunc(func(ctx context.Context, host string) (sni.Target, error) {
			if host != "one.spec-trust.test" { // ask the database here
				return sni.Target{}, fmt.Errorf("no customer has the host %q", host)
			}
			return sni.Target{Addresses: []string{balancer.Listener.Addr().String()}}, nil
		}),
		AllowCIDRs: onLoopback, // only for this example
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

// A customer has a certificate of their own authority, with an internal name. The roots replace the public ones, for this host only.
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
		AllowCIDRs: onLoopback, // only for this example
	}}
	defer client.CloseIdleConnections()
	show(client.Get("https://one.spec-trust.test/"))
	// Output: 200 OK: SNI shop.internal.test, Host one.spec-trust.test
}

// The origin answers only clients with a certificate, so that only this proxy can use it, even if others know its address.
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
		// OpenCertificateDir reads certificates from files.
		ClientCertificates: certificateMap{"shop": &certificate},
		AllowCIDRs:         onLoopback, // only for this example
		RootCAs:            roots.Pool(),
	}}
	defer client.CloseIdleConnections()
	show(client.Get("https://one.spec-trust.test/"))
	// Output: 200 OK: SNI one.spec-trust.test, Host one.spec-trust.test, client our-proxy
}

// Pins allow only keys that the customer has named. Two pins are wise: the key in use, and a spare key.
func ExampleTarget_pins() {
	balancer, roots := startLoadBalancer("one.spec-trust.test")
	defer balancer.Close()

	// The pin of a certificate in a file:
	//	openssl x509 -in cert.pem -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256
	inUse := sha256.Sum256(balancer.Certificate().RawSubjectPublicKeyInfo)
	spare := sha256.Sum256([]byte("the key to come"))

	target := sni.Target{Addresses: []string{balancer.Listener.Addr().String()}, SPKIPins: [][32]byte{inUse, spare}}
	client := &http.Client{Transport: &sni.Transport{
		Translate:  sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) { return target, nil }),
		AllowCIDRs: onLoopback, // only for this example
		RootCAs:    roots.Pool(),
	}}
	defer client.CloseIdleConnections()
	show(client.Get("https://one.spec-trust.test/"))

	target.SPKIPins = [][32]byte{spare} // a changed target applies from the next request on
	_, err := client.Get("https://one.spec-trust.test/")
	if problem, ok := errors.AsType[*sni.CertificateError](err); ok {
		fmt.Println(problem.Reason)
	}
	// Output:
	// 200 OK: SNI one.spec-trust.test, Host one.spec-trust.test
	// pin mismatch
}

// An Exchange tells what happened to a request, for a log.
func ExampleTransport_observe() {
	balancer, roots := startLoadBalancer("one.spec-trust.test")
	defer balancer.Close()

	client := &http.Client{Transport: &sni.Transport{
		Translate: sni.Static{"one.spec-trust.test": balancer.Listener.Addr().String()},
		Observe: func(_ context.Context, x *sni.Exchange) {
			fmt.Printf("%s over %s to %v, reused: %v, %s\n", x.ServerName, x.Protocol, x.RemoteAddr.Addr(), x.Reused, tls.VersionName(x.TLSVersion))
		},
		AllowCIDRs: onLoopback, // only for this example
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
