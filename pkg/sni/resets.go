package sni

import (
	"encoding/binary"
	"net"
	"slices"
	"sync"
)

// resetWriter is between net/http's HTTP/2 client and TLS, and holds RST_STREAM frames back while other requests are on the
// connection. Servers take canceled requests for an attack, and then end the connection with all requests on it: Tomcat after
// seven. net/http ignores the data that still comes on such a stream, which is 256 KiB at most. A connection with a canceled
// request gets no further request if there may be another connection, and is closed when the others have ended, as over
// HTTP/1.1. Before a further request, the held frames are sent: the server counts these streams too.
//
// Write is for one goroutine at a time, as net/http uses it. All else is safe for concurrent use.
type resetWriter struct {
	net.Conn
	canceled func() // called on its own goroutine when a request was canceled

	skip int    // bytes left of a frame, or of the preface
	head []byte // the beginning of a frame

	mu     sync.Mutex
	open   map[uint32]struct{} // streams that neither side has ended
	last   uint32              // the newest stream
	gaveUp bool                // a request was canceled
	kept   []byte              // frames that are held back
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

// hasGivenUp reports whether a request on the connection was canceled.
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
	var out []byte // the frames to write, if some of rest are held back or others come before them
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
			kind = unknownFrame // net/http does not send such a frame
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

// look notes what a frame from the client does to its stream. It returns the frames to write before it, and whether the frame
// itself is held back. A reset because of what the server has sent is written.
func (w *resetWriter) look(kind byte, stream uint32, frame []byte) (before []byte, keeps bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case kind == headersFrame && stream > w.last: // else they are trailers
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
