package lambdahttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/sleightproxy/sleight/pkg/lambdahttp"
)

// streamFronts are the fronts that can stream.
var streamFronts = []string{"function-url", "rest-api"}

func handle(t testing.TB, a *lambdahttp.Adapter, event object) io.ReadCloser {
	t.Helper()
	return handleContext(t.Context(), t, a, event)
}

func handleContext(ctx context.Context, t testing.TB, a *lambdahttp.Adapter, event object) io.ReadCloser {
	t.Helper()
	var e lambdahttp.Event
	if err := json.Unmarshal(marshalled(t, event), &e); err != nil {
		t.Fatal(err)
	}
	r, err := a.Handle(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	typed, ok := r.(interface {
		io.ReadCloser
		ContentType() string
		json.Marshaler
	})
	if !ok || typed.ContentType() != "application/vnd.awslambda.http-integration-response" {
		t.Fatalf("%T is no streamed reply", r)
	}
	if _, err := typed.MarshalJSON(); err == nil {
		t.Fatal("aws-lambda-go would make JSON of the reader")
	}
	t.Cleanup(func() { typed.Close() })
	return typed
}

// readPrelude reads the prelude of a streamed reply.
func readPrelude(t testing.TB, r io.Reader) (p object) {
	t.Helper()
	var all []byte
	for b := make([]byte, 1); !bytes.HasSuffix(all, make([]byte, 8)); all = append(all, b...) {
		if _, err := r.Read(b); err != nil {
			t.Fatalf("%q: %v", all, err)
		}
	}
	if err := json.Unmarshal(bytes.TrimRight(all, "\x00"), &p); err != nil {
		t.Fatalf("%q: %v", all, err)
	}
	return p
}

func everyStream(t *testing.T, test func(t *testing.T, front string, event object)) {
	for _, name := range streamFronts {
		t.Run(name, func(t *testing.T) { test(t, name, sample(t, name)) })
	}
}

func TestStreamedReply(t *testing.T) {
	everyStream(t, func(t *testing.T, front string, event object) {
		r := handle(t, &lambdahttp.Adapter{Stream: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h["Set-Cookie"] = []string{"a=1", "b=2"}
			h["Vary"] = []string{"Accept", "Origin"}
			h["Connection"], h["Transfer-Encoding"] = []string{"close"}, []string{"chunked"}
			h["Content-Length"] = []string{"8"}
			w.WriteHeader(103)
			w.WriteHeader(201)
			h.Set("X-Late", "1")
			io.WriteString(w, "<htm")
			io.WriteString(w, "l>\x00\xff")
		})}, event)
		want := object{"statusCode": 201.0, "cookies": []any{"a=1", "b=2"}}
		if front == "function-url" {
			want["headers"] = object{"Vary": "Accept,Origin", "Content-Type": "text/plain; charset=utf-8", "Content-Length": "8"}
		} else {
			want["multiValueHeaders"] = object{"Vary": []any{"Accept", "Origin"}, "Content-Type": []any{"text/plain; charset=utf-8"}, "Content-Length": []any{"8"}}
		}
		if got := readPrelude(t, r); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		if body, err := io.ReadAll(r); err != nil || string(body) != "<html>\x00\xff" {
			t.Errorf("%q, %v", body, err)
		}
	})
}

// Other adapters lost the status of empty streamed replies, or hung.
func TestEmptyStreamedReplies(t *testing.T) {
	everyStream(t, func(t *testing.T, front string, event object) {
		for name, c := range map[string]struct {
			method  string
			handler http.HandlerFunc
			status  float64
			length  string
		}{
			"nothing written": {"GET", func(http.ResponseWriter, *http.Request) {}, 200, ""},
			"redirect":        {"GET", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", "/x"); w.WriteHeader(302) }, 302, ""},
			"no content": {"GET", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "1")
				w.WriteHeader(204)
				io.WriteString(w, "x")
			}, 204, ""},
			"not modified": {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304); io.WriteString(w, "x") }, 304, ""},
			"zero bytes": {"GET", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "0")
				w.Write(nil)
			}, 200, "0"},
			"HEAD": {"HEAD", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "10000000")
				w.Write(make([]byte, 1000))
			}, 200, "10000000"},
		} {
			setMethod(front, event, c.method)
			r := handle(t, &lambdahttp.Adapter{Stream: true, Handler: c.handler}, event)
			p := readPrelude(t, r)
			if body, err := io.ReadAll(r); p["statusCode"] != c.status || len(body) != 0 || err != nil {
				t.Errorf("%s: %v, %q, %v", name, p, body, err)
			}
			var length any
			if h, ok := p["headers"].(object); ok {
				length = h["Content-Length"]
			} else if h, ok := p["multiValueHeaders"].(object); ok && h["Content-Length"] != nil {
				length = h["Content-Length"].([]any)[0]
			}
			if length == nil && c.length != "" || length != nil && length != c.length {
				t.Errorf("%s: Content-Length %v, want %q", name, length, c.length)
			}
		}
	})
}

func TestBytesAreForwardedAsTheyCome(t *testing.T) {
	everyStream(t, func(t *testing.T, _ string, event object) {
		next := make(chan string)
		r := handle(t, &lambdahttp.Adapter{Stream: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(200)
			for s := range next {
				io.WriteString(w, s)
			}
		})}, event)
		if p := readPrelude(t, r); p["statusCode"] != 200.0 {
			t.Errorf("%v", p)
		}
		for _, s := range []string{"one", "two"} { // each is read before the next is written
			next <- s
			b := make([]byte, 10)
			if n, err := r.Read(b); err != nil || string(b[:n]) != s {
				t.Errorf("%q, %v", b[:n], err)
			}
		}
		close(next)
		if rest, err := io.ReadAll(r); len(rest) != 0 || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
	})
}

func TestFlushSendsTheHead(t *testing.T) {
	everyStream(t, func(t *testing.T, _ string, event object) {
		wait := make(chan struct{})
		r := handle(t, &lambdahttp.Adapter{Stream: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.NewResponseController(w).Flush()
			<-wait
			io.WriteString(w, "x")
		})}, event)
		if p := readPrelude(t, r); !strings.Contains(string(marshalled(t, p)), "application/octet-stream") {
			t.Errorf("%v", p)
		}
		close(wait)
		io.Copy(io.Discard, r)
	})
}

// If the client is slow, the handler must wait, and not fill the memory.
func TestHandlerWritesNoFasterThanTheReplyIsRead(t *testing.T) {
	written := make(chan int, 1000)
	r := handle(t, &lambdahttp.Adapter{Stream: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for i := range 100 {
			if _, err := w.Write(make([]byte, 1000)); err != nil {
				return
			}
			written <- i
		}
	})}, sample(t, "function-url"))
	readPrelude(t, r)
	for i := range 100 {
		if n := len(written); n > 1 {
			t.Fatalf("%d pieces ahead", n)
		}
		if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if got := <-written; got != i {
			t.Fatalf("piece %d, want %d", got, i)
		}
	}
}

// Otherwise half a response would look complete.
func TestStreamThatBreaksOffEndsWithAnError(t *testing.T) {
	everyStream(t, func(t *testing.T, _ string, event object) {
		synctest.Test(t, func(t *testing.T) {
			for name, c := range map[string]struct {
				end    func(w http.ResponseWriter, r *http.Request)
				typ    string
				failed error
			}{
				"abort":    {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "Handler.Aborted", lambdahttp.ErrAborted},
				"panic":    {func(http.ResponseWriter, *http.Request) { panic("secret") }, "Handler.Panic", lambdahttp.ErrPanic},
				"deadline": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); panic(http.ErrAbortHandler) }, "Handler.Timeout", lambdahttp.ErrDeadline},
				"short":    {func(http.ResponseWriter, *http.Request) {}, "Handler.Aborted", lambdahttp.ErrAborted},
				"long": {func(w http.ResponseWriter, _ *http.Request) {
					if _, err := w.Write(make([]byte, 100)); !errors.Is(err, http.ErrContentLength) {
						t.Errorf("a body beyond its length: %v", err)
					}
				}, "Handler.Aborted", lambdahttp.ErrAborted},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				failed := make(chan error, 1)
				r := handleContext(ctx, t, &lambdahttp.Adapter{
					Stream: true, Margin: 5*time.Second - 100*time.Millisecond,
					Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("Content-Type", "text/plain")
						w.Header().Set("Content-Length", "100")
						io.WriteString(w, "half")
						c.end(w, r)
					}),
					Lifecycle: failFunc(func(w http.ResponseWriter, _ *http.Request, err error) {
						io.WriteString(w, "not to be seen")
						failed <- err
					}),
				}, event)
				if p := readPrelude(t, r); p["statusCode"] != 200.0 {
					t.Errorf("%s: %v", name, p)
				}
				body, err := io.ReadAll(r)
				e, ok := errors.AsType[messages.InvokeResponse_Error](err)
				if string(body) != "half" || !ok || e.Type != c.typ || strings.Contains(e.Message, "secret") {
					t.Errorf("%s: %q, %#v", name, body, err)
				}
				select { // it was called before the reply ended
				case err := <-failed:
					if !errors.Is(err, c.failed) {
						t.Errorf("%s: Fail got %v", name, err)
					}
				default:
					t.Errorf("%s: Fail was not called", name)
				}
			}
		})
	})
}

func TestFailureBeforeTheStreamBeginsIsAnAnswer(t *testing.T) {
	everyStream(t, func(t *testing.T, front string, event object) {
		for name, c := range map[string]struct {
			handler http.HandlerFunc
			change  func(object)
			status  float64
			failed  error
		}{
			"panic": {func(http.ResponseWriter, *http.Request) { panic("x") }, nil, 500, lambdahttp.ErrPanic},
			"abort": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, 502, lambdahttp.ErrAborted},
			"large head": {func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				w.Header().Set("X", strings.Repeat("x", 16<<10))
				if _, err := io.WriteString(w, "x"); err == nil {
					t.Error("a body was taken without a head")
				}
			}, nil, 502, lambdahttp.ErrHeaderTooLarge},
			"bad event": {nil, func(e object) { e["body"], e["isBase64Encoded"] = "!", true }, 400, lambdahttp.ErrEvent},
		} {
			event := sample(t, front)
			if c.change != nil {
				c.change(event)
			}
			a := &lambdahttp.Adapter{Stream: true, Handler: c.handler}
			r := handle(t, a, event)
			p := readPrelude(t, r)
			if body, err := io.ReadAll(r); p["statusCode"] != c.status || len(body) == 0 || err != nil {
				t.Errorf("%s: %v, %q, %v", name, p, body, err)
			}
			var got error
			a.Lifecycle = failFunc(func(w http.ResponseWriter, _ *http.Request, err error) { got = err; w.WriteHeader(599) })
			r = handle(t, a, event)
			p = readPrelude(t, r)
			if rest, err := io.ReadAll(r); p["statusCode"] != 599.0 || len(rest) != 0 || err != nil || !errors.Is(got, c.failed) {
				t.Errorf("%s with a Lifecycle: %v, %q, %v, %v", name, p, rest, err, got)
			}
			a.Lifecycle = failFunc(func(w http.ResponseWriter, _ *http.Request, _ error) {
				w.Header().Set("X", strings.Repeat("x", 16<<10))
				w.WriteHeader(400)
			})
			r = handle(t, a, event)
			if p = readPrelude(t, r); p["statusCode"] != 500.0 {
				t.Errorf("%s with a Fail that fails: %v", name, p)
			}
		}
	})
}

// Lambda may freeze the process after the reply.
func TestClosingTheReplyEndsTheRequest(t *testing.T) {
	ended := make(chan error, 1)
	failed := make(chan error, 1)
	a := &lambdahttp.Adapter{Stream: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for {
			if _, err := w.Write(make([]byte, 1000)); err != nil {
				<-r.Context().Done()
				ended <- err
				panic(http.ErrAbortHandler)
			}
		}
	}), Lifecycle: failFunc(func(_ http.ResponseWriter, _ *http.Request, err error) { failed <- err })}
	r := handle(t, a, sample(t, "function-url"))
	readPrelude(t, r)
	r.Close()
	select {
	case <-ended:
	default:
		t.Error("Close did not wait for the handler")
	}
	if err := <-failed; !errors.Is(err, context.Canceled) || errors.Is(err, lambdahttp.ErrDeadline) {
		t.Errorf("reported as %v", err)
	}
}

func TestFrontsThatCannotStreamGetWholeReplies(t *testing.T) {
	a := &lambdahttp.Adapter{Stream: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") })}
	for _, front := range []string{"http-api", "alb-multi", "alb-single", "lattice"} {
		if r := invoke(t, a, sample(t, front)); r.StatusCode != 200 || r.Body != "x" {
			t.Errorf("%s: %+v", front, r)
		}
	}
	if r := invoke(t, a, []byte(`{"Records":[]}`)); r.StatusCode != 500 {
		t.Errorf("no event: %+v", r)
	}
	if r := invoke(t, a, []byte(`{`)); r.StatusCode != 500 {
		t.Errorf("no JSON: %+v", r)
	}
}

// If nobody reads the reply, the handler must end too, and Fail must be called.
func TestStreamThatNobodyTakesEndsInTime(t *testing.T) {
	everyStream(t, func(t *testing.T, _ string, event object) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			ended := make(chan error, 1)
			r := handleContext(ctx, t, &lambdahttp.Adapter{
				Stream: true, Margin: 5*time.Second - 100*time.Millisecond,
				Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "text/plain")
					for {
						if _, err := w.Write(make([]byte, 1000)); err != nil {
							panic(http.ErrAbortHandler)
						}
					}
				}),
				Lifecycle: failFunc(func(_ http.ResponseWriter, _ *http.Request, err error) { ended <- err }),
			}, event)
			readPrelude(t, r)
			select {
			case err := <-ended:
				if !errors.Is(err, lambdahttp.ErrDeadline) {
					t.Errorf("Fail got %v", err)
				}
			case <-ctx.Done():
				t.Error("the handler did not end before Lambda would have ended it")
			}
			_, err := io.ReadAll(r)
			if e, ok := errors.AsType[messages.InvokeResponse_Error](err); !ok || e.Type != "Handler.Timeout" {
				t.Errorf("the reply ended with %v", err)
			}
		})
	})
}
