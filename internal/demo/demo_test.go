package demo

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// make run must fail if the proxy does not work.
func TestFirstRequestThatFailsIsAnError(t *testing.T) {
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no good", http.StatusBadGateway) }))
	defer broken.Close()
	var out bytes.Buffer
	err := firstRequest(t.Context(), &out, broken.Listener.Addr().String(), &trace{})
	if err == nil || !strings.Contains(err.Error(), "502") || !strings.Contains(err.Error(), "no good") {
		t.Errorf("%v", err)
	}
	if !strings.Contains(out.String(), "502") {
		t.Errorf("the status is not in the trace: %s", &out)
	}
	broken.Close()
	if err := firstRequest(t.Context(), &out, broken.Listener.Addr().String(), &trace{}); err == nil {
		t.Error("no error although nobody listens")
	}
}

func TestLoadBalancerIsStrict(t *testing.T) {
	b, err := startLoadBalancer()
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	client := func(name string) *http.Client {
		return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: clientConfig(b, name)}}
	}
	get := func(name, host string) (int, error) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+b.address()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		resp, err := client(name).Do(r)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	if status, err := get(customerOne, customerOne+":8080"); status != 200 {
		t.Errorf("right host: %d, %v", status, err)
	}
	if status, err := get(customerOne, customerTwo); status != 421 {
		t.Errorf("another host: %d, %v", status, err)
	}
	for _, name := range []string{"unknown.test", customerWrong} {
		if status, err := get(name, name); err == nil {
			t.Errorf("%s: %d", name, status)
		}
	}
}

func clientConfig(b *loadBalancer, name string) *tls.Config {
	return &tls.Config{ServerName: name, RootCAs: b.ca.Pool()}
}
