// Package dynamodbtest runs the real DynamoDB Local for tests, with the routes table as
// the template deploys it.
package dynamodbtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

const (
	version  = "2.9.30"         // as scripts/testdeps installs it
	patience = 60 * time.Second // for a JVM to start on a busy machine
	attempts = 5                // at finding a port that nobody takes in between
)

// Server is a running DynamoDB Local. It is safe for concurrent use.
type Server struct {
	// Endpoint is its URL.
	Endpoint string

	// Client talks to it.
	Client *dynamodb.Client

	tables atomic.Int64
}

// Start runs DynamoDB Local, in memory and on a port of its own, until the test ends.
// A JVM takes a second or more to start, so tests of one package share one by being
// subtests. Where something is missing, the test fails with a line that says what to do.
func Start(t testing.TB) *Server {
	t.Helper()
	java, jar, err := find(cacheDir())
	if err != nil {
		t.Fatal(err)
	}
	for range attempts {
		endpoint, err := start(t, java, jar)
		if err == nil {
			s := &Server{Endpoint: endpoint}
			s.Client = dynamodb.New(dynamodb.Options{
				BaseEndpoint: &endpoint, Region: "us-east-1", HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
				Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
					return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
				}),
			})
			return s
		}
		t.Logf("dynamodbtest: %v", err)
	}
	t.Fatal("dynamodbtest: DynamoDB Local does not start")
	return nil
}

// cacheDir is where scripts/testdeps puts what tests need.
func cacheDir() string {
	if dir := os.Getenv("SLEIGHT_TEST_CACHE"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "sleight")
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".cache", "sleight")
}

// find returns the paths of Java and of the jar, or says what is missing.
func find(cache string) (java, jar string, err error) {
	java = filepath.Join(cache, "java")
	jar = filepath.Join(cache, "dynamodb-local-"+version, "DynamoDBLocal.jar")
	for _, path := range []string{java, jar} {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return "", "", fmt.Errorf("dynamodbtest: %s is missing: run \"make testdeps\"", path)
		} else if err != nil {
			return "", "", err
		}
	}
	return java, jar, nil
}

// guard ends the JVM when its standard input ends: when the test does, however it does.
const guard = `exec 3<&0; "$@" & pid=$!; { read -r _ <&3; kill "$pid"; } >/dev/null 2>&1 & wait "$pid"`

func start(t testing.TB, java, jar string) (endpoint string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close() // the jar takes a number, not a socket

	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.Command("sh", "-c", guard, "sh", java,
		"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.library.path="+filepath.Join(filepath.Dir(jar), "DynamoDBLocal_lib"),
		"-jar", jar, "-inMemory", "-sharedDb", "-disableTelemetry", "-port", strconv.Itoa(port))
	cmd.Dir = t.TempDir() // it leaves files behind
	stdin, err := cmd.StdinPipe()
	if err != nil {
		cancel()
		return "", err
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return "", err
	}
	go func() { cmd.Wait(); cancel() }()
	t.Cleanup(func() { stdin.Close(); <-ctx.Done() })
	endpoint = fmt.Sprintf("http://127.0.0.1:%d", port)
	return endpoint, waitReady(ctx, endpoint)
}

// waitReady asks until somebody answers, or the process has ended.
func waitReady(ctx context.Context, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(r)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("DynamoDB Local at %s: %w", endpoint, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// CreateRoutesTable makes a table as the resource RoutesTable of template.yaml defines
// it, under a name of its own.
func (s *Server) CreateRoutesTable(t testing.TB) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	template, err := os.ReadFile(filepath.Join(filepath.Dir(file), "..", "..", "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	input, ttl, err := tableDefinition(template, "RoutesTable")
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("routes-%d", s.tables.Add(1))
	input.TableName = &name
	if _, err := s.Client.CreateTable(t.Context(), input); err != nil {
		t.Fatal(err)
	}
	_, err = s.Client.UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{
		TableName: &name, TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: &ttl, Enabled: aws.Bool(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// Put writes an item.
func (s *Server) Put(t testing.TB, table string, item map[string]types.AttributeValue) {
	t.Helper()
	if _, err := s.Client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item}); err != nil {
		t.Fatal(err)
	}
}
