package main_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

const streamHost = "stream.spec-trust.test"

// routesFile writes routes to a file for the test.
func routesFile(t testing.TB, routes ...object) string {
	t.Helper()
	document, err := json.Marshal(object{"routes": routes})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(name, document, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// startStream starts the function in stream mode, with an origin that has the handler.
func startStream(t testing.TB, handler http.HandlerFunc) (*lambdatest.Function, *tlstest.Origin) {
	t.Helper()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{streamHost: tlstest.Leaf(t, ca, streamHost)}, Handler: handler}
	o.Start(t)
	routes := routesFile(t, object{"host": streamHost, "origin": o.Addr, "ca_pem": ca.PEM()})
	return lambdatest.Start(t, lambdatest.Build(t), "ROUTES_FILE="+routes, "ORIGIN_ALLOW_CIDRS=127.0.0.0/8", "RESPONSE_MODE=stream"), o
}

// streamed reads the prelude of a streamed reply. The rest is its body.
func streamed(t testing.TB, r io.Reader) (prelude reply) {
	t.Helper()
	var all []byte
	for b := make([]byte, 1); !bytes.HasSuffix(all, make([]byte, 8)); all = append(all, b...) {
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatalf("%q: %v", all, err)
		}
	}
	if err := json.Unmarshal(bytes.TrimRight(all, "\x00"), &prelude); err != nil {
		t.Fatalf("%q: %v", all, err)
	}
	return prelude
}

var streamingFronts = []string{"function-url", "rest-api"}

func TestResponsesAreStreamed(t *testing.T) {
	t.Parallel()
	next := make(chan string)
	f, o := startStream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			http.NewResponseController(w).Flush()
			select {
			case s, ok := <-next:
				if !ok {
					return
				}
				io.WriteString(w, s)
			case <-r.Context().Done():
				return
			}
		}
	})
	for _, front := range streamingFronts {
		next = make(chan string)
		r := f.Stream(t.Context(), t, event(t, front, streamHost, "/a%2Fb"))
		if p := streamed(t, r.Body); p.StatusCode != 200 || len(p.Cookies) != 2 || p.header("Content-Type") != "text/event-stream" {
			t.Errorf("%s: %+v", front, p)
		}
		if seen := o.Last(t); seen.SNI != streamHost || !strings.HasPrefix(seen.URI, "/a%2Fb?") {
			t.Errorf("%s: the origin saw %+v", front, seen)
		}
		for _, s := range []string{"data: one\n\n", "data: two\n\n"} { // read before the next is sent
			next <- s
			b := make([]byte, len(s))
			if _, err := io.ReadFull(r.Body, b); err != nil || string(b) != s {
				t.Fatalf("%s: %q, %v", front, b, err)
			}
		}
		close(next)
		if rest, err := io.ReadAll(r.Body); len(rest) != 0 || err != nil || r.Broken() != "" {
			t.Errorf("%s: %q, %v, %q", front, rest, err, r.Broken())
		}
		r.Body.Close()
	}
}

// A function's memory costs money, and the largest stream is 200 MB.
func TestLargeBodyNeedsLittleMemory(t *testing.T) {
	t.Parallel()
	const size = 200 << 20
	piece := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	f, _ := startStream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(size))
		for range size / len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	r := f.Stream(t.Context(), t, event(t, "function-url", streamHost, "/"))
	defer r.Body.Close()
	if p := streamed(t, r.Body); p.StatusCode != 200 || p.header("Content-Length") != strconv.Itoa(size) {
		t.Errorf("%+v", p)
	}
	if n, err := io.Copy(io.Discard, r.Body); n != size || err != nil || r.Broken() != "" {
		t.Errorf("%d bytes, %v, %q", n, err, r.Broken())
	}
	if kb := peakMemory(t, f.PID()); kb > 48<<10 {
		t.Errorf("the function took %d KiB of memory", kb)
	}
}

// peakMemory returns the peak resident memory of a process in KiB (proc(5)). It returns zero if the system is not Linux.
func peakMemory(t testing.TB, pid int) int {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return kb
		}
	}
	t.Fatalf("no VmHWM in %q", status)
	return 0
}

func TestIncompleteStreamIsReported(t *testing.T) {
	t.Parallel()
	f, _ := startStream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/cut":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/drip": // a response that begins, and never ends
			io.WriteString(w, "half")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/slow": // a response that never begins
			<-r.Context().Done()
		case "/head":
			w.Header().Set("X-Large", strings.Repeat("x", 20<<10))
		case "/redirect":
			w.Header().Set("Location", "/x")
			w.WriteHeader(302)
		}
	})
	for _, front := range streamingFronts {
		for _, c := range []struct {
			path   string
			status int
			typ    string // of the error in the trailers
			status9209,
			body string
		}{
			{"/cut", 200, "Handler.Aborted", "", "half"},
			{"/drip", 200, "Handler.Timeout", "", "half"},
			{"/slow", 504, "", "http_response_timeout", ""},
			{"/head", 502, "", "http_response_header_section_size", ""},
			{"/redirect", 302, "", "", ""},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			r := f.Stream(ctx, t, event(t, front, streamHost, c.path))
			p := streamed(t, r.Body)
			body, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil || r.Failed || p.StatusCode != c.status || r.Broken() != c.typ || c.typ != "" && string(body) != c.body ||
				c.status9209 != "" && p.header("Proxy-Status") != "sleight; error="+c.status9209 {
				t.Errorf("%s %s: %+v, %q, %v, trailers %q", front, c.path, p, body, err, r.Broken())
			}
		}
	}
	if r := f.MustInvoke(t, event(t, "http-api", "unmapped.test", "/")); !bytes.Contains(r, []byte(`"statusCode":404`)) {
		t.Errorf("an HTTP API, which cannot stream: %s", r)
	}
}
