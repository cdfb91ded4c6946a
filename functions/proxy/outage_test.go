package main_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

// table is a server for BatchGetItem like DynamoDB's, with a table of string attributes.
type table struct {
	mu    sync.Mutex
	items map[string]map[string]string // by host
}

func (d *table) put(host, origin, caPEM string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.items == nil {
		d.items = map[string]map[string]string{}
	}
	d.items[host] = map[string]string{"host": host, "origin": origin, "ca_pem": caPEM}
}

func (d *table) answer(w http.ResponseWriter, _ *http.Request, body []byte) bool {
	type value struct{ S string }
	var in struct {
		RequestItems map[string]struct{ Keys []map[string]value }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return false
	}
	items := []map[string]value{}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range in.RequestItems["routes"].Keys {
		if found, ok := d.items[key["host"].S]; ok {
			item := map[string]value{}
			for name, v := range found {
				item[name] = value{v}
			}
			items = append(items, item)
		}
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	json.NewEncoder(w).Encode(map[string]any{"Responses": map[string]any{"routes": items}})
	return true
}

// outage is a function that reads its routes through a relay that can fail.
type outage struct {
	f      *lambdatest.Function
	table  *table
	relay  *dynamodbtest.Relay
	stream bool
	host   string
	move   func() // changes the host's route to another origin
}

func newOutage(t *testing.T, env ...string) *outage {
	t.Helper()
	ca := tlstest.NewAuthority(t)
	o := &outage{table: &table{}, relay: dynamodbtest.NewRelay(t, "http://127.0.0.1:1"), host: "one.spec-trust.test"}
	o.relay.Set(o.table.answer)
	addresses := map[string]string{}
	for _, says := range []string{"first", "second"} {
		origin := &tlstest.Origin{Certificates: map[string]tls.Certificate{o.host: tlstest.Leaf(t, ca, o.host)}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, says)
		})}
		origin.Start(t)
		addresses[says] = origin.Addr
	}
	o.table.put(o.host, addresses["first"], ca.PEM())
	o.move = func() { o.table.put(o.host, addresses["second"], ca.PEM()) }
	o.f = lambdatest.Start(t, lambdatest.Build(t), append(env, "ROUTES_TABLE=routes", "AWS_ENDPOINT_URL_DYNAMODB="+o.relay.Endpoint, "ORIGIN_ALLOW_CIDRS=127.0.0.0/8")...)
	return o
}

// get sends a request to a host, and returns the whole response, streamed or not.
func (o *outage) get(t *testing.T, ctx context.Context, host string) string {
	t.Helper()
	if o.stream {
		r := o.f.Stream(ctx, t, event(t, "function-url", host, "/"))
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	r, err := o.f.Invoke(ctx, event(t, "function-url", host, "/"))
	if err != nil || r.Failed {
		t.Fatalf("%+v, %v", r, err)
	}
	return string(r.Body)
}

// idle freezes the function, and fails the test if a lookup is still open then.
func (o *outage) idle(t *testing.T) {
	t.Helper()
	if err := o.f.Freeze(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := o.relay.AwaitIdle(ctx); err != nil {
		t.Errorf("after the reply: %v", err)
	}
	if err := o.f.Thaw(); err != nil {
		t.Fatal(err)
	}
}

func TestKnownRoutesSurviveAHangingDynamoDB(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"buffered", "stream"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			o := newOutage(t, "ROUTES_TTL=300ms", "RESPONSE_MODE="+mode)
			o.stream = mode == "stream"
			known := func(want string) bool {
				t.Helper()
				got := o.get(t, t.Context(), o.host)
				if !strings.Contains(got, `"statusCode":200`) {
					t.Fatalf("the route is known: %s", got)
				}
				return strings.Contains(got, want)
			}
			known("first")
			o.relay.Set(dynamodbtest.Hang)
			for before := o.relay.Requests(); o.relay.Requests() == before; { // until the route is stale
				known("first")
			}
			// The request that sent the lookup has ended without a response of DynamoDB.
			o.idle(t)
			asked, since := o.relay.Requests(), time.Now()
			for range 20 {
				known("first")
			}
			// A lookup a second, less a quarter. On a slow machine, twenty requests take some seconds.
			if n := o.relay.Requests() - asked; n > 1+int(time.Since(since)/(750*time.Millisecond)) {
				t.Errorf("20 requests sent %d look-ups to a table that hangs", n)
			}

			// An unknown host has no stale route. The deadline of the event bounds its lookup.
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			if got := strings.ToLower(o.get(t, ctx, "unknown.spec-trust.test")); !strings.Contains(got, `"statuscode":503`) || !strings.Contains(got, "retry-after") {
				t.Errorf("unknown: %s", got)
			}
			o.idle(t)

			o.move()
			o.relay.Set(o.table.answer)
			for deadline := time.Now().Add(30 * time.Second); !known("second"); {
				if time.Now().After(deadline) {
					t.Fatal("the change is not seen")
				}
			}
			if err := o.f.AwaitLog(t.Context(), "the routes can be read again"); err != nil {
				t.Error(err)
			}
			o.idle(t)
			log := o.f.Log()
			if n := strings.Count(log, "the routes cannot be read"); n != 1 {
				t.Errorf("%d warnings", n)
			}
			for line := range strings.Lines(log) {
				if strings.Contains(line, "the routes ca") && !strings.Contains(line, `"requestId":"`) {
					t.Errorf("not to be found by its invocation: %s", line)
				}
			}
		})
	}
}

// A frozen function loses its connections to DynamoDB too, not only those to origins.
func TestLookupsSurviveFlowsThatAreForgottenWhileFrozen(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	for _, blackhole := range []bool{false, true} {
		relay := &tlstest.Relay{Origin: strings.TrimPrefix(o.relay.Endpoint, "http://"), Blackhole: blackhole}
		relay.Start(t)
		f := lambdatest.Start(t, lambdatest.Build(t), "ROUTES_TABLE=routes", "AWS_ENDPOINT_URL_DYNAMODB=http://"+relay.Addr)
		for n := range 3 {
			if err := f.Freeze(); err != nil {
				t.Fatal(err)
			}
			relay.Forget(300 * time.Millisecond)
			if err := f.Thaw(); err != nil {
				t.Fatal(err)
			}
			// The cache does not have this host, so it needs a response of DynamoDB.
			if r := invoke(t, f, event(t, "http-api", fmt.Sprintf("h%d.spec-trust.test", n), "/")); r.StatusCode != 404 {
				t.Errorf("blackhole %v, %d: %+v", blackhole, n, r)
			}
			if flows, met := relay.Flows(), relay.Resets(); flows != n+1 || met != n {
				t.Errorf("blackhole %v, %d: %d flows, %d of them met after they were forgotten", blackhole, n, flows, met)
			}
		}
		if log := f.Log(); strings.Contains(log, `"level":"WARN"`) || strings.Contains(log, `"level":"ERROR"`) {
			t.Errorf("blackhole %v: %s", blackhole, log)
		}
	}
}

// The end of a request must not end a lookup that another request waits for.
func TestConcurrentRequestsDoNotEndEachOthersLookups(t *testing.T) {
	t.Parallel()
	const most = 8
	o := newOutage(t, "ROUTES_TTL=50ms", fmt.Sprintf("AWS_LAMBDA_MAX_CONCURRENCY=%d", most))
	o.get(t, t.Context(), o.host)
	release := make(chan struct{})
	o.relay.Set(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		if strings.Contains(string(body), "unknown") {
			<-release
		}
		return o.table.answer(w, r, body)
	})
	before := o.relay.Requests()
	var all sync.WaitGroup
	for i := range most / 4 {
		all.Go(func() {
			if r, err := o.f.Invoke(t.Context(), event(t, "function-url", fmt.Sprintf("unknown%d.spec-trust.test", i), "/")); err != nil || !strings.Contains(string(r.Body), `"statusCode":404`) {
				t.Errorf("%s, %v", r.Body, err)
			}
		})
	}
	err := o.relay.AwaitRequests(t.Context(), before+most/4)
	// Each of these ends with the lookup that refreshes its route. Meanwhile the lookups of the others must not time out.
	for refreshed := before + most/4 + 3; o.relay.Requests() < refreshed; {
		if got := o.get(t, t.Context(), o.host); !strings.Contains(got, `"statusCode":200`) {
			t.Errorf("%s", got)
		}
	}
	close(release)
	all.Wait()
	if err != nil {
		t.Error(err)
	}
	o.idle(t)
}
