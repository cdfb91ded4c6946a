// A function for the tests of lambdatest: it does what the event says.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	switch os.Getenv("ECHO_FAIL") {
	case "exit":
		fmt.Println("cannot start")
		os.Exit(3)
	case "init":
		url := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/init/error"
		if _, err := http.Post(url, "application/json", strings.NewReader(`{"errorType":"Echo.Init"}`)); err != nil {
			fmt.Println(err)
		}
		os.Exit(4)
	}
	if held := os.Getenv("ECHO_HOLD"); held != "" {
		if _, err := net.Dial("tcp", held); err != nil { // open until this process ends
			fmt.Println(err)
			os.Exit(5)
		}
	}
	lambda.Start(handle)
}

// counter is written without a lock on purpose, for the race detector to find.
var counter int

var (
	mu     sync.Mutex
	here   int
	all    = make(chan struct{})
	silent = make(chan struct{})
)

func handle(ctx context.Context, event string) (any, error) {
	switch event {
	case "error":
		return nil, errors.New("as asked")
	case "panic":
		panic("as asked")
	case "exit":
		os.Exit(7)
	case "hang":
		<-silent
	case "deadline":
		deadline, _ := ctx.Deadline()
		return deadline.UnixMilli(), nil
	case "environment":
		return os.Environ(), nil
	case "large":
		return strings.Repeat("x", 6<<20+100), nil // with its quotes, two bytes too many
	case "cut short":
		return io.MultiReader(strings.NewReader("some"), broken{}), nil
	case "meet": // replies only once four are here
		mu.Lock()
		if here++; here == 4 {
			close(all)
		}
		mu.Unlock()
		select {
		case <-all:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case "race":
		// Often, since the detector misses two accesses that happen at the very same time.
		count := func() {
			for range 1000 {
				counter++
			}
		}
		var wg sync.WaitGroup
		wg.Go(count)
		count()
		wg.Wait()
	case "print":
		fmt.Println("printed")
	}
	return bytes.NewBufferString(event), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("as asked") }
