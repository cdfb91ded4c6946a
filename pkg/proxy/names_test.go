package proxy

import (
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// The origin of these tests has the Host b.test, and the addresses lb.test:8443 and two IP addresses. The client requests a.test.
var (
	namedRoute = &origin.Route{
		Scheme: "https", HostHeader: "b.test",
		Addresses: []string{"lb.test:8443", "10.0.0.5:8443", "[2001:db8::1]", "xn--bcher-kva.test"},
	}
	clientsNames = newNames(namedRoute, "https", "a.test")
)

func rewritten(n names, field, value string) string {
	h := http.Header{field: {value}}
	n.rewrite(h)
	return h[field][0]
}

// check maps each value in the field. A value whose want is "" has to stay.
func (n names) check(t *testing.T, field string, rows map[string]string) {
	t.Helper()
	for in, want := range rows {
		if want == "" {
			want = in
		}
		if got := rewritten(n, field, in); got != want {
			t.Errorf("%s: %q became %q, want %q", field, in, got, want)
		}
	}
}

func TestOnlyTheOriginsOwnNamesAreMapped(t *testing.T) {
	t.Parallel()
	rows := map[string]string{
		"https://b.test/x?y#z":                     "https://a.test/x?y#z",
		"https://b.test":                           "https://a.test",
		"https://b.test?y":                         "https://a.test?y",
		"https://b.test#z":                         "https://a.test#z",
		"https://b.test:443/":                      "https://a.test/",
		"https://b.test:/":                         "https://a.test/",
		"HTTPS://B.Test./":                         "https://a.test/",
		"https://b.test/a%2Fb//../\\c d\t":         "https://a.test/a%2Fb//../\\c d\t",
		"https://b.test/?to=https://b.test/&c=d@e": "https://a.test/?to=https://b.test/&c=d@e",
		"//b.test/x":                               "//a.test/x",
		"//b.test:443/x":                           "//a.test/x",
		"//b.test":                                 "//a.test",
		"https://lb.test:8443/":                    "https://a.test/",
		"https://10.0.0.5:8443/":                   "https://a.test/",
		"https://[2001:db8::1]/":                   "https://a.test/",
		"https://[2001:DB8:0:0::1]:443/":           "https://a.test/",
		"https://XN--bcher-kva.test/":              "https://a.test/",

		// Other hosts.
		"https://b.test.evil.com/": "", "https://evilb.test/": "", "https://sub.b.test/": "", "https://test/": "", "https://b.tes/": "",
		"https://elsewhere.test/": "", "https://a.test/": "", "//a.test/": "", "https://b.test.a.test/": "", "https://b-test/": "",
		"https://evil.com/https://b.test/": "", "https://evil.com//b.test/": "", "https://evil.com?b.test": "", "https://evil.com#https://b.test/": "",
		// Other ports, other schemes.
		"https://b.test:444/": "", "https://b.test:8443/": "", "https://b.test:4430/": "", "https://lb.test/": "", "https://lb.test:443/": "", "https://10.0.0.5/": "",
		"https://[2001:db8::1]:8443/": "", "http://b.test/": "", "http://b.test:443/": "", "wss://b.test/": "", "ftp://b.test/": "", "//b.test:80/": "", "://b.test/": "",
		// User information, and text that looks like it.
		"https://b.test@evil.com/": "", "https://evil@b.test/": "", "https://evil:443@b.test/": "", "https://@b.test/": "", "https://b.test:443@evil.com/": "", "//evil@b.test/": "",
		"https://b.test\\@evil.com/": "", "https://b.test\\.evil.com/": "", "https://b.test%2F@evil.com/": "",
		// Text that only some parsers take for an authority.
		"\\\\b.test/": "", "/\\b.test/": "", "\\/b.test/": "", "https:\\\\b.test/": "", "https:b.test": "", "https:/b.test/": "", "https:///b.test/": "", "///b.test/": "",
		"/\t/b.test/": "", "ht\ttps://b.test/": "", " https://b.test/": "", "\thttps://b.test/": "", "https ://b.test/": "", "https://b.test /": "", "https://b.test\t/": "",
		"https://b.t\test/": "", "https://b.test\r\n/": "", "https://b.test\x00/": "", "https://\x00b.test/": "", "https://b.test\xa0/": "", "https:// b.test/": "",
		"\"https://b.test/\"": "", "<https://b.test/>": "", "https://b.test,https://evil.com/": "", "https://b.test;x/": "",
		// The same name in a form that not every parser accepts.
		"https://%62.test/": "", "https://b%2etest/": "", "https://b.test%2e/": "", "https://b.test../": "", "https://.b.test/": "", "https://b..test/": "",
		"https://b\u3002test/": "", "https://\uff42.test/": "", "https://bücher.test/": "", "https://b.te\u017ft/": "", "https://b.test:0x1bb/": "", "https://b.test:+443/": "",
		"https://b.test:443:443/": "", "https://b.test::443/": "", "https://b.test:000000443/": "", "https://b.test:65979/": "", "https://b.test:https/": "",
		"https://10.0.5:8443/": "", "https://0xa000005:8443/": "", "https://010.0.0.5:8443/": "", "https://167772165:8443/": "", "https://[::ffff:10.0.0.5]:8443/": "",
		"https://2001:db8::1/": "", "https://[2001:db8::1/": "", "https://[2001:db8::1%25eth0]/": "", "https://[2001:db8::1]x/": "", "https://[b.test]/": "", "https://[]/": "",
		// No authority.
		"": "", "/": "", "/x": "", "x": "", "../b.test/": "", "b.test": "", "b.test/x": "", "b.test:443": "", "?b.test": "", "#//b.test": "", "?//b.test/": "", "x//b.test/": "",
		"//": "", "https://": "", "https:": "", ":": "", "javascript://b.test/%0aalert(1)": "", "javascript:location='https://b.test/'": "", "data:,https://b.test/": "", "mailto:x@b.test": "",
	}
	for _, field := range []string{"Location", "Content-Location"} {
		clientsNames.check(t, field, rows)
	}
	for name, n := range map[string]names{
		"the client's host is the origin's":        newNames(namedRoute, "https", "B.test:443"),
		"it is, and the client came by http":       newNames(namedRoute, "http", "b.test"),
		"the client's authority is none":           newNames(namedRoute, "https", "a.test/x"),
		"the client's authority would split lines": newNames(namedRoute, "https", "a.test\r\nX: y"),
		"there is no client":                       newNames(namedRoute, "https", ""),
		"there is no route":                        {},
	} {
		for _, field := range []string{"Location", "Set-Cookie"} {
			value := map[string]string{"Location": "https://b.test/", "Set-Cookie": "a=b; Domain=b.test"}[field]
			if got := rewritten(n, field, value); got != value {
				t.Errorf("%s: %q became %q", name, value, got)
			}
		}
	}
}

func TestClientsAuthorityStaysAsWritten(t *testing.T) {
	t.Parallel()
	for client, want := range map[[2]string]string{
		{"http", "A.test:8080"}: "http://A.test:8080/", {"https", "a.test."}: "https://a.test./", {"https", "127.0.0.1:1"}: "https://127.0.0.1:1/", {"http", "[::1]:1"}: "http://[::1]:1/",
		{"http", "b.test:8080"}: "http://b.test:8080/", {"https", "b.test:444"}: "https://b.test:444/",
	} {
		n := newNames(namedRoute, client[0], client[1])
		n.check(t, "Location", map[string]string{"https://b.test/": want, "//b.test/": strings.TrimPrefix(want, client[0]+":")})
	}
	plain := newNames(&origin.Route{Scheme: "http", Addresses: []string{"b.test"}}, "https", "a.test")
	plain.check(t, "Location", map[string]string{"http://b.test/": "https://a.test/", "http://b.test:80/": "https://a.test/", "//b.test/": "//a.test/", "https://b.test/": "", "http://b.test:443/": ""})
	// A Host with a port is not the same name with another port.
	ported := newNames(&origin.Route{Scheme: "https", HostHeader: "B.test.:8443", Addresses: []string{"10.0.0.5:9443"}}, "https", "a.test")
	ported.check(t, "Location", map[string]string{"https://b.test:8443/": "https://a.test/", "https://b.test/": "", "https://b.test:9443/": ""})
}

func TestRefreshIsParsedAsInBrowsers(t *testing.T) {
	t.Parallel()
	clientsNames.check(t, "Refresh", map[string]string{
		"0;url=https://b.test/":          "0;url=https://a.test/",
		"5; URL = https://b.test/x":      "5; URL = https://a.test/x",
		"0.5,uRl='https://b.test/x' foo": "0.5,uRl='https://a.test/x' foo",
		".5;url=\"https://b.test/x\"":    ".5;url=\"https://a.test/x\"",
		"1.2.3 ; url=\"https://b.test/'": "1.2.3 ; url=\"https://a.test/'",
		"0;https://b.test/":              "0;https://a.test/",
		"0 https://b.test/":              "0 https://a.test/",
		"0;'//b.test/'":                  "0;'//a.test/'",
		"0\t,\turl\t=\t//b.test/":        "0\t,\turl\t=\t//a.test/",
		"0;url=https://b.test/;url=x":    "0;url=https://a.test/;url=x",
		"0":                              "", "": "", ";url=https://b.test/": "", "x;url=https://b.test/": "", "-1;url=https://b.test/": "", "0x;url=https://b.test/": "", "0;;url=https://b.test/": "",
		"0;url=": "", "0;url='": "", "0;": "", "0;url=/x": "", "0;u=https://b.test/": "", "0;url https://b.test/": "", "0;urlhttps://b.test/": "", "0;url='/x'https://b.test/": "",
		"0;url=https://b.test;x": "", "0;url=https://evil@b.test/": "", "0;url=javascript://b.test/": "", "0;\"'https://b.test/'\"": "", "0;url==https://b.test/": "", "https://b.test/": "",
	})
}

func TestOnlyTargetsAndAnchorsOfLinkAreMapped(t *testing.T) {
	t.Parallel()
	clientsNames.check(t, "Link", map[string]string{
		"<https://b.test/x>; rel=next":                         "<https://a.test/x>; rel=next",
		"<//b.test/a,b;c>;rel=\"a\" , <https://b.test/2>":      "<//a.test/a,b;c>;rel=\"a\" , <https://a.test/2>",
		"</x>; anchor=\"https://b.test/y\"; rel=self":          "</x>; anchor=\"https://a.test/y\"; rel=self",
		"</x>; ANCHOR = https://b.test/y ; rel=self":           "</x>; ANCHOR = https://a.test/y ; rel=self",
		"</x>; title=\"a, <https://b.test/>; anchor=\"":        "",
		"</x>; title=\"\\\", <https://b.test/>\", <//b.test/>": "</x>; title=\"\\\", <https://b.test/>\", <//a.test/>",
		"</x>; title=\"anchor=\\\"https://b.test/\\\"\"":       "",
		"</x>; title=a b; anchor=\"//b.test/\"":                "</x>; title=a b; anchor=\"//a.test/\"",
		"</x>; title; anchor=\"//b.test/\"; title":             "</x>; title; anchor=\"//a.test/\"; title",
		",, ,<//b.test/>,,<//b.test/>,":                        ",, ,<//a.test/>,,<//a.test/>,",
		"<//b.test/>;;; rel=x":                                 "<//a.test/>;;; rel=x",
		"<//b.test/>; anchor=\"//b.test/":                      "<//a.test/>; anchor=\"//a.test/",
		"<//b.test/> junk, <//b.test/>":                        "<//a.test/> junk, <//b.test/>",
		"</x>; anchor=\"//b.t\\est/\"":                         "",
		"</x>; anchor*=\"//b.test/\"; xanchor=\"//b.test/\"":   "",
		"https://b.test/":                                      "", "junk <https://b.test/>": "", "<https://b.test/": "", "": "", "<": "", "<>": "", "<>;": "", "<>;=": "", "<>; anchor": "", "<>; anchor=": "", "<>; anchor=\"": "", "<>; anchor=\"\\": "",
		"<https://b.test.evil.com/>; rel=next": "", "<https://b.test>evil.com/>": "<https://a.test>evil.com/>", "<<https://b.test/>>": "",
	})
}

func TestCookieDomainIsMapped(t *testing.T) {
	t.Parallel()
	clientsNames.check(t, "Set-Cookie", map[string]string{
		"a=b; Domain=b.test":                            "a=b; Domain=a.test",
		"a=b;domain = .B.Test\t;Path=/":                 "a=b;domain = .a.test\t;Path=/",
		"a=b; Path=/; DOMAIN=lb.test; Secure; HttpOnly": "a=b; Path=/; DOMAIN=a.test; Secure; HttpOnly",
		"a=b; Domain=10.0.0.5":                          "a=b; Domain=a.test",
		"a=b; Domain=b.test; Domain=lb.test":            "a=b; Domain=a.test; Domain=a.test",
		"=;Domain=b.test;":                              "=;Domain=a.test;",
		"a=b=c, d=\"e; Domain=b.test":                   "a=b=c, d=\"e; Domain=a.test",
		"Domain=b.test":                                 "", "Domain=b.test; Path=/": "", "a=Domain=b.test": "", "a=https://b.test/": "", "a=b": "", "": "", ";": "", "a=b; Domain": "", "a=b; Domain=": "", "a=b; Domain=.": "",
		"a=b; Domain=test": "", "a=b; Domain=sub.b.test": "", "a=b; Domain=evilb.test": "", "a=b; Domain=b.test.evil.com": "", "a=b; Domain=a.test": "", "a=b; Domain=..b.test": "",
		"a=b; Domain=b.test:443": "", "a=b; Domain=\"b.test\"": "", "a=b; Domain=https://b.test": "", "a=b; Domain=b.test, Domain=b.test": "", "a=b; Domain=evil@b.test": "", "a=b; Domain=b .test": "",
		"a=b; XDomain=b.test": "", "a=b; Domain b.test": "", "a=b; Path=/Domain=b.test": "", "a=b; D\u00f6main=b.test": "", "a=b; Domain\x00=b.test": "", "a=b; \x0bDomain=b.test": "",
	})
	newNames(namedRoute, "http", "A.test.:8080").check(t, "Set-Cookie", map[string]string{"a=b; Domain=b.test": "a=b; Domain=A.test."})
	for _, client := range []string{"127.0.0.1:8080", "[::1]", "[::1]:8080"} {
		newNames(namedRoute, "http", client).check(t, "Set-Cookie", map[string]string{
			"a=b; Domain=b.test": "a=b", "a=b; Domain=b.test; Path=/": "a=b; Path=/", "a=b;Domain=.b.test;Domain=lb.test;": "a=b;", "a=b; Domain=c.test": "",
		})
	}
}

// A cache or a logger may share the header's values.
func TestSharedValuesAreNotChanged(t *testing.T) {
	t.Parallel()
	shared := []string{"a=b", "c=d; Domain=b.test", "e=f; Domain=b.test", "g=h; Domain=c.test"}
	was := slices.Clone(shared)
	h := http.Header{"Set-Cookie": shared, "X-Location": {"https://b.test/"}, "Location": {}, "Link": nil}
	clientsNames.rewrite(h)
	want := http.Header{"Set-Cookie": {"a=b", "c=d; Domain=a.test", "e=f; Domain=a.test", "g=h; Domain=c.test"}, "X-Location": {"https://b.test/"}, "Location": {}, "Link": nil}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("%v", h)
	}
	if !slices.Equal(shared, was) {
		t.Errorf("the shared values became %q", shared)
	}
}

// plainResponse has these fields as most responses do.
func plainResponse() http.Header {
	return http.Header{
		"Content-Type": {"text/html"}, "Date": {"Tue, 15 Nov 1994 08:12:31 GMT"}, "Location": {"https://a.test/login?to=%2F"}, "Content-Location": {"/index.en.html"},
		"Refresh": {"5; url=/next"}, "Link": {"</style.css>; rel=preload; as=style, <https://cdn.test/x.js>; rel=preload; crossorigin"},
		"Set-Cookie": {"session=0123456789abcdef; Path=/; Secure; HttpOnly; SameSite=Lax", "lang=en; Domain=a.test; Path=/"},
	}
}

func TestUnchangedFieldsAllocateNothing(t *testing.T) {
	h := plainResponse()
	was := maps.Clone(h)
	if n := testing.AllocsPerRun(100, func() { newNames(namedRoute, "https", "a.test").rewrite(h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !reflect.DeepEqual(h, was) {
		t.Errorf("%v", h)
	}
}

func BenchmarkNames(b *testing.B) {
	for name, h := range map[string]http.Header{"NoField": {"Content-Type": {"text/html"}}, "NothingMatches": plainResponse()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				newNames(namedRoute, "https", "a.test").rewrite(h)
			}
		})
	}
}

func FuzzNames(f *testing.F) {
	fields := []string{"Location", "Content-Location", "Refresh", "Link", "Set-Cookie"}
	for i, v := range []string{
		"https://b.test/", "//b.test:443?x", "https://evil@b.test", "https://[2001:db8::1]/", "https://10.0.0.5:8443", "\\\\b.test", "https://b.test\\@evil.com/", "https://%62.test/",
		"0;url='https://b.test/'", ".5 \"//b.test", "<https://b.test/>; anchor=\"//b.test/\", <x>; title=\"\\\"<\"", "<//b.test>;;anchor = //b.test ,,<", "a=b; Domain=.b.test ; Domain=10.0.0.5;",
	} {
		f.Add(i, v, "https", "a.test")
		f.Add(i+2, v, "http", "127.0.0.1:8080")
		f.Add(i+3, v, "https", "lb.test:8443")
	}
	f.Fuzz(func(t *testing.T, i int, v, scheme, client string) {
		if i < 0 || scheme != "http" && scheme != "https" {
			return
		}
		field, n := fields[i%len(fields)], newNames(namedRoute, scheme, client)
		once := rewritten(n, field, v)
		if twice := rewritten(n, field, once); twice != once {
			t.Errorf("%s: %q became %q, then %q", field, v, once, twice)
		}
		named := strings.Contains(v, "[")
		for _, own := range []string{"b.test", "lb.test", "10.0.0.5", "xn--bcher-kva.test"} {
			named = named || strings.Contains(strings.ToLower(v), own)
		}
		if once != v && !named {
			t.Errorf("%s: %q does not name the origin, and became %q", field, v, once)
		}
		if client != "a.test" || i%len(fields) > 1 {
			return
		}
		// The standard library as a second reader.
		u, err := url.Parse(once)
		if err != nil || u.User != nil || strings.Contains(v, "%") || u.Scheme != "https" && u.Scheme != "" {
			return
		}
		port := u.Port()
		if port == "" {
			port = "443"
		}
		switch strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")) + " " + strings.TrimLeft(port, "0") {
		case "b.test 443", "lb.test 8443", "10.0.0.5 8443", "2001:db8::1 443", "xn--bcher-kva.test 443":
			if len(port) <= len("65535") {
				t.Errorf("%s: %q became %q, which names the origin", field, v, once)
			}
		}
	})
}
