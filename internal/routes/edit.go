package routes

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// An Edit makes the new item from the stored one, which is nil if the host has no route. It does not change its argument, and may be called again with what somebody else has written.
type Edit func(before origin.Item) (after origin.Item, err error)

// Editor changes routes that others change at the same time. Its fields must not change during a call.
type Editor struct {
	Table routetable.Table
	By    string           // for updated_by
	Now   func() time.Time // for updated_at; must not be nil

	// DryRun means that nothing is written.
	DryRun bool

	// Approve, if it is not nil, is called before a change is written, and its error prevents that. It is called again if
	// the change has become another one.
	Approve func(before, after origin.Item) error
}

// attempts bounds how often a change is made again because others have written meanwhile.
const attempts = 50

// Change edits an item, and returns the item as it is then. It returns seen if there was nothing to change. seen is the item
// that the author of the change has read, or nil.
//
// If somebody else has changed the item since, Change makes the edit again on their item, if merge is set and they have
// changed none of the attributes that this edit changes. So it never undoes what they have set. Otherwise the error is a
// *routetable.ConflictError. Other errors are those of do, of Approve, of the table (a *routetable.LevelError in a dry run
// too) and of ctx.
func (e *Editor) Change(ctx context.Context, seen origin.Item, do Edit, merge bool) (origin.Item, error) {
	before := seen
	var mine origin.Item     // what do made of seen
	var approved origin.Item // what Approve has agreed to
	for n := 0; ; n++ {
		after, err := do(before)
		if err != nil {
			return nil, err
		}
		if before.SameRoute(after) && before != nil {
			return before, nil
		}
		if mine == nil {
			mine = after
		}
		after = routetable.Stamp(before, after, e.By, e.Now())
		if err := e.Table.Allows(ctx, routetable.Change{Before: before, After: after}); err != nil {
			return nil, err
		}
		if e.Approve != nil && !approved.SameRoute(after) {
			if err := e.Approve(before, after); err != nil {
				return nil, err
			}
			approved = after
		}
		if e.DryRun {
			return after, nil
		}
		err = e.Table.Write(ctx, routetable.Change{Before: before, After: after})
		conflict, ok := errors.AsType[*routetable.ConflictError](err)
		if err == nil {
			return after, nil
		}
		if !ok {
			return nil, err
		}
		// For its author, it is the change of what was seen.
		conflict.Change = routetable.Change{Before: seen, After: mine}
		if !merge || n == attempts || conflict.Current == nil { // nobody meant to make a removed route again
			return nil, conflict
		}
		again, err := do(conflict.Current)
		if err != nil || !disjoint(seen, conflict.Current, again) { // each may be right, and both together wrong
			return nil, conflict
		}
		before = conflict.Current
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(rand.N(10 * time.Millisecond << min(n, 4))):
		}
	}
}

// disjoint reports whether the change from theirs to again leaves alone all attributes that differ between seen and theirs.
func disjoint(seen, theirs, again origin.Item) bool {
	changed := routetable.Difference(seen.WithoutAudit(), theirs.WithoutAudit())
	for _, name := range routetable.Difference(theirs.WithoutAudit(), again.WithoutAudit()) {
		if slices.Contains(changed, name) {
			return false
		}
	}
	return true
}
