package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

// File is a Store that holds the routes of a JSON document:
//
//	{"routes":[{"host":"one.spec-trust.com","origin":"one.lb.aws.amazon.com"}]}
//
// The objects have the attributes of a DynamoDB item. It is safe for concurrent use.
type File struct {
	stored map[string]*Stored
}

var _ Store = (*File)(nil)

// ReadFile reads the routes file of that name.
func ReadFile(name string) (*File, error) {
	file, r := readFile(name)
	return file, r.err
}

// ReadRoutes reads a routes document. A route that cannot be used is no error if its host is known: [File.Invalid] lists
// such routes.
func ReadRoutes(r io.Reader) (*File, error) {
	f := &File{stored: map[string]*Stored{}}
	n := 0
	for item, err := range Items(r) {
		if err != nil {
			return nil, err
		}
		n++
		route, err := item.Route()
		host := ""
		if err == nil {
			host = route.Host
		} else {
			// The fault affects this host alone, so the host must be known.
			var only Route
			if hostErr := decodeHost(&only, item["host"]); hostErr != nil {
				return nil, fmt.Errorf("route %d of the list: attribute \"host\" %w", n, hostErr)
			}
			host = only.Host
		}
		if f.stored[host] != nil {
			route, err = nil, &InvalidRouteError{host, "host", "occurs more than once"}
		}
		f.stored[host] = &Stored{route, err}
	}
	return f, nil
}

// Lookup implements [Store]. It never waits.
func (f *File) Lookup(_ context.Context, host string) (*Route, error) {
	exact, now := f.stored[host], time.Now()
	if exact.State(now).Decides() {
		return InForce(exact, nil, now) // without a lookup of the wildcard
	}
	var wildcard *Stored
	if pattern, ok := hostname.Wildcard(host); ok {
		wildcard = f.stored[pattern]
	}
	return InForce(exact, wildcard, now)
}

// Len returns the number of hosts and patterns in the file, including those whose routes cannot be used.
func (f *File) Len() int { return len(f.stored) }

// Invalid returns the errors of the routes that cannot be used, sorted by host.
func (f *File) Invalid() []*InvalidRouteError {
	var all []*InvalidRouteError
	for _, r := range f.stored {
		if invalid, ok := errors.AsType[*InvalidRouteError](r.Err); ok {
			all = append(all, invalid)
		}
	}
	slices.SortFunc(all, func(a, b *InvalidRouteError) int { return strings.Compare(a.Host, b.Host) })
	return all
}

// compare counts the routes that old does not have, that differ, and that only old has.
func (f *File) compare(old *File) (added, changed, removed int) {
	for host, r := range f.stored {
		if before := old.stored[host]; before == nil {
			added++
		} else if !reflect.DeepEqual(r, before) {
			changed++
		}
	}
	return added, changed, len(old.stored) + added - len(f.stored)
}
