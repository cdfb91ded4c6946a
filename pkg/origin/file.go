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
	records map[string]*Stored
}

var _ Store = (*File)(nil)

// ReadFile reads the routes file of that name.
func ReadFile(name string) (*File, error) {
	file, r := readFile(name)
	return file, r.err
}

// ReadRoutes reads a routes document. A route that cannot be used does not fail it, as
// long as its host is known: [File.Invalid] lists those.
func ReadRoutes(r io.Reader) (*File, error) {
	f := &File{records: map[string]*Stored{}}
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
			// Its own host pays for it, so that has to be known.
			var only Route
			if hostErr := decodeHost(&only, item["host"]); hostErr != nil {
				return nil, fmt.Errorf("route %d of the list: attribute \"host\" %w", n, hostErr)
			}
			host = only.Host
		}
		if f.records[host] != nil {
			route, err = nil, &InvalidRouteError{host, "host", "is there more than once"}
		}
		f.records[host] = &Stored{route, err}
	}
	return f, nil
}

// Lookup implements [Store]. It never waits.
func (f *File) Lookup(_ context.Context, host string) (*Route, error) {
	exact, now := f.records[host], time.Now()
	if exact.State(now).Decides() {
		return InForce(exact, nil, now) // and what its wildcard would be need not be known
	}
	var wildcard *Stored
	if pattern, ok := hostname.Wildcard(host); ok {
		wildcard = f.records[pattern]
	}
	return InForce(exact, wildcard, now)
}

// Len returns how many hosts and patterns the file has, unusable ones included.
func (f *File) Len() int { return len(f.records) }

// Invalid returns why routes cannot be used, sorted by host.
func (f *File) Invalid() []*InvalidRouteError {
	var all []*InvalidRouteError
	for _, r := range f.records {
		if invalid, ok := errors.AsType[*InvalidRouteError](r.Err); ok {
			all = append(all, invalid)
		}
	}
	slices.SortFunc(all, func(a, b *InvalidRouteError) int { return strings.Compare(a.Host, b.Host) })
	return all
}

// compare counts in what the routes differ from those of old.
func (f *File) compare(old *File) (added, changed, removed int) {
	for host, r := range f.records {
		if before := old.records[host]; before == nil {
			added++
		} else if !reflect.DeepEqual(r, before) {
			changed++
		}
	}
	return added, changed, len(old.records) + added - len(f.records)
}
