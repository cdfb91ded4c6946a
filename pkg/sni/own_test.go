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

// Over HTTP/2, who waits for a connection of its own is not in the way of those that share.
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

// asked is an origin over HTTP/2 whose answers to /held/ID come when they are let.
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

// ask sends a request that will be held, for a connection of its own if alone says so.
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

// on returns the paths that were asked for over a connection.
func (a *asked) on(conn int64) (paths []string) {
	for _, r := range a.Requests() {
		if r.Conn == conn {
			paths = append(paths, r.URI)
		}
	}
	return paths
}

// answer lets requests be answered.
func (a *asked) answer(paths ...string) {
	for _, path := range paths {
		if let, ok := a.let.LoadAndDelete(path); ok {
			close(let.(chan struct{}))
		}
	}
}

// answerAll lets all requests be answered that have come.
func (a *asked) answerAll() {
	for _, r := range a.Requests() {
		a.answer(r.URI)
	}
}

// And it gets one, although others share all that there are.
func TestWaitForAConnectionOfItsOwnHasAnEnd(t *testing.T) {
	t.Parallel()
	a := startAsked(t, func(*tlstest.Origin) {})
	a.tr.MaxConnsPerTarget = 2
	mustGet(t, a.tr, "https://a.test/")
	for id := range 15 { // more than wait on one
		a.ask(t, id, false)
		<-a.came
	}
	a.ask(t, 20, true)
	waiting(t, a.tr, 1)
	newer := a.on(2)
	a.ask(t, 21, false) // would come to the newer connection, and keep it
	<-a.came
	a.answer(newer...)
	if path := <-a.came; path != "/held/20" {
		t.Errorf("%s came", path)
	}
	a.answerAll()
	a.wg.Wait()
}

// Those that share are called when there is room for them, although they are not the first who wait.
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
