package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
)

// Other engines than AWS's, and responses that do not arrive.
func TestRoutesOfOtherEngines(t *testing.T) {
	t.Parallel()
	db := dynamodbtest.Start(t)
	for name, test := range map[string]func(*testing.T, *dynamodbtest.Server){
		"nothing is said to be removed that is there":           testRemovedIsGone,
		"a change without a name is not said to be mine":        testChangeWithoutName,
		"what is not known is counted so":                       testNotKnownIsCounted,
		"what is not known stays so if it is refused then":      testNotKnownAfterARefusal,
		"an answer that is cut off is asked for again":          testCutAnswer,
		"a version is told as it is stored":                     testVersionAsStored,
		"what an export leaves out is named by host and order":  testExportNamesHosts,
		"what an export leaves out is named after other faults": testExportNamesAllItLeavesOut,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, db) })
	}
}

func testRemovedIsGone(t *testing.T, db *dynamodbtest.Server) {
	const mine, theirs = `{"host":"a.test","origin":"b.test","version":1}`, `{"host":"a.test","origin":"x.test","version":2,"updated_by":"eve@host"}`
	empty := filepath.Join(t.TempDir(), "none.json")
	if err := os.WriteFile(empty, []byte(`{"routes":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"rm", "--yes", "a.test"}, {"import", empty, "--prune", "--yes"}, {"put", "a.test", "--force", "--origin", "c.test"}, {"disable", "a.test"}} {
		var p *place
		var once sync.Once
		ready := make(chan struct{})
		p = newTablePlace(t, db, db.Altered(t, func(action string, answer *httptest.ResponseRecorder) {
			<-ready
			if action == "GetItem" || action == "BatchGetItem" { // somebody writes before the next write
				once.Do(func() { p.put(t, theirs) })
			}
			dynamodbtest.WithoutItem(action, answer)
		}))
		p.put(t, mine)
		close(ready)
		o := p.run(t, args...)
		if args[0] == "disable" { // it reads the route again
			if o.status != 0 {
				t.Errorf("%q: %+v", args, o)
			}
		} else if args[0] == "import" {
			if o.status != 3 || !strings.Contains(o.out, "; 0 not in the document removed, 1 changed by others meanwhile") || !strings.Contains(o.err, `route "a.test" was changed meanwhile by "eve@host"`) {
				t.Errorf("%q: %+v", args, o)
			}
		} else if o.status != 3 || strings.Contains(o.out, "Removed") || !strings.Contains(o.err, `Somebody else has changed "a.test" meanwhile by "eve@host"`) {
			t.Errorf("%q: %+v", args, o)
		}
		if got, err := p.table.Get(t.Context(), "a.test"); err != nil || got["origin"] != "x.test" {
			t.Errorf("%q: %v, %v", args, got, err)
		}
	}
}

func testChangeWithoutName(t *testing.T, db *dynamodbtest.Server) {
	const mine = `{"host":"a.test","origin":"b.test","version":1,"updated_by":"me@host","updated_at":"2030-01-31T11:00:00Z"}`
	theirs := strings.Replace(mine, `"version":1`, `"version":2,"note":"theirs"`, 1)
	const says = "by a tool that does not say who"
	for _, args := range [][]string{{"rm", "--yes", "a.test"}, {"put", "a.test", "--force", "--note", "mine"}} {
		p := raceOn(t, db, func(p *place) { p.put(t, theirs) })
		p.put(t, mine)
		o := p.run(t, args...)
		if o.status != 3 || strings.Count(o.err, says) != 2 || strings.Contains(o.err, "me@host") {
			t.Errorf("%q: %+v", args, o)
		}
	}
	p := newTablePlace(t, db, db.Endpoint)
	p.put(t, theirs)
	file := filepath.Join(t.TempDir(), "mine.json")
	for document, args := range map[string][]string{
		mine: {"put", "--force", "--file", file},
		`{"routes":[` + strings.Replace(mine, "b.test", "c.test", 1) + `]}`: {"import", file},
	} {
		if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		if o := p.run(t, args...); o.status != 3 || !strings.Contains(o.err, says) || strings.Contains(o.err, "me@host") {
			t.Errorf("%q: %+v", args, o)
		}
	}
}

func testNotKnownIsCounted(t *testing.T, db *dynamodbtest.Server) {
	var all sync.WaitGroup // the SDK waits between its attempts
	defer all.Wait()
	for _, c := range []struct {
		action, what string
		args         []string
	}{
		{"DeleteItem", "0 of 2 routes removed, 1 not known, 1 left as they were", []string{"rm", "--yes", "a.test", "b.test"}},
		{"PutItem", "0 of 2 routes disabled, 1 not known, 1 left as they were", []string{"disable", "a.test", "b.test"}},
	} {
		for _, as := range []string{"table", "json"} {
			p := newTablePlace(t, db, db.Altered(t, dynamodbtest.CutOff(c.action, math.MaxInt64)))
			p.put(t, `{"host":"a.test","origin":"o.test","version":1}`)
			p.put(t, `{"host":"b.test","origin":"o.test","version":1}`)
			all.Go(func() {
				o := p.run(t, slices.Concat(c.args, []string{"-o", as})...)
				if o.status != 1 || strings.Count(o.err, "whether it was written is not known") != 1 || !strings.Contains(o.err, `route "a.test"`) {
					t.Errorf("%q: %+v", c.args, o)
				}
				if as == "table" {
					wantSays(t, c.action, o.out, c.what)
					return
				}
				var sum struct {
					Unknown, Left int
					Outcomes      []struct{ Host, What string }
				}
				if err := json.Unmarshal([]byte(o.out), &sum); err != nil || sum.Unknown != 1 || sum.Left != 1 || fmt.Sprint(sum.Outcomes) != "[{a.test unknown}]" {
					t.Errorf("%v: %s", err, o.out)
				}
			})
		}
	}
}

// The SDK retries, and its error is that of the last attempt.
func testNotKnownAfterARefusal(t *testing.T, db *dynamodbtest.Server) {
	var all sync.WaitGroup
	defer all.Wait()
	for action, args := range map[string][]string{
		"DeleteItem": {"rm", "--yes", "a.test", "b.test"}, "PutItem": {"disable", "a.test", "b.test"},
	} {
		behind := &dynamodbtest.Server{Endpoint: refusing(t, db, action, "AccessDeniedException", 2, math.MaxInt64)}
		p := newTablePlace(t, db, behind.Altered(t, dynamodbtest.CutOff(action, 1)))
		p.put(t, `{"host":"a.test","origin":"o.test","version":1}`)
		p.put(t, `{"host":"b.test","origin":"o.test","version":1}`)
		all.Go(func() {
			o := p.run(t, append(args, "-o", "json")...)
			var sum struct{ Done, Unknown, Left int }
			if err := json.Unmarshal([]byte(o.out), &sum); err != nil || o.status != 1 || sum.Unknown != 1 || sum.Left != 1 || sum.Done != 0 {
				t.Errorf("%v: %+v", err, o)
			}
			wantSays(t, action, o.err, `route "a.test"`, "needs the permission dynamodb:"+action, "an earlier attempt may have been carried out; whether it was written is not known")
			if got, err := p.table.Get(t.Context(), "a.test"); err == nil && got["enabled"] != false {
				t.Errorf("%s: the first attempt was not carried out: %v", action, got)
			}
		})
	}
}

func testCutAnswer(t *testing.T, db *dynamodbtest.Server) {
	var all sync.WaitGroup
	defer all.Wait()
	for action, args := range map[string][]string{
		"GetItem": {"get", "a.test"}, "Scan": {"list"}, "DeleteItem": {"rm", "--yes", "a.test"}, "PutItem": {"put", "--force", "a.test", "--note", "n"},
	} {
		for times, want := range map[int64]int{2: 0, 3: 1} {
			p := newTablePlace(t, db, db.Altered(t, dynamodbtest.CutOff(action, times)))
			p.put(t, `{"host":"a.test","origin":"o.test","version":1}`)
			all.Go(func() {
				o := p.run(t, args...)
				if o.status != want {
					t.Errorf("%s, cut %d times: %+v", action, times, o)
				}
				if want == 1 {
					wantSays(t, action, o.err, action, "cut off", "3 times")
				}
			})
		}
	}
}

func testVersionAsStored(t *testing.T, db *dynamodbtest.Server) {
	for _, version := range []string{"-3", "1.5", "99999999999999999999", ""} {
		p, was, attribute := newTablePlace(t, db, db.Endpoint), version, `,"version":`+version
		if version == "" {
			was, attribute = "none", ""
		}
		p.put(t, `{"host":"a.test","origin":"o.test"`+attribute+`}`)
		wantSays(t, version, p.must(t, "put", "--force", "a.test", "--note", "n"), "(version 1, was "+was+")")
	}
	// The output of "routes get" can be written back.
	p := newTablePlace(t, db, db.Endpoint)
	p.put(t, `{"host":"a.test","origin":"o.test","version":-3}`)
	file := filepath.Join(t.TempDir(), "route.json")
	for document, status := range map[string]int{`{"host":"a.test","origin":"o.test","version":2}`: 3, `{"host":"a.test","origin":"o.test","version":0}`: 3} {
		if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		if o := p.run(t, "put", "--force", "--file", file); o.status != status || !strings.Contains(o.err, "and the stored route has version -3 by a tool that does not say who; it was not written") {
			t.Errorf("%s: %+v", document, o)
		}
	}
	if err := os.WriteFile(file, []byte(`{"host":"a.test","origin":"o.test","note":"n","version":-3}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p.must(t, "put", "--force", "--file", file)
}

func testExportNamesHosts(t *testing.T, db *dynamodbtest.Server) {
	// moto and roto keep numbers as they were written.
	p := newTablePlace(t, db, db.Altered(t, func(action string, answer *httptest.ResponseRecorder) {
		if action == "Scan" {
			altered := strings.ReplaceAll(answer.Body.String(), `"4102444800"`, `"+4102444800"`)
			answer.Body.Reset()
			answer.Body.WriteString(altered)
		}
	}))
	for n := range 22 {
		p.put(t, fmt.Sprintf(`{"host":"h%02d.test","origin":"o.test","expires_at":4102444800}`, n))
	}
	db.Put(t, p.name, map[string]types.AttributeValue{"host": &types.AttributeValueMemberS{Value: "a.h00.test"}, "blob": &types.AttributeValueMemberB{Value: []byte{1}}})
	o := p.run(t, "export")
	if o.status != 1 {
		t.Errorf("%+v", o)
	}
	lines := strings.Split(o.err, "\n")
	wantSays(t, "first", lines[0], `route "h00.test": attribute "expires_at"`, "+4102444800", "left out")
	wantSays(t, "second", lines[1], `route "a.h00.test": attribute "blob"`)
	for n := 1; n <= 21; n++ {
		wantSays(t, "more", lines[n+1], fmt.Sprintf(`route "h%02d.test"`, n))
	}
	wantSays(t, "last", lines[len(lines)-2], "sleight: 23 routes left out")
	if strings.Count(o.err, `"a.h00.test"`) != 1 {
		t.Errorf("a host is named twice: %s", o.err)
	}
}

// An unusable route is exported. Standard error must name the items that are left out.
func testExportNamesAllItLeavesOut(t *testing.T, db *dynamodbtest.Server) {
	p := newTablePlace(t, db, db.Endpoint)
	for n := range 25 {
		p.put(t, fmt.Sprintf(`{"host":"a%02d.test","origin":"o.test","oops":"x"}`, n))
		db.Put(t, p.name, map[string]types.AttributeValue{
			"host": &types.AttributeValueMemberS{Value: fmt.Sprintf("z%02d.test", n)}, "origin": &types.AttributeValueMemberS{Value: "o.test"}, "note": &types.AttributeValueMemberB{Value: []byte{1}},
		})
	}
	o := p.run(t, "export")
	if o.status != 1 || strings.Count(o.err, "it is exported as it is") != 20 || strings.Count(o.err, "left out\n") != 26 {
		t.Errorf("%+v", o)
	}
	for n := range 25 {
		wantSays(t, "left out", o.err, fmt.Sprintf(`"z%02d.test"`, n))
	}
	wantSays(t, "the rest", o.err, `and 5 more that cannot be used, which "sleight routes list --invalid" lists`, "25 of which cannot be used; 25 left out\n")
	if !strings.HasSuffix(o.err, "sleight: 25 routes left out, which JSON cannot hold as they are\n") {
		t.Errorf("the last line does not count what is left out: %s", o.err)
	}
}

// Wrong endpoints of all kinds.
func TestEndpointsThatAreNoneAreExplained(t *testing.T) {
	t.Parallel()
	aws := []string{"ROUTES_TABLE=t", "AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test"}
	for _, endpoint := range []string{"127.0.0.1:8000", "localhost", "localhost:8000", "http://", "http//x", "ftp://127.0.0.1", "https://a b/", "http://:8000"} {
		o := execute(t, aws, "", "routes", "get", "a.test", "--endpoint-url", endpoint)
		wantSays(t, endpoint, o.err, fmt.Sprintf("--endpoint-url is %q", endpoint), "http://127.0.0.1:8000")
		byVariable := execute(t, append(aws, "AWS_ENDPOINT_URL_DYNAMODB="+endpoint), "", "routes", "get", "a.test")
		wantSays(t, endpoint, byVariable.err, "AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:8000")
		if o.status != 2 || byVariable.status != 2 {
			t.Errorf("%s: %+v, %+v", endpoint, o, byVariable)
		}
	}
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotImplemented)
		io.WriteString(w, "<!doctype html>")
	}))
	defer page.Close()
	o := execute(t, aws, "", "routes", "get", "a.test", "--endpoint-url", page.URL)
	if o.status != 1 || strings.Contains(o.err, "deserialization") {
		t.Errorf("%+v", o)
	}
	wantSays(t, "a web server", o.err, "the answer is not DynamoDB's", page.URL, "--endpoint-url", "501")
}
