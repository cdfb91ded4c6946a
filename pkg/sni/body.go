package sni

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// keepBody is how much of a body that comes only once is kept, for the case that it has to be
// sent again.
const keepBody = 32 << 10

// requestBody decides whether the body of a request can be sent again. If the request itself
// has no copy of it (Request.GetBody), the beginning is kept as it is read. Whoever sends a request closes
// its body when an attempt is over; here it stays open until the request is through. A nil
// requestBody is that of a request without one.
type requestBody struct {
	get func() (io.ReadCloser, error) // Request.GetBody; of what follows, only source is used then

	mu      sync.Mutex
	attempt int // the number of the one whose reads count
	source  io.ReadCloser
	kept    []byte
	at      int   // of kept, where the next read begins
	err     error // that the source ended with
	lost    bool  // more was read than is kept, or it was closed amid a read
	reading bool
	wants   bool // the attempt has closed it
	settled bool
	closed  bool
}

func trackBody(req *http.Request) *requestBody {
	if !hasBody(req) {
		return nil
	}
	return &requestBody{get: req.GetBody, source: req.Body}
}

// attach returns the request to send first. A body that can be had again stays as it is.
func (b *requestBody) attach(req *http.Request) *http.Request {
	if b == nil || b.get != nil {
		return req
	}
	return b.nextAttempt(req)
}

// readAhead reads the whole body, of length bytes, unless it can be had again anyway. It must not be longer than
// what is kept. Over a connection that requests share, a client that sends slowly would be many small frames,
// for which servers end the connection.
func (b *requestBody) readAhead(ctx context.Context, length int64) error {
	if b == nil || b.get != nil {
		return nil
	}
	read := make(chan error, 1)
	go func() { // which ends with the Read that waits, if the request is over before
		all := make([]byte, length+1)
		n, err := io.ReadFull(b.source, all)
		switch {
		case err == nil:
			err = fmt.Errorf("the body is longer than its Content-Length, %d", length)
		case errors.Is(err, io.ErrUnexpectedEOF) && int64(n) == length:
			b.mu.Lock()
			defer b.mu.Unlock()
			b.kept, b.err, err = all[:n], io.EOF, nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			err = fmt.Errorf("the body ended after %d of %d bytes: %w", n, length, io.ErrUnexpectedEOF)
		}
		read <- err
	}()
	select {
	case err := <-read:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// nextAttempt returns the request with a body of its own. The goroutine that sends an attempt before
// it may not have noticed yet that this is over, and must not take what is the next one's.
func (b *requestBody) nextAttempt(req *http.Request) *http.Request {
	b.attempt++
	out := *req
	out.Body = &attemptBody{b, b.attempt}
	return &out
}

// again returns the request to send once more, and whether that is possible.
func (b *requestBody) again(req *http.Request) (*http.Request, bool) {
	if b == nil {
		return req, true
	}
	if b.get != nil {
		body, err := b.get()
		if err != nil {
			return nil, false
		}
		b.source.Close() // which was done already, unless the connection was dead from the start
		b.source = body
		out := *req
		out.Body = body
		return &out, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost || b.reading {
		return nil, false
	}
	b.at, b.wants = 0, false
	return b.nextAttempt(req), true
}

// settle ends the waiting: what was closed is closed now. A request that failed has no more
// use for its body, whatever became of that.
func (b *requestBody) settle(ok bool) {
	switch {
	case b == nil:
	case b.get != nil:
		if !ok {
			b.source.Close()
		}
	default:
		b.mu.Lock()
		defer b.mu.Unlock()
		b.settled = true
		if !ok || b.wants {
			b.close()
		}
	}
}

// attemptBody is a requestBody as one attempt sends it.
type attemptBody struct {
	*requestBody
	number int
}

func (a *attemptBody) Read(p []byte) (int, error) {
	b := a.requestBody
	b.mu.Lock()
	switch {
	case b.attempt != a.number:
		b.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	case b.at < len(b.kept):
		n := copy(p, b.kept[b.at:])
		b.at += n
		b.mu.Unlock()
		return n, nil
	case b.err != nil:
		b.mu.Unlock()
		return 0, b.err
	}
	b.reading = true
	b.mu.Unlock()

	n, err := b.source.Read(p)

	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading, b.err = false, err
	switch {
	case b.lost:
	case b.settled || len(b.kept)+n > keepBody:
		b.lost, b.kept, b.at = true, nil, 0
	default:
		b.kept = append(b.kept, p[:n]...)
		b.at = len(b.kept)
	}
	return n, err
}

// Close may be what ends a Read that waits, and then must not wait itself.
func (a *attemptBody) Close() error {
	b := a.requestBody
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.attempt != a.number {
		return nil
	}
	if !b.settled && !b.lost && !b.reading {
		b.wants = true
		return nil
	}
	b.lost = true
	return b.close()
}

func (b *requestBody) close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	return b.source.Close()
}
