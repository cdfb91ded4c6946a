// The Lambda function: API Gateway events in, origins reached under their own names,
// answers out. The README lists its environment variables.
package main

import (
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/sleightproxy/sleight/internal/app"
)

func main() {
	function, err := app.NewFunction(os.Getenv, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sleight:", err)
		os.Exit(1)
	}
	lambda.Start(function)
}
