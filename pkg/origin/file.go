package origin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"
)

// File is a Store that holds the routes of a JSON document:
//
//	{"routes":[{"host":"one.spec-trust.com","origin":"one.lb.aws.amazon.com"}]}
//
// The objects have the attributes of a DynamoDB item. It is safe for concurrent use.
type File struct {
	records map[string]*record
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
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if err := checkMembers(json.NewDecoder(bytes.NewReader(b))); err != nil {
		return nil, err
	}
	// A map, since the names of a struct's fields are found in any case.
	var document map[string]json.RawMessage
	if err := json.Unmarshal(b, &document); err != nil {
		return nil, fmt.Errorf("has to be JSON of the form {\"routes\":[...]}: %w", err)
	}
	for name := range document {
		if name != "routes" {
			return nil, fmt.Errorf("has %q beside \"routes\"", name)
		}
	}
	var routes []attributes
	d := json.NewDecoder(bytes.NewReader(document["routes"]))
	d.UseNumber()
	if err := d.Decode(&routes); err != nil && document["routes"] != nil {
		return nil, fmt.Errorf("has to be JSON of the form {\"routes\":[...]}: %w", err)
	}
	if routes == nil {
		return nil, errors.New("has no \"routes\"; an empty list is written {\"routes\":[]}")
	}
	f := &File{records: make(map[string]*record, len(routes))}
	for i, attrs := range routes {
		route, err := decode(attrs)
		host := ""
		if err == nil {
			host = route.Host
		} else {
			// Its own host pays for it, so that has to be known.
			var only Route
			if hostErr := decoders["host"](&only, attrs["host"]); hostErr != nil {
				return nil, fmt.Errorf("route %d of the list: attribute \"host\" %w", i+1, hostErr)
			}
			host = only.Host
		}
		if f.records[host] != nil {
			route, err = nil, &InvalidRouteError{host, "host", "is there more than once"}
		}
		f.records[host] = &record{route, err}
	}
	return f, nil
}

// checkMembers reads one value, and refuses objects that have a member twice: the last
// would win, and which one its author meant, nobody knows. What is no JSON at all is
// left for others to report.
func checkMembers(d *json.Decoder) error {
	token, err := d.Token()
	delim, _ := token.(json.Delim)
	if err != nil || delim != '{' && delim != '[' {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if delim == '{' {
			token, err := d.Token()
			if err != nil {
				return nil
			}
			name, _ := token.(string)
			if seen[name] {
				return fmt.Errorf("has %q twice in one object", name)
			}
			seen[name] = true
		}
		before := d.InputOffset()
		if err := checkMembers(d); err != nil {
			return err
		}
		if d.InputOffset() == before {
			return nil // an error, at which the decoder stays
		}
	}
	d.Token() // the end of it
	return nil
}

// Lookup implements [Store]. It never waits.
func (f *File) Lookup(_ context.Context, host string) (*Route, error) {
	found := [2]*record{}
	for i, k := range keys(host) {
		found[i] = f.records[k]
	}
	return choose(found[0], found[1], time.Now())
}

// Len returns how many hosts and patterns the file has, unusable ones included.
func (f *File) Len() int { return len(f.records) }

// Invalid returns why routes cannot be used, sorted by host.
func (f *File) Invalid() []*InvalidRouteError {
	var all []*InvalidRouteError
	for _, r := range f.records {
		var invalid *InvalidRouteError
		if errors.As(r.err, &invalid) {
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
