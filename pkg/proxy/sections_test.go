package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// odd are hop-by-hop fields, which make a message over HTTP/2 malformed (RFC 9113 section 8.2.2), and a field that stays.
var odd = []string{"connection: x-hop, x-Second", "keep-alive: timeout=5", "proxy-connection: keep-alive", "proxy-authenticate: Basic", "te: trailers",
	"upgrade: h2c", "x-hop: 1", "x-second: 2", "x-stays: 3"}

// inTrailers are fields that a header may have, and a trailer section may not.
var inTrailers = []string{"content-length: 0", "host: evil.test", "authorization: Basic eA==", "www-authenticate: Basic", "set-cookie: sid=1", "cookie: a=b", "location: /x",
	"cache-control: no-store", "content-type: text/plain", "content-encoding: gzip", "content-range: bytes 0-1/2", "x-forwarded-for: 6.6.6.6", "via: 1.1 x", "if-match: *"}

// fieldLines returns a section in the form of HTTP/1.1.
func fieldLines(section []string) string { return strings.Join(section, "\r\n") + "\r\n" }

// clients send a request in each version of HTTP, and return the sections of the response.
var clients = map[string]func(t testing.TB, b *bench) message{
	"HTTP/1.1": func(t testing.TB, b *bench) message {
		c := b.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close, TE\r\nTE: trailers\r\n\r\n")
		whole, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		var m message
		for rest := string(whole); ; {
			head, after, ok := strings.Cut(rest, "\r\n\r\n")
			if !ok {
				t.Fatalf("%q", whole)
			}
			status, section, _ := strings.Cut(head, "\r\n")
			parsed := fields{":status: " + strings.Fields(status)[1]}
			for line := range strings.SplitSeq(section, "\r\n") {
				name, value, _ := strings.Cut(line, ": ")
				parsed = append(parsed, strings.ToLower(name)+": "+value)
			}
			m.sections = append(m.sections, parsed)
			if rest = after; parsed[0][len(":status: ")] == '1' {
				continue
			}
			_, trailers, chunked := strings.Cut(rest, "0\r\n")
			m.body = rest
			if chunked {
				m.body = "ok"
				var last fields
				for line := range strings.SplitSeq(strings.TrimSuffix(trailers, "\r\n"), "\r\n") {
					if name, value, ok := strings.Cut(line, ": "); ok {
						last = append(last, strings.ToLower(name)+": "+value)
					}
				}
				m.sections = append(m.sections, last)
			}
			return m
		}
	},
	"HTTP/2": func(t testing.TB, b *bench) message { return byFrames(t, b.handler, aRequest("te: trailers"), "") },
}

// Clients over HTTP/2 got no response if a 103 had Keep-Alive, or a trailer section Upgrade.
func TestEverySectionOfAResponseIsCleaned(t *testing.T) {
	t.Parallel()
	final := slices.DeleteFunc(slices.Clone(odd), func(f string) bool { return strings.HasPrefix(f, "upgrade") })
	trailer := slices.Concat(odd, inTrailers)
	origins := map[string]func(t testing.TB) *bench{
		"HTTP/1.1": func(t testing.TB) *bench {
			b := newWire(t, always("HTTP/1.1 103 Early Hints\r\n"+fieldLines(odd)+"Content-Length: 9\r\n\r\n"+
				"HTTP/1.1 200 OK\r\n"+fieldLines(final)+"Transfer-Encoding: chunked\r\nTrailer: X-Stays, Connection, Upgrade, Content-Length, Transfer-Encoding, Trailer\r\n\r\n2\r\nok\r\n0\r\n"+fieldLines(trailer)+"\r\n"))
			return &bench{handler: b.handler.(*proxy.Handler), url: "http://" + b.addr}
		},
		"HTTP/2": func(t testing.TB) *bench {
			address, caPEM, _ := http2Origin(t, []fields{append(fields{":status: 103", "content-length: 9"}, odd...),
				append(fields{":status: 200", "trailer: x-stays, content-length, transfer-encoding, upgrade, x bad"}, final...)}, trailer)
			return handlerFor(t, address, caPEM)
		},
	}
	for client, ask := range clients {
		for from, origin := range origins {
			t.Run(from+" to "+client, func(t *testing.T) {
				t.Parallel()
				got := ask(t, origin(t))
				if got.reset != "" || got.body != "ok" || len(got.sections) != 3 {
					t.Fatalf("%+v", got)
				}
				for i, status := range []string{"103", "200", ""} {
					section := got.sections[i]
					allowed := []string{":status", "x-stays"}
					if i == 1 {
						allowed = append(allowed, "date", "trailer", "transfer-encoding")
						if from == "HTTP/2" {
							// Go after 1.26.8 removes Connection itself, but not the fields that it names. Connection has no
							// meaning over HTTP/2 (RFC 9113 section 8.2.2).
							allowed = append(allowed, "x-hop", "x-second")
						}
						if client == "HTTP/1.1" {
							allowed = append(allowed, "connection") // the proxy sets it
						}
						if announced := strings.ToLower(strings.Join(section.get("trailer"), "|")); announced != "" && announced != "x-stays" {
							t.Errorf("announced %q", announced)
						}
						if c := section.get("connection"); client == "HTTP/1.1" && !slices.Equal(c, []string{"close"}) {
							t.Errorf("Connection %q", c)
						}
					}
					if strings.Join(section.get(":status"), "|") != status || !slices.Equal(section.get("x-stays"), []string{"3"}) {
						t.Errorf("section %d: %q", i, section)
					}
					for _, line := range section {
						if name, _, _ := strings.Cut(line[1:], ": "); !slices.Contains(allowed, line[:1]+name) {
							t.Errorf("section %d has %q", i, line)
						}
					}
				}
			})
		}
	}
}

// net/http removes a Connection with "close" from the header. Other fields that it names once reached the client.
func TestFieldNamedBesideCloseIsRemoved(t *testing.T) {
	t.Parallel()
	for _, connection := range []string{"close, X-Named", "X-Named, close", "close\r\nConnection: x-named"} {
		b := newWire(t, always("HTTP/1.1 200 OK\r\nConnection: "+connection+"\r\nX-Named: 1\r\nX-Stays: 3\r\nContent-Length: 2\r\n\r\nok"))
		for client, ask := range clients {
			got := ask(t, &bench{handler: b.handler.(*proxy.Handler), url: "http://" + b.addr})
			if len(got.sections) != 1 || got.body != "ok" || !slices.Equal(got.sections[0].get("x-stays"), []string{"3"}) {
				t.Fatalf("%s, %q: %+v", client, connection, got)
			}
			if named := got.sections[0].get("x-named"); named != nil {
				t.Errorf("%s, %q: X-Named %q", client, connection, named)
			}
		}
	}
}

// Clients over HTTP/2 got no response if a 204 had a Content-Length.
func TestLengthOfNoContentIsRemoved(t *testing.T) {
	t.Parallel()
	b := newWire(t, always("HTTP/1.1 204 No Content\r\nContent-Length: 15\r\nX-Stays: 3\r\n\r\n"))
	for client, ask := range clients {
		got := ask(t, &bench{handler: b.handler.(*proxy.Handler), url: "http://" + b.addr})
		if len(got.sections) != 1 || got.sections[0].get("content-length") != nil || !slices.Equal(got.sections[0].get(":status"), []string{"204"}) {
			t.Errorf("%s: %+v", client, got)
		}
	}
}

func TestHeaderOfASwitchIsCleaned(t *testing.T) {
	t.Parallel()
	w := newWire(t, func(c *originConn) {
		if _, ok := c.request(); ok {
			io.WriteString(c, strings.Replace(switched, "Connection: Upgrade\r\n", "Connection: Upgrade, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nProxy-Authenticate: Basic\r\nTrailer: X\r\nX-Stays: 3\r\n", 1))
		}
	})
	client := w.dial(t)
	io.WriteString(client, handshake)
	wantSame(t, "the client got", readHead(t, client), strings.Replace(switched, "\r\n\r\n", "\r\nX-Stays: 3\r\n\r\n", 1))
}

// Otherwise browsers would preload from the origin's host.
func TestNamesAreMappedInEverySection(t *testing.T) {
	t.Parallel()
	const said, want = "</a.css>; rel=preload, <https://lb.a.test/b.css>; rel=preload", "</a.css>; rel=preload, <http://a.test/b.css>; rel=preload"
	ca := tlstest.NewAuthority(t)
	address := serveOrigin(t, ca, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", said)
		w.Header().Set("Set-Cookie", "a=b; Domain=lb.a.test")
		w.Header().Set("Location", "https://lb.a.test/x")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set(http.TrailerPrefix+"Link", said)
		io.WriteString(w, "ok")
		http.NewResponseController(w).Flush()
	})
	b := start(t, routes(t, route{"host": "a.test", "origin": address, "ca_pem": ca.PEM(), "host_header": "lb.a.test"}))
	for client, ask := range clients {
		got := ask(t, b)
		if len(got.sections) != 3 {
			t.Fatalf("%s: %+v", client, got)
		}
		for i, section := range got.sections {
			if v := strings.Join(section.get("link"), "|"); v != want {
				t.Errorf("%s, section %d: Link %q, want %q", client, i, v, want)
			}
			if i == 2 {
				continue
			}
			if v := strings.Join(section.get("set-cookie"), "|"); v != "a=b; Domain=a.test" {
				t.Errorf("%s, section %d: Set-Cookie %q", client, i, v)
			}
			if v := strings.Join(section.get("location"), "|"); v != "http://a.test/x" {
				t.Errorf("%s, section %d: Location %q", client, i, v)
			}
		}
	}
}

// net/http reads a field name with a space in it, and drops the field when it writes.
func TestInvalidFieldNameIsRefused(t *testing.T) {
	t.Parallel()
	const hint = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n"
	for _, bad := range []string{"Set Cookie: sid=SECRET\r\n", "Set-Cookie: sid=SECRET\x01\r\n", "Set-Cookie: sid=SECRET\x7f\r\n"} {
		for name, answer := range map[string]string{
			"header":  "HTTP/1.1 200 OK\r\n" + bad + "Content-Length: 2\r\n\r\nok",
			"interim": hint + bad + "\r\n" + ok,
			"trailer": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n" + bad + "\r\n",
			"101":     strings.Replace(switched, "\r\n\r\n", "\r\n"+bad+"\r\n", 1),
		} {
			t.Run(fmt.Sprintf("%s %q", name, bad), func(t *testing.T) {
				t.Parallel()
				lines := make(logLines, 9)
				request := "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
				if name == "101" {
					request = strings.Replace(handshake, "keep-alive", "close", 1)
				}
				got := newWire(t, always(answer), logTo(lines)).send(t, request)
				line := lines.next(t)
				if name == "trailer" { // the status has been sent; the response must not look complete
					if strings.HasSuffix(got, "0\r\n\r\n") || line["problem"] != "incomplete-response" {
						t.Errorf("%q, logged %v", got, line)
					}
				} else if !strings.HasPrefix(got, "HTTP/1.1 502 ") || field(got, "Proxy-Status") != "sleight; error=http_protocol_error" || line["problem"] != "origin-protocol-error" {
					t.Errorf("%q, logged %v", got, line)
				}
				for key, value := range line {
					if s, ok := value.(string); ok && (strings.Contains(s, "SECRET") || strings.Contains(s, "Cookie")) {
						t.Errorf("logged %s: %q", key, s)
					}
				}
			})
		}
	}
}

// ReverseProxy would add the header's values to the trailer section.
func TestFieldInHeaderAndTrailerIsNotDoubled(t *testing.T) {
	t.Parallel()
	b := newWire(t, always("HTTP/1.1 200 OK\r\nX-Sum: header\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: trailer\r\n\r\n"))
	for client, ask := range clients {
		got := ask(t, &bench{handler: b.handler.(*proxy.Handler), url: "http://" + b.addr})
		if len(got.sections) != 2 || !slices.Equal(got.sections[0].get("x-sum"), []string{"header"}) || !slices.Equal(got.sections[1].get("x-sum"), []string{"trailer"}) {
			t.Errorf("%s: %+v", client, got)
		}
	}
}

// A hook may add a trailer before or after the body, and may read the body before the response begins.
func TestHooksSeeTheTrailers(t *testing.T) {
	t.Parallel()
	atEnd := func(r *http.Response, do func()) {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(r.Body, readerFunc(func([]byte) (int, error) { do(); return 0, io.EOF })), r.Body}
	}
	for name, hook := range map[string]proxy.ResponseHook{
		"none": func(*http.Response) error { return nil },
		"before": func(r *http.Response) error {
			r.Trailer = http.Header{"X-Sum": r.Trailer["X-Sum"], "X-Own": {"own"}}
			return nil
		},
		"behind": func(r *http.Response) error {
			r.Trailer["X-Own"] = nil
			atEnd(r, func() { r.Trailer["X-Own"] = []string{strings.Join(r.Trailer["X-Sum"], "")} })
			return nil
		},
		"all of the body": func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			r.Body = struct {
				io.Reader
				io.Closer
			}{bytes.NewReader(body), r.Body}
			r.Trailer["X-Own"] = []string{"own"}
			return err
		},
	} {
		for client, ask := range clients {
			w := newWire(t, always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: own\r\nX-Unannounced: u\r\nSet-Cookie: a=b\r\n\r\n"),
				func(c *proxy.Config) { c.ResponseHooks = []proxy.ResponseHook{hook} })
			got := ask(t, &bench{handler: w.handler.(*proxy.Handler), url: "http://" + w.addr})
			if len(got.sections) != 2 || got.body != "ok" {
				t.Errorf("%s, %s: %+v", name, client, got)
				continue
			}
			trailer := got.sections[1]
			slices.Sort(trailer)
			want := fields{"x-own: own", "x-sum: own", "x-unannounced: u"}
			if name == "none" {
				want = want[1:]
			}
			if !slices.Equal(trailer, want) || len(got.sections[0].get("trailer")) != 1 {
				t.Errorf("%s, %s: %+v", name, client, got)
			}
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
