package sni

import (
	"slices"
	"strings"
	"testing"
)

// Two different targets under one key would share connections.
func FuzzKeyTellsTargetsApart(f *testing.F) {
	f.Add("a", "x", "", "a", "x", "")
	f.Add("a", "x,1:y", "", "a", "x\n1:y", "")
	f.Add("a", "x,y,1:z", "", "a", "x,y", "1:z")
	f.Add("a", "x,1:y1:z", "", "a", "x,y,z", "")
	f.Add("a", "-", "", "a", "", "")
	f.Add("a", "x,y,z", "", "a", "x,yz", "")
	f.Add("a", "", "r", "a", "r", "")
	f.Fuzz(func(t *testing.T, name1, addresses1, roots1, name2, addresses2, roots2 string) {
		split := func(s string) []string {
			if s == "-" {
				return nil
			}
			return strings.Split(s, ",")
		}
		a := Target{Addresses: split(addresses1), RootsPEM: roots1}
		b := Target{Addresses: split(addresses2), RootsPEM: roots2}
		same := name1 == name2 && slices.Equal(a.Addresses, b.Addresses) && roots1 == roots2
		if (a.key(name1) == b.key(name2)) != same {
			t.Errorf("%q %+v and %q %+v: keys equal is %v", name1, a, name2, b, !same)
		}
	})
}
