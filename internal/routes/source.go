// Package routes is what people do with routes, apart from how they say it: it reads routes as people write them, finds the
// route of a host and says why, and edits routes that others edit too. It prints nothing and asks nobody.
package routes

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// Source is where routes are found. It is a routetable.Table or a [Document].
type Source interface {
	fmt.Stringer

	// Get returns the item of a host or pattern, or routetable.ErrNotFound.
	Get(ctx context.Context, host string) (origin.Item, error)

	// All returns all items. An error ends them.
	All(ctx context.Context) iter.Seq2[origin.Item, error]
}

var (
	_ Source = routetable.Table(nil)
	_ Source = (*Document)(nil)
)

// Document is a Source in memory. It is safe for concurrent use.
type Document struct {
	name   string
	items  []origin.Item
	byHost map[string]int
}

// NewDocument returns a Document of items; name is for messages. Its error is that of items.
func NewDocument(name string, items iter.Seq2[origin.Item, error]) (*Document, error) {
	d := &Document{name: name, byHost: map[string]int{}}
	for item, err := range items {
		if err != nil {
			return nil, err
		}
		d.items = append(d.items, item)
		d.byHost[item.Host()]++
	}
	return d, nil
}

// String returns the name of the Document.
func (d *Document) String() string { return d.name }

// Items returns the items in the order of the document.
func (d *Document) Items() []origin.Item { return slices.Clone(d.items) }

// Get implements [Source]. For a host that the document has twice, it returns what the proxy makes of that: an error.
func (d *Document) Get(_ context.Context, host string) (origin.Item, error) {
	switch d.byHost[host] {
	case 0:
		return nil, routetable.ErrNotFound
	case 1:
		return d.items[slices.IndexFunc(d.items, func(i origin.Item) bool { return i.Host() == host })], nil
	}
	return nil, ErrTwice(host)
}

// Twice reports whether the document has more than one route for a host.
func (d *Document) Twice(host string) bool { return d.byHost[host] > 1 }

// ErrTwice returns the *origin.InvalidRouteError of a host that a document has twice.
func ErrTwice(host string) error {
	return &origin.InvalidRouteError{Host: host, Attribute: "host", Reason: "occurs more than once"}
}

// All implements [Source].
func (d *Document) All(context.Context) iter.Seq2[origin.Item, error] {
	return func(yield func(origin.Item, error) bool) {
		for _, item := range d.items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// LookUp finds the route of a host in a source as the proxy does. It returns the items that it has met, by key. host is a
// name as hostname.Normalize returns it.
func LookUp(ctx context.Context, source Source, host string) (*routetable.Explanation, map[string]origin.Item, error) {
	items := map[string]origin.Item{}
	e, err := routetable.Explain(host, func(key string) (*origin.Route, error) {
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
