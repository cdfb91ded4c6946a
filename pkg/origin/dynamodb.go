package origin

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// DynamoDB is a Store that reads the routes table. Reads are eventually consistent:
// a change is usually seen within a second, for half the price. It is safe for
// concurrent use.
//
// At most four calls are under way at a time. Look-ups that wait for their turn share the next
// call, up to fifty of them; nothing else makes them wait. Both fields are needed, and must not
// change after the first look-up.
type DynamoDB struct {
	Client BatchGetter // should be tuned by [TuneDynamoDB]; of [NewDynamoDBClient] it is
	Table  string      // its name

	mu      sync.Mutex
	calls   int         // under way
	waiting []*question // for one of them to end, in order
}

// BatchGetter is the one call that the store makes; *dynamodb.Client has it.
type BatchGetter interface {
	BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
}

var (
	_ Store       = (*DynamoDB)(nil)
	_ BatchGetter = (*dynamodb.Client)(nil)
)

// Lookup implements [Store]. It reads the host's item and its wildcard's in one round
// trip.
func (d *DynamoDB) Lookup(ctx context.Context, host string) (*Route, error) {
	q := &question{ctx: ctx, names: keys(host), done: make(chan struct{})}
	d.mu.Lock()
	d.waiting = append(d.waiting, q)
	if d.calls < maxCalls {
		d.next()
	}
	d.mu.Unlock()
	select {
	case <-q.done:
		return q.route, q.err
	case <-ctx.Done():
		d.leave(q)
		return nil, &tableError{d.Table, ctx.Err()}
	}
}

// FromDynamoDB turns an item of the table into an Item.
func FromDynamoDB(item map[string]types.AttributeValue) Item {
	i := make(Item, len(item))
	for name, value := range item {
		i[name] = fromValue(value)
	}
	return i
}

// DynamoDB is the inverse of [FromDynamoDB].
func (i Item) DynamoDB() map[string]types.AttributeValue {
	item := make(map[string]types.AttributeValue, len(i))
	for name, value := range i {
		item[name] = toValue(value)
	}
	return item
}

// A foreign value is of a type that no attribute of a route has, and JSON has not.
type foreign struct{ types.AttributeValue }

func fromValue(value types.AttributeValue) any {
	switch v := value.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return json.Number(v.Value)
	case *types.AttributeValueMemberBOOL:
		return v.Value
	case *types.AttributeValueMemberSS:
		return StringSet(v.Value)
	case *types.AttributeValueMemberNULL:
		return nil
	case *types.AttributeValueMemberL:
		list := make([]any, len(v.Value))
		for i, e := range v.Value {
			list[i] = fromValue(e)
		}
		return list
	case *types.AttributeValueMemberM:
		m := make(map[string]any, len(v.Value))
		for name, e := range v.Value {
			m[name] = fromValue(e)
		}
		return m
	}
	return foreign{value}
}

func toValue(value any) types.AttributeValue {
	switch v := value.(type) {
	case string:
		return &types.AttributeValueMemberS{Value: v}
	case json.Number:
		return &types.AttributeValueMemberN{Value: v.String()}
	case bool:
		return &types.AttributeValueMemberBOOL{Value: v}
	case StringSet:
		return &types.AttributeValueMemberSS{Value: v}
	case []any:
		list := make([]types.AttributeValue, len(v))
		for i, e := range v {
			list[i] = toValue(e)
		}
		return &types.AttributeValueMemberL{Value: list}
	case map[string]any:
		m := make(map[string]types.AttributeValue, len(v))
		for name, e := range v {
			m[name] = toValue(e)
		}
		return &types.AttributeValueMemberM{Value: m}
	case foreign:
		return v.AttributeValue
	}
	return &types.AttributeValueMemberNULL{Value: true}
}
