package routes

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/pkg/proxy"
)

// The command's tests have more cases, with what they print.
func TestExplainFollowsTheProxy(t *testing.T) {
	t.Parallel()
	d, err := ParseDocument("the document", []byte(`{"routes":[
		{"host":"*.x.test","origin":"lb.test","protocols":["h2"],"idle_timeout":"7s"},
		{"host":"off.x.test","origin":"lb.test","enabled":false},
		{"host":"plain.test","origin":"http://lb.test"},
		{"host":"odd.test","origin":"lb.test","orgin":"x"},
		{"host":"twice.test","origin":"lb.test"},{"host":"twice.test","origin":"lb.test"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	open := func() (Source, error) { return d, nil }
	for _, c := range []struct {
		asked   string
		inForce bool
		verdict string
	}{
		{"A.X.Test.", true, `the wildcard "*.x.test" covers the host`},
		{"off.x.test", false, `is disabled, and hides "*.x.test"`},
		{"plain.test", false, "is http://, and the proxy refuses that"},
		{"odd.test", false, "attribute orgin is not known"},
		{"twice.test", false, "occurs more than once"},
		{"plian.test", false, "there is no route for the host"},
		{"a b", false, "are refused before any route is looked up"},
	} {
		e, err := Explain(t.Context(), Settings{ForceHTTPS: true, Timeouts: proxy.Timeouts{Request: time.Minute}}, c.asked, open)
		if err != nil {
			t.Fatal(err)
		}
		if e.InForce != c.inForce || !strings.Contains(e.Verdict, c.verdict) {
			t.Errorf("%s: %+v, want %v, %q", c.asked, e, c.inForce, c.verdict)
		}
		switch c.asked {
		case "A.X.Test.":
			if f := e.Forwarded; f == nil || f.Addresses[0] != "lb.test:443" || f.ServerName != "a.x.test" || f.Timeouts["idle"] != "7s" || f.Timeouts["request"] != "1m0s" || f.Protocols[0] != "h2" {
				t.Errorf("%+v", e.Forwarded)
			}
		case "plian.test":
			if len(e.Nearest) == 0 || e.Nearest[0] != "plain.test" {
				t.Errorf("nearest are %q", e.Nearest)
			}
		case "a b":
			if e.Refused == "" || e.Looked == nil {
				t.Errorf("%+v", e)
			}
		}
		if b, err := json.Marshal(e); err != nil || !strings.Contains(string(b), `"looked_up":[`) {
			t.Errorf("%s, %v", b, err)
		}
	}
}
