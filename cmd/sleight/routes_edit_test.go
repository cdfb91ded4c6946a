package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func testEdit(t *testing.T, p *place) {
	const stored = `{"host":"a.test","origin":"b.test","note":"n","version":4,"updated_by":"eve@host","updated_at":"2030-01-31T11:00:00Z"}`
	p.put(t, stored)
	seen := filepath.Join(t.TempDir(), "seen")
	run := func(script string, args ...string) outcome {
		t.Helper()
		env := append(p.env, "VISUAL="+editor(t, script), "EDITOR=false", "SEEN="+seen)
		return execute(t, env, "", append([]string{"routes", "edit", "--force", "a.test"}, args...)...)
	}
	temporary := func(o outcome) string {
		t.Helper()
		m := regexp.MustCompile(`kept in (\S+/sleight-route-\S+?\.(?:yaml|json))`).FindStringSubmatch(o.err)
		if m == nil {
			t.Fatalf("the text is not kept: %+v", o)
		}
		return m[1]
	}
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}

	o := run(`cp "$1" "$SEEN"`)
	wantOutcome(t, "not changed", o, 0, `"a.test" in .* was not changed; nothing was written\n`, "")
	wantSays(t, "the text", read(seen), `# Route "a.test" in `, "version 4, by eve@host, at 2030-01-31T11:00:00Z.\n", "# State: enabled.\n", "\nhost: a.test\norigin: b.test\nnote: ")
	if strings.Contains(read(seen), "\nversion") {
		t.Errorf("what tools write can be edited:\n%s", read(seen))
	}
	for what, script := range map[string]string{
		"emptied":               `: >"$1"`,
		"nothing but remarks":   `edit '/^#/!d'`,
		"another order":         `edit '/^host/d'; echo 'host: a.test' >>"$1"`,
		"what tools write":      `echo 'version: 99' >>"$1"`,
		"remarks in the middle": `echo '# why' >>"$1"`,
	} {
		wantOutcome(t, what, run(script), 0, ".* was not changed; nothing was written\n", "")
	}
	wantOutcome(t, "an editor that fails", run("exit 3"), 1, "", "sleight: nothing was written: editor .*exit status 3\n")
	p.want(t, "a.test", stored)

	o = run(`edit 's/b.test/c.test/; s/^note.*/note: 12/'; cat "$1" >"$SEEN"`)
	wantOutcome(t, "changed", o, 0, `Changed "a.test" in .* \(version 5, was 4\): origin, note\n`, "")
	p.want(t, "a.test", `{"host":"a.test","origin":"c.test","note":"12"}`)
	o = run(`cp "$1" "$SEEN"; edit 's/c.test/d.test/'`, "-o", "json")
	wantOutcome(t, "as JSON", o, 0, `Changed .*: origin\n`, "")
	wantSays(t, "JSON", read(seen), "# Route", "\n{\n  \"host\": \"a.test\",\n")
	got := p.want(t, "a.test", `{"host":"a.test","origin":"d.test","note":"12"}`)
	if got["version"] != json.Number("6") {
		t.Errorf("%v", got)
	}

	for says, script := range map[string]string{
		`attribute "tls_min" is "1.1"`:                 `echo 'tls_min: 1.1' >>"$1"`,
		`attribute "host" is "b.test" and was "a.te`:   `edit 's/^host:.*/host: b.test/'`,
		`attribute "orgin" is not known`:               `echo 'orgin: x' >>"$1"`,
		`has "note" twice`:                             `echo 'note: x' >>"$1"`,
		`editor "sh `:                                  `echo 'tls_min: "1.3"' >>"$1"; exit 1`,
		"could not find expected ':'":                  `echo ' x' >>"$1"; echo y >>"$1"`,
		"attribute \"expires_at\" \"later\" has to be": `echo 'expires_at: later' >>"$1"`,
	} {
		o := run(script)
		if want := map[bool]int{true: 1, false: 2}[strings.Contains(script, "exit 1")]; o.status != want || o.out != "" || !strings.Contains(o.err, says) {
			t.Errorf("%s: %+v", says, o)
		}
		if text := read(temporary(o)); !strings.Contains(text, "d.test") {
			t.Errorf("%s: kept is %q", says, text)
		}
	}
	if now, err := p.table.Get(t.Context(), "a.test"); err != nil || !now.Equal(got) {
		t.Errorf("%v, %v; want %v", now, err, got)
	}

	// Somebody else writes first.
	self := built(t)
	race := `env ` + strings.Join(p.env, " ") + ` USER=mallory ` + self + ` routes put --force a.test --note theirs --tls-min 1.3 >/dev/null; edit 's/d.test/mine.test/'`
	o = run(race, "--dry-run")
	if o.status != 3 {
		t.Errorf("a dry run: %+v", o)
	}
	wantSays(t, "a dry run", o.out, "- origin: d.test", "+ origin: mine.test")
	wantSays(t, "a dry run", o.err, `by "mallory@`, "- note: 12", "+ note: theirs", "Without --dry-run the change would be refused")
	p.put(t, `{"host":"a.test","origin":"d.test"}`)
	o = run(race)
	if o.status != 3 || o.out != "" {
		t.Errorf("a lost race: %+v", o)
	}
	wantSays(t, "a lost race", o.err, `Somebody else has changed "a.test" meanwhile by "mallory@`, "+ note: theirs", "+ tls_min: 1.3", "nothing was written", "--replace")
	p.want(t, "a.test", `{"host":"a.test","origin":"d.test","note":"theirs","tls_min":"1.3"}`)
	// The command that the message names continues.
	command := regexp.MustCompile(`run "sleight (routes put .*)"`).FindStringSubmatch(o.err)
	if command == nil {
		t.Fatalf("%s does not say how to go on", o.err)
	}
	wantSays(t, "going on", p.must(t, append(strings.Fields(command[1])[1:], "--force")...), "Changed")
	p.want(t, "a.test", `{"host":"a.test","origin":"mine.test"}`)
	// Only flags may name the routes, while the variables name another table.
	p.put(t, `{"host":"a.test","origin":"d.test"}`)
	flag := map[bool]string{true: "--routes", false: "--table"}[strings.HasPrefix(p.env[0], "ROUTES_FILE=")]
	wantSays(t, "a lost race in what flags say", run(race, flag, p.name).err, " --replace "+flag+" "+p.name+`"`)
	p.put(t, `{"host":"a.test","origin":"d.test"}`)
	o = run(`env ` + strings.Join(p.env, " ") + ` ` + self + ` routes rm -y a.test >/dev/null; edit 's/d.test/mine.test/'`)
	if o.status != 3 {
		t.Errorf("of a route that was removed: %+v", o)
	}
	wantSays(t, "of a route that was removed", o.err, "removed", temporary(o))
	p.want(t, "a.test", "")
	wantOutcome(t, "no route", run("false"), 1, "", ".*no route for \"a.test\"\n")

	// On a terminal it opens again, with the reason.
	p.put(t, `{"host":"a.test","origin":"b.test"}`)
	count := filepath.Join(t.TempDir(), "count")
	again := editor(t, `echo x >>`+count+`; echo "opened $(wc -l <`+count+`): $(head -1 "$1")"
case $(wc -l <`+count+`) in
1) echo 'tls_min: 1.1' >>"$1";;
2) edit 's/^tls_min.*/tls_min: 1.0/';;
3) edit 's/^tls_min.*/tls_min: 1.3/'; grep ERROR "$1";;
esac`)
	s := onTerminal(t, append(p.env, "EDITOR="+again), "routes", "edit", "--force", "a.test")
	text, status := s.exit(t)
	if status != 0 || strings.Count(text, "ERROR") != 3 { // one line of it each time
		t.Errorf("%d %s", status, text)
	}
	wantSays(t, "on a terminal", text, `opened 1: # Route`, `opened 2: # ERROR: origin: route "a.test": attribute "tls_min" is "1.1"`, `opened 3: # ERROR: origin: route "a.test": attribute "tls_min" is "1.0"`, "Changed")
	p.want(t, "a.test", `{"host":"a.test","origin":"b.test","tls_min":"1.3"}`)
	// It names the line that the editor shows.
	for _, c := range []struct{ flags, broken string }{{"", "origin: [*"}, {"-o json", `"origin" 1`}} {
		lines := editor(t, `grep -n '^ *`+regexp.QuoteMeta(c.broken)+`' "$1" && head -1 "$1" || edit 's/^ *"*origin"*:.*/`+c.broken+`/'`)
		s := onTerminal(t, append(p.env, "EDITOR="+lines), append([]string{"routes", "edit", "--force", "a.test"}, strings.Fields(c.flags)...)...)
		text, _ := s.exit(t)
		shown, said := regexp.MustCompile(`(?m)^(\d+): *`+regexp.QuoteMeta(c.broken)).FindStringSubmatch(text), regexp.MustCompile(`# ERROR: .*line (\d+)`).FindStringSubmatch(text)
		if shown == nil || said == nil || shown[1] != said[1] {
			t.Errorf("%q: shown %q, said %q: %s", c.broken, shown, said, text)
		}
	}
	giveUp := editor(t, `grep -q ERROR "$1" || edit 's/^tls_min.*/tls_min: 1.1/'`)
	s = onTerminal(t, append(p.env, "EDITOR="+giveUp), "routes", "edit", "--force", "a.test")
	if text, status := s.exit(t); status != 2 || !strings.Contains(text, `attribute "tls_min"`) || !strings.Contains(text, "kept in") {
		t.Errorf("giving up: %d %s", status, text)
	}
	// Ctrl-C reaches the editor and the command.
	s = onTerminal(t, append(p.env, "EDITOR="+editor(t, `trap 'exit 0' INT; edit s/b.test/c.test/; echo waiting; while :; do sleep 0.05; done`)), "routes", "edit", "--force", "a.test")
	s.waitFor(t, "waiting")
	s.press(t, "\x03")
	if text, status := s.exit(t); status != 130 || !strings.Contains(text, "kept in") {
		t.Errorf("Ctrl-C: %d %s", status, text)
	}
	p.want(t, "a.test", `{"host":"a.test","origin":"b.test","tls_min":"1.3"}`)
}

func TestEditWithoutTerminalAndEditor(t *testing.T) {
	t.Parallel()
	p := newFilePlace(t)
	p.put(t, `{"host":"a.test","origin":"b.test"}`)
	wantOutcome(t, "nothing to edit with", p.run(t, "edit", "--force", "a.test"), 2, "", ".*set VISUAL or EDITOR.*\n")
	wantOutcome(t, "a table", p.run(t, "edit", "--force", "a.test", "-o", "table"), 2, "", ".*yaml or json.*\n")
}
