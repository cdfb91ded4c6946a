package routetable_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func TestSortedByDomain(t *testing.T) {
	var items []origin.Item
	for _, host := range []string{"b.com", "z.a.com", "*.a.com", "a.com", "a-b.com", "", "m.z.a.com", "a.org"} {
		items = append(items, origin.Item{"host": host})
	}
	var got []string
	for _, i := range routetable.Sorted(items) {
		got = append(got, i.Host())
	}
	if want := []string{"", "a.com", "*.a.com", "z.a.com", "m.z.a.com", "a-b.com", "b.com", "a.org"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if items[0].Host() != "b.com" {
		t.Error("the items were sorted in place")
	}
}

func TestStampCountsUpAndSaysWho(t *testing.T) {
	now := time.Date(2030, 1, 31, 12, 0, 0, 999, time.FixedZone("", 3600))
	for version, want := range map[string]string{
		"": "1", `,"version":0`: "1", `,"version":41`: "42", `,"version":"x"`: "1", `,"version":-7`: "1", `,"version":1.5`: "1",
		`,"version":` + strconv.Itoa(math.MaxInt64): "1", // otherwise the route would be invalid
	} {
		before := item(t, `{"host":"a.test","origin":"b.test","updated_by":"old"`+version+`}`)
		copied := item(t, string(must(before.MarshalJSON())))
		got := routetable.Stamp(before, before, "me", now)
		if want := item(t, `{"host":"a.test","origin":"b.test","version":`+want+`,"updated_by":"me","updated_at":"2030-01-31T11:00:00Z"}`); !got.Equal(want) {
			t.Errorf("%s: %v, want %v", version, got, want)
		}
		if !before.Equal(copied) {
			t.Errorf("%s: what was stamped has become %v", version, before)
		}
		if _, ok := routetable.Stamp(nil, before, "", now)["updated_by"]; ok {
			t.Errorf("%s: without a name, the one before is said to have done it", version)
		}
	}
}

func TestDifferenceNamesWhatToolsWriteOnlyAlone(t *testing.T) {
	a := item(t, `{"host":"a.test","origin":"b.test","version":1,"spki_pins":["x","y"],"zeta":1}`)
	for document, want := range map[string]string{
		`{"host":"a.test","origin":"b.test","version":1,"spki_pins":["y","x"],"zeta":1}`:       "",
		`{"host":"a.test","origin":"b.test","version":2,"spki_pins":["x","y"],"zeta":1}`:       "version",
		`{"host":"a.test","origin":["b.test"],"version":2,"spki_pins":["x"],"alpha":null}`:     "origin spki_pins alpha zeta",
		`{"host":"a.test","origin":"b.test","version":1,"spki_pins":["x","y"],"zeta":"1"}`:     "zeta",
		`{"host":"a.test","origin":"b.test","spki_pins":["x","y"],"zeta":1,"updated_by":"me"}`: "version updated_by",
	} {
		if got := strings.Join(routetable.Difference(a, item(t, document)), " "); got != want {
			t.Errorf("%s: %q, want %q", document, got, want)
		}
	}
	if got := routetable.Difference(nil, a); len(got) != 4 {
		t.Errorf("from none: %q", got)
	}
}

func TestConflictSaysWhoAndWhat(t *testing.T) {
	before := item(t, `{"host":"a.test","origin":"b.test","version":1}`)
	signed := item(t, `{"host":"a.test","origin":"b.test","version":1,"updated_by":"me@host","updated_at":"2030-01-31T11:00:00Z"}`)
	after := item(t, `{"host":"a.test","origin":"mine","version":2}`)
	for _, c := range []struct {
		before  origin.Item
		current string
		says    string
	}{
		{before, `{"host":"a.test","origin":"c.test","note":"n","version":2,"updated_by":"eve@host","updated_at":"2030-01-31T11:00:00Z"}`, `route "a.test" was changed meanwhile by "eve@host" at 2030-01-31T11:00:00Z (origin, note); nothing was written`},
		{before, `{"host":"a.test","origin":"c.test","updated_by":"\u001b[2J"}`, `route "a.test" was changed meanwhile by "\x1b[2J" (origin); nothing was written`},
		{nil, `{"host":"a.test","origin":"c.test"}`, `route "a.test" was created meanwhile by a tool that does not say who; nothing was written`},
		{before, "", `route "a.test" was removed meanwhile; nothing was written`},
		{before, `{"host":"a.test","origin":"b.test","version":1}`, `route "a.test" was changed meanwhile by a tool that does not say who (and back again); nothing was written`},
		// A tool that keeps the audit attributes of my last change.
		{signed, `{"host":"a.test","origin":"b.test","note":"n","version":2,"updated_by":"me@host","updated_at":"2030-01-31T11:00:00Z"}`, `route "a.test" was changed meanwhile by a tool that does not say who (note); nothing was written`},
		{signed, `{"host":"a.test","origin":"b.test","note":"n","version":2,"updated_by":"me@host","updated_at":"2030-01-31T12:00:00Z"}`, `route "a.test" was changed meanwhile by "me@host" at 2030-01-31T12:00:00Z (note); nothing was written`},
		{signed, `{"host":"a.test","origin":"b.test","note":"n","version":2,"updated_by":"eve@host","updated_at":"2030-01-31T11:00:00Z"}`, `route "a.test" was changed meanwhile by "eve@host" at 2030-01-31T11:00:00Z (note); nothing was written`},
	} {
		var current origin.Item
		if c.current != "" {
			current = item(t, c.current)
		}
		if got := (&routetable.ConflictError{Change: routetable.Change{Before: c.before, After: after}, Current: current}).Error(); got != c.says {
			t.Errorf("%s, want %s", got, c.says)
		}
	}
}

// The time has seconds, and two commands may change a route in the same second.
func TestSecondChangeWithinASecondHasARecordOfItsOwn(t *testing.T) {
	noon := time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)
	seen := routetable.Stamp(nil, item(t, `{"host":"a.test","origin":"b.test"}`), "me@host", noon.Add(time.Millisecond))
	if at := seen["updated_at"]; at != "2030-01-31T12:00:00Z" {
		t.Errorf("the first change was made at %v", at)
	}
	current := seen
	for n := range 5 {
		current = routetable.Stamp(current, item(t, fmt.Sprintf(`{"host":"a.test","origin":"b.test","note":"%d"}`, n)), "me@host", noon.Add(time.Duration(2+n)*time.Millisecond))
		err := &routetable.ConflictError{Change: routetable.Change{Before: seen, After: seen}, Current: current}
		if want := fmt.Sprintf(`by "me@host" at 2030-01-31T12:00:00.00%dZ`, 2+n); !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if later := routetable.Stamp(current, current, "me@host", noon.Add(time.Second)); later["updated_at"] != "2030-01-31T12:00:01Z" {
		t.Errorf("a second later: %v", later["updated_at"])
	}
}

func TestVersionIsToldAsItIs(t *testing.T) {
	for version, want := range map[string]string{"": "none", "1": "1", "-3": "-3", "1.5": "1.5", "99999999999999999999": "99999999999999999999", `"2"`: `"2"`, `"\u001b[2J"`: `"\x1b[2J"`, "true": `"true"`} {
		i := origin.Item{}
		if version != "" {
			i = item(t, `{"version":`+version+`}`)
		}
		if got := routetable.VersionText(i); got != want {
			t.Errorf("%s: %s, want %s", version, got, want)
		}
	}
}

func TestVersionsThatCannotBeCountedOnAreNotTheSame(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{`{"version":1}`, `{"version":1.0}`, true}, {`{"version":0}`, `{}`, true}, {`{}`, `{}`, true}, {`{"version":-3}`, `{"version":-3}`, true},
		{`{"version":-3}`, `{}`, false}, {`{"version":-3}`, `{"version":1.5}`, false}, {`{"version":1}`, `{"version":2}`, false}, {`{"version":"1"}`, `{"version":1}`, false},
	} {
		if got := routetable.SameVersion(item(t, c.a), item(t, c.b)); got != c.want || routetable.SameVersion(item(t, c.b), item(t, c.a)) != c.want {
			t.Errorf("%s, %s: %v", c.a, c.b, got)
		}
	}
}
