package lambdahttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"

	"github.com/sleightproxy/sleight/pkg/lambdahttp"
)

// BenchmarkInvoke measures the adapter beside the library that it uses, called as in that library's documentation. The responses have
// three sizes. The largest is about the largest that fits into a reply.
func BenchmarkInvoke(b *testing.B) {
	for name, body := range map[string]struct {
		typ  string
		body []byte
	}{
		"1KB":   {"text/html", bytes.Repeat([]byte("hello "), 170)},
		"100KB": {"text/html", bytes.Repeat([]byte("<p>hello</p>\n"), 7_800)},
		"4.4MB": {"application/octet-stream", bytes.Repeat([]byte("\xff\x00\x01\x02"), 1_100_000)},
	} {
		handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", body.typ)
			w.Header().Set("Content-Length", strconv.Itoa(len(body.body)))
			for part := range slices.Chunk(body.body, 32<<10) { // as bodies are copied
				w.Write(part)
			}
		})
		v2, v1 := httpadapter.NewV2(handler), httpadapter.New(handler)
		adapter := &lambdahttp.Adapter{Handler: handler}
		library := func(h lambda.Handler) func(context.Context, []byte) error {
			return func(ctx context.Context, payload []byte) error {
				_, err := h.Invoke(ctx, payload)
				return err
			}
		}
		sleight := func(ctx context.Context, payload []byte) error {
			var e lambdahttp.Event
			if err := json.Unmarshal(payload, &e); err != nil {
				return err
			}
			reply, err := adapter.Handle(ctx, e)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, struct{ io.Reader }{reply}) // as it goes to the socket
			return err
		}
		for _, c := range []struct {
			name, event string
			invoke      func(context.Context, []byte) error
		}{
			{"http-api/sleight", "http-api", sleight},
			{"http-api/library", "http-api", library(lambda.NewHandler(v2.ProxyWithContext))},
			{"rest-api/sleight", "rest-api", sleight},
			{"rest-api/library", "rest-api", library(lambda.NewHandler(v1.ProxyWithContext))},
		} {
			payload := marshalled(b, sample(b, c.event))
			b.Run(name+"/"+c.name, func(b *testing.B) {
				ctx, cancel := context.WithTimeout(b.Context(), time.Hour) // as Lambda has one
				defer cancel()
				b.ReportAllocs()
				for b.Loop() {
					if err := c.invoke(ctx, payload); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
