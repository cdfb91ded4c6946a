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
// call, up to fifty of them; nothing else makes them wait.
type DynamoDB struct {
	Client BatchGetter
	Table  string

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

// fromItem turns an item into what decode reads.
func fromItem(item map[string]types.AttributeValue) attributes {
	attrs := make(attributes, len(item))
	for name, value := range item {
		attrs[name] = fromValue(value)
	}
	return attrs
}

// unsupported stands for the types that no attribute of a route has.
type unsupported struct{}

func fromValue(value types.AttributeValue) any {
	switch v := value.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return json.Number(v.Value)
	case *types.AttributeValueMemberBOOL:
		return v.Value
	case *types.AttributeValueMemberSS:
		return stringSet(v.Value)
	case *types.AttributeValueMemberNULL:
		return nil
	case *types.AttributeValueMemberL:
		list := make([]any, len(v.Value))
		for i, e := range v.Value {
			list[i] = fromValue(e)
		}
		return list
	}
	return unsupported{}
}
