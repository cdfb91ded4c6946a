package sni

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// toOrigin is a connection that records what is written.
type toOrigin struct {
	net.Conn
	got *bytes.Buffer
}

func (c toOrigin) Write(p []byte) (int, error) { return c.got.Write(p) }

// A canceled request must not be reset while other requests are on the connection.
func TestResetsAreKeptBackBesideOtherRequests(t *testing.T) {
	t.Parallel()
	header := func(f *http2.Framer, stream uint32) {
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x82}, EndHeaders: true, EndStream: true})
	}
	for name, c := range map[string]struct {
		do     func(w *resetWriter, f *http2.Framer)
		want   string
		gaveUp bool
	}{
		"the only one": {func(_ *resetWriter, f *http2.Framer) { header(f, 1); f.WriteRSTStream(1, http2.ErrCodeCancel) }, "HEADERS RST_STREAM", true},
		"beside another": {func(_ *resetWriter, f *http2.Framer) {
			header(f, 1)
			header(f, 3)
			f.WriteRSTStream(1, http2.ErrCodeCancel)
		}, "HEADERS HEADERS", true},
		"before another request": {func(_ *resetWriter, f *http2.Framer) {
			header(f, 1)
			header(f, 3)
			f.WriteRSTStream(1, http2.ErrCodeCancel)
			f.WriteData(3, false, []byte("x"))
			header(f, 5)
			header(f, 7)
		}, "HEADERS HEADERS DATA RST_STREAM HEADERS HEADERS", true},
		"the last of them": {func(_ *resetWriter, f *http2.Framer) {
			header(f, 1)
			header(f, 3)
			f.WriteRSTStream(1, http2.ErrCodeCancel)
			f.WriteRSTStream(3, http2.ErrCodeCancel)
		}, "HEADERS HEADERS RST_STREAM", true},
		"beside one that is answered": {func(w *resetWriter, f *http2.Framer) {
			header(f, 1)
			header(f, 3)
			w.ended(1)
			f.WriteRSTStream(3, http2.ErrCodeCancel)
		}, "HEADERS HEADERS RST_STREAM", true},
		"trailers of one that is answered": {func(w *resetWriter, f *http2.Framer) {
			header(f, 1)
			f.WriteData(1, false, []byte("body"))
			w.ended(1)
			header(f, 1)
			header(f, 3)
			f.WriteRSTStream(3, http2.ErrCodeCancel)
		}, "HEADERS DATA HEADERS HEADERS RST_STREAM", true},
		"for what the server sent": {func(_ *resetWriter, f *http2.Framer) {
			header(f, 1)
			header(f, 3)
			f.WriteRSTStream(1, http2.ErrCodeProtocol)
		}, "HEADERS HEADERS RST_STREAM", false},
		"a body that is not wanted": {func(_ *resetWriter, f *http2.Framer) {
			header(f, 1)
			header(f, 3)
			f.WriteRSTStream(1, http2.ErrCodeNo)
		}, "HEADERS HEADERS", true},
		"nothing": {func(*resetWriter, *http2.Framer) {}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, bytewise := range []bool{false, true} {
				var got bytes.Buffer
				w := newResetWriter(toOrigin{nil, &got}, func() {})
				w.Write([]byte(preface))
				c.do(w, http2.NewFramer(writer{w, bytewise}, nil))
				if kinds := kindsOf(t, got.Bytes()); strings.Join(kinds, " ") != c.want || w.hasGivenUp() != c.gaveUp {
					t.Errorf("bytewise %t: %q, given up %t", bytewise, kinds, w.hasGivenUp())
				}
			}
		})
	}
}

// writer returns a function that writes byte by byte, or everything in one write.
type writer struct {
	w        *resetWriter
	bytewise bool
}

func (w writer) Write(p []byte) (int, error) {
	if !w.bytewise {
		return w.w.Write(p)
	}
	for i := range p {
		if _, err := w.w.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// kindsOf returns the types of the frames behind the preface.
func kindsOf(t testing.TB, sent []byte) (kinds []string) {
	rest, ok := bytes.CutPrefix(sent, []byte(preface))
	if !ok {
		t.Fatalf("no preface: %q", sent)
	}
	for len(rest) > 0 {
		if len(rest) < frameHeader {
			t.Fatalf("%d bytes are left", len(rest))
		}
		size := frameHeader + (int(rest[0])<<16 | int(rest[1])<<8 | int(rest[2]))
		if size > len(rest) {
			t.Fatalf("%d of %d bytes of a frame", len(rest), size)
		}
		kinds = append(kinds, http2.FrameType(rest[3]).String())
		rest = rest[size:]
	}
	return kinds
}

// FuzzResetWriter writes frames in pieces. The output must be whole frames in the same order, without the resets.
func FuzzResetWriter(f *testing.F) {
	f.Add([]byte{1, 5, 3, 0, 1, 9, 6, 2}, []byte{3, 40, 1})
	f.Add([]byte{0, 200, 6, 0, 3, 0, 3, 7}, []byte{9})
	f.Add([]byte{1, 0, 1, 0, 3, 1, 8, 4}, []byte{22, 1, 1, 1})
	f.Fuzz(func(t *testing.T, kinds, pieces []byte) {
		sent := []byte(preface)
		var want []byte
		for i := 0; i+1 < len(kinds); i += 2 {
			kind, length := kinds[i]%10, int(kinds[i+1])
			stream := byte(i) | 1
			sent = append(sent, 0, 0, byte(length), kind, 0, 0, 0, 0, stream)
			sent = append(sent, bytes.Repeat([]byte{kind}, length)...)
			if kind != resetFrame {
				want = append(want, kind)
			}
		}
		var got bytes.Buffer
		w := newResetWriter(toOrigin{nil, &got}, func() {})
		for rest := sent; len(rest) > 0; {
			n := len(rest)
			if len(pieces) > 0 {
				n, pieces = min(n, int(pieces[0])+1), pieces[1:]
			}
			if m, err := w.Write(rest[:n]); m != n || err != nil {
				t.Fatalf("%d of %d bytes, %v", m, n, err)
			}
			rest = rest[n:]
		}
		var kept []byte
		for rest := got.Bytes()[len(preface):]; len(rest) > 0; {
			length := int(rest[2])
			if kind := rest[3]; kind != resetFrame {
				kept = append(kept, kind)
			}
			if body := rest[frameHeader : frameHeader+length]; !bytes.Equal(body, bytes.Repeat(rest[3:4], length)) {
				t.Fatalf("the frame %d has %q", rest[3], body)
			}
			rest = rest[frameHeader+length:]
		}
		if !slices.Equal(kept, want) {
			t.Errorf("frames %v, want %v", kept, want)
		}
	})
}
