package main_test

import (
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
)

// Libraries quote bytes from an origin, which belong to the client.
func TestServesOutputIsItsOwnWhateverAnOriginSends(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	address := tlstest.NewBrokenOrigin(t, tlstest.Leaf(t, ca, "a.test"))
	routes := routesFile(t, map[string]any{"host": "a.test", "origin": address, "ca_pem": ca.PEM()})
	own := regexp.MustCompile(`^time=\S+ level=(DEBUG|INFO|WARN|ERROR) msg=("[^"]+"|\w+)( |$)`)
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, url, _ := startServe(t, routes, "--h2c", "--log-level", "debug")
			c := client(t, http2)
			ask := func(method, path string) {
				r, err := http.NewRequestWithContext(t.Context(), method, url+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Host = "a.test"
				if resp, err := c.RoundTrip(r); err == nil { // some responses are incomplete
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}
			asked := 0
			for i, broken := range tlstest.BrokenAnswers {
				ask(broken.Method, "/"+strconv.Itoa(i))
				ask("GET", "/fine")
				asked += 2
			}
			c.CloseIdleConnections()
			p.cmd.Process.Signal(syscall.SIGTERM)
			if status := p.exit(t); status != 0 {
				t.Errorf("exit status %d", status)
			}
			requests, failed := 0, 0
			for line := range strings.Lines(p.output()) {
				if !own.MatchString(line) {
					t.Errorf("not a line of the log: %.300q", line)
				}
				if strings.Contains(line, "SECRET") {
					t.Errorf("it has what the origin sent: %.600s", line)
				}
				if strings.Contains(line, " msg=request ") {
					requests++
				}
				if strings.Contains(line, " problem=origin-protocol-error ") || strings.Contains(line, " problem=incomplete-response ") {
					failed++
				}
			}
			if requests < asked || failed < 10 { // the client may repeat some
				t.Errorf("%d lines for %d requests, %d of them failed:\n%s", requests, asked, failed, p.output())
			}
		})
	}
}
