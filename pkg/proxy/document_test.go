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

var update = flag.Bool("update", false, "generate docs/errors.md")

const documentFile, documentCommand = "../../docs/errors.md", "go test ./pkg/proxy -run TestErrorsDocument -update"

// docs/errors.md is generated from the table, and its example from the proxy's own response.
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
		t.Errorf("docs/errors.md differs from the table; generate it with\n\t%s", documentCommand)
	}
}

func document() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Errors

<!-- Generated from the table in pkg/proxy/problem.go: change that, then run
%s -->

If the proxy cannot forward a request, it sends an error response of its own. The response says what happened and what to do
next. This page adds the usual causes, and who can fix the error. It is not about errors that an origin sends: the proxy
forwards those unchanged.

## How to read an error response

`+"```http"+`
%s`+"```"+`

- **`+"`Proxy-Status`"+`** ([RFC 9209](https://www.rfc-editor.org/rfc/rfc9209)) is `+"`sleight; error=TYPE`"+`. It marks the proxy's own responses.
  The types are the standard's. Several errors can have the same type.
- **The body** is problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)). `+"`type`"+` is the URL of the error's section on this page.
  `+"`detail`"+` says what happened, and `+"`next`"+` what to do. `+"`error`"+` is the type in `+"`Proxy-Status`"+`. `+"`host`"+` is the requested host, if
  it is a hostname. `+"`retry`"+` says whether the same request can succeed: *%s*, *%s*,
  *%s* or *%s*. It is the first if the origin has certainly not processed the request. Otherwise the
  origin may have processed it, and a retry of an unsafe request, such as a POST, could be processed twice. If the proxy
  knows when to retry, `+"`retry_after`"+` and `+"`Retry-After`"+` have the seconds.
- **Browsers** get the same as a small HTML page. So do all clients whose `+"`Accept`"+` prefers `+"`text/html`"+` to JSON.
- **`+"`request_id`"+`** and `+"`X-Request-Id`"+` find the request in the log. Its log line has the name of the error (`+"`problem`"+`) and details that
  clients do not see: the address that was tried, the TLS alert, the names of a certificate.

If the response has begun to reach the client, the proxy cannot send an error response any more. It cuts the response short,
and only the log has the error.

## All errors

| name | status | `+"`Proxy-Status`"+` error | who can fix it | retry |
|---|---|---|---|---|
`, documentCommand, example(), retryNow, retryIfSafe, retryLater, retryNever)
	rows := slices.Clone(problems)
	slices.SortStableFunc(rows, func(a, b problem) int { return cmp.Compare(withoutResponse(a), withoutResponse(b)) })
	for _, p := range rows {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s | %s |\n", p.name, p.name, statusText(p), typeText(p), p.fix, p.retry)
	}
	for _, p := range rows {
		fmt.Fprintf(&b, "\n## %s\n\n**%s.** %s\n\n", p.name, p.title, summary(p))
		fmt.Fprintf(&b, "- **What the client sees:** %s\n", seen(p))
		fmt.Fprintf(&b, "- **Usual causes:** %s\n", p.usually)
		fmt.Fprintf(&b, "- **What to do:** %s\n", placeholders(p.next))
	}
	return b.Bytes()
}

// withoutResponse is 1 for problems without an error response, which come last, and 0 for the others.
func withoutResponse(p problem) int {
	if p.status == 0 {
		return 1
	}
	return 0
}

// example returns an error response in the form of HTTP/1.1.
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
		return "No error response. If anybody can fix it, it is the " + string(p.fix) + "."
	}
	s := fmt.Sprintf("Status %d, %s. The %s can fix it. Retry: %s", p.status, typeText(p), p.fix, p.retry)
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

// identifier matches names of attributes and settings in the texts.
var identifier = regexp.MustCompile(`\b[A-Za-z]+(_[A-Za-z]+)+(=\w+)?\b`)

func placeholders(s string) string {
	s = identifier.ReplaceAllString(s, "`$0`")
	return strings.NewReplacer("{host}", "`HOST`", "{limit}", "`LIMIT`", "{code}", "`CODE`").Replace(s)
}
