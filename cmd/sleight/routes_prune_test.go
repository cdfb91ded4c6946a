package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// importSum is the output of --output json.
type importSum struct {
	Routes, Created, Updated, Unchanged, Conflicts, Failed, Unknown, Left, Removed int

	ToRemove         int `json:"to_remove"`
	RemovedConflicts int `json:"removed_conflicts"`
	RemovedFailed    int `json:"removed_failed"`
	RemovedUnknown   int `json:"removed_unknown"`
	RemovedLeft      int `json:"removed_left"`

	Interrupted bool
	Problems    []struct{ Host, What, Error string }
}

func readSum(t *testing.T, document string) (s importSum) {
	t.Helper()
	if err := json.Unmarshal([]byte(document), &s); err != nil {
		t.Fatalf("%v of %.300q", err, document)
	}
	if s.Created+s.Updated+s.Unchanged+s.Conflicts+s.Failed+s.Unknown+s.Left != s.Routes || s.Removed+s.RemovedConflicts+s.RemovedFailed+s.RemovedUnknown+s.RemovedLeft != s.ToRemove {
		t.Errorf("it does not add up: %+v", s)
	}
	return s
}

// refusing returns the URL of a relay. It refuses the requests of one action from number first to number last, with this type of
// error.
func refusing(t *testing.T, db *dynamodbtest.Server, action, kind string, first, last int64) string {
	t.Helper()
	relay := dynamodbtest.NewRelay(t, db.Endpoint)
	var n atomic.Int64
	relay.Set(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+action) {
			return false
		}
		if at := n.Add(1); at < first || at > last {
			return false
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":"no"}`, kind)
		return true
	})
	return relay.Endpoint
}

// newPruned makes a table with that many routes, for a command at an endpoint.
func newPruned(t *testing.T, db *dynamodbtest.Server, endpoint string, routes int) (o *tableTool, table string) {
	t.Helper()
	table = db.CreateRoutesTable(t)
	items := map[string]origin.Item{}
	for n := range routes {
		host := fmt.Sprintf("h%02d.test", n)
		items[host] = storedItem(host, 1, "")
	}
	o = &tableTool{&dynamodbtest.Server{Client: db.Client, Endpoint: endpoint}, t.TempDir()}
	o.putAll(t, table, items)
	return o, table
}

const noRoutes = `{"routes":[]}`

func TestRoutesThatADocumentHasNot(t *testing.T) {
	t.Parallel()
	db := dynamodbtest.Start(t)
	for name, test := range map[string]func(*testing.T, *dynamodbtest.Server){
		"who has removed some is not told that nothing was written":   testRemovedBeforeTheEnd,
		"a refused removal is not counted as a route of the document": testRefusedRemoval,
		"a route that was changed after the question is not removed":  testChangedBeforeRemoval,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, db) })
	}
}

func testRemovedBeforeTheEnd(t *testing.T, db *dynamodbtest.Server) {
	t.Run("denied", func(t *testing.T) {
		t.Parallel()
		o, table := newPruned(t, db, refusing(t, db, "DeleteItem", "AccessDeniedException", 20, 1000), 40)
		status, out, err := o.run(t, noRoutes, "import", "-", "--table", table, "--prune", "--yes", "--parallel", "1")
		if status != 1 || !strings.Contains(out, "; 19 not in the document removed, 21 left\n") || !strings.Contains(err, "(0 of 0 routes done, 19 of 40 removed; the same command goes on from there)") {
			t.Errorf("%d %q %q", status, out, err)
		}
		if n := o.count(t, table); n != 21 {
			t.Errorf("%d routes", n)
		}
	})

	t.Run("interrupted while answers are lost", func(t *testing.T) {
		t.Parallel()
		var asked atomic.Int64
		all := make(chan struct{})
		var once sync.Once
		o, table := newPruned(t, db, db.Relay(t, nil, func(action string) bool {
			if action != "DeleteItem" {
				return false
			}
			n := asked.Add(1)
			if n == 25 {
				once.Do(func() { close(all) })
			}
			return n > 10
		}), 40)
		c := o.command(t, "import", writeFile(t, "none.json", noRoutes), "--table", table, "--prune", "--yes", "--parallel", "4")
		var out, err strings.Builder
		c.Stdout, c.Stderr = &out, &err
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		<-all
		c.Process.Signal(syscall.SIGINT)
		c.Wait()
		left := o.count(t, table)
		unknown := 30 - left
		want := fmt.Sprintf("sleight: interrupted: 0 of 0 routes done, 10 of 40 removed, %d not known whether removed; the same command goes on from there\n", unknown)
		if c.ProcessState.ExitCode() != 130 || unknown < 1 || err.String() != want || !strings.Contains(out.String(), fmt.Sprintf("; 10 not in the document removed, %d not known, %d left\n", unknown, 30-unknown)) {
			t.Errorf("%v, %d left: %q %q, want %q", c.ProcessState, left, out.String(), err.String(), want)
		}
	})
}

func testRefusedRemoval(t *testing.T, db *dynamodbtest.Server) {
	document := routesDocument(t, storedItem("h00.test", 1, ""), storedItem("h01.test", 1, ""))
	for _, as := range []string{"table", "json"} {
		t.Run(as, func(t *testing.T) {
			t.Parallel()
			o, table := newPruned(t, db, refusing(t, db, "DeleteItem", "ValidationException", 5, 6), 30)
			status, out, err := o.run(t, document, "import", "-", "--table", table, "--prune", "--yes", "-o", as)
			if status != 1 || !strings.HasSuffix(err, "sleight: 2 routes not removed\n") || strings.Count(err, "refused by DynamoDB") != 2 || strings.Count(err, `sleight: route "h`) != 2 {
				t.Errorf("%d %q", status, err)
			}
			if n := o.count(t, table); n != 4 {
				t.Errorf("%d routes", n)
			}
			if as == "table" {
				if out != "2 routes: 0 created, 0 updated, 2 unchanged, 0 conflicts, 0 failed; 26 not in the document removed, 2 failed\n" {
					t.Error(out)
				}
				return
			}
			sum := readSum(t, out)
			if sum.Routes != 2 || sum.Unchanged != 2 || sum.Left != 0 || sum.Removed != 26 || sum.RemovedFailed != 2 || sum.ToRemove != 28 || len(sum.Problems) != 2 || sum.Problems[0].What != "removed_failed" {
				t.Errorf("%+v", sum)
			}
		})
	}
}

// As in "routes rm", somebody else may write before the question is answered, or before the removal.
func testChangedBeforeRemoval(t *testing.T, db *dynamodbtest.Server) {
	for _, action := range []string{"BatchGetItem", "DeleteItem"} {
		for _, as := range []string{"table", "json"} {
			var p *place
			var once sync.Once
			changed := `{"host":"b.test","origin":"x.test","version":2,"updated_by":"eve@host"}`
			p = newTablePlace(t, db, db.Relay(t, func(asked string) {
				if asked == action {
					once.Do(func() { p.put(t, changed) })
				}
			}, nil))
			for _, host := range []string{"a.test", "b.test", "c.test"} {
				p.put(t, fmt.Sprintf(`{"host":%q,"origin":"o.test","version":1}`, host))
			}
			o := p.run(t, "import", writeFile(t, "none.json", noRoutes), "--prune", "--yes", "--parallel", "1", "-o", as)
			if o.status != 3 || o.err != "sleight: route \"b.test\" was changed meanwhile by \"eve@host\" (origin); it was not removed\n"+
				"sleight: 1 route changed by others meanwhile and not removed; to work from the current routes, run the same command again\n" {
				t.Errorf("%s: %+v", action, o)
			}
			p.want(t, "a.test", "")
			p.want(t, "b.test", changed)
			p.want(t, "c.test", "")
			if as == "table" {
				wantSays(t, action, o.out, "; 2 not in the document removed, 1 changed by others meanwhile\n")
			} else if sum := readSum(t, o.out); sum.Removed != 2 || sum.RemovedConflicts != 1 || len(sum.Problems) != 1 || sum.Problems[0].What != "removed_conflict" {
				t.Errorf("%+v", sum)
			}
			p.must(t, "import", writeFile(t, "none.json", noRoutes), "--prune", "--yes")
			p.want(t, "b.test", "")
		}
	}
}
