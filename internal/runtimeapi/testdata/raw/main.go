// A function for the tests of runtimeapi. It uses the Runtime API directly. The event says what to do.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const streamed = "application/vnd.awslambda.http-integration-response"

var api = "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"

func main() {
	if os.Getenv("RAW_FAIL") != "" {
		fmt.Println("cannot start")
		os.Exit(3)
	}
	done := make(chan bool)
	for range 2 {
		go func() {
			for {
				work()
			}
		}()
	}
	<-done
}

func work() {
	resp, err := http.Get(api + "next")
	if err != nil {
		os.Exit(1)
	}
	var event string
	if err := json.NewDecoder(resp.Body).Decode(&event); err != nil {
		fmt.Println(err)
	}
	resp.Body.Close()
	id := resp.Header.Get("Lambda-Runtime-Aws-Request-Id")
	body, in := io.Pipe()
	contentType := streamed
	switch event {
	case "exit":
		os.Exit(7)
	case "exit at the signal":
		fmt.Println("waits for the signal")
		awaitSignal()
		time.Sleep(100 * time.Millisecond) // another event is queued meanwhile
		os.Exit(7)
	case "hang":
		time.Sleep(time.Hour)
	case "pid":
		contentType = "application/json"
		go func() { fmt.Fprint(in, os.Getpid()); in.Close() }()
	case "slow":
		contentType = "application/json"
		go func() { awaitSignal(); io.WriteString(in, "slow"); in.Close() }()
	case "twice":
		post(id, "application/json", strings.NewReader("first"))
		fmt.Println("the second:", post(id, "application/json", strings.NewReader("second")))
		return
	case "head":
		go func() {
			io.WriteString(in, "head")
			awaitSignal()
			io.WriteString(in, " and tail")
			in.Close()
		}()
	case "flood":
		go func() {
			b := make([]byte, 1<<20)
			for n := 1; n <= 64; n++ {
				in.Write(b)
				fmt.Printf("sent %d MB\n", n)
			}
			in.Close()
		}()
	case "cut":
		go func() { io.WriteString(in, "some"); time.Sleep(200 * time.Millisecond); os.Exit(7) }()
	case "cut whole":
		contentType = "application/json"
		go func() { io.WriteString(in, "some"); time.Sleep(200 * time.Millisecond); os.Exit(7) }()
	}
	status := post(id, contentType, body)
	fmt.Printf("replied to %q: %d\n", event, status)
}

// awaitSignal waits until the file RAW_GO exists.
func awaitSignal() {
	for {
		if _, err := os.Stat(os.Getenv("RAW_GO")); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func post(id, contentType string, body io.Reader) int {
	resp, err := http.Post(api+id+"/response", contentType, body)
	if err != nil {
		fmt.Println(err)
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}
