package routetable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

// The level of a table says which attributes its routes may have: those whose origin.LevelOf is not higher. It is the number in
// one item of the table. Without this item, the level is 0. See docs/decisions/0017-levels.md.
const (
	// LevelKey is the key of the item with the level. No host has that name, so that the proxy never looks it up. A
	// [DynamoDB] hides the item: Get does not find it, and All leaves it out.
	LevelKey = "#level"

	levelAttribute = "level"
)

// LevelError says that the level of a table is too low for an attribute. Nothing was written.
type LevelError struct {
	Table     string // as Table.String returns it
	Host      string // of the route; empty for a document as a whole
	Attribute string
	Needed    int // the level of the attribute
	Level     int // the level of the table
}

func (e *LevelError) Error() string {
	route := ""
	if e.Host != "" {
		route = fmt.Sprintf("route %q: ", e.Host)
	}
	return fmt.Sprintf("%sattribute %q needs level %d, and %s has level %d: a proxy that does not know the attribute answers such a host with 500. Update each function and each \"sleight serve\" that reads the table, and run \"sleight routes level %d\" then. Nothing was written",
		route, e.Attribute, e.Needed, e.Table, e.Level, e.Needed)
}

// Allows implements [Table]. It reads the level only if an attribute needs more than level 0.
func (d *DynamoDB) Allows(ctx context.Context, c Change) error {
	needed, attribute := d.needed(c)
	if needed <= int(d.level.Load()) {
		return nil
	}
	level, err := d.Level(ctx)
	if err != nil {
		return err
	}
	if needed > level {
		return &LevelError{Table: d.String(), Host: c.Host(), Attribute: attribute, Needed: needed, Level: level}
	}
	d.level.Store(int64(level))
	return nil
}

// needed returns the level that a change needs, and the attribute that needs it. It is 0 if Allows makes no request.
func (d *DynamoDB) needed(c Change) (level int, attribute string) {
	for name := range c.After {
		if _, had := c.Before[name]; had {
			continue // the proxy has met it already
		}
		if n := d.levelOf(name); n > level {
			level, attribute = n, name
		}
	}
	return level, attribute
}

func (d *DynamoDB) levelOf(attribute string) int {
	if d.levels != nil {
		return d.levels[attribute]
	}
	return origin.LevelOf(attribute)
}

// Level returns the level of the table.
func (d *DynamoDB) Level(ctx context.Context) (int, error) {
	item, err := d.readItem(ctx, LevelKey)
	if err != nil {
		return 0, err
	}
	return d.levelIn(item)
}

// levelIn returns the level in the item of LevelKey, which may be nil.
func (d *DynamoDB) levelIn(item origin.Item) (int, error) {
	if item == nil {
		return 0, nil
	}
	n, _ := item[levelAttribute].(json.Number)
	level, err := strconv.Atoi(n.String())
	if err != nil || level < 0 {
		return 0, fmt.Errorf("routetable: %v: item %q: attribute %q is not a whole number from 0 on: correct it, or remove the item for level 0", d, LevelKey, levelAttribute)
	}
	return level, nil
}

// SetLevel changes the level of the table, and returns the level that it had. by and now are for the audit attributes. A level
// can be lowered only if no route has an attribute that needs more: the error is a *[LevelInUseError] otherwise. SetLevel
// writes nothing if the table has that level. A dryRun writes nothing either. The error is a *[ConflictError] if somebody else
// changes the level at the same time. SetLevel looks at the routes before and after it lowers the level, and sets it back if
// somebody has written such an attribute in between.
func (d *DynamoDB) SetLevel(ctx context.Context, level int, by string, now time.Time, dryRun bool) (before int, err error) {
	item, err := d.readItem(ctx, LevelKey)
	if err != nil {
		return 0, err
	}
	if before, err = d.levelIn(item); err != nil || before == level {
		return before, err
	}
	if level < before {
		if err := d.unused(ctx, level); err != nil {
			return before, err
		}
	}
	if dryRun {
		return before, nil
	}
	after := Stamp(item, origin.Item{"host": LevelKey, levelAttribute: json.Number(strconv.Itoa(level))}, by, now)
	d.level.Store(0)
	if err := d.Write(ctx, Change{item, after}); err != nil || level > before {
		return before, err
	}
	// Somebody who read the old level may have written such an attribute after the first look.
	if err := d.unused(ctx, level); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreWait)
		defer cancel()
		if failed := d.Write(ctx, Change{after, Stamp(after, item, by, now)}); failed != nil {
			return before, fmt.Errorf("%w; and the level is %d now, since it cannot be set back: %w", err, level, failed)
		}
		return before, err
	}
	return before, nil
}

// restoreWait bounds the write that sets a level back.
const restoreWait = 10 * time.Second

// LevelInUseError says that a level cannot be lowered, since routes have attributes that need more, or that are not known. The
// table has the level that it had.
type LevelInUseError struct {
	Table  string
	Level  int
	Routes int // how many

	Host, Attribute string // of one route
}

func (e *LevelInUseError) Error() string {
	return fmt.Sprintf("%s has %d routes with attributes that need more than level %d, or that this sleight does not know, such as %q of %q: remove these attributes first (\"sleight routes put %s --unset %s\"). The level stays as it was",
		e.Table, e.Routes, e.Level, e.Attribute, e.Host, e.Host, e.Attribute)
}

// unused returns a *LevelInUseError if a route has an attribute that needs more than level. An attribute that this version does not
// know needs more than any level that it knows.
func (d *DynamoDB) unused(ctx context.Context, level int) error {
	allowed := map[string]bool{}
	for _, row := range origin.Attributes() {
		allowed[row.Name] = d.levelOf(row.Name) <= level
	}
	var used *LevelInUseError
	for item, err := range d.All(ctx) {
		if err != nil {
			return err
		}
		for _, name := range item.Names() {
			if allowed[name] {
				continue
			}
			if used == nil {
				used = &LevelInUseError{Table: d.String(), Level: level, Host: item.Host(), Attribute: name}
			}
			used.Routes++
			break
		}
	}
	if used != nil {
		return used
	}
	return nil
}

// readItem returns the item of a key, or nil. A user who may not read one item may be allowed to read batches, as an import
// does.
func (d *DynamoDB) readItem(ctx context.Context, key string) (origin.Item, error) {
	item, err := d.getItem(ctx, key)
	if request, ok := errors.AsType[*RequestError](err); ok && request.Kind == Denied {
		switch found, left, batchErr := d.readBatch(ctx, []string{key}); {
		case batchErr != nil:
		case len(left) > 0:
			err = dynamodb.ErrUnprocessed
		case len(found) == 0:
			return nil, nil
		default:
			return found[0], nil
		}
	}
	return item, err
}
