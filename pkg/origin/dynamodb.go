package origin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// DynamoDB is a Store that reads the routes table. Reads are eventually consistent:
// a change is usually seen within a second, for half the price. It is safe for
// concurrent use.
type DynamoDB struct {
	Client BatchGetter
	Table  string
}

// BatchGetter is the one call that the store makes; *dynamodb.Client has it.
type BatchGetter interface {
	BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
}

var (
	_ Store       = (*DynamoDB)(nil)
	_ BatchGetter = (*dynamodb.Client)(nil)
)

// maxReads bounds how often keys that DynamoDB leaves unprocessed are asked for again.
const maxReads = 3

// Lookup implements [Store]. It reads the host's item and its wildcard's in one round
// trip.
func (d *DynamoDB) Lookup(ctx context.Context, host string) (*Route, error) {
	names := keys(host)
	want := make([]map[string]types.AttributeValue, len(names))
	for i, name := range names {
		want[i] = map[string]types.AttributeValue{"host": &types.AttributeValueMemberS{Value: name}}
	}
	request := map[string]types.KeysAndAttributes{d.Table: {Keys: want}}
	found := [2]*record{}
	for range maxReads {
		out, err := d.Client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: request})
		if err != nil {
			return nil, fmt.Errorf("origin: table %q: %w", d.Table, err)
		}
		for _, item := range out.Responses[d.Table] {
			attrs := FromDynamoDB(item)
			for i, name := range names {
				if attrs["host"] == name {
					route, err := attrs.Route()
					found[i] = &record{route, err}
				}
			}
		}
		if request = out.UnprocessedKeys; len(request) == 0 {
			return choose(found[0], found[1], time.Now())
		}
	}
	// Going on with what there is could take a wildcard for a host whose own item exists.
	return nil, fmt.Errorf("origin: table %q: %w", d.Table, errThrottled)
}

var errThrottled = errors.New("keys left unprocessed (the table or the account is throttled)")

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
