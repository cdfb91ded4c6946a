// Package browsertest opens pages in a real browser for tests.
package browsertest

import (
	"context"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/testdeps"
)

// Open opens a page in a new headless Chromium. The browser resolves only one host: it connects to addr, "ip:port", for each
// port of that host. flags are added to the command line. A page reports its result to a server. The returned function ends
// the browser and returns its output. The end of the test ends the browser too.
func Open(t testing.TB, url, host, addr string, flags ...string) (stop func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, testdeps.Path(t, "chromium"), append(append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server", "--user-data-dir=" + t.TempDir(),
		"--remote-debugging-port=0", // without it, the browser ends at once
		"--host-resolver-rules=MAP " + host + " " + addr + ", MAP * ~NOTFOUND",
	}, flags...), url)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it ends its children then
	cmd.WaitDelay = 10 * time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	closed := false
	stop = func() string {
		if !closed {
			closed = true
			cancel()
			cmd.Wait()
		}
		return stderr.String()
	}
	t.Cleanup(func() { stop() })
	return stop
}
