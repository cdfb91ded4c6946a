package routetable_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/routetable"
)

// engine stands before DynamoDB Local, and makes another engine of it: alter changes its answers, and gets
// the action, how often it was asked for, and the answer.
func engine(t *testing.T, db *dynamodbtest.Server, alter func(action string, n int64, answer *httptest.ResponseRecorder)) *routetable.DynamoDB {
	t.Helper()
	counts := map[string]*atomic.Int64{"GetItem": {}, "PutItem": {}, "DeleteItem": {}, "Scan": {}, "BatchGetItem": {}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		out := r.Clone(r.Context())
		out.RequestURI = ""
		out.URL.Scheme, out.URL.Host = "http", strings.TrimPrefix(db.Endpoint, "http://")
		response, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer response.Body.Close()
		answer := httptest.NewRecorder()
		answer.Code = response.StatusCode
		io.Copy(answer.Body, response.Body)
		alter(action, counts[action].Add(1), answer)
		w.Header().Set("Connection", "close")
		for _, name := range []string{"Content-Type", "X-Amzn-Requestid"} {
			w.Header().Set(name, response.Header.Get(name))
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(server.Close)
	return &routetable.DynamoDB{Client: client(server.URL), Table: db.CreateRoutesTable(t)}
}

// withoutItem leaves the item out of a conflict, as dynalite 4 and roto 0.10 do.
func withoutItem(_ string, _ int64, answer *httptest.ResponseRecorder) {
	var conflict map[string]json.RawMessage
	if json.Unmarshal(answer.Body.Bytes(), &conflict) == nil && bytes.Contains(conflict["__type"], []byte("ConditionalCheckFailed")) {
		delete(conflict, "Item")
		answer.Body.Reset()
		json.NewEncoder(answer.Body).Encode(conflict)
	}
}

// cutFirst breaks off the first answers to an action.
func cutFirst(action string, times int64) func(string, int64, *httptest.ResponseRecorder) {
	return func(asked string, n int64, answer *httptest.ResponseRecorder) {
		if asked == action && n <= times {
			answer.Header().Set("Content-Length", fmt.Sprint(answer.Body.Len()))
			answer.Body.Truncate(answer.Body.Len() / 2)
		}
	}
}

func TestOtherEngines(t *testing.T) {
	t.Parallel()
	db := dynamodbtest.Start(t)
	seen, other := item(t, `{"host":"a.test","origin":["a","b"],"version":1}`), item(t, `{"host":"a.test","origin":["c"],"version":2}`)
	mine := item(t, `{"host":"a.test","origin":"mine","version":2}`)

	t.Run("what is still there is never said to be gone", func(t *testing.T) {
		table := engine(t, db, withoutItem)
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
			table := engine(t, db, func(action string, n int64, answer *httptest.ResponseRecorder) {
				withoutItem(action, n, answer)
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
			wantSaid(t, err, "as it was seen", "Nothing was written", "lists", stubborn.URL)
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
				table := engine(t, db, cutFirst(action, times))
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
			table := engine(t, db, func(asked string, n int64, answer *httptest.ResponseRecorder) {
				if asked == action && n == 1 {
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
