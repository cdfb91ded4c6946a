package main_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

// pkg/lambdahttp may replace a response after the proxy's handler has returned. Each request still has a single log line, with the
// response that the client got.
func TestEachInvocationHasOneLogLine(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{streamHost: tlstest.Leaf(t, ca, streamHost)}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			w.Write(make([]byte, 7<<20))
		case "/cut":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/slow":
			<-r.Context().Done()
		default:
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, "fine")
		}
	})}
	o.Start(t)
	routes := routesFile(t, object{"host": streamHost, "origin": o.Addr, "ca_pem": ca.PEM(), "version": 7})
	for _, mode := range []string{"buffered", "stream"} {
		f := lambdatest.Start(t, lambdatest.Build(t), "ROUTES_FILE="+routes, "ORIGIN_ALLOW_CIDRS=127.0.0.0/8", "RESPONSE_MODE="+mode)
		invoke := func(event []byte) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if mode == "buffered" {
				if _, err := f.Invoke(ctx, event); err != nil {
					t.Error(err)
				}
				return
			}
			r := f.Stream(ctx, t, event)
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
		streams := mode == "stream"
		cut := map[bool]float64{true: 200, false: 502}[streams]
		cases := []struct {
			path    string
			status  float64
			problem any
		}{
			{"/", 200, nil},
			{"/cut", cut, "incomplete-response"},
			{"/slow", 504, "origin-timeout"},
		}
		if !streams {
			cases = append(cases, struct {
				path    string
				status  float64
				problem any
			}{"/large", 502, "response-too-large"})
		}
		for _, c := range cases {
			invoke(event(t, "function-url", streamHost, c.path))
		}
		invoke([]byte(`{"version":"1.0","httpMethod":"GET","path":"/","requestContext":{"resourceId":"$default"}}`))
		invoke(event(t, "function-url", "unmapped.test", "/")) // the last one, so that the log has all lines before it
		if err := f.AwaitLog(t.Context(), "unmapped.test"); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(f.Log(), "\n")
		if len(lines) != len(cases)+2 {
			t.Errorf("%s: %d lines, want %d:\n%s", mode, len(lines), len(cases)+2, f.Log())
			continue
		}
		seen := map[any]bool{}
		for i, line := range lines {
			var got object
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if got["requestId"] == nil || seen[got["requestId"]] || !strings.HasPrefix(fmt.Sprint(got["traceId"]), "Root=") {
				t.Errorf("%s: the ids are not those of an invocation of its own", line)
			}
			seen[got["requestId"]] = true
			switch {
			case i < len(cases):
				c := cases[i]
				if got["status"] != c.status || got["problem"] != c.problem || got["host"] != streamHost || got["route_version"] != 7.0 || got["sni"] != streamHost && c.path != "/slow" {
					t.Errorf("%s %s: %s", mode, c.path, line)
				}
			case i == len(cases):
				if got["status"] != 500.0 || got["problem"] != "unsupported-event" || got["level"] != "ERROR" || !strings.Contains(fmt.Sprint(got["error"]), "integration to 2.0") {
					t.Errorf("%s, an event that an operator has to see to: %s", mode, line)
				}
			default:
				if got["status"] != 404.0 || got["host"] != nil {
					t.Errorf("%s, unmapped: %s", mode, line)
				}
			}
		}
	}
}
