package sni_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Bytes of a response may have reached the client already, and the origin was there.
func TestSafeRequestOfWhichSomethingCameBackIsNotRepeated(t *testing.T) {
	allProtocols(t, func(t *testing.T, over protocol) {
		var again atomic.Bool
		_, tr := answering(t, over, func(w http.ResponseWriter, _ *http.Request) {
			if again.Swap(true) {
				w.WriteHeader(http.StatusEarlyHints)
				panic(http.ErrAbortHandler)
			}
		})
		mustGet(t, tr, "https://a.test/")
		last := observe(tr)
		req, heard := hearing(mustRequest(t, "GET", nil))
		if _, err := send(tr, req); err == nil || last().Sent != 1 || len(heard()) != 1 {
			t.Errorf("%v, sent %d times, %v were heard", err, last().Sent, heard())
		}
	})
	overHTTP1(t, func(t *testing.T, over protocol) {
		for _, part := range []string{"H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"} {
			ca := tlstest.NewAuthority(t)
			n := 0
			tr := toHTTP1(t, ca, over, startRaw(t, ca, over, func(c net.Conn, _ *bufio.Reader, _ *http.Request) bool {
				if n++; n == 1 {
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					return true
				}
				io.WriteString(c, part)
				return false
			}))
			last := observe(tr)
			mustGet(t, tr, "https://a.test/")
			_, err := get(t, tr, "https://a.test/")
			if wantType(t, err, sni.ConnectionTerminated); last().Sent != 1 {
				t.Errorf("%q, sent %d times", part, last().Sent)
			}
		}
	})
}
