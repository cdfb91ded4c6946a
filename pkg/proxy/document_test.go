package proxy

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/pkg/origin"
)

var update = flag.Bool("update", false, "write docs/errors.md anew")

const documentFile, documentCommand = "../../docs/errors.md", "go test ./pkg/proxy -run TestErrorsDocument -update"

// The document is what the table says, and its example what the proxy answers.
func TestErrorsDocument(t *testing.T) {
	want := document()
	if *update {
		if err := os.WriteFile(documentFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/errors.md is not what the table says; write it anew with\n\t%s", documentCommand)
	}
}

func document() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Errors

<!-- Generated from the table in pkg/proxy/problem.go: change that, then run
%s -->

What the proxy cannot forward it answers itself. Such an answer says what happened and what to do next; who can mend it, and
the usual causes, are below. Nothing on this page is about errors that an origin answers: those arrive as they are.

## How to read an answer

`+"```http"+`
%s`+"```"+`

- **`+"`Proxy-Status`"+`** ([RFC 9209](https://www.rfc-editor.org/rfc/rfc9209)) is `+"`sleight; error=TYPE`"+`, and tells an answer of the proxy from
  one of the origin. The types are the standard's. Several errors can share one.
- **The body** is problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)). `+"`type`"+` ends in the name of the error and leads to its
  section here; `+"`detail`"+` is what happened, `+"`next`"+` what to do, `+"`error`"+` the type of `+"`Proxy-Status`"+`, and `+"`host`"+` the site, where its name is a
  proper one. `+"`retry`"+` says whether the same request can succeed: *%s*, *%s*, *%s* or
  *%s*. The first is said if the origin has certainly not carried the request out. Otherwise it may have
  done so, and a request that is not safe to repeat, such as a POST, would be carried out twice. Where a time is known it is in `+"`retry_after`"+` and `+"`Retry-After`"+`, in seconds.
- **Browsers** get the same as a small HTML page: whoever prefers `+"`text/html`"+` to JSON in `+"`Accept`"+`.
- **`+"`request_id`"+`** and `+"`X-Request-Id`"+`, where the request has one, find it in the log. There the request's line has the name of the
  error (`+"`problem`"+`) and what a client may not see: which address was tried, the TLS alert, the names of a certificate.

An answer that has begun to reach the client cannot become an error any more. It is cut short, and the error is in the log
alone.

## All errors

| name | status | `+"`Proxy-Status`"+` error | who can mend it | retry |
|---|---|---|---|---|
`, documentCommand, example(), retryNow, retryIfSafe, retryLater, retryNever)
	rows := slices.Clone(problems)
	slices.SortStableFunc(rows, func(a, b problem) int { return cmp.Compare(unanswered(a), unanswered(b)) }) // those matter least
	for _, p := range rows {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s | %s |\n", p.name, p.name, statusText(p), typeText(p), p.mend, p.retry)
	}
	for _, p := range rows {
		fmt.Fprintf(&b, "\n## %s\n\n**%s.** %s\n\n", p.name, p.title, summary(p))
		fmt.Fprintf(&b, "- **What the client sees:** %s\n", seen(p))
		fmt.Fprintf(&b, "- **Usual causes:** %s\n", p.usually)
		fmt.Fprintf(&b, "- **What to do:** %s\n", placeholders(p.next))
	}
	return b.Bytes()
}

// unanswered is 1 for problems of which nobody is told, and 0 for the others.
func unanswered(p problem) int {
	if p.status == 0 {
		return 1
	}
	return 0
}

// example is an answer as it goes out.
func example() string {
	r := httptest.NewRequest("GET", "http://shop.example/", nil)
	w := httptest.NewRecorder()
	answerTo("shop.example", &lookupError{"a.test", origin.ErrNotFound}).write(w, r, "8f14e45f-ceea-467f-a8cb-3d2b9a0c6e57")
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %s\n", w.Result().Status)
	for _, name := range []string{"Content-Type", "Proxy-Status", "X-Request-Id"} {
		fmt.Fprintf(&b, "%s: %s\n", name, w.Header().Get(name))
	}
	return b.String() + "\n" + w.Body.String()
}

func statusText(p problem) string {
	if p.status == 0 {
		return "none"
	}
	return fmt.Sprint(p.status)
}

func typeText(p problem) string {
	if p.errorType == "" {
		return ""
	}
	return "`" + string(p.errorType) + "`"
}

func summary(p problem) string {
	if p.status == 0 {
		return "Nobody is answered. To be mended by the " + string(p.mend) + ", if at all."
	}
	s := fmt.Sprintf("Status %d, %s. To be mended by the %s. Retry: %s", p.status, typeText(p), p.mend, p.retry)
	if p.after > 0 {
		s += fmt.Sprintf(", after %d seconds", int(p.after.Seconds()))
	}
	return s + "."
}

func seen(p problem) string {
	if p.status == 0 {
		return "Nothing. " + placeholders(p.happened)
	}
	return placeholders(p.happened)
}

// identifier matches names of attributes and settings, as the texts have them.
var identifier = regexp.MustCompile(`\b[A-Za-z]+(_[A-Za-z]+)+(=\w+)?\b`)

func placeholders(s string) string {
	s = identifier.ReplaceAllString(s, "`$0`")
	return strings.NewReplacer("{host}", "`HOST`", "{limit}", "`LIMIT`", "{code}", "`CODE`").Replace(s)
}
