// A function for the tests of lambdatest: it does what the event says.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	if os.Getenv("ECHO_FAIL") != "" {
		fmt.Println("cannot start")
		os.Exit(3)
	}
	lambda.Start(func(_ context.Context, event string) (string, error) {
		if event == "error" {
			return "", errors.New("as asked")
		}
		return event, nil
	})
}
