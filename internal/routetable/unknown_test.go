package routetable

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// cutOff is the error of a write whose response breaks off.
func cutOff(action string) error {
	return (&DynamoDB{Client: dynamodb.New(dynamodb.Options{Region: "x"}), Table: "t"}).failure(action, &responseError{cause: errTruncated, status: 200, why: "unexpected EOF"})
}

// An interruption during the pause before a retry must not count the route as left, since the first attempt may have written it.
func TestInterruptedImportDoesNotCountWhatItWroteAsLeft(t *testing.T) {
	for _, remove := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			f, items, gone := newFake(), sequence(routes(60)...), []origin.Item(nil)
			if remove {
				f, items, gone = newFake(routes(60)...), sequence(), routes(60)
			}
			n, lost := 0, map[string]bool{}
			f.after = func(action, host string) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				if n++; n <= 19 {
					return nil
				}
				lost[host] = true
				return cutOff("PutItem")
			}
			f.fail = func(action, host string) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				if lost[host] {
					return cutOff("PutItem")
				}
				return nil
			}
			time.AfterFunc(4*time.Second, cancel)
			sum, err := tally(ctx, &Import{Table: f}, items, gone...)
			written := len(f.items)
			if remove {
				written = 60 - written
			}
			if err != context.Canceled || written < 20 || sum[Created]+sum[Removed] != 19 || sum[NotKnown] != written-19 {
				t.Errorf("removing %v: %v of %d written, %v", remove, sum, written, err)
			}
		})
	}
}

// The error of a later attempt says nothing about an earlier one that may have been carried out.
func TestWriteThatMayHaveBeenMadeStaysUnknownWhateverItsLastAttemptFailsWith(t *testing.T) {
	denied := &RequestError{Table: "t", Action: "PutItem", Kind: Denied, Reason: "not allowed", Err: coded("AccessDeniedException")}
	throttled := &RequestError{Table: "t", Action: "PutItem", Kind: Throttled, Reason: "throttled", Err: coded("ThrottlingException")}
	for name, c := range map[string]struct {
		then    error
		unknown bool
		says    string
	}{
		"denied":                  {denied, true, "not allowed; an earlier attempt may have been carried out; whether it was written is not known"},
		"throttled till the end":  {throttled, true, "the answer is cut off"},
		"refused":                 {&RequestError{Table: "t", Action: "PutItem", Kind: Refused, Reason: "too large"}, false, "too large"},
		"changed by others since": {&ConflictError{Change{nil, route(0)}, route(0, "note", "theirs")}, false, "meanwhile"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				f, n := newFake(), 0
				f.fail = func(string, string) error {
					if n++; n == 1 {
						return cutOff("PutItem")
					}
					return c.then
				}
				err := newRetrying(f).Write(ctx, Change{nil, route(0)})
				request, ok := errors.AsType[*RequestError](err)
				if unknown := ok && request.Unknown; unknown != c.unknown || n < 2 {
					t.Errorf("%v, unknown %v after %d attempts", err, unknown, n)
				}
				if !strings.Contains(fmt.Sprint(err), c.says) || c.then == throttled && !errors.Is(err, ctx.Err()) {
					t.Errorf("%v, want %q", err, c.says)
				}
			})
		})
	}
}
