package routetable

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

// DynamoDB is the routes table of the proxy. Its reads are strongly consistent. Both fields are required, and must not change.
type DynamoDB struct {
	Client *sdk.Client
	Table  string

	level  atomic.Int64   // what Allows has read last; a level is rarely lowered
	levels map[string]int // for tests: the levels of attributes, instead of origin's
}

var _ Table = (*DynamoDB)(nil)

func (d *DynamoDB) String() string { return fmt.Sprintf("table %q", d.Table) }

func hostKey(host string) map[string]types.AttributeValue {
	return dynamodb.Values(origin.Item{"host": host})
}

// Get implements [Table].
func (d *DynamoDB) Get(ctx context.Context, host string) (origin.Item, error) {
	if host == LevelKey {
		return nil, ErrNotFound
	}
	item, err := d.getItem(ctx, host)
	if item == nil && err == nil {
		err = ErrNotFound
	}
	return item, err
}

// getItem returns the item of a key, or nil.
func (d *DynamoDB) getItem(ctx context.Context, host string) (origin.Item, error) {
	out, err := d.Client.GetItem(ctx, &sdk.GetItemInput{TableName: &d.Table, Key: hostKey(host), ConsistentRead: aws.Bool(true)}, checkResponses)
	if err != nil {
		return nil, d.failure("GetItem", err)
	}
	if out.Item == nil {
		return nil, nil
	}
	item := dynamodb.Item(out.Item)
	if err := checkHost(host, item); err != nil {
		return nil, d.failure("GetItem", err)
	}
	return item, nil
}

// All implements [Table].
func (d *DynamoDB) All(ctx context.Context) iter.Seq2[origin.Item, error] {
	return inPages(func(start any) ([]origin.Item, any, error) { return d.readPage(ctx, start) })
}

// inPages returns the items of all pages. read is readPage of a [batcher].
func inPages(read func(start any) (items []origin.Item, next any, err error)) iter.Seq2[origin.Item, error] {
	return func(yield func(origin.Item, error) bool) {
		for start, more := any(nil), true; more; more = start != nil {
			items, next, err := read(start)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			start = next
		}
	}
}

// Write implements [Table]. It does not notice that somebody added an attribute that no route may have, unless the version was
// raised too, as tools do. Its condition cannot name an unknown attribute. It does notice if such an attribute was changed
// or removed.
func (d *DynamoDB) Write(ctx context.Context, c Change) error {
	if err := d.Allows(ctx, c); err != nil {
		return err
	}
	var attempts attempts
	for n := 1; ; n++ {
		err := d.write(ctx, c, &attempts)
		failed, refused := errors.AsType[*types.ConditionalCheckFailedException](err)
		if !refused {
			return attempts.failure(d.failure(c.action(), err))
		}
		current, err := d.current(ctx, c, failed)
		switch {
		case err != nil:
			return attempts.failure(err)
		// The SDK repeats a write if its response was lost. If the first attempt had succeeded, the condition of the
		// second fails on the item of the first.
		case c.After != nil && current.Equal(c.After), c.After == nil && current == nil:
			return nil
		case !current.Equal(c.Before) || current == nil:
			return &ConflictError{c, current}
		case n == 2:
			return &RequestError{Table: d.Table, Action: c.action(), Kind: Refused, Reason: fmt.Sprintf("the engine in %v refuses to change a route that nobody else has changed. Nothing was written. It does not compare lists or maps as DynamoDB does (dynalite is known for it): use another engine, or a routes file", d.where()), Err: failed}
		}
		// The item was changed and changed back meanwhile, or the engine does not compare as DynamoDB does.
	}
}

// action returns the name of the request that makes a change.
func (c Change) action() string {
	if c.After == nil {
		return "DeleteItem"
	}
	return "PutItem"
}

// write makes the request for a change. Its error is the SDK's.
func (d *DynamoDB) write(ctx context.Context, c Change, attempts *attempts) (err error) {
	expression, names, values := condition(c.Before)
	if c.After == nil {
		_, err = d.Client.DeleteItem(ctx, &sdk.DeleteItemInput{
			TableName: &d.Table, Key: hostKey(c.Host()),
			ConditionExpression: &expression, ExpressionAttributeNames: names, ExpressionAttributeValues: values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		}, checkResponses, attempts.track)
		return err
	}
	_, err = d.Client.PutItem(ctx, &sdk.PutItemInput{
		TableName: &d.Table, Item: dynamodb.Values(c.After),
		ConditionExpression: &expression, ExpressionAttributeNames: names, ExpressionAttributeValues: values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}, checkResponses, attempts.track)
	return err
}

// current returns the item that a change conflicts with, or nil if it was removed. DynamoDB's response to the conflict has
// the item. Other engines leave it out, and current then reads it.
func (d *DynamoDB) current(ctx context.Context, c Change, failed *types.ConditionalCheckFailedException) (origin.Item, error) {
	if failed.Item != nil {
		item := dynamodb.Item(failed.Item)
		return item, d.failure(c.action(), checkHost(c.Host(), item))
	}
	item, err := d.readItem(ctx, c.Host())
	if request, ok := errors.AsType[*RequestError](err); ok {
		request.Reason = fmt.Sprintf("the change was refused because somebody else has changed the route, and the current route cannot be read: %s", request.Reason)
		return nil, request
	}
	return item, err
}

// maxCompared bounds the attributes that a condition compares, since DynamoDB takes expressions of up to 4 KB. No route has as
// many.
const maxCompared = 100

// condition returns the condition that the item is still before: it has the same attributes with the same values, and no
// other attribute that a route may have.
func condition(before origin.Item) (expression string, names map[string]string, values map[string]types.AttributeValue) {
	names = map[string]string{"#host": "host"}
	if before == nil {
		return "attribute_not_exists(#host)", names, nil
	}
	stored := dynamodb.Values(before)
	values = map[string]types.AttributeValue{}
	var terms []string
	compared := before.Names()
	for _, name := range origin.AttributeNames() {
		if !slices.Contains(compared, name) {
			compared = append(compared, name)
		}
	}
	for n, name := range compared[:min(len(compared), maxCompared)] {
		alias := fmt.Sprintf("#a%d", n)
		if name == "host" {
			alias = "#host"
		}
		names[alias] = name
		if v, ok := stored[name]; ok {
			value := fmt.Sprintf(":v%d", n)
			values[value] = v
			terms = append(terms, alias+" = "+value)
		} else {
			terms = append(terms, "attribute_not_exists("+alias+")")
		}
	}
	return strings.Join(terms, " AND "), names, values
}
