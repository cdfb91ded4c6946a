package routes

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)

func TestParseExpiry(t *testing.T) {
	for in, want := range map[string]string{
		"+48h": "2030-02-02T12:00:00Z", "+30d": "2030-03-02T12:00:00Z", "+1h30m": "2030-01-31T13:30:00Z", "0": "1970-01-01T00:00:00Z", "4000000000": "2096-10-02T07:06:40Z",
		"2031-01-01T00:00:00+02:00": "2030-12-31T22:00:00Z",
	} {
		if got, err := ParseExpiry(in, noon); err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s: %v, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "48h", "+", "+-1h", "+0s", "+1", "+99999999d", "+1.5d", "-1", "100000000000", "99999999999999999999", "2030-01-31", "2030-02-30T00:00:00Z", "+ 1h"} {
		if got, err := ParseExpiry(in, noon); err == nil {
			t.Errorf("%q is taken for %v", in, got)
		}
	}
}

func FuzzParseExpiry(f *testing.F) {
	for _, s := range []string{"+48h", "+30d", "4000000000", "2031-01-01T00:00:00Z", "+-1h", "+9999999999999999d", "-5", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := ParseExpiry(s, noon)
		if err != nil {
			return
		}
		if strings.HasPrefix(s, "+") && !at.After(noon) {
			t.Errorf("%q is %v, which is not after %v", s, at, noon)
		}
		if at.Year() >= 0 && at.Year() <= 9999 {
			again, err := ParseExpiry(at.Format(time.RFC3339Nano), noon)
			if err != nil || !again.Equal(at) {
				t.Errorf("%q: %v, again %v, %v", s, at, again, err)
			}
		}
	})
}

func TestAliasesCannotGrow(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	if item, err := ParseItem([]byte(bomb), noon); err == nil || !strings.Contains(err.Error(), "alias") {
		t.Errorf("%.100v, %v", item, err)
	}
}

func FuzzParseDocument(f *testing.F) {
	for _, seed := range []string{
		`{"host":"a.test","origin":"b.test"}`, `{"routes":[{"host":"a.test"}]}`, "host: a.test\norigin: [b.test, c.test]\n", "routes:\n- host: a.test\n", "- a\n", "", "{", "null", "a: &a [*a]", "? [x]\n: y", `{"routes":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDocument("x", b)
		if err != nil {
			return
		}
		for _, item := range d.Items() {
			if _, err := item.MarshalJSON(); err != nil {
				t.Errorf("%v of %q", err, b)
			}
			if _, err := d.Get(t.Context(), item.Host()); err != nil && !d.Twice(item.Host()) {
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
		// "routes put --file" takes these too.
		"tls_min: 1.3\nexpires_at: 2030-01-31T12:00:00Z\nnote: 1": `{"tls_min":"1.3","expires_at":1896091200,"note":"1"}`,
		"protocols: [h2, http/1.1]\nmax_connections: 20\n":        `{"protocols":["h2","http/1.1"],"max_connections":20}`,
		"routes:\n- {host: a.test, tls_min: 1.2}\n":               `{"host":"a.test","tls_min":"1.2"}`,
	} {
		var got string
		d, err := ParseDocument("x", []byte(in))
		if err != nil {
			got = "error: " + err.Error()
		} else {
			var all []string
			for _, item := range d.Items() {
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
