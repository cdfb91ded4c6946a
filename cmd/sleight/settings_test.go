package main

import (
	"os"
	"strings"
	"testing"
)

// A flag with a misspelt name would have no effect.
func TestEachMirroredFlagIsOneOfServe(t *testing.T) {
	flags := newServe(os.Getenv).Flags()
	for _, m := range mirrors() {
		if f := flags.Lookup(m.flag); f == nil || !strings.Contains(f.Usage, m.variable) {
			t.Errorf("--%s, which stands for %s: %+v", m.flag, m.variable, f)
		}
	}
}
