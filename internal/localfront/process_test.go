package localfront_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/localfront"
	"github.com/sleightproxy/sleight/internal/runtimeapi"
)

// start starts the front before a process of the function in testdata/echo.
func start(t *testing.T, f localfront.Front, timeout time.Duration) (url string) {
	t.Helper()
	log := new(bytes.Buffer)
	env := []string{"PATH=" + os.Getenv("PATH"), "AWS_LAMBDA_FUNCTION_NAME=test", "AWS_LAMBDA_MAX_CONCURRENCY=4"}
	if f.Kind == localfront.RESTStream || f.Kind == localfront.FunctionURL && !f.Buffered {
		env = append(env, "RESPONSE_MODE=stream")
	}
	function := &runtimeapi.Function{Config: runtimeapi.Config{
		Binary: lambdatest.BuildPackage(t, "./internal/localfront/testdata/echo"), Env: env, Output: log, Timeout: timeout,
	}}
	f.Invoke = function.Invoke
	server := httptest.NewServer(&f)
	t.Cleanup(func() {
		function.Close()
		server.Close()
		if t.Failed() {
			t.Logf("the function's output:\n%s", log)
		}
	})
	return server.URL
}

func do(t *testing.T, url, what string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", url+"/a%20b?c=d", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "route.test"
	r.Header.Set("X-Do", what)
	r.Header.Set("Content-Type", "text/plain")
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
}

// whole returns "status body", and the body's error.
func whole(t *testing.T, url, what string) (string, error) {
	t.Helper()
	r, err := do(t, url, what)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return fmt.Sprint(r.StatusCode, " ", string(b)), err
}

var fronts = []localfront.Front{
	{Kind: localfront.HTTPAPI}, {Kind: localfront.REST}, {Kind: localfront.ALB}, {Kind: localfront.ALB, SingleValue: true},
	{Kind: localfront.FunctionURL}, {Kind: localfront.FunctionURL, Buffered: true}, {Kind: localfront.RESTStream},
}

func TestProcess(t *testing.T) {
	for _, f := range fronts {
		t.Run(fmt.Sprint(f.Kind, f.SingleValue, f.Buffered), func(t *testing.T) {
			t.Parallel()
			url := start(t, f, 0)
			failed := "502 "
			if f.Kind == localfront.HTTPAPI {
				failed = "500 "
			}
			for range 2 { // the second time, after the first process has ended
				got, err := whole(t, url, "")
				var event map[string]any
				if err != nil || !strings.HasPrefix(got, "200 ") || json.Unmarshal([]byte(got[4:]), &event) != nil || bodyOf(t, event) != "body" || !strings.Contains(got, "route.test") {
					t.Fatalf("%.300s, %v", got, err)
				}
				for _, what := range []string{"error", "exit"} {
					if got, err := whole(t, url, what); err != nil || !strings.HasPrefix(got, failed) {
						t.Errorf("%s: %s, %v", what, got, err)
					}
				}
			}
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					if got, err := whole(t, url, ""); err != nil || !strings.HasPrefix(got, "200 ") {
						t.Errorf("%.300s, %v", got, err)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestStream(t *testing.T) {
	for _, kind := range []localfront.Kind{localfront.FunctionURL, localfront.RESTStream} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			url := start(t, localfront.Front{Kind: kind}, 0)
			for _, what := range []string{"break", "exit later"} {
				if got, err := whole(t, url, what); err == nil || got != "200 some" {
					t.Errorf("%s: %q, %v", what, got, err)
				}
			}
			if got, err := whole(t, url, "empty"); err != nil || got != "200 " {
				t.Errorf("%q, %v", got, err)
			}
			want := `200 {"an":"object"}`
			if kind == localfront.RESTStream {
				want = `502 {"message": "Internal server error"}`
			}
			if got, err := whole(t, url, "plain"); err != nil || got != want {
				t.Errorf("%q, %v", got, err)
			}
			// The first bytes arrive while the function still sends. A client that leaves does no harm to the function.
			r, err := do(t, url, "flow")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r.Body, make([]byte, 1<<20)); err != nil {
				t.Error(err)
			}
			if c := r.Header["Set-Cookie"]; len(c) != 2 {
				t.Error(c)
			}
			r.Body.Close()
			if got, err := whole(t, url, ""); err != nil || !strings.HasPrefix(got, "200 ") {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestFunctionTimeout(t *testing.T) {
	t.Parallel()
	url := start(t, localfront.Front{Kind: localfront.REST}, 300*time.Millisecond)
	if got, err := whole(t, url, "hang"); err != nil || got != `502 {"message": "Internal server error"}` {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := whole(t, url, ""); err != nil || !strings.HasPrefix(got, "200 ") {
		t.Errorf("%s, %v", got, err)
	}
	url = start(t, localfront.Front{Kind: localfront.FunctionURL}, 300*time.Millisecond)
	if got, err := whole(t, url, "flow"); err == nil || !strings.HasPrefix(got, "200 more") {
		t.Errorf("%.100s, %v", got, err)
	}
}
