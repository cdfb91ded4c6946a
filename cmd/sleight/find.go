package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// routeSource is where a command that changes nothing finds routes.
type routeSource interface {
	fmt.Stringer
	Get(ctx context.Context, host string) (origin.Item, error) // routetable.ErrNotFound where there is none
	All(ctx context.Context) iter.Seq2[origin.Item, error]
}

// document is a routeSource in memory, of a file that was read as a whole.
type document struct {
	name   string
	items  []origin.Item
	byHost map[string]int
}

// errTwice says why a host that is in a file twice has no route.
func errTwice(host string) error {
	return &origin.InvalidRouteError{Host: host, Attribute: "host", Reason: "is there more than once"}
}

func newDocument(name string, items iter.Seq2[origin.Item, error]) (*document, error) {
	d := &document{name: name, byHost: map[string]int{}}
	for item, err := range items {
		if err != nil {
			return nil, err
		}
		d.items = append(d.items, item)
		d.byHost[item.Host()]++
	}
	return d, nil
}

func (d *document) String() string { return d.name }

func (d *document) Get(_ context.Context, host string) (origin.Item, error) {
	switch d.byHost[host] {
	case 0:
		return nil, routetable.ErrNotFound
	case 1:
		return d.items[slices.IndexFunc(d.items, func(i origin.Item) bool { return i.Host() == host })], nil
	}
	return nil, errTwice(host) // which is what the proxy makes of it
}

func (d *document) All(context.Context) iter.Seq2[origin.Item, error] {
	return func(yield func(origin.Item, error) bool) {
		for _, item := range d.items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// openSource opens what the flags say. A routes file is read once, as the proxy does.
func (t *tableFlags) openSource(ctx context.Context) (routeSource, error) {
	table, err := t.open(ctx)
	if err != nil {
		return nil, err
	}
	if file, ok := table.(*routetable.File); ok {
		return newDocument(file.String(), file.All(ctx))
	}
	return table, nil
}

// readRouteFile reads routes that are in no table yet: one as an object, or a routes document, in JSON
// or YAML.
func readRouteFile(c *cobra.Command, name string) (*document, error) {
	what := inputName(name)
	b, err := readInput(c, name, maxRouteFile)
	if err != nil {
		return nil, err
	}
	d, err := parseRouteFile(what, b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return d, nil
}

func parseRouteFile(what string, b []byte) (*document, error) {
	trimmed := bytes.TrimSpace(b)
	if len(trimmed) == 0 {
		return nil, errors.New("is empty")
	}
	if err := routetable.CheckUTF8(b); err != nil {
		return nil, err
	}
	if !json.Valid(b) {
		converted, err := routesOfYAML(b)
		if err != nil && trimmed[0] == '{' { // its author meant JSON
			err = jsonFault(b)
		}
		if err != nil {
			return nil, fmt.Errorf("is neither JSON nor YAML: %w", err)
		}
		b = converted
	}
	// By its members, since a mistake in a document must not be told as one in a route.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return nil, errors.New("has to be an object, of one route or of \"routes\"")
	}
	if _, ok := members["routes"]; ok {
		return newDocument(what, origin.Items(bytes.NewReader(b)))
	}
	return newDocument(what, func(yield func(origin.Item, error) bool) {
		if members == nil {
			yield(nil, errors.New("is null"))
			return
		}
		yield(parseItem(b, time.Now())) // as "routes put --file" reads it
	})
}

// lookUp is [origin.Explain] in a source, and returns the items that it has met, by key.
func lookUp(ctx context.Context, source routeSource, host string) (*origin.Explanation, map[string]origin.Item, error) {
	items := map[string]origin.Item{}
	e, err := origin.Explain(host, func(key string) (*origin.Route, error) {
		item, err := source.Get(ctx, key)
		if errors.Is(err, routetable.ErrNotFound) {
			return nil, origin.ErrNotFound
		} else if err != nil {
			return nil, err
		}
		items[key] = item
		return item.Route()
	}, time.Now())
	return e, items, err
}
