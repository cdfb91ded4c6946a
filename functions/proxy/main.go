// The Lambda function. It takes events of HTTP fronts, forwards the requests to their origins, and returns the responses.
// docs/settings.md lists its environment variables.
package main

import (
	"fmt"
	"log"
	"os"
	"runtime"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/sleightproxy/sleight/internal/app"
)

func main() {
	if n := app.Procs(os.Getenv); n > 0 {
		runtime.GOMAXPROCS(min(n, runtime.GOMAXPROCS(0)))
	}
	function, err := app.NewFunction(os.Getenv, os.Stdout, log.Default())
	if err != nil {
		fmt.Fprintln(os.Stderr, "sleight:", err)
		os.Exit(1)
	}
	lambda.Start(function.Handle)
}
