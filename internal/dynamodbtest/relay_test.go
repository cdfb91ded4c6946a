package dynamodbtest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Clients must take the faults as they take those of DynamoDB.
func TestRelayFailsAsDynamoDBDoes(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		io.WriteString(w, `{"Responses":{"t":[{"host":{"S":"a.test"}}]}}`)
	}))
	defer upstream.Close()
	relay := NewRelay(t, upstream.URL)
	client := NewClient(relay.Endpoint)
	get := func(timeout time.Duration) (*dynamodb.BatchGetItemOutput, error) {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		key := map[string]types.AttributeValue{"host": &types.AttributeValueMemberS{Value: "a.test"}}
		return client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"t": {Keys: []map[string]types.AttributeValue{key}}}},
			func(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} })
	}
	passes := func() {
		t.Helper()
		if out, err := get(maxWait); err != nil || len(out.Responses["t"]) != 1 {
			t.Errorf("%+v, %v", out, err)
		}
	}
	passes()
	for code, fault := range map[string]Fault{
		"ProvisionedThroughputExceededException": Throttled, "ThrottlingException": RateLimited, "InternalServerError": Broken,
		"AccessDeniedException": Denied, "ExpiredTokenException": Expired, "ResourceNotFoundException": NoTable,
	} {
		relay.Set(fault)
		var coded interface{ ErrorCode() string }
		if _, err := get(maxWait); !errors.As(err, &coded) || coded.ErrorCode() != code {
			t.Errorf("%v, want %s", err, code)
		}
	}
	relay.Set(Unprocessed)
	if out, err := get(maxWait); err != nil || len(out.UnprocessedKeys["t"].Keys) != 1 || len(out.Responses) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	relay.Set(Reset)
	if _, err := get(maxWait); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reset: %v", err)
	}
	relay.Set(Hang)
	if _, err := get(50 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hang: %v", err)
	}
	relay.Set(Slow(time.Hour))
	if _, err := get(50 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("slow: %v", err)
	}
	relay.Set(Slow(time.Millisecond))
	passes()
	requests := relay.Requests()
	relay.Lose(true)
	if _, err := get(50 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) || relay.Requests() != requests {
		t.Errorf("lost: %v", err)
	}
	relay.Lose(false)
	passes()
	if err := relay.AwaitIdle(t.Context()); err != nil {
		t.Error(err)
	}
}
