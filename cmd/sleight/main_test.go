package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// process is the command, run as a user does.
type process struct {
	cmd   *exec.Cmd
	mu    sync.Mutex
	out   bytes.Buffer
	lines chan string
	done  chan error
}

func run(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return runKeeping(t, nil, env, args...)
}

// runKeeping is run, and keeps only lines of output that keep accepts. Nil keeps all.
func runKeeping(t *testing.T, keep func(line []byte) bool, env []string, args ...string) *process {
	t.Helper()
	return start(t, keep, env, exec.Command(linked(t), args...))
}

// linked returns another name for the command.
func linked(t *testing.T) string {
	t.Helper()
	// A link and not a copy: a process that another test starts meanwhile would have the copy open for writing, and it could not be
	// run.
	binary := filepath.Join(t.TempDir(), "sleight")
	if err := os.Link(lambdatest.BuildPackage(t, "./cmd/sleight"), binary); err != nil {
		t.Fatal(err)
	}
	return binary
}

// start runs a command as runKeeping does.
func start(t *testing.T, keep func(line []byte) bool, env []string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, lines: make(chan string, 1000), done: make(chan error, 1)}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir()}, env...)
	pipe, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(pipe); s.Scan(); {
			if keep != nil && !keep(s.Bytes()) {
				continue
			}
			p.mu.Lock()
			fmt.Fprintln(&p.out, s.Text())
			p.mu.Unlock()
			p.lines <- s.Text()
		}
		close(p.lines)
		p.done <- p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		for range p.lines {
		}
		if t.Failed() {
			t.Logf("output:\n%s", p.output())
		}
	})
	return p
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// waitFor waits for a line of output that matches, and returns the submatches.
func (p *process) waitFor(t *testing.T, pattern string) []string {
	t.Helper()
	re, late := regexp.MustCompile(pattern), time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("the output ended without %q", pattern)
			}
			if m := re.FindStringSubmatch(line); m != nil {
				return m
			}
		case <-late:
			t.Fatalf("no %q in the output", pattern)
		}
	}
}

// exit waits for the end, and returns the status.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	go func() {
		for range p.lines {
		}
	}()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatal("it does not end")
		return -1
	}
}

func get(t *testing.T, url, host string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestDemoShowsWhatItPromises(t *testing.T) {
	t.Parallel()
	p := run(t, nil, "demo", "--listen", "127.0.0.1:0")
	url := p.waitFor(t, `^Proxy +(http://\S+)$`)[1]
	routesFile := regexp.MustCompile(`(?m)^Routes +(\S+)$`).FindStringSubmatch(p.output())[1]
	p.waitFor(t, "Ctrl-C")
	for _, pattern := range []string{
		`asked for +one\.spec-trust\.test`, `dialled +localhost:\d+ \(127\.0\.0\.1:\d+\)`, `SNI sent +one\.spec-trust\.test`,
		`verified +certificate for one\.spec-trust\.test, issued by "sleight demo root"`, `protocol +HTTP/1\.1 over TLS 1\.3`, `status +200 OK`,
		`time +DNS [\d.]+ ms, connect [\d.]+ ms, TLS [\d.]+ ms, first byte [\d.]+ ms; [\d.]+ ms in all`,
	} {
		if !regexp.MustCompile(`(?m)^ +` + pattern + `$`).MatchString(p.output()) {
			t.Errorf("the trace lacks %q", pattern)
		}
	}
	for host, want := range map[string]int{"one.spec-trust.test": 200, "two.spec-trust.test": 200, "wrong.spec-trust.test": 502, "unknown.spec-trust.test": 404} {
		status, body := get(t, url, host)
		if status != want || status == 200 && !strings.Contains(body, "SNI: "+host+", Host: "+host) || status == 502 && !strings.Contains(body, "a certificate for somebody else") {
			t.Errorf("%s: %d %s", host, status, body)
		}
	}
	p.waitFor(t, `level=WARN.*host=wrong\.spec-trust\.test.*certificate_names=somebody-else\.test`)
	p.cmd.Process.Signal(os.Interrupt)
	if status := p.exit(t); status != 0 {
		t.Errorf("exit status %d after Ctrl-C", status)
	}
	if _, err := os.Stat(routesFile); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", routesFile, err)
	}
}

func TestDemoTakesAFreePortWhereItsOwnIsTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := run(t, nil, "demo", "--listen", l.Addr().String())
	other := p.waitFor(t, regexp.QuoteMeta(l.Addr().String())+` is taken .* listens on (\S+) instead`)[1]
	p.waitFor(t, "Ctrl-C")
	if status, _ := get(t, "http://"+other, "one.spec-trust.test"); status != 200 {
		t.Errorf("status %d", status)
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	if status := p.exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestServeTakesFlagsBeforeVariables(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	routes := routesFile(t, map[string]any{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}, map[string]any{"host": "b.test", "orgin": "x"})
	p := run(t, []string{"ROUTES_TABLE=overruled"}, "serve", "--routes", routes, "--listen", "127.0.0.1:0", "--allow-cidr", "127.0.0.0/8,::1/128", "--allow-cidr", "10.0.0.0/8")
	p.waitFor(t, `route cannot be used.*b\.test`)
	url := p.waitFor(t, `url=(http://\S+)`)[1]
	if status, body := get(t, url, "a.test"); status != 200 || strings.TrimSpace(body) != "a.test" {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := get(t, url, "c.test"); status != 404 {
		t.Errorf("unmapped: %d", status)
	}
}

// People have profiles on their machines. The function itself cannot read them.
func TestServeReadsTheTable(t *testing.T) {
	t.Parallel()
	db := dynamodbtest.Start(t)
	table := db.CreateRoutesTable(t)
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	db.Put(t, table, map[string]types.AttributeValue{
		"host": &types.AttributeValueMemberS{Value: "a.test"}, "origin": &types.AttributeValueMemberS{Value: o.Addr}, "ca_pem": &types.AttributeValueMemberS{Value: ca.PEM()},
	})
	dir := t.TempDir()
	config, credentials := filepath.Join(dir, "config"), filepath.Join(dir, "credentials")
	for name, content := range map[string]string{
		config:      "[profile staging]\nregion = us-east-1\n",
		credentials: "[staging]\naws_access_key_id = test\naws_secret_access_key = test\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := []string{"AWS_CONFIG_FILE=" + config, "AWS_SHARED_CREDENTIALS_FILE=" + credentials, "ORIGIN_ALLOW_CIDRS=127.0.0.0/8", "AWS_EC2_METADATA_DISABLED=true"}
	keys := []string{"ORIGIN_ALLOW_CIDRS=127.0.0.0/8", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=nowhere", "AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:1"}
	for name, c := range map[string]struct{ env, flags []string }{
		"variables":    {append(files, "AWS_PROFILE=staging", "AWS_ENDPOINT_URL_DYNAMODB="+db.Endpoint), nil},
		"flags":        {append(files, "AWS_PROFILE=other", "AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:1"), []string{"--profile", "staging", "--endpoint-url", db.Endpoint}},
		"the function": {keys, []string{"--front", "rest", "--bootstrap", lambdatest.Build(t), "--region", "us-east-1", "--endpoint-url", db.Endpoint}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := run(t, c.env, append([]string{"serve", "--table", table, "--listen", "127.0.0.1:0"}, c.flags...)...)
			url := p.waitFor(t, `url=(http://\S+)`)[1]
			p.cmd.Process.Signal(syscall.SIGHUP)
			p.waitFor(t, "nothing (to|is) read again")
			if status, body := get(t, url, "a.test"); status != 200 || strings.TrimSpace(body) != "a.test" {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}

func TestServeConnectsToWarmHostsBeforeItListens(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	name := routesFile(t, map[string]any{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()})
	p := run(t, nil, "serve", "--routes", name, "--allow-cidr", "127.0.0.0/8", "--listen", "127.0.0.1:0", "--warm-host", "a.test")
	p.waitFor(t, `url=(http://\S+)`)
	if got := o.Handshakes(); len(got) != 1 || got[0] != "a.test" {
		t.Errorf("handshakes %q", got)
	}
}

// The SDK warns about each response without a checksum, such as the refusal of a proxy in between.
func TestServeSaysOnceThatTheTableCannotBeRead(t *testing.T) {
	t.Parallel()
	relay := dynamodbtest.NewRelay(t, "http://127.0.0.1:1")
	relay.Set(dynamodbtest.Denied)
	p := run(t, []string{
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=us-east-1", "AWS_ENDPOINT_URL_DYNAMODB=" + relay.Endpoint,
	}, "serve", "--table", "routes", "--listen", "127.0.0.1:0")
	url := p.waitFor(t, `url=(http://\S+)`)[1]
	for _, host := range []string{"a.test", "b.test", "c.test"} {
		if status, body := get(t, url, host); status != 503 {
			t.Errorf("%s: %d %s", host, status, body)
		}
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.exit(t)
	if n := strings.Count(p.output(), "the routes cannot be read"); n != 1 {
		t.Errorf("said %d times", n)
	}
	for line := range strings.Lines(p.output()) {
		if !strings.HasPrefix(line, "time=") {
			t.Errorf("a line for each request: %s", line)
		}
	}
}

func TestWrongCallsSayWhatToDo(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	routes := routesFile(t)
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"serve"}, 2, "--routes FILE or --table NAME"},
		{[]string{"serve", "--routes", "a", "--table", "b"}, 2, "both given"},
		{[]string{"serve", "--nonsense"}, 2, "sleight serve --help"},
		{[]string{"serve", "extra"}, 2, "sleight serve --help"},
		{[]string{"serv"}, 2, "sleight --help"},
		{[]string{"completion", "bsh"}, 2, `unknown command "bsh"`},
		{[]string{"serve", "--routes", routes, "--allow-cidr", "localhost"}, 2, `--allow-cidr is "localhost"`},
		{[]string{"serve", "--routes", routes, "--routes-ttl", "soon"}, 2, `--routes-ttl is "soon"`},
		{[]string{"serve", "--routes", "/no/such/file"}, 1, "/no/such/file"},
		{[]string{"serve", "--routes", routes, "--listen", l.Addr().String()}, 1, "--listen"},
		{[]string{"serve", "--routes", routes, "--listen", "127.0.0.1:0", "--admin", l.Addr().String()}, 1, "--admin"},
		{[]string{"serve", "--routes", routes, "--shutdown-delay", "soon"}, 2, "--shutdown-delay"},
		{[]string{"serve", "--routes", routes, "--shutdown-delay", "-1s"}, 2, "negative"},
		{[]string{"serve", "--routes", routes, "--max-connections", "-1"}, 2, "negative"},
		{[]string{"serve", "--table", "t"}, 1, "AWS_REGION"},
		{[]string{"demo", "--listen", "nowhere"}, 1, "nowhere"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			p := run(t, []string{"AWS_EC2_METADATA_DISABLED=true"}, c.args...)
			status, out := p.exit(t), p.output()
			if status != c.status || !strings.Contains(out, c.says) || !strings.HasPrefix(out, "sleight: ") || strings.Count(out, "\n") != 1 {
				t.Errorf("status %d, want %d; output %q", status, c.status, out)
			}
		})
	}
	for _, args := range [][]string{{}, {"--help"}, {"serve", "--help"}, {"--version"}, {"completion", "bash"}} {
		p := run(t, nil, args...)
		if status := p.exit(t); status != 0 || p.output() == "" {
			t.Errorf("%q: status %d, output %q", args, status, p.output())
		}
	}
}

func routesFile(t *testing.T, routes ...map[string]any) string {
	t.Helper()
	if routes == nil {
		routes = []map[string]any{}
	}
	b, err := json.Marshal(map[string]any{"routes": routes})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
