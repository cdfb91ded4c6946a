package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// Timeouts are what a request may take. A route's own win over these. The deadline of the request's
// context, such as that of a Lambda invocation, ends it in any case.
type Timeouts struct {
	// Connect and Handshake bound the way to one address of the origin: TCP with DNS, and TLS.
	// Zero means what the Transport has; negative no bound.
	Connect, Handshake time.Duration

	// Response bounds the time until the answer begins, counted from when the request was
	// forwarded, or from the end of its body; connecting is part of it. Zero means a minute;
	// negative no bound.
	Response time.Duration

	// Idle bounds how long nothing may move in the middle of a body or of a WebSocket: the
	// client or the origin sends nothing, or does not take what it is sent. Zero means
	// five minutes, as for the streams of AWS's fronts; negative no bound.
	Idle time.Duration

	// Request bounds the whole, to the last byte of the answer. Zero or less means no bound.
	Request time.Duration
}

const (
	defaultResponse = time.Minute
	defaultIdle     = 5 * time.Minute
)

// of returns the timeouts for a route.
func (t Timeouts) of(route *origin.Route) Timeouts {
	for _, own := range []struct {
		into *time.Duration
		d    time.Duration
	}{
		{&t.Connect, route.Timeouts.Connect}, {&t.Handshake, route.Timeouts.Handshake}, {&t.Response, route.Timeouts.Response},
		{&t.Idle, route.Timeouts.Idle}, {&t.Request, route.Timeouts.Request},
	} {
		if own.d != 0 {
			*own.into = own.d
		}
	}
	if t.Response == 0 {
		t.Response = defaultResponse
	}
	if t.Idle == 0 {
		t.Idle = defaultIdle
	}
	return t
}

// watch ends a request on which nothing moves. It is safe for concurrent use.
type watch struct {
	timeouts  Timeouts
	end       time.Time // of the whole request; zero means none
	cancel    context.CancelCauseFunc
	interrupt func(cause error) // wakes who waits for the client

	mu      sync.Mutex
	timer   *time.Timer
	due     time.Time // when cause is true
	cause   error
	begun   bool // the answer has
	ended   bool
	failure error // the cause, once it has come true
}

// limitTime watches over what follows.
func (h *Handler) limitTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		client := http.NewResponseController(w)
		x.watch = &watch{timeouts: h.config.Timeouts.of(x.route), cancel: cancel, interrupt: func(cause error) {
			// Where a server cannot do this, nobody waits for the client.
			switch past := time.Unix(1, 0); cause {
			case ErrSlowBody:
				client.SetReadDeadline(past)
			case ErrSlowClient:
				client.SetWriteDeadline(past)
			}
		}}
		if d := x.watch.timeouts.Request; d > 0 {
			x.watch.end = x.began.Add(d)
		}
		defer x.watch.stop()
		x.watch.await(x.watch.timeouts.Response, errNoAnswer)
		r = r.WithContext(ctx)
		if r.Body != nil && r.Body != http.NoBody {
			body := &requestBody{ReadCloser: r.Body, x: x, left: -1, trailer: newTrailer(r.Trailer)}
			if most := h.config.Limits.BodyBytes; most > 0 {
				body.left, body.limit = most, most
			}
			r.Body = body
		}
		next.ServeHTTP(w, r)
	})
}

// await gives what comes next its time; zero or less means that it may take any.
func (w *watch) await(d time.Duration, cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	now := time.Now()
	if !w.end.IsZero() {
		if left := max(w.end.Sub(now), 1); d <= 0 || left < d {
			d, cause = left, ErrTimeout
		}
	}
	if d <= 0 {
		if w.timer != nil {
			w.timer.Stop()
		}
		w.cause = nil
		return
	}
	w.due, w.cause = now.Add(d), cause
	if w.timer == nil {
		w.timer = time.AfterFunc(d, w.expire)
	} else {
		w.timer.Reset(d)
	}
}

// moving gives the next part of a body its time.
func (w *watch) moving(cause error) { w.await(w.timeouts.Idle, cause) }

func (w *watch) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || w.cause == nil {
		return
	}
	if left := time.Until(w.due); left > 0 { // it was given more time just then
		w.timer.Reset(left)
		return
	}
	w.ended, w.failure = true, w.cause
	w.cancel(w.cause)
	w.interrupt(w.cause)
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// answered notes that the answer has begun: time is counted for its body from now on.
func (w *watch) answered() {
	w.mu.Lock()
	w.begun = true
	w.mu.Unlock()
	w.moving(ErrResponseStalled)
}

// expired returns what took too long, and nil where nothing did.
func (w *watch) expired() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

func (w *watch) hasBegun() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.begun
}

// requestBody is the client's body on its way to the origin.
type requestBody struct {
	io.ReadCloser
	x       *exchange
	limit   int64
	left    int64 // of the limit; negative means that there is none
	trailer trailer
}

func (b *requestBody) Read(p []byte) (int, error) {
	watch, answered := b.x.watch, b.x.watch.hasBegun()
	waiting := func(cause error) {
		if answered { // then it is the answer that time is counted for
			cause = ErrResponseStalled
		}
		watch.moving(cause)
	}
	waiting(ErrSlowBody)
	if b.left >= 0 && int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more tells a body that is too long from one that just fits
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case b.left >= 0 && int64(n) > b.left:
		n, err = 0, &RequestTooLargeError{ErrBodyTooLarge, b.limit}
	case b.left >= 0:
		b.left -= int64(n)
	}
	if err == io.EOF {
		b.trailer.keepAnnounced()
	}
	switch {
	case err == io.EOF && !answered:
		watch.await(watch.timeouts.Response, errNoAnswer)
	default:
		waiting(ErrUploadStalled)
	}
	// The transport closes a body that it has no more use for, perhaps during a Read.
	if err != nil && err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) {
		b.x.bodyBroke(err)
	}
	return n, err
}

// followBody is the hook that watches over the body of an answer.
func followBody(r *http.Response) error {
	x := exchangeOf(r.Request.Context())
	x.watch.answered()
	body := responseBody{r.Body, x}
	if both, ok := r.Body.(io.ReadWriteCloser); ok && r.StatusCode == http.StatusSwitchingProtocols {
		x.status = r.StatusCode // the connection's new protocol goes past the ResponseWriter
		r.Body = &upgradedBody{body, both}
	} else {
		r.Body = &body
	}
	return nil
}

// responseBody is the origin's body on its way to the client.
type responseBody struct {
	io.ReadCloser
	x *exchange
}

func (b *responseBody) Read(p []byte) (int, error) {
	b.x.watch.moving(ErrResponseStalled)
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && b.x.readErr == nil {
		b.x.readErr = err
	}
	return n, err
}

// upgradedBody is what goes to and fro on a connection that has changed its protocol. Silence
// counts when it is mutual.
type upgradedBody struct {
	responseBody
	writer io.Writer
}

func (b *upgradedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.x.watch.moving(ErrResponseStalled)
	b.x.mu.Lock()
	b.x.bytes += int64(n)
	b.x.mu.Unlock()
	return n, err
}

func (b *upgradedBody) Write(p []byte) (int, error) {
	b.x.watch.moving(ErrResponseStalled)
	return b.writer.Write(p)
}

// CloseWrite tells the origin that the client has said all it had to say.
func (b *upgradedBody) CloseWrite() error {
	if half, ok := b.writer.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return b.Close()
}
