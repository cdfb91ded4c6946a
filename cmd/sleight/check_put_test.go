package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func TestPutIsRefusedWhatCannotWork(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test", "sleight-check.x.test")
	down := &tlstest.Origin{Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })}
	down.Start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	allowed := map[string]string{"ORIGIN_ALLOW_CIDRS": "127.0.0.0/8"}
	for _, c := range []struct {
		name    string
		env     map[string]string
		route   origin.Route
		refused string // is in the error; empty where there is none
		said    string // is on standard error
	}{
		{"works", allowed, origin.Route{Host: "a.test", Addresses: []string{o.Addr}}, "", "warn: a.test: "}, // its certificate ends within a day
		{"a wildcard works", allowed, origin.Route{Host: "*.x.test", Addresses: []string{o.Addr}}, "", "warn: sleight-check.x.test: "},
		{"nobody listens", allowed, origin.Route{Host: "a.test", Addresses: []string{closed}}, "connection refused", ""},
		{"another name", allowed, origin.Route{Host: "a.test", ServerName: "other.test", Addresses: []string{o.Addr}}, "With --force, it is written all the same", ""},
		{"a prohibited network", nil, origin.Route{Host: "a.test", Addresses: []string{o.Addr}}, "ORIGIN_ALLOW_CIDRS", ""},
		{"a bad moment", allowed, origin.Route{Host: "a.test", Addresses: []string{down.Addr}}, "", "fail: a.test: "},
		{"disabled", allowed, origin.Route{Host: "a.test", Addresses: []string{closed}, Disabled: true}, "", ""},
		{"wrong settings", map[string]string{"ORIGIN_ALLOW_CIDRS": "x"}, origin.Route{Host: "a.test", Addresses: []string{o.Addr}}, `ORIGIN_ALLOW_CIDRS is "x"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.route.Scheme, c.route.TLSMin, c.route.CAPEM = "https", tls.VersionTLS12, ca.PEM()
			var said bytes.Buffer
			command := &cobra.Command{}
			command.SetErr(&said)
			command.SetContext(t.Context())
			err := checkBeforeWrite(func(name string) string { return c.env[name] })(command, &c.route)
			if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Errorf("error %v, want %q", err, c.refused)
			}
			if !strings.HasPrefix(said.String(), c.said) || (said.Len() > 0) != (c.said != "") {
				t.Errorf("said %q, want %q", said.String(), c.said)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	command := &cobra.Command{}
	command.SetContext(ctx)
	if err := checkBeforeWrite(func(string) string { return "" })(command, &origin.Route{Host: "a.test", Addresses: []string{closed}, Scheme: "https", TLSMin: tls.VersionTLS12}); !errors.Is(err, context.Canceled) || exitStatus(err) != 130 {
		t.Errorf("interrupted: %v", err)
	}
}

func FuzzParseRouteFile(f *testing.F) {
	for _, seed := range []string{
		`{"host":"a.test","origin":"b.test"}`, `{"routes":[{"host":"a.test"}]}`, "host: a.test\norigin: [b.test, c.test]\n", "routes:\n- host: a.test\n", "- a\n", "", "{", "null", "a: &a [*a]", "? [x]\n: y", `{"routes":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseRouteFile("x", b)
		if err != nil {
			return
		}
		for _, item := range d.items {
			if _, err := item.MarshalJSON(); err != nil {
				t.Errorf("%v of %q", err, b)
			}
			if _, err := d.Get(t.Context(), item.Host()); err != nil && d.byHost[item.Host()] == 1 {
				t.Errorf("%q is there and is not: %v", item.Host(), err)
			}
		}
	})
}

func TestRouteFilesAreOneRouteOrADocument(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"host":"a.test","origin":"b.test"}`:               `{"host":"a.test","origin":"b.test"}`,
		"host: a.test\norigin: b.test\nexpires_at: 5\n":     `{"host":"a.test","origin":"b.test","expires_at":5}`,
		"routes:\n- {host: a.test, spki_pins: [y, x]}\n":    `{"host":"a.test","spki_pins":["x","y"]}`,
		` {"routes":[{"host":"a.test"},{"host":"b.test"}]}`: `{"host":"a.test"} {"host":"b.test"}`,
		"{host: a.test}":                    `{"host":"a.test"}`,
		`{"host":"a.test","host":"b.test"}`: `error: has "host" twice`,
		"host: a.test\nhost: b.test\n":      `error: is neither JSON nor YAML`,
		`{"routes":[],"other":1}`:           `error: has "other" beside`,
		"- host: a.test\n":                  `error: has to be an object`,
		" \n":                               `error: is empty`,
		"null":                              `error: is null`,
		`{"host":"a.test"`:                  `error: is neither JSON nor YAML: line 1, column 17: unexpected EOF`,
		"{\"routes\":[\n{\"host\" 1}]}":     `error: is neither JSON nor YAML: line 2, column 9: `,
		"{\"routes\":[\n{\"host\" é}]}":     `error: is neither JSON nor YAML: line 2, column 9: `,
		`{"routes":[{"host":"a.test"}]} {}`: `error: is neither JSON nor YAML: line 1, column 32: `,
		"host: a.test\n---\nhost: b.test\n": `error: is neither JSON nor YAML: has more than one document`,
		"host,origin\na.test,b.test\n":      `error: has to be an object, of one route or of "routes"`,
		// What "routes put --file" takes is not refused here.
		"tls_min: 1.3\nexpires_at: 2030-01-31T12:00:00Z\nnote: 1": `{"tls_min":"1.3","expires_at":1896091200,"note":"1"}`,
		"protocols: [h2, http/1.1]\nmax_connections: 20\n":        `{"protocols":["h2","http/1.1"],"max_connections":20}`,
		"routes:\n- {host: a.test, tls_min: 1.2}\n":               `{"host":"a.test","tls_min":"1.2"}`,
	} {
		var got string
		d, err := parseRouteFile("x", []byte(in))
		if err != nil {
			got = "error: " + err.Error()
		} else {
			var all []string
			for _, item := range d.items {
				b, err := item.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, string(b))
			}
			got = strings.Join(all, " ")
		}
		if !strings.Contains(got, want) || !strings.HasPrefix(want, "error") && got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

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
	term, _ := piped()
	w := &writer{table: table, now: time.Now, out: term, err: term, before: func(was, is origin.Item) error {
		if checked = append(checked, is.WithoutRecord()); len(checked) > 1 {
			return cannot
		}
		write(seen, theirs) // while the check takes its time
		return nil
	}}
	_, err = w.change(t.Context(), seen, func(before origin.Item) (origin.Item, error) {
		after := before.WithoutRecord()
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
