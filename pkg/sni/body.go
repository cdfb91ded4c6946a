package sni

import (
	"io"
	"net/http"
	"sync"
)

// requestBody decides whether the body of a request can be sent again. net/http closes
// bodies also where it sent nothing of them; one that can be had no second time stays open here
// until it is read from or the request is through. A nil requestBody is that of a request
// without one.
type requestBody struct {
	get func() (io.ReadCloser, error) // Request.GetBody; nil where tracked is used

	mu      sync.Mutex
	tracked io.ReadCloser
	begun   bool // something was read
	wants   bool // net/http has closed it
	settled bool
	closed  bool
}

func trackBody(req *http.Request) *requestBody {
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		return nil
	case req.GetBody != nil:
		return &requestBody{get: req.GetBody, tracked: req.Body}
	}
	return &requestBody{tracked: req.Body}
}

// attach returns the request to send first. A body that can be had again stays as it
// is, since net/http sends some types of them faster.
func (b *requestBody) attach(req *http.Request) *http.Request {
	if b == nil || b.get != nil {
		return req
	}
	out := *req
	out.Body = b
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
		b.tracked.Close() // net/http has done so, unless the connection was dead from the start
		b.tracked = body
		out := *req
		out.Body = body
		return &out, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wants = false
	return req, !b.begun
}

// settle ends the waiting: what was closed is closed now. A request that failed has no more
// use for its body, whatever net/http did with it.
func (b *requestBody) settle(ok bool) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settled = true
	if b.get != nil {
		b.wants = false // net/http has the body itself
	}
	if !ok || b.wants {
		b.close()
	}
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.begun = true
	b.mu.Unlock()
	return b.tracked.Read(p)
}

func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.begun && !b.settled {
		b.wants = true
		return nil
	}
	return b.close()
}

func (b *requestBody) close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	return b.tracked.Close()
}
