package sni

import (
	"encoding/binary"
	"net"
	"slices"
	"sync"
)

// resetWriter stands between net/http's client of HTTP/2 and TLS, and keeps back RST_STREAM as long as
// other requests are on the connection. Servers take clients that give up requests for an attack, and then end
// the connection with all that is on it: Tomcat after seven, or after three if a PING comes with each, as
// net/http sends it. What a server still sends on such a stream, net/http ignores; it is 256 KiB at
// most. A connection on which a request was given up gets no further ones, and is closed when the others have
// ended: so it is with HTTP/1.1.
//
// Write is for one goroutine at a time, as net/http's writers are; all else is safe for concurrent use.
type resetWriter struct {
	net.Conn
	pings bool   // PING is passed on: somebody has asked for it
	spent func() // is called on its own goroutine when a request was given up

	skip int    // bytes that are left of a frame, or of the preface
	head []byte // the beginning of a frame that was not written yet

	mu     sync.Mutex
	open   map[uint32]struct{} // streams that neither side has ended
	last   uint32              // the newest stream
	gaveUp bool                // a request was given up
}

// From RFC 9113 sections 3.4 and 6.
const (
	dataFrame, resetFrame, pingFrame, unknownFrame = 0x0, 0x3, 0x6, 0xff

	flagEndStream, flagAck = 0x1, 0x1

	codeNoError, codeCancel = 0x0, 0x8 // section 7

	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

func newResetWriter(c net.Conn, pings bool, spent func()) *resetWriter {
	return &resetWriter{Conn: c, pings: pings, spent: spent, skip: len(preface), open: map[uint32]struct{}{}}
}

// ended notes that the server has ended a stream.
func (w *resetWriter) ended(stream uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, stream)
}

// hasGivenUp reports whether a request on the connection was given up.
func (w *resetWriter) hasGivenUp() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gaveUp
}

func (w *resetWriter) Write(p []byte) (int, error) {
	rest := p
	if len(w.head) > 0 {
		rest = append(w.head, p...)
		w.head = nil
	}
	var out []byte // what was taken from rest, if not all that comes first goes out
	from, i := 0, min(w.skip, len(rest))
	w.skip -= i
	for i < len(rest) {
		frame := rest[i:]
		if len(frame) < frameHeader {
			break
		}
		size := frameHeader + (int(frame[0])<<16 | int(frame[1])<<8 | int(frame[2]))
		kind, flags, stream := frame[3], frame[4], streamOf(frame)
		if size > len(frame) && (kind == resetFrame || kind == pingFrame) {
			break
		}
		if kind == resetFrame && size != frameHeader+4 {
			kind = unknownFrame // net/http sends none
		}
		if w.keepsBack(kind, flags, stream, frame[frameHeader:]) {
			out = append(out, rest[from:i]...)
			i += size
			from = i
			continue
		}
		w.skip = max(0, size-len(frame))
		i += size - w.skip
	}
	if i < len(rest) {
		w.head = slices.Clone(rest[i:])
	}
	if out == nil {
		out = rest[from:i]
	} else {
		out = append(out, rest[from:i]...)
	}
	if len(out) == 0 {
		return len(p), nil
	}
	if _, err := w.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// keepsBack notes what a frame of the client's does to its stream, and reports whether it is kept back. A reset
// for what the server has sent goes out.
func (w *resetWriter) keepsBack(kind, flags byte, stream uint32, payload []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case kind == headersFrame && stream > w.last: // and no trailers
		w.last = stream
		w.open[stream] = struct{}{}
	case kind == resetFrame:
		delete(w.open, stream)
		if code := binary.BigEndian.Uint32(payload); code != codeCancel && code != codeNoError {
			return false
		}
		if !w.gaveUp {
			w.gaveUp = true
			go w.spent()
		}
		return len(w.open) > 0
	case kind == pingFrame:
		return !w.pings && flags&flagAck == 0
	}
	return false
}
