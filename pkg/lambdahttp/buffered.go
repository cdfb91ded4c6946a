package lambdahttp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// buffered calls the handler, and returns the whole reply.
func (a *Adapter) buffered(f front, r *http.Request, err error) io.Reader {
	body, _ := a.buffers.Get().(*bytes.Buffer)
	if body == nil {
		body = new(bytes.Buffer)
	}
	s := &buffer{body: body, limit: f.limits().reply}
	w := newResponse(r.Method, s)
	var reply *reply
	if err == nil {
		if err = a.serve(w, r); err == nil {
			reply, err = s.pack(f, w)
		}
	}
	if err != nil {
		w.reset()
		a.fail(w, r, err)
		reply, err = s.pack(f, w)
	}
	if err != nil {
		return strings.NewReader(`{"statusCode":500,"headers":{"Content-Type":"text/plain"},"body":"Internal Server Error\n"}`)
	}
	reply.done = func() {
		body.Reset()
		a.buffers.Put(body)
	}
	return reply
}

// buffer is the sink that keeps a body until the handler has returned.
type buffer struct {
	body  *bytes.Buffer
	limit int
}

func (s *buffer) begin(w *response) {
	if n := w.declared(); n > 0 && w.bodyAllowed() {
		if n > int64(s.limit) {
			w.err = &TooLargeError{int(n), s.limit}
			return
		}
		s.body.Grow(int(n))
	}
}

func (s *buffer) write(w *response, b []byte) (int, error) {
	if s.body.Len()+len(b) > s.limit {
		// The reply is too large already. The whole body could exceed the function's memory, and Lambda would end the process.
		w.err = &TooLargeError{s.body.Len() + len(b), s.limit}
		return 0, w.err
	}
	return s.body.Write(b)
}

// flush does nothing, because the reply is sent as a whole.
func (s *buffer) flush(*response) {}

func (s *buffer) reset() { s.body.Reset() }

// pack returns the reply. It computes the size without encoding the body.
func (s *buffer) pack(f front, w *response) (*reply, error) {
	w.WriteHeader(http.StatusOK)
	if w.err != nil {
		return nil, w.err
	}
	body := s.body.Bytes()
	a := w.answer(body)
	if w.method != http.MethodHead {
		delete(a.header, "Content-Length") // the front sets it
	}
	var size int
	if a.binary = !isText(a.header, body); !a.binary {
		// Text with many quotes or control characters can be shorter in base64.
		size = jsonLen(body)
		a.binary = size > s.limit-(4<<10) && base64.StdEncoding.EncodedLen(len(body)) < size
	}
	if a.binary = a.binary && len(body) > 0; a.binary {
		size = base64.StdEncoding.EncodedLen(len(body))
	}
	head, err := marshal(f.head(a))
	if err != nil {
		return nil, err
	}
	head = append(head[:len(head)-1], `,"body":"`...)
	if size += len(head) + len(tail); size > s.limit {
		return nil, &TooLargeError{size, s.limit}
	}
	return &reply{head: head, body: body, binary: a.binary, tail: tail}, nil
}

const tail = `"}`

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // otherwise each < takes six bytes
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// reply is a whole reply. Its memory has the body as the handler wrote it. Read encodes the body in JSON.
type reply struct {
	head   []byte
	body   []byte
	binary bool
	tail   string
	done   func() // called at the end of the reply; may be nil

	spill [8]byte // encoded bytes that did not fit into a short buffer
	spilt []byte
}

// ContentType is the type of the reply, for aws-lambda-go.
func (r *reply) ContentType() string { return "application/json" }

// MarshalJSON returns an error, so that aws-lambda-go does not encode the reader as JSON.
func (r *reply) MarshalJSON() ([]byte, error) { return nil, errNotJSON }

var errNotJSON = errors.New("lambdahttp: a reply is read, not marshalled")

// Read implements io.Reader. It fills p, because each piece costs a write to the socket.
func (r *reply) Read(p []byte) (n int, err error) {
	for n < len(p) {
		switch {
		case len(r.head) > 0:
			c := copy(p[n:], r.head)
			n, r.head = n+c, r.head[c:]
		case len(r.spilt) > 0:
			c := copy(p[n:], r.spilt)
			n, r.spilt = n+c, r.spilt[c:]
		case len(r.body) > 0:
			c := r.encode(p[n:])
			if n += c; c == 0 {
				r.spilt = r.spill[:r.encode(r.spill[:])]
			}
		case len(r.tail) > 0:
			c := copy(p[n:], r.tail)
			n, r.tail = n+c, r.tail[c:]
		default:
			if r.done != nil {
				r.done()
				r.done = nil
			}
			return n, io.EOF
		}
	}
	return n, nil
}

// encode writes as much of the body as fits into p, and returns the number of bytes of p that it used.
func (r *reply) encode(p []byte) int {
	if !r.binary {
		dst, rest := appendJSON(p[:0:len(p)], r.body)
		r.body = rest
		return len(dst)
	}
	const raw, encoded = 3, 4
	n := min(len(r.body), len(p)/encoded*raw)
	base64.StdEncoding.Encode(p, r.body[:n])
	r.body = r.body[n:]
	return base64.StdEncoding.EncodedLen(n)
}
