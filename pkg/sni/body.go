package sni

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// keepBody is how many bytes of a body are kept in case the request has to be sent again, if the request has no GetBody.
const keepBody = 32 << 10

// requestBody decides whether the body of a request can be sent again. If the request has no GetBody, the beginning of the body
// is kept as it is read. An attempt closes its body when it is over; the source stays open until the request has ended. A nil
// requestBody belongs to a request without a body.
type requestBody struct {
	get func() (io.ReadCloser, error) // Request.GetBody; if it is not nil, only source is used below

	mu         sync.Mutex
	attempt    int // the number of the attempt that may read
	source     io.ReadCloser
	kept       []byte
	at         int   // index in kept of the next byte to read
	err        error // how the source has ended
	lost       bool  // more was read than is kept, or it was closed during a read
	reading    bool
	wantsClose bool // the attempt has closed its body
	finished   bool // the request has ended
	closed     bool
}

func trackBody(req *http.Request) *requestBody {
	if !hasBody(req) {
		return nil
	}
	return &requestBody{get: req.GetBody, source: req.Body}
}

// attach returns the request for the first attempt. A body with GetBody stays as it is.
func (b *requestBody) attach(req *http.Request) *http.Request {
	if b == nil || b.get != nil {
		return req
	}
	return b.nextAttempt(req)
}

// readAhead reads the whole body, of length bytes, unless the request has GetBody. length is at most keepBody. On a connection
// that requests share, the body of a slow client would be many small frames, and servers end a connection for these.
func (b *requestBody) readAhead(ctx context.Context, length int64) error {
	if b == nil || b.get != nil {
		return nil
	}
	read := make(chan error, 1)
	go func() { // it may outlive the request, until the Read that waits returns
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

// nextAttempt returns the request with a body of its own. The goroutine that sends the previous attempt may not know yet that
// it is over, and must not read what belongs to the next one.
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
		b.source.Close() // the attempt has done this, unless the connection was dead from the start
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
	b.at, b.wantsClose = 0, false
	return b.nextAttempt(req), true
}

// finish ends the request, and closes the source if the attempt has closed its body or if the request has failed.
func (b *requestBody) finish(ok bool) {
	switch {
	case b == nil:
	case b.get != nil:
		if !ok {
			b.source.Close()
		}
	default:
		b.mu.Lock()
		defer b.mu.Unlock()
		b.finished = true
		if !ok || b.wantsClose {
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
	case b.finished || len(b.kept)+n > keepBody:
		b.lost, b.kept, b.at = true, nil, 0
	default:
		b.kept = append(b.kept, p[:n]...)
		b.at = len(b.kept)
	}
	return n, err
}

// Close does not wait: it may have to end a Read that waits.
func (a *attemptBody) Close() error {
	b := a.requestBody
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.attempt != a.number {
		return nil
	}
	if !b.finished && !b.lost && !b.reading {
		b.wantsClose = true
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
