package proxy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// respond returns the response of a to a client with this method and Accept.
func respond(a answer, method, accept, id string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://a.test/", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	w.Header().Set("Set-Cookie", "left=behind")
	a.write(w, r, id)
	return w
}

func TestEachRowHasBothForms(t *testing.T) {
	t.Parallel()
	for _, c := range causes {
		a := answerTo("a.test", c.err)
		if a.status == 0 {
			continue
		}
		w := respond(a, "GET", "*/*", "id-1")
		var d details
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		after := int(a.after.Seconds())
		want := details{documentation + "#" + a.name, a.title, a.status, a.detail, a.advice, string(a.errorType), a.retry, after, "a.test", "id-1"}
		if d != want || w.Code != a.status {
			t.Errorf("%d %+v, want %+v", w.Code, d, want)
		}
		if got := w.Header().Get("Retry-After"); (got != "") != (after > 0) {
			t.Errorf("%s: Retry-After %q", a.name, got)
		}
		if got := w.Header().Get("Allow"); (got != "") != (a.status == 405) {
			t.Errorf("%s: Allow %q", a.name, got)
		}
		page := respond(a, "GET", chrome, "id-1")
		for _, says := range []string{a.title, a.detail, a.advice, string(a.errorType), "id-1"} {
			if !strings.Contains(page.Body.String(), html.EscapeString(says)) {
				t.Errorf("the page of %s does not say %q", a.name, says)
			}
		}
		for _, h := range []http.Header{w.Header(), page.Header()} {
			if h.Get("X-Request-Id") != "id-1" || h.Get("Set-Cookie") != "" {
				t.Errorf("%s: %v", a.name, h)
			}
		}
	}
}

func TestHEADHasTheHeaderOfGET(t *testing.T) {
	t.Parallel()
	a := answerTo("a.test", origin.ErrNotFound)
	for _, accept := range []string{"*/*", chrome} {
		get, head := respond(a, "GET", accept, ""), respond(a, "HEAD", accept, "")
		if !maps.EqualFunc(get.Header(), head.Header(), func(a, b []string) bool { return strings.Join(a, "|") == strings.Join(b, "|") }) {
			t.Errorf("HEAD %v, GET %v", head.Header(), get.Header())
		}
		if head.Code != 404 || head.Body.Len() != 0 || get.Body.Len() == 0 || get.Header().Get("X-Request-Id") != "" {
			t.Errorf("HEAD %d with %d bytes, GET %v", head.Code, head.Body.Len(), get.Header())
		}
	}
}

// If the hash were not the style's, browsers would silently ignore the style.
func TestPolicyAllowsTheStyleOfThePage(t *testing.T) {
	t.Parallel()
	hash := sha256.Sum256([]byte(pageStyle))
	if want := "sha256-" + base64.StdEncoding.EncodeToString(hash[:]); pageStyleHash != want {
		t.Errorf("pageStyleHash is %s, want %s", pageStyleHash, want)
	}
	for _, outside := range []string{"<script", "<link", "<img", "@import", "url(", "src=", "href=", "style="} {
		if strings.Contains(pageText, outside) {
			t.Errorf("the page is not self-contained, or not allowed: %s", outside)
		}
	}
}

// The host is normalized earlier, and the other texts are our own. If one of them had markup after all, it must stay text.
func FuzzPageEscapesText(f *testing.F) {
	for _, s := range []string{"a.test", "<script>alert(1)</script>", `"><img src=x onerror=y>`, "</style>{detail}{small}", "\"}\n{\"", "\xff\x00\u2028", "&lt;"} {
		f.Add(s, s, s)
	}
	tags := strings.Count(pageText, "<")
	f.Fuzz(func(t *testing.T, host, text, id string) {
		own := *answerTo("", origin.ErrNotFound).problem
		own.title = text
		a := answer{&own, host, "Nothing for " + host, text}
		page := a.page(id)
		if got := strings.Count(page, "<"); got != tags || strings.Count(page, ">") != strings.Count(pageText, ">") {
			t.Errorf("%d tags, want %d: %s", got, tags, page)
		}
		if quotes := strings.Count(page, `"`); quotes != strings.Count(pageText, `"`) {
			t.Errorf("%d quotes: %s", quotes, page)
		}
		var d details
		if err := json.Unmarshal([]byte(a.json(id)), &d); err != nil {
			t.Fatal(err)
		}
		want := details{documentation + "#" + own.name, text, 404, "Nothing for " + host, text, string(own.errorType), own.retry, 0, host, id}
		if utf8.ValidString(host) && utf8.ValidString(text) && utf8.ValidString(id) && d != want {
			t.Errorf("%+v, want %+v", d, want)
		}
		if strings.ContainsAny(a.json(id), "<>") {
			t.Errorf("markup in JSON: %s", a.json(id))
		}
	})
}
