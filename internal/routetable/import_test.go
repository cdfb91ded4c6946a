package routetable

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

// relay is a proxy in front of DynamoDB Local. before may answer a request in its place, and after may replace the response. Both
// return false if they leave it as it is.
type relay struct {
	before, after func(w http.ResponseWriter, action string, n int64) bool
	n             atomic.Int64
}

func (r *relay) start(t *testing.T, db *dynamodbtest.Server) *sdk.Client {
	t.Helper()
	target, err := url.Parse(db.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		_, action, _ := strings.Cut(request.Header.Get("X-Amz-Target"), ".")
		n := r.n.Add(1)
		if r.before != nil && r.before(w, action, n) {
			return
		}
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, request)
		if r.after != nil && r.after(w, action, n) {
			return
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		io.Copy(w, answer.Body)
	}))
	t.Cleanup(func() { s.Close(); transport.CloseIdleConnections() })
	return sdk.New(db.Client.Options(), func(o *sdk.Options) {
		o.BaseEndpoint, o.HTTPClient = &s.URL, s.Client()
	})
}

// The comparison decides whether a route is written. With an old copy, an import would not write a route that has changed since.
func TestAllReadsAreConsistent(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		mu.Lock()
		seen[action] = bytes.Contains(body, []byte(`"ConsistentRead":true`))
		mu.Unlock()
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		io.WriteString(w, map[string]string{"GetItem": `{}`, "BatchGetItem": `{"Responses":{"routes":[]},"UnprocessedKeys":{}}`, "Scan": `{"Items":[],"Count":0,"ScannedCount":0}`}[action])
	}))
	defer s.Close()
	d := &DynamoDB{Table: "routes", Client: dynamodbtest.NewClient(s.URL)}
	if _, err := d.Get(t.Context(), "a.test"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, _, err := d.readBatch(t.Context(), []string{"a.test"}); err != nil {
		t.Error(err)
	}
	if _, _, err := d.readPage(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if want := map[string]bool{"GetItem": true, "BatchGetItem": true, "Scan": true}; !maps.Equal(seen, want) {
		t.Errorf("consistent: %v", seen)
	}
}

func answerError(w http.ResponseWriter, status int, code string) bool {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"__type":"com.amazonaws.sdk.v20120810#%s","message":"injected"}`, code)
	return true
}

// cutAnswer begins a response and breaks it off.
func cutAnswer(w http.ResponseWriter) bool {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("Content-Length", "100")
	io.WriteString(w, "{")
	return true
}

func contents(t *testing.T, table Table) map[string]origin.Item {
	t.Helper()
	all := map[string]origin.Item{}
	for item, err := range table.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all[item.Host()] = item
	}
	return all
}

func TestImport(t *testing.T) {
	db := dynamodbtest.Start(t)
	newTable := func(t *testing.T) *DynamoDB { return &DynamoDB{Client: db.Client, Table: db.CreateRoutesTable(t)} }

	t.Run("faults of every kind lose and double nothing", func(t *testing.T) {
		t.Parallel()
		hangUp := func() bool { panic(http.ErrAbortHandler) }
		table := newTable(t)
		r := &relay{
			before: func(w http.ResponseWriter, action string, n int64) bool {
				if action != "PutItem" && n%5 != 0 {
					return false
				}
				switch n % 17 {
				case 0:
					return answerError(w, 400, "ProvisionedThroughputExceededException")
				case 3:
					return answerError(w, 400, "ThrottlingException")
				case 5:
					return answerError(w, 400, "RequestLimitExceeded")
				case 7:
					return answerError(w, 400, "TransactionConflictException")
				case 9:
					return answerError(w, 500, "InternalServerError")
				case 11:
					return hangUp()
				}
				return false
			},
			after: func(w http.ResponseWriter, action string, n int64) bool {
				switch n % 13 {
				case 1: // the route is written, but the response is lost
					return hangUp()
				case 2:
					return answerError(w, 500, "InternalServerError")
				case 3, 4, 5: // the route is written, but the response breaks off
					return cutAnswer(w)
				}
				return false
			},
		}
		for n := range 40 {
			old := route(n, "note", "old", "version", "6")
			if n%2 == 0 {
				old = route(n, "version", "6")
			}
			if err := table.Write(t.Context(), Change{nil, old}); err != nil {
				t.Fatal(err)
			}
		}
		faulty := &DynamoDB{Client: dynamodb.WithoutRetries(r.start(t, db)), Table: table.Table}
		retrying := newRetrying(faulty)
		retrying.pace.longest = 5 * time.Millisecond
		sum, err := tally(t.Context(), &Import{Table: retrying, By: "me"}, sequence(routes(300)...))
		if err != nil || sum[Created] != 260 || sum[Updated] != 20 || sum[Unchanged] != 20 {
			t.Errorf("%v, %v", sum, err)
		}
		all := contents(t, table)
		for n := range 300 {
			want := map[bool]int64{true: 7}[n < 40] // a new route is as in the document
			if n < 40 && n%2 == 0 {
				want = 6
			}
			if got := all[route(n).Host()]; !got.SameRoute(route(n)) || Version(got) != want {
				t.Errorf("%v, want version %d", got, want)
			}
		}
		if len(all) != 300 {
			t.Errorf("%d routes", len(all))
		}
	})

	t.Run("two at a time", func(t *testing.T) {
		t.Parallel()
		table := newTable(t)
		for n := range 200 {
			if err := table.Write(t.Context(), Change{nil, route(n, "note", "old", "version", "1")}); err != nil {
				t.Fatal(err)
			}
		}
		var sums [2]map[Result]int
		var running sync.WaitGroup
		for i := range sums {
			running.Go(func() {
				var err error
				sums[i], err = tally(t.Context(), &Import{Table: table, By: fmt.Sprint(i)}, sequence(routes(400)...))
				if err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		if got := sums[0][Updated] + sums[1][Updated]; got != 200 {
			t.Errorf("%d are updated, want each of 200 once: %v", got, sums)
		}
		// If two imports make the same route, neither can know which of them made it.
		if got := sums[0][Created] + sums[1][Created]; got < 200 || got > 400 || got+200+sums[0][Unchanged]+sums[1][Unchanged] != 800 {
			t.Errorf("the counts do not add up: %v", sums)
		}
		for host, item := range contents(t, table) {
			n := 0
			fmt.Sscanf(host, "h%d.", &n)
			if want := map[bool]int64{true: 2}[n < 200]; Version(item) != want {
				t.Errorf("%v, want version %d", item, want)
			}
		}
	})

	t.Run("what the document has seen", func(t *testing.T) {
		t.Parallel()
		table := newTable(t)
		for _, item := range []origin.Item{
			route(0, "note", "x", "version", "3", "updated_by", "alice", "updated_at", "2026-01-02T03:04:05Z"),
			route(1, "note", "x", "version", "3"),
			route(2, "note", "x"), // by hand
			route(3, "version", "9"),
		} {
			if err := table.Write(t.Context(), Change{nil, item}); err != nil {
				t.Fatal(err)
			}
		}
		before := contents(t, table)
		document := []origin.Item{
			route(0, "note", "y", "version", "2"),
			route(1, "note", "y", "version", "3"),
			route(2, "note", "y", "version", "1"),
			route(3, "version", "2"), // the same route
			route(4, "version", "7", "updated_by", "bob", "updated_at", "then"),
			route(5),
		}
		var dry []string
		im := &Import{Table: table, By: "me", DryRun: true, Report: func(o Outcome) { dry = append(dry, fmt.Sprint(o.Host[:2], " ", o.Result)) }}
		if err := im.Run(t.Context(), sequence(document...), nil); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(dry), "[h0 conflict h1 updated h2 conflict h3 unchanged h4 created h5 created]"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if after := contents(t, table); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("a dry run made %v of %v", after, before)
		}
		var stale *StaleError
		im = &Import{Table: table, By: "me", Report: func(o Outcome) {
			if o.Host == "h0.example.com" {
				errors.As(o.Err, &stale)
			}
		}}
		if err := im.Run(t.Context(), sequence(document...), nil); err != nil {
			t.Fatal(err)
		}
		if stale == nil || !strings.Contains(stale.Error(), `seen version 2, and the stored route has version 3 by "alice" at 2026-01-02T03:04:05Z, with another note`) {
			t.Errorf("%v", stale)
		}
		after := contents(t, table)
		if !after["h0.example.com"].Equal(before["h0.example.com"]) || !after["h2.example.com"].Equal(before["h2.example.com"]) || !after["h3.example.com"].Equal(before["h3.example.com"]) {
			t.Errorf("%v", after)
		}
		if i := after["h1.example.com"]; Version(i) != 4 || i["updated_by"] != "me" || i["note"] != "y" {
			t.Errorf("%v", i)
		}
		if !after["h4.example.com"].Equal(document[4]) || !after["h5.example.com"].Equal(document[5]) {
			t.Errorf("%v", after)
		}
		sum, err := tally(t.Context(), &Import{Table: table, By: "me", Overwrite: true}, sequence(document...))
		after = contents(t, table)
		if err != nil || sum[Updated] != 2 || sum[Unchanged] != 4 || Version(after["h0.example.com"]) != 4 || Version(after["h2.example.com"]) != 1 {
			t.Errorf("%v, %v, %v", sum, err, after)
		}
	})

	t.Run("a route that DynamoDB refuses fails alone", func(t *testing.T) {
		t.Parallel()
		table := newTable(t)
		document := append(routes(150), route(999, "note", strings.Repeat("x", 410<<10)))
		sum, err := tally(t.Context(), &Import{Table: table}, sequence(document...))
		if err != nil || sum[Created] != 150 || sum[NotWritten] != 1 {
			t.Errorf("%v, %v", sum, err)
		}
	})

	t.Run("large routes", func(t *testing.T) {
		t.Parallel()
		table := newTable(t)
		var document []origin.Item
		for n := range 120 { // more than one read returns
			document = append(document, route(n, "note", strings.Repeat("x", 200<<10)))
		}
		for n, want := range []Result{Created, Unchanged} {
			if sum, err := tally(t.Context(), &Import{Table: Retrying(table)}, sequence(document...)); err != nil || sum[want] != 120 {
				t.Errorf("%d: %v, %v", n, sum, err)
			}
		}
	})

	t.Run("no table", func(t *testing.T) {
		t.Parallel()
		var request *RequestError
		sum, err := tally(t.Context(), &Import{Table: &DynamoDB{Client: db.Client, Table: "nowhere"}}, sequence(routes(1000)...))
		if !errors.As(err, &request) || request.Kind != NoTable || len(sum) != 0 {
			t.Errorf("%v, %v", sum, err)
		}
	})

	t.Run("numbers that DynamoDB writes differently are unchanged", func(t *testing.T) {
		t.Parallel()
		table := newTable(t)
		var document origin.Item
		if err := document.UnmarshalJSON([]byte(`{"host":"a.test","origin":"b.test","weight":1.50,"more":[{"n":1e2},-0,0.10E+3,12345678901234567890123456789012345678]}`)); err != nil {
			t.Fatal(err)
		}
		for _, want := range []Result{Created, Unchanged} {
			if sum, err := tally(t.Context(), &Import{Table: table, AsIs: true}, sequence(document)); err != nil || sum[want] != 1 {
				t.Errorf("%v, %v; want %s", sum, err, want)
			}
		}
	})

	t.Run("what the document has not is removed", func(t *testing.T) {
		t.Parallel()
		table := newTable(t)
		if sum, err := tally(t.Context(), &Import{Table: table}, sequence(routes(250)...)); err != nil || sum[Created] != 250 {
			t.Fatalf("%v, %v", sum, err)
		}
		hosts := map[string]int{route(7).Host(): 1, route(300).Host(): 2}
		others, all, err := Others(t.Context(), Retrying(table), hosts)
		if err != nil || all != 250 || len(others) != 249 {
			t.Fatalf("%d of %d, %v", len(others), all, err)
		}
		sum, err := tally(t.Context(), &Import{Table: table}, sequence(route(7), route(300)), others...)
		if got := contents(t, table); err != nil || sum[Removed] != 249 || sum[Created] != 1 || sum[Unchanged] != 1 || len(got) != 2 {
			t.Errorf("%v, %v, %v", sum, err, got)
		}
	})
}

func TestImportIntoAFileIsOneReplacement(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "routes.json")
	file, _, err := OpenOrCreateFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := tally(t.Context(), &Import{Table: file, By: "me"}, sequence(routes(300)...))
	if err != nil || sum[Created] != 300 {
		t.Fatalf("%v, %v", sum, err)
	}
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	document := append([]origin.Item{route(0, "note", "new"), route(1, "note", "new", "version", "8"), route(500, "version", "4")}, routes(300)[2:250]...)

	// After a document that breaks off, and after an interruption, the file is as before.
	broken := errors.New("broken")
	sum, err = tally(t.Context(), &Import{Table: file}, func(yield func(origin.Item, error) bool) {
		if yield(document[0], nil) {
			yield(nil, broken)
		}
	})
	if now, _ := os.ReadFile(name); !errors.Is(err, broken) || len(sum) != 0 || !bytes.Equal(now, before) {
		t.Errorf("%v, %v", sum, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	sum, err = tally(ctx, &Import{Table: file}, func(yield func(origin.Item, error) bool) {
		if yield(document[0], nil) {
			cancel()
			yield(document[1], nil)
		}
	})
	if now, _ := os.ReadFile(name); !errors.Is(err, context.Canceled) || len(sum) != 0 || !bytes.Equal(now, before) {
		t.Errorf("%v, %v", sum, err)
	}
	hosts := map[string]int{}
	for _, item := range document {
		hosts[item.Host()] = 1
	}
	others, _, err := Others(t.Context(), file, hosts)
	if err != nil {
		t.Fatal(err)
	}
	sum, err = tally(t.Context(), &Import{Table: file, DryRun: true}, sequence(document...), others...)
	if now, _ := os.ReadFile(name); err != nil || sum[Created] != 1 || sum[Removed] != 50 || !bytes.Equal(now, before) {
		t.Errorf("a dry run: %v, %v", sum, err)
	}
	sum, err = tally(t.Context(), &Import{Table: file, By: "me"}, sequence(document...), others[:2]...)
	if err != nil || sum[Created] != 1 || sum[Updated] != 1 || sum[Conflicting] != 1 || sum[Unchanged] != 248 || sum[Removed] != 2 {
		t.Errorf("%v, %v", sum, err)
	}
	all := contents(t, file)
	if len(all) != 299 || Version(all["h0.example.com"]) != 1 || all["h1.example.com"]["note"] != nil || Version(all["h500.example.com"]) != 4 {
		t.Errorf("%d: %v", len(all), all["h0.example.com"])
	}
}

// An import may have no check before it, and the document may have changed since the check.
func TestRouteThatCannotBeUsedIsNotImported(t *testing.T) {
	t.Parallel()
	file, _, err := OpenOrCreateFile(filepath.Join(t.TempDir(), "routes.json"))
	if err != nil {
		t.Fatal(err)
	}
	document := sequence(route(0), route(1, "tls_min", "1.1"))
	sum, err := tally(t.Context(), &Import{Table: file}, document)
	if all := contents(t, file); err != nil || sum[Created] != 1 || sum[NotWritten] != 1 || len(all) != 1 {
		t.Errorf("%v, %v: %v", sum, err, all)
	}
	sum, err = tally(t.Context(), &Import{Table: file, AsIs: true}, document)
	if all := contents(t, file); err != nil || sum[Created] != 1 || sum[Unchanged] != 1 || len(all) != 2 {
		t.Errorf("as it is: %v, %v: %v", sum, err, all)
	}
}

func TestDocumentsThatCannotBeImported(t *testing.T) {
	t.Parallel()
	many := `{"host":"a.test","origin":5}`
	for _, c := range []struct {
		name, document string
		asIs           bool
		count          int
		says           string
	}{
		{"not JSON", "routes:\n- host: a.test", false, 1, "line 1, column 1"},
		{"empty", "", false, 1, "line 1, column 1: unexpected EOF"},
		{"cut off", `{"routes":[{"host":"a.test","origin":"b.test"},`, false, 1, "line 1, column 48: route 2 of the list: unexpected EOF"},
		{"no routes", `{}`, false, 1, `has no "routes"`},
		{"an array", `[]`, false, 1, "has to be JSON of the form"},
		{"something behind it", `{"routes":[]}x`, false, 1, "column 14"},
		{"broken in the middle", "{\"routes\":[\n{\"host\":\"a.test\",\"origin\":\"b.test\"},\n{\"host\" \"b\"}]}", false, 1, "line 3, column 9"},
		{"not UTF-8", "{\"routes\":[\n{\"host\":\"a.test\",\"origin\":\"b.test\",\"note\":\"\ufffd caf\xe9\"}]}", false, 1, "line 2, column 51: is not UTF-8"},
		{"UTF-16", "\xff\xfe{\x00}\x00", false, 2, "line 1, column 1: is not UTF-8"},
		{"a byte order mark", "\ufeff" + `{"routes":[]}`, false, 2, "line 1, column 1: begins with a byte order mark"},
		{"an attribute twice", `{"routes":[{"host":"a.test","host":"b.test"}]}`, false, 1, `has "host" twice`},
		{"misspelt", `{"routes":[{"host":"a.test","orgin":"b.test"},{"host":"b.test","origin":"c.test","port":1}]}`, false, 2, `route 1 of the list: origin: route "a.test": attribute "origin" is missing`},
		{"a host twice", `{"routes":[{"host":"a.test","origin":"b.test"},{"host":"c.test","origin":"b.test"},{"host":"a.test","origin":"b.test"}]}`, false, 1, `route 3 of the list: host "a.test" is there already, as route 1`},
		{"problems, and then no JSON", `{"routes":[{"host":"A.test","origin":"b.test"},?]}`, false, 2, "has to be written as"},
		{"many problems", `{"routes":[` + strings.Repeat(many+",", 999) + many + `]}`, false, 1999, "attribute"},
		{"invalid is allowed, no host is not", `{"routes":[{"host":"a.test","orgin":"b.test"},{"host":5},{"origin":"x"}]}`, true, 2, "route 2 of the list"},
		{"invalid is allowed, twice is not", `{"routes":[{"host":"a.test","orgin":"b.test"},{"host":"a.test"}]}`, true, 1, "is there already"},
	} {
		checked, err := Check(t.Context(), strings.NewReader(c.document), c.asIs)
		if err != nil || checked.Count != c.count || len(checked.Problems) != min(c.count, maxProblems) || !strings.Contains(fmt.Sprint(checked.Problems), c.says) {
			t.Errorf("%s: %d problems, want %d: %.300v, want %q; %v", c.name, checked.Count, c.count, checked.Problems, c.says, err)
		}
	}
	for _, note := range []string{"café \u2028 日本 \ufffd", strings.Repeat("日本", 50_000)} {
		document := fmt.Sprintf(`{"routes":[{"host":"a.test","origin":"b.test","note":%q}]}`, note)
		for _, r := range []io.Reader{strings.NewReader(document), iotest.OneByteReader(strings.NewReader(document))} {
			if c, err := Check(t.Context(), r, false); err != nil || c.Count != 0 {
				t.Errorf("%.100s: %v, %v", document, c, err)
			}
		}
	}
	if c, err := Check(t.Context(), strings.NewReader(`{"routes":[{"host":"a.test","origin":"b.test"},{"host":"*.a.test","origin":"b.test"}]}`), false); err != nil || c.Count != 0 || c.Routes != 2 || c.Hosts["*.a.test"] != 2 {
		t.Errorf("%+v, %v", c, err)
	}
}

// A document without problems is imported as a whole.
func FuzzImport(f *testing.F) {
	f.Add([]byte(`{"routes":[{"host":"a.test","origin":["b.test","c.test:8443"],"spki_pins":["47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]},{"host":"*.b.test","origin":"x.test","version":3}]}`), false)
	f.Add([]byte(`{"routes":[{"host":"a.test","version":1e400,"x":{"y":[null,-0.10]}},{"host":"b","note":"\ud800"}]}`), true)
	f.Add([]byte(`{"routes":[{"host":"a.test"},{"host":"a.test","origin":5},`), true)
	f.Add([]byte("{\"routes\":[\n,]}"), false)
	f.Add([]byte(`{"routes":[]}`), false)
	f.Fuzz(func(t *testing.T, document []byte, asIs bool) {
		checked, err := Check(t.Context(), bytes.NewReader(document), asIs)
		if err != nil {
			t.Fatal(err)
		}
		if checked.Count > 0 {
			return
		}
		table := newFake()
		for n, want := range []Result{Created, Unchanged} {
			sum, err := tally(t.Context(), &Import{Table: table, AsIs: asIs}, origin.Items(bytes.NewReader(document)))
			if err != nil || sum[want] != checked.Routes || len(table.items) != checked.Routes {
				t.Fatalf("run %d: %v, %v", n, sum, err)
			}
		}
		for host, item := range table.items {
			if _, err := json.Marshal(item); err != nil || item.Host() != host {
				t.Fatalf("%v: %v", item, err)
			}
		}
	})
}
