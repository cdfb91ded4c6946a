package routetable_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

// Proxies that do not know an attribute answer its host with 500. So it is written only after an operator has said that they
// all know it.
func TestAttributeOfANewVersionWaitsForTheLevelOfTheTable(t *testing.T) {
	t.Parallel()
	db := dynamodbtest.Start(t)
	newTable := func(t *testing.T) *routetable.DynamoDB {
		table := &routetable.DynamoDB{Client: db.Client, Table: db.CreateRoutesTable(t)}
		table.SetLevels(map[string]int{"note": 1, "tls_min": 2})
		return table
	}
	setLevel := func(t *testing.T, table *routetable.DynamoDB, level int) {
		t.Helper()
		if _, err := table.SetLevel(t.Context(), level, "ann", time.Now(), false); err != nil {
			t.Fatal(err)
		}
	}
	wantLevel := func(t *testing.T, table *routetable.DynamoDB, want int) {
		t.Helper()
		if got, err := table.Level(t.Context()); err != nil || got != want {
			t.Errorf("level %d, %v; want %d", got, err, want)
		}
	}
	wantRefused := func(t *testing.T, err error, want routetable.LevelError) {
		t.Helper()
		got, ok := errors.AsType[*routetable.LevelError](err)
		if !ok || *got != want {
			t.Errorf("%v, want %+v", err, want)
		}
	}
	plain, noted := item(t, `{"host":"a.test","origin":"b.test"}`), item(t, `{"host":"a.test","origin":"b.test","note":"n"}`)
	strict := item(t, `{"host":"a.test","origin":"b.test","note":"n","tls_min":"1.3"}`)

	t.Run("each write is refused before", func(t *testing.T) {
		table := newTable(t)
		write(t, table, nil, plain)
		for name, do := range map[string]func(routetable.Change) error{
			"Write":               func(c routetable.Change) error { return table.Write(t.Context(), c) },
			"Allows":              func(c routetable.Change) error { return table.Allows(t.Context(), c) },
			"Allows of long work": func(c routetable.Change) error { return routetable.Retrying(table).Allows(t.Context(), c) },
			"Write of long work":  func(c routetable.Change) error { return routetable.Retrying(table).Write(t.Context(), c) },
		} {
			t.Log(name)
			wantRefused(t, do(routetable.Change{Before: plain, After: noted}), routetable.LevelError{Table: table.String(), Host: "a.test", Attribute: "note", Needed: 1})
			wantRefused(t, do(routetable.Change{Before: plain, After: strict}), routetable.LevelError{Table: table.String(), Host: "a.test", Attribute: "tls_min", Needed: 2})
		}
		wantItem(t, table, "a.test", plain)
		setLevel(t, table, 1)
		write(t, table, plain, noted)
		wantRefused(t, table.Write(t.Context(), routetable.Change{Before: noted, After: strict}), routetable.LevelError{Table: table.String(), Host: "a.test", Attribute: "tls_min", Needed: 2, Level: 1})
		setLevel(t, table, 2)
		write(t, table, noted, strict)
		wantItem(t, table, "a.test", strict)
	})

	t.Run("what proxies have met already can be edited and removed", func(t *testing.T) {
		table := newTable(t)
		db.Put(t, table.Table, dynamodb.Values(noted)) // by hand
		other := item(t, `{"host":"a.test","origin":"c.test","note":"m"}`)
		write(t, table, noted, other)
		write(t, table, other, nil)
		wantLevel(t, table, 0)
	})

	t.Run("the level is no route", func(t *testing.T) {
		table := newTable(t)
		setLevel(t, table, 2)
		write(t, table, nil, strict)
		wantItem(t, table, routetable.LevelKey, nil)
		for _, each := range []routetable.Table{table, routetable.Retrying(table)} {
			n := 0
			for i, err := range each.All(t.Context()) {
				if n++; err != nil || !i.Equal(strict) {
					t.Errorf("%v, %v", i, err)
				}
			}
			if others, all, err := routetable.Others(t.Context(), each, nil); n != 1 || len(others) != 1 || all != 1 || err != nil {
				t.Errorf("%d routes, %v of %d for --prune, %v", n, others, all, err)
			}
		}
		for _, asIs := range []bool{false, true} {
			checked, err := routetable.Check(t.Context(), strings.NewReader(`{"routes":[{"host":"#level","level":9}]}`), asIs)
			if err != nil || checked.Count != 1 {
				t.Errorf("as is %v: %+v, %v", asIs, checked, err)
			}
		}
		wantLevel(t, table, 2)
	})

	t.Run("it is lowered only if no route needs it", func(t *testing.T) {
		table := newTable(t)
		setLevel(t, table, 2)
		for n := range 3 {
			write(t, table, nil, item(t, fmt.Sprintf(`{"host":"%d.test","origin":"b.test","note":"n"}`, n)))
		}
		setLevel(t, table, 1)
		before, err := table.SetLevel(t.Context(), 0, "", time.Now(), false)
		used, ok := errors.AsType[*routetable.LevelInUseError](err)
		if !ok || before != 1 || used.Routes != 3 || used.Attribute != "note" || !strings.HasSuffix(used.Host, ".test") {
			t.Errorf("%d, %v", before, err)
		}
		wantSaid(t, err, "3 routes", `--unset note`, "The level stays as it was")
		wantLevel(t, table, 1)
		for n := range 3 {
			host := fmt.Sprintf("%d.test", n)
			write(t, table, item(t, fmt.Sprintf(`{"host":%q,"origin":"b.test","note":"n"}`, host)), nil)
		}
		setLevel(t, table, 0)
		wantRefused(t, table.Write(t.Context(), routetable.Change{After: noted}), routetable.LevelError{Table: table.String(), Host: "a.test", Attribute: "note", Needed: 1})
	})

	t.Run("it is not lowered if a route has an attribute of a later version", func(t *testing.T) {
		table := newTable(t)
		setLevel(t, table, 2)
		db.Put(t, table.Table, map[string]types.AttributeValue{
			"host": &types.AttributeValueMemberS{Value: "new.test"}, "origin": &types.AttributeValueMemberS{Value: "b.test"}, "shiny": &types.AttributeValueMemberBOOL{Value: true},
		})
		_, err := table.SetLevel(t.Context(), 1, "", time.Now(), false)
		if used, ok := errors.AsType[*routetable.LevelInUseError](err); !ok || used.Host != "new.test" || used.Attribute != "shiny" {
			t.Errorf("%v", err)
		}
		wantLevel(t, table, 2)
	})

	t.Run("it is set back if a route comes to need it meanwhile", func(t *testing.T) {
		table := newTable(t)
		setLevel(t, table, 1)
		other := newTable(t)
		other.Table = table.Table
		late := sync.OnceFunc(func() { write(t, other, nil, noted) })
		table.Client = client(db.Relay(t, func(action string) {
			if action == "PutItem" {
				late()
			}
		}, nil))
		before, err := table.SetLevel(t.Context(), 0, "ann", time.Now(), false)
		if used, ok := errors.AsType[*routetable.LevelInUseError](err); !ok || before != 1 || used.Routes != 1 || used.Host != "a.test" {
			t.Errorf("%d, %v", before, err)
		}
		wantLevel(t, table, 1)
	})

	t.Run("a dry run and the same level write nothing", func(t *testing.T) {
		var writes atomic.Int64
		table := newTable(t)
		table.Client = client(db.Relay(t, func(action string) {
			if action == "PutItem" {
				writes.Add(1)
			}
		}, nil))
		if before, err := table.SetLevel(t.Context(), 2, "", time.Now(), true); before != 0 || err != nil {
			t.Errorf("%d, %v", before, err)
		}
		wantLevel(t, table, 0)
		setLevel(t, table, 2)
		setLevel(t, table, 2)
		if writes.Load() != 1 {
			t.Errorf("%d writes", writes.Load())
		}
	})

	t.Run("of two who set it, one is told", func(t *testing.T) {
		var once atomic.Bool
		table := newTable(t)
		theirs := &routetable.DynamoDB{Client: db.Client, Table: table.Table}
		table.Client = client(db.Relay(t, func(action string) {
			if action == "PutItem" && once.CompareAndSwap(false, true) {
				if _, err := theirs.SetLevel(context.Background(), 1, "eve", time.Now(), false); err != nil {
					t.Error(err)
				}
			}
		}, nil))
		_, err := table.SetLevel(t.Context(), 2, "ann", time.Now(), false)
		if _, ok := errors.AsType[*routetable.ConflictError](err); !ok {
			t.Errorf("%v", err)
		}
		wantSaid(t, err, "the level was created meanwhile", `"eve"`)
		wantLevel(t, table, 1)
	})

	t.Run("it is read once, and only if it is needed", func(t *testing.T) {
		var reads atomic.Int64
		table := newTable(t)
		setLevel(t, table, 1)
		table = &routetable.DynamoDB{Client: client(db.Relay(t, func(action string) {
			if action == "GetItem" {
				reads.Add(1)
			}
		}, nil)), Table: table.Table}
		table.SetLevels(map[string]int{"note": 1})
		write(t, table, nil, plain)
		if reads.Load() != 0 {
			t.Errorf("%d reads for a route without new attributes", reads.Load())
		}
		write(t, table, plain, noted)
		for n := range 5 {
			write(t, table, nil, item(t, fmt.Sprintf(`{"host":"%d.test","origin":"b.test","note":"n"}`, n)))
		}
		if reads.Load() != 1 {
			t.Errorf("%d reads for 6 routes", reads.Load())
		}
	})

	t.Run("a user who may only read batches can import", func(t *testing.T) {
		table := newTable(t)
		setLevel(t, table, 1)
		table.Client = client(db.Altered(t, func(action string, answer *httptest.ResponseRecorder) {
			if action == "GetItem" {
				answer.Code = 400
				answer.Body.Reset()
				answer.Body.WriteString(`{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"no"}`)
			}
		}))
		write(t, table, nil, noted)
		fresh := newTable(t)
		fresh.Client = table.Client
		wantRefused(t, fresh.Write(t.Context(), routetable.Change{After: noted}), routetable.LevelError{Table: fresh.String(), Host: "a.test", Attribute: "note", Needed: 1})
	})

	t.Run("what is no level is said and refused", func(t *testing.T) {
		for name, value := range map[string]types.AttributeValue{
			"a text": &types.AttributeValueMemberS{Value: "1"}, "a fraction": &types.AttributeValueMemberN{Value: "1.5"},
			"below zero": &types.AttributeValueMemberN{Value: "-1"}, "huge": &types.AttributeValueMemberN{Value: "1E+30"}, "none": nil,
		} {
			table := newTable(t)
			stored := map[string]types.AttributeValue{"host": &types.AttributeValueMemberS{Value: routetable.LevelKey}}
			if value != nil {
				stored["level"] = value
			}
			db.Put(t, table.Table, stored)
			t.Log(name)
			wantSaid(t, table.Write(t.Context(), routetable.Change{After: noted}), `item "#level"`, "whole number")
			_, err := table.SetLevel(t.Context(), 1, "", time.Now(), false)
			wantSaid(t, err, `item "#level"`, "whole number")
		}
	})
}

func TestDocumentSaysWhichAttributesItNeeds(t *testing.T) {
	t.Parallel()
	checked, err := routetable.Check(t.Context(), strings.NewReader(`{"routes":[{"host":"a.test","origin":"b.test"},{"host":"c.test","origin":"d.test","note":"n","tls_min":"1.3"}]}`), false)
	if err != nil {
		t.Fatal(err)
	}
	if want := (origin.Item{"origin": true, "note": true, "tls_min": true}); !checked.Attributes.Equal(want) {
		t.Errorf("%v, want %v", checked.Attributes, want)
	}
	wantSaid(t, &routetable.LevelError{Table: `table "t"`, Attribute: "note", Needed: 1}, `attribute "note" needs level 1, and table "t" has level 0`, "sleight routes level 1")
}
