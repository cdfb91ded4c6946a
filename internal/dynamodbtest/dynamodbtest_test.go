package dynamodbtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/testdeps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTableIsTheTemplates(t *testing.T) {
	s := Start(t)
	name := s.CreateRoutesTable(t)
	if other := s.CreateRoutesTable(t); other == name {
		t.Errorf("two tables are %q", name)
	}
	host := map[string]types.AttributeValue{"host": &types.AttributeValueMemberS{Value: "a.test"}}
	s.Put(t, name, map[string]types.AttributeValue{"host": host["host"], "origin": &types.AttributeValueMemberS{Value: "b.test"}})
	got, err := s.Client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &name, Key: host})
	if err != nil {
		t.Fatal(err)
	}
	if origin, ok := got.Item["origin"].(*types.AttributeValueMemberS); !ok || origin.Value != "b.test" {
		t.Errorf("%+v", got.Item)
	}
	out, err := s.Client.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &name})
	if err != nil {
		t.Fatal(err)
	}
	if k := out.Table.KeySchema; len(k) != 1 || *k[0].AttributeName != "host" || k[0].KeyType != types.KeyTypeHash ||
		out.Table.BillingModeSummary.BillingMode != types.BillingModePayPerRequest {
		t.Errorf("%+v", out.Table)
	}
	ttl, err := s.Client.DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: &name})
	if err != nil || *ttl.TimeToLiveDescription.AttributeName != "expires_at" || ttl.TimeToLiveDescription.TimeToLiveStatus != types.TimeToLiveStatusEnabled {
		t.Errorf("%+v, %v", ttl, err)
	}
}

func TestMissingPartsAreNamed(t *testing.T) {
	cache := t.TempDir()
	local := filepath.Join(cache, "dynamodb-local-"+version)
	for _, next := range []struct {
		missing string
		put     func() error
	}{
		{"java", func() error { return os.WriteFile(filepath.Join(cache, "java"), nil, 0o700) }},
		{"DynamoDBLocal.jar", func() error {
			return errors.Join(os.Mkdir(local, 0o700), os.WriteFile(filepath.Join(local, "DynamoDBLocal.jar"), nil, 0o600))
		}},
		{"DynamoDBLocal_lib", func() error { return os.Mkdir(filepath.Join(local, "DynamoDBLocal_lib"), 0o700) }},
	} {
		_, _, err := find(cache)
		if err == nil || !strings.HasSuffix(err.Error(), next.missing+` is missing: run "make testdeps"`) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want that %s is missing", err, next.missing)
		}
		if err := next.put(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := find(cache); err != nil {
		t.Error(err)
	}
}

// The JVM then neither ends nor listens, and the owner of the port answers in its place.
func TestPortThatAnotherServerTook(t *testing.T) {
	asked := make(chan struct{}, 1)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		select {
		case asked <- struct{}{}:
		default:
		}
	}))
	defer other.Close()
	java, jar, err := find(testdeps.Dir())
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	p, err := startOn(java, jar, other.Listener.Addr().(*net.TCPAddr).Port)
	if !errors.Is(err, errPortTaken) {
		t.Errorf("%+v, %v", p, err)
	}
	<-asked
	checkEmpty(t, folder)
}

func TestStartIsTheSameServer(t *testing.T) {
	if first, second := Start(t), Start(t); first != second {
		t.Errorf("%+v and %+v", first, second)
	}
}

func checkEmpty(t *testing.T, folder string) {
	t.Helper()
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestJVMThatEndsAtOnce(t *testing.T) {
	java, _, err := find(testdeps.Dir())
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	_, err = start(java, "no-such.jar")
	if err == nil || !strings.Contains(err.Error(), "JVM ended") || !strings.Contains(err.Error(), "no-such.jar") {
		t.Error(err)
	}
	checkEmpty(t, folder)
}

func TestServerDoesNotOutliveATestThatIsKilled(t *testing.T) {
	if os.Getenv("DYNAMODBTEST_HOLD") != "" {
		fmt.Println(strings.TrimPrefix(Start(t).Endpoint, "http://"))
		<-t.Context().Done() // never ends: the parent kills this process first
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestServerDoesNotOutliveATestThatIsKilled$")
	cmd.Env = append(os.Environ(), "DYNAMODBTEST_HOLD=1", "TMPDIR="+t.TempDir())
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	lines.Scan()
	server, err := net.Dial("tcp", lines.Text())
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil {
		t.Fatalf("%q: %v", lines.Text(), err)
	}
	defer server.Close()
	if _, err := io.ReadAll(server); err != nil {
		t.Logf("the server's connection: %v", err) // a reset is an end too
	}
}

func TestDefinitionIsRead(t *testing.T) {
	in, ttl, err := tableDefinition([]byte(`
Resources:
  RoutesTable:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: !If [Named, !Ref Name, !Ref "AWS::NoValue"]
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: a, AttributeType: S}, {AttributeName: b, AttributeType: N}]
      KeySchema: [{AttributeName: a, KeyType: HASH}, {AttributeName: b, KeyType: RANGE}]
      TimeToLiveSpecification: {AttributeName: c, Enabled: true}
  Other:
    Type: AWS::SQS::Queue
    Properties: {QueueName: !Sub "${X}-y"}
`), "RoutesTable")
	if err != nil {
		t.Fatal(err)
	}
	if ttl != "c" || in.BillingMode != types.BillingModePayPerRequest || len(in.AttributeDefinitions) != 2 || len(in.KeySchema) != 2 ||
		*in.AttributeDefinitions[1].AttributeName != "b" || in.AttributeDefinitions[1].AttributeType != types.ScalarAttributeTypeN ||
		*in.KeySchema[1].AttributeName != "b" || in.KeySchema[1].KeyType != types.KeyTypeRange {
		t.Errorf("%q, %+v", ttl, in)
	}
}

func TestDefinitionThatTestsCannotUseIsAnError(t *testing.T) {
	table := func(properties ...string) string {
		return "Resources: {RoutesTable: {Type: 'AWS::DynamoDB::Table', Properties: {" + strings.Join(properties, ", ") + "}}}"
	}
	const (
		billing    = "BillingMode: PAY_PER_REQUEST"
		attributes = "AttributeDefinitions: [{AttributeName: host, AttributeType: S}]"
		key        = "KeySchema: [{AttributeName: host, KeyType: HASH}]"
		ttl        = "TimeToLiveSpecification: {AttributeName: expires_at, Enabled: true}"
	)
	if _, _, err := tableDefinition([]byte(table(billing, attributes, key, ttl)), "RoutesTable"); err != nil {
		t.Fatal(err)
	}
	for template, says := range map[string]string{
		"]":             "template",
		"Resources: {}": "no table",
		"Resources: {RoutesTable: {Type: 'AWS::SQS::Queue'}}":                       "no table",
		table(attributes, key, ttl):                                                 "lacks BillingMode",
		table(billing, key, ttl):                                                    "lacks AttributeDefinitions",
		table(billing, attributes, ttl):                                             "lacks KeySchema",
		table(billing, attributes, key):                                             "lacks TimeToLiveSpecification",
		table("BillingMode: !Ref Mode", attributes, key, ttl):                       "BillingMode has !Ref",
		table(billing, attributes, "KeySchema: !If [A, B, C]", ttl):                 "KeySchema has !If",
		table(billing, "AttributeDefinitions: [{AttributeName: !Ref N}]", key, ttl): "AttributeDefinitions has !Ref",
		table(billing, attributes, "KeySchema: host", ttl):                          "KeySchema",
		table(billing, attributes, key, "TimeToLiveSpecification: {}"):              "no time to live",
		table(billing, attributes, key, ttl, "GlobalSecondaryIndexes: [{A: b}]"):    "has GlobalSecondaryIndexes",
	} {
		if _, _, err := tableDefinition([]byte(template), "RoutesTable"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", template, err, says)
		}
	}
}
