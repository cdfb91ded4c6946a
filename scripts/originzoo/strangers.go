package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// strangers are clients that misbehave until their context ends.
type strangers struct {
	address string
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	kinds   []*stranger
}

// A stranger is a kind of such clients. It counts its requests.
type stranger struct {
	what string
	n    atomic.Int64 // requests
	good atomic.Int64 // of these, those that ended as they should: with a 200, or as the stranger intended
	at   int          // number at a time
	do   func(ctx context.Context, s *strangers, i int64) bool
}

func newStrangers(address string) *strangers {
	ctx, cancel := context.WithCancel(context.Background())
	s := &strangers{address: address, cancel: cancel, kinds: []*stranger{
		{what: "cookies of 9.5 and 17 kB", at: 1, do: cookies},
		{what: "aborted GETs", at: 2, do: abort},
		{what: "uploads read late", at: 2, do: late},
		{what: "uploads in 1-byte chunks", at: 1, do: chunks},
		{what: "clients that do not read", at: 4, do: standStill},
	}}
	for _, k := range s.kinds {
		for range k.at {
			s.wg.Go(func() {
				for i := int64(0); ctx.Err() == nil; i++ {
					k.n.Add(1)
					if k.do(ctx, s, i) {
						k.good.Add(1)
					}
					wait(ctx, 20*time.Millisecond)
				}
			})
		}
	}
	return s
}

// end waits for all of them to stop. It returns what they did, and which of them never succeeded.
func (s *strangers) end() (did, refused string) {
	s.cancel()
	s.wg.Wait()
	var all, none []string
	for _, k := range s.kinds {
		all = append(all, fmt.Sprint(k.n.Load(), " ", k.what))
		if k.good.Load() == 0 {
			none = append(none, k.what)
		}
	}
	return strings.Join(all, ", "), strings.Join(none, ", ")
}

// check returns an error if a kind of them did nothing.
func (s *strangers) check() error {
	var errs []error
	for _, k := range s.kinds {
		if k.n.Load() == 0 {
			errs = append(errs, fmt.Errorf("there were no %s", k.what))
		}
	}
	return errors.Join(errs...)
}

// send opens a connection that ends with ctx, and writes text there. The caller closes it.
func (s *strangers) send(ctx context.Context, text string) (net.Conn, bool) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, false
	}
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		c.Close()
		return nil, false
	}
	return c, true
}

// answered reports whether there is an answer, with this status unless status is 0.
func answered(ctx context.Context, c net.Conn, status int) bool {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, a.Body)
	return err == nil && (status == 0 || a.StatusCode == status)
}

func cookies(ctx context.Context, s *strangers, i int64) bool {
	size := 9500
	if i%2 == 1 {
		size = 17000
	}
	// X has eight bits in HPACK's Huffman code too.
	c, ok := s.send(ctx, fmt.Sprintf("GET /hello HTTP/1.1\r\nHost: %s\r\nCookie: a=%s\r\nConnection: close\r\n\r\n", name, strings.Repeat("X", size)))
	if !ok {
		return false
	}
	defer c.Close()
	return answered(ctx, c, 0)
}

func abort(ctx context.Context, s *strangers, _ int64) bool {
	c, ok := s.send(ctx, "GET /slow HTTP/1.1\r\nHost: "+name+"\r\n\r\n")
	if !ok {
		return false
	}
	wait(ctx, 15*time.Millisecond)
	c.Close()
	return true
}

func late(ctx context.Context, s *strangers, _ int64) bool {
	const size = 300_000
	c, ok := s.send(ctx, fmt.Sprintf("POST /late HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", name, size))
	if !ok {
		return false
	}
	defer c.Close()
	go io.WriteString(c, strings.Repeat(".", size))
	return answered(ctx, c, http.StatusOK)
}

func chunks(ctx context.Context, s *strangers, _ int64) bool {
	c, ok := s.send(ctx, "POST /read HTTP/1.1\r\nHost: "+name+"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
	if !ok {
		return false
	}
	defer c.Close()
	for range 40 {
		if _, err := io.WriteString(c, "1\r\n.\r\n"); err != nil {
			return false
		}
		wait(ctx, 3*time.Millisecond)
	}
	if _, err := io.WriteString(c, "0\r\n\r\n"); err != nil {
		return false
	}
	return answered(ctx, c, http.StatusOK)
}

func standStill(ctx context.Context, s *strangers, _ int64) bool {
	c, ok := s.send(ctx, "GET /big HTTP/1.1\r\nHost: "+name+"\r\n\r\n")
	if !ok {
		return false
	}
	defer c.Close()
	wait(ctx, 3*time.Second)
	return true
}
