package lambdahttp_test

import (
	"io"
	"log"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/pkg/lambdahttp"
)

func fuzz(f *testing.F, name string, change func(event object, path, query, host, header, body string, b bool)) {
	log.SetOutput(io.Discard)
	f.Cleanup(func() { log.SetOutput(os.Stderr) })
	f.Add("/my/path", "a=1&b=2", "one.spec-trust.test", "value", "body", false)
	f.Add("/a?b#c%", "a=%zz;#", "A.TEST.:443", "a,b\r\n", "Ym9keQ==", true)
	f.Add("", "", "", "", "", true)
	f.Add("*", "?", "[::1]", "\x00", "\xff", false)
	base := sample(f, name)
	f.Fuzz(func(t *testing.T, path, query, host, header, body string, b bool) {
		event := maps.Clone(base)
		change(event, path, query, host, header, body, b)
		reached := false
		r := invoke(t, &lambdahttp.Adapter{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			reached = true
			if !strings.HasPrefix(r.RequestURI, "/") || strings.ContainsAny(r.RequestURI, " \r\n\x00#") {
				t.Errorf("request URI %q", r.RequestURI)
			}
			for name, values := range r.Header {
				if strings.ContainsAny(name+strings.Join(values, ""), "\r\n\x00") {
					t.Errorf("header %q: %q", name, values)
				}
			}
			got, err := io.ReadAll(r.Body)
			if err != nil || int64(len(got)) != r.ContentLength {
				t.Errorf("body of %d bytes, length %d, %v", len(got), r.ContentLength, err)
			}
			w.Write(got)
		})}, event)
		if reached == (r.StatusCode == 400) {
			t.Errorf("handler reached: %v, status %d", reached, r.StatusCode)
		}
	})
}

func FuzzHTTPAPI(f *testing.F) {
	fuzz(f, "http-api", func(event object, path, query, host, header, body string, b bool) {
		event["rawPath"], event["rawQueryString"], event["body"], event["isBase64Encoded"] = path, query, body, b
		event["headers"] = object{"host": host, "x-fuzz": header}
		event["cookies"] = []string{header, "b=2"}
	})
}

func FuzzRESTAPI(f *testing.F) {
	fuzz(f, "rest-api", func(event object, path, query, host, header, body string, b bool) {
		event["path"], event["body"], event["isBase64Encoded"] = path, body, b
		event["multiValueQueryStringParameters"] = object{query: []string{header, query}}
		event["multiValueHeaders"] = object{"Host": []string{host}, "X-Fuzz": []string{header, header}}
	})
}
