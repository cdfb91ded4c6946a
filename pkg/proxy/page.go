package proxy

import (
	"encoding/json"
	"html"
	"net/http"
	"strconv"
	"strings"
)

// documentation is the URL of docs/errors.md. The name of a problem is its anchor.
const documentation = "https://github.com/sleightproxy/sleight/blob/main/docs/errors.md"

// allowedMethods is the Allow field, which a 405 must have (RFC 9110 section 15.5.6). It names the common methods: all
// methods are forwarded, except for TRACE and CONNECT.
const allowedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// details is an answer as problem details (RFC 9457). The members from Next on are our extensions.
type details struct {
	Type       string `json:"type"`
	Title      string `json:"title"`
	Status     int    `json:"status"`
	Detail     string `json:"detail"`
	Next       string `json:"next"`
	Error      string `json:"error"` // the type of RFC 9209
	Retry      retry  `json:"retry"`
	RetryAfter int    `json:"retry_after,omitempty"` // in seconds
	Host       string `json:"host,omitempty"`
	RequestID  string `json:"request_id,omitempty"`
}

// write sends the answer: a page if the client prefers HTML, and problem details otherwise.
func (a answer) write(w http.ResponseWriter, r *http.Request, requestID string) {
	header := w.Header()
	clear(header) // it may have fields of the origin's response
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", pagePolicy)
	header.Set("Proxy-Status", "sleight; error="+string(a.errorType))
	header.Set("Vary", "Accept")
	header.Set("X-Content-Type-Options", "nosniff")
	if requestID != "" {
		header.Set("X-Request-Id", requestID)
	}
	if a.after > 0 {
		header.Set("Retry-After", strconv.Itoa(a.retryAfter()))
	}
	if a.status == http.StatusMethodNotAllowed {
		header.Set("Allow", allowedMethods)
	}
	var body string
	if prefersHTML(r.Header.Values("Accept")) {
		header.Set("Content-Type", "text/html; charset=utf-8")
		body = a.page(requestID)
	} else {
		header.Set("Content-Type", "application/problem+json")
		body = a.json(requestID)
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		w.Write([]byte(body)) // an error means that the client is gone
	}
}

func (a answer) retryAfter() int { return int(a.after.Seconds()) }

// json returns problem details, indented for people with curl.
func (a answer) json(requestID string) string {
	b, err := json.MarshalIndent(details{
		Type:       documentation + "#" + a.name,
		Title:      a.title,
		Status:     a.status,
		Detail:     a.detail,
		Next:       a.advice,
		Error:      string(a.errorType),
		Retry:      a.retry,
		RetryAfter: a.retryAfter(),
		Host:       a.host,
		RequestID:  requestID,
	}, "", "  ")
	if err != nil {
		panic(err) // impossible: details has only strings and numbers
	}
	return string(b) + "\n"
}

func (a answer) page(requestID string) string {
	small := html.EscapeString(string(a.errorType))
	if requestID != "" {
		small += " &middot; request " + html.EscapeString(requestID)
	}
	return strings.NewReplacer(
		"{status}", strconv.Itoa(a.status),
		"{title}", html.EscapeString(a.title),
		"{detail}", html.EscapeString(a.detail),
		"{advice}", html.EscapeString(a.advice),
		"{small}", small,
	).Replace(pageText) // in a single pass, so that placeholders in a value are not replaced
}

// pagePolicy allows the style of the page, by its hash, and nothing else.
const pagePolicy = "default-src 'none'; style-src '" + pageStyleHash + "'"

const pageStyleHash = "sha256-flNPlRLqudlEuHdKQjcJOwwcA4m7DdlKbsRZvQkajcw="

const pageStyle = `
:root { color-scheme: light dark }
body { max-width: 36rem; margin: 0 auto; padding: 12vh 1.25rem 2rem; font: 1.0625rem/1.55 system-ui, sans-serif; color: #1c1e21; background: #fff; overflow-wrap: anywhere }
h1 { margin: 0 0 1.25rem; font-size: 1.625rem; line-height: 1.25 }
h1 span { margin-right: .5rem; color: #5f6670; font-weight: 400 }
p { margin: 0 0 1rem }
small { display: block; margin-top: 2.5rem; padding-top: .75rem; border-top: 1px solid #d9dce1; color: #5f6670; font-size: .8125rem }
@media (prefers-color-scheme: dark) {
body { color: #e6e8eb; background: #16181b }
h1 span, small { color: #9aa2ad }
small { border-color: #33373d }
}
`

// pageText is self-contained, because the client's network may not reach other sites.
const pageText = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{status} {title}</title>
<style>` + pageStyle + `</style>
</head>
<body>
<main>
<h1><span>{status}</span>{title}</h1>
<p>{detail}</p>
<p>{advice}</p>
<small>{small}</small>
</main>
</body>
</html>
`
