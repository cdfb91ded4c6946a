package http1

import (
	"io"
	"strings"
	"testing"
)

const chunks = ok + "Transfer-Encoding: chunked\r\n\r\n"

func TestSmallChunksAreReadTogether(t *testing.T) {
	c, _ := pipe(t, chunks+strings.Repeat("1\r\nx\r\n", 2000)+"0\r\n\r\n")
	resp, err := c.RoundTrip(request(t, "GET", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	reads, total := 0, 0
	for b := make([]byte, 32<<10); err == nil; reads++ {
		var n int
		n, err = resp.Body.Read(b)
		total += n
	}
	if err != io.EOF || total != 2000 || reads > 10 {
		t.Errorf("%d bytes in %d reads, %v", total, reads, err)
	}
}

// A Read returns the bytes that have arrived, and does not wait for the next chunk or the end.
func TestChunkDoesNotWaitForTheNext(t *testing.T) {
	const sent = "3\r\nabc\r\n"
	for _, next := range []string{"", "1", "1\r\n", "0", "0\r\n", "0\r\nX-A: 1\r\n", "00\r\n", "\r\n"} {
		conn, server, _ := wire(t)
		go func() {
			server.Read(make([]byte, 1000))
			io.WriteString(server, chunks+sent+next)
		}()
		resp, err := conn.RoundTrip(request(t, "GET", nil))
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		if n, err := resp.Body.Read(b); string(b[:n]) != "abc" || err != nil {
			t.Errorf("before %q: %q, %v", next, b[:n], err)
		}
		resp.Body.Close()
	}
}
