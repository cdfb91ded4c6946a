package proxy

import (
	"context"
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

// For returns the timeouts for a route: its own, and of t what it has not. Connect and Handshake
// may still be zero, since what that means is the Transport's to say.
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

// watch ends a request on which nothing moves. It is safe for concurrent use.
type watch struct {
	timeouts Timeouts
	end      time.Time // of the whole request; zero means none
	cancel   context.CancelCauseFunc
	client   *http.ResponseController

	mu      sync.Mutex
	timer   *time.Timer
	due     time.Time // when cause is true
	cause   error
	begun   bool // the answer has
	taken   bool // the connection was, from its server
	reading bool // the client's body
	telling bool // the client an interim answer
	ended   bool
	failure error // the cause, once it has come true
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
		x.watch.await(x.watch.timeouts.Response, errNoAnswer)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// await gives what comes next its time; zero or less means that it may take any.
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
	if w.telling {
		w.failure = ErrSlowClient
	}
	w.cancel(w.failure)
	// Who waits for the client does not see the context. Where a server cannot do this, nobody does.
	switch {
	case w.begun, w.telling: // whatever time ran out for: the answer is cut off here
		w.client.SetWriteDeadline(past)
	case w.reading:
		w.client.SetReadDeadline(past)
		// A client that takes nothing may not have taken the server's own 100 (Continue), which a Read sends.
		w.client.SetWriteDeadline(time.Now().Add(lingering))
	}
}

// tell notes that an interim answer is being sent, or was. A nil watch notes nothing.
func (w *watch) tell(telling bool) {
	if w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.telling = telling
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

// answered notes that the answer has begun: time is counted for its body from now on.
func (w *watch) answered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun = true
	w.awaitLocked(w.timeouts.Idle, ErrResponseStalled)
}

// uploading gives the next part of the request's body its time. Once the answer has begun, it is that
// which time is counted for.
func (w *watch) uploading(reading bool, d time.Duration, cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reading = reading
	if w.begun {
		d, cause = w.timeouts.Idle, ErrResponseStalled
	}
	w.awaitLocked(d, cause)
}

// expired returns what took too long, and nil where nothing did, or nobody watched.
func (w *watch) expired() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// takenOver notes that the connection is not the server's any more. A nil watch notes nothing.
func (w *watch) takenOver() {
	if w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.taken = true
	}
}

// hangUp ends what goes to and fro on a connection that was taken over.
func (w *watch) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.taken { // else the server has an answer to send
		w.client.SetReadDeadline(past)
		w.client.SetWriteDeadline(past)
	}
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// cutOff reports whether no more may be sent of an answer that has begun.
func (w *watch) cutOff() bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.begun && w.failure != nil
}
