package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// body is the body of a response. Close may be called while a Read waits, and ends that.
type body struct {
	x    *exchange
	resp *http.Response // gets the trailers

	closed atomic.Bool

	mu   sync.Mutex // held during a read
	kind bodyKind
	left int64 // of the body, or of the chunk
	data bool  // within a chunk, or before the CR LF at its end
	fat  int64 // bytes of chunks beside their data, beyond the usual
	err  error // that every Read returns from now on
}

func newBody(x *exchange, resp *http.Response, f framing) *body {
	return &body{x: x, resp: resp, kind: f.kind, left: f.length}
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.read(p)
	if err != nil {
		b.finish(err)
	}
	return n, b.err
}

// Close ends the response. The connection can be used again if the rest of the body has arrived already.
func (b *body) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	if !b.mu.TryLock() {
		b.x.c.Abort() // ends the Read
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	if b.err != nil {
		return nil
	}
	if r := b.x.c.r; b.kind == bodyLength && b.left <= int64(r.Buffered()) {
		r.Discard(int(b.left))
		b.finish(io.EOF)
	} else {
		b.finish(http.ErrBodyReadAfterClose)
	}
	b.err = http.ErrBodyReadAfterClose
	return nil
}

// finish ends the exchange with err, which is io.EOF if the body was read to its end.
func (b *body) finish(err error) {
	if b.err = err; !errors.Is(err, io.EOF) {
		if b.err = b.x.cause(err); b.closed.Load() {
			b.err = http.ErrBodyReadAfterClose
		}
	}
	b.x.end(errors.Is(err, io.EOF))
}

func (b *body) read(p []byte) (n int, err error) {
	r := b.x.c.r
	switch b.kind {
	case bodyLength:
		n, err = r.Read(p[:min(int64(len(p)), b.left)])
		if b.left -= int64(n); b.left == 0 {
			return n, io.EOF
		}
	case bodyChunked:
		for {
			k, err := b.readChunks(r, p[n:])
			if n += k; err != nil || n == len(p) || !b.hasMore(r) {
				return n, err
			}
		}
	default: // until the end of the connection
		return r.Read(p)
	}
	return n, noEOF(err)
}

// readChunks reads data of one chunk (RFC 9112 section 7.1), or the end.
func (b *body) readChunks(r *bufio.Reader, p []byte) (n int, err error) {
	if b.left == 0 {
		if b.data {
			if err := readCRLF(r); err != nil {
				return 0, err
			}
			b.data = false
		}
		if err := b.beginChunk(r); err != nil {
			return 0, err
		}
		if b.left == 0 {
			return 0, b.readTrailers(r)
		}
		b.data = true
	}
	n, err = r.Read(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); b.left > 0 || err != nil {
		return n, noEOF(err)
	}
	// If the end has arrived already, it is returned at once: the connection is free one Read earlier.
	const end = "\r\n0\r\n\r\n"
	if r.Buffered() >= len(end) {
		if next, _ := r.Peek(len(end)); string(next) == end {
			r.Discard(len(end))
			return n, io.EOF
		}
	}
	return n, nil
}

// hasMore reports whether data of the next chunk has arrived already. One Read for each of many small chunks would lead to as
// many writes to a client.
func (b *body) hasMore(r *bufio.Reader) bool {
	if b.left > 0 {
		return r.Buffered() > 0
	}
	next, _ := r.Peek(r.Buffered())
	next = bytes.TrimPrefix(next, []byte("\r\n"))
	line := bytes.IndexByte(next, '\n')
	return line > 0 && next[0] != '0' && line+1 < len(next) // after a 0, the trailers may not have arrived
}

// beginChunk reads the line before a chunk: its size, and extensions, which it ignores.
func (b *body) beginChunk(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return invalid("the line before a chunk is too long")
	case err != nil:
		return noEOF(err)
	}
	n := len(line) - 2
	if n < 0 || line[n] != '\r' {
		return invalid("the line before a chunk does not end in CR LF")
	}
	size, digits := int64(0), 0
	for digits < n {
		d := hexDigit(line[digits])
		if d < 0 {
			break
		}
		if digits++; digits > 15 { // sixteen could be negative
			return invalid("the size of a chunk is too large a number")
		}
		size = size<<4 | int64(d)
	}
	if digits == 0 {
		return invalid("the line before a chunk does not begin with its size")
	}
	if rest := line[digits:n]; len(rest) > 0 {
		// chunk-ext; blanks before it have to be accepted (RFC 9112 section 7.1.1).
		for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
			rest = rest[1:]
		}
		if len(rest) > 0 && rest[0] != ';' {
			return invalid("the size of a chunk is not a number")
		}
		for _, c := range rest {
			if c < ' ' && c != '\t' || c == 0x7f {
				return invalid("a control character stands in the line before a chunk")
			}
		}
	}
	// A server must not keep us busy with bytes that are not data.
	const usual, most = 16, 16 << 10
	if b.fat = max(0, b.fat+int64(len(line))-usual-2*size); b.fat > most {
		return invalid("its chunks are more than their data")
	}
	b.left = size
	return nil
}

// readTrailers reads the trailer section, and returns io.EOF if it is valid.
func (b *body) readTrailers(r *bufio.Reader) error {
	section, err := readSection(r, b.x.c.MaxHeaderBytes, true)
	if err != nil {
		return noEOF(err)
	}
	if section != "" {
		fields, err := parseFields(section)
		if err != nil {
			return err
		}
		if b.resp.Trailer == nil {
			b.resp.Trailer = make(http.Header, len(fields))
		}
		for name, values := range fields {
			b.resp.Trailer[name] = values
		}
	}
	return io.EOF
}

func readCRLF(r *bufio.Reader) error {
	for _, want := range []byte("\r\n") {
		c, err := r.ReadByte()
		if err != nil {
			return noEOF(err)
		}
		if c != want {
			return invalid("a chunk does not end where its size says")
		}
	}
	return nil
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// noEOF turns io.EOF into io.ErrUnexpectedEOF, for an end of the stream before the end of the body.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
