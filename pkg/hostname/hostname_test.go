package hostname_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/nametest"
	"github.com/sleightproxy/sleight/pkg/hostname"
)

func TestNormalize(t *testing.T) {
	t.Parallel()
	for _, c := range nametest.Names() {
		got, err := hostname.Normalize(c.In)
		if got != c.Want || (err == nil) != (c.Want != "") {
			t.Errorf("Normalize(%.40q) = %q, %v; want %q", c.In, got, err, c.Want)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, hostname.ErrInvalid) || c.Reason == "" || !strings.Contains(err.Error(), c.Reason) {
			t.Errorf("Normalize(%.40q): %v, want it to say %q", c.In, err, c.Reason)
		}
		if len(err.Error()) > 500 {
			t.Errorf("Normalize(%.40q): the error has %d bytes", c.In, len(err.Error()))
		}
	}
}

func TestASCIIKeepsWhatNeedsNoEncoding(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"A.test.:443": "A.test.:443", "a.test": "a.test", "[::1]:443": "[::1]:443", "no host": "no host", "": "",
		"Bücher.example": "xn--bcher-kva.example", "bücher.example.:8443": "xn--bcher-kva.example:8443", "bücher.example:": "xn--bcher-kva.example:",
		"exa\u00admple.test:1": "example.test:1", "a\xff.test": "a\xff.test",
	} {
		if got := hostname.ASCII(in); got != want {
			t.Errorf("ASCII(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestDisplay(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"xn--bcher-kva.example": "bücher.example", "*.xn--bcher-kva.example": "*.bücher.example", "one.xn--strae-oqa.test": "one.straße.test",
		"xn--i-7iq.ws": "i❤.ws", "a.test": "a.test", "*.a.test": "*.a.test", "xn--9dbne9b.example": "שלום.example",
		// These are not canonical, and stay as they are.
		"XN--BCHER-KVA.example": "XN--BCHER-KVA.example", "bücher.example.": "bücher.example.", "xn--bcher-kva.example:443": "xn--bcher-kva.example:443",
		"xn--bcher-2pa.example": "xn--bcher-2pa.example", "xn----eha.test": "xn----eha.test", "no host": "no host", "": "", "*": "*", "*.*.a.test": "*.*.a.test",
	} {
		if got := hostname.Display(in); got != want {
			t.Errorf("Display(%q) = %q, want %q", in, got, want)
		}
	}
	for _, c := range nametest.Names() {
		if again, err := hostname.Normalize(hostname.Display(c.Want)); c.Want != "" && (err != nil || again != c.Want) {
			t.Errorf("%q is shown as %q, which is %q, %v", c.Want, hostname.Display(c.Want), again, err)
		}
	}
}

// parents has labels after a star, and the text of the error if they may not follow a star.
var parents = map[string]string{
	"x.com": "", "b.x.com": "", "x.co.uk": "", "xn--bcher-kva.example": "",
	"com": "two labels", "localhost": "two labels", "internal": "two labels", "ck": "two labels",
	"co.uk": "public suffix", "gov.uk": "public suffix", "com.au": "public suffix",
	"xn--55qx5d.cn": "public suffix", // 公司.cn
	// The list has the rule *.ck, with an exception.
	"anything.ck": "public suffix", "www.ck": "", "x.anything.ck": "",
	// The list has the rule *.kawasaki.jp.
	"kawasaki.jp": "public suffix", "x.kawasaki.jp": "public suffix", "city.kawasaki.jp": "",
	// Each has one owner, who rents out names.
	"myshopify.com": "", "blogspot.com": "", "github.io": "", "compute.amazonaws.com": "", "us-east-1.compute.amazonaws.com": "",
	// These are not in the list.
	"x.test": "", "x.internal": "", "corp.x": "", "x.corp": "", "x.lan": "",
}

func TestPublicSuffixesAreNoWildcards(t *testing.T) {
	t.Parallel()
	for parent, reason := range parents {
		want := "*." + parent
		if reason != "" {
			want = ""
		}
		got, err := hostname.NormalizePattern("*." + parent)
		if got != want || (err == nil) != (want != "") || err != nil && !strings.Contains(err.Error(), reason) {
			t.Errorf("NormalizePattern(*.%s) = %q, %v; want %q, %q", parent, got, err, want, reason)
		}
		// A lookup has no pattern that a route cannot have.
		if got, ok := hostname.Wildcard("a." + parent); got != want || ok != (want != "") {
			t.Errorf("Wildcard(a.%s) = %q, %v; want %q", parent, got, ok, want)
		}
	}
	if _, err := hostname.NormalizePattern("*.co.uk"); err == nil || !strings.Contains(err.Error(), `"co.uk"`) || !strings.Contains(err.Error(), "*.example.co.uk") {
		t.Errorf("the error says neither the suffix nor what would do: %v", err)
	}
	if got, ok := hostname.Wildcard("localhost"); ok {
		t.Errorf("localhost: %q", got)
	}
}

func TestNormalizePattern(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"*.X.com": "*.x.com", "x.com.": "x.com", "*.x.com.": "*.x.com", "*": "", "**.x.com": "", "a.*.com": "", "a*.x.com": "", "*a.x.com": "",
		"x.com:443": "", "*.x.com:443": "", "*.*.x.com": "", "[::1]": "", "*.1.2": "", "*.": "", "*..x.com": "", "": "",
		"*.Bücher.example": "*.xn--bcher-kva.example", "bücher。example": "xn--bcher-kva.example", "*.CO.UK": "", "*.公司.cn": "", "＊.x.com": "", "*。x.com": "",
	} {
		if got, err := hostname.NormalizePattern(in); got != want || (err == nil) != (want != "") {
			t.Errorf("NormalizePattern(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestSplitAddress(t *testing.T) {
	for in, want := range map[string]string{
		"LB.example.com": "lb.example.com|", "lb.Bücher.example:8443": "lb.xn--bcher-kva.example|8443", "xn--bcher-2pa.example": "", "１２７.0.0.1:443": "", "lb.example.com.:8443": "lb.example.com|8443", "192.0.2.1": "192.0.2.1|", "192.0.2.1:1": "192.0.2.1|1",
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
	for _, c := range nametest.Names() {
		if len(c.In) < 1000 {
			f.Add(c.In)
		}
	}
	for parent := range parents {
		f.Add("*." + parent)
		f.Add("a." + parent)
	}
	f.Fuzz(func(t *testing.T, in string) {
		once, err := hostname.Normalize(in)
		if err != nil {
			if once != "" || len(err.Error()) > 1000 {
				t.Fatalf("Normalize(%q) = %q together with an error of %d bytes", in, once, len(err.Error()))
			}
			if got := hostname.ASCII(in); got != in {
				t.Fatalf("ASCII(%q) = %q, and that is no name", in, got)
			}
			in, once = "", ""
		}
		if pattern, err := hostname.NormalizePattern(in); err == nil && !strings.HasPrefix(in, "*") && pattern != once {
			t.Fatalf("NormalizePattern(%q) = %q, and Normalize %q", in, pattern, once)
		}
		if once == "" {
			return
		}
		if twice, err := hostname.Normalize(once); err != nil || twice != once {
			t.Fatalf("Normalize(%q) = %q, and again %q, %v", in, once, twice, err)
		}
		if !strict.MatchString(once) || len(once) > 253 || hostname.IsIP(once) {
			t.Fatalf("Normalize(%q) = %q", in, once)
		}
		if again, err := hostname.Normalize(hostname.ASCII(in)); err != nil || again != once {
			t.Fatalf("ASCII(%q) = %q, which means %q, %v", in, hostname.ASCII(in), again, err)
		}
		shown := hostname.Display(once)
		if again, err := hostname.NormalizePattern(shown); err != nil || again != once {
			t.Fatalf("%q is shown as %q, which is %q, %v", once, shown, again, err)
		}
		if pattern, ok := hostname.Wildcard(once); ok {
			if again, err := hostname.NormalizePattern(pattern); err != nil || again != pattern {
				t.Fatalf("pattern %q of %q: %q, %v", pattern, once, again, err)
			}
		}
	})
}

// strict is a second form of the rule for ASCII. It does not check that the last label is not a number.
var strict = regexp.MustCompile(`^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$`)
