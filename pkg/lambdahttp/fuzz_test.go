package lambdahttp_test

import (
	"bytes"
	"encoding/json"
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

func FuzzFunctionURL(f *testing.F) {
	fuzz(f, "function-url", func(event object, path, query, host, header, body string, b bool) {
		event["rawPath"], event["rawQueryString"], event["body"], event["isBase64Encoded"] = path, query, body, b
		event["headers"] = object{"host": host, "x-fuzz": header, "cookie": header}
		event["cookies"] = []string{header, "b=2"}
	})
}

func FuzzALB(f *testing.F) {
	fuzz(f, "alb-multi", func(event object, path, query, host, header, body string, b bool) {
		event["path"], event["body"], event["isBase64Encoded"] = path, body, b
		event["multiValueQueryStringParameters"] = object{query: []string{header, query}}
		event["multiValueHeaders"] = object{"host": []string{host}, "x-fuzz": []string{header, header}, "x-forwarded-for": []string{header}}
	})
}

func FuzzLattice(f *testing.F) {
	fuzz(f, "lattice", func(event object, path, query, host, header, body string, b bool) {
		event["path"], event["body"], event["isBase64Encoded"] = path, body, b
		event["queryStringParameters"] = object{query: []string{header, query}}
		event["headers"] = object{"host": []string{host}, "x-fuzz": []string{header, header}, "x-forwarded-for": []string{header}}
	})
}

// FuzzEvent decodes any payload. Each payload has a reply in both modes.
func FuzzEvent(f *testing.F) {
	log.SetOutput(io.Discard)
	f.Cleanup(func() { log.SetOutput(os.Stderr) })
	for _, name := range frontNames {
		f.Add(marshalled(f, sample(f, name)), false)
		f.Add(marshalled(f, sample(f, name)), true)
	}
	for _, s := range []string{"", "null", "{}", "[]", `{"version":"2.0","requestContext":{"http":{}}}`, `{"Records":[{"eventSource":"aws:sqs"}]}`, `{"httpMethod":"GET","requestContext":{"elb":{}}}`} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, payload []byte, stream bool) {
		a := &lambdahttp.Adapter{Stream: stream, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Path", r.URL.EscapedPath())
			io.Copy(w, r.Body)
		})}
		b, err := a.Invoke(t.Context(), payload)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := bytes.Cut(b, make([]byte, 8))
		var r reply
		if err := json.Unmarshal(head, &r); err != nil || r.StatusCode < 200 {
			t.Errorf("%q: %v", b, err)
		}
	})
}

// FuzzReply lets a handler write any response, and expects to read the same response.
func FuzzReply(f *testing.F) {
	f.Add("text/plain", "", "value", []byte("hello \"\\\n\x01 ü 🙂"), 200)
	f.Add("text/html; charset=iso-8859-1", "", "caf\xe9", []byte("\xe4\xff"), 404)
	f.Add("application/json", "gzip", "", []byte("{}"), 204)
	f.Add("", "", "a\r\nb", []byte{}, 304)
	events := map[string][]byte{}
	for _, name := range frontNames {
		events[name] = marshalled(f, sample(f, name))
	}
	f.Fuzz(func(t *testing.T, typ, coding, value string, body []byte, status int) {
		if status < 200 || status > 599 {
			return
		}
		handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", typ)
			w.Header().Set("Content-Encoding", coding)
			w.Header().Set("X-Value", value)
			w.WriteHeader(status)
			w.Write(body)
		})
		want := body
		if status == 204 || status == 304 {
			want = nil
		}
		for _, name := range frontNames {
			b, err := (&lambdahttp.Adapter{Handler: handler}).Invoke(t.Context(), events[name])
			var r reply
			if err != nil || json.Unmarshal(b, &r) != nil || r.StatusCode != status || r.body(t) != string(want) {
				t.Errorf("%s: %q, %v; want %q", name, b, err, want)
			}
		}
		for _, name := range streamFronts {
			b, err := (&lambdahttp.Adapter{Handler: handler, Stream: true}).Invoke(t.Context(), events[name])
			head, rest, ok := bytes.Cut(b, make([]byte, 8))
			if len(value)+len(typ)+len(coding) > 1000 {
				continue // it may be too large for a prelude
			}
			var r reply
			if err != nil || !ok || json.Unmarshal(head, &r) != nil || r.StatusCode != status || !bytes.Equal(rest, want) {
				t.Errorf("%s streamed: %q, %v; want %q", name, b, err, want)
			}
		}
	})
}

func FuzzDomainName(f *testing.F) {
	for _, domain := range []string{"", "a.test", "localhost:3000", "[::1]:1", "::1", "a:b:1", "[]", "[", ":", "a\x00", "é.test:1"} {
		f.Add(domain)
	}
	event := sample(f, "http-api")
	f.Fuzz(func(t *testing.T, domain string) {
		event["requestContext"].(object)["domainName"] = domain
		delete(event["headers"].(object), "host")
		got, status := receive(t, event)
		if (got != nil) == (status == 500) || got != nil && strings.ContainsAny(got.host, " /@\\\r\n\x00") {
			t.Errorf("%q: %+v, %d", domain, got, status)
		}
	})
}
