package routetable_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// An explanation must have the same result as the lookup.
func TestExplainComesToWhatLookupDoes(t *testing.T) {
	t.Parallel()
	records := map[origin.State]string{
		origin.Absent:   "",
		origin.Invalid:  `{"host":"HOST","origin":"lb.test","orgin":"x"}`,
		origin.Disabled: `{"host":"HOST","origin":"lb.test","enabled":false}`,
		origin.Expired:  `{"host":"HOST","origin":"lb.test","expires_at":1}`,
		origin.Usable:   `{"host":"HOST","origin":"lb.test"}`,
	}
	for exact, a := range records {
		for wildcard, b := range records {
			t.Run(fmt.Sprint(exact, " and ", wildcard), func(t *testing.T) {
				var all []string
				routes := map[string]origin.Item{}
				for host, text := range map[string]string{"one.x.test": a, "*.x.test": b} {
					if text == "" {
						continue
					}
					text = strings.Replace(text, "HOST", host, 1)
					all = append(all, text)
					var item origin.Item
					if err := item.UnmarshalJSON([]byte(text)); err != nil {
						t.Fatal(err)
					}
					routes[host] = item
				}
				file, err := origin.ReadRoutes(strings.NewReader(`{"routes":[` + strings.Join(all, ",") + `]}`))
				if err != nil {
					t.Fatal(err)
				}
				e, err := routetable.Explain("one.x.test", func(key string) (*origin.Route, error) {
					if item, ok := routes[key]; ok {
						return item.Route()
					}
					return nil, origin.ErrNotFound
				}, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				want, wantErr := file.Lookup(context.Background(), "one.x.test")
				if (e.Err == nil) != (wantErr == nil) || wantErr != nil && e.Err.Error() != wantErr.Error() || want != nil && e.Route.Host != want.Host {
					t.Errorf("explained as %v, %v; looked up as %v, %v", e.Route, e.Err, want, wantErr)
				}
				if len(e.Candidates) != 2 || e.Candidates[0].State != exact || e.Candidates[1].State != wildcard {
					t.Errorf("candidates %+v", e.Candidates)
				}
				first := exact != origin.Absent && exact != origin.Expired
				second := !first && wildcard != origin.Absent && wildcard != origin.Expired
				if e.Candidates[0].Decides != first || e.Candidates[1].Decides != second {
					t.Errorf("decided by %v, %v", e.Candidates[0].Decides, e.Candidates[1].Decides)
				}
			})
		}
	}
}

func TestExplainEndsWhereTheStoreFails(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	if _, err := routetable.Explain("a.test", func(string) (*origin.Route, error) { return nil, down }, time.Now()); !errors.Is(err, down) {
		t.Errorf("%v", err)
	}
}
