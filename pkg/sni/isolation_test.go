package sni_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Requests of different clients share connections over HTTP/2. The tests of this file are about clients that must not harm others.

// busy is an origin over HTTP/2. The test decides when it answers /slow.
type busy struct {
	*tlstest.Origin
	came chan tlstest.Request
	let  chan struct{}
}

func startBusy(t *testing.T, change ...func(*tlstest.Origin)) (*busy, *sni.Transport) {
	t.Helper()
	ca := tlstest.NewAuthority(t)
	b := &busy{came: make(chan tlstest.Request, 1000), let: make(chan struct{})}
	b.Origin = &tlstest.Origin{Unread: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}}
	b.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/slow") {
			b.came <- tlstest.Request{}
			select {
			case <-b.let:
			case <-r.Context().Done():
				return
			}
		}
		n, _ := io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/refused" {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprint(w, n)
	})
	for _, f := range change {
		f(b.Origin)
	}
	b.Start(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{b.Addr}, Roots: sni.RootsFromPEM(ca.PEM()), ALPN: []string{"h2"}}))
	tr.UnsafeReuse = time.Minute
	return b, tr
}

// conns returns the numbers of the connections with requests for a path.
func (b *busy) conns(path string) (numbers []int64) {
	for _, r := range b.Requests() {
		if strings.HasPrefix(r.URI, path) {
			numbers = append(numbers, r.Conn)
		}
	}
	return numbers
}

// A header that is too large for nginx, HAProxy or Tomcat ends its connection.
func TestLargeHeadersAndBodiesHaveConnectionsOfTheirOwn(t *testing.T) {
	t.Parallel()
	b, tr := startBusy(t)
	var wg sync.WaitGroup
	wg.Go(func() { sendTo(t, tr, "POST", "/slow", nil) })
	<-b.came
	for name, c := range map[string]struct {
		change func(*http.Request)
		own    bool
	}{
		"a small cookie":     {func(r *http.Request) { r.Header.Set("Cookie", strings.Repeat("x", 1000)) }, false},
		"a cookie of 9.5 kB": {func(r *http.Request) { r.Header.Set("Cookie", strings.Repeat("x", 9500)) }, true},
		"a cookie of 17 kB":  {func(r *http.Request) { r.Header.Set("Cookie", strings.Repeat("x", 17_000)) }, true},
		"many cookies":       {func(r *http.Request) { r.Header.Set("Cookie", strings.Repeat("a; ", 300)) }, true},
		"many fields": {func(r *http.Request) {
			for i := range 240 {
				r.Header.Set(fmt.Sprint("X", i), "y")
			}
		}, true},
		"many values":            {func(r *http.Request) { r.Header["X"] = make([]string, 240) }, true},
		"a long query":           {func(r *http.Request) { r.URL.RawQuery = strings.Repeat("q", 9500) }, true},
		"a path that is encoded": {func(r *http.Request) { r.URL.Path = "/" + strings.Repeat("\xbc", 3000) }, true},
		"a long method":          {func(r *http.Request) { r.Method = strings.Repeat("A", 9500) }, true},
		"a trailer":              {func(r *http.Request) { r.Trailer = http.Header{"X": nil} }, true},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://a.test/", nil)
		c.change(req)
		if _, err := send(tr, req); err != nil {
			t.Fatal(err)
		}
		if own := b.Last(t).Conn != b.conns("/slow")[0]; own != c.own {
			t.Errorf("%s: a connection of its own is %t, want %t", name, own, c.own)
		}
	}
	for _, c := range []struct {
		size, length int64
		own          bool
	}{{1000, 1000, false}, {64 << 10, 64 << 10, true}, {1000, -1, true}} {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/body", io.LimitReader(zeros{}, c.size))
		req.ContentLength = c.length
		if _, err := send(tr, req); err != nil {
			t.Fatal(err)
		}
		if own := b.Last(t).Conn != b.conns("/slow")[0]; own != c.own {
			t.Errorf("a body of %d bytes, told as %d: a connection of its own is %t, want %t", c.size, c.length, own, c.own)
		}
	}
	for range 2 {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://a.test/large", nil)
		req.Header.Set("Cookie", strings.Repeat("x", 9500))
		if _, err := send(tr, req); err != nil {
			t.Fatal(err)
		}
	}
	if large := b.conns("/large"); large[0] != large[1] {
		t.Error("the connection for one of them was not used for the next")
	}
	for range 2 {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://a.test/refused", nil)
		req.Header.Set("Cookie", strings.Repeat("x", 9500))
		if _, err := send(tr, req); err != nil {
			t.Fatal(err)
		}
	}
	if refused := b.conns("/refused"); refused[0] == refused[1] {
		t.Error("the connection for one that was refused was used for the next")
	}
	close(b.let)
	wg.Wait()
}

// If a server does not read a body, all other bodies on the connection wait.
func TestBodiesThatAreHeldUpHoldUpNobodyElse(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]func() (io.Reader, int64){
		"large":             func() (io.Reader, int64) { return io.LimitReader(zeros{}, 1<<20), 1 << 20 },
		"of unknown length": func() (io.Reader, int64) { return io.LimitReader(zeros{}, 1<<20), -1 },
		"many small ones":   func() (io.Reader, int64) { return io.LimitReader(zeros{}, 30<<10), 30 << 10 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The windows of Jetty, Tomcat and hyper: 64 KiB for all unread data.
			b, tr := startBusy(t, func(o *tlstest.Origin) {
				o.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerConnection: 1<<16 - 1, MaxReceiveBufferPerStream: 1<<16 - 1}
			})
			mustSendTo(t, tr, "POST", "/", nil)
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					r, n := body()
					req, _ := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/slow", r)
					req.ContentLength = n
					if got, err := send(tr, req); err != nil || got == "0" {
						t.Errorf("%q, %v", got, err)
					}
				})
			}
			for range 5 {
				<-b.came
			}
			<-time.After(100 * time.Millisecond) // until the body counts as held up
			for range 20 {
				if got, err := sendTo(t, tr, "POST", "/", strings.NewReader("abc")); got != "3" || err != nil {
					t.Fatalf("%q, %v", got, err)
				}
			}
			close(b.let)
			wg.Wait()
		})
	}
}

// Servers process only some requests of a connection at a time, and do not announce the number.
func TestRequestsThatWaitGetFurtherConnections(t *testing.T) {
	t.Parallel()
	b, tr := startBusy(t)
	mustGet(t, tr, "https://a.test/")
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() { mustGet(t, tr, fmt.Sprintf("https://a.test/slow%d", i)) })
		<-b.came
	}
	on := map[int64]int{}
	for _, n := range b.conns("/slow") {
		on[n]++
	}
	for n, requests := range on {
		if requests > 10 {
			t.Errorf("connection %d has %d requests that wait", n, requests)
		}
	}
	if len(on) > 7 {
		t.Errorf("%d connections for 60 requests", len(on))
	}
	close(b.let)
	wg.Wait()
}

// A body that was sent completely is not held up if the server takes long to answer.
func TestBodyThatWasSentKeepsNobodyAway(t *testing.T) {
	t.Parallel()
	b, tr := startBusy(t)
	mustGet(t, tr, "https://a.test/")
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { mustSendTo(t, tr, "POST", "/slow", strings.NewReader("abc")) })
		<-b.came
		<-time.After(100 * time.Millisecond) // longer than until a body counts as held up
	}
	if n := b.Conns(); n != 1 {
		t.Errorf("%d connections for 5 requests that wait", n)
	}
	close(b.let)
	wg.Wait()
}

// If the target has a bound of connections, requests share the connections at the bound.
func TestBoundOfConnectionsHoldsOverHTTP2(t *testing.T) {
	t.Parallel()
	b, tr := startBusy(t)
	tr.MaxConnsPerTarget = 2
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() { mustGet(t, tr, fmt.Sprintf("https://a.test/slow%d", i)) })
	}
	for range 60 {
		<-b.came
	}
	if b.Conns() > 2 {
		t.Errorf("%d connections", b.Conns())
	}
	close(b.let)
	wg.Wait()
}

// Tomcat takes an upload in pieces of one byte for an attack, and ends the connection after two.
func TestSmallPiecesOfABodyAreGathered(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	var frames, bytes atomic.Int32
	address := serveFrames(t, tlstest.Leaf(t, ca, "a.test"), func(c *tls.Conn, stream uint32) bool {
		answerFrame(c, stream)
		return true
	}, func(length int) { frames.Add(1); bytes.Add(int32(length)) })
	tr := newTransport(t, to(sni.Target{Addresses: []string{address}, Roots: sni.RootsFromPEM(ca.PEM()), ALPN: []string{"h2"}}))
	pieces := make([]io.Reader, 2000)
	for i := range pieces {
		pieces[i] = strings.NewReader("x")
	}
	if _, err := sendTo(t, tr, "POST", "/", io.MultiReader(pieces...)); err != nil {
		t.Fatal(err)
	}
	if bytes.Load() != 2000 || frames.Load() > 200 { // a frame has the pieces of 5 ms, on a loaded machine too
		t.Errorf("%d bytes in %d frames", bytes.Load(), frames.Load())
	}
}

// If the source of an upload waits, the bytes so far are sent.
func TestGatheringDoesNotHoldBackWhatIsThere(t *testing.T) {
	t.Parallel()
	arrived := make(chan string, 10)
	_, tr := answering(t, overHTTP2, func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 5)
		io.ReadFull(r.Body, b)
		arrived <- string(b)
		io.Copy(io.Discard, r.Body)
	})
	source, writer := io.Pipe()
	go func() {
		io.WriteString(writer, "first")
		<-arrived // before the source has more
		writer.Close()
	}()
	if _, err := send(tr, post(t, source)); err != nil {
		t.Error(err)
	}
}

// An origin that is busy for longer than PingTimeout is not dead, and its response is valid.
func TestOriginThatAnswersNoPINGIsWaitedFor(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	release := make(chan struct{})
	address := serveFrames(t, tlstest.Leaf(t, ca, "a.test"), func(c *tls.Conn, stream uint32) bool {
		<-release // it reads nothing meanwhile
		answerFrame(c, stream)
		return true
	})
	for _, c := range []struct {
		ping time.Duration
		ok   bool
	}{{0, true}, {50 * time.Millisecond, false}} {
		tr := newTransport(t, to(sni.Target{Addresses: []string{address}, Roots: sni.RootsFromPEM(ca.PEM()), ALPN: []string{"h2"}}))
		tr.PingTimeout = c.ping
		timer := time.AfterFunc(500*time.Millisecond, func() { release <- struct{}{} })
		_, err := sendTo(t, tr, "POST", "/", nil)
		if c.ok {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if wantType(t, err, sni.ConnectionTerminated); !errors.Is(err, sni.ErrPingTimeout) {
			t.Errorf("error %v", err)
		}
		timer.Stop()
		close(release)
	}
}

// A connection that was misdirected may stay so. Later requests get another connection.
func TestConnectionIsGivenUpAtItsFirst421(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		o, tr := answering(t, over, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMisdirectedRequest) })
		tr.UnsafeReuse = time.Minute
		for range 3 {
			if _, err := send(tr, post(t, nil)); err != nil {
				t.Fatal(err)
			}
		}
		var on []int64
		for _, r := range o.Requests() {
			on = append(on, r.Conn)
		}
		if !slices.Equal(on, []int64{1, 2, 3}) {
			t.Errorf("the requests went out on connections %v", on)
		}
	})
}

// A client that does not read must cost only little memory.
func TestAnswersThatNobodyReadsAreNotBuffered(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		const readers, size = 100, 16 << 20
		_, tr := answering(t, over, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(size))
			io.CopyN(w, zeros{}, size)
		})
		before := heap()
		var bodies []io.Closer
		for range readers {
			resp, err := tr.RoundTrip(post(t, nil).Clone(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			bodies = append(bodies, resp.Body)
		}
		<-time.After(200 * time.Millisecond) // everything that would be buffered arrives in that time
		if grown := heap() - before; grown > 64<<20 {
			t.Errorf("%d answers that nobody reads take %d MiB", readers, grown>>20)
		}
		for _, b := range bodies {
			b.Close()
		}
	})
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
