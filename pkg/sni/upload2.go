package sni

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"time"
)

// uploadedBody is the body of a request as net/http sends it over HTTP/2. It knows whether the server does not take it, and
// gathers small pieces: each Read becomes a DATA frame, and servers take many small frames for an attack (Tomcat ends the
// connection after two of one byte).
//
// A goroutine reads the source, since a Read of the source may wait for longer than a piece may be kept.
type uploadedBody struct {
	m      *multiplex
	source io.ReadCloser

	pieces chan piece    // from the goroutine, one at a time
	taken  chan struct{} // lets it read the next piece
	done   chan struct{} // closed by Close
	start  sync.Once
	rest   []byte // of a piece, for the next Read
	err    error  // that came with the piece

	mu     sync.Mutex
	waits  bool      // net/http waits for a piece
	readAt time.Time // when it got the last one; zero before the first
	sent   bool      // net/http has written all of it
	closed bool
}

type piece struct {
	data []byte
	err  error
}

const (
	// gatherFor is for how long a small piece waits for more of the body.
	gatherFor = 5 * time.Millisecond

	// pieceSize is how much is read at a time: one frame (RFC 9113 section 6.5.2).
	pieceSize = 16 << 10
)

func newUploadedBody(m *multiplex, source io.ReadCloser) *uploadedBody {
	b := &uploadedBody{m: m, source: source, pieces: make(chan piece), taken: make(chan struct{}, 1), done: make(chan struct{})}
	t := m.conn.pool.t
	t.mu.Lock()
	m.bodies = append(m.bodies, b)
	t.unlock()
	return b
}

// heldUp reports whether net/http has had a piece of the body for too long, because the server does not take it.
func (b *uploadedBody) heldUp(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.closed && !b.sent && !b.waits && !b.readAt.IsZero() && now.Sub(b.readAt) > heldUp
}

// wasSent notes that net/http has written the request. net/http closes the body only when the response has ended. Until then,
// a slow server would look like one that does not take the body.
func (b *uploadedBody) wasSent(httptrace.WroteRequestInfo) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = true
}

func (b *uploadedBody) wait(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waits = yes; !yes {
		b.readAt = wallClock()
	}
}

func (b *uploadedBody) Read(p []byte) (n int, err error) {
	b.start.Do(func() { go b.pump() })
	b.wait(true)
	defer b.wait(false)
	var enough <-chan time.Time
	for n < len(p) {
		if len(b.rest) == 0 {
			if b.err != nil {
				return n, b.err
			}
			select {
			case next := <-b.pieces:
				b.rest, b.err = next.data, next.err
			case <-enough:
				return n, nil
			case <-b.done:
				return n, http.ErrBodyReadAfterClose
			}
			if enough == nil {
				timer := time.NewTimer(gatherFor)
				defer timer.Stop()
				enough = timer.C
			}
		}
		k := copy(p[n:], b.rest)
		n, b.rest = n+k, b.rest[k:]
		if len(b.rest) == 0 && b.err == nil {
			b.taken <- struct{}{}
		}
	}
	if len(b.rest) == 0 {
		return n, b.err
	}
	return n, nil
}

// pump reads the source until it ends or the body is closed.
func (b *uploadedBody) pump() {
	buf := make([]byte, pieceSize)
	for {
		n, err := b.source.Read(buf)
		select {
		case b.pieces <- piece{buf[:n], err}:
		case <-b.done:
			return
		}
		if err != nil {
			return
		}
		select {
		case <-b.taken:
		case <-b.done:
			return
		}
	}
}

func (b *uploadedBody) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	close(b.done)
	t := b.m.conn.pool.t
	t.mu.Lock()
	if i := slices.Index(b.m.bodies, b); i >= 0 {
		b.m.bodies = slices.Delete(b.m.bodies, i, i+1)
	}
	b.m.conn.pool.wake()
	t.unlock()
	return b.source.Close()
}
