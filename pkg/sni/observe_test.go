package sni_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// watch sets Observe, and returns the last Exchange. It is for requests in sequence.
func watch(tr *sni.Transport) *sni.Exchange {
	var last sni.Exchange
	tr.Observe = func(_ context.Context, x *sni.Exchange) { last = *x }
	return &last
}

func TestExchangeTellsWhatARequestWentThrough(t *testing.T) {
	overTLS(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := startOrigin(t, over, map[string]tls.Certificate{"internal.test": tlstest.Leaf(t, ca, "internal.test")})
		target := sni.Target{Addresses: []string{tlstest.Refusing(t), "lb.test:" + o.Port()}, Roots: sni.RootsFromPEM(ca.PEM()), ServerName: "internal.test"}
		tr := newTransport(t, sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) {
			<-time.After(time.Millisecond)
			return target, nil
		}))
		_, tr.Resolver = tlstest.NameServer(t, tlstest.Names{"lb.test": {"127.0.0.1"}})
		x := watch(tr)
		protocol := "HTTP/2"
		if over != overHTTP2 {
			protocol = "HTTP/1.1"
		}
		leaf := o.Certificates["internal.test"]
		check := func(what string, reused, resumed bool) {
			t.Helper()
			mustGet(t, tr, "https://A.test/")
			if x.Host != "a.test" || x.ServerName != "internal.test" || x.Address != "lb.test:"+o.Port() || x.RemoteAddr.String() != o.Addr || x.Protocol != protocol {
				t.Errorf("%s: to whom: %+v", what, x)
			}
			if x.TLSVersion != tls.VersionTLS13 || x.CipherSuite == 0 || x.LeafSHA256 != sha256.Sum256(leaf.Certificate[0]) || !x.LeafNotAfter.Equal(leaf.Leaf.NotAfter) {
				t.Errorf("%s: under which TLS: %+v", what, x)
			}
			if x.Reused != reused || x.Resumed != resumed || x.Sent != 1 || x.Status != 200 || x.Err != nil {
				t.Errorf("%s: %+v", what, x)
			}
			dialled := x.DNS > 0 && x.Connect > 0 && x.Handshake > 0
			if x.Translate < time.Millisecond || x.Answer <= 0 || dialled == reused || x.Total < x.Translate+x.DNS+x.Connect+x.Handshake+x.Answer {
				t.Errorf("%s: for how long: %+v", what, x)
			}
		}
		check("the first request", false, false)
		check("the second", true, false)
		closeConnections(tr)
		check("the first of another connection", false, true)
		check("the second of another connection", true, true)
	})
}

func TestExchangeTellsOfFailures(t *testing.T) {
	t.Parallel()
	ca, other := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	s := &switchable{}
	tr := newTransport(t, s)
	x := watch(tr)
	for _, c := range []struct {
		name   string
		target sni.Target
		want   sni.ErrorType
		sent   int
	}{
		{"refused", sni.Target{Addresses: []string{tlstest.Refusing(t)}}, sni.ConnectionRefused, 0},
		{"untrusted", sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(other.PEM())}, sni.TLSCertificateError, 0},
		{"unusable", sni.Target{Addresses: []string{"/"}}, sni.ProxyConfigurationError, 0},
	} {
		s.target = c.target
		_, err := get(t, tr, "https://a.test/")
		wantType(t, err, c.want)
		if !errors.Is(x.Err, err) || x.Sent != c.sent || x.Status != 0 || x.Host != "a.test" || x.Total <= 0 {
			t.Errorf("%s: %+v", c.name, x)
		}
	}
	plain := &tlstest.Origin{Plain: true}
	plain.Start(t)
	s.target = sni.Target{Addresses: []string{plain.Addr}}
	mustGet(t, tr, "http://a.test/")
	if x.ServerName != "" || x.TLSVersion != 0 || x.Handshake != 0 || x.Status != 200 || x.Protocol != "HTTP/1.1" {
		t.Errorf("over plain HTTP: %+v", x)
	}
}

// There must be no cost if Observe is nil.
func TestUnobservedRequestsAllocateNoMore(t *testing.T) {
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{HTTP1: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}}
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") })
	o.Start(t)
	target := to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM())})
	const runs = 200
	allocated := func(tr *sni.Transport) uint64 {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://a.test/", nil)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			if _, err := send(tr, req); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		return after.Mallocs - before.Mallocs
	}
	quiet, loud := newTransport(t, target), newTransport(t, target)
	loud.Observe = func(context.Context, *sni.Exchange) {}
	q, l := uint64(math.MaxUint64), uint64(math.MaxUint64)
	for round := 0; round < 5 || q+runs/2 > l && round < 50; round++ { // other work of the process disturbs some rounds
		q, l = min(q, allocated(quiet)), min(l, allocated(loud))
	}
	if q+runs/2 > l {
		t.Errorf("%d allocations for %d requests that nobody looks at, %d where somebody does", q, runs, l)
	}
}
