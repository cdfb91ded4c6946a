package proxy

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// Timeouts bounds the times of a request. A route's timeouts replace these. The deadline of the request's context, such as
// that of a Lambda invocation, always holds too.
type Timeouts struct {
	// Connect bounds DNS and TCP for an address of the origin, and Handshake bounds TLS. Zero means the Transport's timeout,
	// and negative no timeout.
	Connect, Handshake time.Duration

	// Response bounds the time until the response begins. It counts from the start of forwarding, which includes connecting,
	// and again from the end of the request's body. Zero means a minute, and negative no timeout.
	Response time.Duration

	// Idle bounds the time without data in a body or on a WebSocket, because the client or the origin does not
	// send, or does not read. Zero means five minutes, as for the streams of AWS's fronts, and negative no timeout.
	Idle time.Duration

	// Request bounds the whole request, from its arrival to the end of the response. Zero or negative means no timeout.
	Request time.Duration
}

const (
	defaultResponse = time.Minute
	defaultIdle     = 5 * time.Minute
)

// For returns t with the route's own timeouts and the defaults applied. Connect and Handshake stay zero if neither t nor the
// route sets them, because the Transport has their defaults. route must not be nil.
func (t Timeouts) For(route *origin.Route) Timeouts {
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

// watch ends a request that exceeds one of its timeouts. It is safe for concurrent use.
type watch struct {
	timeouts Timeouts
	end      time.Time // of the whole request; zero means none
	cancel   context.CancelCauseFunc
	client   *http.ResponseController

	mu      sync.Mutex
	timer   *time.Timer
	due     time.Time // when the current wait ends with cause
	cause   error
	failure error // the cause that ended the request; nil if none did

	responding bool // the response has begun
	interim    bool // an interim response is being sent
	reading    bool // the client's body is being read
	hijacked   bool
	ended      bool
}

// limitTime watches over what follows.
func (h *Handler) limitTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		x.watch = &watch{timeouts: h.config.Timeouts.For(x.Route), cancel: cancel, client: http.NewResponseController(w)}
		if d := x.watch.timeouts.Request; d > 0 {
			x.watch.end = x.Began.Add(d)
		}
		defer x.watch.stop()
		x.watch.await(x.watch.timeouts.Response, errNoResponse)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// await starts a wait that may take d, and ends the request with cause after that. Zero or negative means no bound.
func (w *watch) await(d time.Duration, cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.awaitLocked(d, cause)
}

func (w *watch) awaitLocked(d time.Duration, cause error) {
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

// moving restarts the idle timeout.
func (w *watch) moving(cause error) { w.await(w.timeouts.Idle, cause) }

func (w *watch) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || w.cause == nil {
		return
	}
	if left := time.Until(w.due); left > 0 { // await has extended it in the meantime
		w.timer.Reset(left)
		return
	}
	w.ended, w.failure = true, w.cause
	if w.interim {
		w.failure = ErrSlowClient
	}
	w.cancel(w.failure)
	// Reads from and writes to the client do not end with the context. If the server has no deadlines, they go on.
	switch {
	case w.responding, w.interim: // this cuts the response short
		w.client.SetWriteDeadline(past)
	case w.reading:
		w.client.SetReadDeadline(past)
		// A Read may send 100 (Continue), which a client that reads nothing would block.
		w.client.SetWriteDeadline(time.Now().Add(lingering))
	}
}

// sendingInterim notes whether an interim response is being sent. A nil watch notes nothing.
func (w *watch) sendingInterim(sending bool) {
	if w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.interim = sending
	}
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// responseBegan notes that the response has begun, and starts the idle timeout of its body.
func (w *watch) responseBegan() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.responding = true
	w.awaitLocked(w.timeouts.Idle, ErrResponseStalled)
}

// uploading starts a wait for the request's body. If the response has begun, it restarts the idle timeout of the response
// instead.
func (w *watch) uploading(reading bool, d time.Duration, cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reading = reading
	if w.responding {
		d, cause = w.timeouts.Idle, ErrResponseStalled
	}
	w.awaitLocked(d, cause)
}

// expired returns the error of the timeout that ended the request, and nil if no timeout did. w may be nil.
func (w *watch) expired() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// markHijacked notes that the client's connection was hijacked. A nil watch notes nothing.
func (w *watch) markHijacked() {
	if w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.hijacked = true
	}
}

// closeHijacked ends reads and writes on a hijacked connection.
func (w *watch) closeHijacked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hijacked { // otherwise the server still has a response to send
		w.client.SetReadDeadline(past)
		w.client.SetWriteDeadline(past)
	}
}

// past is a deadline in the past.
var past = time.Unix(1, 0)

// cutOff reports whether a timeout has cut the response short.
func (w *watch) cutOff() bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.responding && w.failure != nil
}
