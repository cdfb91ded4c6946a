// Package routetable reads and edits routes where they are kept: in a DynamoDB table or in a
// file. What it writes it writes under the condition that nobody else has changed it since
// it was read.
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

// Table is where routes are kept. It is safe for concurrent use, also by several processes.
// Its String says which it is, for messages: `table "routes"`.
type Table interface {
	fmt.Stringer

	// Get returns the item of a host or pattern as it is now, whether it can be used or not.
	// The error is [ErrNotFound] where there is none.
	Get(ctx context.Context, host string) (origin.Item, error)

	// All returns the items, in no order. Its error ends it. Items that others write meanwhile may
	// be missing or there, each for itself.
	All(ctx context.Context) iter.Seq2[origin.Item, error]

	// Write makes the change, wholly or not at all. Its error is a *[ConflictError] where the
	// item is no longer as the change has it.
	Write(ctx context.Context, c Change) error
}

// ErrNotFound says that there is no item for a host.
var ErrNotFound = errors.New("routetable: no such route")

// Change replaces an item by another one of the same host. Before is the item as it was read,
// and nil where there was none; After is nil where it is to be removed. Which one it is that
// may be written is compared whole: not everybody who edits by hand counts the version up.
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

// ConflictError says that an item was changed by somebody else between the reading and the
// writing of a change. Nothing was written.
type ConflictError struct {
	Change  Change
	Current origin.Item // nil where it is gone
}

func (e *ConflictError) Error() string {
	host := e.Change.Host()
	if e.Current == nil {
		return fmt.Sprintf("route %q was removed meanwhile; nothing was written", host)
	}
	who := madeBy(e.Change.Before, e.Current, "at")
	if e.Change.Before == nil {
		return fmt.Sprintf("route %q was made meanwhile%s; nothing was written", host, who)
	}
	return fmt.Sprintf("route %q was changed meanwhile%s (%s); nothing was written", host, who, what(e.Change.Before, e.Current))
}

// Unsigned reports whether the tool that changed before into current left no name: current has the record
// of before's last change, or no record. A nil before stands for a route that was made.
func Unsigned(before, current origin.Item) bool {
	record := func(i origin.Item) origin.Item {
		only := origin.Item{}
		for _, name := range []string{origin.UpdatedByAttribute, origin.UpdatedAtAttribute} {
			if v, ok := i[name]; ok {
				only[name] = v
			}
		}
		return only
	}
	return record(before).Equal(record(current))
}

// NoName stands for the name of who has changed a route without leaving one.
const NoName = "by a tool that does not say who"

// madeBy says who changed before into i, and when, as far as i tells. Preposition stands before the time.
func madeBy(before, i origin.Item, preposition string) string {
	if Unsigned(before, i) {
		return " " + NoName
	}
	s := ""
	if by, ok := i[origin.UpdatedByAttribute].(string); ok {
		s = fmt.Sprintf(" by %q", by)
	}
	if at, ok := i[origin.UpdatedAtAttribute].(string); ok {
		s += fmt.Sprintf(" %s %.40s", preposition, at)
	}
	return s
}

// what names the attributes in which an item is not what it was.
func what(was, is origin.Item) string {
	names := Difference(was, is)
	if len(names) == 0 {
		return "and back again"
	}
	return strings.Join(names, ", ")
}

// Difference returns the names of the attributes in which two items differ, in the order in
// which they are written, without what tools write beside a route unless nothing else differs.
func Difference(a, b origin.Item) []string {
	all := origin.Item{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	var names, record []string
	for _, name := range all.Names() {
		_, inA := a[name]
		_, inB := b[name]
		if inA && inB && (origin.Item{name: a[name]}).Equal(origin.Item{name: b[name]}) {
			continue
		}
		if origin.IsAudit(name) {
			record = append(record, name)
		} else {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return record
	}
	return names
}

// Stamp returns after with the record of its change: the version that follows before's, who
// made it and when. Neither item is changed. An empty by leaves no name.
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

// timeAfter is the time of a change of before, in whole seconds. It has the fraction too if before's last change was in the
// same second: else the records of the two might be the same, and the second pass for one that left no name ([Unsigned]).
func timeAfter(before origin.Item, now time.Time) string {
	last, _ := before[origin.UpdatedAtAttribute].(string)
	if at, err := time.Parse(time.RFC3339, last); err == nil && at.Unix() == now.Unix() {
		return now.UTC().Format(time.RFC3339Nano)
	}
	return now.UTC().Format(time.RFC3339)
}

// Version returns the version of an item, and 0 for one without, or with one that cannot be counted
// on from: what its next writer makes of it is 1.
func Version(i origin.Item) int64 {
	n, _ := i[origin.VersionAttribute].(json.Number)
	version, err := n.Int64()
	if err != nil || version == math.MaxInt64 {
		return 0
	}
	return max(version, 0)
}

// VersionText is the version of an item as it is stored, for people, and "none" for one without.
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

// SameVersion reports whether two items have the same version. One without has 0.
func SameVersion(a, b origin.Item) bool {
	version := func(i origin.Item) origin.Item {
		if v, ok := i[origin.VersionAttribute]; ok {
			return origin.Item{origin.VersionAttribute: v}
		}
		return origin.Item{origin.VersionAttribute: json.Number("0")}
	}
	return version(a).Equal(version(b))
}

// Sorted returns the items in the order of their hosts: by domain, so that what belongs together
// stands together, and a wildcard before the names it covers.
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

// SortKey is what [Sorted] compares of a host, by bytes.
func SortKey(host string) string {
	labels := strings.Split(host, ".")
	slices.Reverse(labels)
	return strings.Join(labels, "\x00")
}
