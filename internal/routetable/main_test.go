package routetable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func item(t *testing.T, document string) origin.Item {
	t.Helper()
	var i origin.Item
	if err := json.Unmarshal([]byte(document), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

func write(t *testing.T, table routetable.Table, before, after origin.Item) {
	t.Helper()
	if err := table.Write(t.Context(), routetable.Change{Before: before, After: after}); err != nil {
		t.Fatal(err)
	}
}

func wantItem(t *testing.T, table routetable.Table, host string, want origin.Item) {
	t.Helper()
	got, err := table.Get(t.Context(), host)
	if want == nil {
		if !errors.Is(err, routetable.ErrNotFound) {
			t.Errorf("%s: %v, %v; want none", host, got, err)
		}
		return
	}
	if err != nil || !got.Equal(want) {
		t.Errorf("%s: %v, %v; want %v", host, got, err, want)
	}
}

// testTable tests what holds for every table. The table must be empty.
func testTable(t *testing.T, table routetable.Table) {
	t.Run("writes and reads what it was given", func(t *testing.T) {
		first := item(t, `{"host":"a.test","origin":["b.test","c.test"],"spki_pins":["x","y"],"version":1,"misspelt":{"deep":[null,true,"",0.5]}}`)
		second := item(t, `{"host":"a.test","origin":"d.test"}`)
		wantItem(t, table, "a.test", nil)
		write(t, table, nil, first)
		wantItem(t, table, "a.test", first)
		write(t, table, first, second)
		wantItem(t, table, "a.test", second)
		n := 0
		for i, err := range table.All(t.Context()) {
			if n++; err != nil || !i.Equal(second) {
				t.Errorf("%v, %v", i, err)
			}
		}
		write(t, table, second, nil)
		wantItem(t, table, "a.test", nil)
		if n != 1 {
			t.Errorf("%d items", n)
		}
	})

	t.Run("writes nothing over what somebody else wrote", func(t *testing.T) {
		seen := item(t, `{"host":"a.test","origin":"a","version":1}`)
		for name, current := range map[string]string{
			"another value":         `{"host":"a.test","origin":"b","version":1}`, // by hand, without counting up
			"another version":       `{"host":"a.test","origin":"a","version":2}`,
			"an attribute more":     `{"host":"a.test","origin":"a","version":1,"note":"n"}`,
			"an attribute less":     `{"host":"a.test","origin":"a"}`,
			"another type":          `{"host":"a.test","origin":["a"],"version":1}`,
			"of another type again": `{"host":"a.test","origin":"a","version":"1"}`,
		} {
			now := item(t, current)
			write(t, table, nil, now)
			for _, after := range []origin.Item{item(t, `{"host":"a.test","origin":"mine"}`), nil} {
				err := table.Write(t.Context(), routetable.Change{Before: seen, After: after})
				conflict, ok := errors.AsType[*routetable.ConflictError](err)
				if !ok || !conflict.Current.Equal(now) {
					t.Errorf("%s: %v", name, err)
				}
				wantItem(t, table, "a.test", now)
			}
			err := table.Write(t.Context(), routetable.Change{After: seen})
			if conflict, ok := errors.AsType[*routetable.ConflictError](err); !ok || !conflict.Current.Equal(now) {
				t.Errorf("%s, of one that is new: %v", name, err)
			}
			write(t, table, now, nil)
		}
		err := table.Write(t.Context(), routetable.Change{Before: seen, After: seen})
		if conflict, ok := errors.AsType[*routetable.ConflictError](err); !ok || conflict.Current != nil {
			t.Errorf("of one that was removed: %v", err)
		}
		wantItem(t, table, "a.test", nil)
	})

	t.Run("loses no update of 8 writers", func(t *testing.T) {
		const writers, each = 8, 4
		write(t, table, nil, item(t, `{"host":"a.test","origin":"b.test"}`))
		var all sync.WaitGroup
		for n := range writers {
			all.Go(func() {
				for range each {
					for {
						before, err := table.Get(t.Context(), "a.test")
						if err != nil {
							t.Error(err)
							return
						}
						after := item(t, string(must(before.MarshalJSON())))
						name := fmt.Sprintf("of%d", n)
						count, _ := after[name].(json.Number)
						v, _ := count.Int64()
						after[name] = json.Number(fmt.Sprint(v + 1))
						after = routetable.Stamp(before, after, "", time.Now())
						err = table.Write(t.Context(), routetable.Change{Before: before, After: after})
						if err == nil {
							break
						}
						if _, ok := errors.AsType[*routetable.ConflictError](err); !ok {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		all.Wait()
		got, err := table.Get(t.Context(), "a.test")
		for n := range writers {
			if name := fmt.Sprintf("of%d", n); err != nil || got[name] != json.Number(fmt.Sprint(each)) {
				t.Errorf("%s: %v, %v", name, got[name], err)
			}
		}
		write(t, table, got, nil)
	})

	t.Run("writes nothing once interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := table.Write(ctx, routetable.Change{After: item(t, `{"host":"a.test"}`)}); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		for _, err := range table.All(ctx) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		}
		wantItem(t, table, "a.test", nil)
	})
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func wantSaid(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v\nlacks %q", err, part)
		}
	}
}
