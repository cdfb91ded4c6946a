package sni_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Over HTTP/2, a request that waits for its own connection must not block those that share one.
func TestWaitForAConnectionOfItsOwnHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	b, tr := startBusy(t)
	tr.MaxConnsPerTarget = 3
	mustGet(t, tr, "https://a.test/")
	var wg sync.WaitGroup
	alone := func() {
		wg.Go(func() {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://a.test/slow", nil)
			req.Header.Set("Cookie", strings.Repeat("x", 9500))
			if _, err := send(tr, req); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() { mustSendTo(t, tr, "GET", "/slow", nil) })
	<-b.came
	alone()
	alone()
	<-b.came
	<-b.came // now there are three connections, and one of them is shared
	alone()
	waiting(t, tr, 1)
	for range 100 {
		mustGet(t, tr, "https://a.test/")
	}
	close(b.let)
	wg.Wait()
	if n := b.Conns(); n > 4 {
		t.Errorf("%d connections", n)
	}
}

// asked is an origin over HTTP/2. The test decides when it answers /held/ID.
type asked struct {
	*tlstest.Origin
	tr   *sni.Transport
	came chan string
	let  sync.Map // of a channel for each path
	wg   sync.WaitGroup
}

func startAsked(t *testing.T, change func(*tlstest.Origin)) *asked {
	a := &asked{came: make(chan string, 100)}
	b, tr := startBusy(t, func(o *tlstest.Origin) {
		change(o)
		o.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if let, ok := a.let.Load(r.URL.Path); ok {
				a.came <- r.URL.Path
				select {
				case <-let.(chan struct{}):
				case <-r.Context().Done():
				}
			}
		})
	})
	a.Origin, a.tr = b.Origin, tr
	return a
}

// ask sends a request that is held. If alone is set, the request needs its own connection.
func (a *asked) ask(t *testing.T, id int, alone bool) {
	path := fmt.Sprint("/held/", id)
	a.let.Store(path, make(chan struct{}))
	a.wg.Go(func() {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://a.test"+path, nil)
		if alone {
			req.Header.Set("Cookie", strings.Repeat("x", 9500))
		}
		if _, err := send(a.tr, req); err != nil {
			t.Error(err)
		}
	})
}

// on returns the paths of the requests on a connection.
func (a *asked) on(conn int64) (paths []string) {
	for _, r := range a.Requests() {
		if r.Conn == conn {
			paths = append(paths, r.URI)
		}
	}
	return paths
}

// answer answers requests.
func (a *asked) answer(paths ...string) {
	for _, path := range paths {
		if let, ok := a.let.LoadAndDelete(path); ok {
			close(let.(chan struct{}))
		}
	}
}

// answerAll answers all requests that have arrived.
func (a *asked) answerAll() {
	for _, r := range a.Requests() {
		a.answer(r.URI)
	}
}

// It gets one, although others share all connections.
func TestWaitForAConnectionOfItsOwnHasAnEnd(t *testing.T) {
	t.Parallel()
	a := startAsked(t, func(*tlstest.Origin) {})
	a.tr.MaxConnsPerTarget = 2
	mustGet(t, a.tr, "https://a.test/")
	for id := range 15 { // more than one connection takes
		a.ask(t, id, false)
		<-a.came
	}
	a.ask(t, 20, true)
	waiting(t, a.tr, 1)
	newer := a.on(2)
	a.ask(t, 21, false) // it would get the newer connection, and keep it in use
	<-a.came
	a.answer(newer...)
	if path := <-a.came; path != "/held/20" {
		t.Errorf("%s came", path)
	}
	a.answerAll()
	a.wg.Wait()
}

// Requests that share a connection are called when it has room, although they are not the first in the queue.
func TestRoomOnASharedConnectionIsUsedBehindAWait(t *testing.T) {
	t.Parallel()
	a := startAsked(t, func(o *tlstest.Origin) { o.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 2} })
	a.tr.MaxConnsPerTarget = 2
	mustGet(t, a.tr, "https://a.test/")
	a.ask(t, 1, false)
	a.ask(t, 2, false)
	a.ask(t, 3, true)
	for range 3 {
		<-a.came
	}
	a.ask(t, 4, true)
	waiting(t, a.tr, 1)
	a.ask(t, 5, false)
	waiting(t, a.tr, 2)
	a.answer("/held/1")
	if path := <-a.came; path != "/held/5" {
		t.Errorf("%s came", path)
	}
	a.answerAll()
	if path := <-a.came; path != "/held/4" {
		t.Errorf("%s came", path)
	}
	a.answerAll()
	a.wg.Wait()
}
