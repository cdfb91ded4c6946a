package dynamodb

import (
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// rows returns the cells of the table in docs/costs.md whose head begins with title.
func rows(t *testing.T, title string) (head []string, all [][]float64) {
	t.Helper()
	b, err := os.ReadFile("../../../docs/costs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(b), "\n| "+title)
	if !ok {
		t.Fatalf("no table %q", title)
	}
	table, _, _ = strings.Cut(title+table, "\n\n")
	for i, line := range strings.Split(strings.TrimSpace(table), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), "|")
		switch i {
		case 0:
			head = cells
		case 1:
		default:
			var row []float64
			for _, cell := range cells {
				n, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(cell), ",", ""), 64)
				if err != nil {
					t.Fatal(err)
				}
				row = append(row, n)
			}
			all = append(all, row)
		}
	}
	if len(all) == 0 {
		t.Fatalf("table %q is empty", title)
	}
	return head, all
}

func TestCostsAreAsDocumented(t *testing.T) {
	head, all := rows(t, "requests per second")
	for _, row := range all {
		rate := row[0] / row[1] / row[2]
		for column := 3; column < len(row); column++ {
			ttl, err := time.ParseDuration(strings.Fields(strings.ReplaceAll(head[column], "`ROUTES_TTL`", ""))[0])
			if err != nil {
				t.Fatal(err)
			}
			formula := 1e6 / (1 + 0.95*rate*ttl.Seconds())
			if math.Abs(formula/row[column]-1) > 0.05 {
				t.Errorf("%v with a TTL of %v: %.0f calls by the formula, documented are %.0f", row[:3], ttl, formula, row[column])
			}
			if row[column] < 1000 {
				continue // only a million requests would show it, and the formula holds for the other rows
			}
			calls, units := costs(t, rate, ttl, 1e6/row[column])
			if math.Abs(calls/row[column]-1) > 0.1 {
				t.Errorf("%v with a TTL of %v: %.0f calls for a million requests, documented are %.0f", row[:3], ttl, calls, row[column])
			}
			if units != calls {
				t.Errorf("%v with a TTL of %v: %.0f read units for %.0f calls", row[:3], ttl, units, calls)
			}
		}
	}
	if _, all = rows(t, "random names at a time"); len(all) != 2 {
		t.Errorf("%v", all)
	}
	for _, row := range all {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeTable{hold: make(chan struct{})}
			c := newCache(&Store{Client: f, Table: "t"})
			got := lookups(t.Context(), c, numbered("h%d.scan.test", int(row[0]))...)
			close(f.hold)
			got()
			if calls := float64(len(f.asked())) * 1e6 / row[0]; calls != row[1] {
				t.Errorf("%v names at a time: %.0f calls for each million", row[0], calls)
			}
		})
	}
}

// costs sends requests at random times, at a given rate for each of two hosts in each of two sandboxes. It returns the calls
// and read units of a million requests. More hosts and sandboxes would not change them, since they share nothing. It lasts
// for a dozen periods of so many requests each.
func costs(t *testing.T, rate float64, ttl time.Duration, period float64) (calls, units float64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTable{items: map[string]string{"a.x.test": "a.lb", "b.x.test": "b.lb"}}
		caches := []*origin.Cache{newCache(&Store{Client: f, Table: "t"}), newCache(&Store{Client: f, Table: "t"})}
		hosts := []string{"a.x.test", "b.x.test"}
		for _, c := range caches {
			c.TTL = ttl
			for _, host := range hosts {
				c.Lookup(t.Context(), host)
			}
		}
		before := len(f.asked())
		random := rand.New(rand.NewPCG(1, 2))
		n := max(5000, int(48*period))
		for range n {
			time.Sleep(time.Duration(random.ExpFloat64() / (4 * rate) * float64(time.Second)))
			if _, err := caches[random.IntN(2)].Lookup(t.Context(), hosts[random.IntN(2)]); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		asked := f.asked()[before:]
		for _, keys := range asked {
			units += float64(len(keys)) / 2 // items up to 4 KB, read eventually consistently
		}
		calls, units = float64(len(asked))*1e6/float64(n), units*1e6/float64(n)
	})
	return calls, units
}
