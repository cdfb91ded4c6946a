// Package dynamodbtest runs DynamoDB Local for tests, with the routes table as the template deploys it.
package dynamodbtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/internal/testdeps"
)

const (
	version  = "2.9.30"         // as scripts/testdeps installs it
	maxWait  = 60 * time.Second // for a JVM to start on a busy machine
	attempts = 5                // to start on a port that no other process takes first
)

// Server is a running DynamoDB Local. It is safe for concurrent use. All clients with the credentials "test" see the same
// tables, in any region.
type Server struct {
	// Endpoint is the server's URL.
	Endpoint string

	// Client is a client of the server.
	Client *dynamodb.Client

	tables atomic.Int64
}

// Start runs DynamoDB Local, in memory and on its own port, until the test or its process ends, even if the process is killed. A
// JVM takes a second or more to start, so the tests of a package are subtests that share a server. If a file is missing,
// the test fails with a line that says what to do.
func Start(t testing.TB) *Server {
	t.Helper()
	java, jar, err := find(testdeps.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for range attempts {
		var endpoint string
		if endpoint, err = start(t, java, jar); err == nil {
			return &Server{Endpoint: endpoint, Client: NewClient(endpoint)}
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	t.Fatal(err)
	return nil
}

// NewClient returns a client that keeps no idle connection.
func NewClient(endpoint string) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		BaseEndpoint: &endpoint, Region: "us-east-1", HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	})
}

// find returns the paths of Java and of the jar, or an error that names the missing file.
func find(cache string) (java, jar string, err error) {
	java = filepath.Join(cache, "java")
	jar = filepath.Join(cache, "dynamodb-local-"+version, "DynamoDBLocal.jar")
	for _, path := range []string{java, jar, libraries(jar)} {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return "", "", fmt.Errorf("dynamodbtest: %s is missing: run \"make testdeps\"", path)
		} else if err != nil {
			return "", "", fmt.Errorf("dynamodbtest: %w", err)
		}
	}
	return java, jar, nil
}

func libraries(jar string) string { return filepath.Join(filepath.Dir(jar), "DynamoDBLocal_lib") }

// guard runs the JVM, and kills it at the end of standard input. That is the end of the test, even if the test is killed. The
// guard ignores the signals that the terminal or the system sends to end the test.
const guard = `"$@" </dev/null & exec >/dev/null 2>&1; trap "" HUP INT QUIT TERM; read -r _; kill -9 $!; wait`

// errPortTaken says that another process took the port.
var errPortTaken = errors.New("dynamodbtest: the port was taken before DynamoDB Local could have it")

// start starts DynamoDB Local, and returns when it responds. DynamoDB Local ends with the test, or at once if start fails.
func start(t testing.TB, java, jar string) (endpoint string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close() // the jar takes the number of a port, and not a socket
	return startOn(t, java, jar, port)
}

func startOn(t testing.TB, java, jar string, port int) (endpoint string, err error) {
	// Responses have the allowed origin for browsers. A random one identifies this server, since another one
	// may be on that port.
	token := rand.Text()
	cmd := exec.Command("sh", "-c", guard, "sh", java,
		"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-XX:-UsePerfData", // a file that the killed JVM would leave
		"-Djava.library.path="+libraries(jar), "-jar", jar,
		"-inMemory", "-sharedDb", "-disableTelemetry", "-cors", token, "-port", strconv.Itoa(port))
	cmd.Dir = t.TempDir() // it leaves files there
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("dynamodbtest: %w", err)
	}
	out := collect(stdout)
	stop := sync.OnceFunc(func() {
		stdin.Close()
		<-out.ended
		cmd.Wait()
	})
	t.Cleanup(stop)
	endpoint = fmt.Sprintf("http://127.0.0.1:%d", port)
	if err := waitReady(endpoint, token, out); err != nil {
		stop()
		return "", fmt.Errorf("%w; DynamoDB Local printed:\n%s", err, out)
	}
	return endpoint, nil
}

// output is the output of the JVM. It is safe for concurrent use.
type output struct {
	mu    sync.Mutex
	b     bytes.Buffer
	ended chan struct{} // closed when the JVM has ended
}

func collect(r io.Reader) *output {
	o := &output{ended: make(chan struct{})}
	go func() {
		defer close(o.ended)
		io.Copy(o, r)
	}()
	return o
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(o.b.String())
}

// waitReady sends requests until the server with that token responds, or fails to start. If the port is taken, the JVM prints
// that and goes on without it.
func waitReady(endpoint, token string, out *output) error {
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if strings.Contains(out.String(), "Failed to bind") {
			return errPortTaken
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodOptions, endpoint, nil)
		if err != nil {
			return err
		}
		r.Header.Set("Origin", token)
		if resp, err := client.Do(r); err == nil {
			resp.Body.Close()
			if resp.Header.Get("Access-Control-Allow-Origin") == token {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-out.ended:
			return errors.New("dynamodbtest: the JVM ended")
		case <-ctx.Done():
			return fmt.Errorf("dynamodbtest: no answer from %s within %v", endpoint, maxWait)
		}
	}
}

// CreateRoutesTable creates a table with a new name, as the resource RoutesTable of template.yaml defines it.
func (s *Server) CreateRoutesTable(t testing.TB) string {
	t.Helper()
	gomod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("dynamodbtest: go env GOMOD: %v", err)
	}
	template, err := os.ReadFile(filepath.Join(filepath.Dir(strings.TrimSpace(string(gomod))), "template.yaml"))
	if err != nil {
		t.Fatalf("dynamodbtest: %v", err)
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
