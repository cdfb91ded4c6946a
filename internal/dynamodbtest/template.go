package dynamodbtest

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.yaml.in/yaml/v3"
)

// tableDefinition reads an AWS::DynamoDB::Table out of a template: the call that makes it,
// without a name, and its attribute for time to live.
func tableDefinition(template []byte, resource string) (*dynamodb.CreateTableInput, string, error) {
	// What CloudFormation's own tags (!Ref, !If) stand for is not needed: they are decoded
	// only where a field below asks for them.
	var document struct {
		Resources map[string]struct {
			Type       string    `yaml:"Type"`
			Properties yaml.Node `yaml:"Properties"`
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
		BillingMode          string `yaml:"BillingMode"`
		AttributeDefinitions []struct {
			AttributeName string `yaml:"AttributeName"`
			AttributeType string `yaml:"AttributeType"`
		} `yaml:"AttributeDefinitions"`
		KeySchema []struct {
			AttributeName string `yaml:"AttributeName"`
			KeyType       string `yaml:"KeyType"`
		} `yaml:"KeySchema"`
		TTL struct {
			AttributeName string `yaml:"AttributeName"`
			Enabled       bool   `yaml:"Enabled"`
		} `yaml:"TimeToLiveSpecification"`
	}
	if err := r.Properties.Decode(&p); err != nil {
		return nil, "", fmt.Errorf("dynamodbtest: resource %q: %w", resource, err)
	}
	if p.BillingMode == "" || len(p.AttributeDefinitions) == 0 || len(p.KeySchema) == 0 || p.TTL.AttributeName == "" || !p.TTL.Enabled {
		return nil, "", fmt.Errorf("dynamodbtest: resource %q lacks BillingMode, AttributeDefinitions, KeySchema or TimeToLiveSpecification", resource)
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
