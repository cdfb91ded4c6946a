package sni_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// gate holds a connect or a handshake until the test opens it.
type gate struct{ arrived, let chan struct{} }

func newGate() gate { return gate{make(chan struct{}, 100), make(chan struct{})} }

// slowNames is a gate in front of a name server that has each name.
func slowNames(t *testing.T, tr *sni.Transport) gate {
	_, resolver := tlstest.NameServerFunc(t, func(string) ([]string, bool) { return []string{"127.0.0.1"}, true })
	g := newGate()
	dial := resolver.Dial
	resolver.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		g.arrived <- struct{}{}
		select {
		case <-g.let:
			return dial(ctx, network, address)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	tr.Resolver = resolver
	return g
}

// A Target's own timeouts replace the Transport's, and DialTimeout grows if they need more. The patient request begins first and ends
// after the quick one has failed, so that the test needs no clock.
func TestTimeoutsAreTheTargets(t *testing.T) {
	const short, long = 200 * time.Millisecond, time.Minute
	for _, c := range []struct {
		name            string
		transport, dial time.Duration
		quick, patient  time.Duration // of the targets
	}{
		{"longer than the Transport's", short, 0, 0, long},
		{"shorter than the Transport's", long, 2 * long, short, 0},
		{"longer than DialTimeout", 0, short, -1, long},
		{"none, and DialTimeout is", short, 2 * long, 0, -1},
	} {
		for _, phase := range []string{"connect", "handshake"} {
			t.Run(phase+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				ca := tlstest.NewAuthority(t)
				leaf := tlstest.Leaf(t, ca, "*.test")
				o := &tlstest.Origin{Certificates: map[string]tls.Certificate{"quick.test": leaf, "patient.test": leaf}}
				slow := newGate()
				if phase == "handshake" {
					o.Config = func(config *tls.Config) {
						config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
							slow.arrived <- struct{}{}
							<-slow.let
							return nil, nil
						}
					}
				}
				o.Start(t)
				tr := newTransport(t, sni.TranslatorFunc(func(_ context.Context, host string) (sni.Target, error) {
					target := sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}
					own := map[string]time.Duration{"quick.test": c.quick, "patient.test": c.patient}[host]
					if phase == "connect" {
						target.Addresses, target.ConnectTimeout = []string{host + ":" + o.Port()}, own
					} else {
						target.HandshakeTimeout = own
					}
					return target, nil
				}))
				tr.DialTimeout = c.dial
				want := sni.ConnectionTimeout
				if phase == "connect" {
					tr.ConnectTimeout, want = c.transport, sni.DNSTimeout
					slow = slowNames(t, tr)
				} else {
					tr.HandshakeTimeout = c.transport
				}
				patient := make(chan error, 1)
				go func() {
					_, err := get(t, tr, "https://patient.test/")
					patient <- err
				}()
				<-slow.arrived
				_, err := get(t, tr, "https://quick.test/")
				close(slow.let)
				if err := <-patient; err != nil {
					t.Errorf("the patient request: %v", err)
				}
				wantType(t, err, want)
			})
		}
	}
}

// Targets that differ only in their timeouts share connections.
func TestTimeoutsDoNotKeepConnectionsApart(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := startOrigin(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		s := &switchable{targetOver(over, o.Addr, ca.PEM())}
		tr := newTransport(t, s)
		mustGet(t, tr, "https://a.test/")
		s.target.ConnectTimeout, s.target.HandshakeTimeout = time.Minute, -1
		mustGet(t, tr, "https://a.test/")
		if n := o.Conns(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	})
}
