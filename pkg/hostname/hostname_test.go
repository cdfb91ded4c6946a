package hostname_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

var hostile = []struct{ in, want string }{
	{"one.spec-trust.com", "one.spec-trust.com"},
	{"ONE.Spec-Trust.COM", "one.spec-trust.com"},
	{"one.spec-trust.com.", "one.spec-trust.com"},
	{"one.spec-trust.com:443", "one.spec-trust.com"},
	{"one.spec-trust.com.:443", "one.spec-trust.com"},
	{"one.spec-trust.com:", "one.spec-trust.com"},
	{"_dmarc.spec_trust.com", "_dmarc.spec_trust.com"},
	{"localhost", "localhost"},
	{"xn--bcher-kva.example", "xn--bcher-kva.example"},
	{"1.example", "1.example"},
	{strings.Repeat("a", 63) + ".com", strings.Repeat("a", 63) + ".com"},
	{strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 126) + "a"},

	{"", ""},
	{".", ""},
	{":443", ""},
	{"a..b", ""},
	{".a.b", ""},
	{"a.b..", ""},
	{"-a.b", ""},
	{"a-.b", ""},
	{"a b.com", ""},
	{" a.com", ""},
	{"a.com\r\nX: y", ""},
	{"a.com\x00", ""},
	{"a.com/path", ""},
	{"user@a.com", ""},
	{"a.com:8x", ""},
	{"a.com:123456", ""},
	{"a%2ecom", ""},
	{"*.a.com", ""},
	{"bücher.example", ""},
	{"\u212aelvin.test", ""}, // KELVIN SIGN, in lower case an ASCII k
	{"a.\u0130test", ""},
	{"a\xff.test", ""},
	{"127.0.0.1", ""},
	{"127.0.0.1:443", ""},
	{"127.1", ""},
	{"0x7f000001", ""},
	{"a.0x7f", ""},
	{"::1", ""},
	{"[::1]:443", ""},
	{strings.Repeat("a", 64) + ".com", ""},
	{strings.Repeat("a.", 127) + "a", ""},
	{strings.Repeat("a", 300), ""},
	{strings.Repeat("a", 1<<20), ""},
}

func TestNormalizeHostileNames(t *testing.T) {
	for _, c := range hostile {
		got, err := hostname.Normalize(c.in)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("Normalize(%.40q) = %q, %v; want %q", c.in, got, err, c.want)
		}
		if err != nil && !errors.Is(err, hostname.ErrInvalid) {
			t.Errorf("Normalize(%.40q): %v is not ErrInvalid", c.in, err)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("Normalize(%.40q): the error repeats %d bytes", c.in, len(err.Error()))
		}
	}
}

func TestWildcardCoversOneLabel(t *testing.T) {
	for in, want := range map[string]string{
		"one.x.com": "*.x.com", "a.b.x.com": "*.b.x.com", "x.com": "", "localhost": "",
	} {
		if got, ok := hostname.Wildcard(in); got != want || ok != (want != "") {
			t.Errorf("Wildcard(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
}

func TestNormalizePattern(t *testing.T) {
	for in, want := range map[string]string{
		"*.X.com": "*.x.com", "x.com.": "x.com", "*.com": "", "*": "", "**.x.com": "", "a.*.com": "",
		"x.com:443": "", "*.*.x.com": "", "[::1]": "", "*.1.2": "",
	} {
		if got, err := hostname.NormalizePattern(in); got != want || (err == nil) != (want != "") {
			t.Errorf("NormalizePattern(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestSplitAddress(t *testing.T) {
	for in, want := range map[string]string{
		"LB.example.com": "lb.example.com|", "lb.example.com.:8443": "lb.example.com|8443", "192.0.2.1": "192.0.2.1|", "192.0.2.1:1": "192.0.2.1|1",
		"[2001:db8::1]": "2001:db8::1|", "[2001:db8::1]:65535": "2001:db8::1|65535", "2001:db8::1": "", "2001:db8::1:443": "", "lb.test:0": "", "lb.test:65536": "",
		"lb.test:": "", "lb.test:http": "", "lb.test/x": "", "": "", ":443": "", "[lb.test]:1": "", "[lb.test]": "",
		"127.0.0.1]": "", "[1.2.3.4": "", "::1]": "", "[::1": "", "[1.2.3.4]:1": "", "[]": "", "[]:1": "",
	} {
		host, port, err := hostname.SplitAddress(in)
		got := host + "|" + port
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("SplitAddress(%q) = %q, %q, %v; want %q", in, host, port, err, want)
		}
		if err != nil {
			continue
		}
		joined := hostname.JoinAddress(host, port)
		if h, p, err := hostname.SplitAddress(joined); h != host || p != port || err != nil {
			t.Errorf("JoinAddress(%q, %q) = %q, which is split into %q, %q, %v", host, port, joined, h, p, err)
		}
	}
}

func TestIsIP(t *testing.T) {
	for in, want := range map[string]bool{"127.0.0.1": true, "::1": true, "[::1]": true, "[::1": false, "::1]": false, "a.com": false, "": false} {
		if hostname.IsIP(in) != want {
			t.Errorf("IsIP(%q) = %v", in, !want)
		}
	}
}

func TestNormalizeCostsNoAllocationOnACanonicalName(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { _, _ = hostname.Normalize("one.spec-trust.com") }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func FuzzNormalize(f *testing.F) {
	for _, c := range hostile {
		if len(c.in) < 1000 {
			f.Add(c.in)
		}
	}
	f.Fuzz(func(t *testing.T, in string) {
		once, err := hostname.Normalize(in)
		if err != nil {
			if once != "" {
				t.Fatalf("Normalize(%q) = %q together with an error", in, once)
			}
			return
		}
		if twice, err := hostname.Normalize(once); err != nil || twice != once {
			t.Fatalf("Normalize(%q) = %q, and again %q, %v", in, once, twice, err)
		}
		for i := range len(in) {
			if in[i] >= 0x80 {
				t.Fatalf("Normalize(%q) = %q", in, once)
			}
		}
		if once != strings.ToLower(once) || strings.ContainsAny(once, "/:@[]% \r\n\t\x00") || hostname.IsIP(once) {
			t.Fatalf("Normalize(%q) = %q", in, once)
		}
		if pattern, ok := hostname.Wildcard(once); ok {
			if again, err := hostname.NormalizePattern(pattern); err != nil || again != pattern {
				t.Fatalf("pattern %q of %q: %q, %v", pattern, once, again, err)
			}
		}
	})
}
