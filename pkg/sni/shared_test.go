package sni_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// Tomcat ends a connection if bodies arrive in small pieces, also if their length is known. So a body on a shared connection is sent as
// a whole.
func TestBodiesOnSharedConnectionsAreWhole(t *testing.T) {
	t.Parallel()
	arrived := make(chan string, 10)
	o, tr := answering(t, overHTTP2, func(w http.ResponseWriter, r *http.Request) {
		arrived <- r.Method
		if r.Method == "POST" {
			b := make([]byte, 100) // all of it must be there at once
			n, _ := r.Body.Read(b)
			w.Write(b[:n])
		}
	})
	tr.UnsafeReuse = time.Hour
	mustGet(t, tr, "https://a.test/")
	<-arrived
	source, writer := io.Pipe()
	req := post(t, source)
	req.ContentLength = 6
	done := make(chan string, 1)
	go func() { body, err := send(tr, req); done <- body + errorText(err) }()
	io.WriteString(writer, "abc")
	select {
	case <-arrived:
		t.Error("the request was sent before its body was there")
	case <-time.After(50 * time.Millisecond):
	}
	io.WriteString(writer, "def")
	writer.Close()
	if got := <-done; got != "abcdef" || o.Conns() != 1 {
		t.Errorf("answered with %q, over %d connections", got, o.Conns())
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// If the length of a body is wrong, nothing of it is sent, so that it costs no connection.
func TestBodyThatIsNotWholeIsNotSentOnASharedConnection(t *testing.T) {
	t.Parallel()
	o, tr := answering(t, overHTTP2, func(http.ResponseWriter, *http.Request) {})
	mustGet(t, tr, "https://a.test/")
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		body io.Reader
		want error
	}{
		"short":  {once("abc"), io.ErrUnexpectedEOF},
		"empty":  {once(""), io.ErrUnexpectedEOF},
		"long":   {once("abcdefg"), nil},
		"broken": {io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(boom)), boom},
	} {
		req := post(t, c.body)
		req.ContentLength = 6
		_, err := send(tr, req)
		if e := wantType(t, err, sni.HTTPRequestError); !e.Unprocessed || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(o.Requests()); n != 1 {
		t.Errorf("%d requests arrived", n-1)
	}
}

// If the client leaves meanwhile, the request ends at once.
func TestBodyThatIsWaitedForEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	_, tr := answering(t, overHTTP2, func(http.ResponseWriter, *http.Request) {})
	source, writer := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	req := post(t, source).WithContext(ctx)
	req.ContentLength = 6
	go func() { io.WriteString(writer, "abc"); cancel() }()
	if _, err := send(tr, req); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	if _, err := io.WriteString(writer, "def"); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the body is still open: %v", err)
	}
}

// A client may leave after the last byte of a response, before the server has ended the stream.
func TestWholeAnswerOfAClientThatHasLeftIsWhole(t *testing.T) {
	t.Parallel()
	let := make(chan struct{})
	_, tr := answering(t, overHTTP2, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		io.WriteString(w, "whole")
		http.NewResponseController(w).Flush()
		<-let
	})
	defer close(let)
	for _, size := range []int{1, 5, 100} {
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := tr.RoundTrip(mustRequest(t, "GET", nil).WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for b := make([]byte, size); len(got) < 5; {
			n, err := resp.Body.Read(b)
			if got = append(got, b[:n]...); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if rest, err := io.ReadAll(resp.Body); string(got) != "whole" || len(rest) > 0 || err != nil {
			t.Errorf("%q, %q, %v", got, rest, err)
		}
		resp.Body.Close()
	}
}
