package proxy

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// If an origin closes the connection during an upload, the transport closes the body. The client is not to blame.
func TestClosedBodyIsNotAnUploadError(t *testing.T) {
	for err, broken := range map[error]bool{io.EOF: false, http.ErrBodyReadAfterClose: false, io.ErrUnexpectedEOF: true, errors.New("malformed chunk"): true} {
		x := &exchange{watch: &watch{}}
		b := &requestBody{ReadCloser: io.NopCloser(iotest.ErrReader(err)), x: x, left: -1}
		if _, got := b.Read(make([]byte, 1)); got != err || (x.uploadCause(t.Context()) != nil) != broken {
			t.Errorf("%v: broken is %v, error %v", err, x.uploadCause(t.Context()), got)
		}
	}
}

// closeCounter is a server's body, whose Close may wait for the client.
type closeCounter struct {
	io.Reader
	closed int
}

func (c *closeCounter) Close() error { c.closed++; return nil }

// An early response must not wait for the rest of the body.
func TestClosedBodyIsLeftToTheServer(t *testing.T) {
	servers := &closeCounter{Reader: strings.NewReader("hello")}
	x := &exchange{watch: &watch{}}
	b := &requestBody{ReadCloser: servers, x: x, left: -1}
	p := make([]byte, 2)
	if n, err := b.Read(p); n != 2 || err != nil {
		t.Fatalf("%d bytes, error %v", n, err)
	}
	if err := b.Close(); err != nil || servers.closed != 0 {
		t.Errorf("error %v, the server's body was closed %d times", err, servers.closed)
	}
	if n, err := b.Read(p); n != 0 || err != http.ErrBodyReadAfterClose {
		t.Errorf("%d bytes after the end, error %v", n, err)
	}
	if !b.unread() || x.uploadCause(t.Context()) != nil {
		t.Errorf("unread %v, broken %v", b.unread(), x.uploadCause(t.Context()))
	}
}
