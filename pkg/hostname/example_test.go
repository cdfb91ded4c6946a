package hostname_test

import (
	"fmt"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

func ExampleNormalize() {
	for _, authority := range []string{"One.Example.COM.:443", "Bücher.example", "127.0.0.1"} {
		name, err := hostname.Normalize(authority)
		fmt.Printf("%q %v\n", name, err)
	}
	// Output:
	// "one.example.com" <nil>
	// "xn--bcher-kva.example" <nil>
	// "" hostname: "127.0.0.1" is not a hostname: an IP address, not a name
}

func ExampleWildcard() {
	for _, name := range []string{"one.example.com", "example.co.uk"} {
		pattern, ok := hostname.Wildcard(name)
		fmt.Printf("%q %v\n", pattern, ok)
	}
	// Output:
	// "*.example.com" true
	// "" false
}

func ExampleDisplay() {
	fmt.Println(hostname.Display("xn--bcher-kva.example"))
	// Output: bücher.example
}
