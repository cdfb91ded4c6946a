package main_test

import (
	"context"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

// CloudWatch and Lambda's log filter read lines of JSON. Libraries quote what an origin sends, which is the client's data.
func TestEachLineOfOutputIsJSON(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	address := tlstest.NewBrokenOrigin(t, tlstest.Leaf(t, ca, streamHost))
	routes := routesFile(t, object{"host": streamHost, "origin": address, "ca_pem": ca.PEM()})
	for _, mode := range []string{"buffered", "stream"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f := lambdatest.Start(t, lambdatest.Build(t), "ROUTES_FILE="+routes, "ORIGIN_ALLOW_CIDRS=127.0.0.0/8", "RESPONSE_MODE="+mode, "LOG_LEVEL=debug")
			ask := func(method, path string) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				e := withoutBody(t, event(t, "function-url", streamHost, path), method)
				if mode == "stream" {
					r := f.Stream(ctx, t, e)
					io.Copy(io.Discard, r.Body)
					r.Body.Close()
				} else if _, err := f.Invoke(ctx, e); err != nil {
					t.Error(err)
				}
			}
			asked := 0
			for i, broken := range tlstest.BrokenAnswers {
				ask(broken.Method, "/"+strconv.Itoa(i))
				ask("GET", "/fine")
				asked += 2
			}
			// When the function is frozen, the libraries have written their log.
			if err := f.Freeze(); err != nil {
				t.Fatal(err)
			}
			if err := f.Thaw(); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Invoke(t.Context(), event(t, "http-api", "unmapped.test", "/")); err != nil { // the log then has all lines before it
				t.Fatal(err)
			}
			if err := f.AwaitLog(t.Context(), "unmapped.test"); err != nil {
				t.Fatal(err)
			}
			requests, failed := 0, 0
			for line := range strings.SplitSeq(f.Log(), "\n") {
				var got struct{ Timestamp, Level, Msg, Problem string }
				if err := json.Unmarshal([]byte(line), &got); err != nil || got.Timestamp == "" || got.Level == "" || got.Msg == "" {
					t.Errorf("not a line of the log: %.300q", line)
				}
				if strings.Contains(line, "SECRET") {
					t.Errorf("it has what the origin sent: %.600s", line)
				}
				if got.Msg == "request" {
					requests++
				}
				if got.Problem == "origin-protocol-error" || got.Problem == "incomplete-response" {
					failed++
				}
			}
			if requests != asked+1 || failed < 10 {
				t.Errorf("%d lines for %d requests, %d of them failed:\n%s", requests, asked+1, failed, f.Log())
			}
		})
	}
}

// Such an invocation reaches no handler, so no other line reports it.
func TestInvalidEventIsExplainedInTheLog(t *testing.T) {
	t.Parallel()
	routes := routesFile(t, object{"host": streamHost, "origin": "127.0.0.1:1"})
	f := lambdatest.Start(t, lambdatest.Build(t), "ROUTES_FILE="+routes)
	causes := map[string]string{"": "the event is empty", `{"a":`: "the event is cut off", "hello": "invalid character 'h'"}
	for event := range causes {
		f.Invoke(t.Context(), []byte(event)) // an error: the function reports one
	}
	if _, err := f.Invoke(t.Context(), event(t, "http-api", "unmapped.test", "/")); err != nil {
		t.Fatal(err)
	}
	if err := f.AwaitLog(t.Context(), "unmapped.test"); err != nil {
		t.Fatal(err)
	}
	for event, cause := range causes {
		explained := 0
		for line := range strings.SplitSeq(f.Log(), "\n") {
			var got struct{ Level, Msg, Error string }
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Fatal(err)
			}
			if got.Level == "ERROR" && strings.HasPrefix(got.Error, cause) && strings.Contains(got.Msg, "has to send it the event of an HTTP front") {
				explained++
			}
		}
		if explained != 1 {
			t.Errorf("%q is explained %d times:\n%s", event, explained, f.Log())
		}
	}
}
