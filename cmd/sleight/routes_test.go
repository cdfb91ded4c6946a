package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// place is a table or a file with routes. The environment of the command names it.
type place struct {
	env   []string
	table routetable.Table
	name  string // of the table or the file
	named string // its name in messages
}

func (p *place) run(t *testing.T, args ...string) outcome {
	t.Helper()
	return execute(t, p.env, "", append([]string{"routes"}, args...)...)
}

// must runs the command, and fails the test unless it succeeds.
func (p *place) must(t *testing.T, args ...string) string {
	t.Helper()
	o := p.run(t, args...)
	if o.status != 0 {
		t.Fatalf("%q: %+v", args, o)
	}
	return o.out
}

func (p *place) put(t *testing.T, document string) origin.Item {
	t.Helper()
	i := item(t, document)
	before, err := p.table.Get(t.Context(), i.Host())
	if err != nil && !errors.Is(err, routetable.ErrNotFound) {
		t.Fatal(err)
	}
	if err := p.table.Write(t.Context(), routetable.Change{Before: before, After: i}); err != nil {
		t.Fatal(err)
	}
	return i
}

// want compares a route without its audit attributes. "" means that there must be no route.
func (p *place) want(t *testing.T, host, document string) origin.Item {
	t.Helper()
	got, err := p.table.Get(t.Context(), host)
	if document == "" {
		if !errors.Is(err, routetable.ErrNotFound) {
			t.Errorf("%s: %v, %v; want none", host, got, err)
		}
		return nil
	}
	if err != nil || !got.SameRoute(item(t, document)) {
		t.Errorf("%s: %v, %v; want %s", host, got, err, document)
	}
	return got
}

func item(t *testing.T, document string) origin.Item {
	t.Helper()
	var i origin.Item
	if err := json.Unmarshal([]byte(document), &i); err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	return i
}

func newFilePlace(t *testing.T) *place {
	t.Helper()
	name := routesFile(t)
	f, err := routetable.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return &place{[]string{"ROUTES_FILE=" + name}, f, name, fmt.Sprintf("file %q", name)}
}

func newTablePlace(t *testing.T, db *dynamodbtest.Server, endpoint string) *place {
	t.Helper()
	name := db.CreateRoutesTable(t)
	return &place{
		[]string{"ROUTES_TABLE=" + name, "AWS_ENDPOINT_URL_DYNAMODB=" + endpoint, "AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test"},
		&routetable.DynamoDB{Client: db.Client, Table: name}, name, fmt.Sprintf("table %q", name),
	}
}

// wantSays fails the test if a text lacks a part.
func wantSays(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s: %s\nlacks %q", what, text, part)
		}
	}
}

func wantOutcome(t *testing.T, what string, o outcome, status int, out, err string) {
	t.Helper()
	if o.status != status || !regexp.MustCompile("(?s)^"+out+"$").MatchString(o.out) || !regexp.MustCompile("(?s)^"+err+"$").MatchString(o.err) {
		t.Errorf("%s: status %d, out %q, err %q; want %d, %q, %q", what, o.status, o.out, o.err, status, out, err)
	}
}

// The same must hold in a table and in a file.
func TestRoutes(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*testing.T, *place){
		"put":          testPut,
		"put's file":   testPutFile,
		"many writers": testWritersLoseNothing,
		"dry runs":     testDryRuns,
		"rm":           testRemove,
		"enable":       testEnable,
		"edit":         testEdit,
		"lists":        testList,
		"mending":      testUnusableItemsAreMended,
	}
	t.Run("in a file", func(t *testing.T) {
		t.Parallel()
		for name, test := range tests {
			t.Run(name, func(t *testing.T) { t.Parallel(); test(t, newFilePlace(t)) })
		}
	})
	db := dynamodbtest.Start(t)
	t.Run("in a table", func(t *testing.T) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) { t.Parallel(); test(t, newTablePlace(t, db, db.Endpoint)) })
		}
		for name, test := range map[string]func(*testing.T, *dynamodbtest.Server){
			"lost races":  testLostRaces,
			"lost answer": testLostAnswer,
			"interrupted": testInterruptedWhileWriting,
			"in between":  testInterruptedBetween,
			"diff":        testDiffOfTables,
			"errors":      testTableErrors,
			"level":       testLevel,
		} {
			t.Run(name, func(t *testing.T) { t.Parallel(); test(t, db) })
		}
	})
}

func testPut(t *testing.T, p *place) {
	o := p.run(t, "put", "--force", "A.Test", "--origin", "b.test", "--note", "first")
	wantOutcome(t, "a new one", o, 0, regexp.QuoteMeta(fmt.Sprintf("Created \"a.test\" in %s (version 1)\n", p.named)), "")
	got := p.want(t, "a.test", `{"host":"a.test","origin":"b.test","note":"first"}`)
	machine, _ := os.Hostname()
	if by := "tester@" + machine; got["updated_by"] != by || got["version"] != json.Number("1") || got["updated_at"] == nil {
		t.Errorf("%v, want it by %s", got, by)
	}
	o = p.run(t, "put", "--force", "a.test", "--origin", "b.test:8443", "--origin", "c.test", "--tls-min", "1.3", "--rewrite=false", "--disabled", "--connect-timeout", "2s",
		"--pin", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "--protocols", "h2,http/1.1", "--max-connections", "20", "--client-cert", "c", "--server-name", "s.test", "--host-header", "h.test", "--expires-at", "4000000000", "--by", "somebody")
	wantOutcome(t, "some attributes", o, 0, regexp.QuoteMeta(fmt.Sprintf("Changed \"a.test\" in %s (version 2, was 1): origin, server_name, host_header, spki_pins, client_cert, tls_min, protocols, max_connections, rewrite, connect_timeout, enabled, expires_at\n", p.named))+"It is not in force: disabled\n", "")
	all := `{"host":"a.test","origin":["b.test:8443","c.test"],"note":"first","tls_min":"1.3","rewrite":false,"enabled":false,"connect_timeout":"2s",
		"spki_pins":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],"client_cert":"c","protocols":["h2","http/1.1"],"max_connections":20,"server_name":"s.test","host_header":"h.test","expires_at":4000000000}`
	if got := p.want(t, "a.test", all); got["updated_by"] != "somebody" {
		t.Errorf("%v", got)
	}
	for _, args := range [][]string{{"--origin", "b.test:8443,c.test", "--tls-min", "1.3"}, {"--protocols", "h2", "--protocols", "http/1.1"}, {"--unset", "ca_pem"}, {"--enabled=false"}} {
		o = p.run(t, append([]string{"put", "--force", "a.test"}, args...)...)
		wantOutcome(t, "what is so already", o, 0, ".* already has these attributes; nothing was written\n", "")
	}
	if got := p.want(t, "a.test", all); got["version"] != json.Number("2") {
		t.Errorf("what changes nothing was counted: %v", got)
	}
	p.must(t, "put", "--force", "a.test", "--unset", "client_cert,server_name", "--protocols", "h2", "--unset", "max_connections", "--unset", "note", "--enabled", "--origin", "b.test")
	p.want(t, "a.test", `{"host":"a.test","origin":"b.test","tls_min":"1.3","rewrite":false,"enabled":true,"connect_timeout":"2s",
		"spki_pins":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],"protocols":["h2"],"host_header":"h.test","expires_at":4000000000}`)
	p.must(t, "put", "--force", "a.test", "--replace", "--origin", "z.test")
	if got := p.want(t, "a.test", `{"host":"a.test","origin":"z.test"}`); got["version"] != json.Number("4") {
		t.Errorf("replacing does not count on: %v", got)
	}
	var printed origin.Item
	if err := json.Unmarshal([]byte(p.must(t, "put", "--force", "a.test", "--origin", "y.test", "-o", "json")), &printed); err != nil || !printed.Equal(p.want(t, "a.test", `{"host":"a.test","origin":"y.test"}`)) {
		t.Errorf("printed %v, %v", printed, err)
	}

	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"put", "--force", "new.test", "--note", "x"}, `"new.test" has no route yet, and a new one needs --origin`},
		{[]string{"put", "--force", "a.test"}, "nothing to change"},
		{[]string{"put"}, "no host"},
		{[]string{"put", "--force", "a b", "--origin", "x"}, "is not a hostname"},
		{[]string{"put", "--force", "a.test", "--origin", "b.test/path"}, `attribute "origin" "b.test/path" has to be`},
		{[]string{"put", "--force", "a.test", "--origin", ""}, `attribute "origin" is an empty list`},
		{[]string{"put", "--force", "a.test", "--tls-min", "1.1"}, `attribute "tls_min" is "1.1"`},
		{[]string{"put", "--force", "a.test", "--server-name", ""}, "leave it out for the default"},
		{[]string{"put", "--force", "a.test", "--pin", "x"}, "not the base64 of a SHA-256 hash"},
		{[]string{"put", "--force", "a.test", "--protocols", "http2"}, `attribute "protocols" has "http2", which is not known; write`},
		{[]string{"put", "--force", "a.test", "--protocols", ""}, `attribute "protocols" is an empty list; leave it out`},
		{[]string{"put", "--force", "a.test", "--protocols", "h2,h2"}, `has "h2" twice`},
		{[]string{"put", "--force", "a.test", "--origin", "http://b.test", "--protocols", "h2"}, `attribute "protocols" has no effect, because the origin is http://`},
		{[]string{"put", "--force", "a.test", "--max-connections", "0"}, "has to be from 1 to 65535"},
		{[]string{"put", "--force", "a.test", "--max-connections", "many"}, "--max-connections"},
		{[]string{"put", "--force", "a.test", "--ca-pem", "x"}, "not a list of certificates"},
		{[]string{"put", "--force", "a.test", "--ca-file", "/no/such/file"}, "/no/such/file"},
		{[]string{"put", "--force", "a.test", "--ca-pem", "x", "--ca-file", "y"}, "both given"},
		{[]string{"put", "--force", "a.test", "--file", "-", "--ca-file", "-"}, "both name standard input"},
		{[]string{"put", "--force", "a.test", "--enabled", "--disabled"}, "both given"},
		{[]string{"put", "--force", "a.test", "--expires-at", "tomorrow"}, "has to be a time such as"},
		{[]string{"put", "--force", "a.test", "--expires-at", "1000000000"}, "in the past"},
		{[]string{"put", "--force", "a.test", "--expires-at", "1700000000000"}, "not milliseconds"},
		{[]string{"put", "--force", "a.test", "--unset", "orgin", "--unset", "host"}, "--unset host: every route has it"},
		{[]string{"put", "--force", "a.test", "--unset", "note", "--note", "x"}, "given as well"},
		{[]string{"put", "--force", "a.test", "--replace", "--note", "x"}, "--replace removes the origin"},
		{[]string{"put", "--force", "a.test", "--origin", "http://b.test", "--tls-min", "1.3"}, "has no effect, because the origin is http://"},
		{[]string{"put", "--force", "a.test", "--connect-timeout", "soon"}, "has to be a duration"},
		{[]string{"put", "--force", "a.test", "b.test", "--origin", "x"}, "sleight routes put --help"},
		{[]string{"put", "--force", "a.test", "--nonsense"}, "sleight routes put --help"},
		{[]string{"put", "--force", "a.test", "--rewrite=perhaps"}, "--rewrite"},
	} {
		o := p.run(t, c.args...)
		if o.status != 2 || o.out != "" || !strings.HasPrefix(o.err, "sleight: ") || strings.Count(o.err, "\n") != 1 || !strings.Contains(o.err, c.says) {
			t.Errorf("%q: %+v, want status 2 and %q", c.args, o, c.says)
		}
	}
	p.want(t, "a.test", `{"host":"a.test","origin":"y.test"}`)
	p.want(t, "new.test", "")
}

func testPutFile(t *testing.T, p *place) {
	dir := t.TempDir()
	file := func(content string) string {
		f, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(content); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	// YAML from a pipe. Text stays text, even if YAML reads it as another type.
	o := execute(t, p.env, "# of the customer\nhost: a.test\norigin: [b.test, c.test]\ntls_min: 1.3\nnote: 2030-01-31\nenabled: true\nexpires_at: 2096-10-02T07:06:40Z\n", "routes", "put", "--force", "--file", "-")
	wantOutcome(t, "YAML", o, 0, "Created .*", "")
	p.want(t, "a.test", `{"host":"a.test","origin":["b.test","c.test"],"tls_min":"1.3","note":"2030-01-31","enabled":true,"expires_at":4000000000}`)

	// The output of get can be changed and put again.
	for _, format := range []string{"json", "yaml"} {
		text := p.must(t, "get", "a.test", "-o", format)
		wantSays(t, "put again", p.must(t, "put", "--force", "--file", file(text), "--replace"), "already has these attributes")
		changed := file(strings.Replace(text, "b.test", format+".test", 1))
		wantSays(t, "put changed", p.must(t, "put", "--force", "--file", changed, "--replace", "--by", "eve"), "Changed", ": origin\n")
		before := p.must(t, "get", "a.test", "-o", "json")
		// The document has an older version now.
		o := p.run(t, "put", "--force", "--file", file(strings.Replace(text, "b.test", "stale.test", 1)))
		if o.status != 3 {
			t.Errorf("an old file: %+v", o)
		}
		wantSays(t, "an old file", o.err, "the stored route has version", `by "eve`, "- origin: "+format+".test", "+ origin: stale.test", "it was not written")
		if after := p.must(t, "get", "a.test", "-o", "json"); after != before {
			t.Errorf("%s became %s", before, after)
		}
		p.must(t, "put", "--force", "a.test", "--origin", "b.test", "--origin", "c.test")
	}

	// Flags win, other attributes stay, and a version has no effect if there is no route.
	p.must(t, "put", "--force", "b.test", "--file", file(`{"origin":"x.test","note":"n","version":17,"updated_by":"eve"}`), "--origin", "y.test")
	if got := p.want(t, "b.test", `{"host":"b.test","origin":"y.test","note":"n"}`); got["version"] != json.Number("1") || got["updated_by"] == "eve" {
		t.Errorf("%v", got)
	}
	p.must(t, "put", "--force", "b.test", "--file", file(`{"tls_min":"1.3"}`))
	p.want(t, "b.test", `{"host":"b.test","origin":"y.test","note":"n","tls_min":"1.3"}`)

	// Version 0 is that of a route without a version.
	if o := p.run(t, "put", "--force", "b.test", "--file", file(`{"note":"stale","version":0}`)); o.status != 3 {
		t.Errorf("a file of version 0: %+v", o)
	}
	p.want(t, "b.test", `{"host":"b.test","origin":"y.test","note":"n","tls_min":"1.3"}`)

	// A document with one route works like the route: export writes it, and check reads it.
	for n, content := range []string{
		`{"routes":[{"host":"r.test","origin":"b.test","expires_at":"2096-10-02T07:06:40Z"}]}`, "routes:\n- host: r.test\n  origin: b.test\n  expires_at: 2096-10-02T07:06:40Z\n", "routes: [{host: r.test, origin: b.test, expires_at: 4000000000}]\n",
	} {
		said := p.must(t, "put", "--force", "--file", file(content), "--note", "n")
		wantSays(t, content, said, map[bool]string{true: "Created", false: "already has these attributes"}[n == 0])
		p.want(t, "r.test", `{"host":"r.test","origin":"b.test","note":"n","expires_at":4000000000}`)
	}

	for content, says := range map[string]string{
		"":              "is empty",
		`{"routes":[]}`: "is a document of 0 routes",
		`{"routes":[{"host":"c.test","origin":"x"},{"host":"d.test","origin":"x"}]}`: "is a document of 2 routes, and has to be of one route: write several with \"sleight routes import\"",
		"routes:\n- host: c.test\n- host: d.test\n":                                  "is a document of 2 routes",
		`{"routes":[{"host":"c.test","orgin":"x"}]}`:                                 `attribute "orgin" is not known`,
		`{"routes":[{"host":"c.test","origin":"x"}],"comment":1}`:                    `"comment"`,
		`{"routes":{"host":"c.test"}}`:                                               `"routes"`,
		`{"host":"c.test","routes":[{"host":"c.test","origin":"x"}]}`:                `"host"`,
		`{"routes":[{"host":"c.test","origin":"x","expires_at":"soon"}]}`:            `attribute "expires_at"`,
		"origin: x\nnote: caf\xe9\n":                                                 "UTF-8",
		"{\"host\":\"c.test\",\"origin\":\"x\",\n\"note\":\"\ufffd caf\xe9\"}":       "line 2, column 16: is not UTF-8",
		"- a\n- b":                            "has to be an object",
		`{"note":"x",}`:                       `"c.test" has no route yet`, // it is YAML
		`{"host":"c.test" "origin":"x"}`:      "line 1, column 18: ",
		`{"host":"c.test","host":"d.test"}`:   `has "host" twice`,
		"host: c.test\nhost: d.test\n":        `has "host" twice`,
		"a: &a x\nhost: *a\n":                 "alias",
		"host: c.test\n---\nhost: d.test\n":   "more than one document",
		"host: c.test\nblob: !!binary aGk=\n": "a type that routes do not have",
		"host: c.test\norgin: x\n":            `attribute "orgin" is not known`,
		"host: c.test\norigin: x\nversion: x": `attribute "version" has to be`,
		"host: [c.test]\norigin: x\n":         `attribute "host" has to be a string`,
		"host: d.test\norigin: x\n":           `is of "d.test", not of "c.test"`,
		"origin: x\nenabled: yes please\n":    `attribute "enabled" is a string`,
		"origin: x\nexpires_at: soon\n":       `attribute "expires_at"`,
	} {
		o := p.run(t, "put", "--force", "c.test", "--file", file(content))
		if o.status != 2 || !strings.Contains(o.err, says) {
			t.Errorf("%q: %+v, want %q", content, o, says)
		}
	}
	p.want(t, "c.test", "")
}

// attributesOfWriters are independent changes.
var attributesOfWriters = map[string]string{
	"note": "n", "server_name": "s.test", "host_header": "h.test", "tls_min": "1.3",
	"connect_timeout": "1s", "response_timeout": "2s", "idle_timeout": "3s", "request_timeout": "4s",
}

func testWritersLoseNothing(t *testing.T, p *place) {
	p.put(t, `{"host":"a.test","origin":"b.test"}`)
	outcomes := make(chan outcome)
	for name, value := range attributesOfWriters {
		go func() {
			outcomes <- p.run(t, "put", "--force", "a.test", "--"+strings.ReplaceAll(name, "_", "-"), value)
		}()
	}
	for range attributesOfWriters {
		if o := <-outcomes; o.status != 0 {
			t.Errorf("%+v", o)
		}
	}
	want := map[string]any{"host": "a.test", "origin": "b.test"}
	for name, value := range attributesOfWriters {
		want[name] = value
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.want(t, "a.test", string(b)); got["version"] != json.Number("8") {
		t.Errorf("8 changes are counted as %v", got["version"])
	}
}

func testDryRuns(t *testing.T, p *place) {
	p.put(t, `{"host":"a.test","origin":"b.test","note":"n"}`)
	script := editor(t, `edit s/b.test/d.test/`)
	for _, c := range []struct {
		args []string
		out  string
	}{
		{[]string{"put", "--force", "a.test", "--origin", "c.test", "--tls-min", "1.3", "--unset", "note"}, "Would change \"a.test\" in PLACE:\n  - origin: b.test\n  + origin: c.test\n  + tls_min: 1.3\n  - note: n\n"},
		{[]string{"put", "--force", "new.test", "--origin", "c.test"}, "Would create \"new.test\" in PLACE:\n  + host: new.test\n  + origin: c.test\n"},
		{[]string{"disable", "a.test"}, "Would change \"a.test\" in PLACE:\n  + enabled: false\n"},
		{[]string{"rm", "a.test"}, "Would remove \"a.test\" in PLACE:\n  - host: a.test\n  - origin: b.test\n  - note: n\n"},
		{[]string{"edit", "--force", "a.test"}, "Would change \"a.test\" in PLACE:\n  - origin: b.test\n  + origin: d.test\n"},
	} {
		o := execute(t, append(p.env, "EDITOR="+script), "", append([]string{"routes"}, append(c.args, "--dry-run")...)...)
		want := strings.ReplaceAll(c.out, "PLACE", p.named) + "Nothing was written: this was a dry run.\n"
		if c.args[0] == "disable" {
			o.out = strings.Replace(o.out, "1 of 1 route would be disabled\n", "", 1)
		}
		if o.status != 0 || o.out != want || o.err != "" {
			t.Errorf("%q: %+v, want %q", c.args, o, want)
		}
	}
	if got := p.want(t, "a.test", `{"host":"a.test","origin":"b.test","note":"n"}`); got["version"] != nil {
		t.Errorf("a dry run has written %v", got)
	}
	p.want(t, "new.test", "")
}

func testRemove(t *testing.T, p *place) {
	for _, host := range []string{"a.test", "b.test", "c.test", "*.x.test"} {
		p.put(t, fmt.Sprintf(`{"host":%q,"origin":"o.test"}`, host))
	}
	wantOutcome(t, "without a terminal", p.run(t, "rm", "a.test"), 2, "", "sleight: .*--yes\n")
	o := p.run(t, "rm", "--yes", "a.test", "A.test", "gone.test", "one.x.test", "b.test")
	wantOutcome(t, "several", o, 1, `Removed "a.test" in .*\nRemoved "b.test" in .*\n2 of 4 routes removed, 2 not there\n`, `sleight: .* has no route for "gone.test"\nsleight: .* has no route for "one.x.test"; "\*.x.test" covers it\nsleight: 2 routes not there\n`)
	// Standard output has only the JSON for scripts.
	for _, dry := range []string{"--dry-run", "--yes"} {
		p.put(t, `{"host":"a.test","origin":"o.test"}`)
		o = p.run(t, "rm", dry, "a.test", "gone.test", "-o", "json")
		want := fmt.Sprintf(`{"routes":2,"done":1,"unchanged":0,"absent":1,"invalid":0,"refused":0,"conflicts":0,"unknown":0,"left":0,"dry_run":%v,"outcomes":[{"host":"gone.test","what":"absent","error":`, dry == "--dry-run")
		if got := compact(t, o.out); o.status != 1 || !strings.HasPrefix(got, want) || !strings.HasSuffix(got, `},{"host":"a.test","what":"removed"}]}`) {
			t.Errorf("%s: %d %s, want %s", dry, o.status, got, want)
		}
	}
	p.want(t, "a.test", "")
	for _, c := range []struct {
		keys   string
		status int
		stays  bool
	}{{"n\r", 1, true}, {"\x04", 1, true}, {"\x03", 130, true}, {"what\ry\r", 0, false}} {
		s := onTerminal(t, p.env, "routes", "rm", "c.test")
		s.waitFor(t, `Remove 1 route from .*"c.test"\? \[y/N\] `)
		s.press(t, c.keys)
		text, status := s.exit(t)
		if status != c.status {
			t.Errorf("%q: status %d, want %d: %s", c.keys, status, c.status, text)
		}
		if c.stays {
			p.want(t, "c.test", `{"host":"c.test","origin":"o.test"}`)
		} else {
			p.want(t, "c.test", "")
		}
	}
	p.want(t, "*.x.test", `{"host":"*.x.test","origin":"o.test"}`)
}

// compact returns JSON in one line.
func compact(t *testing.T, document string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(document)); err != nil {
		t.Errorf("%v: %s", err, document)
	}
	return b.String()
}

func testEnable(t *testing.T, p *place) {
	p.put(t, `{"host":"a.test","origin":"o.test"}`)
	p.put(t, `{"host":"*.x.test","origin":"o.test"}`)
	p.put(t, `{"host":"one.x.test","origin":"o.test","expires_at":1000000000}`)
	p.put(t, `{"host":"bad.test","orgin":"o.test"}`)
	p.put(t, `{"host":"two.x.test","origin":"o.test","enabled":true}`)
	wantOutcome(t, "one that is enabled", p.run(t, "enable", "--force", "a.test"), 0, `"a.test" in .* is enabled already; nothing was written\n`, "")
	o := p.run(t, "disable", "a.test", "gone.test", "bad.test", "two.x.test")
	wantOutcome(t, "several", o, 2, `Changed "a.test" in .*: enabled\nChanged "two.x.test".*: enabled\n"\*.x.test" does not take over: a disabled route hides its wildcard.*\n2 of 4 routes disabled, 1 not there, 1 invalid\n`, `.*"gone.test".*attribute "origin" is missing; it is stored so.*sleight: 1 route invalid\n`)
	p.want(t, "a.test", `{"host":"a.test","origin":"o.test","enabled":false}`)
	p.want(t, "bad.test", `{"host":"bad.test","orgin":"o.test"}`)
	wantOutcome(t, "one that is disabled", p.run(t, "disable", "a.test"), 0, `.* is disabled already; nothing was written\n`, "")
	p.must(t, "enable", "--force", "a.test")
	p.want(t, "a.test", `{"host":"a.test","origin":"o.test","enabled":true}`)
	o = p.run(t, "enable", "--force", "a.test", "bad.test", "two.x.test", "-o", "json")
	if got := compact(t, o.out); o.status != 2 || !strings.HasPrefix(got, `{"routes":3,"done":1,"unchanged":1,"absent":0,"invalid":1,"refused":0,"conflicts":0,"unknown":0,"left":0,"dry_run":false,"outcomes":[{"host":"a.test","what":"unchanged"},{"host":"bad.test","what":"invalid","error":`) || !strings.HasSuffix(got, `{"host":"two.x.test","what":"enabled"}]}`) {
		t.Errorf("in JSON: %d %s", o.status, got)
	}
	if out := p.must(t, "disable", "--dry-run", "a.test", "-o", "yaml"); !strings.HasPrefix(out, "routes: 1\ndone: 1\n") || !strings.HasSuffix(out, "outcomes:\n  - host: a.test\n    what: disabled\n") {
		t.Errorf("in YAML: %s", out)
	}
	p.must(t, "disable", "one.x.test")
	wantSays(t, "one that has expired", p.must(t, "enable", "--force", "one.x.test"), "It is not in force: expired")
}

func testList(t *testing.T, p *place) {
	wantOutcome(t, "no routes", p.run(t, "list"), 0, "", "0 routes in .*\n")
	wantOutcome(t, "no routes", p.run(t, "list", "-o", "json"), 0, `{"routes":\[\]}\n`, "0 routes in .*\n")
	wantOutcome(t, "no routes", p.run(t, "list", "-o", "yaml"), 0, `routes: \[\]\n`, "0 routes in .*\n")
	for _, i := range []string{
		`{"host":"a.test","origin":["b.test","c.test"],"version":3}`, `{"host":"*.a.test","origin":"b.test","enabled":false}`, `{"host":"old.test","origin":"b.test","expires_at":1000000000}`,
		`{"host":"bad.test","orgin":"b.test","note":"\u001b[2J"}`,
	} {
		p.put(t, i)
	}
	hosts := func(out string) (hosts []string) {
		for line := range strings.Lines(out) {
			if host, _, _ := strings.Cut(line, " "); host != "HOST" {
				hosts = append(hosts, host)
			}
		}
		return hosts
	}
	for _, c := range []struct {
		args  []string
		want  string
		count string
	}{
		{nil, "a.test *.a.test bad.test old.test", "4 routes in .*: 1 invalid, 1 disabled, 1 expired\n"},
		{[]string{"--filter", "A.TE"}, "a.test *.a.test", "2 of 4 routes in .*: 1 disabled\n"},
		{[]string{"--filter", "*.a.test"}, "*.a.test", "1 of 4 routes in .*\n"},
		{[]string{"--filter", "?.test"}, "a.test", "1 of 4 .*\n"},
		{[]string{"--invalid", "--expired"}, "bad.test old.test", "2 of 4 .*\n"},
		{[]string{"--disabled"}, "*.a.test", "1 of 4 .*\n"},
		{[]string{"--disabled", "--filter", "bad"}, "", "0 of 4 .*\n"},
	} {
		o := p.run(t, append([]string{"list"}, c.args...)...)
		if got := strings.Join(hosts(o.out), " "); got != c.want || o.status != 0 || !regexp.MustCompile("^"+c.count+"$").MatchString(o.err) {
			t.Errorf("%q: %+v, want %s", c.args, o, c.want)
		}
		if strings.Contains(o.out+o.err, "\x1b") {
			t.Errorf("%q: colours in a pipe, or strangers' words: %+v", c.args, o)
		}
	}
	p.must(t, "put", "--force", "bücher.test", "--origin", "b.test")
	for _, filter := range []string{"ÜCHER", "b?cher.*", "xn--b"} {
		if o := p.run(t, "list", "--filter", filter); strings.Join(hosts(o.out), " ") != "xn--bcher-kva.test" {
			t.Errorf("%q: %+v", filter, o)
		}
	}
	p.must(t, "rm", "-y", "bücher.test")
	wantOutcome(t, "a pattern that is none", p.run(t, "list", "--filter", "["), 2, "", "sleight: --filter .*\n")

	var got []string
	for i, err := range origin.Items(strings.NewReader(p.must(t, "list", "-o", "json"))) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, i.Host())
		stored, err := p.table.Get(t.Context(), i.Host())
		if err != nil || !stored.Equal(i) {
			t.Errorf("%v is listed as %v, %v", stored, i, err)
		}
	}
	if want := []string{"a.test", "*.a.test", "bad.test", "old.test"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}

	// A route with a long origin must not push the states of all others off the screen.
	p.put(t, fmt.Sprintf(`{"host":"long.test","origin":["%[1]s1.test","%[1]s2.test","%[1]s3.test"]}`, strings.Repeat("load-balancer-", 4)))
	s := onTerminal(t, p.env, "routes", "list")
	text, status := s.exit(t)
	if status != 0 || !strings.Contains(text, "\x1b[31mINVALID\x1b[0m") || !strings.Contains(text, "\x1b[33mdisabled\x1b[0m") || strings.Contains(text, "\x1b[2J") {
		t.Errorf("on a terminal: %d %q", status, text)
	}
	for line := range strings.Lines(text) {
		if plain := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(strings.TrimSuffix(line, "\n"), ""); len([]rune(plain)) > 120 {
			t.Errorf("wider than the terminal: %q", plain)
		}
	}
	p.put(t, `{"host":"worse.test","origin":"b.test","origin_where_that_fails":"c.test"}`)
	s = onTerminal(t, append(p.env, "NO_COLOR=1"), "routes", "get", "worse.test")
	text, _ = s.exit(t)
	if words := strings.Join(strings.Fields(text), " "); !strings.Contains(words, `INVALID: attribute "origin_where_that_fails" is not known; correct its spelling or remove it (comments go into "note")`) {
		t.Errorf("the reason is cut off: %q", text)
	}
	s = onTerminal(t, append(p.env, "NO_COLOR=1"), "routes", "list")
	if text, status := s.exit(t); status != 0 || strings.Contains(text, "\x1b[3") {
		t.Errorf("with NO_COLOR: %d %q", status, text)
	}
}

// Any stored item can be shown, corrected and removed.
func testUnusableItemsAreMended(t *testing.T, p *place) {
	p.put(t, `{"host":"a.test","orgin":"b.test","version":"x","updated_by":7}`)
	p.put(t, `{"host":"Upper.test.","origin":"b.test"}`)
	wantSays(t, "get", p.must(t, "get", "a.test"), "INVALID: attribute \"origin\" is missing", "orgin", "b.test")
	o := p.run(t, "put", "--force", "a.test", "--note", "x")
	wantOutcome(t, "a change that does not mend it", o, 2, "", `.*attribute "origin" is missing; it is stored so: correct it with .*\n`)
	p.must(t, "put", "--force", "a.test", "--unset", "orgin", "--origin", "b.test")
	if got := p.want(t, "a.test", `{"host":"a.test","origin":"b.test"}`); got["version"] != json.Number("1") {
		t.Errorf("%v", got)
	}
	wantSays(t, "get", p.must(t, "get", "Upper.test."), "INVALID: attribute \"host\"")
	wantOutcome(t, "under the name it should have", p.run(t, "get", "upper.test"), 1, "", ".*no route for \"upper.test\"\n")
	p.must(t, "rm", "--yes", "Upper.test.")
	p.want(t, "Upper.test.", "")
	wantOutcome(t, "no name at all", p.run(t, "get", "no name"), 2, "", "sleight: hostname: .*\n")
}

// editor returns an editor that runs a script, whose file is "$1". The script can call edit, which is "sed -i" for all kinds of sed.
func editor(t *testing.T, script string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "editor")
	if err := os.WriteFile(name, []byte("file=$1\nedit() { edited=$(sed \"$1\" \"$file\"); printf '%s\\n' \"$edited\" >\"$file\"; }\nset -e\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return "sh " + name // a script that is run by sh cannot be busy
}
