package dynamodb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// answers is an HTTP client whose responses have status 200 and the next of these bodies. The last body repeats.
type answers [][]byte

func (a *answers) Do(*http.Request) (*http.Response, error) {
	body := (*a)[0]
	if len(*a) > 1 {
		*a = (*a)[1:]
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}, nil
}

// answeredBy returns a store with the SDK's client, which gets these bodies.
func answeredBy(table string, bodies ...string) *Store {
	var a answers
	for _, body := range bodies {
		a = append(a, []byte(body))
	}
	return &Store{Table: table, Client: dynamodb.New(dynamodb.Options{
		Region: "us-east-1", HTTPClient: &a, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}, nil
		}),
	})}
}

const (
	routesARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/routes"
	otherARN  = "arn:aws:dynamodb:eu-west-1:123456789012:table/other"
)

func TestSuccessThatIsNotDynamoDBsIsAFailureOfTheStore(t *testing.T) {
	const ours = `{"host":{"S":"a.x.test"},"origin":{"S":"b.test"}}`
	for _, body := range []string{
		``, ` `, `null`, `{}`, `[]`, `true`, `"ok"`, `<html></html>`, `{"message":"ok"}`, `{"responses":{"routes":[` + ours + `]}}`,
		`{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"an error with the status of a success"}`,
		`{"Item":` + ours + `}`, `{"Items":[` + ours + `],"Count":1,"ScannedCount":1}`,
		`{"Responses":null,"UnprocessedKeys":{}}`, `{"Responses":{},"UnprocessedKeys":{}}`, `{"Responses":[],"UnprocessedKeys":{}}`,
		`{"Responses":[{"Item":` + ours + `}]}`, // as for TransactGetItems
		`{"Responses":{"routes":null}}`, `{"Responses":{"routes":{}}}`, `{"Responses":{"routes":"a"}}`,
		`{"Responses":{"other":[]},"UnprocessedKeys":{}}`, `{"Responses":{"other":[` + ours + `]}}`, `{"Responses":{"routes":[],"other":[]}}`,
		`{"Responses":{"` + otherARN + `":[]}}`, `{"Responses":{"Routes":[]}}`,
		`{"Responses":{"routes":[null]}}`, `{"Responses":{"routes":[{}]}}`, `{"Responses":{"routes":[{"origin":{"S":"b.test"}}]}}`,
		`{"Responses":{"routes":[{"host":null}]}}`, `{"Responses":{"routes":[{"host":{}}]}}`, `{"Responses":{"routes":[{"host":{"B":"YQ=="}}]}}`,
		`{"Responses":{"routes":[{"host":{"S":"b.x.test"},"origin":{"S":"b.test"}}]}}`,
		`{"Responses":{"routes":[{"host":{"S":"A.x.test"},"origin":{"S":"b.test"}}]}}`,
		`{"Responses":{"routes":[` + ours + `,{"host":{"S":"b.x.test"}}]}}`, `{"Responses":{"routes":[` + ours + `,` + ours + `]}}`,
		`{"Responses":{"routes":[` + ours + `]},"UnprocessedKeys":{"routes":{"Keys":[{"host":{"S":"a.x.test"}}]}}}`,
		`{"Responses":{"routes":[]},"UnprocessedKeys":{"other":{"Keys":[{"host":{"S":"a.x.test"}}]}}}`,
		`{"Responses":{"routes":[]},"UnprocessedKeys":{"routes":{"Keys":[{"host":{"S":"c.x.test"}}]}}}`,
		`{"Responses":{"routes":[]},"UnprocessedKeys":{"routes":{"Keys":[{"id":{"S":"a.x.test"}}]}}}`,
		`{"Responses":{},"UnprocessedKeys":{"routes":{"Keys":[{"host":{"S":"a.x.test"}}]}}}`, // the wildcard is missing
		`{"Responses":{},"UnprocessedKeys":{"routes":{"Keys":null}}}`,
	} {
		for _, table := range []string{"routes", routesARN} {
			r, err := answeredBy(table, body).Lookup(t.Context(), "a.x.test")
			if err == nil || isAnswer(err) || !strings.HasPrefix(err.Error(), fmt.Sprintf("dynamodb: table %q: ", table)) {
				t.Errorf("%s: %v, %v", body, r, err)
				continue
			}
			var advising interface{ Advice() string }
			if !errors.As(err, &advising) || !strings.Contains(advising.Advice(), "check AWS_ENDPOINT_URL_DYNAMODB") {
				t.Errorf("%s: no advice: %v", body, err)
			}
		}
	}
}

// The SDK has panicked on some responses that are not JSON.
func TestAnswerThatTheSDKPanicsOnIsAFailureOfTheStore(t *testing.T) {
	if r, err := answeredBy("routes", `{"Responses":{"":[,0`).Lookup(t.Context(), "a.x.test"); err == nil || isAnswer(err) {
		t.Errorf("%v, %v", r, err)
	}
}

func TestRightAnswersAreNotTakenForForeignOnes(t *testing.T) {
	const none, ours, wildcard = "no route", `{"host":{"S":"a.x.test"},"origin":{"S":"own.lb"}}`, `{"host":{"S":"*.x.test"},"origin":{"S":"wild.lb"}}`
	const keyOfHost, keyOfWildcard = `{"host":{"S":"a.x.test"}}`, `{"host":{"S":"*.x.test"}}`
	left := func(keys string) string { return `"UnprocessedKeys":{"routes":{"Keys":[` + keys + `]}}` }
	for _, c := range []struct {
		name   string
		bodies []string
		want   string
	}{
		{"of the API reference and of DynamoDB Local, where nothing is there", []string{`{"Responses":{"routes":[]},"UnprocessedKeys":{}}`}, none},
		{"without UnprocessedKeys", []string{`{"Responses":{"routes":[]}}`}, none},
		{"with ConsumedCapacity", []string{`{"ConsumedCapacity":[{"TableName":"routes","CapacityUnits":1.0}],"Responses":{"routes":[` + ours + `]},"UnprocessedKeys":{}}`}, "own.lb"},
		{"with what a later version of the API may add", []string{`{"New":{"a":[1]},"Responses":{"routes":[` + ours + `]},"UnprocessedKeys":{}}`}, "own.lb"},
		{"the host's alone", []string{`{"Responses":{"routes":[` + ours + `]},"UnprocessedKeys":{}}`}, "own.lb"},
		{"the wildcard's alone", []string{`{"Responses":{"routes":[` + wildcard + `]},"UnprocessedKeys":{}}`}, "wild.lb"},
		{"both, in either order", []string{`{"Responses":{"routes":[` + wildcard + `,` + ours + `]},"UnprocessedKeys":{}}`}, "own.lb"},
		{"the wildcard's left, the host's there", []string{`{"Responses":{"routes":[` + ours + `]},` + left(keyOfWildcard) + `}`, `{"Responses":{"routes":[]},"UnprocessedKeys":{}}`}, "own.lb"},
		{"the host's left, nothing under the other", []string{`{"Responses":{"routes":[]},` + left(keyOfHost) + `}`, `{"Responses":{"routes":[` + ours + `]},"UnprocessedKeys":{}}`}, "own.lb"},
		{"all left, with an empty list", []string{`{"Responses":{"routes":[]},` + left(keyOfWildcard+","+keyOfHost) + `}`, `{"Responses":{"routes":[]},"UnprocessedKeys":{}}`}, none},
		{"all left, without a list", []string{`{"Responses":{},` + left(keyOfHost+","+keyOfWildcard) + `}`, `{"Responses":{"routes":[` + wildcard + `]},"UnprocessedKeys":{}}`}, "wild.lb"},
		{"all left, without Responses", []string{`{` + left(keyOfHost+","+keyOfWildcard) + `}`, `{"Responses":{"routes":[` + ours + `]},"UnprocessedKeys":{}}`}, "own.lb"},
	} {
		for _, table := range []string{"routes", routesARN} {
			for _, named := range []string{"routes", routesARN} {
				var bodies []string
				for _, body := range c.bodies {
					bodies = append(bodies, strings.ReplaceAll(body, `"routes":`, `"`+named+`":`))
				}
				got := none
				r, err := answeredBy(table, bodies...).Lookup(t.Context(), "a.x.test")
				if err == nil {
					got = r.Addresses[0]
				} else if !errors.Is(err, origin.ErrNotFound) {
					got = err.Error()
				}
				if got != c.want {
					t.Errorf("%s, table %s, answered as %s: %s; want %s", c.name, table, named, got, c.want)
				}
			}
		}
	}
}

// If the next request used the name in the response, it would read the keys in another account's table.
func TestKeysLeftUnprocessedAreAskedForInTheSameTable(t *testing.T) {
	var tables []string
	table := getter(func(in *dynamodb.BatchGetItemInput) (*dynamodb.BatchGetItemOutput, error) {
		tables = append(tables, slices.Collect(maps.Keys(in.RequestItems))...)
		if len(tables) > 1 {
			return &dynamodb.BatchGetItemOutput{Responses: map[string][]map[string]types.AttributeValue{"routes": {}}}, nil
		}
		return &dynamodb.BatchGetItemOutput{UnprocessedKeys: map[string]types.KeysAndAttributes{"routes": in.RequestItems[routesARN]}}, nil
	})
	if _, err := (&Store{Client: table, Table: routesARN}).Lookup(t.Context(), "a.test"); !errors.Is(err, origin.ErrNotFound) || !slices.Equal(tables, []string{routesARN, routesARN}) {
		t.Errorf("%v, %q", err, tables)
	}
}

type getter func(*dynamodb.BatchGetItemInput) (*dynamodb.BatchGetItemOutput, error)

func (g getter) BatchGetItem(_ context.Context, in *dynamodb.BatchGetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	return g(in)
}

// decoded returns the SDK's result for a body, and nil for an error or a panic: the store takes either for a failure.
func decoded(body []byte, hosts []string) (out *dynamodb.BatchGetItemOutput) {
	defer func() {
		if recover() != nil {
			out = nil
		}
	}()
	out, err := answeredBy("t", string(body)).Client.BatchGetItem(context.Background(), &dynamodb.BatchGetItemInput{
		RequestItems: map[string]types.KeysAndAttributes{"t": {Keys: keysOf(hosts)}},
	})
	if err != nil {
		return nil
	}
	return out
}

// In any response, an item belongs to the requested host, and a response without a list for the table does not make a host one
// without a route.
func FuzzBatchAnswer(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `null`, answerOfATest, `{"Responses":{"t":[]},"UnprocessedKeys":{}}`, `{"Responses":{"u":[]}}`,
		`{"Responses":{},"UnprocessedKeys":{"t":{"Keys":[{"host":{"S":"a.x.test"}},{"host":{"S":"*.x.test"}}]}}}`,
		`{"Responses":{"t":[{"host":{"S":"*.x.test"},"origin":{"L":[{"S":"b"}]}}]},"UnprocessedKeys":{"t":{"Keys":[{"host":{"S":"a.x.test"}}]}}}`,
		`{"Responses":{"t":[{"host":{"S":"a.x.test"},"n":{"NS":["1"]},"b":{"B":"YQ=="},"m":{"M":{"x":{"NULL":true}}}}]}}`,
	} {
		f.Add([]byte(body))
	}
	hosts := []string{"a.x.test", "*.x.test"}
	f.Fuzz(func(t *testing.T, body []byte) {
		out := decoded(body, hosts)
		if out == nil {
			return
		}
		items, left, err := readBatch(out, "t", hosts)
		if err != nil {
			if !errors.Is(err, ErrForeign) || items != nil || left != nil {
				t.Errorf("%v, %v, %v", items, left, err)
			}
			return
		}
		said := slices.Clone(left)
		for _, item := range items {
			said = append(said, item.Host())
			item.Route() // must not panic
		}
		slices.Sort(said)
		for i, host := range said {
			if !slices.Contains(hosts, host) || i > 0 && said[i-1] == host {
				t.Errorf("%q of %s", said, body)
			}
		}
		var plain struct {
			Responses map[string]json.RawMessage
		}
		if err := json.Unmarshal(body, &plain); err != nil {
			return // the SDK reads only the first value
		}
		if list := bytes.TrimSpace(plain.Responses["t"]); len(left) < len(hosts) && !bytes.HasPrefix(list, []byte("[")) {
			t.Errorf("%q are said of %s", said, body)
		}
	})
}
