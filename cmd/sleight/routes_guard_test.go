package main_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
)

// Each command that puts a route in force checks it. With --force, or if no client is affected, it writes without a check.
func TestRouteThatCannotWorkIsWrittenByForceAlone(t *testing.T) {
	t.Parallel()
	o, p := newTarget(t, nil), newFilePlace(t)
	p.env = append(p.env, "ORIGIN_ALLOW_CIDRS=127.0.0.0/8")
	closed := tlstest.Refusing(t)
	works := fmt.Sprintf(`{"host":"one.test","origin":%q,"ca_pem":%q}`, o.addr, o.pem)
	broken := fmt.Sprintf(`{"host":"one.test","origin":%q,"ca_pem":%q}`, closed, o.pem)
	const refused = `(?s)^(warn: .*|)sleight: nothing was written, because the route of "one.test" cannot work: .*connection refused.* --force writes it anyway`
	wantRefused := func(what string, got outcome) {
		t.Helper()
		if got.status != 1 || got.out != "" || !regexp.MustCompile(refused).MatchString(got.err) {
			t.Errorf("%s: %+v", what, got)
		}
	}

	wantRefused("put of a new one", p.run(t, "put", "one.test", "--origin", closed, "--ca-file", o.caFile))
	p.want(t, "one.test", "")
	p.must(t, "put", "one.test", "--origin", o.addr, "--ca-file", o.caFile)
	p.want(t, "one.test", works)
	wantRefused("put of a change", p.run(t, "put", "one.test", "--origin", closed))
	wantRefused("a dry run", p.run(t, "put", "one.test", "--origin", closed, "--dry-run"))

	edit := func(script string, args ...string) outcome {
		t.Helper()
		return execute(t, append(p.env, "EDITOR="+editor(t, script)), "", append([]string{"routes", "edit", "one.test", "--routes", p.name}, args...)...)
	}
	breaks := "edit 's/" + o.addr + "/" + closed + "/'"
	got := edit(breaks)
	wantRefused("edit", got)
	p.want(t, "one.test", works)
	command := regexp.MustCompile(`kept in \S+: run "sleight (routes put one.test --file \S+ --replace --force --routes \S+)"\n$`).FindStringSubmatch(got.err)
	if command == nil {
		t.Fatalf("edit does not say how to go on: %s", got.err)
	}
	p.must(t, strings.Fields(command[1])[1:]...)
	p.want(t, "one.test", broken)

	// The note of a broken route can be changed, and the route can be disabled.
	p.must(t, "put", "one.test", "--note", "being moved")
	if got := edit(`edit 's/moved/mended/'`); got.status != 0 {
		t.Errorf("edit of a note: %+v", got)
	}
	p.must(t, "put", "one.test", "--unset", "note")
	p.must(t, "put", "one.test", "--disabled")
	p.must(t, "put", "one.test", "--tls-min", "1.3")
	p.must(t, "put", "one.test", "--unset", "tls_min")

	p.put(t, fmt.Sprintf(`{"host":"a.x.test","origin":%q,"ca_pem":%q,"enabled":false}`, o.addr, o.pem))
	got = p.run(t, "enable", "one.test", "a.x.test")
	if got.status != 1 || !regexp.MustCompile(refused).MatchString(got.err) || !strings.HasSuffix(got.err, "sleight: 1 route that cannot work\n") || !strings.HasSuffix(got.out, "1 of 2 routes enabled, 1 that cannot work\n") {
		t.Errorf("enable: %+v", got)
	}
	p.want(t, "a.x.test", fmt.Sprintf(`{"host":"a.x.test","origin":%q,"ca_pem":%q,"enabled":true}`, o.addr, o.pem))
	p.want(t, "one.test", strings.Replace(broken, "{", `{"enabled":false,`, 1))
	got = p.run(t, "enable", "one.test", "-o", "json")
	if got.status != 1 || !strings.HasPrefix(compact(t, got.out), `{"routes":1,"done":0,"unchanged":0,"absent":0,"invalid":0,"refused":1,"conflicts":0,"unknown":0,"left":0,"dry_run":false,"outcomes":[{"host":"one.test","what":"refused","error":"nothing was written, because `) {
		t.Errorf("enable in JSON: %+v", got)
	}
	p.must(t, "enable", "--force", "one.test")
	p.want(t, "one.test", strings.Replace(broken, "{", `{"enabled":true,`, 1))
}

// The commands that check before they write have the flag for networks of "sleight check".
func TestNetworksAreAllowedByFlagWhereRoutesAreChecked(t *testing.T) {
	t.Parallel()
	o, p := newTarget(t, nil), newFilePlace(t)
	args := []string{"put", "one.test", "--origin", o.addr, "--ca-file", o.caFile, "--connect-timeout", "5s"}
	if got := p.run(t, args...); got.status != 1 || !strings.Contains(got.err, "--allow-cidr") {
		t.Errorf("without: %+v", got)
	}
	if got := p.run(t, append(args, "--allow-cidr", "localhost")...); got.status != 2 || !strings.Contains(got.err, `--allow-cidr is "localhost"`) {
		t.Errorf("no network: %+v", got)
	}
	p.must(t, append(args, "--allow-cidr", "10.0.0.0/8", "--allow-cidr", "127.0.0.0/8")...)
	p.must(t, "disable", "one.test")
	if got := p.run(t, "enable", "one.test"); got.status != 1 {
		t.Errorf("enable without: %+v", got)
	}
	p.must(t, "enable", "one.test", "--allow-cidr", "127.0.0.0/8")
	edit := execute(t, append(p.env, "EDITOR="+editor(t, "edit 's/connect_timeout: 5s/connect_timeout: 6s/'")), "", "routes", "edit", "one.test", "--allow-cidr", "127.0.0.0/8")
	if edit.status != 0 {
		t.Errorf("edit: %+v", edit)
	}
	if got, err := p.table.Get(t.Context(), "one.test"); err != nil || got["connect_timeout"] != "6s" {
		t.Errorf("%v, %v", got, err)
	}
}

// If a mistake were accepted silently, people would make it again in a command that needs it.
func TestWrongNetworkIsRefusedIfNothingIsChecked(t *testing.T) {
	t.Parallel()
	p := newFilePlace(t)
	const stored = `{"host":"one.test","origin":"127.0.0.1:1","note":"n"}`
	const disabled = `{"host":"off.test","origin":"127.0.0.1:1","enabled":false}`
	p.put(t, stored)
	p.put(t, disabled)
	edited := append(p.env, "EDITOR=true")
	want := p.run(t, "put", "new.test", "--origin", "127.0.0.1:1", "--allow-cidr", "nonsense") // it is checked
	if want.status != 2 || !strings.HasPrefix(want.err, `sleight: --allow-cidr is "nonsense"`) {
		t.Fatalf("%+v", want)
	}
	for _, args := range []string{
		"put one.test --note q", "put one.test --note n", "put one.test --origin 127.0.0.1:2 --force", "put one.test --origin 127.0.0.1:2 --force --dry-run",
		"put off.test --tls-min 1.3", "put off.test --expires-at 1", "enable one.test", "enable off.test --force", "enable none.test", "edit one.test", "edit none.test",
		"explain one.test", "check none.test", "check --all",
	} {
		words := strings.Fields(args)
		if words[0] != "explain" && words[0] != "check" {
			words = append([]string{"routes"}, words...)
		}
		o := execute(t, edited, "", append(words, "--routes", p.name, "--allow-cidr", "nonsense")...)
		if o != want {
			t.Errorf("%s: %+v, want %+v", args, o, want)
		}
	}
	p.want(t, "one.test", stored)
	p.want(t, "off.test", disabled)
	// A wrong variable has no effect if nothing is checked.
	if o := execute(t, append(edited, "ORIGIN_ALLOW_CIDRS=nonsense"), "", "routes", "put", "one.test", "--note", "q", "--routes", p.name); o.status != 0 {
		t.Errorf("%+v", o)
	}
}
