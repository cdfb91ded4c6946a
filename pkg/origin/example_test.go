package origin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// A Cache is put in front of a store that is slow or may fail, such as a table.
func ExampleCache() {
	store, err := origin.ReadRoutes(strings.NewReader(`{"routes":[
		{"host":"one.example.com","origin":["a.lb.example.net","b.lb.example.net:8443"]},
		{"host":"*.example.com","origin":"others.example.net"}
	]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	routes := &origin.Cache{Store: store} // its zero fields are defaults

	for _, host := range []string{"one.example.com", "two.example.com", "example.com"} {
		route, err := routes.Lookup(context.Background(), host)
		switch {
		case errors.Is(err, origin.ErrNotFound):
			fmt.Println(host, "has no route")
		case err != nil:
			fmt.Println(err)
		default:
			fmt.Println(host, "is at", route.Addresses)
		}
	}
	// Output:
	// one.example.com is at [a.lb.example.net b.lb.example.net:8443]
	// two.example.com is at [others.example.net]
	// example.com has no route
}

// A route that cannot be used fails its own hosts alone.
func ExampleReadRoutes() {
	routes, err := origin.ReadRoutes(strings.NewReader(`{"routes":[
		{"host":"one.example.com","origin":"lb.example.net"},
		{"host":"two.example.com","orgin":"lb.example.net"}
	]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(routes.Len(), "routes")
	for _, invalid := range routes.Invalid() {
		fmt.Println(invalid)
	}
	// Output:
	// 2 routes
	// origin: route "two.example.com": attribute "origin" is missing
}

// An Item keeps all attributes, also those that a Route has no field for.
func ExampleItem() {
	var item origin.Item
	if err := item.UnmarshalJSON([]byte(`{"note":"ticket 4711","origin":"lb.example.net","host":"one.example.com"}`)); err != nil {
		fmt.Println(err)
		return
	}
	item["tls_min"] = "1.3"
	document, _ := item.MarshalJSON()
	fmt.Println(string(document))

	item["tls_min"] = "1.1"
	_, err := item.Route()
	fmt.Println(err)
	// Output:
	// {"host":"one.example.com","origin":"lb.example.net","tls_min":"1.3","note":"ticket 4711"}
	// origin: route "one.example.com": attribute "tls_min" is "1.1" and has to be "1.2" or "1.3"
}
