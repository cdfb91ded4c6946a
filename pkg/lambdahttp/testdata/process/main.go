// A function whose handler does, by the path of the request, what handlers should not.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/sleightproxy/sleight/pkg/lambdahttp"
)

func main() {
	lambda.Start((&lambdahttp.Adapter{Handler: http.HandlerFunc(serve), Stream: os.Getenv("RESPONSE_MODE") == "stream"}).Handle)
}

func serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	switch r.URL.Path {
	case "/panic":
		panic("boom")
	case "/abort":
		panic(http.ErrAbortHandler)
	case "/half-panic":
		half(w)
		panic("boom")
	case "/half-abort":
		half(w)
		panic(http.ErrAbortHandler)
	case "/nil":
		var p *http.Request
		fmt.Fprint(w, p.Host)
	case "/late": // all is there but the end
		half(w)
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	default:
		_, self, _ := strings.Cut(lambdahttp.TraceID(r.Context()), ";Self=")
		fmt.Fprintf(w, "%d %t ", os.Getpid(), self != "" && self == lambdahttp.RequestID(r.Context()))
		io.Copy(w, r.Body)
	}
}

func half(w http.ResponseWriter) {
	io.WriteString(w, "half")
	http.NewResponseController(w).Flush()
}
