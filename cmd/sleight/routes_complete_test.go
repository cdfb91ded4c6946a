package main_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCompletion(t *testing.T) {
	t.Parallel()
	p := newFilePlace(t)
	for _, host := range []string{"a.test", "one.x.test", "*.x.test", "on e\u202e.test"} {
		p.put(t, fmt.Sprintf(`{"host":%q,"origin":"b.test"}`, host))
	}
	flag := "--routes=" + p.name
	for _, c := range []struct {
		args      []string
		want      string // some of the lines; all lines if it begins with a dot
		directive string
	}{
		{[]string{"routes", "get", ""}, ".a.test one.x.test *.x.test", "4"},
		{[]string{"routes", "get", "ONE"}, ".one.x.test", "4"},
		{[]string{"routes", "get", "a.test", ""}, ".", "4"},
		{[]string{"routes", "rm", "a.test", "o"}, ".one.x.test", "4"},
		{[]string{"routes", "disable", "a.test", "one.x.test", ""}, ".*.x.test", "4"},
		{[]string{"routes", "edit", "a"}, ".a.test", "4"},
		{[]string{"routes", "put", "a"}, ".a.test", "4"},
		{[]string{"routes", "get", flag, ""}, ".a.test one.x.test *.x.test", "4"},
		{[]string{"routes", ""}, "list get put edit rm enable disable diff", "4"},
		{[]string{"routes", "get", "--output", ""}, ".table json yaml", "4"},
		{[]string{"routes", "edit", "--output", ""}, ".yaml json", "4"},
		{[]string{"routes", "put", "--unset", "n"}, "note", "4"}, // the shell filters
		{[]string{"routes", "put", "--unset", ""}, "ca_pem tls_min", "4"},
		{[]string{"routes", "put", "--tls-min", ""}, ".1.2 1.3", "4"},
		{[]string{"routes", "put", "--protocols", ""}, ".http/1.1 h2,http/1.1 h2 http/1.1,h2", "4"},
		{[]string{"routes", "put", "--max-connections", ""}, ".", "4"},
		{[]string{"routes", "put", "--unset", "p"}, "protocols", "4"},
		{[]string{"check", "--protocols", ""}, ".http/1.1 h2,http/1.1 h2 http/1.1,h2", "4"},
		{[]string{"routes", "put", "--ca-file", ""}, ".pem crt cer", "8"},
		{[]string{"routes", "put", "--orig"}, "--origin", "4"},
		{[]string{"routes", "list", "--routes", ""}, ".json", "8"},
		{[]string{"routes", "list", ""}, ".", "4"},
		{[]string{"routes", "diff", ""}, ".json", "8"},
		{[]string{"rout"}, "routes", "4"},
		{[]string{"check", "o"}, ".one.x.test", "4"},
		{[]string{"check", "a.test", ""}, ".", "4"},
		{[]string{"check", "--tls-min", ""}, ".1.2 1.3", "4"},
		{[]string{"check", "--method", ""}, ".GET HEAD OPTIONS", "4"},
		{[]string{"check", "--from-file", ""}, ".json yaml yml", "8"},
		{[]string{"check", "--table", ""}, ".", "4"},
		{[]string{"check", "--client-certs", ""}, ".", "16"},
		{[]string{"explain", flag, ""}, ".a.test one.x.test *.x.test", "4"},
		{[]string{"explain", "--routes", ""}, ".json", "8"},
		{[]string{"serve", "--log-level", ""}, ".debug info warn error", "4"},
		{[]string{"serve", "--front", ""}, ".http-api rest alb function-url rest-stream", "4"},
		{[]string{"serve", ""}, ".", "4"},
	} {
		env := p.env
		if slices.Contains(c.args, flag) {
			env = nil
		}
		o := execute(t, env, "", append([]string{"__complete"}, c.args...)...)
		lines := strings.Split(strings.TrimSpace(o.out), "\n")
		directive := lines[len(lines)-1]
		var got []string
		for _, line := range lines[:len(lines)-1] {
			word, _, _ := strings.Cut(line, "\t")
			got = append(got, word)
		}
		all, whole := strings.CutPrefix(c.want, ".")
		if whole && !slices.Equal(got, strings.Fields(all)) || o.status != 0 || directive != ":"+c.directive {
			t.Errorf("%q: %q %s, want %q :%s", c.args, got, directive, strings.Fields(all), c.directive)
		}
		for _, word := range strings.Fields(all) {
			if !slices.Contains(got, word) {
				t.Errorf("%q: %q lacks %q", c.args, got, word)
			}
		}
	}
}

// Completion must not print errors or wait.
func TestCompletionIsSilentWhereItFails(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // it accepts connections, and sends nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	aws := []string{"AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test"}
	for name, env := range map[string][]string{
		"nothing said":         nil,
		"no such file":         {"ROUTES_FILE=/no/such/file"},
		"no routes file":       {"ROUTES_FILE=" + os.Args[0]},
		"no credentials":       {"ROUTES_TABLE=t", "AWS_REGION=eu-west-1"},
		"a table that is mute": append(aws, "ROUTES_TABLE=t", "AWS_ENDPOINT_URL_DYNAMODB=http://"+l.Addr().String()),
	} {
		o := execute(t, env, "", "__complete", "routes", "get", "")
		if o.status != 0 || o.out != ":4\n" || o.err != "Completion ended with directive: ShellCompDirectiveNoFileComp\n" {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestCompletionScriptsAreForEachShell(t *testing.T) {
	t.Parallel()
	for shell, registers := range map[string]string{"bash": "complete -o default -F __start_sleight sleight\n", "zsh": "compdef _sleight sleight\n", "fish": "complete -c sleight "} {
		o := execute(t, nil, "", "completion", shell)
		if o.status != 0 || !strings.Contains(o.out, "__complete") || !strings.Contains(o.out, registers) {
			t.Errorf("%s: %+v", shell, o)
		}
	}
}

func TestPutMakesTheFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "new.json")
	run := func(args ...string) outcome {
		return execute(t, nil, "", append([]string{"routes", "--routes", name}, args...)...)
	}
	wantOutcome(t, "get", run("get", "a.test"), 1, "", "sleight: .*no such file.*\n")
	wantOutcome(t, "a dry run", run("put", "--force", "a.test", "--origin", "b.test", "--dry-run"), 0, "Would create file .*, which was not there\nWould create \"a.test\".*dry run.\n", "")
	if _, err := os.Stat(name); err == nil {
		t.Error("a dry run has made it")
	}
	wantOutcome(t, "a route that is invalid", run("put", "--force", "a.test", "--origin", "b/c"), 2, "", ".*")
	if _, err := os.Stat(name); err == nil {
		t.Error("it is made for a route that is invalid")
	}
	wantOutcome(t, "put", run("put", "--force", "a.test", "--origin", "b.test"), 0, "Created file .*, which was not there\nCreated \"a.test\".*\n", "")
	wantOutcome(t, "again", run("put", "--force", "b.test", "--origin", "b.test"), 0, "Created \"b.test\".*\n", "")
	if b, err := os.ReadFile(name); err != nil || strings.Count(string(b), "\n") != 4 {
		t.Errorf("%s, %v", b, err)
	}
}

func TestInputThatStaysAwayCanBeInterrupted(t *testing.T) {
	t.Parallel()
	p := newFilePlace(t)
	for _, args := range [][]string{
		{"routes", "put", "--force", "--file", "-"}, {"routes", "put", "--force", "a.test", "--origin", "b.test", "--ca-file", "-"},
		{"routes", "import", "-"}, {"check", "--from-file", "-"}, {"check", "a.test", "--origin", "b.test", "--ca-file", "-"},
	} {
		s := onTerminal(t, p.env, args...)
		s.waitFor(t, "Ctrl-D")
		s.press(t, "host: a.test\rorigin: b.test\r\x03")
		if text, status := s.exit(t); status != 130 || !strings.Contains(text, "interrupted") {
			t.Errorf("%q: %d %s", args, status, text)
		}
		p.want(t, "a.test", "")
	}
}

func TestProgressIsShownOnTerminals(t *testing.T) {
	t.Parallel()
	var routes []map[string]any
	for n := range 3000 {
		routes = append(routes, map[string]any{"host": fmt.Sprintf("h%d.test", n), "origin": "b.test"})
	}
	env := []string{"ROUTES_FILE=" + routesFile(t, routes...)}
	s := onTerminal(t, env, "routes", "list", "--filter", "h17.test")
	if text, status := s.exit(t); status != 0 || !strings.Contains(text, "Reading routes") || !strings.Contains(text, "h17.test") || !strings.Contains(text, "1 of 3000 routes") {
		t.Errorf("%d %s", status, text)
	}
	wantOutcome(t, "in a pipe", execute(t, env, "", "routes", "list", "--filter", "h17.test"), 0, `HOST .*\nh17.test .*\n`, "1 of 3000 routes in .*\n")
}
