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

// Open opens a page in a Chromium without a window that is new and knows one host by its address,
// "ip:port", whatever the port in the URL, and no other. Flags are added to the command line. What the page
// comes to it has to tell by itself, to a server. The function that it returns ends the browser and tells what it
// printed; the end of the test closes it too.
func Open(t testing.TB, url, host, addr string, flags ...string) (stop func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, testdeps.Path(t, "chromium"), append(append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server", "--user-data-dir=" + t.TempDir(),
		"--remote-debugging-port=0", // or it would not stay
		"--host-resolver-rules=MAP " + host + " " + addr + ", MAP * ~NOTFOUND",
	}, flags...), url)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // on which it ends its children
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
