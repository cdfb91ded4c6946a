package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/sleightproxy/sleight/internal/check"
	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/routes"
	"github.com/sleightproxy/sleight/internal/terminal"
	"github.com/sleightproxy/sleight/pkg/origin"
)

var update = flag.Bool("update", false, "write golden files and docs/commands.md anew")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s\n(go test ./cmd/sleight -run %s -update writes it anew)", file, got, want, t.Name())
	}
}

var noon = time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)

// everyKind are routes in all states, with all attributes.
func everyKind(t *testing.T) []origin.Item {
	t.Helper()
	root := func(name string) string {
		ca, err := devca.New(name)
		if err != nil {
			t.Fatal(err)
		}
		return ca.PEM()
	}
	pem, err := json.Marshal(root("Root one") + root("Root two"))
	if err != nil {
		t.Fatal(err)
	}
	var items []origin.Item
	for _, document := range []string{
		`{"host":"one.spec-trust.com","origin":"one.lb.aws.amazon.com","version":3,"updated_at":"2030-01-30T09:00:00Z","updated_by":"ann@desk"}`,
		`{"host":"*.spec-trust.com","origin":["a.example:8443","b.example"],"server_name":"other.example","host_header":"backend.example","enabled":true}`,
		`{"host":"off.spec-trust.com","origin":"a.example","enabled":false,"version":1}`,
		fmt.Sprintf(`{"host":"trial.example","origin":"a.example","expires_at":%d}`, noon.Add(50*time.Hour).Unix()),
		fmt.Sprintf(`{"host":"later.example","origin":"a.example","expires_at":%d}`, noon.Add(400*24*time.Hour).Unix()),
		fmt.Sprintf(`{"host":"old.example","origin":"a.example","enabled":false,"expires_at":%d}`, noon.Add(-90*time.Minute).Unix()),
		`{"host":"misspelt.example","orgin":"a.example"}`,
		`{"host":"hostile.example","origin":"a.example","tls_min":"\u001b[2J"}`,
		fmt.Sprintf(`{"host":"full.example","origin":"https://a.example:8443","ca_pem":%s,"spki_pins":["BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB=","AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],
			"client_cert":"ours","tls_min":"1.3","protocols":["h2","http/1.1"],"max_connections":20,"rewrite":false,"connect_timeout":"5s","note":"two\nlines","x":{"y":[1,null]}}`, pem),
	} {
		var i origin.Item
		if err := json.Unmarshal([]byte(document), &i); err != nil {
			t.Fatal(err)
		}
		items = append(items, i)
	}
	return append(items, origin.Item{"host": "blob.example", "origin": []byte{1}})
}

func piped() (*terminal.Terminal, *bytes.Buffer) {
	var b bytes.Buffer
	return terminal.New(nil, &b, &b, func(string) string { return "" }), &b
}

func TestTablesOfRoutes(t *testing.T) {
	items := everyKind(t)
	term, list := piped()
	printList(term, withStates(append(items, items[3]), noon))
	golden(t, "routes-list", list.String())

	term, get := piped()
	for _, i := range items {
		printItem(term, i, noon)
	}
	// New certificates expire at a day that the file cannot have.
	text := get.String()
	for _, i := range items {
		if s, ok := i["ca_pem"].(string); ok {
			all, _ := certificates(s)
			_, until, _ := strings.Cut(all[0], " until ")
			text = strings.ReplaceAll(text, until, "2034-08-25")
		}
	}
	golden(t, "routes-get", text)
}

func TestDifferencesOfRoutes(t *testing.T) {
	items := everyKind(t)
	full := items[8]
	other := full.WithoutAudit()
	other["ca_pem"] = strings.Replace(full["ca_pem"].(string), "-----BEGIN", "\n-----BEGIN", 1) // the same certificates
	other["origin"] = []any{full["origin"]}                                                     // the same with another type
	other["note"] = ""
	delete(other, "x")
	other["blob"] = []byte{2}
	term, b := piped()
	printDifferences(term, full, other)
	got := b.String()
	for _, part := range []string{
		`  - origin: "https://a.example:8443"` + "\n" + `  + origin: ["https://a.example:8443"]` + "\n", "  - note: \"two\\nlines\"\n  + note: \"\"\n",
		"  + blob: (of a type that JSON does not have)\n", `  - x: {"y":[1,null]}` + "\n",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("%s\nlacks\n%s", got, part)
		}
	}
	for line := range strings.Lines(got) {
		if strings.Contains(line, "BEGIN") || strings.HasPrefix(line, "  - ca_pem") && !strings.Contains(line, "Root one") {
			t.Errorf("%s", line)
		}
	}
	if n := strings.Count(got, "SHA-256 of the text"); n != 2 {
		t.Errorf("texts of the same certificates look the same:\n%s", got)
	}
	if strings.Contains(got, "\x1b") {
		t.Errorf("colours in a pipe: %q", got)
	}
}

func TestInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 119 * time.Second: "119 s", 2 * time.Minute: "2 min", 119 * time.Minute: "119 min", 47*time.Hour + 59*time.Minute: "47 h", 48 * time.Hour: "2 d", 729 * 24 * time.Hour: "729 d", 730 * 24 * time.Hour: "2 y",
	} {
		if got := inWords(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// The output for an item can be read again, and gives the same item.
func FuzzParseItem(f *testing.F) {
	for _, s := range []string{
		`{"host":"a.test","origin":["b.test"],"spki_pins":["b","a"],"expires_at":"+48h"}`, "host: a.test\norigin: b.test\ntls_min: 1.3\nnote: |\n  two\n  lines\n",
		"a: &a 1\nb: *a\n", "<<: {a: 1}\n", "x: 0x10\ny: 1_000\nz: .inf\nw: 010\nv: 1e3\nu: ~\n", "? [a]\n: b\n", "note: 2030-01-31\nenabled: yes\n", "{host: a.test}", "a: 1\n---\nb: 2", "note: \"\\x07\\u2028\"", "x: !!binary aGk=", "spki_pins: [1]", "note: ' # '", "\ufeffnote: x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, document string) {
		item, err := routes.ParseItem([]byte(document), noon)
		if err != nil {
			return
		}
		item.Route()
		b, err := item.MarshalJSON()
		if err != nil {
			t.Fatalf("%q was read as %v: %v", document, item, err)
		}
		asYAML, err := toYAML(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		for _, text := range []string{string(b), asYAML.String()} {
			again, err := routes.ParseItem([]byte(text), noon)
			if err != nil || !again.Equal(item) {
				t.Fatalf("%q was read as %s, and that, written as\n%s\nas %v, %v", document, b, text, again, err)
			}
		}
		edited := withoutRemarks("# Route\n\n# State\n" + asYAML.String())
		if again, err := routes.ParseItem([]byte(edited), noon); err != nil || !again.Equal(item) {
			t.Fatalf("after its remarks, %q is read as %v, %v", asYAML.String(), again, err)
		}
		for _, d := range differences(item, origin.Item{"host": "other.test", "note": "other"}) {
			if d.old == d.new || strings.ContainsAny(d.old+d.new, "\n\x1b") {
				t.Fatalf("%+v", d)
			}
		}
	})
}

func FuzzPutFile(f *testing.F) {
	for _, document := range []string{
		`{"routes":[{"host":"a.test","origin":"b.test"}]}`, "routes:\n- host: a.test\n  expires_at: +30d\n", `{"routes":[{}]}`, `{"routes":null}`, `{"routes":[{"host":"a.test"},{}]}`, `{"host":"a.test"}`, "routes: &a [*a]",
	} {
		f.Add(document)
	}
	f.Fuzz(func(t *testing.T, document string) {
		item, err := parsePut("the file", []byte(document), noon)
		if err != nil {
			return
		}
		if _, ok := item["routes"]; ok {
			t.Fatalf("%q is taken for a route: %v", document, item)
		}
		b, err := item.MarshalJSON()
		if err != nil {
			t.Fatalf("%q was read as %v: %v", document, item, err)
		}
		for _, text := range []string{string(b), `{"routes":[` + string(b) + `]}`} {
			if again, err := parsePut("the file", []byte(text), noon); err != nil || !again.Equal(item) {
				t.Fatalf("%q was read as %s, and that as %v, %v", document, text, again, err)
			}
		}
	})
}

func TestDiffFailsAlsoWhereRoutesAreOnlyRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, document string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	some, none := write("some.json", `{"routes":[{"host":"a.test","origin":"x.test"}]}`), write("none.json", `{"routes":[]}`)
	for _, c := range []struct {
		from, to string
		want     int
	}{{some, none, 1}, {none, some, 1}, {some, some, 0}} {
		r := &routesCommand{tables: tableFlags{routes: c.from, getenv: func(string) string { return "" }}, now: time.Now}
		command := r.newDiff()
		command.SetArgs([]string{c.to})
		command.SetOut(&bytes.Buffer{})
		command.SilenceErrors, command.SilenceUsage = true, true
		if err := command.ExecuteContext(t.Context()); err == nil && c.want != 0 || err != nil && exitStatus(err) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Wrapped text must stay in its column.
func TestOriginsStandInTheirColumn(t *testing.T) {
	keys, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	if err := pty.Setsize(keys, &pty.Winsize{Rows: 24, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	showOrigin(terminal.New(nil, tty, tty, func(string) string { return "" }), &check.Origin{Address: "a.test:443", Error: "the name does not exist, or has no address"})
	tty.Close()
	shown, _ := io.ReadAll(keys) // the end is an error on Linux
	want := "\norigin    a.test:443: the name does not\n          exist, or has no address\n"
	if got := strings.ReplaceAll(string(shown), "\r\n", "\n"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWordsAreQuotedForAShell(t *testing.T) {
	for word, want := range map[string]string{"a.test": "a.test", "/tmp/x-1.yaml": "/tmp/x-1.yaml", "*.a.test": "'*.a.test'", "": "''", "it's $x": `'it'\''s $x'`} {
		if got := quoted(word); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}
