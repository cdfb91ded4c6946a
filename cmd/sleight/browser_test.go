package main_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/browsertest"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

// visit makes a browser log in and read the site. It returns the report, and the requests that reached the origin.
func visit(t *testing.T, s *site, o *tlstest.Origin, url, host, addr string, flags ...string) (report map[string]any, asked []string) {
	t.Helper()
	stop := browsertest.Open(t, url, host, addr, append(flags,
		"--disable-features=HttpsUpgrades")...) // it would try https first, and wait for that
	var said string
	select {
	case said = <-s.result:
	case <-time.After(2 * patience):
	}
	printed := stop()
	for _, r := range o.Requests() {
		if r.URI != "/hinted.css" { // browsers use hints only over HTTP/2
			asked = append(asked, fmt.Sprintf("%s %s %s", r.Method, r.URI, r.Header["Cookie"]))
		}
	}
	said = strings.NewReplacer("https:", "http:", host, "shop.test").Replace(said) // what is known to differ
	if err := json.Unmarshal([]byte(said), &report); err != nil {
		t.Fatalf("the page says %.1000q, the origin was asked %q; the browser:\n%s", said, asked, printed)
	}
	slices.Sort(asked)
	return report, slices.Compact(asked)
}

// seenHeader returns the header that reached the origin from a report, without the fields that must differ.
func seenHeader(t *testing.T, report map[string]any, name string) map[string]any {
	t.Helper()
	answer := report[name].(map[string]any)
	var seen map[string]any
	if err := json.Unmarshal([]byte(answer["body"].(string)), &seen); err != nil {
		t.Fatal(err)
	}
	header := seen["header"].(map[string]any)
	delete(seen, "header")
	answer["body"] = seen
	delete(answer["headers"].(map[string]any), "content-length")
	for _, field := range []string{
		"Via", "Cdn-Loop", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", // of the proxy
		"Connection", "Priority", // of a single version of HTTP
		"Accept-Encoding", // browsers accept br and zstd only over TLS
	} {
		delete(header, field)
	}
	maps.DeleteFunc(header, func(field string, _ any) bool { return strings.HasPrefix(field, "Sec-") }) // sent only over TLS
	return header
}

func TestBrowserReadsTheSameAsDirectly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		self  string // the name of the site itself
		http1 bool
	}{
		{"HTTP/1.1", "", true},
		{"HTTP/2", "", false},
		{"a site that knows itself by another name", "backend.test", false},
	} {
		t.Run(c.name, func(t *testing.T) { // one browser at a time: it takes memory
			ca := tlstest.NewAuthority(t)
			names := []string{"shop.test"}
			route := map[string]any{"host": "shop.test", "ca_pem": ca.PEM(), "protocols": offers(c.http1)}
			if c.self != "" {
				names = append(names, c.self)
				route["host_header"] = c.self
			}
			own := names[len(names)-1]

			s, o := newSite(t, ca, c.self, c.http1, names...)
			pin := sha256.Sum256(o.Certificates[own].Leaf.RawSubjectPublicKeyInfo)
			want, wantAsked := visit(t, s, o, "https://"+own+"/", own, o.Addr, "--ignore-certificate-errors-spki-list="+base64.StdEncoding.EncodeToString(pin[:]))

			s, o = newSite(t, ca, c.self, c.http1, names...)
			route["origin"] = o.Addr
			_, url, _ := startServe(t, routesFile(t, route))
			got, gotAsked := visit(t, s, o, "http://shop.test/", "shop.test", strings.TrimPrefix(url, "http://"))

			for name, value := range map[string]any{ // otherwise both could have the same fault
				"host": "shop.test", "path": "/", "cookies": "shared=1; theme=dark", "navigation": "reload", "color": "rgb(0, 128, 0)", "cookiesAfter": "theme=dark",
				"after": "opaqueredirect", "pieces": []any{"one", "two", "three"}, "events": []any{"first", "after 41"},
				"closedByServer": map[string]any{"protocol": "echo", "got": []any{"5 hello", "3 one", "50000 üüüüü", []any{0., 255., 10., 13.}}, "code": 4001., "reason": "enough", "clean": true},
				"closedByPage":   map[string]any{"protocol": "echo", "got": []any{"5 hello", "3 one"}, "code": 4002., "reason": "done", "clean": true},
			} {
				if !reflect.DeepEqual(want[name], value) {
					t.Errorf("directly, %s: %v, want %v", name, want[name], value)
				}
			}
			if turn := want["again"].(map[string]any)["headers"].(map[string]any)["x-turn"]; turn != "not modified" {
				t.Errorf("directly, what the browser had was answered with %v", turn)
			}
			for _, name := range []string{"seen", "account"} {
				if want, got := seenHeader(t, want, name), seenHeader(t, got, name); !reflect.DeepEqual(got, want) {
					t.Errorf("%s at the origin: %v\ndirectly: %v", name, got, want)
				}
			}
			for name := range want {
				if !reflect.DeepEqual(got[name], want[name]) {
					t.Errorf("%s: %.2000v\ndirectly: %.2000v", name, got[name], want[name])
				}
			}
			if !slices.Equal(gotAsked, wantAsked) {
				t.Errorf("the origin was asked %q\ndirectly: %q", gotAsked, wantAsked)
			}
			for _, r := range o.Requests() {
				if r.Host != own || r.SNI != "shop.test" {
					t.Errorf("%s %s came to %s by the name of %s", r.Method, r.URI, r.Host, r.SNI)
				}
				// Over plain HTTP, the proxy asks for no coding that the client does not accept.
				if encodings := r.Header.Get("Accept-Encoding"); r.URI == "/text" && encodings != "gzip, deflate" {
					t.Errorf("%s: Accept-Encoding: %s", r.URI, encodings)
				}
				if websocket := r.URI == "/socket?a=1;b"; (c.http1 || websocket) != (r.Proto == "HTTP/1.1") {
					t.Errorf("%s %s came over %s", r.Method, r.URI, r.Proto)
				}
			}
		})
	}
}
