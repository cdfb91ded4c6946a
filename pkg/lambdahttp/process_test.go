package lambdahttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/lambdatest"
)

func processEvent(t testing.TB, front, path, body string) []byte {
	t.Helper()
	e := sample(t, front)
	setPath(front, e, path)
	e["body"] = body
	return marshalled(t, e)
}

func startProcess(t testing.TB, env ...string) *lambdatest.Function {
	t.Helper()
	return lambdatest.Start(t, lambdatest.BuildPackage(t, "./pkg/lambdahttp/testdata/process", "-race"), env...)
}

// aws-lambda-go ends the process at a panic. The next client would wait for a cold start.
func TestPanicsEndNeitherTheInvocationNorTheProcess(t *testing.T) {
	t.Parallel()
	f := startProcess(t)
	pid := fmt.Sprint(f.PID())
	for _, front := range frontNames {
		for path, status := range map[string]int{"/panic": 500, "/nil": 500, "/half-panic": 500, "/abort": 502, "/half-abort": 502} {
			var r reply
			b := f.MustInvoke(t, processEvent(t, front, path, ""))
			if err := json.Unmarshal(b, &r); err != nil || r.StatusCode != status || strings.Contains(r.Body, "half") {
				t.Errorf("%s %s: %s, %v", front, path, b, err)
			}
		}
	}
	for i := range 100 {
		var r reply
		b := f.MustInvoke(t, processEvent(t, frontNames[i%len(frontNames)], "/", "body"))
		if err := json.Unmarshal(b, &r); err != nil || r.StatusCode != 200 || !strings.HasPrefix(r.Body, pid+" ") || !strings.HasSuffix(r.Body, " body") {
			t.Fatalf("afterwards: %s, %v", b, err)
		}
	}
}

func TestBrokenStreamIsToldInTrailers(t *testing.T) {
	t.Parallel()
	f := startProcess(t, "RESPONSE_MODE=stream")
	pid := fmt.Sprint(f.PID())
	const streamed = "application/vnd.awslambda.http-integration-response"
	for _, front := range streamFronts {
		for path, typ := range map[string]string{"/half-panic": "Handler.Panic", "/half-abort": "Handler.Aborted", "/late": "Handler.Timeout", "/": ""} {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			r, err := f.Invoke(ctx, processEvent(t, front, path, "body"))
			cancel()
			if err != nil || r.Failed || r.Header.Get("Content-Type") != streamed {
				t.Fatalf("%s %s: %+v, %v", front, path, r, err)
			}
			if got := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); got != typ {
				t.Errorf("%s %s: error type %q, want %q", front, path, got, typ)
			}
			if _, body, ok := strings.Cut(string(r.Body), strings.Repeat("\x00", 8)); !ok || typ != "" && body != "half" || typ == "" && !strings.HasPrefix(body, pid+" ") {
				t.Errorf("%s %s: %q", front, path, r.Body)
			}
		}
	}
	for i := range 100 {
		if b := f.MustInvoke(t, processEvent(t, streamFronts[i%2], "/", "body")); !strings.HasSuffix(string(b), " body") {
			t.Fatalf("afterwards: %q", b)
		}
	}
}

// Lambda Managed Instances run several invocations in one process.
func TestInvocationsAtOnceDoNotMeet(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"buffered", "stream"} {
		f := startProcess(t, "AWS_LAMBDA_MAX_CONCURRENCY=32", "RESPONSE_MODE="+mode)
		var wg sync.WaitGroup
		for i := range 32 * 8 {
			wg.Go(func() {
				body := strings.Repeat(fmt.Sprint(i, " "), 1000)
				path := []string{"/", "/", "/half-panic", "/abort"}[i%4]
				r, err := f.Invoke(t.Context(), processEvent(t, frontNames[i%len(frontNames)], path, body))
				if err != nil || r.Failed || path == "/" && !strings.Contains(string(r.Body), " true "+body) {
					t.Errorf("%d: %.200s, %v", i, r.Body, err)
				}
			})
		}
		wg.Wait()
	}
}
