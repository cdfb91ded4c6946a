package dynamodb_test

import (
	"context"
	"fmt"

	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

// table stands for DynamoDB. A program has the client of dynamodb.NewClient(os.Getenv) in its place.
type table map[string]origin.Item

func (t table) BatchGetItem(_ context.Context, in *sdk.BatchGetItemInput, _ ...func(*sdk.Options)) (*sdk.BatchGetItemOutput, error) {
	items := []map[string]types.AttributeValue{}
	for _, key := range in.RequestItems["routes"].Keys {
		if item, ok := t[dynamodb.Item(key).Host()]; ok {
			items = append(items, dynamodb.Values(item))
		}
	}
	return &sdk.BatchGetItemOutput{Responses: map[string][]map[string]types.AttributeValue{"routes": items}}, nil
}

func ExampleStore() {
	routes := &origin.Cache{Store: &dynamodb.Store{Table: "routes", Client: table{
		"*.example.com": {"host": "*.example.com", "origin": "lb.example.net"},
	}}}
	route, err := routes.Lookup(context.Background(), "one.example.com")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(route.Host, route.Addresses)
	// Output: *.example.com [lb.example.net]
}
