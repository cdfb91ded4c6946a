package dynamodbtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.yaml.in/yaml/v3"
)

// irrelevant has the properties that make no difference to tests.
var irrelevant = []string{
	"TableName", "PointInTimeRecoverySpecification", "SSESpecification", "DeletionProtectionEnabled", "Tags",
	"ContributorInsightsSpecification", "OnDemandThroughput", "WarmThroughput", "TableClass", "ResourcePolicy",
}

// tableDefinition reads an AWS::DynamoDB::Table from a template. It returns the call that creates the table, without a name, and
// the attribute for time to live. An unknown property is an error, so that tests run on the same table as production.
func tableDefinition(template []byte, resource string) (*dynamodb.CreateTableInput, string, error) {
	var document struct {
		Resources map[string]struct {
			Type       string               `yaml:"Type"`
			Properties map[string]yaml.Node `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(template, &document); err != nil {
		return nil, "", fmt.Errorf("dynamodbtest: template: %w", err)
	}
	r, ok := document.Resources[resource]
	if !ok || r.Type != "AWS::DynamoDB::Table" {
		return nil, "", fmt.Errorf("dynamodbtest: template has no table %q", resource)
	}
	var p struct {
		BillingMode          string
		AttributeDefinitions []struct {
			AttributeName string `yaml:"AttributeName"`
			AttributeType string `yaml:"AttributeType"`
		}
		KeySchema []struct {
			AttributeName string `yaml:"AttributeName"`
			KeyType       string `yaml:"KeyType"`
		}
		TTL struct {
			AttributeName string `yaml:"AttributeName"`
			Enabled       bool   `yaml:"Enabled"`
		}
	}
	wanted := map[string]any{
		"BillingMode": &p.BillingMode, "AttributeDefinitions": &p.AttributeDefinitions,
		"KeySchema": &p.KeySchema, "TimeToLiveSpecification": &p.TTL,
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		node, ok := r.Properties[name]
		if !ok {
			return nil, "", fmt.Errorf("dynamodbtest: table %q lacks %s", resource, name)
		}
		if tag := intrinsic(&node); tag != "" {
			return nil, "", fmt.Errorf("dynamodbtest: table %q: %s has %s, which only CloudFormation can resolve", resource, name, tag)
		}
		if err := node.Decode(wanted[name]); err != nil {
			return nil, "", fmt.Errorf("dynamodbtest: table %q: %s: %w", resource, name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Properties)) {
		if wanted[name] == nil && !slices.Contains(irrelevant, name) {
			return nil, "", fmt.Errorf("dynamodbtest: table %q has %s, which the tests' table would not have", resource, name)
		}
	}
	if p.TTL.AttributeName == "" || !p.TTL.Enabled {
		return nil, "", fmt.Errorf("dynamodbtest: table %q has no time to live", resource)
	}
	input := &dynamodb.CreateTableInput{BillingMode: types.BillingMode(p.BillingMode)}
	for _, a := range p.AttributeDefinitions {
		input.AttributeDefinitions = append(input.AttributeDefinitions,
			types.AttributeDefinition{AttributeName: &a.AttributeName, AttributeType: types.ScalarAttributeType(a.AttributeType)})
	}
	for _, k := range p.KeySchema {
		input.KeySchema = append(input.KeySchema, types.KeySchemaElement{AttributeName: &k.AttributeName, KeyType: types.KeyType(k.KeyType)})
	}
	return input, p.TTL.AttributeName, nil
}

// intrinsic returns the first tag of CloudFormation in a node, such as !Ref.
func intrinsic(node *yaml.Node) string {
	if tag := node.Tag; strings.HasPrefix(tag, "!") && !strings.HasPrefix(tag, "!!") {
		return tag
	}
	for _, n := range node.Content {
		if tag := intrinsic(n); tag != "" {
			return tag
		}
	}
	return ""
}
