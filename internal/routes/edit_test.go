package routes

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// Two changes may each lead to a route that works, and both together to one that does not.
func TestWhatOthersMakeOfAChangeIsCheckedToo(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(name, []byte(`{"routes":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := routetable.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	write := func(before, after origin.Item) {
		t.Helper()
		if err := table.Write(t.Context(), routetable.Change{Before: before, After: after}); err != nil {
			t.Fatal(err)
		}
	}
	seen := origin.Item{"host": "a.test", "origin": "b.test"}
	theirs := origin.Item{"host": "a.test", "origin": "c.test"}
	write(nil, seen)
	cannot := errors.New("cannot work")
	var checked []origin.Item
	e := &Editor{Table: table, Now: time.Now, Approve: func(was, is origin.Item) error {
		if checked = append(checked, is.WithoutAudit()); len(checked) > 1 {
			return cannot
		}
		write(seen, theirs) // while the check takes its time
		return nil
	}}
	_, err = e.Change(t.Context(), seen, func(before origin.Item) (origin.Item, error) {
		after := before.WithoutAudit()
		after["tls_min"] = "1.3"
		return after, nil
	}, true)
	if !errors.Is(err, cannot) || len(checked) != 2 || checked[0]["origin"] != "b.test" || checked[1]["origin"] != "c.test" || checked[1]["tls_min"] != "1.3" {
		t.Errorf("error %v; checked %v", err, checked)
	}
	if there, err := table.Get(t.Context(), "a.test"); err != nil || !there.Equal(theirs) {
		t.Errorf("%v, %v; want %v", there, err, theirs)
	}
}

// Each of two who edit the same route keeps what the other has set.
func TestChangeIsMadeAgainOnWhatOthersHaveWritten(t *testing.T) {
	t.Parallel()
	set := func(name, value string) Edit {
		return func(before origin.Item) (origin.Item, error) {
			after := before.WithoutAudit()
			after[name] = value
			return after, nil
		}
	}
	for _, c := range []struct {
		name   string
		theirs Edit // nil removes the route
		merge  bool
		want   string // the note of the route then; empty means a conflict
	}{
		{"another attribute", set("tls_min", "1.3"), true, "mine"},
		{"another attribute, without merging", set("tls_min", "1.3"), false, ""},
		{"the same attribute", set("note", "theirs"), true, ""},
		{"a removed route", nil, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "routes.json")
			if err := os.WriteFile(name, []byte(`{"routes":[{"host":"a.test","origin":"b.test"}]}`), 0o600); err != nil {
				t.Fatal(err)
			}
			table, err := routetable.OpenFile(name)
			if err != nil {
				t.Fatal(err)
			}
			seen, err := table.Get(t.Context(), "a.test")
			if err != nil {
				t.Fatal(err)
			}
			theirs := routetable.Change{Before: seen}
			if c.theirs != nil {
				theirs.After, _ = c.theirs(seen)
			}
			if err := table.Write(t.Context(), theirs); err != nil {
				t.Fatal(err)
			}
			e := &Editor{Table: table, By: "me", Now: time.Now}
			got, err := e.Change(t.Context(), seen, set("note", "mine"), c.merge)
			conflict, isConflict := errors.AsType[*routetable.ConflictError](err)
			switch {
			case c.want == "" && (!isConflict || !conflict.Current.Equal(theirs.After) || !conflict.Change.Before.Equal(seen)):
				t.Errorf("%v, %v; want a conflict", got, err)
			case c.want != "" && (err != nil || got["note"] != c.want || got["tls_min"] != "1.3" || got[origin.UpdatedByAttribute] != "me"):
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "routes.json")
	const document = `{"routes":[]}`
	if err := os.WriteFile(name, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := routetable.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	e := &Editor{Table: table, Now: time.Now, DryRun: true}
	got, err := e.Change(t.Context(), nil, func(origin.Item) (origin.Item, error) { return origin.Item{"host": "a.test", "origin": "b.test"}, nil }, true)
	if b, _ := os.ReadFile(name); err != nil || got.Host() != "a.test" || string(b) != document {
		t.Errorf("%v, %v; the file is %s", got, err, b)
	}
}
