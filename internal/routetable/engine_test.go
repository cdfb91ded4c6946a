package routetable_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/routetable"
)

// engine imitates an engine other than DynamoDB Local, by changing the responses of that.
func engine(t *testing.T, db *dynamodbtest.Server, alter dynamodbtest.Alteration) *routetable.DynamoDB {
	t.Helper()
	return &routetable.DynamoDB{Client: client(db.Altered(t, alter)), Table: db.CreateRoutesTable(t)}
}

func TestOtherEngines(t *testing.T) {
	t.Parallel()
	db := dynamodbtest.Start(t)
	seen, other := item(t, `{"host":"a.test","origin":["a","b"],"version":1}`), item(t, `{"host":"a.test","origin":["c"],"version":2}`)
	mine := item(t, `{"host":"a.test","origin":"mine","version":2}`)

	t.Run("what is still there is never said to be gone", func(t *testing.T) {
		table := engine(t, db, dynamodbtest.WithoutItem)
		write(t, table, nil, other)
		for _, change := range []routetable.Change{{Before: seen}, {Before: seen, After: mine}, {After: seen}} {
			err := table.Write(t.Context(), change)
			if conflict, ok := errors.AsType[*routetable.ConflictError](err); !ok || !conflict.Current.Equal(other) {
				t.Errorf("%+v: %v", change, err)
			}
			wantItem(t, table, "a.test", other)
		}
		write(t, table, other, nil)
		err := table.Write(t.Context(), routetable.Change{Before: seen, After: mine})
		if conflict, ok := errors.AsType[*routetable.ConflictError](err); !ok || conflict.Current != nil {
			t.Errorf("of one that is gone: %v", err)
		}
		if err := table.Write(t.Context(), routetable.Change{Before: seen}); err != nil {
			t.Errorf("removing one that is gone: %v", err)
		}
	})

	t.Run("what cannot be read is not said to be gone", func(t *testing.T) {
		for name, denied := range map[string][]string{"all": {"GetItem", "BatchGetItem"}, "single": {"GetItem"}} {
			table := engine(t, db, func(action string, answer *httptest.ResponseRecorder) {
				dynamodbtest.WithoutItem(action, answer)
				for _, d := range denied {
					if action == d {
						answer.Code = 400
						answer.Body.Reset()
						answer.Body.WriteString(`{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"no"}`)
					}
				}
			})
			write(t, table, nil, other)
			err := table.Write(t.Context(), routetable.Change{Before: seen})
			if conflict, ok := errors.AsType[*routetable.ConflictError](err); name == "single" {
				if !ok || !conflict.Current.Equal(other) {
					t.Errorf("imports have the permission for batches: %v", err)
				}
				continue
			}
			wantKind(t, err, routetable.Denied)
			wantSaid(t, err, "the change was refused", "cannot be read", "dynamodb:GetItem")
		}
	})

	t.Run("an engine that compares otherwise is named, and nobody is said to have changed anything", func(t *testing.T) {
		stubborn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.Header().Set("Connection", "close")
			if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetItem") {
				io.WriteString(w, `{"Item":{"host":{"S":"a.test"},"origin":{"L":[{"S":"a"},{"S":"b"}]},"version":{"N":"1"}}}`)
				return
			}
			w.WriteHeader(400)
			io.WriteString(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"The conditional request failed"}`)
		}))
		defer stubborn.Close()
		table := &routetable.DynamoDB{Client: client(stubborn.URL), Table: "routes"}
		for _, change := range []routetable.Change{{Before: seen}, {Before: seen, After: mine}} {
			err := table.Write(t.Context(), change)
			wantKind(t, err, routetable.Refused)
			wantSaid(t, err, "nobody else has changed", "Nothing was written", "lists", stubborn.URL)
		}
	})

	t.Run("an answer that is cut off is asked for again", func(t *testing.T) {
		for action, do := range map[string]func(table *routetable.DynamoDB) error{
			"GetItem": func(table *routetable.DynamoDB) error { _, err := table.Get(t.Context(), "a.test"); return err },
			"PutItem": func(table *routetable.DynamoDB) error {
				return table.Write(t.Context(), routetable.Change{Before: seen, After: mine})
			},
			"DeleteItem": func(table *routetable.DynamoDB) error {
				return table.Write(t.Context(), routetable.Change{Before: seen})
			},
			"Scan": func(table *routetable.DynamoDB) error {
				for _, err := range table.All(t.Context()) {
					return err
				}
				return errors.New("nothing there")
			},
		} {
			for times := int64(1); times <= 3; times++ {
				table := engine(t, db, dynamodbtest.CutOff(action, times))
				whole := &routetable.DynamoDB{Client: client(db.Endpoint), Table: table.Table}
				write(t, whole, nil, seen)
				err := do(table)
				if times < 3 {
					if err != nil {
						t.Errorf("%s, cut %d times: %v", action, times, err)
					}
					continue
				}
				wantSaid(t, err, action, "cut off", "3 times")
				writes := action == "PutItem" || action == "DeleteItem"
				if e, ok := errors.AsType[*routetable.RequestError](err); !ok || e.Unknown != writes || strings.Contains(err.Error(), "is not known") != writes {
					t.Errorf("%s: %v", action, err)
				}
			}
		}
	})

	t.Run("an answer without a body is not taken for one", func(t *testing.T) {
		for _, action := range []string{"GetItem", "PutItem", "DeleteItem"} {
			var n atomic.Int64
			table := engine(t, db, func(asked string, answer *httptest.ResponseRecorder) {
				if asked == action && n.Add(1) == 1 {
					answer.Body.Reset()
				}
			})
			whole := &routetable.DynamoDB{Client: client(db.Endpoint), Table: table.Table}
			write(t, whole, nil, seen)
			switch action {
			case "GetItem":
				wantItem(t, table, "a.test", seen)
			case "PutItem":
				write(t, table, seen, mine)
				wantItem(t, whole, "a.test", mine)
			case "DeleteItem":
				write(t, table, seen, nil)
				wantItem(t, whole, "a.test", nil)
			}
		}
	})
}
