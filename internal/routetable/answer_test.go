package routetable_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

// says is a server with one response for all requests.
func says(t *testing.T, status int, header map[string]string, body string) (endpoint string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header()["Content-Type"] = nil // otherwise net/http guesses it
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

// imported is an import as an action. It fails the test if it reports an outcome.
func imported(t *testing.T, table routetable.Table) func() error {
	return func() error {
		im := routetable.Import{Table: table, Report: func(o routetable.Outcome) { t.Errorf("said %q of %q", o.Result, o.Host) }}
		route := item(t, `{"host":"a.test","origin":"b.test"}`)
		return im.Run(t.Context(), iter.Seq2[origin.Item, error](func(yield func(origin.Item, error) bool) { yield(route, nil) }), nil)
	}
}

// An empty success would say that a route does not exist, was written, or was removed, though DynamoDB got no request.
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
				wantKind(t, err, routetable.Foreign)
				wantSaid(t, err, `table "routes"`, action, "not DynamoDB's", endpoint, "--endpoint-url", "proxies in between")
				if !errors.Is(err, dynamodb.ErrForeign) || asked.Load() != before+1 {
					t.Errorf("%v, after %d requests", err, asked.Load()-before)
				}
				if unknown := strings.Contains(err.Error(), "is not known"); unknown != (action == "PutItem" || action == "DeleteItem") {
					t.Errorf("%s: %v", action, err)
				}
			}
		}
	}
}

// An error without a header or a code of DynamoDB comes from another server. The SDK retries if the status is transient.
func TestErrorsOfWhatIsNotDynamoDBAreNotTakenForIts(t *testing.T) {
	t.Parallel()
	for _, body := range []string{``, `{}`, `{"message":"Not Found"}`, `{"message":"Not Found","code":404}`, `[]`, `<!doctype html>`, `{`} {
		for status, asks := range map[int]int64{300: 1, 403: 1, 404: 1, 501: 1, 503: 3} {
			for _, length := range []string{"", "99"} { // the body is not sent whole
				header := map[string]string{"Connection": "close"}
				if length != "" {
					header["Content-Length"] = length
				}
				endpoint, asked := says(t, status, header, body)
				for action, do := range actions(t, &routetable.DynamoDB{Client: client(endpoint), Table: "routes"}) {
					before := asked.Load()
					err := do()
					wantKind(t, err, routetable.Foreign)
					wantSaid(t, err, action, "not DynamoDB's", fmt.Sprint("status ", status), endpoint, "--endpoint-url", "proxies in between")
					if text := err.Error(); strings.Contains(text, "deserialization") || strings.Contains(text, "operation error") {
						t.Errorf("%s: %v", body, err)
					}
					if !errors.Is(err, dynamodb.ErrForeign) || asked.Load() != before+asks {
						t.Errorf("%v, after %d requests", err, asked.Load()-before)
					}
					writes := action == "PutItem" || action == "DeleteItem"
					if unknown := strings.Contains(err.Error(), "is not known"); unknown != (writes && status/100 != 4) {
						t.Errorf("%s: %v", action, err)
					}
				}
			}
		}
	}
}

// An engine's error without a header of DynamoDB is recognized by its code.
func TestErrorWithACodeIsDynamoDBs(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"__type":"com.amazonaws.sdk.v20120810#ResourceNotFoundException","message":"no"}`, `{"code":"ResourceNotFoundException"}`} {
		endpoint, _ := says(t, 400, nil, body)
		for _, do := range actions(t, &routetable.DynamoDB{Client: client(endpoint), Table: "routes"}) {
			wantKind(t, do(), routetable.NoTable)
		}
	}
}

// The SDK takes an empty response for {}, and has panicked on broken JSON.
func TestAnswerThatIsNoWholeJSONIsAskedForAgain(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 400, 500} {
		for _, body := range []string{``, ` `, `{`, `{"Item":`, `{"Responses":{"":[,0`, `{"__type":"ConditionalCheckFailedException"`, `{}x`} {
			endpoint, asked := says(t, status, map[string]string{"Content-Type": "application/x-amz-json-1.0"}, body)
			for action, do := range actions(t, &routetable.DynamoDB{Client: client(endpoint), Table: "routes"}) {
				before := asked.Load()
				err := do()
				wantKind(t, err, routetable.Failed)
				wantSaid(t, err, action, "cut off", fmt.Sprint("status ", status), endpoint, "3 times")
				if asked.Load() != before+3 || errors.Is(err, dynamodb.ErrForeign) {
					t.Errorf("%v, after %d requests", err, asked.Load()-before)
				}
			}
		}
	}
}

func TestAnswerAboutAnotherHostIsNotTakenForAnAnswer(t *testing.T) {
	t.Parallel()
	signs := map[string]string{"Content-Type": "application/x-amz-json-1.0", "X-Amzn-Requestid": "1"}
	const failed = `{"__type":"com.amazonaws.sdk.v20120810#ConditionalCheckFailedException","message":"The conditional request failed","Item":`
	for _, c := range []struct {
		status int
		body   string
		in     []string // the actions that it cannot be a response to
	}{
		{200, `{}`, []string{"Scan", "BatchGetItem"}},
		{200, `{"Items":null}`, []string{"Scan"}},
		{200, `{"Items":1}`, []string{"Scan", "BatchGetItem"}},
		{200, `[]`, []string{"Scan", "BatchGetItem", "GetItem"}},
		{200, `{"Item":[]}`, []string{"GetItem"}},
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
			wantKind(t, err, routetable.Foreign)
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

// answers is an HTTP client with one response for all requests.
type answers struct {
	status int
	kind   string
	body   []byte
}

func (a answers) Do(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: http.Header{"Content-Type": {a.kind}}, Body: io.NopCloser(bytes.NewReader(a.body))}, nil
}

// Only a whole response of DynamoDB proves that a route exists, was removed or was written.
func FuzzAnswer(f *testing.F) {
	const ours = "application/x-amz-json-1.0"
	for _, body := range []string{
		``, `{}`, `[]`, `null`, `{"Item":{"host":{"S":"a.test"}}}`, `{"Item":{"host":{"S":"b.test"}}}`, `{"Item":`, `{"Responses":{"":[,0`,
		`{"Items":[{"host":{"S":"a.test"}}],"LastEvaluatedKey":{}}`, `{"__type":"#ConditionalCheckFailedException","Item":{"host":{"S":"a.test"}}}`, `{"code":"X"}`,
	} {
		f.Add(200, ours, []byte(body))
		f.Add(200, "text/html", []byte(body))
		f.Add(400, ours, []byte(body))
		f.Add(503, "", []byte(body))
	}
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		table := &routetable.DynamoDB{Table: "routes", Client: client("http://127.0.0.1:1", func(o *sdk.Options) {
			o.HTTPClient, o.Retryer = answers{status, kind, body}, aws.NopRetryer{}
		})}
		believed := status/100 == 2 && strings.HasPrefix(kind, "application/x-amz-json") && json.Valid(body)
		got, err := table.Get(t.Context(), "a.test")
		if (err == nil || errors.Is(err, routetable.ErrNotFound)) && !believed {
			t.Errorf("%v, %v", got, err)
		}
		if err == nil && got.Host() != "a.test" {
			t.Errorf("asked for a.test, got %v", got)
		}
		for _, change := range []routetable.Change{{After: origin.Item{"host": "a.test"}}, {Before: origin.Item{"host": "a.test"}}} {
			if err := table.Write(t.Context(), change); err == nil && !believed && !bytes.Contains(body, []byte("ConditionalCheckFailed")) {
				t.Errorf("%v is made", change)
			}
		}
	})
}
