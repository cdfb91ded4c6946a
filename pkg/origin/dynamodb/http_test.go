package dynamodb

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/pkg/origin"
)

const answerOfATest = `{"Responses":{"t":[{"host":{"S":"a.test"},"origin":{"S":"b.test"}}]}}`

// tableAt returns the store at an endpoint, with the client of the environment.
func tableAt(t *testing.T, endpoint string) *Store {
	t.Helper()
	env := map[string]string{
		"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_DYNAMODB": endpoint,
	}
	client, err := NewClient(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeIdle(client))
	return &Store{Client: client, Table: "t"}
}

func closeIdle(client *dynamodb.Client) func() {
	return client.Options().HTTPClient.(interface{ CloseIdleConnections() }).CloseIdleConnections
}

// A flow may be lost while a sandbox is frozen, or because a gateway was replaced. That must delay a lookup for a moment, and
// not fail it.
func TestLostFlowCostsOneAttempt(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(answerOfATest)) }))
	defer server.Close()
	relay := dynamodbtest.NewRelay(t, server.URL)
	d := tableAt(t, relay.Endpoint)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for range 2 {
		if _, err := d.Lookup(ctx, "a.test"); err != nil || relay.Flows() != 1 {
			t.Fatalf("%v, %d flows", err, relay.Flows())
		}
	}
	// More than the number of attempts.
	together := make(chan struct{})
	relay.Set(func(http.ResponseWriter, *http.Request, []byte) bool { <-together; return false })
	var all sync.WaitGroup
	for range maxCalls {
		all.Go(func() {
			if _, err := d.Lookup(ctx, "a.test"); err != nil {
				t.Error(err)
			}
		})
	}
	err := relay.AwaitRequests(ctx, 2+maxCalls)
	close(together)
	all.Wait()
	if err != nil {
		t.Fatal(err)
	}
	relay.Set(nil)
	flows, requests := relay.Flows(), relay.Requests()
	relay.Lose(false)
	if _, err := d.Lookup(ctx, "a.test"); err != nil || relay.Flows() != flows+1 || relay.Requests() != requests+1 {
		t.Errorf("%v, %d flows, %d requests, want one more than %d and %d", err, relay.Flows(), relay.Requests(), flows, requests)
	}
}

// A refresh after each TTL finds a connection. A connection from before a freeze is not used.
func TestIdleConnectionsAreKeptLongerThanTheTTLAndNotForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		client := newAttempts(&http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			dials++
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				for b := bufio.NewReader(theirs); ; {
					if _, err := http.ReadRequest(b); err != nil {
						return
					}
					io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
				}
			}()
			return ours, nil
		}})
		defer client.CloseIdleConnections()
		for _, c := range []struct {
			idle time.Duration
			want int
		}{{0, 1}, {origin.DefaultTTL + time.Second, 1}, {time.Minute, 2}} {
			time.Sleep(c.idle)
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://a.test/", nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Do(r); err != nil || dials != c.want {
				t.Errorf("after %v: %v, %d connections, want %d", c.idle, err, dials, c.want)
			}
		}
	})
}

// A hundred failures use up the SDK's retry quota. Each later lookup would then have one attempt.
func TestBadHourDoesNotUseUpTheRetries(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(answerOfATest)) }))
	defer server.Close()
	relay := dynamodbtest.NewRelay(t, server.URL)
	d := tableAt(t, relay.Endpoint)
	client := d.Client.(*dynamodb.Client)
	for range 200 { // as many as lookups with three attempts each
		for range 2 {
			release, err := client.Options().Retryer.GetRetryToken(t.Context(), errDown)
			if err != nil {
				t.Fatal(err)
			}
			release(errDown)
		}
	}
	var n atomic.Int32
	relay.Set(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		return n.Add(1) < 3 && dynamodbtest.Broken(w, r, body)
	})
	if _, err := d.Lookup(t.Context(), "a.test"); err != nil || n.Load() != 3 {
		t.Errorf("%v after %d attempts", err, n.Load())
	}
}

// net/http finishes a dial for a later request. In Lambda that would be work after the reply.
func TestDialEndsWithItsLookup(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		d := tableAt(t, scheme+"://"+listener.Addr().String())
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() { _, err := d.Lookup(ctx, "a.test"); failed <- err }()
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// A request, or the beginning of a handshake, without an answer.
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", scheme, err)
		}
		conn.SetReadDeadline(time.Now().Add(5 * time.Second)) // a handshake would go on for ten
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is still open", scheme)
		}
	}
}

func TestAnswerThatBreaksOffIsAskedForAgain(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("Content-Length", "1000")
			w.Write([]byte(answerOfATest))
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		w.Write([]byte(answerOfATest))
	}))
	defer server.Close()
	if _, err := tableAt(t, server.URL).Lookup(t.Context(), "a.test"); err != nil || n.Load() != 2 {
		t.Errorf("%v, %d attempts", err, n.Load())
	}
}

// One attempt must not use up the time of all.
func TestHangingAttemptLeavesTimeForAnother(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(answerOfATest)) }))
	defer server.Close()
	relay := dynamodbtest.NewRelay(t, server.URL)
	var n atomic.Int32
	relay.Set(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		return n.Add(1) == 1 && dynamodbtest.Hang(w, r, body)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := tableAt(t, relay.Endpoint).Lookup(ctx, "a.test"); err != nil || n.Load() != 2 {
		t.Errorf("%v, %d attempts", err, n.Load())
	}
}

func TestWhatIsWrongWithTheTableComesWithAdvice(t *testing.T) {
	t.Parallel()
	relay := dynamodbtest.NewRelay(t, "http://127.0.0.1:1")
	d := tableAt(t, relay.Endpoint)
	for says, fault := range map[string]dynamodbtest.Fault{
		"dynamodb:BatchGetItem on the table t": dynamodbtest.Denied,
		"no table t in this account":           dynamodbtest.NoTable,
		"credentials have expired":             dynamodbtest.Expired,
		"table is throttled":                   dynamodbtest.Throttled,
		"is throttled: raise":                  dynamodbtest.RateLimited,
		"throttled: raise its read":            dynamodbtest.Unprocessed,
		"DynamoDB itself fails":                dynamodbtest.Broken,
		"does not answer in time":              dynamodbtest.Hang,
		"cannot be reached":                    dynamodbtest.Reset,
	} {
		relay.Set(fault)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if says != "does not answer in time" {
			cancel()
			ctx, cancel = context.WithCancel(t.Context())
		}
		_, err := d.Lookup(ctx, "a.test")
		cancel()
		var advisor interface{ Advice() string }
		if !errors.As(err, &advisor) || !strings.Contains(advisor.Advice(), says) {
			t.Errorf("%v: advice %v, want %q", err, advisor, says)
		}
	}
	for endpoint, says := range map[string]string{"http://127.0.0.1:1": "cannot be reached", "http://no-such-host.invalid": "name is not found"} {
		_, err := tableAt(t, endpoint).Lookup(t.Context(), "a.test")
		var advisor interface{ Advice() string }
		if !errors.As(err, &advisor) || !strings.Contains(advisor.Advice(), says) {
			t.Errorf("%v: want %q", err, says)
		}
	}
}
