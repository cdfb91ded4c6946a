package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

func TestRequestOverALimitIsRefusedWithTheLimit(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	const fields = 5
	head := func(line string, fields ...string) string {
		return line + " HTTP/1.1\r\nHost: a.test\r\n" + strings.Join(fields, "") + "\r\n"
	}
	// The fields that the proxy adds count too.
	const own = len("Via" + "1.1 sleight" + "Cdn-Loop" + "sleight" + "X-Forwarded-For" + "127.0.0.1" + "X-Forwarded-Host" + "a.test" + "X-Forwarded-Proto" + "http" + "Forwarded" + "for=127.0.0.1;host=a.test;proto=http")
	many := func(n int) string { return strings.Repeat("X: y\r\n", n) }
	for _, c := range []struct {
		name, request, problem, says string
		limits                       proxy.Limits
		status                       int // 200 if it is within the limits
	}{
		{"URL, at most", head("GET /" + strings.Repeat("a", 16<<10-1)), "", "", proxy.Limits{}, 200},
		{"URL", head("GET /" + strings.Repeat("a", 16<<10)), "url-too-long", "16 KiB", proxy.Limits{}, 414},
		{"query", head("GET /?" + strings.Repeat("a", 16<<10)), "url-too-long", "16 KiB", proxy.Limits{}, 414},
		{"URL whose path is longer as it is written", head("GET /" + strings.Repeat("%20", 90)), "url-too-long", "200 bytes", proxy.Limits{URLBytes: 200}, 414},
		{"query of bytes that are written as three each", head("GET /?" + strings.Repeat("\xe9", 67)), "url-too-long", "200 bytes", proxy.Limits{URLBytes: 200}, 414},
		{"URL without a limit", head("GET /" + strings.Repeat("a", 17<<10)), "", "", proxy.Limits{URLBytes: -1}, 200},
		{"fields, at most", head("GET /", many(fields)), "", "", proxy.Limits{HeaderFields: fields}, 200},
		{"fields", head("GET /", many(fields+1)), "too-many-request-headers", "more than 5 header fields", proxy.Limits{HeaderFields: fields}, 431},
		{"fields by default", head("GET /", many(257)), "too-many-request-headers", "256", proxy.Limits{}, 431},
		{"header, at most", head("GET /", "Xx: "+strings.Repeat("a", 298-own)+"\r\n"), "", "", proxy.Limits{HeaderBytes: 300}, 200},
		{"header with what is added", head("GET /", "Xx: "+strings.Repeat("a", 299-own)+"\r\n"), "request-header-too-large", "300 bytes", proxy.Limits{HeaderBytes: 300}, 431},
		{"header", head("GET /", "Xx: "+strings.Repeat("a", 99)+"\r\n"), "request-header-too-large", "100 bytes", proxy.Limits{HeaderBytes: 100}, 431},
		{"header by default", head("GET /", "Cookie: "+strings.Repeat("a", 64<<10)+"\r\n"), "request-header-too-large", "64 KiB", proxy.Limits{}, 431},
		{"body, at most", head("POST /", "Content-Length: 10\r\n") + "0123456789", "", "", proxy.Limits{BodyBytes: 10}, 200},
		{"body", head("POST /", "Content-Length: 11\r\n"), "request-body-too-large", "10 bytes", proxy.Limits{BodyBytes: 10}, 413},
		{"body that the client asks about", head("POST /", "Content-Length: 11\r\nExpect: 100-continue\r\n"), "request-body-too-large", "10 bytes", proxy.Limits{BodyBytes: 10}, 413},
		{"chunks, at most", head("POST /", "Transfer-Encoding: chunked\r\n") + "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n", "", "", proxy.Limits{BodyBytes: 10}, 200},
		{"chunks", head("POST /", "Transfer-Encoding: chunked\r\n") + "4\r\n0123\r\n7\r\n456789a\r\n0\r\n\r\n", "request-body-too-large", "10 bytes", proxy.Limits{BodyBytes: 10}, 413},
		{"chunks without end", head("POST /", "Transfer-Encoding: chunked\r\n") + "ffff\r\n" + strings.Repeat("a", 1000), "request-body-too-large", "10 bytes", proxy.Limits{BodyBytes: 10}, 413},
		{"body without a limit", head("POST /", "Content-Length: 11\r\n") + "0123456789a", "", "", proxy.Limits{BodyBytes: -1}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b, lines := one(t, route{"origin": o.Addr, "ca_pem": ca.PEM()}, func(config *proxy.Config) { config.Limits = c.limits })
			got := readResponse(t, b.send(t, c.request))
			line := lines.next(t)
			if c.status == 200 {
				if got.status != 200 || line["problem"] != nil {
					t.Errorf("%+v, logged %v", got, line)
				}
				return
			}
			got.want(t, c.status, "http_request_error")
			if wantLine(t, line, float64(c.status), c.problem); !strings.Contains(got.body, c.says) {
				t.Errorf("the limit is not told: %s", got.body)
			}
			if _, dialled := line["connect_ms"]; dialled && !strings.HasPrefix(c.name, "chunks") {
				t.Errorf("the origin was asked: %v", line)
			}
		})
	}
}

func TestStreamsBodyHasTheSameLimit(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	b, lines := one(t, route{"origin": o.Addr, "ca_pem": ca.PEM()}, func(c *proxy.Config) { c.Limits.BodyBytes = 10 })
	client, url := b.h2c(t)
	for n, status := range map[int]int{10: 200, 11: 413} {
		for _, known := range []bool{false, true} {
			r, _ := http.NewRequestWithContext(t.Context(), "POST", url, io.LimitReader(endless{}, int64(n)))
			r.Host = "a.test"
			if known {
				r.ContentLength = int64(n)
			}
			resp, err := client.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if line := lines.next(t); resp.StatusCode != status || line["status"] != float64(status) {
				t.Errorf("%d bytes, known %v: status %d, %s, logged %v", n, known, resp.StatusCode, body, fmt.Sprint(line))
			}
		}
	}
}
