package origin

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// ErrForeignAnswer says that a request to the table was answered with success, but not by DynamoDB:
// by a wrong endpoint, or by a proxy in between. What the table has is then not known.
var ErrForeignAnswer = errors.New("the answer is not DynamoDB's")

// ReadBatch reads the answer to a BatchGetItem of the items of hosts, which are different, in one
// table, which is named or given by its ARN. It returns the items that the table has, and the hosts
// whose keys were left unprocessed. The table has nothing under the other hosts.
//
// The error is an [ErrForeignAnswer] if DynamoDB cannot have answered so. DynamoDB has a list in
// Responses, which may be empty, for each table of which it has read a key, and returns what it was
// asked for, each once: AWS's API reference of BatchGetItem. out must not be nil.
func ReadBatch(out *dynamodb.BatchGetItemOutput, table string, hosts []string) (items []Item, left []string, err error) {
	open := make(map[string]bool, len(hosts)) // by host asked for: it has not come yet
	for _, host := range hosts {
		open[host] = true
	}
	take := func(key Item) error {
		host, ok := key["host"].(string)
		if !ok {
			return fmt.Errorf("%w: it has an item without its key", ErrForeignAnswer)
		}
		first, asked := open[host]
		if !asked {
			return fmt.Errorf("%w: it has an item of %.100q, which was not asked for", ErrForeignAnswer, host)
		}
		if !first {
			return fmt.Errorf("%w: it has %q twice", ErrForeignAnswer, host)
		}
		open[host] = false
		return nil
	}
	for name, keys := range out.UnprocessedKeys {
		if tableName(name) != tableName(table) {
			return nil, nil, fmt.Errorf("%w: it has keys of the table %.100q", ErrForeignAnswer, name)
		}
		for _, key := range keys.Keys {
			item := FromDynamoDB(key)
			if err := take(item); err != nil {
				return nil, nil, err
			}
			left = append(left, item.Host())
		}
	}
	list := false
	for name, found := range out.Responses {
		if tableName(name) != tableName(table) {
			return nil, nil, fmt.Errorf("%w: it has items of the table %.100q", ErrForeignAnswer, name)
		}
		list = list || found != nil
		for _, attrs := range found {
			item := FromDynamoDB(attrs)
			if err := take(item); err != nil {
				return nil, nil, err
			}
			items = append(items, item)
		}
	}
	if !list && len(left) < len(open) {
		return nil, nil, fmt.Errorf("%w: it has no list of items of the table", ErrForeignAnswer)
	}
	return items, left, nil
}

// isForeign reports whether err is of an answer that DynamoDB cannot have given.
func isForeign(err error) bool {
	return errors.Is(err, ErrForeignAnswer) || errors.As(err, new(*smithy.DeserializationError))
}

// tableName returns the name of a table that may be given by its ARN. AWS documents that answers name
// the table as the request did, and engines that know ARNs may name it the other way.
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
