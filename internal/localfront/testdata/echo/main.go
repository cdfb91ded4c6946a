// A function for the tests of localfront: it answers with the event it got, or does what
// the header X-Do says.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

func main() { lambda.Start(handle) }

func handle(ctx context.Context, payload json.RawMessage) (any, error) {
	var e struct {
		Headers      map[string]string   `json:"headers"`
		MultiHeaders map[string][]string `json:"multiValueHeaders"`
	}
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, err
	}
	what := e.Headers["x-do"] + e.Headers["X-Do"]
	if v := e.MultiHeaders["x-do"]; len(v) > 0 && what == "" {
		what = v[0]
	}
	body := io.Reader(bytes.NewReader(payload))
	switch what {
	case "error":
		return nil, errors.New("as asked")
	case "exit":
		os.Exit(7)
	case "hang":
		<-ctx.Done()
		time.Sleep(time.Hour)
	case "plain":
		return map[string]string{"an": "object"}, nil
	case "break":
		body = io.MultiReader(bytes.NewReader([]byte("some")), broken{})
	case "exit later":
		body = io.MultiReader(bytes.NewReader([]byte("some")), exiting{})
	case "flow": // without an end, until the process has one
		body = flowing{}
	case "empty":
		body = bytes.NewReader(nil)
	}
	headers := map[string]string{"content-type": "application/json"}
	if os.Getenv("RESPONSE_MODE") == "stream" {
		return &events.LambdaFunctionURLStreamingResponse{StatusCode: 200, Headers: headers, Cookies: []string{"a=1", "b=2"}, Body: body}, nil
	}
	b, err := io.ReadAll(body)
	return map[string]any{
		"statusCode": 200, "headers": headers, "multiValueHeaders": map[string][]string{"content-type": {"application/json"}}, "body": string(b),
	}, err
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("as asked") }

type exiting struct{}

func (exiting) Read([]byte) (int, error) {
	time.Sleep(100 * time.Millisecond) // what came before is to arrive
	os.Exit(7)
	return 0, nil
}

type flowing struct{}

func (flowing) Read(b []byte) (int, error) { return copy(b, "more "), nil }
