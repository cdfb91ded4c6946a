package lambdatest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/lambdatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const echo = "./internal/lambdatest/testdata/echo"

func TestFunctionEchoesAndFails(t *testing.T) {
	f := lambdatest.Start(t, lambdatest.BuildPackage(t, echo))
	if got := f.MustInvoke(t, []byte(`"hello"`)); string(got) != `"hello"` {
		t.Errorf("%s", got)
	}
	r, err := f.Invoke(t.Context(), []byte(`"error"`))
	if err != nil || !r.Failed || !strings.Contains(string(r.Body), "as asked") {
		t.Errorf("%+v, %v", r, err)
	}
	if err := f.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := f.Thaw(); err != nil {
		t.Fatal(err)
	}
	f.MustInvoke(t, []byte(`"after the thaw"`))
}

func TestManyInvocationsAtOnce(t *testing.T) {
	f := lambdatest.Start(t, lambdatest.BuildPackage(t, echo), "AWS_LAMBDA_MAX_CONCURRENCY=4", "_X_AMZN_TRACE_ID=")
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			event := fmt.Sprintf(`"%d"`, i)
			if r, err := f.Invoke(t.Context(), []byte(event)); err != nil || string(r.Body) != event {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	wg.Wait()
}

func TestStartThatFails(t *testing.T) {
	status, out := lambdatest.StartExpectExit(t, lambdatest.BuildPackage(t, echo), "ECHO_FAIL=1")
	if status != 3 || out != "cannot start" {
		t.Errorf("status %d, output %q", status, out)
	}
}
