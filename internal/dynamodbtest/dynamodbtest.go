// Package dynamodbtest runs DynamoDB Local for tests, with the routes table as the template deploys it.
package dynamodbtest

import (
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
}

// shared is the server of this process. A JVM takes a second or more of a processor to start, so all tests use the same one.
var shared struct {
	mu      sync.Mutex
	server  *Server
	process *process // is kept, since the JVM ends if its standard input is closed
}

// Start returns a server that all tests of the process share. The first call runs DynamoDB Local, in memory and on its own port,
// until the process ends, even if the process is killed. So a test creates its own table. If a file is missing, the test fails
// with a line that says what to do. Start is safe for concurrent use.
func Start(t testing.TB) *Server {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server != nil {
		return shared.server
	}
	java, jar, err := find(testdeps.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for range attempts {
		var p *process
		if p, err = start(java, jar); err == nil {
			shared.server, shared.process = &Server{Endpoint: p.endpoint, Client: NewClient(p.endpoint)}, p
			return shared.server
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

// guard runs the JVM in a folder. At the end of standard input it kills the JVM and removes the folder. That is the end of the
// tests, even if their process is killed. The guard ignores the signals that the terminal or the system sends to end the tests.
// It closes file 3, so that only the JVM holds it.
const guard = `cd "$1" || exit; dir=$1; shift; "$@" </dev/null & exec >/dev/null 2>&1 3>&-
trap "" HUP INT QUIT TERM; read -r _; kill -9 $!; wait; cd /; rm -rf "$dir"`

// errPortTaken says that another process took the port.
var errPortTaken = errors.New("dynamodbtest: the port was taken before DynamoDB Local could have it")

// process is a running DynamoDB Local. It has no goroutine.
type process struct {
	endpoint string
	dir      string // the JVM leaves files there
	cmd      *exec.Cmd
	stdin    io.Closer
}

// output is the name of the file in dir with the output of the JVM.
const output = "output"

// start starts DynamoDB Local, and returns when it responds.
func start(java, jar string) (*process, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close() // the jar takes the number of a port, and not a socket
	return startOn(java, jar, port)
}

func startOn(java, jar string, port int) (_ *process, err error) {
	dir, err := os.MkdirTemp("", "dynamodbtest-")
	if err != nil {
		return nil, fmt.Errorf("dynamodbtest: %w", err)
	}
	started := false
	defer func() {
		if !started {
			os.RemoveAll(dir)
		}
	}()
	out, err := os.Create(filepath.Join(dir, output))
	if err != nil {
		return nil, fmt.Errorf("dynamodbtest: %w", err)
	}
	defer out.Close()
	alive, held, err := os.Pipe() // alive is at its end when the JVM has ended
	if err != nil {
		return nil, fmt.Errorf("dynamodbtest: %w", err)
	}
	defer alive.Close()
	defer held.Close()
	// Responses have the allowed origin for browsers. A random one identifies this server, since another one
	// may be on that port.
	token := rand.Text()
	cmd := exec.Command("sh", "-c", guard, "sh", dir, java,
		"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-XX:-UsePerfData", // a file that the killed JVM would leave
		"-Djava.library.path="+libraries(jar), "-jar", jar,
		"-inMemory", "-sharedDb", "-disableTelemetry", "-cors", token, "-port", strconv.Itoa(port))
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, out, []*os.File{held}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("dynamodbtest: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("dynamodbtest: %w", err)
	}
	started = true // from now on the guard removes the folder
	held.Close()
	p := &process{endpoint: fmt.Sprintf("http://127.0.0.1:%d", port), dir: dir, cmd: cmd, stdin: stdin}
	if err := p.waitReady(token, alive); err != nil {
		printed := p.printed()
		p.stop()
		return nil, fmt.Errorf("%w; DynamoDB Local printed:\n%s", err, printed)
	}
	return p, nil
}

// stop ends the JVM, and returns when its folder is removed.
func (p *process) stop() {
	p.stdin.Close()
	p.cmd.Wait()
}

// printed returns the output of the JVM.
func (p *process) printed() string {
	b, err := os.ReadFile(filepath.Join(p.dir, output))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

// waitReady sends requests until the server with that token responds, or fails to start. If the port is taken, the JVM prints
// that and goes on without it.
func (p *process) waitReady(token string, alive *os.File) error {
	ended, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		if _, err := alive.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			close(ended)
		}
	}()
	defer func() {
		alive.Close()
		<-watched
	}()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if strings.Contains(p.printed(), "Failed to bind") {
			return errPortTaken
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodOptions, p.endpoint, nil)
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
		case <-ended:
			return errors.New("dynamodbtest: the JVM ended")
		case <-ctx.Done():
			return fmt.Errorf("dynamodbtest: no answer from %s within %v", p.endpoint, maxWait)
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
	name := "routes-" + strings.ToLower(rand.Text())
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
