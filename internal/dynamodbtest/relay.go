package dynamodbtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Relay is a proxy in front of DynamoDB that can fail in several ways. It is safe for concurrent use.
type Relay struct {
	// Endpoint is the relay's URL.
	Endpoint string

	upstream string
	client   *http.Client
	lose     atomic.Bool // flows are lost

	mu       sync.Mutex
	changed  chan struct{} // closed at the next change of the fields below
	fault    Fault
	requests int
	open     int
	conns    map[*lossy]struct{}
	flows    int
}

// Fault answers the request r, which has the given body, in place of DynamoDB. It returns false if the request is to be forwarded.
type Fault func(w http.ResponseWriter, r *http.Request, body []byte) bool

// NewRelay starts a relay to endpoint. It forwards each request until a fault is set.
func NewRelay(t testing.TB, endpoint string) *Relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("dynamodbtest: %v", err)
	}
	r := &Relay{
		Endpoint: "http://" + listener.Addr().String(), upstream: endpoint,
		client:  &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		changed: make(chan struct{}), conns: map[*lossy]struct{}{},
	}
	server := &http.Server{Handler: r}
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve(lossyListener{listener, r})
	}()
	t.Cleanup(func() {
		server.Close() // which ends all contexts
		<-served
		if err := r.await(context.Background(), func() bool { return r.open == 0 }); err != nil {
			t.Error(err)
		}
	})
	return r
}

// Set sets the fault for new requests. Nil forwards them.
func (r *Relay) Set(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = f
	r.change()
}

// Lose makes open connections lose all bytes, and if on is set, new ones too. Clients can send, but receive nothing, not even the
// end of the connection.
func (r *Relay) Lose(on bool) {
	r.lose.Store(on)
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.lost.Store(true)
	}
}

// Requests returns the number of requests so far, without those on lost connections.
func (r *Relay) Requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

// Flows returns the number of connections so far.
func (r *Relay) Flows() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flows
}

// AwaitRequests waits until there were n requests.
func (r *Relay) AwaitRequests(ctx context.Context, n int) error {
	return r.await(ctx, func() bool { return r.requests >= n })
}

// AwaitIdle waits until no request is under way: each has its response, or was canceled by its client.
func (r *Relay) AwaitIdle(ctx context.Context) error {
	return r.await(ctx, func() bool { return r.open == 0 })
}

func (r *Relay) await(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	for {
		r.mu.Lock()
		ok, changed, requests, open := done(), r.changed, r.requests, r.open
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("dynamodbtest: relay, after %d requests, with %d under way: %w", requests, open, ctx.Err())
		}
	}
}

// change wakes all callers of await. The mutex is held.
func (r *Relay) change() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// ServeHTTP implements http.Handler.
func (r *Relay) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	body, err := io.ReadAll(in.Body) // the server notices only then that the client hangs up
	r.mu.Lock()
	fault := r.fault
	r.requests++
	r.open++
	r.change()
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.open--
		r.change()
	}()
	if err != nil || fault != nil && fault(w, in, body) {
		return
	}
	if err := r.pass(w, in, body); err != nil && !errors.Is(err, context.Canceled) {
		panic(http.ErrAbortHandler)
	}
}

func (r *Relay) pass(w http.ResponseWriter, in *http.Request, body []byte) error {
	out := in.Clone(in.Context())
	out.RequestURI = ""
	var err error
	if out.URL, err = out.URL.Parse(r.upstream); err != nil {
		return err
	}
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp, err := r.client.Do(out)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	_, err = io.Copy(w, resp.Body)
	return err
}

// Slow forwards requests after a while.
func Slow(d time.Duration) Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return false
		case <-r.Context().Done():
			return true
		}
	}
}

// Hang reads requests and does not respond.
func Hang(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
	<-r.Context().Done()
	return true
}

// Reset resets the connection.
func Reset(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	if c, ok := conn.(*lossy); ok {
		c.Conn.(*net.TCPConn).SetLinger(0)
	}
	conn.Close()
	return true
}

// Unprocessed leaves all keys of a BatchGetItem unprocessed, as DynamoDB does if a part of the table is throttled.
func Unprocessed(w http.ResponseWriter, _ *http.Request, body []byte) bool {
	var in struct{ RequestItems json.RawMessage }
	if json.Unmarshal(body, &in) != nil || in.RequestItems == nil {
		return false
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	fmt.Fprintf(w, `{"Responses":{},"UnprocessedKeys":%s}`, in.RequestItems)
	return true
}

// OtherHost answers a BatchGetItem with the item of a host that it did not request.
func OtherHost(w http.ResponseWriter, _ *http.Request, body []byte) bool {
	var in struct{ RequestItems map[string]json.RawMessage }
	if json.Unmarshal(body, &in) != nil || in.RequestItems == nil {
		return false
	}
	for table := range in.RequestItems {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		fmt.Fprintf(w, `{"Responses":{%q:[{"host":{"S":"somebody.else.test"},"origin":{"S":"127.0.0.1:1"}}]},"UnprocessedKeys":{}}`, table)
	}
	return true
}

// These are successful responses of servers that are not DynamoDB, at a wrong endpoint or in between.
var (
	EmptySuccess = success("text/plain", "")
	EmptyObject  = success("application/json", "{}")
	OtherJSON    = success("application/json", `{"message":"ok"}`)
	OtherTable   = success("application/x-amz-json-1.0", `{"Responses":{"another-table":[]},"UnprocessedKeys":{}}`)
	Page         = success("text/html", "<html><body>Log in to use this network.</body></html>")
)

func success(kind, body string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.Header().Set("Content-Type", kind)
		io.WriteString(w, body)
		return true
	}
}

// These are errors of DynamoDB.
var (
	Throttled   = refusal(400, `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"The level of configured provisioned throughput for the table was exceeded. Consider increasing your provisioning level with the UpdateTable API."}`)
	RateLimited = refusal(400, `{"__type":"com.amazon.coral.availability#ThrottlingException","message":"Rate of requests exceeds the allowed throughput."}`)
	Broken      = refusal(500, `{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"The request processing has failed because of an unknown error, exception or failure."}`)
	Denied      = refusal(400, `{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"User: arn:aws:sts::123456789012:assumed-role/proxy/proxy is not authorized to perform: dynamodb:BatchGetItem on resource: arn:aws:dynamodb:us-east-1:123456789012:table/routes because no identity-based policy allows the dynamodb:BatchGetItem action"}`)
	Expired     = refusal(400, `{"__type":"com.amazon.coral.service#ExpiredTokenException","message":"The security token included in the request is expired"}`)
	NoTable     = refusal(400, `{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found"}`)
)

func refusal(status int, body string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(status)
		io.WriteString(w, body)
		return true
	}
}

// lossyListener accepts connections that can be lost.
type lossyListener struct {
	net.Listener
	relay *Relay
}

func (l lossyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &lossy{Conn: conn, relay: l.relay}
	l.relay.mu.Lock()
	defer l.relay.mu.Unlock()
	c.lost.Store(l.relay.lose.Load())
	l.relay.conns[c] = struct{}{}
	l.relay.flows++
	l.relay.change()
	return c, nil
}

// lossy is a connection that can be lost.
type lossy struct {
	net.Conn
	relay *Relay
	lost  atomic.Bool
}

func (c *lossy) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.lost.Load() {
			return n, err
		}
	}
}

func (c *lossy) Write(p []byte) (int, error) {
	if c.lost.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *lossy) Close() error {
	c.relay.mu.Lock()
	delete(c.relay.conns, c)
	c.relay.mu.Unlock()
	return c.Conn.Close()
}
