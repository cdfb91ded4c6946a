package origin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/nametest"
)

// Keys are compared byte by byte, so a key must be the canonical name. The error has that name.
func TestKeysAreReadByTheOneRule(t *testing.T) {
	t.Parallel()
	for _, star := range []string{"", "*."} {
		for _, c := range nametest.Names() {
			if star == "" && strings.HasPrefix(c.In, "*.") || len(c.In) > 1<<16 { // a key, and a document that takes a second
				continue
			}
			key, want := star+c.In, star+c.Want
			_, err := ReadRoutes(strings.NewReader(fmt.Sprintf(`{"routes":[{"host":%s,"origin":"lb.test"}]}`, marshal(t, key))))
			says := ""
			switch {
			case c.Want == "" && c.In == "" && star == "":
				says = "is empty"
			case c.Want == "" || c.Port() || star != "" && !strings.Contains(c.Want, "."):
				says = "is not a hostname"
			case key != want:
				says = fmt.Sprintf("is %q and has to be written as %q", key, want)
			}
			if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
				t.Errorf("key %.40q: %v, want it to say %q", key, err, says)
			}
		}
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoutesTakeNamesInUnicodeAsValues(t *testing.T) {
	t.Parallel()
	file, err := ReadRoutes(strings.NewReader(`{"routes":[{"host":"a.test","origin":["lb.Bücher.example:8443"],"server_name":"BÜCHER.example","host_header":"bücher.example:1"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := file.Lookup(t.Context(), "a.test")
	if err != nil {
		t.Fatal(err)
	}
	if r.Addresses[0] != "lb.xn--bcher-kva.example:8443" || r.ServerName != "xn--bcher-kva.example" || r.HostHeader != "xn--bcher-kva.example:1" {
		t.Errorf("%+v", r)
	}
}

func TestPublicSuffixIsNoKey(t *testing.T) {
	t.Parallel()
	for key, says := range map[string]string{
		"*.co.uk": `names under "co.uk" belong to different owners`, "*.xn--55qx5d.cn": "public suffix", "*.com": "two labels after the star", "*.myshopify.com": "", "*.x.co.uk": "",
	} {
		_, err := ReadRoutes(strings.NewReader(fmt.Sprintf(`{"routes":[{"host":%q,"origin":"lb.test"}]}`, key)))
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want it to say %q", key, err, says)
		}
	}
}

// relevant are routes that a lookup could mistake for each other.
const relevant = `
	{"host":"exact.x.com","origin":"exact.lb"},
	{"host":"*.x.com","origin":"wildcard.lb"},
	{"host":"off.x.com","origin":"off.lb","enabled":false},
	{"host":"gone.x.com","origin":"gone.lb","expires_at":1000000000},
	{"host":"later.x.com","origin":"later.lb","expires_at":4102444800},
	{"host":"bad.x.com","origin":"bad.lb","tls_min":"1.0"},
	{"host":"*.gone.com","origin":"gone.lb","expires_at":1000000000},
	{"host":"*.off.com","origin":"off.lb","enabled":false},
	{"host":"on.off.com","origin":"on.lb"},
	{"host":"xn--bcher-kva.example","origin":"books.lb"},
	{"host":"*.xn--bcher-kva.example","origin":"anybook.lb"},
	{"host":"xn--strae-oqa.example","origin":"sharp.lb"},
	{"host":"strasse.example","origin":"double.lb"},
	{"host":"*.myshopify.com","origin":"shops.lb"},
	{"host":"shop.co.uk","origin":"uk.lb"},
	{"host":"localhost","origin":"local.lb"}`

// inForce has the result for each host: an address, or the error.
var inForce = map[string]string{
	"exact.x.com": "exact.lb", "other.x.com": "wildcard.lb", "later.x.com": "later.lb",
	"gone.x.com": "wildcard.lb", // as if it were deleted already
	"off.x.com":  "none",        // hides the wildcard
	"bad.x.com":  "invalid",     // hides it too
	"a.b.x.com":  "none", "x.com": "none", "com": "none", "a.gone.com": "none", "y.com": "none", "a.off.com": "none", "on.off.com": "on.lb",
	"xn--bcher-kva.example": "books.lb", "a.xn--bcher-kva.example": "anybook.lb", "a.b.xn--bcher-kva.example": "none", "bucher.example": "none",
	"xn--strae-oqa.example": "sharp.lb", "strasse.example": "double.lb",
	"a.myshopify.com": "shops.lb", "myshopify.com": "none", "shop.co.uk": "uk.lb", "other.co.uk": "none", "localhost": "local.lb", "local": "none",
	// Not names that Normalize returns. A store must have no route for them either.
	"": "none", ".": "none", "*": "none", "*.x.com": "wildcard.lb", "EXACT.x.com": "wildcard.lb", ".x.com": "wildcard.lb", "exact.x.com.": "none", "exact.x.com:443": "none", "bücher.example": "none", "..": "none", "*.*.x.com": "none", "x.com\x00": "none", "\xff.x.com": "wildcard.lb",
}

// outcome returns the result of a lookup, as inForce has it.
func outcome(ctx context.Context, s Store, host string) string {
	r, err := s.Lookup(ctx, host)
	var invalid *InvalidRouteError
	switch {
	case err == nil:
		return r.Addresses[0]
	case errors.Is(err, ErrNotFound):
		return "none"
	case errors.As(err, &invalid):
		return "invalid"
	}
	return err.Error()
}

// among reads the relevant routes, and n others with similar names.
func among(t *testing.T, n int) *File {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(`{"routes":[`)
	for i := range n {
		host := fmt.Sprintf("h%d.x.com.example", i)
		switch i % 4 {
		case 1:
			host = fmt.Sprintf("*.h%d.x.com", i)
		case 2:
			host = fmt.Sprintf("x%d.com", i)
		case 3:
			host = fmt.Sprintf("exact.x.com.h%d.test", i)
		}
		fmt.Fprintf(&b, `{"host":%q,"origin":"other.lb"},`, host)
	}
	b.WriteString(relevant + "]}")
	file, err := ReadRoutes(&b)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSameRouteAloneAndAmong100000(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 100_000} {
		file := among(t, n)
		if got := file.Len(); got != n+16 {
			t.Fatalf("%d routes", got)
		}
		cache := newCache(&fakeStore{answer: file.Lookup})
		for host, want := range inForce {
			if got := outcome(t.Context(), file, host); got != want {
				t.Errorf("%q among %d: %s, want %s", host, n, got, want)
			}
			for range 2 { // from the store, and from memory
				if got := outcome(t.Context(), cache, host); got != want {
					t.Errorf("%q among %d, through the cache: %s, want %s", host, n, got, want)
				}
			}
		}
	}
}

// If a host has its own route, only that counts.
func TestExactKeyIsLookedUpAlone(t *testing.T) {
	file := among(t, 0)
	for _, host := range []string{"exact.x.com", "off.x.com", "bad.x.com", "xn--bcher-kva.example"} {
		if n := testing.AllocsPerRun(100, func() { file.Lookup(t.Context(), host) }); n != 0 {
			t.Errorf("%s: %v allocations: its wildcard was made, and is not needed", host, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { file.Lookup(t.Context(), "other.x.com") }); n == 0 {
		t.Error("making a wildcard costs nothing, so that this test says nothing")
	}
}

func TestPublicSuffixesAreNotReadAsWildcards(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"shop.co.uk": "shop.co.uk", "a.shop.co.uk": "a.shop.co.uk *.shop.co.uk", "a.myshopify.com": "a.myshopify.com *.myshopify.com", "x.com": "x.com", "a.x.test": "a.x.test *.x.test", "a.www.ck": "a.www.ck *.www.ck", "a.b.ck": "a.b.ck",
	} {
		if got := strings.Join(Keys(host), " "); got != want {
			t.Errorf("%s: reads %s, want %s", host, got, want)
		}
	}
}

func BenchmarkFileLookup(b *testing.B) {
	file, err := ReadRoutes(strings.NewReader(`{"routes":[` + relevant + `]}`))
	if err != nil {
		b.Fatal(err)
	}
	for name, host := range map[string]string{"Exact": "exact.x.com", "Wildcard": "other.x.com", "None": "a.b.test"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				file.Lookup(b.Context(), host)
			}
		})
	}
}
