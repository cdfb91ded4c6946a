package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A request is made with curl, straight and through sleight.
type request struct {
	path string
	args []string
}

var requests = []request{
	{"/hello", nil},
	{"/hello", []string{"--head"}},
	{"/echo?a=1&b=%20+%2F&flag", []string{"-H", "X-Custom: one", "-H", "X-Custom: two", "-H", "Accept-Language: de"}},
	{"/echo/../echo", []string{"--path-as-is"}},
	{"/echo", []string{"--data", "a=1&b=2"}},
	{"/echo", []string{"-X", "POST"}},
	{"/echo", []string{"-X", "PUT", "-H", "Content-Type: text/plain", "--data-binary", "@upload"}},
	{"/echo", []string{"-X", "PUT", "-T", "upload", "-H", "Expect: 100-continue"}},
	{"/echo", []string{"-X", "PATCH", "-T", "-"}}, // of unknown length
	{"/echo", []string{"-X", "DELETE"}},
	{"/echo", []string{"-X", "OPTIONS"}},
	{"/text", nil},
	{"/text", []string{"-H", "Accept-Encoding: gzip"}},
	{"/text", []string{"-H", "If-None-Match: \"one\""}},
	{"/text", []string{"-H", "Range: bytes=3-9"}},
	{"/pieces", nil},
	{"/redirect", nil},
	{"/cookies", []string{"-H", "Cookie: a=1; b=2"}},
	{"/empty", nil},
	{"/nothing", nil},
	{"/missing", nil},
	{"/broken", nil},
	{"/hello", []string{"-H", "Cookie: a=" + strings.Repeat("X", 9500)}},
	{"/hello", []string{"-H", "Cookie: a=" + strings.Repeat("X", 17000)}},
}

func (q request) String() string {
	s := q.path
	for _, a := range q.args {
		s += " " + a
		if len(a) > 60 {
			s = s[:len(s)-len(a)] + fmt.Sprintf("%.20s... (%d bytes)", a, len(a))
		}
	}
	return s
}

// inAnswers are the fields of responses that docs/http.md lists as removed, and those that differ in each response.
var inAnswers = []string{
	"connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade",
	"date", "x-request-id", "x-envoy-upstream-service-time", "x-varnish",
}

// inRequests are the fields of requests that docs/http.md lists as set or removed, and those that differ in each request.
var inRequests = []string{
	"connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade", "http2-settings",
	"via", "cdn-loop", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-server",
	"x-request-id", "x-varnish",
}

// A difference is something that curl got straight and not through sleight, or the other way round.
type difference struct {
	request request
	what    string
	listed  string // the line of docs/http.md that has it, if any
}

// A listing is a difference that docs/http.md lists, with its words there.
type listing struct {
	line string
	is   func(q request, straight, through reply) bool
}

// listed are the differences of some servers, beside the fields above.
var listed = []listing{
	{"nginx compresses nothing that has `Via`", func(_ request, a, b reply) bool {
		return a.status == b.status && a.field("content-encoding") == "gzip" && b.field("content-encoding") == "" && strings.Contains(a.field("server"), "nginx")
	}},
	{"A server that answers 411 straight then answers 200", func(q request, a, b reply) bool {
		return a.status == "411" && b.status == "200" && slices.Equal(q.args, []string{"-X", "POST"})
	}},
	{"| 304 | no `Content-Length`", func(_ request, a, b reply) bool {
		return a.status == "304" && b.field("content-length") == "" && equalBut(a, b, "content-length")
	}},
	{"an answer without a body and a length", func(_ request, a, b reply) bool {
		return a.body == "" && a.field("content-length") == "" && b.field("content-length") == "0" && equalBut(a, b, "content-length")
	}},
	{"A client gets one 100 at most", func(q request, a, b reply) bool {
		if !slices.Contains(q.args, "-T") {
			return false
		}
		for _, r := range []*reply{&a, &b} {
			r.status = strings.TrimSpace(strings.ReplaceAll(r.status, "100 ", ""))
			r.body = strings.ReplaceAll(r.body, "Expect: 100-continue\n", "")
		}
		return len(a.differences(b)) == 0
	}},
	{"`SETTINGS_MAX_HEADER_LIST_SIZE`", func(q request, a, b reply) bool {
		// A client that sends more than it announced gets 431, or no answer.
		return (a.status == "" || a.status == "431") && b.status == "400" && strings.Contains(b.body, "unsendable-request")
	}},
	{"Errors of the proxy itself have `Proxy-Status", func(_ request, a, b reply) bool {
		return a.status == "" && a.failure != "" && b.status == "502" && strings.HasPrefix(b.field("proxy-status"), "sleight;")
	}},
}

// equalBut reports whether two replies are the same except for one field.
func equalBut(a, b reply, field string) bool {
	a.fields, b.fields = maps.Clone(a.fields), maps.Clone(b.fields)
	delete(a.fields, field)
	delete(b.fields, field)
	return len(a.differences(b)) == 0
}

// compare makes all requests both ways. It returns their differences, except for the fields above, and the number of requests.
func compare(ctx context.Context, ca string, port int, front, dir string, http2 bool) (all []difference, n int, err error) {
	dir = filepath.Join(dir, "curl")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, 0, err
	}
	if err := os.WriteFile(filepath.Join(dir, "upload"), []byte(strings.Repeat("upload, ", 250)), 0o644); err != nil {
		return nil, 0, err
	}
	straight := []string{"--http1.1", "--cacert", ca, "--connect-to", fmt.Sprintf("%s:443:127.0.0.1:%d", name, port)}
	through := []string{"--http1.1", "-H", "Host: " + name}
	if http2 {
		straight[0], through[0] = "--http2", "--http2-prior-knowledge"
	}
	for _, q := range requests {
		a, err := curl(ctx, dir, q, "https://"+name, straight)
		if err != nil {
			return nil, n, err
		}
		b, err := curl(ctx, dir, q, "http://"+front, through)
		if err != nil {
			return nil, n, err
		}
		n++
		differences := a.differences(b)
		if len(differences) == 0 {
			continue
		}
		d := difference{request: q, what: strings.Join(differences, "; ")}
		for _, l := range listed {
			if l.is(q, a, b) {
				d.listed = l.line
				break
			}
		}
		all = append(all, d)
	}
	return all, n, nil
}

// A reply is a response as curl saw it.
type reply struct {
	failure string // curl's error, if there is no answer
	status  string // all of them, with interim ones
	fields  map[string][]string
	body    string
	path    string
	head    bool // of a HEAD
}

// milliseconds matches the times in curl's errors, which differ each time.
var milliseconds = regexp.MustCompile(`[0-9]+ milliseconds`)

func curl(ctx context.Context, dir string, q request, base string, how []string) (reply, error) {
	head, body := filepath.Join(dir, "head"), filepath.Join(dir, "body")
	os.Remove(head)
	os.Remove(body)
	args := append([]string{"-sS", "-q", "--noproxy", "*", "-m", "10", "-D", head, "-o", body}, how...)
	args = append(append(args, q.args...), base+q.path)
	cmd := exec.CommandContext(ctx, "curl", args...)
	cmd.Dir = dir
	if slices.Contains(q.args, "-") {
		cmd.Stdin = strings.NewReader(strings.Repeat("piece, ", 50))
	}
	said, err := cmd.CombinedOutput()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		return reply{}, err
	}
	r := reply{fields: map[string][]string{}, path: q.path, head: slices.Contains(q.args, "--head")}
	if err != nil {
		r.failure = milliseconds.ReplaceAllString(strings.TrimSpace(string(said)), "some milliseconds")
	}
	text, _ := os.ReadFile(head)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if rest, ok := strings.CutPrefix(line, "HTTP/"); ok {
			_, status, _ := strings.Cut(rest, " ")
			status, _, _ = strings.Cut(status, " ") // The reason phrase is the standard one.
			r.status = strings.TrimSpace(r.status + " " + status)
			clear(r.fields)
		} else if k, v, ok := strings.Cut(line, ":"); ok {
			k = strings.ToLower(k)
			r.fields[k] = append(r.fields[k], strings.TrimSpace(v))
		}
	}
	got, _ := os.ReadFile(body)
	r.body = unpacked(r, got)
	return r, nil
}

// unpacked returns the body without gzip. The bytes and the length of gzip depend on the pieces in which a server gets the data.
func unpacked(r reply, body []byte) string {
	if r.field("content-encoding") != "gzip" {
		return string(body)
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return string(body)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		return string(body)
	}
	delete(r.fields, "content-length")
	return "gzip: " + string(plain)
}

func (a reply) field(name string) string {
	return strings.Join(a.fields[name], " | ")
}

func (a reply) differences(b reply) []string {
	var all []string
	differ := func(what, x, y string) {
		if x != y {
			all = append(all, fmt.Sprintf("%s: straight %.100q, through sleight %.100q", what, x, y))
		}
	}
	if a.status != b.status {
		// The rest differs too then, and is no information.
		differ("status", strings.TrimSpace(a.status+" "+a.failure), strings.TrimSpace(b.status+" "+b.failure+" "+b.field("proxy-status")))
		return all
	}
	differ("curl", a.failure, b.failure)
	names := map[string]bool{}
	for _, r := range []reply{a, b} {
		for k := range r.fields {
			names[k] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(names)) {
		if slices.Contains(inAnswers, k) {
			continue
		}
		if k == "content-length" && strings.HasPrefix(a.path, "/echo") {
			continue // The echo has the fields that the proxy adds.
		}
		differ(k, a.field(k), b.field(k))
	}
	if a.head {
		return all // curl writes the header in place of a body.
	}
	if !strings.HasPrefix(a.path, "/echo") {
		if a.body != b.body {
			all = append(all, fmt.Sprintf("body: straight %d bytes, %.30q, through sleight %d bytes, %.30q", len(a.body), a.body, len(b.body), b.body))
		}
		return all
	}
	x, y := echoed(a.body), echoed(b.body)
	for _, line := range x {
		if !slices.Contains(y, line) {
			all = append(all, fmt.Sprintf("the origin gets %.100q straight, not through sleight", line))
		}
	}
	for _, line := range y {
		if !slices.Contains(x, line) {
			all = append(all, fmt.Sprintf("the origin gets %.100q through sleight, not straight", line))
		}
	}
	return all
}

// echoed returns the lines of an echo without the fields that docs/http.md lists.
func echoed(body string) []string {
	return slices.DeleteFunc(strings.Split(body, "\n"), func(line string) bool {
		k, _, ok := strings.Cut(line, ": ")
		return ok && slices.Contains(inRequests, strings.ToLower(k))
	})
}
