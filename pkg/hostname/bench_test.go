package hostname_test

import (
	"testing"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

func BenchmarkNormalize(b *testing.B) {
	for name, in := range map[string]string{
		"Canonical": "one.spec-trust.com", "UpperCaseAndPort": "One.Spec-Trust.COM.:443", "ALabel": "xn--bcher-kva.example", "Unicode": "Bücher.example",
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
