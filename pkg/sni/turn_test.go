package sni

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
)

// A request that arrives when a connection becomes free must not overtake those in the queue.
func TestNobodyOvertakesTheQueue(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{HTTP1: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}}
	o.Start(t)
	tr := &Transport{AllowCIDRs: tlstest.Loopback, RootCAs: ca.Pool(), Translate: Static{"a.test": o.Addr}, MaxConnsPerTarget: 1}
	defer tr.CloseIdleConnections()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://a.test/", nil)
	if err := tr.Connect(t.Context(), req.URL); err != nil {
		t.Fatal(err)
	}
	p, _, _, err := tr.prepare(req, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := newTurn(false)
	p.queue = append(p.queue, first)
	var late *turn
	if s := p.next(need{safe: true}, &late); s.conn != nil || s.dials || late == nil {
		t.Errorf("the one who came late got %+v", s)
	}
	s := p.next(need{safe: true}, &first)
	if s.conn == nil {
		t.Fatal("the first did not get the idle connection")
	}
	s.conn.unused()
}

// The goroutine of an attempt may see the end of the attempt late. If it read from the body then, the next attempt would miss that part.
func TestAttemptThatIsOverReadsNothing(t *testing.T) {
	t.Parallel()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/", io.MultiReader(strings.NewReader("body")))
	b := trackBody(req)
	one := b.attach(req)
	if got, err := io.ReadAll(one.Body); string(got) != "body" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	two, ok := b.again(one)
	if !ok {
		t.Fatal("the body cannot be sent again")
	}
	if n, err := one.Body.Read(make([]byte, 4)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("the first attempt read %d, %v", n, err)
	}
	one.Body.Close()
	if got, err := io.ReadAll(two.Body); string(got) != "body" || err != nil {
		t.Errorf("the second attempt: %q, %v", got, err)
	}
}
