package lambdahttp

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

// recorder is an http.ResponseWriter that keeps what is written until the handler is
// done. As in net/http, the first final status wins, headers that are set after it come
// too late, and what may not have a body gets none.
type recorder struct {
	method string
	header http.Header
	status int         // 0: not written yet
	sent   http.Header // the headers when the status was written
	body   bytes.Buffer

	tooLarge bool
}

func newRecorder(method string) *recorder {
	return &recorder{method: method, header: make(http.Header)}
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic(fmt.Sprintf("lambdahttp: invalid WriteHeader code %v", status)) // as net/http does
	case w.status != 0 || status < 200:
		return // no front can send an interim answer
	}
	w.status = status
	w.sent = w.header.Clone()
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if !w.bodyAllowed() {
		if w.method == http.MethodHead {
			return len(b), nil
		}
		return 0, http.ErrBodyNotAllowed
	}
	if w.body.Len()+len(b) > maxReply {
		// Enough to know the end of it. Gathering all would run into the function's memory
		// limit, which ends the process.
		w.tooLarge = true
		w.body = bytes.Buffer{}
		return 0, ErrTooLarge
	}
	return w.body.Write(b)
}

// Flush does nothing: the reply leaves as a whole.
func (w *recorder) Flush() {}

func (w *recorder) bodyAllowed() bool {
	return w.method != http.MethodHead && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// answer is what the handler wrote, ready for any front.
type answer struct {
	status int
	header http.Header
	body   []byte
	binary bool // body has to travel as base64
}

func (a *answer) text() string {
	if a.binary {
		return base64.StdEncoding.EncodeToString(a.body)
	}
	return string(a.body)
}

// perHop are the header fields between the function and its front, which frames the
// answer itself; a Transfer-Encoding even breaks it.
var perHop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

func (w *recorder) finish() *answer {
	w.WriteHeader(http.StatusOK)
	a := &answer{status: w.status, header: w.sent, body: w.body.Bytes()}
	for _, name := range perHop {
		delete(a.header, name)
	}
	for name, values := range a.header {
		if len(values) == 0 || strings.HasPrefix(name, http.TrailerPrefix) {
			delete(a.header, name)
		}
	}
	if w.method != http.MethodHead {
		delete(a.header, "Content-Length") // of what is sent, the front knows better
	}
	if len(a.body) > 0 {
		if len(a.header["Content-Type"]) == 0 {
			// Left alone, one front would say text/plain and another application/json.
			a.header.Set("Content-Type", detectType(a.header, a.body))
		}
		a.binary = !isText(a.header, a.body)
	}
	return a
}

func detectType(h http.Header, body []byte) string {
	if isCoded(h) {
		return "application/octet-stream" // sniffing would find the coding: a page becomes a download of gzip
	}
	return http.DetectContentType(body)
}

func isCoded(h http.Header) bool {
	coding := h.Get("Content-Encoding")
	return coding != "" && !strings.EqualFold(coding, "identity")
}

// isText reports whether the body survives as a JSON string.
func isText(h http.Header, body []byte) bool {
	if isCoded(h) {
		return false // even where its bytes happen to be valid UTF-8
	}
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return false
	}
	switch {
	case strings.HasPrefix(mediaType, "text/"), strings.HasSuffix(mediaType, "+json"), strings.HasSuffix(mediaType, "+xml"):
	case mediaType == "application/json", mediaType == "application/javascript", mediaType == "application/xml",
		mediaType == "application/x-www-form-urlencoded":
	default:
		return false
	}
	return utf8.Valid(body)
}
