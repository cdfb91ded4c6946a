package routetable_test

import (
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// says is a server that answers everybody the same.
func says(t *testing.T, status int, header map[string]string, body string) (endpoint string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header()["Content-Type"] = nil // else it is guessed
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

// imported is an import as an action. It fails the test if it reports anything.
func imported(t *testing.T, table routetable.Table) func() error {
	return func() error {
		im := routetable.Import{Table: table, Report: func(o routetable.Outcome) { t.Errorf("said %q of %q", o.What, o.Host) }}
		route := item(t, `{"host":"a.test","origin":"b.test"}`)
		return im.Run(t.Context(), iter.Seq2[origin.Item, error](func(yield func(origin.Item, error) bool) { yield(route, nil) }), nil)
	}
}

// By an empty success, a route is not there, or is written, or removed, that DynamoDB was never asked about.
func TestSuccessOfWhatIsNotDynamoDBIsAnErrorOfEachAction(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"", "text/html", "application/json", "application/octet-stream"} {
		for _, body := range []string{``, `{}`, `{"message":"ok"}`, `{"Item":{"host":{"S":"a.test"}},"Items":[],"Responses":{"routes":[]}}`, `<html>`, `[`, `{"Responses":{"":[,0`} {
			header := map[string]string{}
			if kind != "" {
				header["Content-Type"] = kind
			}
			endpoint, asked := says(t, http.StatusOK, header, body)
			table := &routetable.DynamoDB{Client: client(endpoint), Table: "routes"}
			all := actions(t, table)
			all["BatchGetItem"] = imported(t, table)
			for action, do := range all {
				before := asked.Load()
				err := do()
				wantKind(t, err, routetable.Unreachable)
				wantSaid(t, err, `table "routes"`, action, "not DynamoDB's", endpoint, "--endpoint-url", "proxies in between")
				if !errors.Is(err, origin.ErrForeignAnswer) || asked.Load() != before+1 {
					t.Errorf("%v, after %d requests", err, asked.Load()-before)
				}
				if unknown := strings.Contains(err.Error(), "is not known"); unknown != (action == "PutItem" || action == "DeleteItem") {
					t.Errorf("%s: %v", action, err)
				}
			}
		}
	}
}

func TestAnswerAboutAnotherHostIsNotTakenForAnAnswer(t *testing.T) {
	t.Parallel()
	signs := map[string]string{"Content-Type": "application/x-amz-json-1.0", "X-Amzn-Requestid": "1"}
	const failed = `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"The conditional request failed","Item":`
	for _, c := range []struct {
		status int
		body   string
		in     []string // the actions that it cannot be the answer to
	}{
		{200, `{}`, []string{"Scan", "BatchGetItem"}},
		{200, `{"Items":null}`, []string{"Scan"}},
		{200, `{"Item":{"host":{"S":"b.test"},"origin":{"S":"b.test"}}}`, []string{"GetItem"}},
		{200, `{"Item":{"origin":{"S":"b.test"}}}`, []string{"GetItem"}},
		{200, `{"Item":{}}`, []string{"GetItem"}},
		{200, `{"Responses":{"other":[]}}`, []string{"BatchGetItem"}},
		{200, `{"Responses":{"routes":[{"host":{"S":"b.test"}}]}}`, []string{"BatchGetItem"}},
		{200, `{"Responses":{"routes":[]},"UnprocessedKeys":{"routes":{"Keys":[{"host":{"S":"b.test"}}]}}}`, []string{"BatchGetItem"}},
		{400, failed + `{"host":{"S":"b.test"}}}`, []string{"PutItem", "DeleteItem"}},
		{400, failed + `{"origin":{"S":"b.test"}}}`, []string{"PutItem", "DeleteItem"}},
	} {
		endpoint, _ := says(t, c.status, signs, c.body)
		table := &routetable.DynamoDB{Client: client(endpoint), Table: "routes"}
		all := actions(t, table)
		all["BatchGetItem"] = imported(t, table)
		for _, action := range c.in {
			err := all[action]()
			wantKind(t, err, routetable.Unreachable)
			wantSaid(t, err, action, "not DynamoDB's", endpoint)
		}
	}
}

func TestOneSignOfDynamoDBIsEnough(t *testing.T) {
	t.Parallel()
	for _, header := range []map[string]string{
		{"Content-Type": "application/x-amz-json-1.0"}, {"Content-Type": "application/x-amz-json-1.0; charset=utf-8"}, {"X-Amzn-Requestid": "1"},
	} {
		endpoint, _ := says(t, http.StatusOK, header, `{"Items":[],"Count":0}`)
		for action, do := range actions(t, &routetable.DynamoDB{Client: client(endpoint), Table: "routes"}) {
			if err := do(); err != nil && !(action == "GetItem" && errors.Is(err, routetable.ErrNotFound)) {
				t.Errorf("%v: %s: %v", header, action, err)
			}
		}
	}
}
