package sni_test

import (
	"context"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Requests end in all ways at the same time. The counts of connections must stay right, the queue must become empty, and each request must
// get its own response.
func TestNothingIsLostCountOfHoweverRequestsEnd(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		ca := tlstest.NewAuthority(t)
		o := &tlstest.Origin{HTTP1: over == overTLS1, Plain: over == overPlain, Unread: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}}
		o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch rand.IntN(8) {
			case 0:
				w.Header().Set("Connection", "close")
			case 1:
				w.WriteHeader(http.StatusEarlyHints)
			case 2:
				http.NewResponseController(w).Flush()
			case 3:
				panic(http.ErrAbortHandler)
			}
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, strings.Repeat(r.URL.Path, 500))
		})
		o.Start(t)
		tr := newTransport(t, to(over.target(sni.Target{Addresses: []string{o.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), MaxConns: 3})))
		var wg sync.WaitGroup
		for worker := range 12 {
			wg.Go(func() {
				for i := range 60 {
					ctx, cancel := context.WithCancel(t.Context())
					path := "/" + string(rune('a'+worker)) + string(rune('a'+i%26))
					var body io.Reader
					switch i % 4 {
					case 1:
						body = strings.NewReader("in memory")
					case 2:
						body = io.MultiReader(strings.NewReader("from elsewhere"))
					}
					req, _ := http.NewRequestWithContext(ctx, []string{"GET", "POST"}[i%2], "https://a.test"+path, body)
					if i%5 == 0 {
						time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, cancel)
					}
					resp, err := tr.RoundTrip(req)
					if err == nil {
						if i%7 != 0 { // otherwise it is closed unread
							got, err := io.ReadAll(resp.Body)
							if err == nil && string(got) != strings.Repeat(path, 500) {
								t.Errorf("%s was answered by %.20q", path, got)
							}
						}
						resp.Body.Close()
					}
					cancel()
					if i%20 == 0 {
						tr.Sweep()
					}
				}
			})
		}
		wg.Wait()
		for conns := 1; conns > 0; _, _, conns, _ = tr.Held() {
			tr.CloseIdleConnections()
			runtime.Gosched()
			if t.Context().Err() != nil {
				break
			}
		}
		if n := tr.Counted(); n != 0 || tr.Waiting() != 0 {
			t.Errorf("%d connections are counted, %d requests wait", n, tr.Waiting())
		}
		mustGetEventually(t, tr)
	})
}

// mustGetEventually shows that the transport works. It tries several times, because the origin breaks some responses off.
func mustGetEventually(t *testing.T, tr *sni.Transport) {
	t.Helper()
	for range 50 {
		if _, err := get(t, tr, "https://a.test/x"); err == nil {
			return
		}
	}
	t.Error("no request goes through any more")
}
