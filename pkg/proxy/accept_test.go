package proxy

import (
	"strings"
	"testing"
)

const chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"

func TestPageIsForClientsThatPreferHTML(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		accept string
		html   bool
	}{
		{chrome, true},
		{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true},
		{"text/html", true}, {"TEXT/HTML ; Q=0.001", true}, {"text/*", true}, {"text/html; charset=\"UTF-8\"", true},
		{" , text/html,, ", true}, {"text/html;;q=1.000", true}, {"text/html;q=1;x=y", true},
		{"application/json;q=0.5, text/html;q=0.6", true}, {"text/html, */*;q=0", true}, {"*/*, application/*;q=0.5", true},
		{`image/x;a="b,\",c;q=0", text/html`, true},

		{"", false}, {"*/*", false}, {"text/html, */*", false}, {"application/json", false}, {"application/problem+json", false},
		{"text/html, application/json", false}, {"text/html;q=0.5, application/problem+json;q=0.6", false}, {"text/plain", false}, {"image/*", false},
		{"text/html;q=0", false}, {"text/*, text/html;q=0", false}, {"text/html, application/*", false}, {"text/html;level=1", false},
		{"text/*;q=0.9, text/html;q=0.1, application/json;q=0.2", false}, {"application/json;q=0, */*", false}, {"application/json;q=0, application/problem+json;q=0.1, */*", true},

		// A malformed Accept counts as none. Java's client sends the first.
		{"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", false},
		{"text/html;q=1.1", false}, {"text/html;q=0.0001", false}, {"text/html;q=", false}, {"text/html;q=-1", false}, {"text/html;q=1.x", false}, {"text/html;q=\"1\"", false},
		{"text/html, */html", false}, {"text/html, x", false}, {"text/html, /", false}, {"text/html, a b/c", false}, {"text/html;q=1;x=\"", false}, {"text/html;=1", false},
		{"text/html, \x00/x", false}, {"text/html, \xff/x", false}, {"text/html," + strings.Repeat(" ", 5000), false}, {strings.Repeat(",", 5000) + "text/html", false},
	} {
		if got := prefersHTML([]string{c.accept}); got != c.html {
			t.Errorf("%.80q: a page is preferred: %v, want %v", c.accept, got, c.html)
		}
	}
	if prefersHTML(nil) || !prefersHTML([]string{"*/*;q=0.5", "text/html"}) {
		t.Error("lines of the header are not one list")
	}
}

func FuzzAccept(f *testing.F) {
	for _, s := range []string{chrome, "", "*/*", "text/html;q=0.5", `text/html;a="\"`, ";", ",;,=", "text/html;q=1.\xff", "*/x", strings.Repeat("a/b,", 2000)} {
		f.Add(s, "text/html")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		got := prefersHTML([]string{a, b})
		if got != prefersHTML([]string{a + "," + b}) || got != prefersHTML([]string{a, b}) {
			t.Errorf("%q, %q: not always the same", a, b)
		}
		lower := strings.ToLower(a + "," + b)
		if got && !strings.Contains(lower, "text/html") && !strings.Contains(lower, "text/*") && !strings.Contains(lower, "*/*") {
			t.Errorf("%q, %q: a page that nobody asked for", a, b)
		}
		for _, garbage := range []string{"\x00", "text/html;q=2", "nonsense", "text/html;q", "*/html"} {
			if prefersHTML([]string{"text/html", a, garbage}) && !strings.Contains(a, `"`) { // a quote may begin a string
				t.Errorf("%q: garbage after it asks for a page", a)
			}
		}
	})
}
