package routetable

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// The consent to remove a route is for the route as it was then.
func TestRouteThatWasChangedSinceItWasReadIsNotRemoved(t *testing.T) {
	file, _, err := OpenOrCreateFile(filepath.Join(t.TempDir(), "routes.json"))
	if err != nil {
		t.Fatal(err)
	}
	seen := routes(4)
	changed := route(1, "note", "theirs", "version", "1", "updated_by", "eve")
	for name, table := range map[string]Table{"a file": file, "a table": newFake()} {
		for _, i := range []origin.Item{seen[0], changed, seen[2]} { // the last one was removed
			if err := table.Write(t.Context(), Change{nil, i}); err != nil {
				t.Fatal(err)
			}
		}
		var kept error
		what := map[string]Result{}
		for _, dry := range []bool{true, false} {
			im := &Import{Table: table, DryRun: dry, Report: func(o Outcome) {
				what[o.Host] = o.Result
				if o.Result == Staying {
					kept = o.Err
				}
			}}
			if err := im.Run(t.Context(), sequence(), seen); err != nil {
				t.Fatal(err)
			}
			_, conflict := errors.AsType[*ConflictError](kept)
			if len(what) != 4 || what["h0.example.com"] != Removed || what["h1.example.com"] != Staying || what["h2.example.com"] != Removed || what["h3.example.com"] != Removed || !conflict ||
				!strings.Contains(kept.Error(), `route "h1.example.com" was changed meanwhile by "eve" (note); it was not removed`) {
				t.Errorf("%s, dry %v: %v, %v", name, dry, what, kept)
			}
		}
		if f, ok := table.(*fake); ok {
			if len(f.items) != 1 || !f.items["h1.example.com"].Equal(changed) {
				t.Errorf("%s: %v", name, f.items)
			}
		} else if all := contents(t, table); len(all) != 1 || !all["h1.example.com"].Equal(changed) {
			t.Errorf("%s: %v", name, all)
		}
	}
}
