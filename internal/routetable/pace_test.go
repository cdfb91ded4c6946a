package routetable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// fake is a table in memory. fail may answer a request in its place.
type fake struct {
	mu    sync.Mutex
	items map[string]origin.Item
	fail  func(action string, host string) error
	after func(action string, host string) error // like fail, but after the request was carried out
	calls map[string]int
}

func newFake(items ...origin.Item) *fake {
	f := &fake{items: map[string]origin.Item{}, calls: map[string]int{}}
	for _, i := range items {
		f.items[i.Host()] = i
	}
	return f
}

func (f *fake) begin(action, host string) error {
	f.mu.Lock()
	f.calls[action]++
	f.mu.Unlock()
	if f.fail != nil {
		return f.fail(action, host)
	}
	return nil
}

func (f *fake) end(action, host string) error {
	if f.after != nil {
		return f.after(action, host)
	}
	return nil
}

func (f *fake) String() string { return "fake" }

func (f *fake) Get(context.Context, string) (origin.Item, error) { panic("not asked for") }

func (f *fake) All(context.Context) iter.Seq2[origin.Item, error] { panic("not asked for") }

func (f *fake) needed(Change) (int, string) { return 0, "" }

func (f *fake) Allows(context.Context, Change) error { return nil }

func (f *fake) Write(ctx context.Context, c Change) error {
	if err := f.begin("write", c.Host()); err != nil {
		return err
	}
	f.mu.Lock()
	current := f.items[c.Host()]
	if (current == nil) != (c.Before == nil) || !current.Equal(c.Before) {
		f.mu.Unlock()
		if c.After != nil && current.Equal(c.After) {
			return nil
		}
		return &ConflictError{c, current}
	}
	if c.After == nil {
		delete(f.items, c.Host())
	} else {
		f.items[c.Host()] = c.After
	}
	f.mu.Unlock()
	if err := f.end("write", c.Host()); err != nil {
		return err
	}
	return ctx.Err() // a client that hangs up does not get the result
}

func (f *fake) readBatch(_ context.Context, hosts []string) (found []origin.Item, left []string, err error) {
	if err := f.begin("read", ""); err != nil {
		return nil, nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for n, host := range hosts {
		if f.fail != nil && n > 10 { // as if too many keys were requested
			return found, hosts[n:], nil
		}
		if i := f.items[host]; i != nil {
			found = append(found, i)
		}
	}
	return found, nil, nil
}

func (f *fake) readPage(_ context.Context, start any) ([]origin.Item, any, error) {
	if err := f.begin("scan", ""); err != nil {
		return nil, nil, err
	}
	n, _ := start.(int)
	if n == 3 {
		return []origin.Item{{"host": "3"}}, nil, nil
	}
	return []origin.Item{{"host": fmt.Sprint(n)}}, n + 1, nil
}

// coded is an error of DynamoDB with this code.
type coded string

func (c coded) Error() string        { return "api error " + string(c) }
func (c coded) ErrorCode() string    { return string(c) }
func (c coded) ErrorMessage() string { return "" }

func route(n int, more ...string) origin.Item {
	i := origin.Item{"host": fmt.Sprintf("h%d.example.com", n), "origin": "lb.example.net"}
	for k := 0; k+1 < len(more); k += 2 {
		i[more[k]] = more[k+1]
		if more[k] == origin.VersionAttribute {
			i[more[k]] = json.Number(more[k+1])
		}
	}
	return i
}

func sequence(items ...origin.Item) iter.Seq2[origin.Item, error] {
	return func(yield func(origin.Item, error) bool) {
		for _, i := range items {
			if !yield(i, nil) {
				return
			}
		}
	}
}

func routes(n int) (all []origin.Item) {
	for i := range n {
		all = append(all, route(i))
	}
	return all
}

// tally runs an import and counts the results.
func tally(ctx context.Context, im *Import, items iter.Seq2[origin.Item, error], remove ...origin.Item) (map[Result]int, error) {
	sum, seen := map[Result]int{}, map[string]bool{}
	im.Report = func(o Outcome) {
		if seen[o.Host] {
			panic(o.Host + " was reported twice")
		}
		seen[o.Host] = true
		sum[o.Result]++
	}
	err := im.Run(ctx, items, remove)
	return sum, err
}

func TestThrottledRequestsAreMadeAgainForAsLongAsItTakes(t *testing.T) {
	for _, err := range []error{
		&types.ProvisionedThroughputExceededException{}, &types.RequestLimitExceeded{}, &types.ThrottlingException{},
		&types.TransactionConflictException{}, coded("ThrottlingException"),
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			begin := time.Now()
			f.fail = func(action, host string) error {
				if time.Since(begin) < time.Hour {
					return &RequestError{Table: "t", Action: "PutItem", Kind: Throttled, Reason: "throttled", Err: err}
				}
				return nil
			}
			sum, got := tally(t.Context(), &Import{Table: f}, sequence(routes(250)...))
			if got != nil || sum[Created] != 250 || len(f.items) != 250 {
				t.Errorf("%v: %v, %v", err, sum, got)
			}
			// The pause is 5 s at most, in each of a few workers.
			if n := f.calls["read"]; n < 700 || n > 8000 {
				t.Errorf("%d requests in an hour", n)
			}
			if took := time.Since(begin) - time.Hour; took > 5*time.Minute {
				t.Errorf("it took %v more after the table had recovered", took)
			}
		})
	}
}

func TestThrottlingEndsWithCtrlC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		f := newFake()
		f.fail = func(action, host string) error {
			if action == "write" && len(f.items) >= 50 {
				return coded("ThrottlingException")
			}
			return nil
		}
		sum, err := tally(ctx, &Import{Table: f, Parallel: 1}, sequence(routes(250)...))
		if !errors.Is(err, ctx.Err()) || err == nil || sum[Created] != 50 || len(sum) != 1 {
			t.Errorf("%v, %v", sum, err)
		}
	})
}

// A run must count the routes that it wrote, and not count those whose outcome is unknown.
func TestInterruptionWaitsForWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := newFake()
		n := 0
		f.after = func(action, host string) error {
			f.mu.Lock()
			n++
			last := n == 30
			f.mu.Unlock()
			if last {
				cancel()
			}
			time.Sleep(time.Second)
			return nil
		}
		sum, err := tally(ctx, &Import{Table: f, Parallel: 16}, sequence(routes(500)...))
		if err != context.Canceled || sum[Created] != len(f.items) || sum[Created] < 30 || sum[Created] > 60 {
			t.Errorf("%v, %d written, %v", sum, len(f.items), err)
		}
		f.after = nil
		again, err := tally(t.Context(), &Import{Table: f}, sequence(routes(500)...))
		if err != nil || again[Unchanged] != sum[Created] || again[Created] != 500-sum[Created] {
			t.Errorf("first %v, then %v, %v", sum, again, err)
		}
		for host, i := range f.items {
			if !i.Equal(origin.Item{"host": host, "origin": "lb.example.net"}) {
				t.Errorf("%s: %v", host, i)
			}
		}
	})
}

func TestServerThatFailsIsGivenUpInTheEnd(t *testing.T) {
	down := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for _, c := range []struct {
		name   string
		first  int // requests that succeed
		err    error
		at, to time.Duration
	}{
		{"wrong endpoint", 0, down, 5 * time.Second, 11 * time.Second},
		{"outage", 3, down, 2 * time.Minute, 3 * time.Minute},
		{"denied", 3, coded("AccessDeniedException"), 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.fail = func(string, string) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				if n := f.calls["read"] + f.calls["write"]; n > c.first {
					return c.err
				}
				return nil
			}
			begin := time.Now()
			_, err := tally(t.Context(), &Import{Table: f, Parallel: 1}, sequence(routes(5)...))
			if took := time.Since(begin); !errors.Is(err, c.err) || took < c.at || took > c.to {
				t.Errorf("%s: %v after %v", c.name, err, took)
			}
		})
	}
}

// The response is lost, but not the write. The next attempt finds the item of the first.
func TestWriteWhoseAnswerIsLostCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(route(0, "note", "old", "version", "4"))
		lost := map[string]bool{}
		f.after = func(action, host string) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if !lost[host] {
				lost[host] = true
				return context.DeadlineExceeded
			}
			return nil
		}
		sum, err := tally(t.Context(), &Import{Table: f}, sequence(routes(20)...))
		if err != nil || sum[Created] != 19 || sum[Updated] != 1 {
			t.Errorf("%v, %v", sum, err)
		}
		for host, i := range f.items {
			if want := map[bool]int64{true: 5}[host == "h0.example.com"]; Version(i) != want {
				t.Errorf("%s: %v", host, i)
			}
		}
	})
}

func TestScanGoesOnWhereItWasThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		n := 0
		f.fail = func(string, string) error {
			if n++; n%2 == 0 {
				return coded("ThrottlingException")
			}
			return nil
		}
		got := ""
		for item, err := range newRetrying(f).All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got += item.Host()
		}
		if got != "0123" {
			t.Error(got)
		}
	})
}

// A tool that writes the same route forever must not block the import.
func TestRouteThatOthersChangeAllTheTimeIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, writes := newFake(), 0
		f.fail = func(action, host string) error {
			if action != "write" || host != route(0).Host() {
				return nil
			}
			writes++
			return &ConflictError{Current: route(0, "note", fmt.Sprint(writes))}
		}
		sum, err := tally(t.Context(), &Import{Table: f, Parallel: 1}, sequence(route(0), route(1)))
		if err != nil || sum[NotWritten] != 1 || sum[Created] != 1 || writes != maxLooks {
			t.Errorf("%v, %v after %d writes", sum, err, writes)
		}
	})
}

// A dry run has no write that would show it.
func TestKeysLeftUnprocessedAreReadInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(routes(100)...)
		f.fail = func(string, string) error { return nil }
		sum, err := tally(t.Context(), &Import{Table: f, DryRun: true}, sequence(routes(100)...))
		if err != nil || sum[Unchanged] != 100 || f.calls["read"] < 5 {
			t.Errorf("%v, %v, %v", sum, err, f.calls)
		}
	})
}

func TestRequestsThatAreThrottledTogetherSlowDownOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		began := time.Now()
		time.Sleep(time.Millisecond)
		for range 32 {
			p.slower(began)
		}
		if p.pause != firstPause {
			t.Errorf("a pause of %v", p.pause)
		}
	})
}

// The time without requests, and the time of throttling, are not part of an outage.
func TestOutageBeginsWithTheFailure(t *testing.T) {
	reset := &net.OpError{Op: "read", Err: errors.New("reset")}
	throttled := func(n int) []error { return slices.Repeat([]error{coded("ThrottlingException")}, n) }
	for name, c := range map[string]struct {
		idle     time.Duration
		noneYet  bool // there was no response before
		failures []error
	}{
		"not asked, as while a pager is read": {idle: time.Hour, failures: []error{reset}},
		"throttled":                           {failures: append(throttled(100), reset)},
		"throttled after another failure":     {failures: slices.Concat([]error{reset}, throttled(100), []error{reset})},
		"throttled, and never answered":       {noneYet: true, failures: append(throttled(10), reset)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := new(pace)
				if err := p.do(t.Context(), func(context.Context) error { return nil }); err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.idle)
				p.ever = !c.noneYet
				err := p.do(t.Context(), func(context.Context) (err error) {
					if len(c.failures) > 0 {
						err, c.failures = c.failures[0], c.failures[1:]
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A write whose responses all break off may have been carried out, so it is neither written nor failed.
func TestImportCountsWhatIsNotKnown(t *testing.T) {
	for _, remove := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(route(1))
			f.fail = func(action, host string) error {
				if action != "write" || host != "h1.example.com" {
					return nil
				}
				return cutOff("PutItem")
			}
			im, items, gone := &Import{Table: f, Parallel: 1}, sequence(route(1, "note", "n")), []origin.Item(nil)
			if remove {
				items, gone = sequence(), []origin.Item{route(1)}
			}
			begin := time.Now()
			sum, err := tally(t.Context(), im, items, gone...)
			if sum[NotKnown] != 1 || len(sum) != 1 || err == nil {
				t.Errorf("removing %v: %v, %v", remove, sum, err)
			}
			if request, ok := errors.AsType[*RequestError](err); !ok || !request.Unknown || f.calls["write"] < 5 || time.Since(begin) < maxOutageAfter {
				t.Errorf("%v, after %d writes in %v", err, f.calls["write"], time.Since(begin))
			}
		})
	}
}
