package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// For each fault of an origin or a route, the client learns what happened, and no details such as addresses.
func TestFailuresAreExplained(t *testing.T) {
	t.Parallel()
	ca, evil := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{
		"wrong.test":   tlstest.Leaf(t, ca, "someone-else.test"),
		"evil.test":    tlstest.Leaf(t, evil, "evil.test"),
		"expired.test": tlstest.Leaf(t, ca, "expired.test", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"slow.test":    tlstest.Leaf(t, ca, "slow.test"),
		"pinned.test":  tlstest.Leaf(t, ca, "pinned.test"),
		"early.test":   tlstest.Leaf(t, ca, "early.test", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }),
		"client.test":  tlstest.Leaf(t, ca, "client.test", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }),
	}, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
	o.Start(t)
	plain := &tlstest.Origin{Plain: true}
	plain.Start(t)
	broken := tlstest.Listen(t, func(c net.Conn) { c.Close() })
	silent := tlstest.Listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	var all []route
	for host, address := range map[string]string{
		"wrong.test": o.Addr, "evil.test": o.Addr, "expired.test": o.Addr, "unknown-there.test": o.Addr, "slow.test": o.Addr, "plain.test": plain.Addr,
		"broken.test": broken, "silent.test": silent, "refused.test": "127.0.0.1:1", "renamed.test": o.Addr, "private.test": "10.1.2.3", "nodns.test": "lb.invalid", "http.test": "http://" + plain.Addr,
	} {
		r := route{"host": host, "origin": address}
		if host != "http.test" {
			r["ca_pem"] = ca.PEM()
		}
		all = append(all, r)
	}
	all[slices.IndexFunc(all, func(r route) bool { return r["host"] == "renamed.test" })]["server_name"] = "backend.test"
	all = append(all,
		route{"host": "pinned.test", "origin": o.Addr, "ca_pem": ca.PEM(), "spki_pins": []string{base64.StdEncoding.EncodeToString(make([]byte, 32))}},
		route{"host": "early.test", "origin": o.Addr, "ca_pem": ca.PEM()}, route{"host": "client.test", "origin": o.Addr, "ca_pem": ca.PEM()},
		route{"host": "mtls.test", "origin": o.Addr, "client_cert": "shop"})
	all = append(all, route{"host": "bad.test", "origin": o.Addr, "tls_min": "1.0"}, route{"host": "off.test", "origin": o.Addr, "enabled": false})
	b := start(t, routes(t, all...))
	for _, c := range []struct {
		host      string
		status    int
		errorType string
		says      string
	}{
		{"unmapped.test", 404, "destination_not_found", "unmapped.test"},
		{"off.test", 404, "destination_not_found", "off.test"},
		{"192.0.2.1", 404, "destination_not_found", "that host"},
		{"[2001:db8::1]:80", 404, "destination_not_found", "that host"},
		{"a..b", 400, "http_request_error", "not a hostname"},
		{"user@a.test", 400, "http_request_error", "not a hostname"},
		{"bad.test", 500, "proxy_configuration_error", "bad.test is not valid"},
		{"wrong.test", 502, "tls_certificate_error", "a certificate for somebody else"},
		{"evil.test", 502, "tls_certificate_error", "authority that is not trusted"},
		{"expired.test", 502, "tls_certificate_error", "has expired"},
		{"early.test", 502, "tls_certificate_error", "not valid yet"},
		{"client.test", 502, "tls_certificate_error", "not for servers"},
		{"pinned.test", 502, "tls_certificate_error", "spki_pins"},
		{"mtls.test", 500, "proxy_configuration_error", "cannot be used"},
		{"unknown-there.test", 502, "tls_alert_received", "has a certificate for it"},
		{"renamed.test", 502, "tls_alert_received", "renamed.test"},
		{"plain.test", 502, "tls_protocol_error", "speaks TLS"},
		{"broken.test", 502, "connection_terminated", "closed the connection"},
		{"silent.test", 504, "connection_timeout", "in time"},
		{"refused.test", 502, "connection_refused", "refuses connections"},
		{"private.test", 502, "destination_ip_prohibited", "ORIGIN_ALLOW_CIDRS"},
		{"nodns.test", 502, "dns_error", "DNS"},
		{"http.test", 500, "proxy_configuration_error", "cannot be used"},
	} {
		t.Run(c.host, func(t *testing.T) {
			got := b.do(t, c.host)
			if got.want(t, c.status, c.errorType); !strings.Contains(got.body, c.says) {
				t.Errorf("the body does not say %q: %s", c.says, got.body)
			}
			page := b.do(t, c.host, func(r *http.Request) { r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8") })
			if page.want(t, c.status, c.errorType); !strings.Contains(page.body, c.says) {
				t.Errorf("the page does not say %q: %s", c.says, page.body)
			}
		})
	}
	for _, r := range append(o.Requests(), plain.Requests()...) {
		t.Errorf("a request reached an origin: %+v", r)
	}
	log := b.log.String()
	if !strings.Contains(log, `tls_min`) || !strings.Contains(log, `"certificate_names":"someone-else.test"`) {
		t.Errorf("the log does not tell the attribute or the certificate:\n%s", log)
	}
	for _, says := range []string{`"certificate_problem":"pin mismatch"`, `"tls_alert":`, `"origin":"` + o.Addr, "no client certificates are configured"} {
		if !strings.Contains(log, says) {
			t.Errorf("the log does not have %s:\n%s", says, log)
		}
	}
	if strings.Contains(log, "user@a.test\n") || strings.Contains(log, "GET ") {
		t.Errorf("the log repeats what a stranger sent:\n%s", log)
	}

	t.Run("slow.test", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "GET", "http://slow.test/", nil)
		w := httptest.NewRecorder()
		b.handler.ServeHTTP(w, r)
		result{w.Code, w.Header(), w.Body.String()}.want(t, 504, "http_response_timeout")
	})
}

func TestStoreFailuresAreNotMistakenForMissingRoutes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err       error
		status    int
		errorType string
	}{
		{errors.New("store at 10.1.2.3 is down"), 503, "proxy_internal_error"},
		{context.DeadlineExceeded, 503, "proxy_internal_error"},
		{&origin.InvalidRouteError{Host: "a.test", Attribute: "origin", Reason: "is odd"}, 500, "proxy_configuration_error"},
		{fmt.Errorf("wrapped: %w", origin.ErrNotFound), 404, "destination_not_found"},
	} {
		b := start(t, storeFunc(func(context.Context, string) (*origin.Route, error) { return nil, c.err }))
		got := b.do(t, "a.test")
		got.want(t, c.status, c.errorType)
		if (got.header.Get("Retry-After") != "") != (c.status == 503) {
			t.Errorf("%v: Retry-After %q", c.err, got.header.Get("Retry-After"))
		}
	}
}

type storeFunc func(context.Context, string) (*origin.Route, error)

func (f storeFunc) Lookup(ctx context.Context, host string) (*origin.Route, error) {
	return f(ctx, host)
}

func TestCausesOfTheServerHaveTheirRows(t *testing.T) {
	t.Parallel()
	h := newHandler(t, proxy.Config{Logger: slog.New(slog.DiscardHandler)})
	for _, c := range []struct {
		err       error
		status    int
		errorType string
	}{
		{proxy.ErrBadRequest, 400, "http_request_error"},
		{proxy.ErrIncompleteResponse, 502, "http_response_incomplete"},
		{proxy.ErrResponseTooLarge, 502, "http_response_body_size"},
		{proxy.ErrTimeout, 504, "http_response_timeout"},
		{errors.New("boom at 127.0.0.1"), 500, "proxy_internal_error"},
	} {
		w := httptest.NewRecorder()
		w.Header().Set("Set-Cookie", "left=behind")
		h.Fail(w, httptest.NewRequest("GET", "/", nil), fmt.Errorf("wrapped: %w", c.err))
		result{w.Code, w.Header(), w.Body.String()}.want(t, c.status, c.errorType)
		if w.Header().Get("Set-Cookie") != "" {
			t.Error("a header of the origin's answer is left")
		}
	}
}

// net/http would panic at such a status, or treat it as a success.
func TestInvalidStatusIsRefused(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	leaf := tlstest.Leaf(t, ca, "a.test")
	for _, status := range []string{"000", "099", "101", "600", "999"} {
		address := tlstest.Listen(t, func(c net.Conn) {
			conn := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{leaf}})
			conn.Read(make([]byte, 4096))
			io.WriteString(conn, "HTTP/1.1 "+status+" Odd\r\nContent-Length: 0\r\n\r\n")
			io.Copy(io.Discard, conn)
		})
		start(t, routes(t, route{"host": "a.test", "origin": address, "ca_pem": ca.PEM()})).do(t, "a.test").want(t, 502, "http_protocol_error")
	}
}

func TestBrokenBodyOfTheClientIsNotTheOriginsFault(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	b := start(t, routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}))
	c := b.send(t, "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
	readResponse(t, c).want(t, 400, "http_request_error")
}

// A server that cannot return a response calls Fail after the handler has returned. That is still a single request in the log.
func TestReplacedResponseIsOneLogLine(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	b := start(t, routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}))
	r, done := b.handler.Begin(httptest.NewRequest("GET", "http://A.test:8080/", nil))
	b.handler.ServeHTTP(httptest.NewRecorder(), r)
	w := httptest.NewRecorder()
	b.handler.Fail(w, r, &proxy.ResponseTooLargeError{Limit: 6 << 20})
	done()
	line := b.lines(t)[0]
	if line["host"] != "a.test" || line["status"] != 502.0 || line["problem"] != "response-too-large" || line["bytes"] != float64(w.Body.Len()) || line["origin"] != o.Addr {
		t.Errorf("log %v", line)
	}
	if n := len(b.lines(t)); n != 1 || !strings.Contains(w.Body.String(), "a.test") || !strings.Contains(w.Body.String(), "6 MiB") {
		t.Errorf("%d lines, body %s", n, w.Body)
	}
}

// An incomplete response must not look complete.
func TestTruncatedBodyDoesNotLookComplete(t *testing.T) {
	t.Parallel()
	for _, http1 := range []bool{true, false} {
		ca := tlstest.NewAuthority(t)
		o := &tlstest.Origin{Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, HTTP1: http1, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})}
		o.Start(t)
		b := start(t, routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM(), "protocols": offers(!http1)}))
		r, _ := http.NewRequestWithContext(t.Context(), "GET", b.url, nil)
		r.Host = "a.test"
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err != nil {
			continue // nothing has been sent yet
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			t.Errorf("HTTP/1.1 %v: status %d, body %q without an error", http1, resp.StatusCode, body)
		}
	}
}

// Otherwise a response that nobody got would be counted as sent.
func TestGoneClientGetsNoResponse(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for ctx, err := range map[context.Context]error{gone: fmt.Errorf("wrapped: %w", context.Canceled), t.Context(): proxy.ErrClientGone} {
		b := start(t, routes(t))
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if got := recover(); got != http.ErrAbortHandler {
					t.Errorf("%v: panic %v", err, got)
				}
			}()
			b.handler.Fail(w, httptest.NewRequestWithContext(ctx, "GET", "http://a.test/", nil), err)
		}()
		if log := b.log.String(); len(w.Header()) != 0 || w.Body.Len() != 0 || !strings.Contains(log, `"status":499`) || !strings.Contains(log, `"problem":"client-gone"`) {
			t.Errorf("%v: %v %s, log %s", err, w.Header(), w.Body, log)
		}
	}
}

func TestGoneClientCancelsTheOriginsRequest(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	ended := make(chan struct{})
	arrived := make(chan struct{})
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(ended)
	})}
	o.Start(t)
	b := start(t, routes(t, route{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()}))
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, "GET", b.url, nil)
	r.Host = "a.test"
	go func() { <-arrived; cancel() }()
	if resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r); err == nil {
		resp.Body.Close()
		t.Error("no error")
	}
	<-ended
}
