package tlstest

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
)

// Secret is in each of BrokenAnswers. The client may see it in some of them. Nobody else may see it, the log included.
const Secret = "iban=DE00SECRET"

// A BrokenAnswer is what an origin with a fault sends.
type BrokenAnswer struct {
	Name   string
	Method string // of the request that it answers
	Bytes  string // all in one write; the connection stays open
}

// BrokenAnswers are faults of hand-written servers, and some bytes that are not HTTP.
var BrokenAnswers = []BrokenAnswer{
	{"longer than its length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}{\"" + Secret + "\":\"\\\n\"}"},
	{"newline behind it", "GET", "HTTP/1.1 200 OK\r\nX: " + Secret + "\r\nContent-Length: 2\r\n\r\n{}\n"},
	{"two answers in a row", "GET", strings.Repeat("HTTP/1.1 200 OK\r\nSet-Cookie: "+Secret+"\r\nContent-Length: 2\r\n\r\n{}", 2)},
	{"204 with a body", "GET", "HTTP/1.1 204 No Content\r\n\r\n<html>" + Secret + "</html>"},
	{"204 with a length", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 15\r\n\r\n" + Secret},
	{"304 with a body", "GET", "HTTP/1.1 304 Not Modified\r\n\r\n" + Secret + "\r\n"},
	{"HEAD with a body", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" + Secret},
	{"bytes behind the last chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + Secret},
	{"chunk longer than its size", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}" + Secret + "\r\n0\r\n\r\n"},
	{"chunk without a size", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + Secret + "\r\n0\r\n\r\n"},
	{"length that is none", "GET", "HTTP/1.1 200 OK\r\nContent-Length: " + Secret + "\r\n\r\n{}"},
	{"two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 15\r\n\r\n" + Secret},
	{"unknown coding", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + Secret + "\r\n\r\n{}"},
	{"field without a colon", "GET", "HTTP/1.1 200 OK\r\nCookie " + Secret + "\r\nContent-Length: 2\r\n\r\n{}"},
	{"blank in a field's name", "GET", "HTTP/1.1 200 OK\r\nSet Cookie " + Secret + ": x\r\nContent-Length: 2\r\n\r\n{}"},
	{"control character in a value", "GET", "HTTP/1.1 200 OK\r\nSet-Cookie: " + Secret + "\x00\r\nContent-Length: 2\r\n\r\n{}"},
	{"blank in the name of a trailer", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nSet Cookie " + Secret + ": x\r\n\r\n"},
	{"blank in the name of a hint", "GET", "HTTP/1.1 103 Early Hints\r\nSet Cookie: " + Secret + "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"},
	{"status that is none", "GET", "HTTP/1.1 " + Secret + "\r\nContent-Length: 2\r\n\r\n{}"},
	{"no HTTP", "GET", Secret + "\r\n\r\n"},
	{"no HTTP, and JSON", "GET", "{\"" + Secret + "\":1}\r\n\r\n"},
	{"switch that nobody asked for", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: " + Secret + "\r\nConnection: Upgrade\r\n\r\n" + Secret},
}

// NewBrokenOrigin starts an origin. It answers a request for /N with the Nth of BrokenAnswers, and a request for any other path
// with "fine". Connections stay open until the client closes them. The origin ends with the test.
func NewBrokenOrigin(t testing.TB, certificate tls.Certificate) (address string) {
	t.Helper()
	config := &tls.Config{NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{certificate}}
	return Listen(t, func(raw net.Conn) {
		c := tls.Server(raw, config)
		defer c.Close()
		for r := bufio.NewReader(c); ; {
			answer := "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
			for first := true; ; first = false {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if first {
					_, path, _ := strings.Cut(line, " /")
					end := max(0, strings.IndexAny(path, " ?"))
					if n, err := strconv.Atoi(path[:end]); err == nil && n < len(BrokenAnswers) {
						answer = BrokenAnswers[n].Bytes
					}
				}
				if line == "\r\n" {
					break
				}
			}
			io.WriteString(c, answer)
		}
	})
}
