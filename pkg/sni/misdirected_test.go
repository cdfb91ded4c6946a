package sni_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// misdirecting answers with 421 while wrong returns true.
func misdirecting(t *testing.T, over protocol, wrong func() bool) (*tlstest.Origin, *sni.Transport) {
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{HTTP1: over == overTLS1, Plain: over == overPlain, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}}
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wrong() {
			w.WriteHeader(http.StatusMisdirectedRequest)
			io.WriteString(w, strings.Repeat("not here ", 100))
			return
		}
		io.WriteString(w, "here")
	})
	o.Start(t)
	return o, newTransport(t, to(targetOver(over, o.Addr, ca.PEM())))
}

// status sends a request, and returns the status of the response.
func status(t *testing.T, tr *sni.Transport, method string, body io.Reader) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://a.test/", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}

func TestMisdirectedRequestIsSentOnceMoreOnAFreshConnection(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		var n atomic.Int64
		o, tr := misdirecting(t, over, func() bool { return n.Add(1) == 2 })
		for range 3 {
			if got := status(t, tr, "GET", nil); got != 200 {
				t.Errorf("status %d", got)
			}
		}
		conns := []int64{}
		for _, r := range o.Requests() {
			conns = append(conns, r.Conn)
		}
		// The first connection gets no request after its 421.
		if len(conns) != 4 || conns[0] != 1 || conns[1] != 1 || conns[2] != 2 || conns[3] != 2 {
			t.Errorf("the requests came over the connections %v, want 1, 1, 2, 2", conns)
		}
		o.WaitConns(t, 1)
	})
}

// An existing connection may be misdirected too.
func TestMisdirectedRequestDoesNotTryAnotherConnectionOfBefore(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	h := startHeld(t, overTLS1, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
	answer := h.Handler
	h.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && len(h.Requests()) <= 3 {
			w.WriteHeader(http.StatusMisdirectedRequest)
			return
		}
		answer.ServeHTTP(w, r)
	})
	tr := newTransport(t, to(sni.Target{Addresses: []string{h.Addr}, Roots: sni.RootsFromPEM(ca.PEM())}))
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := get(t, tr, "https://a.test/held"); err != nil {
				t.Error(err)
			}
		})
		<-h.began
	}
	close(h.let)
	wg.Wait()
	if got := status(t, tr, "GET", nil); got != 200 || h.Last(t).Conn != 3 {
		t.Errorf("status %d over connection %d, want the third", got, h.Last(t).Conn)
	}
}

// If an origin answers each request with 421, the request is repeated only once.
func TestMisdirectedRequestIsSentNoMoreThanTwice(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		o, tr := misdirecting(t, over, func() bool { return true })
		for i := range 3 {
			if got := status(t, tr, "GET", nil); got != 421 {
				t.Errorf("status %d, want the origin's", got)
			}
			if n := len(o.Requests()); n != 2*(i+1) {
				t.Errorf("%d requests arrived, want two for each", n)
			}
		}
	})
}

// 421 does not say that the request was not processed.
func TestMisdirectedRequestThatIsNotSafeIsNotRepeated(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		o, tr := misdirecting(t, over, func() bool { return true })
		for i, method := range []string{"POST", "PUT", "DELETE", "PATCH", "PROPFIND"} {
			if got := status(t, tr, method, strings.NewReader("x")); got != 421 {
				t.Errorf("%s: status %d", method, got)
			}
			if n := len(o.Requests()); n != i+1 {
				t.Errorf("%s: %d requests arrived", method, n-i)
			}
		}
		// A safe request whose body was read is not repeated either.
		before := len(o.Requests())
		if got := status(t, tr, "OPTIONS", io.MultiReader(strings.NewReader("x"))); got != 421 || len(o.Requests()) != before+1 {
			t.Errorf("status %d, %d requests", got, len(o.Requests())-before)
		}
		// While one that is there again goes out again.
		before = len(o.Requests())
		if got := status(t, tr, "OPTIONS", strings.NewReader("x")); got != 421 || len(o.Requests()) != before+2 || o.Last(t).Body != "x" {
			t.Errorf("status %d, %d requests, the last %+v", got, len(o.Requests())-before, o.Last(t))
		}
	})
}

// A request that met a dead connection has been sent twice then. The second response counts.
func TestSafeRequestIsRepeatedOnceForWhateverReason(t *testing.T) {
	overHTTP1(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		var arrived atomic.Int32
		tr := toHTTP1(t, ca, over, startRaw(t, ca, over, func(c net.Conn, _ *bufio.Reader, r *http.Request) bool {
			switch {
			case r.URL.Path == "/first":
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			case arrived.Add(1) == 1:
				return false // after it was read
			default:
				io.WriteString(c, "HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\n\r\n")
			}
			return true
		}))
		mustGet(t, tr, "https://a.test/first")
		resp, err := tr.RoundTrip(mustRequest(t, "GET", nil))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if n := arrived.Load(); n != 2 || resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("it arrived %d times, and was answered with %d", n, resp.StatusCode)
		}
	})
}
