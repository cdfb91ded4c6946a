package lambdatest

import (
	"context"
	"testing"

	"github.com/sleightproxy/sleight/internal/runtimeapi"
)

// Stream sends an event, and returns the reply when it has begun. The body arrives as the function sends it. The caller must close it.
// ctx is for the whole reply. The function gets its deadline.
func (f *Function) Stream(ctx context.Context, t testing.TB, event []byte) *runtimeapi.Reply {
	t.Helper()
	e := runtimeapi.Event{Payload: event}
	e.Deadline, _ = ctx.Deadline()
	r, err := f.process.Invoke(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
