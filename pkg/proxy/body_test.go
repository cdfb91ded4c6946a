package proxy

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/iotest"
)

// An origin that hangs up during an upload makes the transport close the body; that is
// not the client's fault.
func TestClosedBodyIsNotABrokenOne(t *testing.T) {
	for err, broken := range map[error]bool{io.EOF: false, http.ErrBodyReadAfterClose: false, io.ErrUnexpectedEOF: true, errors.New("malformed chunk"): true} {
		x := &exchange{watch: &watch{}}
		b := &requestBody{ReadCloser: io.NopCloser(iotest.ErrReader(err)), x: x, left: -1}
		if _, got := b.Read(make([]byte, 1)); got != err || (x.brokenBody(t.Context()) != nil) != broken {
			t.Errorf("%v: broken is %v, error %v", err, x.brokenBody(t.Context()), got)
		}
	}
}
