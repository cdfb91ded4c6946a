package main

import (
	"os"
	"strings"
	"testing"
)

// A misspelt name would have the flag be taken and mean nothing.
func TestEachMirroredFlagIsOneOfServe(t *testing.T) {
	flags := newServe(os.Getenv).Flags()
	for _, m := range mirrors() {
		if f := flags.Lookup(m.flag); f == nil || !strings.Contains(f.Usage, m.variable) {
			t.Errorf("--%s, which stands for %s: %+v", m.flag, m.variable, f)
		}
	}
}
