package main_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/hostname"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type object = map[string]any

// event returns a sample event of pkg/lambdahttp, with host and path in place of its own.
func event(t testing.TB, name, host, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../pkg/lambdahttp/testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var e object
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	rc := e["requestContext"].(object)
	switch name {
	case "http-api", "function-url":
		e["rawPath"] = path
		e["headers"].(object)["host"] = host
	case "rest-api":
		e["path"] = path
		e["multiValueHeaders"].(object)["Host"] = []string{host}
	case "alb-multi":
		e["path"] = path
		e["multiValueHeaders"].(object)["host"] = []string{host}
	case "alb-single":
		e["path"] = path
		e["headers"].(object)["host"] = host
	case "lattice":
		e["path"] = path
		e["headers"].(object)["host"] = []string{host}
	default:
		t.Fatalf("no event %q", name)
	}
	if name == "http-api" || name == "rest-api" {
		rc["domainName"] = hostname.ASCII(host) // AWS has it in A-labels
	}
	if b, err = json.Marshal(e); err != nil {
		t.Fatal(err)
	}
	return b
}

type reply struct {
	StatusCode        int
	Headers           map[string]string
	MultiValueHeaders map[string][]string
	Cookies           []string
	Body              string
	IsBase64Encoded   bool
}

func (r reply) header(name string) string {
	if v, ok := r.Headers[name]; ok {
		return v
	}
	return strings.Join(r.MultiValueHeaders[name], ",")
}

func invoke(t testing.TB, f *lambdatest.Function, event []byte) reply {
	t.Helper()
	var r reply
	b := f.MustInvoke(t, event)
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	if r.IsBase64Encoded {
		body, err := base64.StdEncoding.DecodeString(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		r.Body = string(body)
	}
	return r
}

func TestFunctionWithRoutesInDynamoDB(t *testing.T) {
	binary := lambdatest.Build(t)
	db := dynamodbtest.Start(t)
	table := db.CreateRoutesTable(t)
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{
		Certificates: map[string]tls.Certificate{},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/truncated":
				w.Header().Set("Content-Length", "100")
				io.WriteString(w, "half")
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			case "/large":
				w.Write(make([]byte, 7<<20))
			case "/slow":
				<-r.Context().Done()
			case "/drip": // a response that begins, and never ends
				w.Header().Set("Content-Type", "text/plain")
				for r.Context().Err() == nil {
					io.WriteString(w, "drip ")
					http.NewResponseController(w).Flush()
					select {
					case <-time.After(50 * time.Millisecond):
					case <-r.Context().Done():
					}
				}
			default:
				w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
				w.Header().Set("Content-Type", "application/octet-stream")
				fmt.Fprintf(w, "%s \x00\xff %s", r.TLS.ServerName, r.Host)
			}
		}),
	}
	for _, name := range []string{"one.spec-trust.test", "two.spec-trust.test", "a.wild.test", "xn--bcher-kva.wild.test"} {
		o.Certificates[name] = tlstest.Leaf(t, ca, name)
	}
	o.Certificates["wrong.spec-trust.test"] = tlstest.Leaf(t, ca, "someone-else.test")
	o.Start(t)
	put := func(host, origin string, more map[string]types.AttributeValue) {
		item := map[string]types.AttributeValue{"ca_pem": &types.AttributeValueMemberS{Value: ca.PEM()}}
		maps.Copy(item, more)
		item["host"], item["origin"] = &types.AttributeValueMemberS{Value: host}, &types.AttributeValueMemberS{Value: origin}
		db.Put(t, table, item)
	}
	for _, host := range []string{"one.spec-trust.test", "two.spec-trust.test", "wrong.spec-trust.test", "*.wild.test"} {
		put(host, o.Addr, nil)
	}
	put("bad.spec-trust.test", o.Addr, map[string]types.AttributeValue{"tls_min": &types.AttributeValueMemberS{Value: "1.0"}})
	put("private.spec-trust.test", "169.254.169.254", nil)
	env := []string{
		"ROUTES_TABLE=" + table, "AWS_ENDPOINT_URL_DYNAMODB=" + db.Endpoint, "ORIGIN_ALLOW_CIDRS=127.0.0.0/8",
		"HTTPS_PROXY=http://127.0.0.1:1", "https_proxy=http://127.0.0.1:1", // must not matter
	}
	start := func(t *testing.T, more ...string) *lambdatest.Function {
		return lambdatest.Start(t, binary, append(env, more...)...)
	}
	fronts := []string{"http-api", "rest-api", "function-url", "alb-multi", "alb-single", "lattice"}

	t.Run("events reach the origin under the client's name", func(t *testing.T) {
		f := start(t)
		for _, front := range fronts {
			for _, written := range []string{"one.spec-trust.test", "two.spec-trust.test", "a.wild.test", "B\u00fccher.wild.test"} {
				host := strings.Replace(written, "B\u00fccher", "xn--bcher-kva", 1) // JSON can have any Host
				r := invoke(t, f, event(t, front, written, "/x/y"))
				if r.StatusCode != 200 || r.Body != host+" \x00\xff "+host || !r.IsBase64Encoded {
					t.Fatalf("%s %s: %+v", front, written, r)
				}
				got := append(r.Cookies, r.MultiValueHeaders["Set-Cookie"]...)
				if one := r.Headers["Set-Cookie"]; one != "" {
					got = []string{one, r.Headers["set-Cookie"]}
				}
				if len(got) != 2 || got[1] != "b=2" {
					t.Errorf("%s: cookies %q", front, got)
				}
				seen := o.Last(t)
				if seen.SNI != host || seen.Host != host || !strings.HasPrefix(seen.URI, "/x/y?") || seen.Method != "POST" || seen.Body != `{"hello":"world"}` ||
					seen.Header.Get("X-Forwarded-For") != "192.0.2.1" || seen.Header.Get("X-Forwarded-Proto") != "https" ||
					strings.Join(seen.Header["Cookie"], "|") != "cookie1=one; cookie2=two" {
					t.Errorf("%s: the origin saw %+v", front, seen)
				}
			}
		}
	})
	t.Run("what goes wrong is answered, and the process lives on", func(t *testing.T) {
		f := start(t)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if r, err := f.Invoke(ctx, event(t, "http-api", "one.spec-trust.test", "/slow")); err != nil || r.Failed || !strings.Contains(string(r.Body), "http_response_timeout") {
			t.Errorf("slow origin: %s, %v", r.Body, err)
		}
		for _, front := range fronts {
			for _, c := range []struct {
				host, path string
				status     int
				errorType  string
			}{
				{"unmapped.test", "/", 404, "destination_not_found"},
				{"a..b", "/", 400, "http_request_error"},
				{"bad.spec-trust.test", "/", 500, "proxy_configuration_error"},
				{"wrong.spec-trust.test", "/", 502, "tls_certificate_error"},
				{"private.spec-trust.test", "/", 502, "destination_ip_prohibited"},
				{"one.spec-trust.test", "/truncated", 502, "http_response_incomplete"},
				{"one.spec-trust.test", "/large", 502, "http_response_body_size"},
			} {
				r := invoke(t, f, event(t, front, c.host, c.path))
				if r.StatusCode != c.status || r.header("Proxy-Status") != "sleight; error="+c.errorType {
					t.Errorf("%s %s%s: %d %s, want %d %s", front, c.host, c.path, r.StatusCode, r.header("Proxy-Status"), c.status, c.errorType)
				}
			}
		}
		for malformed, want := range map[string]struct {
			status    int
			errorType string
		}{
			`{}`: {500, "proxy_configuration_error"}, `null`: {500, "proxy_configuration_error"}, `{"Records":[{"eventSource":"aws:sqs"}]}`: {500, "proxy_configuration_error"},
			`{"version":"1.0","httpMethod":"GET","path":"/","requestContext":{"resourceId":"$default"}}`:     {500, "proxy_configuration_error"},
			`{"version":"2.0","requestContext":{"http":{"method":"GET"}},"body":"!","isBase64Encoded":true}`: {400, "http_request_error"},
		} {
			if r := invoke(t, f, []byte(malformed)); r.StatusCode != want.status || r.header("Proxy-Status") != "sleight; error="+want.errorType {
				t.Errorf("%s: %+v", malformed, r)
			}
		}
		for _, front := range fronts { // some emulators send a duration in place of a date
			ctx, cancel := context.WithDeadline(t.Context(), time.UnixMilli(5000))
			r, err := f.Invoke(ctx, event(t, front, "one.spec-trust.test", "/"))
			cancel()
			var got reply
			if err != nil || json.Unmarshal(r.Body, &got) != nil || got.StatusCode != 200 {
				t.Errorf("%s, a deadline in 1970: %s, %v", front, r.Body, err)
			}
		}
		if r := invoke(t, f, event(t, "http-api", "one.spec-trust.test", "/")); r.StatusCode != 200 {
			t.Errorf("afterwards: %+v", r)
		}
		for line := range strings.SplitSeq(f.Log(), "\n") {
			var entry struct{ Timestamp, Level, Msg, RequestID, TraceID string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Timestamp == "" || entry.Level == "" {
				t.Errorf("not a JSON log line: %s", line)
			}
			if entry.Msg == "request failed" && (entry.RequestID == "" || !strings.HasPrefix(entry.TraceID, "Root=")) {
				t.Errorf("not to be found by its invocation: %s", line)
			}
		}
	})
	// Otherwise Lambda or the front would respond.
	t.Run("time runs out in each phase", func(t *testing.T) {
		put("hanging.spec-trust.test", tlstest.Listen(t, func(c net.Conn) { io.Copy(io.Discard, c) }), nil)
		put("refusing-and-hanging.spec-trust.test", tlstest.Listen(t, func(c net.Conn) { c.Write([]byte{22, 3, 3, 0, 200}); io.Copy(io.Discard, c) }), nil)
		for _, c := range []struct{ host, path, errorType string }{
			{"hanging.spec-trust.test", "/", "connection_timeout"},
			{"refusing-and-hanging.spec-trust.test", "/", "connection_timeout"},
			{"one.spec-trust.test", "/slow", "http_response_timeout"},
			{"one.spec-trust.test", "/drip", "http_response_timeout"},
		} {
			t.Run(c.host+c.path, func(t *testing.T) {
				t.Parallel()
				f := start(t)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				r, err := f.Invoke(ctx, event(t, "http-api", c.host, c.path))
				if err != nil || r.Failed || ctx.Err() != nil {
					t.Fatalf("%+v, %v, %v", r, err, ctx.Err())
				}
				var got reply
				if err := json.Unmarshal(r.Body, &got); err != nil || got.StatusCode != 504 || got.header("Proxy-Status") != "sleight; error="+c.errorType {
					t.Errorf("%s, %v", r.Body, err)
				}
			})
		}
	})
	t.Run("one handshake for a thousand invocations of one host", func(t *testing.T) {
		f := start(t)
		before := len(o.Handshakes())
		e := event(t, "http-api", "one.spec-trust.test", "/")
		for range 1000 {
			if r := invoke(t, f, e); r.StatusCode != 200 {
				t.Fatalf("%+v", r)
			}
		}
		if n := len(o.Handshakes()) - before; n != 1 {
			t.Errorf("%d handshakes, want 1", n)
		}
	})
	t.Run("a changed route takes effect", func(t *testing.T) {
		f := start(t, "ROUTES_TTL=0s")
		other := tlstest.NewOrigin(t, ca, "moving.test")
		put("moving.test", other.Addr, nil)
		e := event(t, "http-api", "moving.test", "/")
		if r := invoke(t, f, e); r.StatusCode != 200 {
			t.Fatalf("%+v", r)
		}
		second := tlstest.NewOrigin(t, ca, "moving.test")
		put("moving.test", second.Addr, nil)
		if r := invoke(t, f, e); r.StatusCode != 200 || len(second.Requests()) != 1 || len(other.Requests()) != 1 {
			t.Errorf("%+v; %d requests at the old origin, %d at the new", r, len(other.Requests()), len(second.Requests()))
		}
	})
	t.Run("frozen between invocations", func(t *testing.T) {
		f := start(t)
		e := event(t, "http-api", "one.spec-trust.test", "/")
		invoke(t, f, e)
		for range 5 {
			if err := f.Freeze(); err != nil {
				t.Fatal(err)
			}
			if err := f.Thaw(); err != nil {
				t.Fatal(err)
			}
			if r := invoke(t, f, e); r.StatusCode != 200 {
				t.Errorf("%+v", r)
			}
		}
	})
	t.Run("many invocations at once", func(t *testing.T) {
		race := lambdatest.BuildPackage(t, "./functions/proxy", "-race")
		f := lambdatest.Start(t, race, append(env, "AWS_LAMBDA_MAX_CONCURRENCY=8")...)
		var wg sync.WaitGroup
		for i := range 64 {
			host := []string{"one.spec-trust.test", "two.spec-trust.test"}[i%2]
			e := event(t, fronts[i/2%len(fronts)], host, "/")
			wg.Go(func() {
				r, err := f.Invoke(t.Context(), e)
				var got reply
				if err == nil {
					err = json.Unmarshal(r.Body, &got)
				}
				body, _ := base64.StdEncoding.DecodeString(got.Body)
				if err != nil || string(body) != host+" \x00\xff "+host {
					t.Errorf("%s: %+v, %v", host, got, err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("WARM_HOSTS have their connection before the first request", func(t *testing.T) {
		before := len(o.Handshakes())
		f := start(t, "WARM_HOSTS=one.spec-trust.test,TWO.spec-trust.test.,none.spec-trust.test,private.spec-trust.test")
		if got := o.Handshakes()[before:]; len(got) != 2 || !slices.Contains(got, "one.spec-trust.test") || !slices.Contains(got, "two.spec-trust.test") {
			t.Errorf("handshakes %q at the start", got)
		}
		get := withoutBody(t, event(t, "http-api", "one.spec-trust.test", "/"), "GET")
		if r := invoke(t, f, get); r.StatusCode != 200 {
			t.Errorf("%+v", r)
		}
		if n := len(o.Handshakes()) - before; n != 2 {
			t.Errorf("%d handshakes after the request", n)
		}
		for _, host := range []string{"none.spec-trust.test", "private.spec-trust.test"} {
			if !strings.Contains(f.Log(), host) {
				t.Errorf("nothing is said of %s", host)
			}
		}
	})
	t.Run("WARM_HOSTS that hang do not keep the function from starting", func(t *testing.T) {
		silent := tlstest.Listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
		put("silent.spec-trust.test", silent, nil)
		f := start(t, "WARM_HOSTS=silent.spec-trust.test")
		if r := invoke(t, f, event(t, "http-api", "one.spec-trust.test", "/")); r.StatusCode != 200 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("DynamoDB is down", func(t *testing.T) {
		f := start(t, "AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:1", "AWS_MAX_ATTEMPTS=1")
		if r := invoke(t, f, event(t, "http-api", "one.spec-trust.test", "/")); r.StatusCode != 503 || r.header("Retry-After") == "" {
			t.Errorf("%+v", r)
		}
	})
}

func TestFunctionWithRoutesInAFile(t *testing.T) {
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "one.spec-trust.test")
	name := routesFile(t, object{"host": "one.spec-trust.test", "origin": o.Addr, "ca_pem": ca.PEM()})
	f := lambdatest.Start(t, lambdatest.Build(t), "ROUTES_FILE="+name, "ORIGIN_ALLOW_CIDRS=127.0.0.0/8")
	for _, front := range []string{"http-api", "rest-api", "function-url", "alb-multi", "lattice"} {
		if r := invoke(t, f, event(t, front, "one.spec-trust.test", "/")); r.StatusCode != 200 || strings.TrimSpace(r.Body) != "one.spec-trust.test" {
			t.Errorf("%s: %+v", front, r)
		}
	}
}

func TestFunctionUsesClientCertificatesFromADirectory(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{"one.spec-trust.test": tlstest.Leaf(t, ca, "one.spec-trust.test")}, Config: func(c *tls.Config) {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	}}
	o.Start(t)
	dir := t.TempDir()
	renew := func(name string) {
		c := tlstest.Leaf(t, ca, name, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
		key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		pair := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "new"), pair, 0o600), os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "shop.pem"))); err != nil {
			t.Fatal(err)
		}
	}
	pin := sha256.Sum256(o.Certificates["one.spec-trust.test"].Leaf.RawSubjectPublicKeyInfo)
	routes := routesFile(t, object{
		"host": "one.spec-trust.test", "origin": o.Addr, "ca_pem": ca.PEM(), "client_cert": "shop", "spki_pins": []string{base64.StdEncoding.EncodeToString(pin[:])},
	})
	f := lambdatest.Start(t, lambdatest.Build(t), "ROUTES_FILE="+routes, "ORIGIN_ALLOW_CIDRS=127.0.0.0/8", "CLIENT_CERTS_DIR="+dir)
	e := event(t, "http-api", "one.spec-trust.test", "/")
	if r := invoke(t, f, e); r.StatusCode != 500 || r.header("Proxy-Status") != "sleight; error=proxy_configuration_error" {
		t.Errorf("without the file: %+v", r)
	}
	for _, name := range []string{"client one", "client two"} {
		renew(name)
		if r := invoke(t, f, e); r.StatusCode != 200 || o.Last(t).ClientCert != name {
			t.Errorf("%+v, the origin saw %q, want %q", r, o.Last(t).ClientCert, name)
		}
	}
}

func TestInvalidConfigurationEndsTheStartWithOneLine(t *testing.T) {
	binary := lambdatest.Build(t)
	for env, says := range map[string]string{
		"":                                 "ROUTES_TABLE",
		"ROUTES_FILE=/no/such/file.json":   "/no/such/file.json",
		"FORCE_HTTPS=perhaps":              "FORCE_HTTPS",
		"RESPONSE_MODE=streaming":          "RESPONSE_MODE",
		"ORIGIN_ALLOW_CIDRS=10.0.0.0/8;::": "ORIGIN_ALLOW_CIDRS",
	} {
		status, out := lambdatest.StartExpectExit(t, binary, env)
		if status != 1 || strings.Contains(out, "\n") || !strings.HasPrefix(out, "sleight: ") || !strings.Contains(out, says) {
			t.Errorf("%s: status %d, output %q", env, status, out)
		}
	}
}
