package dynamodb

import (
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// Item converts an item of the table to one of package origin.
func Item(item map[string]types.AttributeValue) origin.Item {
	i := make(origin.Item, len(item))
	for name, value := range item {
		i[name] = fromValue(value)
	}
	return i
}

// Values is the inverse of [Item].
func Values(i origin.Item) map[string]types.AttributeValue {
	item := make(map[string]types.AttributeValue, len(i))
	for name, value := range i {
		item[name] = toValue(value)
	}
	return item
}

// A foreign value has a type that neither an attribute of a route nor JSON has.
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
		return origin.StringSet(v.Value)
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
	case origin.StringSet:
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
