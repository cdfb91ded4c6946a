package main_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestExplainSaysWhatBecomesOfARequest(t *testing.T) {
	t.Parallel()
	routes := routesFile(t, map[string]any{
		"host": "one.test", "origin": []string{"lb.test", "[2001:db8::1]:8443"}, "server_name": "lb.test", "host_header": "shop.test", "tls_min": "1.3",
		"spki_pins": []string{"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, "client_cert": "shop", "protocols": []string{"h2", "http/1.1"}, "max_connections": 20, "response_timeout": "90s", "expires_at": 32503680000, "note": "for\x1b[2Jshop",
	})
	c := runCheck(t, []string{"CONNECT_TIMEOUT=3s", "REQUEST_TIMEOUT=2m", "IDLE_TIMEOUT=0"}, "", "explain", "One.Test:443", "--routes", routes)
	if c.status != 0 || c.err != "" {
		t.Errorf("%v", c)
	}
	same(t, c.out, `
host      one.test
in force  yes: the host has a route of its own
routes    file "FILE"

LOOKED UP           FOUND
one.test   decides  usable

dialled   lb.test:PORT
   then   [2001:db8::1]:8443
named     lb.test (SNI)
verified  for lb.test, by the system's roots, TLS 1.3 or later, the pinned key in the chain
shows     the client certificate "shop", where the origin asks
spoken    HTTP/2 or HTTP/1.1, offered in this order, of which the origin chooses; WebSockets over HTTP/1.1
at most   20 connections to the origin, beyond which requests wait
Host      shop.test
rewrite   the origin's names in answers become the client's
timeouts  connect 3s, TLS 5s, answer 1m30s, idle none, whole 2m0s
expires   DATET00:00:00Z
note      for`+"\ufffd"+`[2Jshop
`)
}

func TestExplainSaysWhatIsSpoken(t *testing.T) {
	t.Parallel()
	routes := routesFile(t,
		map[string]any{"host": "default.test", "origin": "lb.test"}, map[string]any{"host": "old.test", "origin": "lb.test", "protocols": []string{"http/1.1"}},
		map[string]any{"host": "new.test", "origin": "lb.test", "protocols": []string{"h2"}, "max_connections": 1}, map[string]any{"host": "both.test", "origin": "lb.test", "protocols": []string{"http/1.1", "h2"}},
		map[string]any{"host": "plain.test", "origin": "http://lb.test", "max_connections": 3},
	)
	for host, want := range map[string]struct{ text, protocols, most string }{
		"default.test": {"spoken    HTTP/1.1\n", "[http/1.1]", "<nil>"},
		"old.test":     {"spoken    HTTP/1.1\n", "[http/1.1]", "<nil>"},
		"new.test":     {"spoken    HTTP/2 alone; WebSockets are refused\nat most   1 connection to", "[h2]", "1"},
		"both.test":    {"spoken    HTTP/1.1 or HTTP/2, offered in this order, of which the origin chooses; WebSockets over HTTP/1.1\n", "[http/1.1 h2]", "<nil>"},
		"plain.test":   {"spoken    HTTP/1.1\nat most   3 connections to", "[http/1.1]", "3"},
	} {
		if c := runCheck(t, nil, "", "explain", host, "--routes", routes, "--force-https=false"); !strings.Contains(c.out, want.text) {
			t.Errorf("%s: %v, want %q", host, c, want.text)
		}
		var e struct{ Forwarded map[string]any }
		c := runCheck(t, nil, "", "explain", host, "--routes", routes, "--force-https=false", "-o", "json")
		if err := json.Unmarshal([]byte(c.out), &e); err != nil {
			t.Fatal(err, c)
		}
		if got, most := fmt.Sprint(e.Forwarded["protocols"]), fmt.Sprint(e.Forwarded["max_connections"]); got != want.protocols || most != want.most {
			t.Errorf("%s: %s, %s; want %s, %s", host, got, most, want.protocols, want.most)
		}
	}
}

func TestExplainSaysWhyThereIsNoRoute(t *testing.T) {
	t.Parallel()
	routes := routesFile(t,
		map[string]any{"host": "*.x.test", "origin": "lb.test"}, map[string]any{"host": "off.x.test", "origin": "lb.test", "enabled": false},
		map[string]any{"host": "old.x.test", "origin": "lb.test", "expires_at": 1}, map[string]any{"host": "bad.x.test", "origin": "lb.test", "orgin": "x"},
		map[string]any{"host": "twice.x.test", "origin": "lb.test"}, map[string]any{"host": "twice.x.test", "origin": "lb.test"},
		map[string]any{"host": "plain.test", "origin": "http://lb.test"}, map[string]any{"host": "gone.test", "origin": "lb.test", "expires_at": 1},
		map[string]any{"host": "shop.test", "origin": "lb.test"}, map[string]any{"host": "stop.test", "origin": "lb.test"},
		map[string]any{"host": "off.alone.test", "origin": "lb.test", "enabled": false},
	)
	for _, v := range []struct {
		host    string
		args    []string
		inForce bool
		states  string
		verdict string
		nearest string
	}{
		{"a.x.test", nil, true, "absent usable*", `the wildcard "*.x.test" covers the host`, ""},
		{"off.x.test", nil, false, "disabled* usable", `"off.x.test" is disabled, and hides "*.x.test"`, ""},
		{"off.alone.test", nil, false, "disabled* absent", `"off.alone.test" is disabled: requests`, ""},
		{"old.x.test", nil, true, "expired usable*", `the route "old.x.test" has expired, and counts as absent`, ""},
		{"bad.x.test", nil, false, "invalid* usable", `is not valid (attribute orgin is not known`, ""},
		{"twice.x.test", nil, false, "invalid* usable", `occurs more than once`, ""},
		{"a.b.x.test", nil, false, "absent absent", "there is no route", ""},
		{"gone.test", nil, false, "expired", `there is no route for the host: requests are answered with 404, and nothing is dialled; the route "gone.test" has expired`, ""},
		{"sotp.test", nil, false, "absent", "there is no route", "shop.test stop.test"},
		{"plain.test", nil, false, "usable*", "FORCE_HTTPS=false", ""},
		{"plain.test", []string{"--force-https=false"}, true, "usable*", "a route of its own", ""},
		{"127.0.0.1", nil, false, "", "refused", ""},
		{"a..test", nil, false, "", "refused", ""},
		{"BÜCHER.test", nil, false, "absent", "there is no route", ""},
	} {
		t.Run(v.host+strings.Join(v.args, ""), func(t *testing.T) {
			t.Parallel()
			c := runCheck(t, nil, "", append([]string{"explain", v.host, "--routes", routes, "-o", "json"}, v.args...)...)
			var e struct {
				Host    string
				InForce bool `json:"in_force"`
				Verdict string
				Refused string
				Looked  []struct {
					State   string
					Decides bool
				} `json:"looked_up"`
				Forwarded map[string]any
				Nearest   []string
			}
			if err := json.Unmarshal([]byte(c.out), &e); err != nil {
				t.Fatalf("%v: %v", err, c)
			}
			var states []string
			for _, l := range e.Looked {
				if l.Decides {
					l.State += "*"
				}
				states = append(states, l.State)
			}
			if v.host == "BÜCHER.test" && e.Host != "xn--bcher-kva.test" {
				t.Errorf("read as %q", e.Host)
			}
			nearest := slices.Clone(e.Nearest)
			slices.Sort(nearest)
			if e.InForce != v.inForce || strings.Join(states, " ") != v.states || !strings.Contains(e.Verdict, v.verdict) || strings.Join(nearest, " ") != v.nearest || (c.status == 0) != v.inForce || c.status > 1 {
				t.Errorf("%+v: %v", e, c)
			}
			if v.verdict == "refused" && e.Refused == "" {
				t.Errorf("%v", c)
			}
			if human := runCheck(t, nil, "", append([]string{"explain", v.host, "--routes", routes}, v.args...)...); human.status != c.status || !strings.Contains(human.out, e.Verdict) {
				t.Errorf("%v", human)
			}
		})
	}
}
