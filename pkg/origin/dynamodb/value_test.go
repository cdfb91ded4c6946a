package dynamodb

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/pkg/origin"
)

func readItem(t *testing.T, document string) origin.Item {
	t.Helper()
	var i origin.Item
	if err := json.Unmarshal([]byte(document), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

func inJSON(t *testing.T, i origin.Item) []byte {
	t.Helper()
	b, err := i.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestItemSurvivesDynamoDB(t *testing.T) {
	i := readItem(t, `{"host":"a.test","origin":["x.test"],"spki_pins":["a","b"],"enabled":false,"expires_at":12,"extra":{"n":null,"s":"","l":[1]}}`)
	if got := Item(Values(i)); !got.Equal(i) {
		t.Errorf("%v, want %v", got, i)
	}
	if set, ok := Values(i)["spki_pins"].(*types.AttributeValueMemberSS); !ok || len(set.Value) != 2 {
		t.Errorf("pins are written as %T", Values(i)["spki_pins"])
	}
}

// Values that a table may have and JSON may not must neither be lost nor be written as other values.
func TestForeignTypesSurviveEditingAndAreNotExported(t *testing.T) {
	stored := map[string]types.AttributeValue{
		"host": &types.AttributeValueMemberS{Value: "a.test"}, "blob": &types.AttributeValueMemberB{Value: []byte{1}},
		"numbers": &types.AttributeValueMemberL{Value: []types.AttributeValue{&types.AttributeValueMemberNS{Value: []string{"1"}}}},
	}
	i := Item(stored)
	if got := Values(i); !reflect.DeepEqual(got, stored) {
		t.Errorf("%v, want %v", got, stored)
	}
	if b, err := i.MarshalJSON(); err == nil || !strings.Contains(err.Error(), "blob") {
		t.Errorf("%s, %v", b, err)
	}
	var invalid *origin.InvalidRouteError
	if _, err := i.Route(); !errors.As(err, &invalid) {
		t.Errorf("%v", err)
	}
	for _, deep := range []any{[]any{"x", []byte{1}}, map[string]any{"x": []byte{1}}} {
		if b, err := (origin.Item{"host": "a.test", "deep": deep}).MarshalJSON(); err == nil || !strings.Contains(err.Error(), "deep") {
			t.Errorf("%s, %v", b, err)
		}
	}
}

// A table that was edited by hand may have pins as a list. Its export must be the same route.
func TestPinsAreTheSameRouteAsListAndAsSet(t *testing.T) {
	stored := Item(map[string]types.AttributeValue{
		"host": &types.AttributeValueMemberS{Value: "a.test"}, "origin": &types.AttributeValueMemberS{Value: "b.test"},
		"spki_pins": &types.AttributeValueMemberL{Value: []types.AttributeValue{
			&types.AttributeValueMemberS{Value: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
			&types.AttributeValueMemberS{Value: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
		}},
	})
	if _, err := stored.Route(); err != nil {
		t.Fatal(err)
	}
	b, err := stored.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if exported := readItem(t, string(b)); !stored.SameRoute(exported) || !exported.SameRoute(stored) {
		t.Errorf("%s is another route than %v", b, stored)
	}
}

func FuzzDynamoDBItem(f *testing.F) {
	f.Add("host", "S", "one.spec-trust.com", "origin", "S", "lb.example.com")
	f.Add("origin", "L", "a.test,b.test:1", "expires_at", "N", "1e3")
	f.Add("origin", "SS", "a.test", "enabled", "BOOL", "true")
	f.Add("spki_pins", "SS", "AAAA", "ca_pem", "NULL", "")
	f.Add("idle_timeout", "S", "1m", "rewrite", "BOOL", "true")
	f.Add("protocols", "L", "h2,http/1.1", "max_connections", "N", "20")
	f.Add("protocols", "SS", "h2,http/1.1", "max_connections", "N", "0")
	f.Add("tls_min", "B", "1.2", "x", "M", "")
	value := func(kind, s string) types.AttributeValue {
		switch kind {
		case "S":
			return &types.AttributeValueMemberS{Value: s}
		case "N":
			return &types.AttributeValueMemberN{Value: s}
		case "BOOL":
			return &types.AttributeValueMemberBOOL{Value: s == "true"}
		case "SS":
			return &types.AttributeValueMemberSS{Value: strings.Split(s, ",")}
		case "L":
			var list []types.AttributeValue
			for e := range strings.SplitSeq(s, ",") {
				list = append(list, &types.AttributeValueMemberS{Value: e})
			}
			return &types.AttributeValueMemberL{Value: list}
		case "NULL":
			return &types.AttributeValueMemberNULL{Value: true}
		case "M":
			return &types.AttributeValueMemberM{}
		case "nil":
			return nil
		}
		return &types.AttributeValueMemberB{Value: []byte(s)}
	}
	f.Fuzz(func(t *testing.T, name1, kind1, value1, name2, kind2, value2 string) {
		item := map[string]types.AttributeValue{
			"host": value("S", "a.test"), "origin": value("S", "b.test"),
		}
		maps.Copy(item, map[string]types.AttributeValue{name1: value(kind1, value1), name2: value(kind2, value2)})
		route, err := Item(item).Route()
		var invalid *origin.InvalidRouteError
		switch {
		case err != nil && !errors.As(err, &invalid):
			t.Fatalf("%T %v", err, err)
		case err == nil:
			if _, err := origin.ReadRoutes(strings.NewReader(`{"routes":[` + string(inJSON(t, Item(item))) + `]}`)); err != nil || route.Host == "" {
				t.Fatalf("%+v: %v", route, err)
			}
		}
	})
}

func FuzzItem(f *testing.F) {
	f.Add(`{"host":"a.test","origin":["b.test"],"spki_pins":["b","a"]}`)
	f.Add(`{"spki_pins":[1],"x":{"y":[1e400,-0,0.10]}}`)
	f.Add(`{"spki_pins":[],"<":"\ud800"}`)
	f.Fuzz(func(t *testing.T, document string) {
		var i origin.Item
		if json.Unmarshal([]byte(document), &i) == nil && !Item(Values(i)).Equal(i) {
			t.Fatalf("%v became %v", i, Item(Values(i)))
		}
	})
}
