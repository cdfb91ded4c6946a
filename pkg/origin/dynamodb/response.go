package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// ErrForeign says that a response is not DynamoDB's: it is that of a wrong endpoint or of a proxy in between. It says nothing
// about the table.
var ErrForeign = errors.New("the answer is not DynamoDB's")

// GetItems makes one BatchGetItem request for the items of hosts in a table. hosts are at most 100, all different. table is a
// name or an ARN. consistent asks for strongly consistent reads, at twice the price. GetItems returns the items that the
// table has, and the hosts whose keys were left unprocessed. The table has no item of the other hosts.
//
// The error is the client's, or [ErrForeign] if the response cannot be DynamoDB's. DynamoDB's response has a list, possibly
// empty, for each table that it read a key of, and each requested item once: AWS's API reference of BatchGetItem.
func GetItems(ctx context.Context, client BatchGetter, table string, hosts []string, consistent bool, options ...func(*dynamodb.Options)) (items []origin.Item, left []string, err error) {
	keys := types.KeysAndAttributes{Keys: keysOf(hosts)}
	if consistent {
		keys.ConsistentRead = &consistent
	}
	out, err := client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{table: keys}}, options...)
	if err != nil {
		return nil, nil, err
	}
	return readBatch(out, table, hosts)
}

// readBatch reads the response to a BatchGetItem. out is not nil.
func readBatch(out *dynamodb.BatchGetItemOutput, table string, hosts []string) (items []origin.Item, left []string, err error) {
	open := make(map[string]bool, len(hosts)) // by requested host: the response did not have it yet
	for _, host := range hosts {
		open[host] = true
	}
	take := func(key origin.Item) error {
		host, ok := key["host"].(string)
		if !ok {
			return fmt.Errorf("%w: it has an item without its key", ErrForeign)
		}
		first, asked := open[host]
		if !asked {
			return fmt.Errorf("%w: it has an item of %.100q, which was not requested", ErrForeign, host)
		}
		if !first {
			return fmt.Errorf("%w: it has %q twice", ErrForeign, host)
		}
		open[host] = false
		return nil
	}
	for name, keys := range out.UnprocessedKeys {
		if tableName(name) != tableName(table) {
			return nil, nil, fmt.Errorf("%w: it has keys of the table %.100q", ErrForeign, name)
		}
		for _, key := range keys.Keys {
			item := Item(key)
			if err := take(item); err != nil {
				return nil, nil, err
			}
			left = append(left, item.Host())
		}
	}
	list := false
	for name, found := range out.Responses {
		if tableName(name) != tableName(table) {
			return nil, nil, fmt.Errorf("%w: it has items of the table %.100q", ErrForeign, name)
		}
		list = list || found != nil
		for _, attrs := range found {
			item := Item(attrs)
			if err := take(item); err != nil {
				return nil, nil, err
			}
			items = append(items, item)
		}
	}
	if !list && len(left) < len(open) {
		return nil, nil, fmt.Errorf("%w: it has no list of items of the table", ErrForeign)
	}
	return items, left, nil
}

// tableName returns the name of a table that is given by its name or its ARN. AWS documents that a response names the table as
// the request did. Other engines may use the name for an ARN.
func tableName(table string) string {
	if _, name, ok := strings.Cut(table, ":table/"); ok && strings.HasPrefix(table, "arn:") {
		return name
	}
	return table
}

// keysOf returns the keys of hosts.
func keysOf(hosts []string) []map[string]types.AttributeValue {
	keys := make([]map[string]types.AttributeValue, 0, len(hosts))
	for _, host := range hosts {
		keys = append(keys, map[string]types.AttributeValue{"host": &types.AttributeValueMemberS{Value: host}})
	}
	return keys
}
