package proxy_test

import (
	"strings"
	"testing"
)

// second is a request that is hidden in the bytes of another. A server that parses these differently would process a request that
// the proxy has not checked.
const second = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\nX: y\r\n\r\n"

// If two servers could parse a request differently, the proxy refuses it and closes the connection, or forwards it in an
// unambiguous form. The proxy's server closes the connection after "Connection: close"; it must close it in the rows without
// that too.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	t.Parallel()
	const post, get = "POST / HTTP/1.1\r\nHost: a.test\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\n"
	for name, bytes := range map[string]string{
		"two lengths":                   post + "Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello" + second,
		"two lengths in one":            post + "Content-Length: 0, 5\r\n\r\nhello" + second,
		"the same length twice in one":  post + "Content-Length: 5, 5\r\n\r\nhello" + second,
		"signed length":                 post + "Content-Length: +5\r\n\r\nhello" + second,
		"negative length":               post + "Content-Length: -5\r\n\r\nhello" + second,
		"hexadecimal length":            post + "Content-Length: 0x5\r\n\r\nhello" + second,
		"length with a blank":           post + "Content-Length: 5 0\r\n\r\nhello" + second,
		"empty length":                  post + "Content-Length:\r\n\r\nhello" + second,
		"length beyond all numbers":     post + "Content-Length: 18446744073709551621\r\n\r\nhello" + second,
		"unknown coding":                post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + second,
		"coding after chunked":          post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + second,
		"coding before chunked":         post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + second,
		"chunked twice":                 post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
		"chunked and another":           post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + second,
		"chunked with a vertical tab":   post + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + second,
		"quoted chunked":                post + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n" + second,
		"empty coding":                  post + "Transfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello" + second,
		"blank before the colon":        post + "Content-Length : 5\r\n\r\nhello" + second,
		"tab before the colon":          post + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n" + second,
		"blank in a name":               post + "X Content-Length: 5\r\n\r\nhello" + second,
		"no colon":                      get + "X\r\n\r\n" + second,
		"no name":                       get + ": x\r\n\r\n" + second,
		"CR in a value":                 get + "X: a\rContent-Length: 5\r\n\r\n" + second,
		"CR in a name":                  get + "X\rY: a\r\n\r\n" + second,
		"CR before the first field":     "GET / HTTP/1.1\r\n\rHost: a.test\r\n\r\n" + second,
		"NUL in a value":                get + "X: a\x00b\r\n\r\n" + second,
		"NUL in a name":                 get + "X\x00: a\r\n\r\n" + second,
		"NUL in the path":               "GET /\x00 HTTP/1.1\r\nHost: a.test\r\n\r\n" + second,
		"CR in the path":                "GET /\rX HTTP/1.1\r\nHost: a.test\r\n\r\n" + second,
		"blank in the path":             "GET /a b HTTP/1.1\r\nHost: a.test\r\n\r\n" + second,
		"tab for a blank":               "GET\t/ HTTP/1.1\r\nHost: a.test\r\n\r\n" + second,
		"folded before the first":       "GET / HTTP/1.1\r\n X: y\r\nHost: a.test\r\n\r\n" + second,
		"no version":                    "GET /\r\nHost: a.test\r\n\r\n" + second,
		"another version":               "GET / HTTP/1.1x\r\nHost: a.test\r\n\r\n" + second,
		"no path":                       "GET  HTTP/1.1\r\nHost: a.test\r\n\r\n" + second,
		"relative path":                 "GET x HTTP/1.1\r\nHost: a.test\r\n\r\n" + second,
		"asterisk of another method":    "GET * HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n" + second,
		"method that is none":           "G(T / HTTP/1.1\r\nHost: a.test\r\n\r\n" + second,
		"no Host":                       "GET / HTTP/1.1\r\nX: y\r\n\r\n" + second,
		"empty Host":                    "GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n" + second,
		"two Hosts":                     get + "Host: evil.test\r\n\r\n" + second,
		"the same Host twice":           get + "Host: a.test\r\n\r\n" + second,
		"Host with a path":              "GET / HTTP/1.1\r\nHost: a.test/x\r\nConnection: close\r\n\r\n" + second,
		"Host with a user":              "GET / HTTP/1.1\r\nHost: evil@a.test\r\nConnection: close\r\n\r\n" + second,
		"Host with a blank":             "GET / HTTP/1.1\r\nHost: a.test evil.test\r\nConnection: close\r\n\r\n" + second,
		"Host with a list":              "GET / HTTP/1.1\r\nHost: a.test, evil.test\r\nConnection: close\r\n\r\n" + second,
		"Host with a port that is none": "GET / HTTP/1.1\r\nHost: a.test:80x\r\nConnection: close\r\n\r\n" + second,
		"Host with two ports":           "GET / HTTP/1.1\r\nHost: a.test:80:80\r\nConnection: close\r\n\r\n" + second,
		"chunk size beyond all numbers": post + "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n" + second,
		"negative chunk size":           post + "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n" + second,
		"chunk size in C":               post + "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n" + second,
		"no chunk size":                 post + "Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n" + second,
		"CR in a chunk extension":       post + "Transfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n" + second,
		"LF ends a chunk extension":     post + "Transfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n" + second,
		"chunk longer than its size":    post + "Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n" + second,
		"chunk without its end":         post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n" + second,
		"endless chunk extension":       post + "Transfer-Encoding: chunked\r\n\r\n5;" + strings.Repeat("a", 1<<16) + "\r\nhello\r\n0\r\n\r\n" + second,
		"user in the target":            "GET http://evil:x@a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n" + second,
		"target of another scheme":      "GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n" + second,
	} {
		t.Run(name, func(t *testing.T) {
			var w *wire
			var got string
			// When the inner test has ended, the origin has all that it will get.
			t.Run("wire", func(t *testing.T) {
				w = newWire(t, always(ok))
				got = w.send(t, bytes)
			})
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") && !strings.HasPrefix(got, "HTTP/1.1 501 ") { // 501 is for unknown codings (RFC 9112 section 6.1)
				t.Errorf("the client got %.400q", got)
			}
			if strings.Count(got, "HTTP/1.") != 1 {
				t.Errorf("not one answer: %.800q", got)
			}
			for _, r := range w.requests() {
				// The proxy may have begun to forward an incomplete body, but the body must not look complete.
				if _, body, _ := strings.Cut(r, "\r\n\r\n"); strings.HasPrefix(r, "GET ") || strings.HasSuffix(body, "0\r\n\r\n") {
					t.Errorf("the origin saw %.400q", r)
				}
			}
		})
	}
}

// An unusual but unambiguous request reaches the origin in its usual form.
func TestOddRequestsReachTheOriginInOneForm(t *testing.T) {
	t.Parallel()
	const closing = "Connection: close\r\n"
	for name, row := range map[string]struct{ in, out string }{
		"the same length twice": {"POST / HTTP/1.1\r\nHost: a.test\r\n" + closing + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello"},
		"folded value":          {"GET / HTTP/1.1\r\nHost: a.test\r\n" + closing + "X: a\r\n \tb\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\nX: a b\r\n\r\n"},
		"folded length":         {"POST / HTTP/1.1\r\nHost: a.test\r\n" + closing + "Content-Length:\r\n 5\r\n\r\nhello", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello"},
		"lines that end in LF":  {"GET / HTTP/1.1\nHost: a.test\nX: a\nY: b\n" + "Connection: close\n\n", "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\r\nY: b\r\n\r\n"},
		"chunked in capitals":   {"POST / HTTP/1.1\r\nHost: a.test\r\n" + closing + "transfer-encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"chunk size with zeros": {"POST / HTTP/1.1\r\nHost: a.test\r\n" + closing + "Transfer-Encoding: chunked\r\n\r\n0005\r\nhello\r\n000\r\n\r\n", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"length with zeros":     {"POST / HTTP/1.1\r\nHost: a.test\r\n" + closing + "Content-Length: 005\r\n\r\nhello", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello"},
		"fragment":              {"GET /x#y HTTP/1.1\r\nHost: a.test\r\n" + closing + "\r\n", "GET /x%23y HTTP/1.1\r\nHost: a.test\r\n\r\n"},
		"whole URL":             {"GET http://a.test/x?y HTTP/1.1\r\nHost: evil.test\r\n" + closing + "\r\n", "GET /x?y HTTP/1.1\r\nHost: a.test\r\n\r\n"},
		"whole URL with a port": {"GET https://A.test:8443 HTTP/1.1\r\nHost: a.test\r\n" + closing + "\r\n", "GET / HTTP/1.1\r\nHost: A.test:8443\r\n\r\n"},
		"underscores":           {"POST / HTTP/1.1\r\nHost: a.test\r\n" + closing + "Content_Length: 9\r\nContent-Length: 5\r\n\r\nhello", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello"},
	} {
		t.Run(name, func(t *testing.T) {
			var w *wire
			t.Run("wire", func(t *testing.T) {
				w = newWire(t, always(ok))
				// The hidden request is not read, because the client has announced the end of the connection.
				if got := w.send(t, row.in+second); !strings.HasSuffix(got, "\r\n\r\nok") || strings.Count(got, "HTTP/1.") != 1 {
					t.Errorf("the client got %q", got)
				}
			})
			seen := w.requests()
			if len(seen) != 1 {
				t.Fatalf("the origin saw %q", seen)
			}
			wantSame(t, "the origin saw", seen[0], row.out)
		})
	}
}

// Bytes after a request are the next request or an error, and never a part of the body.
func TestBytesAfterABodyAreNotForwarded(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"length": "Content-Length: 5\r\n\r\nhello", "chunked": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"} {
		var w *wire
		var got string
		t.Run(name, func(t *testing.T) {
			w = newWire(t, always(ok))
			got = w.send(t, "POST / HTTP/1.1\r\nHost: a.test\r\n"+body+"junk\r\n\r\n"+second)
		})
		seen := w.requests()
		if len(seen) != 1 || !strings.Contains(seen[0], "hello") || strings.Contains(seen[0], "junk") {
			t.Errorf("%s: the origin saw %q", name, seen)
		}
		if !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.HasSuffix(got, "\r\n\r\nok") && !strings.Contains(got, "okHTTP/1.1 400 ") {
			t.Errorf("%s: the client got %q", name, got)
		}
	}
}

// A server must close the connection after a request with both a length and chunks, and after HTTP/1.0 with chunks (RFC 9112
// section 6.1): the client may have meant another end of the body.
func TestTwoFramingsEndTheConnection(t *testing.T) {
	t.Parallel()
	const post = "POST / HTTP/1.1\r\nHost: a.test\r\n"
	for name, bytes := range map[string]string{
		"length and chunked":             post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
		"chunked and length":             post + "Transfer-Encoding: chunked\r\nContent-Length: 60\r\n\r\n0\r\n\r\n" + second,
		"chunked in HTTP/1.0":            "POST / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + second,
		"length and chunked in HTTP/1.0": "POST / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var w *wire
			var got string
			t.Run("wire", func(t *testing.T) {
				w = newWire(t, always(ok))
				got = w.send(t, bytes)
			})
			if strings.Count(got, "HTTP/1.") != 1 {
				t.Errorf("not one answer: %.800q", got)
			}
			for i, r := range w.requests() {
				if i > 0 || !strings.HasPrefix(r, "POST / ") || field(r, "Content-Length") != "" && field(r, "Transfer-Encoding") != "" {
					t.Errorf("the origin saw %.400q", r)
				}
			}
		})
	}
}
