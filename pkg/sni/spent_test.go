package sni_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// streaming is an origin over HTTP/2 with a limit of streams. Its responses to /stream have no end, and those to /slow do not begin.
func streaming(t *testing.T, streams int) (tr *sni.Transport, came chan struct{}) {
	ca := tlstest.NewAuthority(t)
	came = make(chan struct{}, 1000)
	o := &tlstest.Origin{Unread: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streams}}
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stream":
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/slow":
			came <- struct{}{}
			<-r.Context().Done()
		default:
			io.WriteString(w, "at once")
		}
	})
	o.Start(t)
	tr = newTransport(t, to(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), MaxConns: 1}))
	mustGet(t, tr, "https://a.test/")
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://a.test/stream", nil)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return tr, came
}

// If only one connection is allowed, it stays in use after a canceled request. Otherwise others would wait until the end of a long
// response.
func TestOnlyConnectionIsUsedOnAfterARequestWasGivenUp(t *testing.T) {
	t.Parallel()
	tr, came := streaming(t, 100)
	tr.DialTimeout = 5 * time.Second
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-came; cancel() }()
		req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/slow", nil)
		if _, err := send(tr, req); err == nil {
			t.Fatal("it was answered")
		}
		for range 3 {
			mustGet(t, tr, "https://a.test/")
		}
	}
}

// net/http knows of the end of a response a moment after the reader, which calls the next request in the queue.
func TestQueueIsNotCalledTooEarlyForGood(t *testing.T) {
	t.Parallel()
	tr, _ := streaming(t, 2)
	tr.DialTimeout = 5 * time.Second
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 100 {
				if _, err := get(t, tr, "https://a.test/"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// A lowered bound applies when the connections beyond it are idle.
func TestLoweredBoundClosesConnections(t *testing.T) {
	overHTTP1(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		h := startHeld(t, over, map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")})
		var bound atomic.Int64
		bound.Store(8)
		tr := newTransport(t, sni.TranslatorFunc(func(context.Context, string) (sni.Target, error) {
			return over.target(sni.Target{Addresses: []string{h.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), MaxConns: int(bound.Load())}), nil
		}))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { mustGet(t, tr, "https://a.test/held") })
			<-h.began
		}
		bound.Store(2)
		wg.Go(func() { mustGet(t, tr, "https://a.test/") })
		waiting(t, tr, 1)
		close(h.let)
		wg.Wait()
		if n := tr.Counted(); n > 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// Over HTTP/2, the hook is called on a goroutine without recover.
func TestPanicOfAnInterimHookIsAnError(t *testing.T) {
	t.Parallel()
	_, tr := answering(t, overHTTP2, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints) })
	req := mustRequest(t, "GET", nil)
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error { panic("boom") }}))
	if _, err := send(tr, req); err == nil {
		t.Error("no error")
	}
	mustGet(t, tr, "https://a.test/")
}
