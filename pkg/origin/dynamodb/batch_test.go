package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// fakeTable answers BatchGetItem as DynamoDB does, and keeps the requested keys.
type fakeTable struct {
	items       map[string]string              // origins by host
	hold        chan struct{}                  // calls wait until it is closed, unless it is nil
	unprocessed func(n int, keys []string) int // the number of last keys that call n leaves unprocessed; nil means 0
	err         error

	mu    sync.Mutex
	calls [][]string // the keys of each
	open  int
	most  int // at a time
}

func (f *fakeTable) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	var keys []string
	for _, key := range in.RequestItems["t"].Keys {
		keys = append(keys, key["host"].(*types.AttributeValueMemberS).Value)
	}
	if unique := slices.Compact(slices.Sorted(slices.Values(keys))); len(unique) != len(keys) || len(keys) > 100 {
		return nil, fmt.Errorf("ValidationException: %d keys, %d of them unique", len(keys), len(unique))
	}
	f.mu.Lock()
	f.calls = append(f.calls, keys)
	n := len(f.calls)
	f.open++
	f.most = max(f.most, f.open)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.open--
	}()
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	out := &dynamodb.BatchGetItemOutput{Responses: map[string][]map[string]types.AttributeValue{}}
	if f.unprocessed != nil {
		left := len(keys) - f.unprocessed(n, keys)
		if left < len(keys) {
			out.UnprocessedKeys = map[string]types.KeysAndAttributes{"t": {Keys: in.RequestItems["t"].Keys[left:]}}
		}
		keys = keys[:left]
	}
	if len(keys) > 0 {
		out.Responses["t"] = []map[string]types.AttributeValue{}
	}
	for _, key := range keys {
		if origin, ok := f.items[key]; ok {
			out.Responses["t"] = append(out.Responses["t"], map[string]types.AttributeValue{"host": s(key), "origin": s(origin)})
		}
	}
	return out, nil
}

func (f *fakeTable) asked() [][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// lookups looks up all hosts at the same time, and returns the results.
func lookups(ctx context.Context, store origin.Store, hosts ...string) func() map[string]string {
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := map[string]string{}
	for _, host := range hosts {
		wg.Go(func() {
			r, err := store.Lookup(ctx, host)
			mu.Lock()
			defer mu.Unlock()
			if got[host] = ""; err == nil {
				got[host] = r.Addresses[0]
			} else if !errors.Is(err, origin.ErrNotFound) {
				got[host] = err.Error()
			}
		})
	}
	synctest.Wait()
	return func() map[string]string { wg.Wait(); return got }
}

func numbered(format string, n int) (hosts []string) {
	for i := range n {
		hosts = append(hosts, fmt.Sprintf(format, i))
	}
	return hosts
}

// idle fails the test if the store has lookups or calls.
func idle(t *testing.T, d *Store) {
	t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.calls != 0 || len(d.waiting) != 0 {
		t.Errorf("%d calls are under way, %d look-ups wait", d.calls, len(d.waiting))
	}
}

// busy returns a store with all its calls under way, and a function that releases them.
func busy(t *testing.T, f *fakeTable) (*Store, func()) {
	t.Helper()
	f.hold = make(chan struct{})
	d := &Store{Client: f, Table: "t"}
	first := lookups(t.Context(), d, numbered("busy%d.test", maxCalls)...)
	if n := len(f.asked()); n != maxCalls {
		t.Fatalf("%d calls, want %d", n, maxCalls)
	}
	return d, func() { close(f.hold); first() }
}

func TestLookupsThatWaitShareTheNextCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTable{items: map[string]string{"*.x.test": "wild.lb"}}
		want := map[string]string{}
		for i, host := range numbered("h%d.x.test", 120) {
			if want[host] = "wild.lb"; i%3 == 0 {
				want[host] = host + ".lb"
				f.items[host] = host + ".lb"
			}
		}
		want["h0.y.test"] = ""
		d, release := busy(t, f)
		got := lookups(t.Context(), d, slices.Collect(maps.Keys(want))...)
		if n := len(f.asked()); n != maxCalls {
			t.Errorf("%d calls under way", n)
		}
		release()
		if got := got(); !maps.Equal(got, want) {
			t.Errorf("%v", got)
		}
		idle(t, d)
		if n := len(f.asked()); n != maxCalls+3 || f.most != maxCalls {
			t.Errorf("%d calls for %d hosts, %d at a time", n, len(want), f.most)
		}
	})
}

func TestLookupDoesNotWaitForOthersToJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTable{items: map[string]string{"a.test": "a.lb"}}
		d := &Store{Client: f, Table: "t"}
		start := time.Now()
		for range 3 {
			if r, err := d.Lookup(t.Context(), "a.test"); err != nil || r.Addresses[0] != "a.lb" {
				t.Error(r, err)
			}
		}
		if n := len(f.asked()); n != 3 || time.Since(start) != 0 {
			t.Errorf("%d calls, %v", n, time.Since(start))
		}
	})
}

func TestOneWhoLeavesASharedCallDoesNotFailTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTable{items: map[string]string{"a.test": "a.lb", "b.test": "b.lb"}}
		d, release := busy(t, f)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		impatient := lookups(ctx, d, "a.test")
		patient := lookups(t.Context(), d, "b.test")
		ends, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		timely := lookups(ends, d, "c.test")
		// The shared call hangs as well.
		hold := f.hold
		f.hold = make(chan struct{})
		close(hold)
		synctest.Wait()
		if asked := f.asked(); len(asked) != maxCalls+1 || len(asked[maxCalls]) != 3 {
			t.Fatalf("%q", asked)
		}
		leave()
		synctest.Wait()
		if got := impatient()["a.test"]; !strings.Contains(got, "context canceled") {
			t.Error(got)
		}
		if got := timely()["c.test"]; !strings.Contains(got, "deadline exceeded") {
			t.Error(got)
		}
		release()
		if got := patient()["b.test"]; got != "b.lb" {
			t.Error(got)
		}
	})
}

// A lookup whose caller has left is answered too, and must not be counted twice.
func TestSharedCallEndsWithItsLastWhoeverLeftBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTable{unprocessed: func(_ int, keys []string) int {
			if keys[len(keys)-1] == "b.test" {
				return 1
			}
			return 0
		}}
		d, release := busy(t, f)
		var leave [2]context.CancelFunc
		var gone [2]func() map[string]string
		for i, host := range []string{"a.test", "b.test"} {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			leave[i], gone[i] = cancel, lookups(ctx, d, host)
		}
		hold := f.hold
		f.hold = make(chan struct{})
		close(hold)
		synctest.Wait()
		leave[0]()
		gone[0]()
		release() // a.test is answered, and the call waits for b.test
		synctest.Wait()
		leave[1]()
		gone[1]()
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.calls != 0 {
			t.Errorf("%d calls are under way, and nobody waits", d.calls)
		}
	})
}

func TestNothingRunsOnWhenNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTable{}
		f.hold = make(chan struct{})
		d := &Store{Client: f, Table: "t"}
		ctx, leave := context.WithCancel(t.Context())
		got := lookups(ctx, d, numbered("h%d.test", 100)...)
		leave()
		got()
		// There is nothing to wait for: a lookup that returned has ended.
		f.mu.Lock()
		open := f.open
		f.mu.Unlock()
		if n := len(f.asked()); n != maxCalls || open != 0 {
			t.Errorf("%d calls, %d under way", n, open)
		}
		idle(t, d)
		close(f.hold)
		if _, err := d.Lookup(t.Context(), "a.test"); !errors.Is(err, origin.ErrNotFound) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestUnprocessedKeysFailTheirOwnHostsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTable{items: map[string]string{"a.x.test": "a.lb", "*.x.test": "wild.lb", "b.y.test": "b.lb", "*.y.test": "wild.lb"}}
		f.unprocessed = func(_ int, keys []string) int {
			if i := slices.Index(keys, "b.y.test"); i >= 0 {
				return len(keys) - i // and *.y.test after it
			}
			return 0
		}
		d, release := busy(t, f)
		start := time.Now()
		var at time.Duration
		readable := make(chan string, 1)
		go func() {
			r, err := d.Lookup(t.Context(), "a.x.test")
			at = time.Since(start)
			readable <- fmt.Sprint(r.Addresses, err)
		}()
		synctest.Wait()
		throttled := lookups(t.Context(), d, "b.y.test")
		release()
		if got := <-readable; got != "[a.lb] <nil>" || at != 0 {
			t.Errorf("%s after %v", got, at)
		}
		// Not the wildcard, since the host's own item was not read.
		if got := throttled()["b.y.test"]; !strings.Contains(got, "unprocessed") {
			t.Error(got)
		}
		if asked := f.asked()[maxCalls:]; len(asked) != maxReads || len(asked[0]) != 4 || len(asked[1]) != 2 || len(asked[2]) != 2 {
			t.Errorf("%q", asked)
		}
	})
}

// Otherwise the host would certainly have no route.
func TestWildcardThatIsLeftUnprocessedIsReadBeforeItsHostHasNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTable{items: map[string]string{"*.y.test": "wild.lb"}}
		f.unprocessed = func(_ int, keys []string) int { return len(keys) - 1 } // the wildcard at first
		d := &Store{Client: f, Table: "t"}
		if r, err := d.Lookup(t.Context(), "b.y.test"); err != nil || r.Host != "*.y.test" {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestSharedCallHasUntilTheLastGivesUp(t *testing.T) {
	soon, cancelSoon := context.WithTimeout(t.Context(), time.Hour)
	defer cancelSoon()
	late, cancelLate := context.WithTimeout(t.Context(), 2*time.Hour)
	defer cancelLate()
	want, _ := late.Deadline()
	for _, questions := range [][]*lookup{{{ctx: soon}, {ctx: late}}, {{ctx: late}, {ctx: soon}}} {
		if end, ok := lastDeadline(questions); !ok || !end.Equal(want) {
			t.Errorf("%v, %v; want %v", end, ok, want)
		}
	}
	if end, ok := lastDeadline([]*lookup{{ctx: soon}, {ctx: t.Context()}}); ok {
		t.Errorf("%v, although one has no end", end)
	}
}

func TestFailedCallFailsAllOfItAndNoMore(t *testing.T) {
	for _, fail := range []func(f *fakeTable) func(){
		func(f *fakeTable) func() { f.err = errDown; return func() { f.err = nil } },
		func(f *fakeTable) func() {
			f.unprocessed = func(int, []string) int { panic("boom") }
			return func() { f.unprocessed = nil }
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeTable{}
			mend := fail(f)
			d, release := busy(t, f)
			got := lookups(t.Context(), d, numbered("h%d.test", 10)...)
			release()
			for host, got := range got() {
				if !strings.Contains(got, `dynamodb: table "t": `) || !strings.Contains(got, "down") && !strings.Contains(got, "boom") {
					t.Errorf("%s: %s", host, got)
				}
			}
			synctest.Wait()
			mend()
			if _, err := d.Lookup(t.Context(), "a.test"); !errors.Is(err, origin.ErrNotFound) {
				t.Errorf("afterwards: %v", err)
			}
			idle(t, d)
		})
	}
}

func TestScanOfRandomNamesCostsFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTable{items: map[string]string{"a.test": "a.lb"}}
		d, release := busy(t, f)
		c := newCache(d)
		c.MaxHosts = 10
		known := lookups(t.Context(), c, "a.test")
		scan := lookups(t.Context(), c, numbered("h%d.scan.test", 1000)...)
		release()
		if got := known()["a.test"]; got != "a.lb" {
			t.Error(got)
		}
		for host, got := range scan() {
			if got != "" {
				t.Errorf("%s: %s", host, got)
			}
		}
		calls := len(f.asked())
		if calls > maxCalls+1001/maxLookups+1 || f.most > maxCalls {
			t.Errorf("%d calls, %d at a time", calls, f.most)
		}
		if got := lookups(t.Context(), c, "a.test")()["a.test"]; got != "a.lb" || len(f.asked()) != calls {
			t.Error("the scan displaced a route")
		}
	})
}
