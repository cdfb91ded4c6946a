package origin

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// itemWith is a route with one more attribute. Its value is JSON.
func itemWith(t *testing.T, name, value string) Item {
	t.Helper()
	members := map[string]json.RawMessage{"host": []byte(`"one.test"`), "origin": []byte(`"lb.test"`), name: []byte(value)}
	b, err := json.Marshal(members)
	if err != nil {
		t.Fatalf("%s: the example %s is not JSON: %v", name, value, err)
	}
	var item Item
	if err := item.UnmarshalJSON(b); err != nil {
		t.Fatal(err)
	}
	return item
}

// A row without a decoder would panic at the first route that has the attribute.
func TestEachAttributeIsDecodedAndExplained(t *testing.T) {
	t.Parallel()
	placeholder := regexp.MustCompile("^[^`]*`[A-Za-z]+`[^`]*$")
	plain, err := itemWith(t, "note", `""`).Route()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, row := range Attributes() {
		if seen[row.Name] {
			t.Errorf("%s has two rows", row.Name)
		}
		seen[row.Name] = true
		if row.Help == "" || strings.HasSuffix(row.Help, ".") || !row.Audit && row.Kind != Bool && !placeholder.MatchString(row.Help) {
			t.Errorf("%s: the help %q has to be a line without a full stop, and to name its value in back quotes", row.Name, row.Help)
		}
		if row.Name == "ca_pem" { // its example is cut off; TestDecode has whole ones
			continue
		}
		route, err := itemWith(t, row.Name, row.Example).Route()
		if err != nil || reflect.DeepEqual(route, plain) {
			t.Errorf("%s: the example %s has no effect, error %v", row.Name, row.Example, err)
		}
		if _, err := itemWith(t, row.Name, `{}`).Route(); err == nil {
			t.Errorf("%s: an object is taken", row.Name)
		}
	}
}

// A version that adds attributes gives them the next level. A gap would be a level that no version has.
// These attributes are older than levels. Do not add any: a new attribute has a level, since older proxies answer its host with 500.
var ofLevelZero = strings.Fields("host origin server_name host_header ca_pem spki_pins client_cert tls_min protocols max_connections rewrite " +
	"connect_timeout handshake_timeout response_timeout idle_timeout request_timeout enabled expires_at note version updated_at updated_by")

func TestNewAttributeHasALevel(t *testing.T) {
	t.Parallel()
	for _, row := range Attributes() {
		if old := slices.Contains(ofLevelZero, row.Name); old != (row.Level == 0) {
			t.Errorf("%s has level %d: an attribute that ofLevelZero does not list needs a level above 0 (docs/decisions/0017-levels.md)", row.Name, row.Level)
		}
	}
}

func TestLevelsOfAttributesHaveNoGap(t *testing.T) {
	t.Parallel()
	used := map[int]bool{0: true}
	for _, row := range Attributes() {
		used[row.Level] = true
		if LevelOf(row.Name) != row.Level || row.Level > Level() || row.Level < 0 {
			t.Errorf("%s: level %d, and LevelOf returns %d, Level %d", row.Name, row.Level, LevelOf(row.Name), Level())
		}
	}
	for level := range Level() {
		if !used[level] {
			t.Errorf("no attribute has level %d, and the highest is %d", level, Level())
		}
	}
	if n := LevelOf("misspelt"); n != 0 {
		t.Errorf("an unknown attribute has level %d", n)
	}
}

func TestAttributesOfTLSAreRefusedForPlainOrigins(t *testing.T) {
	t.Parallel()
	n := 0
	for _, row := range Attributes() {
		if row.Name == "host" || row.Name == "origin" || row.Name == "ca_pem" {
			continue
		}
		item := itemWith(t, row.Name, row.Example)
		item["origin"] = "http://lb.test"
		if _, err := item.Route(); (err != nil) != row.TLS {
			t.Errorf("%s: TLS is %v, error %v", row.Name, row.TLS, err)
		}
		n++
	}
	if n < 15 {
		t.Errorf("%d attributes", n)
	}
}

var update = flag.Bool("update", false, "write the table of docs/routes.md anew")

const attributesDocument, attributesCommand = "../../docs/routes.md", "go test ./pkg/origin -run TestAttributesDocument -update"

// The table in the document is the one in the code; longer explanations are below it.
func TestAttributesDocument(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(attributesDocument)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- attributes -->\n", "<!-- /attributes -->\n"
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table between %q and %q", attributesDocument, begin, end)
	}
	var table strings.Builder
	table.WriteString("| attribute | type | default | example | meaning |\n|---|---|---|---|---|\n")
	for _, row := range Attributes() {
		fmt.Fprintf(&table, "| `%s` | %s | %s | `%s` | %s |\n", row.Name, row.Kind, row.Default, row.Example, strings.ReplaceAll(row.Help, "`", ""))
	}
	want := before + begin + table.String() + end + after
	if *update {
		if err := os.WriteFile(attributesDocument, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(b) {
		t.Errorf("the table of %s is not the one in pkg/origin/attribute.go; write it anew with\n\t%s", attributesDocument, attributesCommand)
	}
}
