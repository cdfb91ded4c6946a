package main_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func testLevel(t *testing.T, db *dynamodbtest.Server) {
	p := newTablePlace(t, db, db.Endpoint)
	quoted := regexp.QuoteMeta(p.named)
	highest := origin.Level()
	wantOutcome(t, "a new table", p.run(t, "level"), 0, fmt.Sprintf(`%s has level 0\. The highest that this sleight knows is level %d\.\n.*`, quoted, highest), "")
	wantOutcome(t, "the same", p.run(t, "level", "0"), 0, quoted+` has level 0 already; nothing was written\n`, "")
	for arg, says := range map[string]string{
		"-1": "unknown shorthand flag", "x": `"x" is no level: a level is a whole number from 0 on`, "1.5": `"1.5" is no level`,
		fmt.Sprint(highest + 1): fmt.Sprintf("this sleight knows no attribute that needs level %d", highest+1),
	} {
		o := p.run(t, "level", arg)
		if o.status != 2 || o.out != "" {
			t.Errorf("%s: %+v", arg, o)
		}
		wantSays(t, arg, o.err, says)
	}

	// Somebody has used a newer version, and goes back.
	p.put(t, `{"host":"a.test","origin":"b.test"}`)
	if _, err := p.table.(*routetable.DynamoDB).SetLevel(t.Context(), highest+2, "ann", time.Now(), false); err != nil {
		t.Fatal(err)
	}
	o := p.run(t, "level", "-o", "json")
	wantOutcome(t, "JSON", o, 0, fmt.Sprintf(`\{\n  "level": %d,\n  "highest": %d,\n  "refused": \[\]\n\}\n`, highest+2, highest), "")
	for _, args := range [][]string{{"list"}, {"export"}} {
		if out := p.must(t, args...); strings.Contains(out, "#level") || !strings.Contains(out, "a.test") {
			t.Errorf("%q: %s", args, out)
		}
	}
	for _, args := range [][]string{{"get", "#level"}, {"rm", "--yes", "#level"}} {
		if o := p.run(t, args...); o.status == 0 {
			t.Errorf("%q: %+v", args, o)
		}
	}
	if o := execute(t, p.env, `{"routes":[{"host":"a.test","origin":"b.test"}]}`, "routes", "import", "-", "--prune", "--yes"); o.status != 0 {
		t.Errorf("%+v", o)
	}
	change := fmt.Sprintf(`hange the level of %s from %d to 0\n`, quoted, highest+2)
	wantOutcome(t, "dry run", p.run(t, "level", "0", "--dry-run"), 0, "Would c"+change+"Nothing was written: this was a dry run\\.\n", "")
	if o := p.run(t, "level", "0", "--dry-run", "-o", "json"); o.status != 0 || !strings.HasPrefix(compact(t, o.out), fmt.Sprintf(`{"level":%d,`, highest+2)) {
		t.Errorf("a dry run says which level the table would have: %+v", o)
	}
	wantOutcome(t, "back", p.run(t, "level", "0"), 0, strings.Replace(change, "hange", "Changed", 1), "")
	wantOutcome(t, "again", p.run(t, "level", "0"), 0, quoted+` has level 0 already; nothing was written\n`, "")

	f := newFilePlace(t)
	f.put(t, `{"host":"a.test","origin":"b.test"}`)
	o = f.run(t, "level", "0")
	if o.status != 2 {
		t.Errorf("a file: %+v", o)
	}
	wantSays(t, "a file", o.err, "has no level: only a DynamoDB table has one")
}
