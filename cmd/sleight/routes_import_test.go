package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/creack/pty"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

// tableTool runs the command on a table of DynamoDB Local, with and without a terminal.
type tableTool struct {
	db  *dynamodbtest.Server
	dir string
}

func (o *tableTool) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), lambdatest.BuildPackage(t, "./cmd/sleight"), append([]string{"routes"}, args...)...)
	c.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + o.dir, "TMPDIR=" + o.dir, "USER=tester", "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test",
		"AWS_SECRET_ACCESS_KEY=test", "AWS_ENDPOINT_URL_DYNAMODB=" + o.db.Endpoint, "AWS_EC2_METADATA_DISABLED=true",
	}
	return c
}

// run returns the status and both outputs.
func (o *tableTool) run(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	c := o.command(t, args...)
	var out, err bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &err
	failed := c.Run()
	var exit *exec.ExitError
	if failed != nil && !errors.As(failed, &exit) {
		t.Fatal(failed)
	}
	return c.ProcessState.ExitCode(), out.String(), err.String()
}

// onTerminal runs a command whose input and standard error are a terminal. see is called with the output so far, after each piece.
func (o *tableTool) onTerminal(t *testing.T, see func(c *exec.Cmd, keys io.Writer, shown string), args ...string) (status int, stdout, shown string) {
	t.Helper()
	keys, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	if err := pty.Setsize(keys, &pty.Winsize{Rows: 30, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	c := o.command(t, args...)
	c.Env = append(c.Env, "TERM=xterm")
	var out, screen bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = tty, &out, tty
	controlledByTerminal(c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	var reading sync.WaitGroup
	reading.Go(func() {
		buffer := make([]byte, 4096)
		for {
			n, err := keys.Read(buffer)
			screen.Write(buffer[:n])
			if n > 0 && see != nil {
				see(c, keys, screen.String())
			}
			if err != nil {
				return // EIO: no process has the terminal any more
			}
		}
	})
	c.Wait()
	reading.Wait()
	return c.ProcessState.ExitCode(), out.String(), screen.String()
}

func (o *tableTool) count(t *testing.T, table string) (n int) {
	t.Helper()
	pages := sdk.NewScanPaginator(o.db.Client, &sdk.ScanInput{TableName: &table, Select: types.SelectCount, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n += int(page.Count)
	}
	return n
}

func (o *tableTool) items(t *testing.T, table string) map[string]origin.Item {
	t.Helper()
	all := map[string]origin.Item{}
	pages := sdk.NewScanPaginator(o.db.Client, &sdk.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			i := dynamodb.Item(item)
			all[i.Host()] = i
		}
	}
	return all
}

func writeFile(t *testing.T, name, document string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// routesDocument returns a routes document.
func routesDocument(t *testing.T, items ...origin.Item) string {
	t.Helper()
	var b bytes.Buffer
	err := routetable.FormatItems(&b, func(yield func(origin.Item, error) bool) {
		for _, i := range items {
			if !yield(i, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func storedItem(host string, version int, note string) origin.Item {
	i := origin.Item{"host": host, "origin": []any{"lb.example.net", "lb2.example.net:8443"}, "note": note}
	if version > 0 {
		i["version"] = json.Number(strconv.Itoa(version))
		i["updated_by"], i["updated_at"] = "alice", "2026-01-02T03:04:05Z"
	}
	return i
}

func TestRoutesImportAndExport(t *testing.T) {
	t.Parallel()
	o := &tableTool{dynamodbtest.Start(t), t.TempDir()}

	t.Run("20,000 routes interrupted twice", func(t *testing.T) { t.Parallel(); o.interruptTwice(t) })

	t.Run("conflicts", func(t *testing.T) {
		t.Parallel()
		table := o.db.CreateRoutesTable(t)
		theirs := storedItem("a.test", 5, "alice's")
		theirs["updated_at"] = "2026-02-03T04:05:06Z"
		o.db.Put(t, table, dynamodb.Values(theirs))
		file := writeFile(t, "routes.json", routesDocument(t, storedItem("a.test", 4, "mine"), storedItem("b.test", 0, "mine")))
		status, out, err := o.run(t, "", "import", file, "--table", table)
		if status != 3 || out != "2 routes: 1 created, 0 updated, 0 unchanged, 1 conflict, 0 failed\n" ||
			!strings.Contains(err, `route "a.test": the document has seen version 4, and the stored route has version 5 by "alice" at 2026-02-03T04:05:06Z, with another note; it was not written`) ||
			!strings.Contains(err, "--overwrite") {
			t.Errorf("%d %q %q", status, out, err)
		}
		status, out, err = o.run(t, "", "import", file, "--table", table, "--overwrite", "-o", "json")
		if sum := readSum(t, out); status != 0 || sum.Updated != 1 || sum.Unchanged != 1 || err != "" {
			t.Errorf("%d %q %q", status, out, err)
		}
		if got := o.items(t, table)["a.test"]; got["note"] != "mine" || got["version"] != json.Number("6") || !strings.HasPrefix(fmt.Sprint(got["updated_by"]), "tester") {
			t.Errorf("%v", got)
		}
	})

	t.Run("round trip", func(t *testing.T) {
		t.Parallel()
		table, other := o.db.CreateRoutesTable(t), o.db.CreateRoutesTable(t)
		pins := origin.StringSet{"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}
		for _, i := range []origin.Item{
			storedItem("one.example.com", 7, "Zürich 日本 <&> \u2028 \"q\" \x7f"),
			{"host": "two.example.com", "origin": "lb.example.net", "spki_pins": pins, "expires_at": json.Number("4102444800"), "enabled": false},
			{"host": "*.example.com", "origin": "lb.example.net"},
			{"host": "broken.example.com", "orgin": []any{nil, true, "x", json.Number("-0.25"), map[string]any{"b": json.Number("12345678901234567890123456789012345678"), "a": []any{}}}, "version": "three"},
			{"host": "NOT a host"},
		} {
			o.db.Put(t, table, dynamodb.Values(i))
		}
		o.db.Put(t, table, map[string]types.AttributeValue{"host": &types.AttributeValueMemberS{Value: "bytes.example.com"}, "blob": &types.AttributeValueMemberB{Value: []byte{1}}})
		o.db.Put(t, table, map[string]types.AttributeValue{"host": &types.AttributeValueMemberS{Value: "set.example.com"}, "origin": &types.AttributeValueMemberSS{Value: []string{"a", "b"}}})
		status, first, err := o.run(t, "", "export", "--table", table)
		if status != 1 || strings.Count(first, "\n") != 7 || strings.Contains(first, "bytes") || strings.Contains(first, "set.example") ||
			!strings.Contains(err, `"bytes.example.com"`) || !strings.Contains(err, `"set.example.com"`) || !strings.Contains(err, `"broken.example.com"`) ||
			!strings.Contains(err, `5 routes of table "`+table+`" exported, 2 of which cannot be used; 2 left out`) || !strings.Contains(err, "2 routes left out") {
			t.Errorf("%d\n%s\n%s", status, first, err)
		}
		if status, out, err := o.run(t, first, "import", "-", "--table", other); status != 2 || out != "" || !strings.Contains(err, `"broken.example.com"`) || o.count(t, other) != 0 {
			t.Errorf("%d %q %q", status, out, err)
		}
		for _, want := range []string{
			"5 routes: 5 created, 0 updated, 0 unchanged, 0 conflicts, 0 failed\n", "5 routes: 0 created, 0 updated, 5 unchanged, 0 conflicts, 0 failed\n",
		} {
			if status, out, err := o.run(t, first, "import", "-", "--as-is", "--table", other); status != 0 || out != want || err != "" {
				t.Errorf("%d %q %q, want %q", status, out, err, want)
			}
		}
		file := writeFile(t, "export.json", "what was there")
		if status, out, err := o.run(t, "", "export", "--table", other, "--to", file); status != 0 || out != "" || !strings.Contains(err, "5 routes") {
			t.Errorf("%d %q %q", status, out, err)
		}
		if second, err := os.ReadFile(file); err != nil || string(second) != first {
			t.Errorf("%v\n%s\nbecame\n%s", err, first, second)
		}
		if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
			t.Errorf("%v", left)
		}
		// A routes file is imported and exported like a table.
		if status, out, err := o.run(t, first, "import", "-", "--as-is", "--routes", file); status != 0 || !strings.Contains(out, "5 unchanged") {
			t.Errorf("%d %q %q", status, out, err)
		}
		if status, third, _ := o.run(t, "", "export", "--routes", file); status != 0 || third != first {
			t.Errorf("%d\n%s", status, third)
		}
	})

	t.Run("broken documents write nothing", func(t *testing.T) {
		t.Parallel()
		table := o.db.CreateRoutesTable(t)
		good := routesDocument(t, storedItem("good.test", 0, ""))
		bad := strings.Replace(good, "\n]}", ",\n"+strings.Repeat("{\"host\":\"a.test\"},\n", 30)+"{\"host\" 5}\n]}", 1)
		status, out, err := o.run(t, bad, "import", "-", "--table", table)
		lines := strings.Split(strings.TrimSpace(err), "\n")
		if status != 2 || out != "" || len(lines) != 22 || !strings.Contains(lines[0], `sleight: standard input: route 2 of the list: origin: route "a.test": attribute "origin" is missing`) ||
			lines[20] != "sleight: standard input: and 40 more" || lines[21] != "sleight: standard input cannot be imported: 60 problems; nothing was written" {
			t.Errorf("%d %q %s", status, out, err)
		}
		status, out, err = o.run(t, strings.Replace(good, "host", "ho\x00st", 1), "import", "-", "--table", table)
		if status != 2 || out != "" || !strings.Contains(err, "line 2, column 5") {
			t.Errorf("%d %q %q", status, out, err)
		}
		for _, args := range [][]string{{"import"}, {"import", "/no/such/file"}, {"import", t.TempDir()}, {"import", "-", "--parallel", "0"}, {"import", "-", "--table", "nowhere"}} {
			if len(args) < 4 || args[2] != "--table" {
				args = append(args, "--table", table)
			}
			if status, out, err := o.run(t, good, args...); status == 0 || out != "" && !strings.Contains(out, "1 left") || !strings.HasPrefix(err, "sleight: ") || strings.Count(err, "\n") != 1 {
				t.Errorf("%v: %d %q %q", args, status, out, err)
			}
		}
		if n := o.count(t, table); n != 0 {
			t.Errorf("%d routes", n)
		}
	})

	t.Run("dry run", func(t *testing.T) {
		t.Parallel()
		table := o.db.CreateRoutesTable(t)
		o.db.Put(t, table, dynamodb.Values(storedItem("a.test", 5, "old")))
		o.db.Put(t, table, dynamodb.Values(storedItem("b.test", 5, "same")))
		o.db.Put(t, table, dynamodb.Values(storedItem("gone.test", 5, "")))
		before := o.items(t, table)
		in := routesDocument(t, storedItem("a.test", 5, "new"), storedItem("b.test", 1, "same"), storedItem("c.test", 0, ""))
		status, out, err := o.run(t, in, "import", "-", "--table", table, "--dry-run", "--prune")
		want := "Would change \"a.test\":\n  - note: old\n  + note: new\nWould create \"c.test\"\nWould remove \"gone.test\"\n" +
			"3 routes: would be 1 created, 1 updated, 1 unchanged, 0 conflicts, 0 failed; 1 not in the document would be removed\nNothing was written: this was a dry run.\n"
		if status != 0 || out != want || err != "" {
			t.Errorf("%d %q\n%s", status, err, out)
		}
		if after := o.items(t, table); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%v became %v", before, after)
		}
	})

	t.Run("prune asks", func(t *testing.T) {
		t.Parallel()
		table := o.db.CreateRoutesTable(t)
		for _, host := range []string{"a.test", "b.test", "c.test"} {
			o.db.Put(t, table, dynamodb.Values(storedItem(host, 1, "old")))
		}
		file := writeFile(t, "routes.json", routesDocument(t, storedItem("a.test", 1, "new"), storedItem("d.test", 0, "new")))
		status, out, err := o.run(t, "", "import", file, "--table", table, "--prune")
		if status != 2 || out != "" || !strings.Contains(err, "2 of the 3 routes") || !strings.Contains(err, "--yes") || o.count(t, table) != 3 {
			t.Errorf("%d %q %q", status, out, err)
		}
		answer := func(key string) func(*exec.Cmd, io.Writer, string) {
			var once sync.Once
			return func(_ *exec.Cmd, keys io.Writer, shown string) {
				if strings.Contains(shown, "[y/N]") {
					once.Do(func() { io.WriteString(keys, key) })
				}
			}
		}
		for _, c := range []struct {
			key    string
			status int
			says   string
		}{{"n\n", 1, "the answer was no"}, {"\x03", 130, "nothing was written"}} {
			status, out, shown := o.onTerminal(t, answer(c.key), "import", file, "--table", table, "--prune")
			if status != c.status || out != "" || !strings.Contains(shown, "2 of the 3 routes in table") || !strings.Contains(shown, c.says) || fmt.Sprint(o.items(t, table)["a.test"]["note"]) != "old" {
				t.Errorf("%q: %d %q %q", c.key, status, out, shown)
			}
		}
		status, out, shown := o.onTerminal(t, answer("y\n"), "import", file, "--table", table, "--prune")
		if status != 0 || out != "2 routes: 1 created, 1 updated, 0 unchanged, 0 conflicts, 0 failed; 2 not in the document removed\n" || o.count(t, table) != 2 {
			t.Errorf("%d %q %q", status, out, shown)
		}
		if status, out, err := o.run(t, `{"routes":[]}`, "import", "-", "--table", table, "--prune", "--yes"); status != 0 || !strings.Contains(out, "2 not in the document removed") || o.count(t, table) != 0 {
			t.Errorf("%d %q %q", status, out, err)
		}
	})

	t.Run("a pipe that is closed ends an export", func(t *testing.T) {
		t.Parallel()
		var items []origin.Item
		for n := range 20000 {
			items = append(items, storedItem(fmt.Sprintf("h%d.test", n), 0, ""))
		}
		c := o.command(t, "export", "--routes", writeFile(t, "routes.json", routesDocument(t, items...)))
		var stderr bytes.Buffer
		c.Stderr = &stderr
		pipe, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReaderSize(pipe, 16).ReadString('\n')
		pipe.Close()
		c.Wait()
		if status, ok := c.ProcessState.Sys().(syscall.WaitStatus); err != nil || line != "{\"routes\":[\n" || stderr.String() != "" || !ok || status.Signal() != syscall.SIGPIPE {
			t.Errorf("%q, %v; %v, %q", line, err, c.ProcessState, stderr.String())
		}
	})
}

// many is enough to interrupt an import twice. 100,000 routes take four times as long, and prove nothing more.
const many = 20_000

// interruptTwice imports with Ctrl-C after about a third, with SIGKILL after about two thirds, and then to the end.
func (o *tableTool) interruptTwice(t *testing.T) {
	table := o.db.CreateRoutesTable(t)
	host := func(n int) string { return fmt.Sprintf("shop-%05d.customers.example.com", n) }

	// Each 100th route is in the table before: in turns the same, older than the document, as the document has seen it, and
	// newer.
	var all []origin.Item
	for n := range many {
		version := 0
		if n%3 == 0 {
			version = 1 + n%7
		}
		all = append(all, storedItem(host(n), version, fmt.Sprintf("customer %d", n)))
	}
	before := map[string]origin.Item{}
	for n := 0; n < many; n += 100 {
		old := storedItem(host(n), 3, "old")
		switch n / 100 % 4 {
		case 0:
			old = storedItem(host(n), 9, fmt.Sprintf("customer %d", n))
		case 1:
			all[n] = storedItem(host(n), 0, "new")
		case 2:
			all[n] = storedItem(host(n), 3, "new")
		case 3:
			all[n] = storedItem(host(n), 2, "new")
		}
		before[host(n)] = old
	}
	o.putAll(t, table, before)
	file := writeFile(t, "routes.json", routesDocument(t, all...))

	percent := regexp.MustCompile(`(\d+)\.\d\d?%`)
	at := func(least int, do func(c *exec.Cmd, keys io.Writer)) func(*exec.Cmd, io.Writer, string) {
		var once sync.Once
		return func(c *exec.Cmd, keys io.Writer, shown string) {
			shown = shown[max(0, len(shown)-2000):]
			for _, m := range percent.FindAllStringSubmatch(shown, -1) {
				if n, _ := strconv.Atoi(m[1]); n >= least {
					once.Do(func() { do(c, keys) })
				}
			}
		}
	}
	status, out, shown := o.onTerminal(t, at(30, func(_ *exec.Cmd, keys io.Writer) { io.WriteString(keys, "\x03") }), "import", file, "--table", table, "-o", "json")
	first := readSum(t, out)
	if status != 130 || !first.Interrupted || first.Created < many/5 || first.Left < many/3 ||
		!regexp.MustCompile(`interrupted: \d+ of 20000 routes done; the same command goes on from there`).MatchString(shown) {
		t.Errorf("%d %.1000s\n%.3000q", status, out, shown[max(0, len(shown)-3000):])
	}
	if !regexp.MustCompile(`3\d\.\d+%`).MatchString(shown) || !strings.Contains(shown, "Importing") || !strings.Contains(shown, "ETA") {
		t.Errorf("no progress in %.1000q ... %q", shown, shown[max(0, len(shown)-1500):])
	}
	if got, want := o.count(t, table), len(before)+first.Created; got != want {
		t.Errorf("%d routes after the first run, want %d", got, want)
	}
	status, out, _ = o.onTerminal(t, at(60, func(c *exec.Cmd, _ io.Writer) { c.Process.Kill() }), "import", file, "--table", table)
	if status != -1 || out != "" {
		t.Errorf("%d %q", status, out)
	}
	killed := o.count(t, table)
	if killed <= len(before)+first.Created || killed > many*4/5 {
		t.Errorf("%d routes after the second run", killed)
	}
	status, out, shown = o.onTerminal(t, nil, "import", file, "--table", table, "-o", "json")
	last := readSum(t, out)
	// Writes under way when the second was killed may be finished after the count.
	if late := many - last.Created - killed; late < 0 || late > 32 {
		t.Errorf("%d routes after the second run, and the third made %d", killed, last.Created)
	} else {
		killed += late
	}
	conflicts := len(before) / 4
	if status != 3 || last.Left != 0 || last.Failed != 0 || last.Conflicts != conflicts || last.Created != many-killed ||
		last.Unchanged+last.Updated != killed-conflicts || last.Updated > len(before)/2 {
		t.Errorf("%d %.1000s\n%.1000s", status, out, shown)
	}
	got := o.items(t, table)
	if len(got) != many {
		t.Errorf("%d routes", len(got))
	}
	wrong := 0
	for n, want := range all {
		is, version := got[host(n)], want["version"]
		switch n / 100 % 4 {
		case 0:
			version = json.Number("9")
		case 1, 2:
			version = json.Number("4")
		case 3:
			want, version = before[host(n)], json.Number("3")
		}
		if n%100 != 0 {
			version, want = all[n]["version"], all[n]
		}
		if (n%100 != 0 && !is.Equal(want) || !is.SameRoute(want) || is["version"] != version) && wrong < 10 {
			wrong++
			t.Errorf("%v, want %v in version %v", is, want, version)
		}
	}
	t.Logf("created %d, then %d, then %d", first.Created, killed-first.Created-len(before), last.Created)
}

func (o *tableTool) putAll(t *testing.T, table string, items map[string]origin.Item) {
	t.Helper()
	var batch []types.WriteRequest
	flush := func() {
		if len(batch) == 0 {
			return
		}
		out, err := o.db.Client.BatchWriteItem(context.Background(), &sdk.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{table: batch}})
		if err != nil || len(out.UnprocessedItems) > 0 {
			t.Fatalf("%v, %d unprocessed", err, len(out.UnprocessedItems))
		}
		batch = nil
	}
	for _, i := range items {
		if batch = append(batch, types.WriteRequest{PutRequest: &types.PutRequest{Item: dynamodb.Values(i)}}); len(batch) == 25 {
			flush()
		}
	}
	flush()
}
