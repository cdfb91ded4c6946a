package origin

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
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
	want := `{"host":"a.test","origin":["x.test","w.test"],"spki_pins":["a","b"],"note":"<&> \u2028","version":3,"alpha":1.50,"zeta":{"a":[null,true],"b":1}}`
	if b, err := i.MarshalJSON(); err != nil || string(b) != want {
		t.Errorf("%s, %v\nwant %s", b, err, want)
	}
	if b, err := json.Marshal(i); err != nil || !json.Valid(b) {
		t.Errorf("%s, %v", b, err)
	}
}

// DynamoDB keeps no order of sets, so another order is no change.
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
		b, err := i.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var again []Item
		for item, err := range Items(strings.NewReader(fmt.Sprintf(`{"routes":[%s,%[1]s]}`, b))) {
			if err != nil {
				t.Fatalf("%v of %s", err, b)
			}
			again = append(again, item)
		}
		if len(again) != 2 || !again[0].Equal(i) || !slices.Equal(i.Names(), again[1].Names()) {
			t.Fatalf("%v became %v", i, again)
		}
	})
}
