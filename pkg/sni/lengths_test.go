package sni

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/iotest"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// fromOrigin is a connection that only reads the origin's bytes.
type fromOrigin struct {
	net.Conn
	r io.Reader
}

func (c fromOrigin) Read(p []byte) (int, error) { return c.r.Read(p) }

// through returns the bytes that net/http reads if the origin's bytes arrive in pieces, and the package's own errors.
func through(t testing.TB, sent []byte, bytewise bool) ([]byte, *lengthReader) {
	t.Helper()
	var r io.Reader = bytes.NewReader(sent)
	if bytewise {
		r = iotest.OneByteReader(r)
	}
	l := newLengthReader(fromOrigin{nil, r}, func(uint32) {})
	got, err := io.ReadAll(iotest.DataErrReader(l))
	if err != nil {
		t.Fatal(err)
	}
	return got, l
}

// answers writes frames of HTTP/2 with one state of HPACK, as a server does.
type answers struct {
	bytes.Buffer
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
}

func newAnswers() *answers {
	a := &answers{}
	a.framer = http2.NewFramer(&a.Buffer, nil)
	a.encoder = hpack.NewEncoder(&a.block)
	return a
}

// headers writes a header section in pieces, and may end the stream.
func (a *answers) headers(stream uint32, size int, end bool, pairs ...string) {
	a.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		a.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	block := a.block.Bytes()
	n := min(size, len(block))
	a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block[:n], EndHeaders: n == len(block), EndStream: end, PadLength: 7, Priority: http2.PriorityParam{Weight: 9}})
	for block = block[n:]; len(block) > 0; block = block[n:] {
		n = min(size, len(block))
		a.framer.WriteContinuation(stream, n == len(block), block[:n])
	}
}

// net/http must read the same bytes, for all pieces and other frames, except for a refused response.
func TestLengthsAreReadInEveryShape(t *testing.T) {
	for _, size := range []int{1, 3, 16 << 10} {
		for _, bytewise := range []bool{false, true} {
			a := newAnswers()
			a.framer.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 9})
			a.headers(1, size, false, ":status", "103", "content-length", "5", "content-length", "6")
			a.headers(1, size, false, ":status", "200", "content-length", "5", "x-indexed", "one")
			a.framer.WriteData(1, false, []byte("he"))
			a.headers(3, size, false, ":status", "200", "content-length", "5", "content-length", "6", "x-indexed", "two")
			a.framer.WriteDataPadded(1, false, []byte("llo"), make([]byte, 200))
			a.headers(1, size, true, "content-length", "7", "x-sum", "1")
			a.framer.WriteData(3, true, bytes.Repeat([]byte("hello"), 3000))
			a.headers(5, size, true, ":status", "200", "x-indexed", "two")
			a.headers(7, size, true, ":status", "200", "content-length", "+5")
			a.framer.WritePing(false, [8]byte{1})

			got, l := through(t, a.Bytes(), bytewise)
			framer := http2.NewFramer(nil, bytes.NewReader(got))
			framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
			seen := map[uint32][]string{}
			frames := 0
			for {
				frame, err := framer.ReadFrame()
				if err == io.EOF {
					break
				}
				frames++
				if refused, ok := err.(http2.StreamError); ok {
					seen[refused.StreamID] = append(seen[refused.StreamID], refused.Code.String())
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				switch frame := frame.(type) {
				case *http2.MetaHeadersFrame:
					seen[frame.StreamID] = append(seen[frame.StreamID], frame.PseudoValue("status"))
					if f := frame.RegularFields(); frame.StreamID == 5 && (len(f) != 1 || f[0].Value != "two") {
						t.Errorf("an answer after the refused one has %v", f)
					}
				case *http2.DataFrame:
					seen[frame.StreamID] = append(seen[frame.StreamID], "body")
				}
			}
			if frames != 11 || len(seen[1]) != 5 || len(seen[3]) != 2 || seen[3][0] != "PROTOCOL_ERROR" || len(seen[5]) != 1 || len(seen[7]) != 1 || seen[7][0] != "PROTOCOL_ERROR" {
				t.Errorf("in pieces of %d, a byte at a time: %v: %d frames, %v", size, bytewise, frames, seen)
			}
			for stream, bad := range map[uint32]bool{1: false, 3: true, 5: false, 7: true} {
				if fault := l.fault(stream); (fault != nil) != bad || l.fault(stream) != nil {
					t.Errorf("stream %d: %v", stream, fault)
				}
			}
		}
	}
}

// Bytes that are not HTTP/2 must reach net/http unchanged, because it refuses them.
func FuzzLengthReader(f *testing.F) {
	a := newAnswers()
	a.headers(1, 3, false, ":status", "200", "content-length", "5", "content-length", "6")
	a.framer.WriteData(1, true, []byte("hello"))
	f.Add(a.Bytes())
	b := newAnswers()
	b.headers(1, 1, false, ":status", "200", "content-length", "5")
	b.headers(3, 1000, true, ":status", "200", "content-length", "5")
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:20])
	f.Add([]byte("\x00\x00\x01\x01\x0c\x00\x00\x00\x01\xff"))
	f.Add([]byte("\x00\x00\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add([]byte("\x00\x00\x00\x05\x04\x00\x00\x00\x01HTTP/1.1 200 OK\r\n\r\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		got, l := through(t, sent, false)
		again, _ := through(t, sent, true)
		if !bytes.Equal(got, again) {
			t.Fatalf("at once %q, a byte at a time %q", got, again)
		}
		if len(l.faults) == 0 && !bytes.Equal(got, sent) || len(got) < len(sent) {
			t.Fatalf("%q became %q", sent, got)
		}
	})
}

// Frames for unknown streams must not be kept.
func TestFaultsThatNobodyTakesAreBounded(t *testing.T) {
	a := newAnswers()
	const last = 19_999
	for stream := uint32(1); stream <= last; stream += 2 {
		a.headers(stream, 100, true, ":status", "200", "content-length", "x")
	}
	_, l := through(t, a.Bytes(), false)
	if len(l.faults) > maxFaults {
		t.Errorf("%d faults are kept", len(l.faults))
	}
	if l.fault(last) == nil {
		t.Error("the last is not")
	}
}
