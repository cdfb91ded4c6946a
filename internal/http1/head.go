package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// An AnswerError says why a response is not valid. It quotes nothing of the response, which may be a customer's data.
type AnswerError struct{ Reason string }

func (e *AnswerError) Error() string { return "http1: not a valid answer: " + e.Reason }

func invalid(format string, args ...any) error { return &AnswerError{fmt.Sprintf(format, args...)} }

// A HeaderSizeError is the error for a header section that is larger than Conn.MaxHeaderBytes.
type HeaderSizeError struct{ Limit int64 }

func (e *HeaderSizeError) Error() string {
	return fmt.Sprintf("http1: the header of the answer is larger than %d bytes", e.Limit)
}

// head is the status line and the header section of a response.
type head struct {
	minor  int // of the version, HTTP/1.x
	status int
	text   string // status and reason, such as "200 OK"
	header http.Header
}

// readHead reads a status line and a header section.
func readHead(r *bufio.Reader, limit int64) (head, error) {
	if err := speaksHTTP2(r); err != nil {
		return head{}, err
	}
	line, err := readLine(r, nil, limit, false)
	if err != nil {
		return head{}, err
	}
	h, err := parseStatusLine(string(line)) // at once: something that is not HTTP may have no more lines
	if err != nil {
		return head{}, err
	}
	fields, err := readSection(r, limit, false)
	if err != nil {
		return head{}, noEOF(err)
	}
	h.header, err = parseFields(fields)
	return h, err
}

// readSection reads lines up to an empty one, and returns them without that one, each with "\n" at its end. The size of a line
// is that of "name: value" CR LF. An end of the stream before the first byte is io.EOF. crlf is as in readLine.
func readSection(r *bufio.Reader, limit int64, crlf bool) (string, error) {
	var (
		buf     [1 << 10]byte // most headers fit, and then only the result is allocated
		section = buf[:0]
	)
	for {
		start := len(section)
		longer, err := readLine(r, section, limit, crlf)
		switch {
		case err != nil && start > 0:
			return "", noEOF(err)
		case err != nil:
			return "", err
		case len(longer) == start:
			return string(section), nil
		}
		section = append(longer, '\n')
		limit -= int64(len(section)-start) + 1
	}
}

// readLine appends a line without its end to b. RFC 9112 section 2.2 allows a single LF as the end of a line, and requires that a
// CR anywhere else is refused. crlf says that the line has to end in CR LF, as in a chunked body (section 7.1).
func readLine(r *bufio.Reader, b []byte, limit int64, crlf bool) ([]byte, error) {
	start := len(b)
	for {
		part, err := r.ReadSlice('\n')
		b = append(b, part...)
		// CR LF is counted, but not that of the empty line, which ends the header.
		if n := len(b) - start; int64(n) > limit && n > len("\r\n") {
			return nil, &HeaderSizeError{limit}
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(b) > start:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		b = b[:len(b)-1]
		if n := len(b); n > start && b[n-1] == '\r' {
			b = b[:n-1]
		} else if crlf {
			return nil, invalid("a line behind the last chunk does not end in CR LF")
		}
		if bytes.IndexByte(b[start:], '\r') >= 0 {
			return nil, invalid("a CR stands amid a line of the header")
		}
		return b, nil
	}
}

// speaksHTTP2 reports whether the connection begins with a SETTINGS frame: some servers speak HTTP/2 although they were asked
// for HTTP/1.1 (RFC 9113 section 3.4).
func speaksHTTP2(r *bufio.Reader) error {
	const frameHeader, settings = 9, 4
	b, _ := r.Peek(min(r.Buffered(), frameHeader))
	if len(b) == frameHeader && b[0] == 0 && b[3] == settings && string(b[5:]) == "\x00\x00\x00\x00" {
		return ErrHTTP2
	}
	return nil
}

// parseStatusLine reads the line of RFC 9112 section 4. The reason, and the blank before it, may be
// missing.
func parseStatusLine(line string) (head, error) {
	const version = "HTTP/1."
	if len(line) < len("HTTP/1.1 200") || line[:len(version)] != version || !isDigit(line[7]) || line[8] != ' ' {
		return head{}, invalid("it does not begin with a status line of HTTP/1.1 or HTTP/1.0")
	}
	h := head{minor: int(line[7] - '0'), text: line[9:]}
	code, reason := h.text[:3], h.text[3:]
	if !isDigit(code[0]) || !isDigit(code[1]) || !isDigit(code[2]) || code[0] == '0' || reason != "" && reason[0] != ' ' {
		return head{}, invalid("the status is not a number of three digits from 100")
	}
	if !httpguts.ValidHeaderFieldValue(reason) {
		return head{}, invalid("a control character stands in the status line")
	}
	h.status = int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	return h, nil
}

// parseFields reads field lines (RFC 9112 section 5), each ended by "\n". It removes a blank before the colon, as a proxy has to
// (section 5.1). It refuses lines that continue in the next one (section 5.2).
func parseFields(lines string) (http.Header, error) {
	n := strings.Count(lines, "\n")
	header := make(http.Header, n)
	values := make([]string, n) // one allocation for the values of all fields
	for number := 1; lines != ""; number++ {
		var line string
		line, lines, _ = strings.Cut(lines, "\n")
		if line[0] == ' ' || line[0] == '\t' {
			return nil, invalid("line %d of the header begins with a blank, as if it went on with the one before", number)
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, invalid("line %d of the header has no colon", number)
		}
		name = strings.TrimRight(name, " \t")
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, invalid("line %d of the header has a name that is no token", number)
		}
		value = strings.Trim(value, " \t")
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, invalid("line %d of the header has a control character in its value", number)
		}
		key := textproto.CanonicalMIMEHeaderKey(name)
		if before := header[key]; before != nil {
			header[key] = append(before, value)
		} else {
			header[key], values = values[:1:1], values[1:]
			header[key][0] = value
		}
	}
	return header, nil
}

// response returns the response without its body.
func (h *head) response() *http.Response {
	proto := "HTTP/1.1"
	minor := 1
	if h.minor == 0 {
		proto, minor = "HTTP/1.0", 0
	}
	return &http.Response{Status: h.text, StatusCode: h.status, Proto: proto, ProtoMajor: 1, ProtoMinor: minor, Header: h.header}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
