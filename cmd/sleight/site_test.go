package main_test

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha1"
	"crypto/tls"
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

// site is a typical web site: it has a login, compression, redirects to its own name, cookies, a stream, events and WebSockets. It is for one
// client, and has the state of that client.
type site struct {
	self   string        // its own name; empty means the name of the request
	next   chan struct{} // continues the stream
	result chan string   // the report of the page
}

// newSite starts an origin with the site for a name.
func newSite(t *testing.T, ca *devca.Authority, self string, http1 bool, names ...string) (*site, *tlstest.Origin) {
	t.Helper()
	s := &site{self: self, next: make(chan struct{}, 1), result: make(chan string, 1)}
	o := &tlstest.Origin{HTTP1: http1, Handler: s.handler(), Certificates: map[string]tls.Certificate{}}
	for _, name := range names {
		o.Certificates[name] = tlstest.Leaf(t, ca, name)
	}
	o.Start(t)
	return s, o
}

// offers returns the attribute protocols for a route to a site: only HTTP/1.1, or HTTP/2 first.
func offers(http1 bool) []string {
	if http1 {
		return []string{"http/1.1"}
	}
	return []string{"h2", "http/1.1"}
}

// blob is large, and all its parts differ.
var blob = func() []byte {
	b := make([]byte, 5<<20)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}()

var (
	//go:embed testdata/index.html
	indexPage string
	//go:embed testdata/app.js
	appScript string
)

const (
	session   = "s3cret"
	loginPage = `<!doctype html><link rel="icon" href="data:,"><form method="post" action="/login"><input name="password" type="password"></form>
<script>document.querySelector("input").value = "open sesame & ü"; document.querySelector("form").submit()</script>`
)

func (s *site) handler() http.Handler {
	mux := http.NewServeMux()
	// The login: a relative redirect, an absolute redirect, and a redirect after a form.
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("session"); err != nil || c.Value != session {
			w.Header().Set("Location", "gate")
			w.WriteHeader(http.StatusFound)
			return
		}
		w.Header().Set("Link", "</hinted.css>; rel=preload; as=style")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Link", "<"+s.absolute(r, "/preloaded.css")+">; rel=preload; as=style")
		document(w, r, "text/html; charset=utf-8", indexPage)
	})
	mux.HandleFunc("GET /gate", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", s.absolute(r, "/login"))
		w.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) { document(w, r, "text/html; charset=utf-8", loginPage) })
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("password") != "open sesame & ü" {
			http.Error(w, "wrong password", http.StatusForbidden)
			return
		}
		for _, cookie := range []string{
			"session=" + session + "; Path=/; HttpOnly; SameSite=Lax",
			"theme=dark; Path=/; Expires=Wed, 21 Oct 2099 07:28:00 GMT",
			"shared=1; Path=/; Domain=" + cmp.Or(s.self, r.Host),
			"account=7; Path=/seen/account",
			"foreign=1; Path=/; Domain=elsewhere.test", // clients refuse it
		} {
			w.Header().Add("Set-Cookie", cookie)
		}
		w.Header().Set("Location", s.absolute(r, "/"))
		w.WriteHeader(http.StatusSeeOther)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "session=; Path=/; Max-Age=0")
		w.Header().Add("Set-Cookie", "shared=; Path=/; Max-Age=0; Domain="+cmp.Or(s.self, r.Host))
		w.WriteHeader(http.StatusNoContent)
	})

	// The parts of the page.
	for path, content := range map[string][2]string{
		"/app.js":        {"text/javascript", appScript},
		"/part.js":       {"text/javascript", `export const part = "a part";`},
		"/style.css":     {"text/css", "p { color: green }"},
		"/preloaded.css": {"text/css", "p { padding: 0 }"},
		"/hinted.css":    {"text/css", "p { margin: 0 }"},
		"/text":          {"text/plain; charset=utf-8", strings.Repeat("a text in which much is said again, ü\n", 200)},
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { document(w, r, content[0], content[1]) })
	}
	mux.HandleFunc("GET /image.png", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		png.Encode(w, image.NewGray(image.Rect(0, 0, 7, 5)))
	})
	mux.HandleFunc("GET /blob", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-blob")
		w.Header().Set("Etag", `"blob"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blob))
	})
	mux.HandleFunc("GET /chunks", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-blob")
		w.Write(blob) // larger than the server's buffer, so that it has no length
	})

	// Requests with a body.
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-echo")
		io.Copy(w, r.Body)
	})
	mux.HandleFunc("POST /moved", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", s.absolute(r, "/echo?moved"))
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("GET /status/{status}", func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.PathValue("status"))
		w.WriteHeader(status)
		fmt.Fprintf(w, "the site says %d", status)
	})
	mux.HandleFunc("GET /seen/", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"uri": r.RequestURI, "header": r.Header})
	})
	mux.HandleFunc("GET /hints", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</hinted.css>; rel=preload; as=style")
		w.WriteHeader(http.StatusEarlyHints)
		io.WriteString(w, "body")
	})
	mux.HandleFunc("GET /trailers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "body")
		http.NewResponseController(w).Flush() // otherwise it would have a length, and no trailers in HTTP/1.1
		w.Header().Set("X-Sum", "42")
	})
	mux.HandleFunc("GET /stream", s.stream)
	mux.HandleFunc("POST /next", func(w http.ResponseWriter, _ *http.Request) {
		s.next <- struct{}{}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /events", events)
	mux.HandleFunc("GET /socket", webSocket)
	mux.HandleFunc("POST /result", func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.result <- string(b)
	})
	return mux
}

// absolute returns a URL of the site. The scheme is that of X-Forwarded-Proto, or of the connection.
func (s *site) absolute(r *http.Request, path string) string {
	if s.self != "" {
		return "https://" + s.self + path
	}
	return cmp.Or(r.Header.Get("X-Forwarded-Proto"), "https") + "://" + r.Host + path
}

// document answers with a text, compressed if the client accepts that, or with 304. X-Turn says which.
func document(w http.ResponseWriter, r *http.Request, contentType, text string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept-Encoding")
	h.Set("X-Turn", "plain")
	body, etag := []byte(text), `"plain"`
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("X-Turn", "compressed")
		h.Set("Content-Encoding", "gzip")
		body, etag = zipped(text), `"gzip"`
	}
	h.Set("Etag", etag)
	if r.Header.Get("If-None-Match") == etag {
		h.Set("X-Turn", "not modified")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

func zipped(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return b.Bytes()
}

// stream sends each piece after the client has confirmed the piece before.
func (s *site) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-pieces")
	w.Header().Set("X-Content-Type-Options", "nosniff") // otherwise browsers would wait for more bytes to sniff
	for _, piece := range []string{"one", "two", "three"} {
		io.WriteString(w, piece)
		http.NewResponseController(w).Flush()
		select {
		case <-s.next:
		case <-r.Context().Done():
			return
		}
	}
}

// events ends after the first event, and continues after the event that the client names.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	if last := r.Header.Get("Last-Event-Id"); last != "" {
		fmt.Fprintf(w, "data: after %s\n\n", last)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	}
	io.WriteString(w, "retry: 1\nid: 41\ndata: first\n\n")
}

const (
	textFrame  = 0x81 // of RFC 6455 section 5.2: FIN and opcode
	closeFrame = 0x88
)

// webSocket sends a greeting, and echoes each frame. It closes at "end", or at once if the query is "bye".
func webSocket(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n", accept(r.Header.Get("Sec-Websocket-Key")))
	if r.Header.Get("Sec-Websocket-Protocol") != "" {
		io.WriteString(rw, "Sec-WebSocket-Protocol: echo\r\n")
	}
	io.WriteString(rw, "\r\n")
	writeFrame(rw, textFrame, []byte("hello"))
	if r.URL.RawQuery == "bye" {
		writeFrame(rw, closeFrame, nil)
		return
	}
	for {
		kind, payload, err := readFrame(rw.Reader)
		if err != nil {
			return
		}
		if string(payload) == "end" {
			kind, payload = closeFrame, append(binary.BigEndian.AppendUint16(nil, 4001), "enough"...)
		}
		if writeFrame(rw, kind, payload) != nil || kind == closeFrame {
			return
		}
	}
}

// accept returns the answer to a client's key (RFC 6455 section 4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func readFrame(r *bufio.Reader) (kind byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1] & 0x7f)
	if size := map[uint64]int{126: 2, 127: 8}[n]; size > 0 {
		var length [8]byte
		if _, err := io.ReadFull(r, length[8-size:]); err != nil {
			return 0, nil, err
		}
		n = binary.BigEndian.Uint64(length[:])
	}
	if head[1]&0x80 == 0 || n > 1<<20 {
		return 0, nil, fmt.Errorf("a frame without a mask, or of %d bytes", n)
	}
	frame := make([]byte, 4+n)
	if _, err := io.ReadFull(r, frame); err != nil {
		return 0, nil, err
	}
	mask, payload := frame[:4], frame[4:]
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0], payload, nil
}

func writeFrame(w *bufio.ReadWriter, kind byte, payload []byte) error {
	w.WriteByte(kind)
	switch n := len(payload); {
	case n < 126:
		w.WriteByte(byte(n))
	case n < 1<<16:
		w.WriteByte(126)
		binary.Write(w, binary.BigEndian, uint16(n))
	default:
		w.WriteByte(127)
		binary.Write(w, binary.BigEndian, uint64(n))
	}
	w.Write(payload)
	return w.Flush()
}
