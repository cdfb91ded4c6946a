package origin

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// itemWith is a route with one attribute more, whose value is written in JSON.
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
		if row.Name == "ca_pem" { // its example is cut off, and TestDecode has whole ones
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
