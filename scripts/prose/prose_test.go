package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func foundIn(passages []passage) []hit {
	var hits []hit
	for _, p := range passages {
		hits = append(hits, p.find()...)
	}
	return hits
}

func comment(t *testing.T, lines ...string) []passage {
	t.Helper()
	all, err := comments([]byte("package p\n\n//" + strings.Join(lines, "\n//") + "\nvar x int\n"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Each text has one construction, which the pattern with that beginning finds, and no other pattern does.
func TestPatterns(t *testing.T) {
	found := map[string]bool{}
	for text, want := range map[string]string{
		"It has a name, of which nobody knows.":          "of which",
		"It is the time under which it ends.":            "of which",
		"The client with whom it speaks.":                "of which",
		"Of the two it takes the first.":                 "begins with Of",
		"It ends. By this it is known.":                  "begins with Of",
		"It is not read. Nor is it written.":             "begins with Of",
		"Without a name it fails.":                       "begins with Of",
		"As of now it fails.":                            "begins with Of",
		"What fails is logged.":                          "begins with What",
		"It ends. Who asks gets an error.":               "begins with What",
		"It is closed: whoever reads gets an error.":     "what or who",
		"It is closed; what was read is kept.":           "what or who",
		"It fails, be it early or late.":                 "be it",
		"It is all there but for the name.":              "be it",
		"It is the same, but that the name differs.":     "be it",
		"It takes the connection of before.":             "of before",
		"An error of ours.":                              "of before",
		"The common name is none.":                       "is none",
		"It sets timeouts that the route has not.":       "has not",
		"It has not, and fails.":                         "has not",
		"The error that came about is logged.":           "comes about",
		"This is what came of it.":                       "comes about",
		"It comes to an error.":                          "comes to",
		"It fails where there is no name.":               "where for",
		"Where it is empty, it fails.":                   "where for",
		"It does as one can see.":                        "one for",
		"One cannot know.":                               "one for",
		"So does it end.":                                "inverted:",
		"It is kept. Nothing is it that fails.":          "inverted:",
		"Were it empty, it would fail.":                  "inverted condition",
		"It reads addresses, such as do work.":           "such as",
		"The rule whereby it fails.":                     "old word",
		"It waits in vain.":                              "old word",
		"It counts the requests that land.":              "metaphor",
		"It takes off at once.":                          "metaphor",
		"It ends (see below). Of this, nothing is kept.": "begins with Of",
	} {
		hits := foundIn(comment(t, " "+text))
		if len(hits) != 1 || !strings.HasPrefix(hits[0].pattern, want) {
			t.Errorf("%q: %v, want one of %q", text, hits, want)
			continue
		}
		found[hits[0].pattern] = true
	}
	for _, p := range patterns {
		if !found[p.name] {
			t.Errorf("no text tests %q", p.name)
		}
	}
}

func TestPlainEnglishIsNotCounted(t *testing.T) {
	for _, text := range []string{
		"By default it is off. Of course it may be set.",
		"What does it do? Who asks?",
		"It says what the origin sent, and who asked.",
		"It may be nil, in which case it is off.",
		"It is set, but that is no fault, and but for now it is off.",
		"It has not ended, and the client has not read it.",
		"It is the place where the name is. It knows where it is. It says where the error is.",
		"It avoids a race where the connection ends.",
		"A route without one has no timeout, and the first one must end.",
		"one reads one byte.", // the doc comment of a function of that name
		"Requests that come to the proxy.",
		"It comes back, and it comes to the origin.",
		"Nothing is read. So it fails. Never close it.",
		"It may be none of them.",
		"The body ends, e.g. What follows is a name.",
		"It is of that kind, such as the ones above.",
		"The island, the landscape and the takeoffs.",
		"It has no name. It ends at 1.5 of them.",
	} {
		if hits := foundIn(comment(t, " "+text)); len(hits) > 0 {
			t.Errorf("%q: %v", text, hits)
		}
	}
}

// A construction that a line break divides was once not seen, and the line of one that is seen was that of the comment's start.
func TestLineBreaksDoNotDivide(t *testing.T) {
	for name, passages := range map[string][]passage{
		"comment":       comment(t, " x has a name and", " an address, of", " which nobody", " knows."),
		"item":          comment(t, " x:", "   - a name, of", "     which nobody knows"),
		"general":       general(t),
		"Markdown":      markdown("# x\n\nIt has a name, of\nwhich nobody knows.\n"),
		"Markdown item": markdown("x\n\n- It has a name, of\n  which nobody knows.\n"),
		"quotation":     markdown("x\n\n> It has a name, of\n> which nobody knows.\n"),
	} {
		want := 3
		if name == "comment" || name == "item" {
			want = 4
		}
		if hits := foundIn(passages); len(hits) != 1 || hits[0].line != want {
			t.Errorf("%s: %v, want one in line %d", name, hits, want)
		}
	}
}

func general(t *testing.T) []passage {
	t.Helper()
	all, err := comments([]byte("package p\n\n/* x has a name, of\nwhich nobody knows. */\nvar x int\n"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestParagraphsDivide(t *testing.T) {
	for name, passages := range map[string][]passage{
		"comment":   comment(t, " It is made of", "", " which is good."),
		"items":     comment(t, "   - made of", "   - which is good"),
		"Markdown":  markdown("It is made of\n\nwhich is good\n"),
		"items too": markdown("- It is made of\n- which is good\n"),
		"cells":     markdown("| a | b |\n|---|---|\n| made of | which is good |\n"),
		"heading":   markdown("## made of\nwhich is good\n"),
	} {
		if hits := foundIn(passages); len(hits) > 0 {
			t.Errorf("%s: %v", name, hits)
		}
	}
}

func TestCodeIsNoProse(t *testing.T) {
	const bad = "Of which whereby"
	for name, passages := range map[string][]passage{
		"code block":       comment(t, " x is used so:", "", "\t"+bad, "", " and so on"),
		"spaces":           comment(t, " x is used so:", "", "    "+bad, ""),
		"directive":        comment(t, "go:generate "+bad, " x", "nolint:all "+bad),
		"output":           comment(t, " Output:", " "+bad),
		"title":            comment(t, " # What it does", "", " It ends."),
		"fence":            markdown("x\n\n```go\n" + bad + "\n```\n\n~~~\n" + bad + "\n```\n" + bad + "\n~~~\n"),
		"indented":         markdown("x\n\n    " + bad + "\n    " + bad + "\n\nend\n"),
		"span":             markdown("x `" + bad + "` and ``" + bad + "`` y\n"),
		"span in a cell":   markdown("| a |\n|---|\n| x `" + bad + "` y |\n"),
		"target of a link": markdown("x [a link](whereby) y\n\n[ref]: whereby\n"),
		"remark":           markdown("x <!-- " + bad + "\n" + bad + " --> y\n"),
		"heading":          markdown("## What it does\n\n## Without AWS\n"),
		"head of a table":  markdown("| What | Who asks |\n|---|---|\n| it | they |\n"),
		"label":            markdown("- **What the client sees:** nothing\n"),
	} {
		if hits := foundIn(passages); len(hits) > 0 {
			t.Errorf("%s: %v", name, hits)
		}
		if len(passages) == 0 && name != "directive" && name != "output" {
			t.Errorf("%s: no passage was read", name)
		}
	}
	passages, err := comments([]byte("// Code generated by x. DO NOT EDIT.\n\npackage p\n\n// " + bad + "\nvar x int\n"))
	if err != nil || len(passages) > 0 {
		t.Errorf("generated: %v, %v", passages, err)
	}
	passages, err = comments([]byte("package p\n\nvar x = \"// " + bad + "\"\n"))
	if err != nil || len(passages) > 0 {
		t.Errorf("string: %v, %v", passages, err)
	}
}

// tree writes files into a folder, with a budget of lines.
func tree(t *testing.T, files map[string]string, lines ...string) string {
	t.Helper()
	top := t.TempDir()
	if lines != nil {
		files[budgetFile] = "# budget\n" + strings.Join(lines, "\n") + "\n"
	}
	for name, text := range files {
		name = filepath.Join(top, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

// goFile has a comment of 100 words, with n constructions.
func goFile(n int) string {
	return "package p\n\n// " + strings.Repeat("name whereby it ends here ", n) + strings.Repeat("name that it ends here ", 20-n) + "\nvar x int\n"
}

func TestCountsByFolderAndKind(t *testing.T) {
	top := tree(t, map[string]string{
		"pkg/a/a.go":          goFile(1),
		"pkg/a/b.go":          goFile(0),
		"pkg/a/a_test.go":     goFile(2),
		"pkg/a/testdata/x.go": "no Go",
		"pkg/a/notes.md":      "whereby",
		".git/x.go":           "no Go",
		"README.md":           "It ends whereby it ends.",
		"docs/a.md":           "It ends.",
		"docs/x/a.md":         "It ends.",
	})
	rows, err := count(top)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, r.kind+" "+r.folder+" "+strings.Repeat("x", len(r.hits)))
	}
	const want = "code pkg/a x,test pkg/a xx,docs README.md x,docs docs ,docs docs/x "
	if s := strings.Join(got, ","); s != want {
		t.Errorf("%q, want %q", s, want)
	}
	if rows[0].words != 200 || rows[0].rate() != 5 || rows[1].rate() != 20 {
		t.Errorf("%d words, %v and %v per 1,000", rows[0].words, rows[0].rate(), rows[1].rate())
	}
}

func TestNothingToReadIsAnError(t *testing.T) {
	if _, err := count(t.TempDir()); err == nil {
		t.Error("an empty folder has a count")
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		hits   int
		budget string
		want   string // what the error says, or nothing
	}{
		"as allowed":            {1, "code pkg/a 10.0", ""},
		"a little below":        {1, "code pkg/a 10.9", ""},
		"above":                 {2, "code pkg/a 10.0", "pkg/a/a.go:3: old word"},
		"above, what to do":     {2, "code pkg/a 10.0", "may have 10.0: rewrite some of these sentences"},
		"clearly below":         {1, "code pkg/a 11.0", "go run ./scripts/prose -update"},
		"new, above":            {1, "", "may have 3.0"},
		"new, good":             {0, "", ""},
		"none, least allowed":   {0, "code pkg/a 1.0", ""},
		"a folder that is gone": {0, "code pkg/b 1.0", "names pkg/b (code), which has no text"},
	} {
		top := tree(t, map[string]string{"pkg/a/a.go": goFile(c.hits)}, c.budget)
		err := run(os.Stdout, top, nil, false, true, false)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// An update that wrote what it found would make the budget a record of the texts, whatever they are.
func TestUpdateOnlyLowers(t *testing.T) {
	for name, c := range map[string]struct {
		hits         int
		budget, want string
	}{
		"lower":     {1, "code pkg/a 12.0", "code  pkg/a                     10.0"},
		"higher":    {2, "code pkg/a 12.0", "code  pkg/a                     12.0"},
		"none":      {0, "code pkg/a 12.0", "code  pkg/a                      1.0"},
		"new, good": {0, "", "code  pkg/a                      1.0"},
		"new, bad":  {2, "", "code  pkg/a                      3.0"},
		"gone":      {0, "code pkg/b 12.0", "code  pkg/a                      1.0"},
	} {
		top := tree(t, map[string]string{"pkg/a/a.go": goFile(c.hits)}, c.budget)
		if err := run(os.Stdout, top, nil, false, false, true); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(top, budgetFile))
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(string(b)) {
			if !strings.HasPrefix(line, "#") {
				lines = append(lines, strings.TrimSuffix(line, "\n"))
			}
		}
		if len(lines) != 1 || lines[0] != c.want {
			t.Errorf("%s: %q, want %q", name, lines, c.want)
		}
	}
}

func TestBudgetThatCannotBeReadIsAnError(t *testing.T) {
	for _, line := range []string{"code pkg/a", "prose pkg/a 1", "code pkg/a much", "code pkg/a -1", "code pkg/a 1\ncode pkg/a 2"} {
		top := tree(t, map[string]string{"pkg/a/a.go": goFile(0)}, line)
		if err := run(os.Stdout, top, nil, false, true, false); err == nil || !strings.Contains(err.Error(), "budget.txt:") {
			t.Errorf("%q: %v", line, err)
		}
	}
	if err := run(os.Stdout, tree(t, map[string]string{"pkg/a/a.go": goFile(0)}), nil, false, true, false); err == nil {
		t.Error("no budget is a good one")
	}
}

func TestTableAndShow(t *testing.T) {
	top := tree(t, map[string]string{"pkg/a/a.go": goFile(1), "pkg/ab/a.go": goFile(3)})
	var out strings.Builder
	if err := run(&out, top, []string{"./pkg/a/..."}, false, false, false); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.Contains(s, "10.0") || strings.Contains(s, "pkg/ab") {
		t.Error(s)
	}
	out.Reset()
	if err := run(&out, top, []string{"pkg/a"}, true, false, false); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.HasPrefix(s, "pkg/a/a.go:3: old word") || strings.Count(s, "\n") != 1 {
		t.Error(s)
	}
}
