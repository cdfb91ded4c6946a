package routetable_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

// client returns a client with the SDK's defaults, except shorter pauses.
func client(endpoint string, options ...func(*sdk.Options)) *sdk.Client {
	return sdk.New(sdk.Options{
		BaseEndpoint: &endpoint, Region: "eu-west-1", HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond }),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	}, options...)
}

func TestDynamoDB(t *testing.T) {
	t.Parallel()
	server := dynamodbtest.Start(t)
	newTable := func(t *testing.T) *routetable.DynamoDB {
		return &routetable.DynamoDB{Client: server.Client, Table: server.CreateRoutesTable(t)}
	}

	t.Run("as every table", func(t *testing.T) { testTable(t, newTable(t)) })

	t.Run("the answer to a write that was lost is no conflict with oneself", func(t *testing.T) {
		for _, c := range []struct{ name, before, after string }{
			{"making one", "", `{"host":"a.test","origin":"b.test","version":1}`},
			{"changing one", `{"host":"a.test","origin":"b.test","version":1}`, `{"host":"a.test","origin":"c.test","version":2}`},
			{"removing one", `{"host":"a.test","origin":"b.test","version":1}`, ""},
		} {
			table := newTable(t)
			change := routetable.Change{}
			if c.before != "" {
				change.Before = item(t, c.before)
				write(t, table, nil, change.Before)
			}
			if c.after != "" {
				change.After = item(t, c.after)
			}
			var dropped, asked atomic.Int64
			endpoint := server.Relay(t, nil, func(action string) bool {
				asked.Add(1)
				return action != "GetItem" && dropped.Add(1) == 1
			})
			table.Client = client(endpoint)
			if err := table.Write(t.Context(), change); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			want := int64(2)
			if c.after == "" {
				want++ // a read precedes the conflict
			}
			if asked.Load() != want {
				t.Errorf("%s: asked %d times, want %d", c.name, asked.Load(), want)
			}
			wantItem(t, table, "a.test", change.After)
		}
	})

	t.Run("an answer that stays away leaves open what was written", func(t *testing.T) {
		table := newTable(t)
		table.Client = client(server.Relay(t, nil, func(action string) bool { return action == "PutItem" }))
		err := table.Write(t.Context(), routetable.Change{After: item(t, `{"host":"a.test","origin":"b.test"}`)})
		wantSaid(t, err, "whether it was written is not known")
		wantItem(t, table, "a.test", item(t, `{"host":"a.test","origin":"b.test"}`))
	})

	t.Run("types that JSON has not are compared and kept", func(t *testing.T) {
		table := newTable(t)
		server.Put(t, table.Table, map[string]types.AttributeValue{
			"host": &types.AttributeValueMemberS{Value: "a.test"}, "blob": &types.AttributeValueMemberB{Value: []byte{1}}, "numbers": &types.AttributeValueMemberNS{Value: []string{"1", "2"}},
			"nothing": &types.AttributeValueMemberNULL{Value: true}, "empty": &types.AttributeValueMemberS{}, "map": &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"a": &types.AttributeValueMemberL{}}},
		})
		before, err := table.Get(t.Context(), "a.test")
		if err != nil {
			t.Fatal(err)
		}
		after := dynamodb.Item(dynamodb.Values(before))
		after["origin"] = "b.test"
		write(t, table, before, after)
		wantItem(t, table, "a.test", after)
		err = table.Write(t.Context(), routetable.Change{Before: before})
		if conflict, ok := errors.AsType[*routetable.ConflictError](err); !ok || !conflict.Current.Equal(after) {
			t.Errorf("%v", err)
		}
	})

	t.Run("more attributes than a condition can name", func(t *testing.T) {
		table := newTable(t)
		before := item(t, `{"host":"a.test","origin":"b.test"}`)
		for n := range 200 {
			before[fmt.Sprintf("attribute%03d", n)] = strings.Repeat("x", 100)
		}
		write(t, table, nil, before)
		after := item(t, `{"host":"a.test","origin":"c.test"}`)
		write(t, table, before, after)
		write(t, table, after, nil)
	})

	t.Run("all pages", func(t *testing.T) {
		table := newTable(t)
		const n = 30
		for i := range n { // two pages of a megabyte
			write(t, table, nil, origin.Item{"host": fmt.Sprintf("h%d.test", i), "note": strings.Repeat("x", 50_000)})
		}
		seen := map[string]bool{}
		for i, err := range table.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			seen[i.Host()] = true
		}
		if len(seen) != n {
			t.Errorf("%d of %d", len(seen), n)
		}
		for range table.All(t.Context()) {
			break // the sequence must end
		}
	})

	t.Run("a table that is not there", func(t *testing.T) {
		table := &routetable.DynamoDB{Client: client(server.Endpoint), Table: "nowhere"}
		for action, do := range actions(t, table) {
			err := do()
			wantKind(t, err, routetable.NoTable)
			wantSaid(t, err, `table "nowhere"`, action, `region "eu-west-1"`, server.Endpoint, "--region", "--profile")
		}
	})

	t.Run("a table of another key", func(t *testing.T) {
		name := "foreign"
		_, err := server.Client.CreateTable(t.Context(), &sdk.CreateTableInput{
			TableName: &name, BillingMode: types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
			KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = (&routetable.DynamoDB{Client: server.Client, Table: name}).Get(t.Context(), "a.test")
		wantKind(t, err, routetable.Refused)
		wantSaid(t, err, `partition key "host"`)
	})
}

// actions has the requests of a table by name.
func actions(t *testing.T, table routetable.Table) map[string]func() error {
	change := routetable.Change{Before: item(t, `{"host":"a.test"}`), After: item(t, `{"host":"a.test","origin":"b.test"}`)}
	return map[string]func() error{
		"GetItem": func() error { _, err := table.Get(t.Context(), "a.test"); return err },
		"PutItem": func() error { return table.Write(t.Context(), change) },
		"DeleteItem": func() error {
			return table.Write(t.Context(), routetable.Change{Before: change.Before})
		},
		"Scan": func() error {
			for _, err := range table.All(t.Context()) {
				return err
			}
			return nil
		},
	}
}

func wantKind(t *testing.T, err error, want routetable.ErrorKind) {
	t.Helper()
	if e, ok := errors.AsType[*routetable.RequestError](err); !ok || e.Kind != want {
		t.Errorf("%v, want %q", err, want)
	}
}

// These are errors of AWS that DynamoDB Local cannot produce.
func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code, message string
		kind          routetable.ErrorKind
		says          []string
		not           string
	}{
		{"AccessDeniedException", "User: arn:aws:iam::1:user/u is not authorized", routetable.Denied, []string{"permission dynamodb:ACTION", "arn:aws:iam::1:user/u"}, "not known"},
		{"UnrecognizedClientException", "The security token included in the request is invalid.", routetable.NoCredentials, []string{"not accepted", "aws sso login", "is invalid."}, "not known"},
		{"ExpiredTokenException", "The security token included in the request is expired", routetable.NoCredentials, []string{"expired"}, "not known"},
		{"ProvisionedThroughputExceededException", "", routetable.Throttled, []string{"throttled", "capacity"}, "not known"},
		{"ThrottlingException", "", routetable.Throttled, []string{"throttled"}, "not known"},
		{"ValidationException", "Item size has exceeded the maximum allowed size", routetable.Refused, []string{"Item size has exceeded", "400 KB"}, "partition key"},
		{"ValidationException", "The provided key element does not match the schema", routetable.Refused, []string{"partition key \"host\""}, "--table"},
		{"ValidationException", "One or more parameter values were invalid: Missing the key id in the item", routetable.Refused, []string{"partition key \"host\""}, "--table"},
		{"ValidationException", "One or more parameter values were invalid: Type mismatch for key host expected: N actual: S", routetable.Refused, []string{"partition key \"host\""}, "--table"},
		{"ValidationException", "One of the required keys was not given a value", routetable.Refused, []string{"partition key \"host\""}, "--table"},
		{"ValidationException", "The number of conditions on the keys is invalid", routetable.Refused, []string{"partition key \"host\""}, "--table"},
		{"ValidationException", "Invalid table/index name.  Table/index names must be between 3 and 255 characters long, and may contain only the characters a-z, A-Z, 0-9, '_', '-', and '.'", routetable.Refused, []string{"--table"}, "ARN"},
		{"ValidationException", "TableName must be at least 3 characters long and at most 255 characters long", routetable.Refused, []string{"--table"}, "ARN"},
		{"ValidationException", "1 validation error detected: Value 'x' at 'tableName' failed to satisfy constraint: Member must have length greater than or equal to 3", routetable.Refused, []string{"--table"}, "partition key"},
		{"ValidationException", "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: host", routetable.Refused, []string{"empty string"}, "partition key"},
		{"ValidationException", "Attempting to store more than 38 significant digits in a Number", routetable.Refused, []string{"38 significant digits"}, "partition key"},
		{"InternalServerError", "oops", routetable.Failed, []string{"oops", "DynamoDB itself has failed", "try again", "health.aws.amazon.com"}, "operation error"},
		{"ServiceUnavailable", "busy", routetable.Failed, []string{"busy", "try again", "health.aws.amazon.com"}, "operation error"},
	} {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Connection", "close")
				w.Header().Set("Content-Type", "application/x-amz-json-1.0")
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(w, `{"__type":"com.amazonaws.sdk.v20120810#%s","message":%q}`, c.code, c.message)
			}))
			defer server.Close()
			for action, do := range actions(t, &routetable.DynamoDB{Client: client(server.URL), Table: "routes"}) {
				err := do()
				wantKind(t, err, c.kind)
				for _, s := range c.says {
					wantSaid(t, err, `table "routes"`, strings.ReplaceAll(s, "ACTION", action))
				}
				if strings.Contains(err.Error(), c.not) {
					t.Errorf("misleads: %v", err)
				}
			}
		})
	}
}

func TestARNsAreExplainedIfOneWasGiven(t *testing.T) {
	t.Parallel()
	db := dynamodbtest.Start(t) // it has no ARNs
	for table, says := range map[string]string{"arn:aws:dynamodb:us-east-1:123456789012:table/routes": "give the name alone", "a b": "check the name"} {
		_, err := (&routetable.DynamoDB{Client: client(db.Endpoint), Table: table}).Get(t.Context(), "a.test")
		wantKind(t, err, routetable.Refused)
		wantSaid(t, err, says, "--table")
		if strings.Contains(err.Error(), "partition key") {
			t.Errorf("misleads: %v", err)
		}
	}
}

func TestErrorsOfTheNetworkSayWhoWasAsked(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	nobody := "http://" + l.Addr().String()
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }))
	defer cut.Close()
	for endpoint, says := range map[string]string{nobody: "cannot be reached", cut.URL: "cannot be reached"} {
		for action, do := range actions(t, &routetable.DynamoDB{Client: client(endpoint), Table: "routes"}) {
			err := do()
			wantSaid(t, err, `table "routes"`, action, says, endpoint, "--endpoint-url")
			wantKind(t, err, routetable.Unreachable)
			if unknown := strings.Contains(err.Error(), "is not known"); unknown != (action == "PutItem" || action == "DeleteItem") {
				t.Errorf("%s: %v", action, err)
			}
		}
	}
	stranger := httptest.NewUnstartedServer(http.NotFoundHandler())
	stranger.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that clients end
	stranger.StartTLS()
	defer stranger.Close()
	_, err = (&routetable.DynamoDB{Client: client(stranger.URL), Table: "routes"}).Get(t.Context(), "a.test")
	wantKind(t, err, routetable.Unreachable)
	wantSaid(t, err, stranger.URL, "is not trusted", "AWS_CA_BUNDLE")
	none := client(nobody, func(o *sdk.Options) {
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errors.New("the moon") })
	})
	_, err = (&routetable.DynamoDB{Client: none, Table: "routes"}).Get(t.Context(), "a.test")
	wantKind(t, err, routetable.NoCredentials)
	wantSaid(t, err, "AWS_ACCESS_KEY_ID", "--profile", "the moon")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = (&routetable.DynamoDB{Client: client(nobody), Table: "routes"}).Write(ctx, routetable.Change{After: item(t, `{"host":"a.test"}`)})
	wantKind(t, err, routetable.Interrupted)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
