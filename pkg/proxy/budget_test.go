package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// newWatch returns a watch, and the context that it cancels.
func newWatch(t Timeouts) (*watch, context.Context) {
	ctx, cancel := context.WithCancelCause(context.Background())
	w := &watch{timeouts: t, cancel: cancel, client: http.NewResponseController(httptest.NewRecorder())}
	if t.Request > 0 {
		w.end = time.Now().Add(t.Request)
	}
	return w, ctx
}

func TestWatchEndsRequestsThatTimeOut(t *testing.T) {
	const second, minute = time.Second, time.Minute
	all := Timeouts{Response: 10 * second, Idle: minute}
	for name, c := range map[string]struct {
		timeouts Timeouts
		steps    func(w *watch)
		after    time.Duration // until the timeout, after the steps
		want     error
	}{
		"no response":             {all, func(w *watch) { w.await(w.timeouts.Response, errNoResponse) }, 10 * second, errNoResponse},
		"no body":                 {all, func(w *watch) { w.uploading(true, w.timeouts.Idle, ErrSlowBody) }, minute, ErrSlowBody},
		"body that is not read":   {all, func(w *watch) { w.uploading(false, w.timeouts.Idle, ErrUploadStalled) }, minute, ErrUploadStalled},
		"no response to the body": {all, func(w *watch) { w.uploading(false, w.timeouts.Response, errNoResponse) }, 10 * second, errNoResponse},
		"no more of the response": {all, func(w *watch) { w.responseBegan() }, minute, ErrResponseStalled},
		"upload that ends after the response has begun": {all, func(w *watch) {
			w.uploading(true, w.timeouts.Idle, ErrSlowBody)
			w.responseBegan()
			w.uploading(false, w.timeouts.Response, errNoResponse)
		}, minute, ErrResponseStalled},
		"each part has its own timeout": {all, func(w *watch) {
			for range 100 {
				w.moving(ErrSlowClient)
				time.Sleep(59 * second)
			}
		}, second, ErrSlowClient},
		"the request, in many parts": {Timeouts{Idle: minute, Request: 90 * second}, func(w *watch) {
			w.moving(ErrSlowClient)
			time.Sleep(59 * second)
			w.moving(ErrSlowClient)
		}, 31 * second, ErrTimeout},
		"the request, if its parts have no timeout": {Timeouts{Idle: -1, Request: minute}, func(w *watch) { w.moving(ErrSlowClient) }, minute, ErrTimeout},
		"the request, already over":                 {Timeouts{Idle: -1, Request: second}, func(w *watch) { time.Sleep(minute); w.moving(ErrSlowClient) }, 1, ErrTimeout},
		"nothing, if all are negative":              {Timeouts{Response: -1, Idle: -1, Request: -1}, func(w *watch) { w.await(-1, errNoResponse); w.responseBegan() }, 0, nil},
		"nothing, if a timeout is lifted":           {Timeouts{Response: second, Idle: -1}, func(w *watch) { w.await(second, errNoResponse); w.responseBegan() }, 0, nil},
		"an interim response":                       {all, func(w *watch) { w.sendingInterim(true); w.await(second, errNoResponse) }, second, ErrSlowClient},
		"nothing, once stopped":                     {all, func(w *watch) { w.responseBegan(); w.stop(); w.moving(ErrSlowClient) }, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, ctx := newWatch(c.timeouts)
				defer w.stop()
				c.steps(w)
				if c.want == nil {
					time.Sleep(24 * time.Hour)
					synctest.Wait()
					if ctx.Err() != nil || w.expired() != nil {
						t.Errorf("ended for %v", w.expired())
					}
					return
				}
				if c.after > 1 {
					time.Sleep(c.after - 1)
					synctest.Wait()
					if w.expired() != nil {
						t.Fatalf("ended too early, for %v", w.expired())
					}
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if context.Cause(ctx) != c.want || w.expired() != c.want {
					t.Errorf("ended for %v, want %v", w.expired(), c.want)
				}
				w.moving(ErrSlowClient) // too late
				if w.expired() != c.want {
					t.Errorf("the cause became %v", w.expired())
				}
			})
		})
	}
}

// Reads from and writes to the client do not end with the context.
func TestTimeoutEndsReadsAndWritesOfTheClient(t *testing.T) {
	for name, c := range map[string]struct {
		steps       func(w *watch)
		read, write bool
	}{
		"nothing":            {func(w *watch) { w.await(time.Second, errNoResponse) }, false, false},
		"a read of the body": {func(w *watch) { w.uploading(true, time.Second, ErrSlowBody) }, true, false},
		"nothing, after the body": {func(w *watch) {
			w.uploading(true, time.Second, ErrSlowBody)
			w.uploading(false, time.Second, ErrUploadStalled)
		}, false, false},
		"a write of the response":             {func(w *watch) { w.responseBegan(); w.moving(ErrSlowClient) }, false, true},
		"the end of the response":             {func(w *watch) { w.responseBegan() }, false, true},
		"an interim response":                 {func(w *watch) { w.sendingInterim(true); w.await(time.Second, errNoResponse) }, false, true},
		"nothing, after the interim response": {func(w *watch) { w.sendingInterim(true); w.sendingInterim(false); w.await(time.Second, errNoResponse) }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := newWatch(Timeouts{Idle: time.Second})
				client := &deadlines{ResponseRecorder: httptest.NewRecorder()}
				w.client = http.NewResponseController(client)
				c.steps(w)
				time.Sleep(time.Minute)
				synctest.Wait()
				if client.read != c.read || client.write != c.write {
					t.Errorf("ended: read %v, write %v", client.read, client.write)
				}
				// The reader of the body may be sending 100 (Continue).
				if c.read && !client.due.Before(time.Now()) {
					t.Errorf("a write is bounded by %v", client.due)
				}
				if c.read && client.due.IsZero() {
					t.Error("a write has no bound")
				}
			})
		})
	}
}

// deadlines is a writer that notes deadlines in the past.
type deadlines struct {
	*httptest.ResponseRecorder
	read, write bool
	due         time.Time // the last write deadline
}

func (d *deadlines) SetReadDeadline(t time.Time) error { d.read = t.Before(time.Now()); return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.due, d.write = t, t.Before(time.Now())
	return nil
}

// A body of exactly the limit is not too large.
func TestBodyAtTheLimitIsRead(t *testing.T) {
	for n, fits := range map[int]bool{9: true, 10: true, 11: false, 1000: false} {
		x := &exchange{watch: &watch{}}
		b := &requestBody{ReadCloser: io.NopCloser(io.LimitReader(zeros{}, int64(n))), x: x, left: 10, limit: 10}
		got, err := io.ReadAll(b)
		if fits != (err == nil) || fits && len(got) != n || len(got) > 10 || fits == errors.Is(err, ErrBodyTooLarge) || b.unread() == fits {
			t.Errorf("%d bytes: %d, %v", n, len(got), err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
