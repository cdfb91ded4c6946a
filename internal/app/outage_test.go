package app_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/app"
	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits that end sooner unless something is wrong.
const patience = 30 * time.Second

// outage is a proxy with its routes in DynamoDB, and what it takes to have that fail.
type outage struct {
	handler *proxy.Handler
	relay   *dynamodbtest.Relay
	hosts   []string
	log     *lockedBuffer
	move    func() // routes all hosts to the second origin
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String leaves out the lines of requests.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for line := range strings.Lines(l.b.String()) {
		if !strings.Contains(line, "msg=request") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func (l *lockedBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// world is what all outages share.
type world struct {
	db     *dynamodbtest.Server
	ca     *devca.Authority
	hosts  []string
	first  *tlstest.Origin
	second *tlstest.Origin
}

func newWorld(t *testing.T) *world {
	w := &world{db: dynamodbtest.Start(t), ca: tlstest.NewAuthority(t)}
	for i := range 3 {
		w.hosts = append(w.hosts, fmt.Sprintf("h%d.spec-trust.test", i))
	}
	newOrigin := func(says string) *tlstest.Origin {
		o := &tlstest.Origin{Certificates: map[string]tls.Certificate{}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, says) })}
		for _, host := range w.hosts {
			o.Certificates[host] = tlstest.Leaf(t, w.ca, host)
		}
		o.Start(t)
		return o
	}
	w.first, w.second = newOrigin("first"), newOrigin("second")
	return w
}

// start returns a proxy whose routes are old within a moment, and that knows all of them.
func (w *world) start(t *testing.T) *outage {
	t.Helper()
	table := w.db.CreateRoutesTable(t)
	put := func(address string) {
		for _, host := range w.hosts {
			w.db.Put(t, table, map[string]types.AttributeValue{
				"host":   &types.AttributeValueMemberS{Value: host},
				"origin": &types.AttributeValueMemberS{Value: address},
				"ca_pem": &types.AttributeValueMemberS{Value: w.ca.PEM()},
			})
		}
	}
	put(w.first.Addr)
	o := &outage{relay: dynamodbtest.NewRelay(t, w.db.Endpoint), hosts: w.hosts, log: &lockedBuffer{}, move: func() { put(w.second.Addr) }}
	env := environment{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_DYNAMODB": o.relay.Endpoint}
	s := app.Settings{RoutesTable: table, RoutesTTL: 20 * time.Millisecond, RoutesMaxStale: time.Hour, AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, ForceHTTPS: true}
	logger := slog.New(slog.NewTextHandler(o.log, nil))
	routes, err := app.Routes(s, logger, func() (dynamodb.BatchGetter, error) { return dynamodb.NewClient(env.get) })
	if err != nil {
		t.Fatal(err)
	}
	routes.(*origin.Cache).Timeout = 2 * time.Second
	routes.(*origin.Cache).StaleWait = 100 * time.Millisecond
	if o.handler, err = app.New(s, logger, routes); err != nil {
		t.Fatal(err)
	}
	for _, host := range o.hosts {
		if code, body := o.get(host); code != 200 || body != "first" {
			t.Fatalf("%s: %d %s", host, code, body)
		}
	}
	return o
}

func (o *outage) get(host string) (code int, body string) {
	w := httptest.NewRecorder()
	o.handler.ServeHTTP(w, httptest.NewRequest("GET", "http://"+host+"/", nil))
	if w.Code == 503 && w.Header().Get("Retry-After") == "" {
		return 503, "no Retry-After"
	}
	return w.Code, w.Body.String()
}

// until sends requests to the known hosts, which all have to be answered, until done.
func (o *outage) until(ctx context.Context, what string, done func(body string) bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond) // for routes to grow old, and the store to be tried again
	defer tick.Stop()
	for {
		for _, host := range o.hosts {
			code, body := o.get(host)
			if code != 200 {
				return fmt.Errorf("%s, whose route is known: %d %s", host, code, body)
			}
			if done(body) {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %s", patience, what)
		}
	}
}

// suffer lives through a fault, and returns what was wrong with it. If there is no fault, packets are lost.
func (o *outage) suffer(ctx context.Context, fault dynamodbtest.Fault, advice string) error {
	const begins, ends = "the routes cannot be read", "the routes can be read again"
	o.relay.Set(fault)
	o.relay.Lose(fault == nil)
	if err := o.until(ctx, "the failure is noticed", func(string) bool { return o.log.count(begins) > 0 }); err != nil {
		return err
	}
	for range 2 { // the second from memory
		if code, body := o.get("unknown.spec-trust.test"); code != 503 || strings.HasPrefix(body, "no ") {
			return fmt.Errorf("nothing is known of it: %d %s", code, body)
		}
	}
	o.move()
	o.relay.Set(nil)
	o.relay.Lose(false)
	if err := errors.Join(
		o.until(ctx, "it recovers", func(body string) bool { return body == "second" }),
		o.until(ctx, "it is said that it is over", func(string) bool { return o.log.count(ends) > 0 }),
	); err != nil {
		return err
	}
	if code, _ := o.get("unknown-too.spec-trust.test"); code != 404 {
		return fmt.Errorf("afterwards: %d", code)
	}
	if begun, ended, advised := o.log.count(begins), o.log.count(ends), o.log.count(advice); begun != 1 || ended != 1 || advised == 0 {
		return fmt.Errorf("%d warnings within a minute, %d lines that it is over, %d with the advice", begun, ended, advised)
	}
	return nil
}

func TestBadHourOfDynamoDBIsNotNoticedWhereRoutesAreKnown(t *testing.T) {
	w := newWorld(t)
	t.Run("faults", func(t *testing.T) {
		var all sync.WaitGroup
		for name, c := range map[string]struct {
			fault  dynamodbtest.Fault
			advice string
		}{
			"connections are reset":       {dynamodbtest.Reset, "cannot be reached"},
			"requests hang":               {dynamodbtest.Hang, "answer in time"},
			"packets are lost":            {nil, "answer in time"},
			"the table is throttled":      {dynamodbtest.Throttled, "is throttled"},
			"the account is throttled":    {dynamodbtest.RateLimited, "is throttled"},
			"keys are left unprocessed":   {dynamodbtest.Unprocessed, "is throttled"},
			"DynamoDB is broken":          {dynamodbtest.Broken, "itself fails"},
			"access is denied":            {dynamodbtest.Denied, "allow the proxy's role dynamodb:BatchGetItem"},
			"the credentials are expired": {dynamodbtest.Expired, "have expired"},
			"the table is gone":           {dynamodbtest.NoTable, "there is no table"},
			"an empty success":            {dynamodbtest.EmptySuccess, "is not DynamoDB"},
			"an empty object":             {dynamodbtest.EmptyObject, "is not DynamoDB"},
			"other JSON":                  {dynamodbtest.OtherJSON, "is not DynamoDB"},
			"another table's answer":      {dynamodbtest.OtherTable, "is not DynamoDB"},
			"another host's item":         {dynamodbtest.OtherHost, "is not DynamoDB"},
			"a page":                      {dynamodbtest.Page, "is not DynamoDB"},
		} {
			o := w.start(t)
			all.Go(func() { // all at once: most of it is waiting
				if err := o.suffer(t.Context(), c.fault, c.advice); err != nil {
					t.Errorf("%s: %v; the log has\n%s", name, err, o.log)
				}
			})
		}
		all.Wait()
	})
	// Known hosts are answered while the store holds a request for another one.
	t.Run("requests do not wait for a store that hangs", func(t *testing.T) {
		o := w.start(t)
		release := make(chan struct{})
		o.relay.Set(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			select {
			case <-release:
				return false
			case <-r.Context().Done():
				return true
			}
		})
		unknown, before := make(chan int, 1), o.relay.Requests()
		go func() {
			code, _ := o.get("unknown.spec-trust.test")
			unknown <- code
		}()
		if err := o.relay.AwaitRequests(t.Context(), before+1); err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := o.until(t.Context(), "requests are answered", func(string) bool { n++; return n > 9 }); err != nil {
			t.Error(err)
		}
		select {
		case code := <-unknown:
			t.Errorf("the store has answered: %d", code)
		default:
		}
		close(release)
		if code := <-unknown; code != 404 && code != 503 { // as the timeout was before or not
			t.Errorf("unknown: %d", code)
		}
	})
	t.Run("a slow store is waited for", func(t *testing.T) {
		o := w.start(t)
		o.relay.Set(dynamodbtest.Slow(300 * time.Millisecond))
		if code, _ := o.get("unknown.spec-trust.test"); code != 404 {
			t.Errorf("unknown: %d", code)
		}
		o.move()
		if err := o.until(t.Context(), "the change is seen", func(body string) bool { return body == "second" }); err != nil {
			t.Error(err)
		}
	})
}
