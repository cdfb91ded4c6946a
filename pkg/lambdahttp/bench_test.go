package lambdahttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"

	"github.com/sleightproxy/sleight/pkg/lambdahttp"
)

// BenchmarkInvoke measures the adapter beside the library that it builds on, used as its
// documentation shows.
func BenchmarkInvoke(b *testing.B) {
	page := bytes.Repeat([]byte("hello "), 200)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write(page)
	})
	v2, v1 := httpadapter.NewV2(handler), httpadapter.New(handler)
	adapter := &lambdahttp.Adapter{Handler: handler}
	for _, c := range []struct {
		name, event string
		handler     lambda.Handler
	}{
		{"http-api/sleight", "http-api", adapter},
		{"http-api/library", "http-api", lambda.NewHandler(v2.ProxyWithContext)},
		{"rest-api/sleight", "rest-api", adapter},
		{"rest-api/library", "rest-api", lambda.NewHandler(v1.ProxyWithContext)},
	} {
		payload, err := json.Marshal(sample(b, c.event))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name, func(b *testing.B) {
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour) // as Lambda has one
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.handler.Invoke(ctx, payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
