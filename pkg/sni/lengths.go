package sni

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/net/http2/hpack"
)

// lengthReader is between TLS and net/http's HTTP/2 client, and refuses responses whose length is not one number (RFC 9110
// section 8.6, RFC 9113 section 8.1.1). Go up to 1.26.8 passes such lengths on; later releases remove them, and nobody learns
// that the response may be cut off. The reader adds a malformed field at the end of such a header, so that net/http resets the
// stream. Other streams of the connection are not affected.
//
// Read is for one goroutine, as with any net.Conn. fault is safe for concurrent use.
type lengthReader struct {
	net.Conn

	skip    int    // bytes left of a frame without header fields
	pending []byte // the beginning of a frame
	held    []byte // the frames of a header section that has not ended
	out     []byte // for the next Read
	err     error  // from the connection, returned once out is read
	blind   bool   // everything is passed on: net/http will end the connection

	decoder *hpack.Decoder
	section section
	ended   func(stream uint32) // called when the server ends a stream

	mu     sync.Mutex
	faults map[uint32]error // by stream; fault returns each once
}

// section has the facts that matter of one header section.
type section struct {
	final   bool     // of a final response
	lengths []string // different ones, the first few
}

// From RFC 9113 sections 4.1 and 6.
const (
	frameHeader = 9

	headersFrame, promiseFrame, continuationFrame = 0x1, 0x5, 0x9

	flagEndHeaders, flagPadded, flagPriority = 0x4, 0x8, 0x20
)

// malformedField is a field of HPACK whose name has a capital letter, which RFC 9113 section 8.2.1 forbids. It is not indexed (RFC
// 7541 section 6.2.3), so that it does not affect later sections.
var malformedField = []byte{0x10, 1, 'X', 0}

// errNotOneLength does not quote the lengths: they may be any text.
var errNotOneLength = errors.New("the Content-Length of the answer is not one length")

// maxSection bounds how many bytes of one header section are held back. net/http accepts frames of 16 KiB, and sections of a few
// times the size that it announces.
const maxSection = 1 << 20

// maxFaults bounds the faults that are kept. Nobody asks for the fault of a stream that was canceled or never opened.
const maxFaults = 2 * maxStreams

func newLengthReader(c net.Conn, ended func(stream uint32)) *lengthReader {
	r := &lengthReader{Conn: c, ended: ended, faults: map[uint32]error{}}
	r.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) { // net/http announces no other size
		switch f.Name {
		case ":status":
			r.section.final = len(f.Value) == 3 && f.Value[0] != '1'
		case "content-length":
			if known := r.section.lengths; len(known) < 4 && !slices.Contains(known, f.Value) {
				r.section.lengths = append(known, f.Value)
			}
		}
	})
	return r
}

// fault returns the fault of the response on a stream, and nil if it has no fault.
func (r *lengthReader) fault(stream uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.faults[stream]
	delete(r.faults, stream)
	return err
}

func (r *lengthReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 && r.err == nil {
		n, err := r.Conn.Read(p)
		if n > 0 && (r.blind || len(r.pending) == 0 && n <= r.skip) {
			r.skip = max(r.skip-n, 0)
			return n, err
		}
		r.err = err
		r.pending = append(r.pending, p[:n]...)
		if r.look(); err != nil { // the next frame will not be completed
			r.giveUp()
			r.look()
		}
		if len(p) == 0 {
			break
		}
	}
	if len(r.out) == 0 {
		return 0, r.err
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// look moves pending to out, except for the beginning of a frame and a section that has not ended.
func (r *lengthReader) look() {
	for {
		if n := min(r.skip, len(r.pending)); n > 0 {
			r.pass(n)
			r.skip -= n
		}
		if r.blind {
			r.pass(len(r.pending))
			return
		}
		if len(r.pending) < frameHeader {
			return
		}
		length := int(r.pending[0])<<16 | int(r.pending[1])<<8 | int(r.pending[2])
		switch kind := r.pending[3]; {
		case kind == promiseFrame, len(r.held)+length > maxSection:
			r.giveUp()
			continue
		case kind != headersFrame && kind != continuationFrame:
			if len(r.held) > 0 { // no other frame may come within a section
				r.giveUp()
				continue
			}
			if kind == dataFrame && r.pending[4]&flagEndStream != 0 || kind == resetFrame {
				r.ended(streamOf(r.pending))
			}
			r.pass(frameHeader)
			r.skip = length
			continue
		}
		if len(r.pending) < frameHeader+length {
			return
		}
		frame := r.pending[:frameHeader+length]
		r.held = append(r.held, frame...)
		r.pending = r.pending[len(frame):]
		if !r.decode(frame) {
			r.giveUp()
		}
	}
}

func (r *lengthReader) pass(n int) {
	r.out = append(r.out, r.pending[:n]...)
	r.pending = r.pending[n:]
}

// giveUp passes everything on from now on. net/http ends the connection at the fault that was found.
func (r *lengthReader) giveUp() {
	r.blind = true
	r.out = append(r.out, r.held...)
	r.held = nil
}

// decode reads a frame of a header section, the last one held. If the frame ends the section, decode moves the section to out.
func (r *lengthReader) decode(frame []byte) bool {
	kind, flags := frame[3], frame[4]
	stream := streamOf(frame)
	fragment := frame[frameHeader:]
	if kind == headersFrame {
		if flags&flagEndStream != 0 {
			r.ended(stream)
		}
		padding, before := 0, 0
		if flags&flagPadded != 0 {
			if len(fragment) == 0 {
				return false
			}
			padding, before = int(fragment[0]), 1
		}
		if flags&flagPriority != 0 {
			before += 5
		}
		if before+padding > len(fragment) {
			return false
		}
		fragment = fragment[before : len(fragment)-padding]
	}
	if _, err := r.decoder.Write(fragment); err != nil {
		return false
	}
	if flags&flagEndHeaders == 0 {
		return true
	}
	if r.decoder.Close() != nil {
		return false
	}
	if r.section.final && !oneLength(r.section.lengths) {
		r.mu.Lock()
		if len(r.faults) >= maxFaults {
			clear(r.faults)
		}
		r.faults[stream] = errNotOneLength
		r.mu.Unlock()
		r.held[len(r.held)-len(frame)+4] &^= flagEndHeaders
		r.held = append(r.held, 0, 0, byte(len(malformedField)), continuationFrame, flagEndHeaders)
		r.held = binary.BigEndian.AppendUint32(r.held, stream)
		r.held = append(r.held, malformedField...)
	}
	r.section = section{}
	r.out = append(r.out, r.held...)
	r.held = r.held[:0]
	return true
}

// streamOf returns the stream of a frame. The first bit is reserved.
func streamOf(frame []byte) uint32 { return binary.BigEndian.Uint32(frame[5:]) &^ (1 << 31) }

// oneLength reports whether there is no length, or a single number.
func oneLength(lengths []string) bool {
	if len(lengths) == 0 {
		return true
	}
	_, err := strconv.ParseUint(lengths[0], 10, 63)
	return err == nil && len(lengths) == 1
}
