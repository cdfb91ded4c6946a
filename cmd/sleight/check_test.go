package main_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/creack/pty"
	"go.yaml.in/yaml/v3"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

// checked is the result of a run of the command.
type checked struct {
	out, err string
	status   int
}

func (c checked) String() string { return fmt.Sprintf("status %d\n%s%s", c.status, c.out, c.err) }

func checkCommand(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "sleight")
	if err := os.Link(lambdatest.BuildPackage(t, "./cmd/sleight"), binary); err != nil { // a link, as in runKeeping
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TERM=xterm", "AWS_EC2_METADATA_DISABLED=true"}, env...)
	return cmd
}

// runCheck runs the command to its end, without a terminal.
func runCheck(t *testing.T, env []string, stdin string, args ...string) checked {
	t.Helper()
	if !needsProcess(env, args) {
		return checked(inProcess(t, env, stdin, args...))
	}
	cmd := checkCommand(t, env, args...)
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &stderr
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	return checked{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// target is an origin on loopback for one.test and *.x.test, a name server, and the flags for them.
type target struct {
	addr, caFile, pem, resolver string
	flags                       []string
}

func newTarget(t *testing.T, handler http.Handler) *target {
	t.Helper()
	ca, err := devca.New("a root")
	if err != nil {
		t.Fatal(err)
	}
	// The leaf itself is trusted, because a root of devca expires within a day.
	leaf, err := ca.Leaf([]string{"one.test", "*.x.test"}, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(90*24*time.Hour + time.Hour) })
	if err != nil {
		t.Fatal(err)
	}
	s := &target{pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]})), caFile: filepath.Join(t.TempDir(), "ca.pem")}
	if err := os.WriteFile(s.caFile, []byte(s.pem), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{"one.test": leaf, "a.x.test": leaf, "sleight-check.x.test": leaf, "two.test": leaf}, Handler: handler}
	o.Start(t)
	s.addr = o.Addr
	s.resolver, _ = tlstest.NameServer(t, tlstest.Names{"lb.test": {"127.0.0.1"}, "one.test": {"proxy.test"}, "a.x.test": {"192.0.2.2"}, "proxy.test": {"192.0.2.1"}})
	s.flags = []string{"--allow-cidr", "127.0.0.0/8", "--resolver", s.resolver}
	return s
}

func (s *target) port() string { return s.addr[strings.LastIndexByte(s.addr, ':'):] }

func (s *target) args(args ...string) []string { return append(args, s.flags...) }

var variable = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`(127\.0\.0\.1|lb\.test):\d+`), "$1:PORT"},
	{regexp.MustCompile(` *\b\d+\.\d ms *`), " N ms "},
	{regexp.MustCompile(`(?m) +(:|$)`), "$1"},
	{regexp.MustCompile(`CONNECT +TLS +ANSWER +`), "CONNECT TLS ANSWER "},
	{regexp.MustCompile(`ms +`), "ms "},
	{regexp.MustCompile(`ms - +`), "ms - "},
	{regexp.MustCompile(`[A-Za-z0-9+/]{43}=`), "PIN"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d`), "DATE"},
	{regexp.MustCompile(`file "[^"]*"`), `file "FILE"`},
}

// fixed replaces the values that differ in each run.
func fixed(s string) string {
	for _, v := range variable {
		s = v.pattern.ReplaceAllString(s, v.with)
	}
	return s
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if got := fixed(got); got != strings.TrimPrefix(want, "\n") {
		t.Errorf("got\n%s\nwant%s", got, want)
	}
}

func TestCheckOfARouteThatWorks(t *testing.T) {
	t.Parallel()
	s := newTarget(t, nil)
	c := runCheck(t, nil, "", s.args("check", "one.test", "--origin", "lb.test"+s.port(), "--ca-file", s.caFile, "--target", "proxy.test")...)
	if c.status != 0 || c.err != "" {
		t.Errorf("%v", c)
	}
	same(t, c.out, `
ok    one.test
      works at 1 address, certificate for 90 more days, HTTP 200

route     one.test of the command line
clients   proxy.test (192.0.2.1): the proxy, DNS N ms
named     one.test (SNI, verified), Host one.test

origin    lb.test:PORT, DNS N ms
    ADDRESS    CONNECT TLS ANSWER HTTP
ok  127.0.0.1 N ms N ms N ms 200 HTTP/1.1 TLS 1.3 AES_128_GCM_SHA256 ALPN http/1.1 (h2 on offer)

chain     verified
── one.test, 90 days left (DATE)
   ├─ names one.test, *.x.test
   ├─ key ECDSA P-256, signature ECDSA-SHA256
   ├─ pin PIN
   └─ signed by a root, which is not sent
`)
}

func TestCheckOffersTheProtocolsThatAreAskedFor(t *testing.T) {
	t.Parallel()
	s := newTarget(t, nil)
	for protocols, want := range map[string]string{
		"h2": " 200 HTTP/2 TLS 1.3 AES_128_GCM_SHA256 ALPN h2\n", "h2,http/1.1": " ALPN h2\n", "http/1.1": " ALPN http/1.1 (h2 on offer)\n",
		"http2": `protocols has "http2", which is not known`,
	} {
		c := runCheck(t, nil, "", s.args("check", "one.test", "--origin", s.addr, "--ca-file", s.caFile, "--protocols", protocols)...)
		if !strings.Contains(c.out, want) || (c.status == 0) != (protocols != "http2") {
			t.Errorf("%s: %v, want %q", protocols, c, want)
		}
	}
	if c := runCheck(t, nil, "", "check", "--all", "--routes", "routes.json", "--protocols", "h2"); c.status != 2 || !strings.Contains(c.err, "--protocols is given with --all") {
		t.Errorf("%v", c)
	}
}

func TestCheckOfARouteThatFails(t *testing.T) {
	t.Parallel()
	s := newTarget(t, nil)
	c := runCheck(t, nil, "", s.args("check", "two.test", "--origin", s.addr, "--origin", "nowhere.test", "--ca-file", s.caFile)...)
	if c.status != 1 || c.err != "sleight: two.test fails the check\n" {
		t.Errorf("%v", c)
	}
	same(t, c.out, `
FAIL  two.test
FAIL  127.0.0.1:PORT: the origin presents a certificate for one.test, *.x.test, not for two.test
      -> set server_name to one.test, if that name belongs to the customer too; or have the customer install a certificate for two.test
warn  nowhere.test:443: nowhere.test: the name does not exist, or has no address
      -> correct the name in origin, or have the customer create an A or AAAA record for it
note  DNS has no address for clients of two.test: the name does not exist, or has no address
      -> when the route shall go live, have the customer point two.test to the proxy with a CNAME record (or an alias record, at the apex of a zone)

route     two.test of the command line
clients   the name does not exist, or has no address, DNS N ms
named     two.test (SNI, verified), Host two.test

origin    127.0.0.1:PORT
      ADDRESS    CONNECT TLS ANSWER HTTP
FAIL  127.0.0.1 N ms N ms - tls_certificate_error

origin    nowhere.test:443, DNS N ms: the name does not exist, or has no address

chain     NOT verified: certificate: wrong name: it is for "one.test", "*.x.test"
── one.test, 90 days left (DATE)
   ├─ names one.test, *.x.test
   ├─ key ECDSA P-256, signature ECDSA-SHA256
   ├─ pin PIN
   └─ signed by a root, which is not sent
`)
}

func routeTo(s *target, host string, more ...any) map[string]any {
	m := map[string]any{"host": host, "origin": s.addr, "ca_pem": s.pem}
	for i := 0; i+1 < len(more); i += 2 {
		m[more[i].(string)] = more[i+1]
	}
	return m
}

func TestCheckOfAllRoutes(t *testing.T) {
	t.Parallel()
	s := newTarget(t, nil)
	closed := tlstest.Refusing(t)
	routes := routesFile(t,
		routeTo(s, "one.test"), routeTo(s, "*.x.test"), routeTo(s, "two.test"), routeTo(s, "off.test", "enabled", false), routeTo(s, "old.test", "expires_at", 1),
		routeTo(s, "bad.test", "orgin", "x"), routeTo(s, "a.x.test", "origin", []string{closed, s.addr}), routeTo(s, "twice.test"), routeTo(s, "twice.test"))
	c := runCheck(t, nil, "", s.args("check", "--all", "--routes", routes)...)
	if c.status != 1 || c.err != "sleight: 4 of 9 routes fail the check\n" {
		t.Errorf("%v", c)
	}
	same(t, c.out, `
      ROUTE       DAYS  VERDICT
FAIL  bad.test    -     the route is not valid: orgin is not known; correct its spelling or remove it (comments go into "note")
FAIL  twice.test  -     the route is not valid: host occurs more than once
FAIL  twice.test  -     the route is not valid: host occurs more than once
FAIL  two.test    -     the origin presents a certificate for one.test, *.x.test, not for two.test (at 127.0.0.1:PORT)
warn  a.x.test    90    connection refused: nothing listens on port `+closed[strings.LastIndexByte(closed, ':')+1:]+` (at 127.0.0.1:PORT)
ok    *.x.test    90    works at 1 address, certificate for 90 more days, HTTP 200
ok    one.test    90    works at 1 address, certificate for 90 more days, HTTP 200
FAIL  off.test    -     (disabled) the origin ends the handshake (alert: tls: internal error) (at 127.0.0.1:PORT)
FAIL  old.test    -     (expired) the origin ends the handshake (alert: tls: internal error) (at 127.0.0.1:PORT)

9 routes: 4 FAIL, 1 warn, 2 ok; 2 disabled or expired, which do not count (2 of them fail); in file "FILE"
`)

	// For scripts.
	c = runCheck(t, nil, "", s.args("check", "--all", "--routes", routes, "-o", "json")...)
	var report struct {
		Summary map[string]int
		Routes  []struct {
			Host, Status, State, Verdict string
			Days                         *int `json:"days_left"`
		}
	}
	if err := json.Unmarshal([]byte(c.out), &report); err != nil || c.status != 1 || len(report.Routes) != 9 || report.Summary["fail"] != 4 || report.Summary["inactive_fail"] != 2 {
		t.Errorf("%v: %v", err, c)
	}
	if r := report.Routes[6]; r.Host != "one.test" || r.Status != "ok" || r.State != "usable" || *r.Days != 90 {
		t.Errorf("%+v", r)
	}
	c = runCheck(t, nil, "", s.args("check", "--all", "--routes", routes, "-o", "yaml")...)
	var fromYAML map[string]any
	if err := yaml.Unmarshal([]byte(c.out), &fromYAML); err != nil || len(fromYAML["routes"].([]any)) != 9 {
		t.Errorf("%v: %v", err, c)
	}

	// A route that is not in force fails the run only with a flag.
	inactive := routesFile(t, routeTo(s, "one.test"), routeTo(s, "off.test", "enabled", false))
	for _, v := range []struct {
		args   []string
		status int
	}{
		{[]string{"--all"}, 0}, {[]string{"--all", "--fail-inactive"}, 1}, {[]string{"off.test"}, 0}, {[]string{"off.test", "--fail-inactive"}, 1},
	} {
		c := runCheck(t, nil, "", s.args(append([]string{"check", "--routes", inactive}, v.args...)...)...)
		if v.status == 1 && v.args[0] == "--all" && c.err != "sleight: 1 of 2 routes fail the check\n" {
			t.Errorf("%v", c)
		}
		if c.status != v.status || !strings.Contains(c.out, "FAIL") {
			t.Errorf("%q: %v", v.args, c)
		}
	}
	if c := runCheck(t, nil, "", s.args("check", "--routes", inactive, "--all", "-v")...); !strings.Contains(c.out, "the route is disabled: a failure does not count") || !strings.Contains(c.out, "── one.test") {
		t.Errorf("%v", c)
	}
}

func TestCheckFindsTheRouteThatTheProxyWouldTake(t *testing.T) {
	t.Parallel()
	s := newTarget(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Host)
		if r.Host != "a.x.test" && r.Host != "sleight-check.x.test" && r.Host != "one.test" {
			w.WriteHeader(418)
		}
	}))
	routes := routesFile(t, routeTo(s, "*.x.test"), routeTo(s, "old.x.test", "expires_at", 1), routeTo(s, "one.test"))
	one, err := json.Marshal(routeTo(s, "one.test"))
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(routeTo(s, "one.test"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "route.yaml")
	if err := os.WriteFile(file, asYAML, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		args   []string
		stdin  string
		status int
		says   string // a part of the JSON or of standard error
	}{
		{[]string{"a.x.test", "--routes", routes}, "", 0, `"route": "*.x.test"`},
		{[]string{"*.x.test", "--routes", routes}, "", 0, `"host": "sleight-check.x.test"`},
		{[]string{"*.x.test", "--as", "a.x.test", "--routes", routes}, "", 0, `"host": "a.x.test"`},
		{[]string{"a.x.test", "--as", "b.x.test", "--routes", routes}, "", 2, `does not cover "b.x.test"`},
		{[]string{"ONE.test.", "--routes", routes, "--method", "HEAD", "--path", "/a?b=c"}, "", 0, `"method": "HEAD"`},
		{[]string{"other.test", "--routes", routes}, "", 1, "has no route for other.test"},
		{[]string{"one.test", "--routes", routes, "--server-name", "two.test"}, "", 1, `"server_name": "two.test"`},
		{[]string{"--from-file", file}, "", 0, `"route": "one.test"`},
		{[]string{"--from-file", "-"}, string(one), 0, `"route": "one.test"`},
		{[]string{"--from-file", "-", "--all"}, `{"routes":[` + string(one) + `]}`, 0, `"routes": 1`},
		{[]string{"two.test", "--from-file", file}, "", 1, "has no route for two.test"},
		{[]string{"--from-file", "-"}, `{"routes":[]}`, 2, "has 0 routes"},
		{[]string{"--from-file", "-"}, `nonsense`, 1, "sleight: standard input: has to be an object"},
		{[]string{"one.test", "--routes", routes, "--pin", strings.Repeat("A", 43) + "="}, "", 1, `"pin_mismatch"`},
		{[]string{"one.test", "--routes", routes, "--host-header", "two.test"}, "", 0, `"host_header": "two.test"`},
		{[]string{"one.test", "--routes", routes, "--client-cert", "nobody"}, "", 1, "nobody"},
		{[]string{"one.test", "--routes", routes, "--ca-file", "-"}, s.pem, 0, `"route": "one.test"`},
		{[]string{"one.test", "--routes", "/no/such/file"}, "", 1, "/no/such/file"},
		{[]string{"one.test", "--origin", "ftp://x"}, "", 1, `the scheme \"ftp\"`},
		{[]string{"one.test", "--from-file", "-"}, `{"routes":[` + string(one) + "," + string(one) + `]}`, 1, "occurs more than once"},
	} {
		t.Run(strings.Join(v.args, " "), func(t *testing.T) {
			t.Parallel()
			c := runCheck(t, nil, v.stdin, s.args(append([]string{"check", "-o", "json"}, v.args...)...)...)
			if c.status != v.status || !strings.Contains(c.out+c.err, v.says) {
				t.Errorf("want %d and %q: %v", v.status, v.says, c)
			}
		})
	}
}

func TestWrongCallsOfCheckSayWhatToDo(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		args []string
		says string
	}{
		{[]string{"check"}, "give a HOST, or --all"},
		{[]string{"check", "a.test", "--all"}, "HOST and --all"},
		{[]string{"check", "a.test"}, "--table NAME or --routes FILE"},
		{[]string{"check", "a.test", "b.test"}, "check --help"},
		{[]string{"check", "127.0.0.1", "--origin", "a"}, "IP address"},
		{[]string{"check", "--all", "--origin", "x"}, "--origin is given with --all"},
		{[]string{"check", "--all", "--from-file", "x", "--table", "y"}, "--from-file and --table"},
		{[]string{"check", "a.test", "--origin", "x", "--table", "y"}, "--origin makes a route"},
		{[]string{"check", "a.test", "--from-file", "-", "--ca-file", "-"}, "both name standard input"},
		{[]string{"check", "a.test", "--origin", "x", "--path", "a"}, `--path is "a"`},
		{[]string{"check", "a.test", "--origin", "x", "--method", "POST"}, "GET, HEAD and OPTIONS"},
		{[]string{"check", "a.test", "--origin", "x", "--parallel", "0"}, "--parallel"},
		{[]string{"check", "a.test", "--origin", "x", "--timeout", "0s"}, "--timeout"},
		{[]string{"check", "a.test", "--origin", "x", "--warn-days", "-1"}, "--warn-days"},
		{[]string{"check", "a.test", "--origin", "x", "--target", "a b"}, "--target"},
		{[]string{"check", "a.test", "--origin", "x", "--allow-cidr", "y"}, `--allow-cidr is "y"`},
		{[]string{"check", "a.test", "--origin", "x", "-o", "xml"}, "table, json, yaml"},
		{[]string{"explain"}, "explain --help"},
		{[]string{"explain", "a.test"}, "--table NAME or --routes FILE"},
	} {
		t.Run(strings.Join(v.args, " "), func(t *testing.T) {
			t.Parallel()
			if c := runCheck(t, nil, "", v.args...); c.status != 2 || c.out != "" || !strings.Contains(c.err, v.says) || strings.Count(c.err, "\n") != 1 {
				t.Errorf("want %q: %v", v.says, c)
			}
		})
	}
}

func TestCheckAndExplainReadTheTable(t *testing.T) {
	t.Parallel()
	db := dynamodbtest.Start(t)
	table := db.CreateRoutesTable(t)
	s := newTarget(t, nil)
	text := func(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
	db.Put(t, table, map[string]types.AttributeValue{"host": text("one.test"), "origin": text(s.addr), "ca_pem": text(s.pem)})
	for i := range 120 { // enough to see the count
		db.Put(t, table, map[string]types.AttributeValue{"host": text(fmt.Sprintf("h%d.x.test", i)), "origin": text(s.addr), "ca_pem": text(s.pem), "server_name": text("a.x.test")})
	}
	db.Put(t, table, map[string]types.AttributeValue{"host": text("off.test"), "origin": text(s.addr), "enabled": &types.AttributeValueMemberBOOL{}})
	db.Put(t, table, map[string]types.AttributeValue{"host": text("bin.test"), "origin": &types.AttributeValueMemberB{Value: []byte("x")}})
	env := []string{"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=us-east-1", "ROUTES_TABLE=" + table}
	where := []string{"--endpoint-url", db.Endpoint}
	if c := runCheck(t, env, "", s.args(append(where, "check", "one.test", "-o", "json")...)...); c.status != 0 || !strings.Contains(c.out, `"status": "ok"`) {
		t.Errorf("%v", c)
	}
	c := runCheck(t, env, "", s.args(append(where, "check", "--all", "-o", "json")...)...)
	var report struct{ Summary map[string]int }
	if err := json.Unmarshal([]byte(c.out), &report); err != nil || c.status != 1 || fmt.Sprint(report.Summary) != "map[fail:1 inactive:1 inactive_fail:1 ok:121 routes:123 warn:0]" {
		t.Errorf("%v %v: %v", report.Summary, err, c.err)
	}
	if c := runCheck(t, env, "", append(where, "explain", "one.test")...); c.status != 0 || !strings.Contains(c.out, "in force  yes: the host has a route of its own") {
		t.Errorf("%v", c)
	}
	if c := runCheck(t, env, "", append(where, "explain", "off.test", "-o", "json")...); c.status != 1 || !strings.Contains(c.out, `"state": "disabled"`) {
		t.Errorf("%v", c)
	}
	if c := runCheck(t, env, "", "check", "one.test", "--table", "no-such-table", "--endpoint-url", db.Endpoint); c.status != 1 || !strings.Contains(c.err, "no-such-table") || strings.Contains(c.err, "no route") {
		t.Errorf("%v", c)
	}
}

// onPTY runs the command on a terminal of 80 columns. It returns the output and the exit status.
func onPTY(t *testing.T, env []string, interrupt func(*exec.Cmd), args ...string) (string, int) {
	t.Helper()
	cmd := checkCommand(t, env, args...)
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if interrupt != nil {
		interrupt(cmd)
	}
	shown, _ := io.ReadAll(f) // the end of a closed terminal is an error
	cmd.Wait()
	return string(shown), cmd.ProcessState.ExitCode()
}

func TestCheckOnATerminal(t *testing.T) {
	t.Parallel()
	s := newTarget(t, nil)
	all := make([]map[string]any, 0, 300)
	for i := range 300 {
		r := routeTo(s, fmt.Sprintf("h%03d.x.test", i), "server_name", "a.x.test")
		if i%50 == 7 {
			r["server_name"] = "two.test"
		}
		all = append(all, r)
	}
	routes := routesFile(t, all...)
	shown, status := onPTY(t, nil, nil, s.args("check", "--all", "--routes", routes)...)
	if status != 1 || !strings.Contains(shown, "Checking") || !strings.Contains(shown, "\x1b[31mFAIL\x1b[0m  h007.x.test") || !strings.Contains(shown, "300 routes: 6 FAIL, 0 warn, 294 ok") {
		t.Errorf("status %d: %.1000q ... %q", status, shown, shown[max(0, len(shown)-500):])
	}
	if !regexp.MustCompile(`Checking \.+ done! \[300 in `).MatchString(shown) {
		t.Errorf("the bar did not come to its end: %.1000q", shown)
	}
	for line := range strings.SplitSeq(shown[strings.LastIndex(shown, "ROUTE"):], "\n") {
		plain := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(strings.TrimRight(line, "\r"), "")
		if len([]rune(plain)) > 80 {
			t.Errorf("%d columns: %q", len([]rune(plain)), plain)
		}
	}
	shown, status = onPTY(t, []string{"NO_COLOR=1"}, nil, s.args("check", "two.test", "--origin", s.addr, "--ca-file", s.caFile)...)
	if status != 1 || strings.Contains(shown, "\x1b[") || !strings.Contains(shown, "FAIL  two.test") {
		t.Errorf("status %d: %q", status, shown)
	}
}

func TestInterruptedCheckEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := newTarget(t, nil)
	arrived := make(chan struct{}, 100)
	hanging := tlstest.Listen(t, func(c net.Conn) {
		arrived <- struct{}{}
		io.Copy(io.Discard, c)
	})
	routes := routesFile(t, routeTo(s, "one.test", "origin", hanging), routeTo(s, "two.test", "origin", hanging))
	for _, args := range [][]string{{"one.test"}, {"--all"}} {
		shown, status := onPTY(t, nil, func(cmd *exec.Cmd) {
			<-arrived
			cmd.Process.Signal(os.Interrupt)
		}, s.args(append([]string{"check", "--routes", routes, "--timeout", "5m"}, args...)...)...)
		if status != 130 || !strings.Contains(shown, "sleight: interrupted") || strings.Contains(shown, "FAIL") {
			t.Errorf("%q: status %d: %q", args, status, shown)
		}
	}
}
