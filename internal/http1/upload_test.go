package http1

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// counted counts the Writes on a connection.
type counted struct {
	net.Conn
	writes *int
}

func (c counted) Write(p []byte) (int, error) { *c.writes++; return c.Conn.Write(p) }

// Each Write is a TLS record and a system call, here and at the server.
func TestHeaderAndBodyThatIsThereGoOutTogether(t *testing.T) {
	send := func(body io.Reader) (writes int) {
		conn, server, ended := wire(t)
		conn.Conn = counted{conn.Conn, &writes}
		go func() {
			br := bufio.NewReader(server)
			if req, err := http.ReadRequest(br); err == nil {
				io.Copy(io.Discard, req.Body)
			}
			io.WriteString(server, empty)
		}()
		req := request(t, "POST", body)
		if body != nil {
			req.ContentLength = 4
		}
		resp, err := conn.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		<-ended
		return writes
	}
	for name, body := range map[string]func() io.Reader{
		"none":           func() io.Reader { return nil },
		"in memory":      func() io.Reader { return strings.NewReader("body") },
		"from elsewhere": func() io.Reader { return io.MultiReader(strings.NewReader("body")) },
	} {
		writes := send(body())
		for n := 0; n < 20 && writes > 1 && name == "from elsewhere"; n++ { // on a busy machine, a millisecond passes before it is read
			writes = send(body())
		}
		if writes != 1 {
			t.Errorf("%s: %d writes", name, writes)
		}
	}
}

// A body that is slow to come does not hold its header back.
func TestHeaderDoesNotWaitForTheBodyForLong(t *testing.T) {
	conn, server, _ := wire(t)
	source, writer := io.Pipe()
	go func() {
		br := bufio.NewReader(server)
		readUntil(t, br, "\r\n\r\n")
		io.WriteString(writer, "x") // and not before
		writer.Close()
		readUntil(t, br, "0\r\n\r\n")
		io.WriteString(server, empty)
	}()
	resp, err := conn.RoundTrip(request(t, "POST", source))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}
