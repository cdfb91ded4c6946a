package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

func TestWhatCountsAsListedIsInTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(listed) == 0 {
		t.Fatal("nothing is listed")
	}
	for _, l := range listed {
		if !strings.Contains(string(text), l.line) {
			t.Errorf("docs/http.md does not say %q", l.line)
		}
	}
}

func TestDifferencesOfSomeServersAreListed(t *testing.T) {
	post := request{"/echo", []string{"-X", "POST"}}
	get := request{"/hello", nil}
	unsendable := reply{status: "400", body: `{"type": "errors.md#unsendable-request"}`}
	for name, c := range map[string]struct {
		request           request
		straight, through reply
		want              bool
	}{
		"a POST without a length":                {post, reply{status: "411"}, reply{status: "200"}, true},
		"a GET without a length":                 {get, reply{status: "411"}, reply{status: "200"}, false},
		"no answer to more than is announced":    {get, reply{failure: "curl: (16)"}, unsendable, true},
		"a 431 to more than is announced":        {get, reply{status: "431"}, unsendable, true},
		"a 200 to more than is announced":        {get, reply{status: "200"}, unsendable, false},
		"a 400 of the server in place of a 431":  {get, reply{status: "431"}, reply{status: "400"}, false},
		"a 502 in place of an answer of 200":     {get, reply{status: "200"}, reply{status: "502", fields: map[string][]string{"proxy-status": {"sleight; error=x"}}}, false},
		"a 502 where curl gets no answer either": {get, reply{failure: "curl: (52)"}, reply{status: "502", fields: map[string][]string{"proxy-status": {"sleight; error=x"}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got := slices.ContainsFunc(listed, func(l listing) bool { return l.is(c.request, c.straight, c.through) })
			if got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// A front like a proxy, which loses, doubles or makes up what it is told to.
type front struct {
	app  *app
	fail func(n int64, w http.ResponseWriter, again func()) bool
	n    atomic.Int64
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	pass := func(w http.ResponseWriter) {
		r.Body = io.NopCloser(bytes.NewReader(body))
		f.app.ServeHTTP(w, r)
	}
	if !f.fail(f.n.Add(1), w, func() { pass(httptest.NewRecorder()) }) {
		pass(w)
	}
}

func TestLostDoubledAndUnseenPostsAreCounted(t *testing.T) {
	for name, c := range map[string]struct {
		fail func(int64, http.ResponseWriter, func()) bool
		want count
	}{
		"all is well": {func(int64, http.ResponseWriter, func()) bool { return false }, count{posts: 40}},
		"a 502": {func(n int64, w http.ResponseWriter, _ func()) bool {
			if n == 7 {
				w.WriteHeader(http.StatusBadGateway)
			}
			return n == 7
		}, count{posts: 40, lost: 1}},
		"a 502 for what was carried out": {func(n int64, w http.ResponseWriter, again func()) bool {
			if n == 7 {
				again()
				w.WriteHeader(http.StatusBadGateway)
			}
			return n == 7
		}, count{posts: 40, lost: 1, carriedOut: 1}},
		"sent twice": {func(n int64, _ http.ResponseWriter, again func()) bool {
			if n == 7 {
				again()
			}
			return false
		}, count{posts: 40, doubled: 1}},
		"the answer of another": {func(n int64, w http.ResponseWriter, again func()) bool {
			if n == 7 {
				again()
				io.WriteString(w, "x-0")
			}
			return n == 7
		}, count{posts: 40, lost: 1, carriedOut: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			a := &app{posts: map[string]int{}}
			server := httptest.NewServer(&front{app: a, fail: c.fail})
			defer server.Close()
			z := &zoo{posts: 20, app: a}
			got := z.load(context.Background(), load{url: server.URL, label: "x", workers: 4, twice: true, transport: func() *http.Transport { return &http.Transport{} }})
			got.causes = nil
			if got.posts != c.want.posts || got.lost != c.want.lost || got.doubled != c.want.doubled || got.unseen != c.want.unseen || got.carriedOut != c.want.carriedOut {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestTheReportFailsForWhatIsTheProxysAlone(t *testing.T) {
	good := row{server: "s", version: "1", count: count{posts: 10}, compared: 24}
	with := func(change func(*row)) row {
		r := good
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		rows []row
		want bool
	}{
		"all is well":               {[]row{good}, true},
		"no row":                    {nil, false},
		"no POST":                   {[]row{good, with(func(r *row) { r.posts = 0 })}, false},
		"lost":                      {[]row{good, with(func(r *row) { r.lost = 1 })}, false},
		"lost, and straight none":   {[]row{with(func(r *row) { r.lost, r.asked = 1, true })}, false},
		"lost, and straight too":    {[]row{with(func(r *row) { r.lost, r.asked, r.straight.lost = 1, true, 2 })}, true},
		"all lost, straight too":    {[]row{with(func(r *row) { r.lost, r.asked, r.straight.lost = 10, true, 20 })}, false},
		"doubled, and straight too": {[]row{with(func(r *row) { r.doubled, r.asked, r.straight.doubled = 1, true, 1 })}, false},
		"unseen":                    {[]row{with(func(r *row) { r.unseen = 1 })}, false},
		"a server is not here":      {[]row{good, {server: "t", failure: "no network"}}, false},
		"a difference is listed":    {[]row{with(func(r *row) { r.differences = []difference{{listed: "x"}} })}, true},
		"a difference is not":       {[]row{with(func(r *row) { r.differences = []difference{{listed: "x"}, {}} })}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if got := report(&b, c.rows); got != c.want {
				t.Errorf("got %v, want %v:\n%s", got, c.want, &b)
			}
		})
	}
}

func TestRepliesDifferInWhatTheProxyDoesNotChange(t *testing.T) {
	reply := func(status, body string, fields ...string) reply {
		r := reply{status: status, body: body, path: "/hello", fields: map[string][]string{}}
		for i := 0; i < len(fields); i += 2 {
			r.fields[fields[i]] = append(r.fields[fields[i]], fields[i+1])
		}
		return r
	}
	for name, c := range map[string]struct {
		straight, through []string
		same              bool
	}{
		"hop-by-hop fields":   {[]string{"connection", "close", "keep-alive", "timeout=5"}, nil, true},
		"a cookie gone":       {[]string{"set-cookie", "a=1", "set-cookie", "b=2"}, []string{"set-cookie", "a=1"}, false},
		"another value":       {[]string{"cache-control", "private"}, []string{"cache-control", "public"}, false},
		"a field that is new": {nil, []string{"content-type", "text/plain"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := reply("200", "x", c.straight...).differences(reply("200", "x", c.through...)); (len(got) == 0) != c.same {
				t.Errorf("got %q", got)
			}
		})
	}
	if got := reply("200", "x").differences(reply("200", "y")); len(got) != 1 {
		t.Errorf("for another body, got %q", got)
	}
	if got := reply("200", "x").differences(reply("100 200", "x")); len(got) != 1 {
		t.Errorf("for another interim answer, got %q", got)
	}
	r := reply("200", "")
	r.path = "/echo"
	r.body = "GET /\nVia: 1.1 sleight\nX-Custom: one\n"
	s := r
	s.body = "GET /\nX-Custom: two\n"
	if got := r.differences(s); len(got) != 2 || !slices.ContainsFunc(got, func(d string) bool { return strings.Contains(d, "X-Custom: two") }) {
		t.Errorf("for another field in a request, got %q", got)
	}
}
