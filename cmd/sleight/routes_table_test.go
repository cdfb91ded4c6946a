package main_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

// raceOn returns a place where another writer writes once, just before the command's first write.
func raceOn(t *testing.T, db *dynamodbtest.Server, theirs func(p *place)) *place {
	var p *place
	var once sync.Once
	ready := make(chan struct{})
	p = newTablePlace(t, db, db.Relay(t, func(action string) {
		if action == "PutItem" || action == "DeleteItem" {
			<-ready
			once.Do(func() { theirs(p) })
		}
	}, nil))
	close(ready)
	return p
}

func testLostRaces(t *testing.T, db *dynamodbtest.Server) {
	const stored = `{"host":"a.test","origin":"b.test","version":1}`
	for _, c := range []struct {
		name           string
		stored, theirs string
		args           []string
		want           string // with version; empty for a conflict, which leaves theirs
		version        string
		says           []string
	}{
		{"of another attribute", stored, `{"host":"a.test","origin":"b.test","note":"n","version":2}`, []string{"put", "--force", "a.test", "--tls-min", "1.3"}, `{"host":"a.test","origin":"b.test","note":"n","tls_min":"1.3"}`, "3", nil},
		{"of the same, to the same", stored, `{"host":"a.test","origin":"c.test","note":"n","version":2}`, []string{"put", "--force", "a.test", "--origin", "c.test"}, `{"host":"a.test","origin":"c.test","note":"n"}`, "2", nil},
		{"of the same", stored, `{"host":"a.test","origin":"x.test","version":2,"updated_by":"eve@host","updated_at":"2030-01-31T11:00:00Z"}`, []string{"put", "--force", "a.test", "--origin", "c.test"}, "", "", []string{
			`Somebody else has changed "a.test" meanwhile by "eve@host" at 2030-01-31T11:00:00Z. From what you saw to what is there now:`, "  - origin: b.test\n  + origin: x.test\n", "run the same command again"}},
		// The flag is meant, even if it would not have changed the route as it was seen.
		{"of one that was given unchanged", stored, `{"host":"a.test","origin":"x.test","version":2}`, []string{"put", "--force", "a.test", "--origin", "b.test", "--note", "n"}, "", "", []string{"+ origin: x.test"}},
		{"without counting", stored, `{"host":"a.test","origin":"x.test","version":1}`, []string{"put", "--force", "a.test", "--origin", "c.test"}, "", "", []string{"+ origin: x.test"}},
		{"while replacing", stored, `{"host":"a.test","origin":"b.test","note":"n","version":2}`, []string{"put", "--force", "a.test", "--replace", "--origin", "c.test"}, "", "", []string{"+ note: n"}},
		{"that does not go together", stored, `{"host":"a.test","origin":"http://b.test","version":2}`, []string{"put", "--force", "a.test", "--tls-min", "1.3"}, "", "", []string{"+ origin: http://b.test"}},
		{"removing it", stored, "", []string{"put", "--force", "a.test", "--note", "n"}, "", "", []string{`Somebody else has removed "a.test"`, "- origin: b.test"}},
		{"making it", "", `{"host":"a.test","origin":"x.test"}`, []string{"put", "--force", "a.test", "--origin", "c.test"}, "", "", []string{`Somebody else has created "a.test"`, "+ origin: x.test"}},
		{"while disabling", stored, `{"host":"a.test","origin":"x.test","version":2}`, []string{"disable", "a.test"}, `{"host":"a.test","origin":"x.test","enabled":false}`, "3", nil},
		{"while disabling what was enabled", stored, `{"host":"a.test","origin":"b.test","enabled":true,"version":2}`, []string{"disable", "a.test"}, "", "", []string{"+ enabled: true", "1 route changed by others"}},
		{"while removing", stored, `{"host":"a.test","origin":"x.test","version":2}`, []string{"rm", "--yes", "a.test"}, "", "", []string{"+ origin: x.test", "1 route changed by others"}},
		{"removing it as well", stored, "", []string{"rm", "--yes", "a.test"}, "GONE", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := raceOn(t, db, func(p *place) {
				if c.theirs != "" {
					p.put(t, c.theirs)
				} else if err := removeNow(t, p, "a.test"); err != nil {
					t.Error(err)
				}
			})
			if c.stored != "" {
				p.put(t, c.stored)
			}
			o := p.run(t, c.args...)
			switch {
			case c.want == "GONE":
				if o.status != 0 {
					t.Errorf("%+v", o)
				}
				p.want(t, "a.test", "")
			case c.want != "":
				if o.status != 0 {
					t.Errorf("%+v", o)
				}
				if got := p.want(t, "a.test", c.want); got["version"] != json.Number(c.version) {
					t.Errorf("%v, want version %s", got, c.version)
				}
			default:
				if o.status != 3 {
					t.Errorf("%+v, want status 3", o)
				}
				wantSays(t, "a lost race", o.err, append(c.says, "sleight: ")...)
				if got := p.want(t, "a.test", c.theirs); c.theirs != "" && !got.Equal(item(t, c.theirs)) {
					t.Errorf("%v, want %s", got, c.theirs)
				}
			}
		})
	}
}

func removeNow(t *testing.T, p *place, host string) error {
	before, err := p.table.Get(t.Context(), host)
	if err != nil {
		return err
	}
	return p.table.Write(t.Context(), routetable.Change{Before: before})
}

// If a response is lost, the SDK retries, and meets its own write.
func testLostAnswer(t *testing.T, db *dynamodbtest.Server) {
	var lost atomic.Int64
	p := newTablePlace(t, db, db.Relay(t, nil, func(action string) bool {
		return action != "GetItem" && lost.Add(1)%2 == 1
	}))
	p.must(t, "put", "--force", "a.test", "--origin", "b.test")
	p.must(t, "put", "--force", "a.test", "--note", "n")
	p.must(t, "disable", "a.test")
	if got := p.want(t, "a.test", `{"host":"a.test","origin":"b.test","note":"n","enabled":false}`); got["version"] != json.Number("3") {
		t.Errorf("%v", got)
	}
	p.must(t, "rm", "--yes", "a.test")
	p.want(t, "a.test", "")
	if n := lost.Load(); n != 8 {
		t.Errorf("4 writes were asked for %d times, want each twice", n)
	}
}

func testInterruptedWhileWriting(t *testing.T, db *dynamodbtest.Server) {
	for _, written := range []bool{false, true} {
		arrived, release := make(chan struct{}), make(chan struct{})
		var once sync.Once
		hold := func(action string) bool {
			if action == "PutItem" {
				once.Do(func() { close(arrived) })
				<-release
			}
			return false
		}
		before, drop := func(action string) { hold(action) }, (func(string) bool)(nil)
		if written {
			before, drop = nil, hold
		}
		p := newTablePlace(t, db, db.Relay(t, before, drop))
		t.Cleanup(func() { close(release) }) // before the relay ends
		s := onTerminal(t, p.env, "routes", "put", "--force", "a.test", "--origin", "b.test")
		<-arrived
		s.press(t, "\x03")
		text, status := s.exit(t)
		if status != 130 || !strings.Contains(text, "interrupted") || !strings.Contains(text, "look at the route") {
			t.Errorf("%d %s", status, text)
		}
		if written {
			p.want(t, "a.test", `{"host":"a.test","origin":"b.test"}`)
		} else {
			p.want(t, "a.test", "")
		}
	}
}

// After an interruption, the routes that were not reached are unchanged.
func testInterruptedBetween(t *testing.T, db *dynamodbtest.Server) {
	arrived, release := make(chan struct{}), make(chan struct{})
	var asked atomic.Int64
	p := newTablePlace(t, db, db.Relay(t, func(action string) {
		if action == "DeleteItem" && asked.Add(1) == 2 {
			close(arrived)
			<-release
		}
	}, nil))
	for _, host := range []string{"a.test", "b.test", "c.test"} {
		p.put(t, fmt.Sprintf(`{"host":%q,"origin":"o.test"}`, host))
	}
	s := onTerminal(t, p.env, "routes", "rm", "a.test", "b.test", "c.test")
	s.waitFor(t, "y/N")
	s.press(t, "y\r")
	<-arrived
	s.press(t, "\x03")
	text, status := s.exit(t)
	close(release)
	if status != 130 || !strings.Contains(text, "1 of 3 routes removed, 1 not known, 1 left as they were") || !strings.Contains(text, "is not known") {
		t.Errorf("%d %s", status, text)
	}
	p.want(t, "a.test", "")
	p.want(t, "c.test", `{"host":"c.test","origin":"o.test"}`)
}

func testDiffOfTables(t *testing.T, db *dynamodbtest.Server) {
	from, to := newTablePlace(t, db, db.Endpoint), newTablePlace(t, db, db.Endpoint)
	for _, i := range []string{`{"host":"a.test","origin":"b.test","version":1}`, `{"host":"b.test","origin":"b.test","note":"n"}`, `{"host":"c.test","origin":"b.test"}`} {
		from.put(t, i)
	}
	for _, i := range []string{`{"host":"a.test","origin":"b.test","version":9,"updated_by":"x"}`, `{"host":"b.test","origin":"x.test"}`, `{"host":"d.test","origin":["b.test","c.test"]}`} {
		to.put(t, i)
	}
	file := newFilePlace(t)
	if err := os.WriteFile(file.name, []byte(to.must(t, "list", "-o", "json")), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "- c.test -> b.test\n+ d.test -> b.test, c.test\n~ b.test\n  - origin: b.test\n  + origin: x.test\n  - note: n\nFrom %s to %s: 1 added, 1 changed, 1 removed, 1 the same\n"
	for _, c := range []struct {
		named string
		args  []string
	}{{to.named, []string{"--to-table", to.name}}, {file.named, []string{file.name}}, {file.named, []string{"--to-routes", file.name}}} {
		o := from.run(t, append([]string{"diff"}, c.args...)...)
		if o.status != 1 || o.out != fmt.Sprintf(want, from.named, c.named) || o.err != "" {
			t.Errorf("%q: %+v", c.args, o)
		}
	}
	o := to.run(t, "diff", file.name)
	wantOutcome(t, "the same", o, 0, "From .*: 0 added, 0 changed, 0 removed, 3 the same\n", "")
	o = from.run(t, "diff", "--to-table", to.name, "-o", "json")
	var got struct {
		Added, Removed []json.RawMessage
		Changed        []struct {
			Host       string
			Attributes []string
		}
		Same int
	}
	if err := json.Unmarshal([]byte(o.out), &got); err != nil || o.status != 1 || len(got.Added) != 1 || len(got.Removed) != 1 || len(got.Changed) != 1 || got.Same != 1 || fmt.Sprint(got.Changed[0]) != "{b.test [origin note]}" {
		t.Errorf("%+v, %v, %+v", got, err, o)
	}
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{nil, 2, "give one thing to compare with"},
		{[]string{file.name, "--to-table", to.name}, 2, "give one thing to compare with"},
		{[]string{"/no/such/file"}, 4, "/no/such/file"},
		{[]string{"--to-table", "nowhere"}, 4, "there is no such table"},
		{[]string{"--to-table", to.name, "--to-endpoint-url", "http://127.0.0.1:1"}, 4, "cannot be reached"},
	} {
		if o := from.run(t, append([]string{"diff"}, c.args...)...); o.status != c.status || o.out != "" || !strings.Contains(o.err, c.says) {
			t.Errorf("%q: %+v", c.args, o)
		}
	}
}

func testTableErrors(t *testing.T, db *dynamodbtest.Server) {
	p := newTablePlace(t, db, db.Endpoint)
	closed := tlstest.Refusing(t)
	for _, c := range []struct {
		args []string
		says []string
	}{
		{[]string{"get", "a.test", "--table", "nowhere"}, []string{`table "nowhere"`, "there is no such table", `region "eu-west-1"`}},
		{[]string{"list", "--region", "eu-central-1", "--table", "nowhere"}, []string{`region "eu-central-1"`}},
		{[]string{"put", "--force", "a.test", "--origin", "b.test", "--table", "nowhere"}, []string{"there is no such table"}},
		{[]string{"get", "a.test", "--endpoint-url", "http://" + closed}, []string{"cannot be reached", closed}},
		{[]string{"get", "a.test", "--profile", "nobody"}, []string{"AWS configuration", "nobody"}},
	} {
		o := p.run(t, c.args...)
		if o.status != 1 || o.out != "" || strings.Count(o.err, "\n") != 1 {
			t.Errorf("%q: %+v", c.args, o)
		}
		wantSays(t, fmt.Sprint(c.args), o.err, c.says...)
	}
	env := []string{"ROUTES_TABLE=routes", "AWS_REGION=eu-west-1", "AWS_ENDPOINT_URL_DYNAMODB=" + db.Endpoint}
	wantOutcome(t, "no credentials", execute(t, env, "", "routes", "list"), 1, "", "sleight: [^\n]*no AWS credentials[^\n]*--profile[^\n]*\n")

	// Values that JSON does not have are kept and listed for people. Scripts get a list without them, and an error.
	db.Put(t, p.name, map[string]types.AttributeValue{
		"host": &types.AttributeValueMemberS{Value: "a.test"}, "origin": &types.AttributeValueMemberS{Value: "b.test"}, "blob": &types.AttributeValueMemberB{Value: []byte{1}},
	})
	p.put(t, `{"host":"b.test","origin":"b.test"}`)
	wantOutcome(t, "list", p.run(t, "list"), 0, `(?s)HOST.*a\.test.*INVALID +b\.test +attribute "blob" is not known.*b\.test.*`, "2 routes .*")
	wantOutcome(t, "list in JSON", p.run(t, "list", "-o", "json"), 1, `{"routes":\[\n{"host":"b.test","origin":"b.test"}\n\]}\n`, "sleight: left out: .*blob.*1 route could not be printed\n")
	wantSays(t, "get", p.must(t, "get", "a.test"), "(of a type that JSON does not have)")
	wantSays(t, "edit", execute(t, append(p.env, "EDITOR=true"), "", "routes", "edit", "--force", "a.test").err, "blob", "--unset")
	p.must(t, "put", "--force", "a.test", "--unset", "blob")
	p.want(t, "a.test", `{"host":"a.test","origin":"b.test"}`)
}

// If a server accepts connections and sends nothing, as behind a broken firewall or tunnel, the command must not wait silently.
func TestMuteTableIsGivenUp(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	env := []string{
		"ROUTES_TABLE=t", "AWS_ENDPOINT_URL_DYNAMODB=http://" + l.Addr().String(), "AWS_REGION=eu-west-1",
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_MAX_ATTEMPTS=1",
	}
	document := writeFile(t, "routes.json", `{"routes":[{"host":"a.test","origin":"b.test"}]}`)
	var all sync.WaitGroup
	for _, args := range []string{"routes list", "routes get a.test", "routes put a.test --origin b.test --force", "routes import " + document, "explain a.test", "check --all"} {
		all.Go(func() {
			if o := execute(t, env, "", strings.Fields(args)...); o.status != 1 || !strings.Contains(o.err, "no answer in time from region \"eu-west-1\" at http://"+l.Addr().String()+"; check the network") {
				t.Errorf("%s: %+v", args, o)
			}
		})
	}
	all.Wait()
}
