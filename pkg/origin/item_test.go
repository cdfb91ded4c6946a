package origin

import (
	"bytes"
	"encoding/json"
	"errors"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func readItem(t *testing.T, document string) Item {
	t.Helper()
	var i Item
	if err := json.Unmarshal([]byte(document), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestItemIsWrittenInTheOrderPeopleReadItIn(t *testing.T) {
	i := readItem(t, `{"zeta":{"b":1,"a":[null,true]},"note":"<&> \u2028","version":3,"spki_pins":["b","a","b"],"host":"a.test","alpha":1.50,"origin":["x.test","w.test"]}`)
	b, err := json.Marshal(i)
	want := `{"host":"a.test","origin":["x.test","w.test"],"spki_pins":["a","b"],"note":"<&> \u2028","version":3,"alpha":1.50,"zeta":{"a":[null,true],"b":1}}`
	var compact bytes.Buffer
	if err == nil {
		err = FormatItems(&compact, sequence(i))
	}
	if got := compact.String(); err != nil || got != "{\"routes\":[\n"+want+"\n]}\n" {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	if !json.Valid(b) {
		t.Errorf("%s", b)
	}
}

func sequence(items ...Item) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for _, i := range items {
			if !yield(i, nil) {
				return
			}
		}
	}
}

func TestItemSurvivesDynamoDB(t *testing.T) {
	i := readItem(t, `{"host":"a.test","origin":["x.test"],"spki_pins":["a","b"],"enabled":false,"expires_at":12,"extra":{"n":null,"s":"","l":[1]}}`)
	if got := FromDynamoDB(i.DynamoDB()); !got.Equal(i) {
		t.Errorf("%v, want %v", got, i)
	}
	if set, ok := i.DynamoDB()["spki_pins"].(*types.AttributeValueMemberSS); !ok || len(set.Value) != 2 {
		t.Errorf("pins are written as %T", i.DynamoDB()["spki_pins"])
	}
}

// What a table may hold and JSON cannot say must neither get lost nor be written as something else.
func TestForeignTypesSurviveEditingAndAreNotExported(t *testing.T) {
	stored := map[string]types.AttributeValue{
		"host": &types.AttributeValueMemberS{Value: "a.test"}, "blob": &types.AttributeValueMemberB{Value: []byte{1}},
		"numbers": &types.AttributeValueMemberL{Value: []types.AttributeValue{&types.AttributeValueMemberNS{Value: []string{"1"}}}},
	}
	i := FromDynamoDB(stored)
	if got := i.DynamoDB(); !reflect.DeepEqual(got, stored) {
		t.Errorf("%v, want %v", got, stored)
	}
	if b, err := i.MarshalJSON(); err == nil || !strings.Contains(err.Error(), "blob") {
		t.Errorf("%s, %v", b, err)
	}
	var invalid *InvalidRouteError
	if _, err := i.Route(); !errors.As(err, &invalid) {
		t.Errorf("%v", err)
	}
	for _, deep := range []any{[]any{"x", []byte{1}}, map[string]any{"x": []byte{1}}} {
		if b, err := (Item{"host": "a.test", "deep": deep}).MarshalJSON(); err == nil || !strings.Contains(err.Error(), "deep") {
			t.Errorf("%s, %v", b, err)
		}
	}
}

// DynamoDB keeps no order, so that nothing has changed where it is another.
func TestSetsAreComparedWithoutOrder(t *testing.T) {
	a, b := Item{"x": StringSet{"1", "2"}}, Item{"x": StringSet{"2", "1"}}
	if !a.Equal(b) || a.Equal(Item{"x": StringSet{"1", "3"}}) || a.Equal(Item{"x": StringSet{"1"}}) {
		t.Error("compared wrongly")
	}
}

func TestMemberThatIsThereTwiceIsRefusedHoweverDeep(t *testing.T) {
	for _, s := range []string{`{"x":1,"x":2}`, `{"x":{"y":1,"y":2}}`, `{"x":[{"y":1,"y":2}]}`} {
		var i Item
		if err := i.UnmarshalJSON([]byte(s)); err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("%s is read as %v, %v", s, i, err)
		}
	}
}

func TestSameRouteIgnoresWhatToolsWrite(t *testing.T) {
	a := readItem(t, `{"host":"a.test","origin":"b.test","version":1,"updated_at":"x","updated_by":"y"}`)
	b := readItem(t, `{"host":"a.test","origin":"b.test"}`)
	c := readItem(t, `{"host":"a.test","origin":"b.test","note":"n"}`)
	if !a.SameRoute(b) || a.Equal(b) || b.SameRoute(c) || c.SameRoute(nil) {
		t.Error("compared wrongly")
	}
}

// A table may have pins as a list, by hand. What was exported of it has to be the same route.
func TestPinsAreTheSameRouteAsListAndAsSet(t *testing.T) {
	stored := FromDynamoDB(map[string]types.AttributeValue{
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

func TestNumbersAreComparedByValue(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"1.50", "1.5", true}, {"100", "1E2", true}, {"1e+2", "100.0", true}, {"0.10", "1e-1", true}, {"-0", "0e9", true}, {"-1.0", "-1", true},
		{"1", "-1", false}, {"10", "1", false}, {"1e999999999999999999999", "1e999999999999999999998", false}, {"1e999999999999999999999", "1e999999999999999999999", true},
		{"12345678901234567890123456789012345678", "12345678901234567890123456789012345679", false}, {"1", `"1"`, false}, {"[1.0]", "[1]", true}, {`{"a":[1.0]}`, `{"a":[1]}`, true},
		{"[1]", "[1,1]", false}, {`{"a":null}`, `{"b":null}`, false}, {`{"a":1}`, `{"a":1,"b":1}`, false}, {"[]", "{}", false}, {"null", "0", false},
	} {
		a, b := readItem(t, `{"x":`+c.a+`}`), readItem(t, `{"x":`+c.b+`}`)
		if a.Equal(b) != c.same || b.Equal(a) != c.same {
			t.Errorf("%s and %s: want %v", c.a, c.b, c.same)
		}
	}
}

func FuzzItem(f *testing.F) {
	f.Add(`{"host":"a.test","origin":["b.test"],"spki_pins":["b","a"]}`)
	f.Add(`{"spki_pins":[1],"x":{"y":[1e400,-0,0.10]}}`)
	f.Add(`{"spki_pins":[],"<":"\ud800"}`)
	f.Fuzz(func(t *testing.T, document string) {
		var i Item
		if json.Unmarshal([]byte(document), &i) != nil {
			return
		}
		i.Route()
		var b bytes.Buffer
		if err := FormatItems(&b, sequence(i, i)); err != nil {
			t.Fatal(err)
		}
		var again []Item
		for item, err := range Items(&b) {
			if err != nil {
				t.Fatalf("%v of %s", err, &b)
			}
			again = append(again, item)
		}
		if len(again) != 2 || !again[0].Equal(i) || !FromDynamoDB(i.DynamoDB()).Equal(i) || !slices.Equal(i.Names(), again[1].Names()) {
			t.Fatalf("%v became %v", i, again)
		}
	})
}
