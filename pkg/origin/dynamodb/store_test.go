package dynamodb

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func s(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }

// counting counts the calls, and can leave keys unprocessed.
type counting struct {
	BatchGetter
	calls       int
	unprocessed int // calls that leave one key
}

func (c *counting) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, o ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	c.calls++
	if c.unprocessed > 0 {
		c.unprocessed--
		for table, keys := range in.RequestItems {
			left := types.KeysAndAttributes{Keys: keys.Keys[:1]}
			now := types.KeysAndAttributes{Keys: keys.Keys[1:]}
			out := &dynamodb.BatchGetItemOutput{}
			if len(now.Keys) > 0 {
				var err error
				if out, err = c.BatchGetter.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{table: now}}, o...); err != nil {
					return nil, err
				}
			}
			out.UnprocessedKeys = map[string]types.KeysAndAttributes{table: left}
			return out, nil
		}
	}
	return c.BatchGetter.BatchGetItem(ctx, in, o...)
}

func TestDynamoDB(t *testing.T) {
	server := dynamodbtest.Start(t)
	table := server.CreateRoutesTable(t)
	put := func(host string, attrs map[string]types.AttributeValue) {
		item := map[string]types.AttributeValue{"host": s(host), "origin": s(strings.TrimPrefix(host, "*.") + ".lb")}
		for k, v := range attrs {
			item[k] = v
		}
		server.Put(t, table, item)
	}
	put("exact.x.com", nil)
	put("*.x.com", nil)
	put("off.x.com", map[string]types.AttributeValue{"enabled": &types.AttributeValueMemberBOOL{Value: false}})
	put("gone.x.com", map[string]types.AttributeValue{"expires_at": &types.AttributeValueMemberN{Value: "1000000000"}})
	put("bad.x.com", map[string]types.AttributeValue{"enabled": s("yes")})
	put("binary.x.com", map[string]types.AttributeValue{"note": &types.AttributeValueMemberB{Value: []byte{1}}})
	put("map.x.com", map[string]types.AttributeValue{"origin": &types.AttributeValueMemberM{}})
	put("list.y.com", map[string]types.AttributeValue{"origin": &types.AttributeValueMemberL{Value: []types.AttributeValue{s("first.lb"), s("second.lb:8443")}}})
	put("set.y.com", map[string]types.AttributeValue{"origin": &types.AttributeValueMemberSS{Value: []string{"a.lb"}}})
	put("null.y.com", map[string]types.AttributeValue{"server_name": &types.AttributeValueMemberNULL{Value: true}})

	newStore := func(unprocessed int) (*Store, *counting) {
		c := &counting{BatchGetter: server.Client, unprocessed: unprocessed}
		return &Store{Client: c, Table: table}, c
	}
	t.Run("one round trip finds the route in force", func(t *testing.T) {
		for host, want := range map[string]string{
			"exact.x.com": "exact.x.com.lb", "other.x.com": "x.com.lb", "gone.x.com": "x.com.lb", "list.y.com": "first.lb,second.lb:8443",
			"off.x.com": "", "a.b.x.com": "", "unknown.y.com": "", "com": "", "x.com": "",
		} {
			store, calls := newStore(0)
			r, err := store.Lookup(t.Context(), host)
			switch {
			case want == "" && !errors.Is(err, origin.ErrNotFound):
				t.Errorf("%s: %v, want origin.ErrNotFound", host, err)
			case want != "" && (err != nil || strings.Join(r.Addresses, ",") != want):
				t.Errorf("%s: %+v, %v; want %s", host, r, err, want)
			}
			if calls.calls != 1 {
				t.Errorf("%s: %d calls, want 1", host, calls.calls)
			}
		}
	})
	t.Run("a bad item fails its own host alone", func(t *testing.T) {
		store, _ := newStore(0)
		for host, attribute := range map[string]string{"bad.x.com": "enabled", "binary.x.com": "note", "map.x.com": "origin", "set.y.com": "origin", "null.y.com": "server_name"} {
			var invalid *origin.InvalidRouteError
			if _, err := store.Lookup(t.Context(), host); !errors.As(err, &invalid) || invalid.Host != host || invalid.Attribute != attribute {
				t.Errorf("%s: %v", host, err)
			}
		}
		if _, err := store.Lookup(t.Context(), "exact.x.com"); err != nil {
			t.Errorf("its neighbour: %v", err)
		}
	})
	t.Run("keys left unprocessed are asked for again", func(t *testing.T) {
		store, calls := newStore(2)
		if r, err := store.Lookup(t.Context(), "exact.x.com"); err != nil || r.Host != "exact.x.com" || calls.calls != 3 {
			t.Errorf("%+v, %v, %d calls", r, err, calls.calls)
		}
		// Not the wildcard, since the host's own item was not read.
		store, _ = newStore(maxReads)
		if r, err := store.Lookup(t.Context(), "exact.x.com"); err == nil || errors.Is(err, origin.ErrNotFound) || errors.As(err, new(*origin.InvalidRouteError)) {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("a missing table is not a missing route", func(t *testing.T) {
		store := &Store{Client: server.Client, Table: "no-such-table"}
		if _, err := store.Lookup(t.Context(), "a.test"); err == nil || errors.Is(err, origin.ErrNotFound) || !strings.Contains(err.Error(), "no-such-table") {
			t.Errorf("%v", err)
		}
	})
	t.Run("the client of the environment", func(t *testing.T) {
		env := map[string]string{
			"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c", "AWS_REGION": "us-east-1",
			"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_DYNAMODB": server.Endpoint,
		}
		client, err := NewClient(func(name string) string { return env[name] })
		if err != nil {
			t.Fatal(err)
		}
		store := &Store{Client: client, Table: table}
		if _, err := store.Lookup(t.Context(), "exact.x.com"); err != nil {
			t.Error(err)
		}
		c := &origin.Cache{Store: store, Timeout: time.Minute}
		if r, err := c.Lookup(t.Context(), "list.y.com"); err != nil || len(r.Addresses) != 2 {
			t.Errorf("%+v, %v", r, err)
		}
		client.Options().HTTPClient.(interface{ CloseIdleConnections() }).CloseIdleConnections()
	})
}

func TestClientOfTheEnvironmentSignsAndRetriesQuickly(t *testing.T) {
	var requests []*http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r)
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer server.Close()
	env := map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "token", "AWS_DEFAULT_REGION": "eu-west-1",
		"AWS_ENDPOINT_URL": server.URL, "AWS_MAX_ATTEMPTS": "2",
	}
	client, err := NewClient(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Store{Client: client, Table: "t"}).Lookup(t.Context(), "a.test"); err == nil || errors.Is(err, origin.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if len(requests) != 2 {
		t.Fatalf("%d requests, want 2", len(requests))
	}
	h := requests[0].Header
	if !strings.Contains(h.Get("Authorization"), "AKIDTEST/") || !strings.Contains(h.Get("Authorization"), "/eu-west-1/dynamodb/") || h.Get("X-Amz-Security-Token") != "token" {
		t.Errorf("%v", h)
	}
}

// hostOf returns the host that a client would send requests to.
func hostOf(t *testing.T, client *dynamodb.Client) string {
	t.Helper()
	host := ""
	copied := dynamodb.New(client.Options(), func(o *dynamodb.Options) {
		o.HTTPClient = roundTrip(func(r *http.Request) (*http.Response, error) {
			host = r.URL.Host
			return nil, errDown
		})
		o.Retryer = aws.NopRetryer{}
	})
	if _, err := (&Store{Client: copied, Table: "t"}).Lookup(t.Context(), "a.test"); err == nil {
		t.Error("there is a route")
	}
	return host
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) Do(r *http.Request) (*http.Response, error) { return f(r) }

// An operator who must use FIPS endpoints would not notice the use of others.
func TestClientOfTheEnvironmentAsksTheEndpointThatItIsTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"nothing set", nil, "dynamodb.eu-west-1.amazonaws.com"},
		{"FIPS", map[string]string{"AWS_USE_FIPS_ENDPOINT": "true"}, "dynamodb-fips.eu-west-1.amazonaws.com"},
		{"dual stack", map[string]string{"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "dynamodb.eu-west-1.api.aws"},
		{"both", map[string]string{"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"}, "dynamodb-fips.eu-west-1.api.aws"},
		{"false", map[string]string{"AWS_USE_FIPS_ENDPOINT": "false", "AWS_USE_DUALSTACK_ENDPOINT": "false"}, "dynamodb.eu-west-1.amazonaws.com"},
		{"an endpoint for all services", map[string]string{"AWS_ENDPOINT_URL": "http://a.test:8000"}, "a.test:8000"},
		{"the service's own endpoint", map[string]string{"AWS_ENDPOINT_URL": "http://a.test", "AWS_ENDPOINT_URL_DYNAMODB": "https://b.test"}, "b.test"},
		{"endpoints that are ignored", map[string]string{"AWS_ENDPOINT_URL_DYNAMODB": "https://b.test", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, "dynamodb.eu-west-1.amazonaws.com"},
	} {
		env := map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-west-1"}
		maps.Copy(env, c.env)
		client, err := NewClient(func(name string) string { return env[name] })
		if err != nil {
			t.Fatal(err)
		}
		if got := hostOf(t, client); !strings.HasPrefix(got, c.want) && !strings.HasSuffix(got, "."+c.want) {
			t.Errorf("%s: %s is asked, want %s", c.name, got, c.want)
		}
	}
}

func TestClientOfTheEnvironmentTrustsTheBundleAlone(t *testing.T) {
	ca, other := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{"localhost": tlstest.Leaf(t, ca, "localhost")}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		io.WriteString(w, `{"Responses":{"t":[{"host":{"S":"a.test"},"origin":{"S":"b.test"}}]}}`)
	}), HTTP1: true}
	o.Start(t)
	for bundle, trusted := range map[string]bool{ca.PEM(): true, other.PEM(): false, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n": false} {
		name := filepath.Join(t.TempDir(), "bundle.pem")
		if err := os.WriteFile(name, []byte(bundle), 0o600); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{
			"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1",
			"AWS_ENDPOINT_URL_DYNAMODB": "https://localhost:" + o.Port(), "AWS_CA_BUNDLE": name,
		}
		client, err := NewClient(func(name string) string { return env[name] })
		if err != nil {
			t.Fatal(err)
		}
		if r, err := (&Store{Client: client, Table: "t"}).Lookup(t.Context(), "a.test"); (err == nil) != trusted {
			t.Errorf("trusted %v: %+v, %v", trusted, r, err)
		}
	}
}
