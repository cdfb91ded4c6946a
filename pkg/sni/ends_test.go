package sni_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// The tests of this file end a request or a connection over HTTP/2, beside requests of others.

// Tomcat ends a connection after some resets, with the requests of all other clients.
func TestRequestsThatAreGivenUpCostNobodyElse(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]bool{"before their answers": false, "amid them": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			came, reset, let := make(chan struct{}, 10), make(chan struct{}, 10), make(chan struct{})
			o, tr := answering(t, overHTTP2, func(w http.ResponseWriter, r *http.Request) {
				switch r.Method {
				case "POST":
					came <- struct{}{}
					<-let
				case "GET":
					if answers {
						http.NewResponseController(w).Flush()
					}
					came <- struct{}{}
					<-r.Context().Done()
					reset <- struct{}{}
				}
			})
			tr.UnsafeReuse = time.Hour
			mustSendTo(t, tr, "HEAD", "/", nil)
			done := make(chan error, 1)
			go func() { _, err := send(tr, post(t, nil)); done <- err }()
			<-came
			for range 5 {
				ctx, cancel := context.WithCancel(t.Context())
				given := make(chan error, 1)
				go func() { _, err := send(tr, mustRequest(t, "GET", nil).WithContext(ctx)); given <- err }()
				<-came
				cancel()
				if err := <-given; !errors.Is(err, context.Canceled) {
					t.Fatalf("error %v, want the context's", err)
				}
			}
			if first := o.Requests()[0].Conn; o.Requests()[1].Conn != first || o.Requests()[2].Conn != first || o.Requests()[3].Conn == first {
				t.Errorf("connections of %+v: the first GET belongs beside the POST, and the second does not", o.Requests())
			}
			for range 4 { // each had its own connection
				<-reset
			}
			if len(reset) > 0 {
				t.Error("a request was reset beside another")
			}
			close(let)
			if err := <-done; err != nil {
				t.Error(err)
			}
			<-reset // the connection is reset
			wantHeldSoon(t, tr, 0)
		})
	}
}

// The error has the code of RST_STREAM, and a safe request is sent once more.
func TestResetsAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code        uint32
		name        string
		unprocessed bool
	}{{0x0, "NO_ERROR", false}, {0x1, "PROTOCOL_ERROR", false}, {0x2, "INTERNAL_ERROR", false}, {0xb, "ENHANCE_YOUR_CALM", false}, {0xd, "HTTP_1_1_REQUIRED", false}, {0x7, "REFUSED_STREAM", true}, {0x77, "error code 119", false}} {
		ca := tlstest.NewAuthority(t)
		address := serveFrames(t, tlstest.Leaf(t, ca, "a.test"), func(conn *tls.Conn, stream uint32) bool {
			frame(conn, 0x3, 0, stream, binary.BigEndian.AppendUint32(nil, c.code))
			return true
		})
		for _, method := range []string{"GET", "POST"} {
			tr := newTransport(t, to(sni.Target{Addresses: []string{address}, Roots: sni.RootsFromPEM(ca.PEM()), ALPN: []string{"h2"}}))
			last := observe(tr)
			_, err := sendTo(t, tr, method, "/", nil)
			e := wantType(t, err, sni.ConnectionTerminated)
			if reset, ok := errors.AsType[*sni.ResetError](err); !ok || *reset != (sni.ResetError{Code: c.name}) || e.Unprocessed != c.unprocessed {
				t.Errorf("%s, %s: cause %+v, unprocessed %t", method, c.name, reset, e.Unprocessed)
			}
			want := map[string]int{"GET": 2, "POST": 1}[method]
			if c.unprocessed {
				want = 4
			}
			if last().Sent != want {
				t.Errorf("%s, %s: sent %d times, want %d", method, c.name, last().Sent, want)
			}
		}
	}
}

func TestGoAwayNamesWhatTheOriginSaid(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	address := serveFrames(t, tlstest.Leaf(t, ca, "a.test"), func(c *tls.Conn, stream uint32) bool {
		last := binary.BigEndian.AppendUint32(nil, stream)
		frame(c, 0x7, 0, 0, append(binary.BigEndian.AppendUint32(last, 0xb), `Total "header" size too big`...))
		return false
	})
	tr := newTransport(t, to(sni.Target{Addresses: []string{address}, Roots: sni.RootsFromPEM(ca.PEM()), ALPN: []string{"h2"}}))
	_, err := sendTo(t, tr, "POST", "/", nil)
	e := wantType(t, err, sni.ConnectionTerminated)
	want := sni.ResetError{GoAway: true, Code: "ENHANCE_YOUR_CALM", Debug: `Total "header" size too big`}
	if reset, ok := errors.AsType[*sni.ResetError](err); !ok || *reset != want || e.Unprocessed {
		t.Errorf("cause %+v, unprocessed %t", reset, e.Unprocessed)
	}
}

// An origin that breaks the rules of HTTP/2 ends the connection of all clients on it. Only one of them caused the fault: the safe requests
// of the others are sent once more.
func TestFaultOfASharedConnectionIsNotThatOfEveryRequest(t *testing.T) {
	t.Parallel()
	const waiting = 4
	for name, fault := range map[string]func(c *tls.Conn, stream uint32){
		"a push that nobody allows": func(c *tls.Conn, stream uint32) { frame(c, 0x5, 0x4, stream, []byte{0, 0, 0, 2, 0x88}) },
		"a window that overflows":   func(c *tls.Conn, _ uint32) { frame(c, 0x8, 0, 0, []byte{0x7f, 0xff, 0xff, 0xff}) },
		"a header that is no HPACK": func(c *tls.Conn, stream uint32) { frame(c, 0x1, 0x5, stream, []byte{0x80}) },
		"a frame of a wrong size":   func(c *tls.Conn, _ uint32) { frame(c, 0x6, 0, 0, []byte{1}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := tlstest.NewAuthority(t)
			var arrived atomic.Int32
			address := serveFrames(t, tlstest.Leaf(t, ca, "a.test"), func(c *tls.Conn, stream uint32) bool {
				switch n := arrived.Add(1); {
				case n == 1, n > 1+waiting:
					answerFrame(c, stream)
				case n == 1+waiting:
					fault(c, stream)
				}
				return true
			})
			tr := newTransport(t, to(sni.Target{Addresses: []string{address}, Roots: sni.RootsFromPEM(ca.PEM()), ALPN: []string{"h2"}}))
			tr.UnsafeReuse = time.Hour
			mustGet(t, tr, "https://a.test/")
			var wg sync.WaitGroup
			for i := range waiting {
				wg.Go(func() {
					method := []string{"POST", "GET"}[min(i, 1)]
					_, err := sendTo(t, tr, method, "/", nil)
					if method == "GET" {
						if err != nil {
							t.Errorf("the GET of another client: %v", err)
						}
						return
					}
					if e := wantType(t, err, sni.HTTPProtocolError); e.Unprocessed {
						t.Errorf("the POST may have been carried out: %v", err)
					}
				})
			}
			wg.Wait()
			if n := arrived.Load(); n != 1+waiting+waiting-1 {
				t.Errorf("%d requests arrived", n)
			}
		})
	}
}

// wantHeldSoon waits until the transport has that many connections, because net/http may take a moment to reset a canceled request.
func wantHeldSoon(t *testing.T, tr *sni.Transport, want int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		if _, _, conns, _ := tr.Held(); conns == want {
			return
		} else if time.Now().After(end) {
			t.Fatalf("%d connections are held, want %d", conns, want)
		}
		tr.Sweep()
	}
}
