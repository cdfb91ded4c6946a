package lambdahttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/sleightproxy/sleight/pkg/lambdahttp"
)

// In a function, main calls lambda.Start(adapter.Handle) instead of Invoke.
func ExampleAdapter() {
	adapter := &lambdahttp.Adapter{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprintf(w, "%s %s%s from %s", r.Method, r.Host, r.URL.Path, r.RemoteAddr)
		}),
	}
	event := `{
		"version": "2.0", "routeKey": "$default", "rawPath": "/shop", "rawQueryString": "",
		"headers": {"host": "one.spec-trust.com"},
		"requestContext": {
			"domainName": "one.spec-trust.com", "stage": "$default", "routeKey": "$default",
			"http": {"method": "GET", "path": "/shop", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7"}
		}
	}`
	reply, err := adapter.Invoke(context.Background(), []byte(event))
	if err != nil {
		fmt.Println(err) // never happens
	}
	fmt.Println(string(reply))
	// Output: {"statusCode":200,"headers":{"Content-Type":"text/plain"},"body":"GET one.spec-trust.com/shop from 192.0.2.7:0"}
}

// apology is a Lifecycle that answers failures with a page.
type apology struct{}

func (apology) Begin(r *http.Request) (*http.Request, func()) {
	return r, func() { fmt.Println("the reply is complete") }
}

func (apology) Fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, lambdahttp.ErrPanic) {
		fmt.Println("the handler panicked") // err has the stack too
	}
	w.WriteHeader(http.StatusInternalServerError)
	io.WriteString(w, "Sorry.")
}

func ExampleLifecycle() {
	adapter := &lambdahttp.Adapter{
		Handler:   http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug") }),
		Lifecycle: apology{},
	}
	event := `{
		"version": "2.0", "rawPath": "/",
		"requestContext": {"domainName": "one.spec-trust.com", "http": {"method": "GET", "path": "/"}}
	}`
	adapter.Invoke(context.Background(), []byte(event))
	// Output:
	// the handler panicked
	// the reply is complete
}
