package lambdatest

import (
	"context"
	"testing"

	"github.com/sleightproxy/sleight/internal/runtimeapi"
)

// Stream sends an event, and returns the reply as soon as it has begun. Its body comes as
// the function sends it, and has to be closed. ctx is for all of it, its deadline told to
// the function.
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
