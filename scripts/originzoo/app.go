package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An app is the application behind every server: it counts each POST, and has an answer for each stranger. Servers that can
// forward requests forward them to it. The other servers have small programs that do the same work. It is safe for concurrent
// use.
type app struct {
	mu    sync.Mutex
	posts map[string]int
}

// seen returns how often the POST with that id was processed.
func (a *app) seen(id string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.posts[id]
}

// big is larger than all buffers between an origin and a client.
const big = 16 << 20

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text := func(status int, body string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
	switch r.URL.Path {
	case "/post":
		body, err := io.ReadAll(r.Body)
		id, rest, _ := strings.Cut(string(body), " ")
		if err != nil || strings.Trim(rest, ".") != "" {
			text(http.StatusBadRequest, "this body is not whole\n")
			return
		}
		a.mu.Lock()
		a.posts[id]++
		a.mu.Unlock()
		text(http.StatusOK, id)
	case "/late":
		time.Sleep(time.Second)
		n, err := io.Copy(io.Discard, r.Body)
		text(http.StatusOK, fmt.Sprintln(n, err))
	case "/read":
		n, err := io.Copy(io.Discard, r.Body)
		text(http.StatusOK, fmt.Sprintln(n, err))
	case "/slow":
		time.Sleep(200 * time.Millisecond)
		text(http.StatusOK, "slow\n")
	case "/big":
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(big))
		piece := make([]byte, 64<<10)
		for range big / len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	case "/echo":
		text(http.StatusOK, echo(r))
	case "/text":
		w.Header().Set("Etag", `"one"`)
		w.Header().Set("Last-Modified", "Tue, 01 Dec 2020 00:00:00 GMT")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(strings.Repeat("to be or not to be, ", 1000)))
	case "/pieces":
		for i := range 3 {
			fmt.Fprintln(w, "piece", i)
			http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	case "/redirect":
		w.Header().Set("Location", "https://"+name+"/elsewhere?a=b")
		text(http.StatusFound, "elsewhere\n")
	case "/cookies":
		w.Header().Add("Set-Cookie", "sid=1; Path=/; HttpOnly; Secure")
		w.Header().Add("Set-Cookie", "theme=dark; Domain="+name)
		w.Header().Set("Cache-Control", "private")
		text(http.StatusOK, "cookies\n")
	case "/empty":
		w.WriteHeader(http.StatusNoContent)
	case "/nothing":
		text(http.StatusOK, "")
	case "/broken":
		text(http.StatusInternalServerError, "broken\n")
	case "/hello":
		text(http.StatusOK, "hello\n")
	default:
		text(http.StatusNotFound, "no such page\n")
	}
}

// echo answers with the request: the request line without the version, the fields in the order of their names, and the body. It
// leaves out Content-Length, because servers add it only if they have the whole body when they forward the request.
func echo(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	var lines []string
	for k, values := range r.Header {
		for _, v := range values {
			if k != "Content-Length" {
				lines = append(lines, k+": "+v)
			}
		}
	}
	lines = append(lines, "Host: "+r.Host)
	sort.Strings(lines)
	var b bytes.Buffer
	fmt.Fprintln(&b, r.Method, r.RequestURI)
	fmt.Fprintln(&b, strings.Join(lines, "\n"))
	fmt.Fprintf(&b, "\n%d bytes, %v: %.80q\n", len(body), err, body)
	return b.String()
}
