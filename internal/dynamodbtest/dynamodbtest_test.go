package dynamodbtest

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTableIsTheTemplates(t *testing.T) {
	s := Start(t)
	name := s.CreateRoutesTable(t)
	s.Put(t, name, map[string]types.AttributeValue{"host": &types.AttributeValueMemberS{Value: "a.test"}})
	out, err := s.Client.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &name})
	if err != nil {
		t.Fatal(err)
	}
	if k := out.Table.KeySchema; len(k) != 1 || *k[0].AttributeName != "host" || k[0].KeyType != types.KeyTypeHash || *out.Table.ItemCount != 1 {
		t.Errorf("%+v", out.Table)
	}
	ttl, err := s.Client.DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: &name})
	if err != nil || *ttl.TimeToLiveDescription.AttributeName != "expires_at" {
		t.Errorf("%+v, %v", ttl, err)
	}
}

func TestMissingPartsAreNamed(t *testing.T) {
	_, _, err := find(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "make testdeps") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
}

func TestDefinitionThatIsNotThereIsAnError(t *testing.T) {
	for template, says := range map[string]string{
		"Resources: {}": "no table",
		"Resources: {RoutesTable: {Type: 'AWS::SQS::Queue'}}":                                              "no table",
		"Resources: {RoutesTable: {Type: 'AWS::DynamoDB::Table', Properties: {TableName: !Ref X}}}":        "lacks",
		"Resources: {RoutesTable: {Type: 'AWS::DynamoDB::Table', Properties: {KeySchema: !If [A, B, C]}}}": "RoutesTable",
		"]": "template",
	} {
		if _, _, err := tableDefinition([]byte(template), "RoutesTable"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", template, err)
		}
	}
}
