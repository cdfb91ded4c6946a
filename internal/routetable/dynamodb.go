package routetable

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// DynamoDB is the routes table of the proxy. Its reads are strongly consistent.
type DynamoDB struct {
	Client *dynamodb.Client
	Table  string
}

var _ Table = (*DynamoDB)(nil)

func (d *DynamoDB) String() string { return fmt.Sprintf("table %q", d.Table) }

func hostKey(host string) map[string]types.AttributeValue {
	return origin.Item{"host": host}.DynamoDB()
}

// Get implements [Table].
func (d *DynamoDB) Get(ctx context.Context, host string) (origin.Item, error) {
	consistent := true
	out, err := d.Client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &d.Table, Key: hostKey(host), ConsistentRead: &consistent}, signed)
	if err != nil {
		return nil, d.failure("GetItem", err)
	}
	if out.Item == nil {
		return nil, ErrNotFound
	}
	item := origin.FromDynamoDB(out.Item)
	if err := about(host, item); err != nil {
		return nil, d.failure("GetItem", err)
	}
	return item, nil
}

// All implements [Table].
func (d *DynamoDB) All(ctx context.Context) iter.Seq2[origin.Item, error] {
	return inPages(func(start any) ([]origin.Item, any, error) { return d.readPage(ctx, start) })
}

// inPages returns the items of all pages that read returns, which is [batcher]'s readPage.
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

// Write implements [Table]. Of attributes that no route may have it sees that they were changed or
// removed, but not that one was added, unless that was counted in the version as tools do:
// a condition cannot ask for those that it does not know.
func (d *DynamoDB) Write(ctx context.Context, c Change) error {
	expression, names, values := condition(c.Before)
	action := "PutItem"
	var err error
	if c.After == nil {
		action = "DeleteItem"
		_, err = d.Client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
			TableName: &d.Table, Key: hostKey(c.Host()),
			ConditionExpression: &expression, ExpressionAttributeNames: names, ExpressionAttributeValues: values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		}, signed)
	} else {
		_, err = d.Client.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: &d.Table, Item: c.After.DynamoDB(),
			ConditionExpression: &expression, ExpressionAttributeNames: names, ExpressionAttributeValues: values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		}, signed)
	}
	if failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		var current origin.Item
		if failed.Item != nil {
			current = origin.FromDynamoDB(failed.Item)
			if err := about(c.Host(), current); err != nil {
				return d.failure(action, err)
			}
		}
		// The SDK sends a write again whose answer was lost. Of one that had succeeded, the condition then
		// fails on what it wrote itself.
		if c.After != nil && current.Equal(c.After) || c.After == nil && current == nil {
			return nil
		}
		return &ConflictError{c, current}
	}
	return d.failure(action, err)
}

// maxCompared bounds the attributes that a condition compares: DynamoDB takes expressions of
// 4 KB. No route has as many.
const maxCompared = 100

// condition says that the item is still before: that it has each of its attributes with the same
// value, and none that a route may have beside.
func condition(before origin.Item) (expression string, names map[string]string, values map[string]types.AttributeValue) {
	names = map[string]string{"#host": "host"}
	if before == nil {
		return "attribute_not_exists(#host)", names, nil
	}
	stored := before.DynamoDB()
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
