package sni

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
)

// BenchmarkObserve measures the cost of Transport.Observe for a request on an existing connection.
func BenchmarkObserve(b *testing.B) {
	ca := tlstest.NewAuthority(b)
	o := tlstest.NewOrigin(b, ca, "a.test")
	tr := &Transport{AllowCIDRs: tlstest.Loopback, RootCAs: ca.Pool(), Translate: Static{"a.test": o.Addr}}
	tr.Observe = func(context.Context, *Exchange) {}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(b.Context(), "GET", "https://a.test/", nil)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		b.Fatal(err)
	}
	resp.Body.Close()
	l := lease{conn: tr.conns.all.Front().Value.(*conn), reused: true}
	b.ReportAllocs()
	for b.Loop() {
		x := &Exchange{start: time.Now()}
		x.translated("a.test")
		x.got(l)
		x.answered(x.passed())
		x.finish(resp, nil)
		tr.Observe(req.Context(), x)
	}
}
