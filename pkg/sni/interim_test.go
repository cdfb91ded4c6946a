package sni_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// answering starts an origin with this handler, and returns a transport to it.
func answering(t *testing.T, over protocol, handler http.HandlerFunc) (*tlstest.Origin, *sni.Transport) {
	t.Helper()
	ca := tlstest.NewAuthority(t)
	o := &tlstest.Origin{HTTP1: over == overTLS1, Plain: over == overPlain, Unread: true, Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Handler: handler}
	o.Start(t)
	return o, newTransport(t, to(targetOver(over, o.Addr, ca.PEM())))
}

func post(t *testing.T, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/", body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// hearing returns the request with a hook that records its interim responses.
func hearing(req *http.Request) (*http.Request, func() []int) {
	var mu sync.Mutex
	var codes []int
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		mu.Lock()
		defer mu.Unlock()
		codes = append(codes, code)
		return nil
	}})
	return req.WithContext(ctx), func() []int { mu.Lock(); defer mu.Unlock(); return slices.Clone(codes) }
}

// once is a body without Request.GetBody.
func once(s string) io.Reader { return io.MultiReader(strings.NewReader(s)) }

func TestInterimAnswersAreHeard(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		_, tr := answering(t, over, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body) // this sends 100; over HTTP/2 only before another interim response
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Write(body)
		})
		req, heard := hearing(post(t, once("upload")))
		req.Header.Set("Expect", "100-continue")
		if body, err := send(tr, req); body != "upload" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
		if got := heard(); !slices.Equal(got, []int{100, 103}) {
			t.Errorf("interim answers %v, want 100 and 103", got)
		}
	})
}

// If there is a hook, net/http does not bound interim responses, and proxies do not bound them either.
func TestInterimAnswersWithoutEndAreAnError(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		_, tr := answering(t, over, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", strings.Repeat("x", 100))
			for range 20_000 {
				w.WriteHeader(http.StatusEarlyHints)
			}
		})
		req, heard := hearing(post(t, nil))
		_, err := send(tr, req)
		// Over HTTP/2, some are dropped if they arrive faster than the hook takes them.
		if n := len(heard()); n > 100 || n < 100 && over != overHTTP2 || n == 0 {
			t.Errorf("%d were heard, want 100", n)
		}
		wantType(t, err, sni.HTTPProtocolError)
		want := sni.HTTPProtocolError
		if over == overHTTP2 { // without a hook, net/http bounds their size
			want = sni.HTTPResponseHeaderSectionSize
		}
		_, err = send(tr, post(t, nil))
		wantType(t, err, want)
	})
}

// If a client does not read interim responses, its hook waits. The responses of others must not wait.
func TestInterimAnswersThatNobodyTakesHoldUpNobodyElse(t *testing.T) {
	t.Parallel()
	sent := make(chan struct{})
	o, tr := answering(t, overHTTP2, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			w.Header().Set("Link", strings.Repeat("x", 10_000))
			for range 50 {
				w.WriteHeader(http.StatusEarlyHints)
			}
			close(sent)
		}
		io.WriteString(w, r.Method)
	})
	tr.UnsafeReuse = time.Hour
	mustGet(t, tr, "https://a.test/")
	came, takes := make(chan struct{}, 100), make(chan struct{})
	req := post(t, nil)
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
		came <- struct{}{}
		<-takes
		return nil
	}}))
	done := make(chan error, 1)
	go func() { _, err := send(tr, req); done <- err }()
	<-came
	<-sent
	mustGet(t, tr, "https://a.test/") // whose answer comes behind all of them
	if n := o.Conns(); n != 1 {
		t.Errorf("%d connections: the test shows nothing", n)
	}
	close(takes)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := 1 + len(came); n < 2 || n > 10 {
		t.Errorf("%d interim answers of 10 kB were kept", n)
	}
}

// An error of the hook ends the request, over each protocol.
func TestErrorOfAnInterimHookEndsItsRequest(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		_, tr := answering(t, over, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			io.WriteString(w, "final")
		})
		boom := errors.New("boom")
		req := post(t, nil)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error { return boom }}))
		if _, err := send(tr, req); !errors.Is(err, boom) {
			t.Errorf("error %v, want the hook's", err)
		}
	})
}

// As an interim response, it would be passed on to clients with HTTP/1.1.
func TestSwitchOverHTTP2IsAnError(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	address := serveFrames(t, tlstest.Leaf(t, ca, "a.test"), func(c *tls.Conn, stream uint32) bool {
		const headers, endHeaders = 0x1, 0x4
		frame(c, headers, endHeaders, stream, []byte("\x08\x03101")) // :status, not indexed (RFC 7541 section 6.2.2)
		answerFrame(c, stream)
		return true
	})
	tr := newTransport(t, to(sni.Target{Addresses: []string{address}, Roots: sni.RootsFromPEM(ca.PEM())}))
	req, heard := hearing(post(t, nil))
	_, err := send(tr, req)
	if wantType(t, err, sni.HTTPProtocolError); len(heard()) != 0 {
		t.Errorf("heard %v", heard())
	}
}

// fields returns n different values of a thousand bytes, because HTTP/2 would send equal values only once.
func fields(n int) (values []string) {
	for i := range n {
		values = append(values, fmt.Sprintf("%0*d", 1000-len("X: \r\n"), i))
	}
	return values
}

// An origin must not fill the memory with headers, or end the requests of others with them.
func TestHeaderOfAnAnswerIsBounded(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		for _, c := range []struct {
			name  string
			limit int64
			size  int
			ok    bool
		}{
			{"below the default", 0, 250 << 10, true},
			{"above the default", 0, 260 << 10, false},
			{"far above the default", 0, 1 << 20, false},
			{"below a limit", 10_000, 9_000, true},
			{"above a limit", 10_000, 10_000, false},
			{"no limit of ours", -1, 2 << 20, true},
		} {
			t.Run(c.name, func(t *testing.T) {
				began, let := make(chan struct{}), make(chan struct{})
				o, tr := answering(t, over, func(w http.ResponseWriter, r *http.Request) {
					switch r.URL.Path {
					case "/large":
						w.Header()["X"] = fields(c.size / 1000)
					case "/slow":
						http.NewResponseController(w).Flush()
						close(began)
						<-let
					}
					io.WriteString(w, "whole")
				})
				tr.MaxResponseHeaderBytes = c.limit
				mustGet(t, tr, "https://a.test/")
				slow := make(chan string)
				go func() {
					body, _ := get(t, tr, "https://a.test/slow")
					slow <- body
				}()
				<-began
				_, err := get(t, tr, "https://a.test/large")
				before := o.Conns()
				close(let)
				if body := <-slow; body != "whole" {
					t.Errorf("the request next to it got %q", body)
				}
				if c.ok {
					if err != nil {
						t.Error(err)
					}
					return
				}
				wantType(t, err, sni.HTTPResponseHeaderSectionSize)
				mustGet(t, tr, "https://a.test/")
				if over == overHTTP2 && o.Conns() != before+1 {
					t.Error("the connection was used again")
				}
			})
		}
	})
}

// Far beyond the limit, net/http stops reading. Over HTTP/1.1 the error says why.
func TestHeaderWithoutEndIsAnError(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		_, tr := answering(t, over, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["X"] = fields(4000)
		})
		want := sni.HTTPProtocolError
		if over != overHTTP2 {
			want = sni.HTTPResponseHeaderSectionSize
		}
		_, err := get(t, tr, "https://a.test/")
		wantType(t, err, want)
		wantHeld(t, tr, 0, 0)
	})
}

// Trailers of a request are set while its body is read, and the transport reads the body through another one.
func TestTrailersArriveBothWays(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		_, tr := answering(t, over, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("Trailer", "X-Back")
			w.Write(body)
			w.Header().Set("X-Back", r.Trailer.Get("X-Sum"))
		})
		for _, host := range []string{"a.test", "A.test"} { // the request itself, and a copy
			req := post(t, nil)
			req.Host, req.ContentLength = host, -1
			req.Trailer = http.Header{"X-Sum": nil}
			req.Body = io.NopCloser(io.MultiReader(strings.NewReader("body"), atEnd(func() { req.Trailer.Set("X-Sum", "42") })))
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if got := resp.Trailer.Get("X-Back"); string(body) != "body" || err != nil || got != "42" {
				t.Errorf("%s: body %q, %v, trailer %q", host, body, err, got)
			}
		}
	})
}

// atEnd is an empty reader that calls a function when it is read.
type atEnd func()

func (f atEnd) Read([]byte) (int, error) { f(); return 0, io.EOF }

// A client that asks with Expect must not upload for nothing.
func TestBodyIsNotReadForAnOriginThatDoesNotWantIt(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		_, tr := answering(t, over, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusExpectationFailed) })
		body := &closing{Reader: atEnd(func() { t.Error("the body was read") }), closed: make(chan struct{})}
		req := post(t, nil)
		req.Body, req.ContentLength = body, -1
		req.Header.Set("Expect", "100-continue")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusExpectationFailed {
			t.Errorf("status %d", resp.StatusCode)
		}
		resp.Body.Close()
		<-body.closed
	})
}
