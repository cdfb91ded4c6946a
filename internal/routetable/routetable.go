// Package routetable reads and edits the routes in a DynamoDB table or in a file. Each write has the condition that nobody
// else has changed the route since it was read.
package routetable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// Table holds routes. It is safe for concurrent use, by several processes too. String returns its kind and its name, for
// messages: `table "routes"`.
type Table interface {
	fmt.Stringer

	// Get returns the item of a host or pattern as it is now, even if its route cannot be used.
	// The error is [ErrNotFound] if there is no item.
	Get(ctx context.Context, host string) (origin.Item, error)

	// All returns the items, in no order. An error ends it. An item that somebody writes meanwhile may be in it
	// or not.
	All(ctx context.Context) iter.Seq2[origin.Item, error]

	// Allows returns a *[LevelError] if the change adds an attribute that the proxies which read the table may not know
	// yet. Write does so too. Allows is for those who want to know before.
	Allows(ctx context.Context, c Change) error

	// Write makes the change as a whole or not at all. Its error is a *[ConflictError] if the item is
	// no longer c.Before.
	Write(ctx context.Context, c Change) error
}

// ErrNotFound says that a host has no item.
var ErrNotFound = errors.New("routetable: no such route")

// Change replaces an item by another one of the same host. Before is the item as it was read, and nil if there was no item. After
// is nil if the item is to be removed. A write compares the whole item with Before, since people who edit by hand may not
// raise the version.
type Change struct {
	Before, After origin.Item
}

// Host returns the host whose item is changed.
func (c Change) Host() string {
	if c.After != nil {
		return c.After.Host()
	}
	return c.Before.Host()
}

// ConflictError says that somebody else changed an item after it was read for a change. Nothing was written.
type ConflictError struct {
	Change  Change
	Current origin.Item // nil if it was removed
}

func (e *ConflictError) Error() string {
	what := fmt.Sprintf("route %q", e.Change.Host())
	if e.Change.Host() == LevelKey {
		what = "the level"
	}
	if e.Current == nil {
		return what + " was removed meanwhile; nothing was written"
	}
	who := ChangedBy(e.Change.Before, e.Current)
	if e.Change.Before == nil {
		return fmt.Sprintf("%s was created meanwhile%s; nothing was written", what, who)
	}
	return fmt.Sprintf("%s was changed meanwhile%s (%s); nothing was written", what, who, changes(e.Change.Before, e.Current))
}

// unsigned reports whether the tool that changed before into current left no name: both have the same updated_by and
// updated_at, or both lack them. A nil before stands for a new route.
func unsigned(before, current origin.Item) bool {
	signature := func(i origin.Item) origin.Item {
		only := origin.Item{}
		for _, name := range []string{origin.UpdatedByAttribute, origin.UpdatedAtAttribute} {
			if v, ok := i[name]; ok {
				only[name] = v
			}
		}
		return only
	}
	return signature(before).Equal(signature(current))
}

// ChangedBy names the author and the time of the change from before to current for messages, as far as current has them. It
// begins with a blank, or is empty. A nil before stands for a new route.
func ChangedBy(before, current origin.Item) string {
	if unsigned(before, current) {
		return " by a tool that does not say who"
	}
	s := ""
	if by, ok := current[origin.UpdatedByAttribute].(string); ok {
		s = fmt.Sprintf(" by %q", by)
	}
	if at, ok := current[origin.UpdatedAtAttribute].(string); ok {
		s += fmt.Sprintf(" at %.40s", at)
	}
	return s
}

// changes names the attributes that differ, for messages.
func changes(before, after origin.Item) string {
	names := Difference(before, after)
	if len(names) == 0 {
		return "and back again"
	}
	return strings.Join(names, ", ")
}

// Difference returns the names of the attributes that differ between two items, in the order of origin.Attributes. It returns
// audit attributes only if no other attribute differs.
func Difference(a, b origin.Item) []string {
	all := origin.Item{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	var names, audit []string
	for _, name := range all.Names() {
		_, inA := a[name]
		_, inB := b[name]
		if inA && inB && (origin.Item{name: a[name]}).Equal(origin.Item{name: b[name]}) {
			continue
		}
		if origin.IsAudit(name) {
			audit = append(audit, name)
		} else {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return audit
	}
	return names
}

// Stamp returns a copy of after with audit attributes: the next version, the author and the time. An empty by
// leaves the author out.
func Stamp(before, after origin.Item, by string, now time.Time) origin.Item {
	stamped := maps.Clone(after)
	stamped[origin.VersionAttribute] = json.Number(strconv.FormatInt(Version(before)+1, 10))
	stamped[origin.UpdatedAtAttribute] = timeAfter(before, now)
	delete(stamped, origin.UpdatedByAttribute)
	if by != "" {
		stamped[origin.UpdatedByAttribute] = by
	}
	return stamped
}

// timeAfter returns the time of a change to before, in whole seconds. It includes the fraction if the last change was in the same
// second. Otherwise both changes could have the same audit attributes, and the second would be unsigned.
func timeAfter(before origin.Item, now time.Time) string {
	last, _ := before[origin.UpdatedAtAttribute].(string)
	if at, err := time.Parse(time.RFC3339, last); err == nil && at.Unix() == now.Unix() {
		return now.UTC().Format(time.RFC3339Nano)
	}
	return now.UTC().Format(time.RFC3339)
}

// Version returns the version of an item. It returns 0 if the item has no version, or one that cannot be raised: the next writer
// sets 1.
func Version(i origin.Item) int64 {
	n, _ := i[origin.VersionAttribute].(json.Number)
	version, err := n.Int64()
	if err != nil || version == math.MaxInt64 {
		return 0
	}
	return max(version, 0)
}

// VersionText returns the version of an item as it is stored, for people. It is "none" if the item has no version.
func VersionText(i origin.Item) string {
	switch v := i[origin.VersionAttribute].(type) {
	case nil:
		return "none"
	case json.Number:
		return fmt.Sprintf("%.40s", v)
	default:
		return fmt.Sprintf("%.40q", fmt.Sprint(v))
	}
}

// SameVersion reports whether two items have the same version. An item without a version has 0.
func SameVersion(a, b origin.Item) bool {
	version := func(i origin.Item) origin.Item {
		if v, ok := i[origin.VersionAttribute]; ok {
			return origin.Item{origin.VersionAttribute: v}
		}
		return origin.Item{origin.VersionAttribute: json.Number("0")}
	}
	return version(a).Equal(version(b))
}

// Sorted returns the items in the order of their hosts: by domain, so that the hosts of a domain are together, and a wildcard
// before its names.
func Sorted(items []origin.Item) []origin.Item {
	type keyed struct {
		key  string
		item origin.Item
	}
	all := make([]keyed, 0, len(items))
	for _, i := range items {
		all = append(all, keyed{SortKey(i.Host()), i})
	}
	slices.SortStableFunc(all, func(a, b keyed) int { return strings.Compare(a.key, b.key) })
	sorted := make([]origin.Item, 0, len(items))
	for _, k := range all {
		sorted = append(sorted, k.item)
	}
	return sorted
}

// SortKey returns the string that [Sorted] compares for a host.
func SortKey(host string) string {
	labels := strings.Split(host, ".")
	slices.Reverse(labels)
	return strings.Join(labels, "\x00")
}
