package hostname_test

import (
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

func BenchmarkNormalize(b *testing.B) {
	for name, in := range map[string]string{
		"Canonical": "one.spec-trust.com", "UpperCaseAndPort": "One.Spec-Trust.COM.:443", "ALabel": "xn--bcher-kva.example", "Unicode": "Bücher.example",
		"Hostile": distinct(253), // the most expensive lookup for a stranger to cause
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				hostname.Normalize(in)
			}
		})
	}
}

func BenchmarkWildcard(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		hostname.Wildcard("one.spec-trust.com")
	}
}

// distinct returns a label that takes long to encode: n different letters.
func distinct(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteRune(rune(0x20000 + i))
	}
	return b.String()
}
