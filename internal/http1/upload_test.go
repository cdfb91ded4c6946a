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

// Each Write costs a TLS record, and a system call on both sides.
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
		for n := 0; n < 20 && writes > 1 && name == "from elsewhere"; n++ { // on a loaded machine, a millisecond may pass before it is read
			writes = send(body())
		}
		if writes != 1 {
			t.Errorf("%s: %d writes", name, writes)
		}
	}
}

// A slow body must not delay the header.
func TestHeaderDoesNotWaitForTheBodyForLong(t *testing.T) {
	conn, server, _ := wire(t)
	source, writer := io.Pipe()
	go func() {
		br := bufio.NewReader(server)
		readUntil(t, br, "\r\n\r\n")
		io.WriteString(writer, "x") // and no earlier
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

// A server that answers before it has read the body may close the connection at the rest of the body, or take the rest for another
// request, even if the rest comes just after the answer.
func TestEarlyAnswerIsTheLastOfItsConnection(t *testing.T) {
	for name, length := range map[string]int64{"length": 8, "chunked": -1} {
		conn, server, ended := wire(t)
		source, writer := io.Pipe()
		rest := make(chan struct{})
		go func() {
			br := bufio.NewReader(server)
			readUntil(t, br, "half")
			io.WriteString(server, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n")
			<-rest
			io.WriteString(server, "no")
			io.Copy(io.Discard, br)
		}()
		go io.WriteString(writer, "half")
		req := request(t, "POST", source)
		req.ContentLength = length
		resp, err := conn.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(writer, "rest")
		writer.Close()
		close(rest)
		if b, err := io.ReadAll(resp.Body); string(b) != "no" || err != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		if <-ended {
			t.Errorf("%s: the connection may be used again", name)
		}
	}
}
