package sni

import (
	"encoding/binary"
	"net"
	"slices"
	"sync"
)

// resetWriter stands between net/http's client of HTTP/2 and TLS, and keeps back RST_STREAM as long as
// other requests are on the connection. Servers take clients that give up requests for an attack, and then end
// the connection with all that is on it: Tomcat after seven. What a server still sends on such a stream, net/http
// ignores; it is 256 KiB at most. A connection on which a request was given up gets no further ones unless
// there is no other, and is closed when the others have ended: so it is with HTTP/1.1. Before a further request goes
// out, the resets do: the server counts those streams, too.
//
// Write is for one goroutine at a time, as net/http's writers are; all else is safe for concurrent use.
type resetWriter struct {
	net.Conn
	canceled func() // called on its own goroutine when a request was canceled

	skip int    // bytes that are left of a frame, or of the preface
	head []byte // the beginning of a frame that was not written yet

	mu     sync.Mutex
	open   map[uint32]struct{} // streams that neither side has ended
	last   uint32              // the newest stream
	gaveUp bool                // a request was given up
	kept   []byte              // frames that were kept back
}

// From RFC 9113 sections 3.4 and 6.
const (
	dataFrame, resetFrame, unknownFrame = 0x0, 0x3, 0xff

	flagEndStream = 0x1

	codeNoError, codeCancel = 0x0, 0x8 // section 7

	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

func newResetWriter(c net.Conn, canceled func()) *resetWriter {
	return &resetWriter{Conn: c, canceled: canceled, skip: len(preface), open: map[uint32]struct{}{}}
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
		kind, stream := frame[3], streamOf(frame)
		if size > len(frame) && kind == resetFrame {
			break
		}
		if kind == resetFrame && size != frameHeader+4 {
			kind = unknownFrame // net/http sends none
		}
		switch before, keeps := w.look(kind, stream, frame); {
		case keeps:
			out = append(out, rest[from:i]...)
			i += size
			from = i
			continue
		case len(before) > 0:
			out = append(append(out, rest[from:i]...), before...)
			from = i
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

// look notes what a frame of the client's does to its stream. It returns what has to go out before the frame, and
// whether that is kept back itself. A reset for what the server has sent goes out.
func (w *resetWriter) look(kind byte, stream uint32, frame []byte) (before []byte, keeps bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case kind == headersFrame && stream > w.last: // and no trailers
		w.last = stream
		w.open[stream] = struct{}{}
		before, w.kept = w.kept, nil
	case kind == resetFrame:
		delete(w.open, stream)
		if code := binary.BigEndian.Uint32(frame[frameHeader:]); code != codeCancel && code != codeNoError {
			return nil, false
		}
		if !w.gaveUp {
			w.gaveUp = true
			go w.canceled()
		}
		if keeps = len(w.open) > 0; keeps {
			w.kept = append(w.kept, frame[:frameHeader+4]...)
		}
	}
	return before, keeps
}
