package origin

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func lookup(t *testing.T, s Store, host string) (string, error) {
	t.Helper()
	r, err := s.Lookup(t.Context(), host)
	if err != nil {
		return "", err
	}
	return r.Addresses[0], nil
}

func TestWhichRouteIsInForce(t *testing.T) {
	file, err := ReadRoutes(strings.NewReader(`{"routes":[
		{"host":"exact.x.com","origin":"exact.lb"},
		{"host":"*.x.com","origin":"wildcard.lb"},
		{"host":"off.x.com","origin":"off.lb","enabled":false},
		{"host":"gone.x.com","origin":"gone.lb","expires_at":1000000000},
		{"host":"later.x.com","origin":"later.lb","expires_at":4102444800},
		{"host":"bad.x.com","origin":"bad.lb","tls_min":"1.0"},
		{"host":"*.gone.com","origin":"gone.lb","expires_at":1000000000}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"exact.x.com": "exact.lb", "other.x.com": "wildcard.lb", "later.x.com": "later.lb",
		"gone.x.com": "wildcard.lb", // as if it were deleted already
		"off.x.com":  "",            // hides the wildcard
		"a.b.x.com":  "", "x.com": "", "com": "", "a.gone.com": "", "y.com": "",
	} {
		got, err := lookup(t, file, host)
		if got != want || want == "" && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %q, %v; want %q", host, got, err, want)
		}
	}
	// An invalid exact route is not replaced by its wildcard.
	var invalid *InvalidRouteError
	if _, err := lookup(t, file, "bad.x.com"); !errors.As(err, &invalid) || invalid.Attribute != "tls_min" {
		t.Errorf("bad.x.com: %v", err)
	}
}

func TestBadRouteInAFileFailsItsOwnHostAlone(t *testing.T) {
	file, err := ReadRoutes(strings.NewReader(`{"routes":[
		{"host":"good.x.com","origin":"good.lb"}, {"host":"typo.x.com","orgin":"typo.lb"},
		{"host":"twice.x.com","origin":"a.lb"}, {"host":"twice.x.com","origin":"b.lb"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := lookup(t, file, "good.x.com"); got != "good.lb" {
		t.Errorf("good.x.com: %q, %v", got, err)
	}
	var hosts []string
	for _, e := range file.Invalid() {
		hosts = append(hosts, e.Host+" "+e.Attribute)
	}
	if got := strings.Join(hosts, ", "); got != "twice.x.com host, typo.x.com origin" || file.Len() != 3 {
		t.Errorf("invalid: %s; %d in all", got, file.Len())
	}
	if _, err := lookup(t, file, "twice.x.com"); err == nil {
		t.Error("one of two routes for a host was chosen silently")
	}
}

func TestUnusableRoutesFilesSayWhatIsWrong(t *testing.T) {
	for document, says := range map[string]string{
		``:                               "JSON of the form",
		`[]`:                             "JSON of the form",
		`{"routes":{}}`:                  "JSON of the form",
		`{}`:                             `no "routes"`,
		`{"routes":[],"x":1}`:            `"x" beside`,
		`{"routes":[]} {}`:               "JSON of the form",
		`{"routes":[{"origin":"a.lb"}]}`: `route 1 of the list: attribute "host"`,
		`{"routes":[{"host":"A.b","origin":"c"}]}`:              `has to be written as "a.b"`,
		`{"routes":[],"ROUTES":[]}`:                             `"ROUTES" beside`,
		`{"routes":null}`:                                       `no "routes"`,
		`{"routes":[],"routes":[]}`:                             `"routes" twice`,
		`{"routes":[{"host":"a.b","origin":"c","origin":"d"}]}`: `"origin" twice`,
		`{"routes":[{"host":"a.b","origin":["c","d"],"note":"x"},{"host":"b.b","host":"c.b"}]}`: `"host" twice`,
		`{"routes":[{"host":"a.b",`: "JSON of the form",
		`{"routes":[null]}`:         `route 1 of the list`,
	} {
		_, err := ReadRoutes(strings.NewReader(document))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want it to say %q", document, err, says)
		}
	}
	name := filepath.Join(t.TempDir(), "routes.json")
	if _, err := ReadFile(name); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), name) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(name, []byte(`{`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(name); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("broken file: %v", err)
	}
}
