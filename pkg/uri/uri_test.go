package uri_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/pkg/uri"
)

// every has each byte once.
func every() string {
	var b strings.Builder
	for c := range 256 {
		b.WriteByte(byte(c))
	}
	return b.String()
}

// kept returns the bytes of ASCII that stay as they are.
func kept(escape func(string) string) string {
	var b strings.Builder
	for _, c := range []byte(every()) {
		if escape(string(rune(c))) == string(rune(c)) && c < 0x80 {
			b.WriteByte(c)
		}
	}
	return b.String()
}

const (
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

func TestWhatStaysAsItIs(t *testing.T) {
	small := strings.ToLower(letters)
	for name, row := range map[string]struct {
		escape func(string) string
		want   string
	}{
		"path":              {uri.EscapePath, "!$%&'()*+,-./" + digits + ":;=@" + letters + "[]_" + small + "~"},
		"decoded path":      {uri.EscapeDecodedPath, "!$&'()*+,-./" + digits + ":;=@" + letters + "_" + small + "~"},
		"query":             {uri.EscapeQuery, "!\"$%&'()*+,-./" + digits + ":;<=>?@" + letters + "[\\]^_`" + small + "{|}~"},
		"parameter":         {uri.EscapeParameter, "!\"$%'()*+,-./" + digits + ":;<=>?@" + letters + "[\\]^_`" + small + "{|}~"},
		"decoded parameter": {uri.EscapeDecodedParameter, "-." + digits + letters + "_" + small + "~"},
	} {
		if got := kept(row.escape); got != row.want {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
	if got, want := uri.EscapeQuery("a b\r\n\x00\x7f#\xe9é"), "a%20b%0D%0A%00%7F%23%E9%C3%A9"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func FuzzEscape(f *testing.F) {
	f.Add(every())
	f.Add("/a%2Fb%zz|c?x=1&y= #")
	f.Fuzz(func(t *testing.T, s string) {
		for name, escape := range map[string]func(string) string{"path": uri.EscapePath, "query": uri.EscapeQuery, "parameter": uri.EscapeParameter} {
			got := escape(s)
			if again := escape(got); again != got {
				t.Errorf("%s: %q, and again %q", name, got, again)
			}
			if i := strings.IndexFunc(got, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '#' }); i >= 0 {
				t.Errorf("%s: %q", name, got)
			}
			// Decoding returns the original.
			if before, err := url.PathUnescape(s); err == nil {
				if after, err := url.PathUnescape(got); err != nil || after != before {
					t.Errorf("%s: %q is %q, %v, want %q", name, got, after, err, before)
				}
			}
		}
		for name, pair := range map[string][2]func(string) (string, error){
			"decoded path":      {func(s string) (string, error) { return uri.EscapeDecodedPath(s), nil }, url.PathUnescape},
			"decoded parameter": {func(s string) (string, error) { return uri.EscapeDecodedParameter(s), nil }, url.QueryUnescape},
		} {
			encoded, _ := pair[0](s)
			if got, err := pair[1](encoded); err != nil || got != s {
				t.Errorf("%s: %q became %q, %v", name, s, got, err)
			}
		}
	})
}
