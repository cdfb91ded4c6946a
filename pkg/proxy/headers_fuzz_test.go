package proxy

import (
	"bufio"
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// outgoing returns the request that an origin gets for a request from the network, and nil if the proxy refuses it.
func outgoing(h *Handler, r *http.Request) (sent *http.Request) {
	x := newExchange(h, r)
	x.Route = &origin.Route{Host: "a.test"}
	x.authority, x.Host = r.Host, "a.test"
	w := &responseWriter{ResponseWriter: httptest.NewRecorder(), x: x}
	chain := Chain(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sent = r }), h.dropHopByHop, h.addForwarded)
	for _, check := range []func(*http.Request) error{checkMethod, checkTarget, checkFraming, h.checkLimits, h.checkLoop} {
		if check(r) != nil {
			return nil
		}
	}
	chain.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
	return sent
}

func FuzzHeaders(f *testing.F) {
	for _, fields := range []string{
		"", "Connection: close, X-Forwarded-For\r\nX-Hop: 1\r\n", "Connection: X-Hop\r\nConnection: x-hop , te\r\nX-Hop: 1\r\nTE: trailers\r\n",
		"X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nForwarded: for=\"[::1]\";by=x\r\n",
		"X-Forwarded-For: 2001:db8::1, \"x\\\r\nX-Forwarded-Port: 1\r\n", "X-Forwarded-For: 192.0.2.1:80, unknown, [2001:db8::1]:4711,, 127.0.0.1\r\n",
		"Via: 1.0 fred, 1.1 p.example.net\r\nVia: 1.1 x\r\nCDN-Loop: foo; a=\"b, c\"\r\nCDN-Loop: \"\r\n", "Upgrade: websocket\r\nConnection: Upgrade, via, cdn-loop, forwarded\r\n",
		"Proxy-Authorization: x\r\nKeep-Alive: x\r\nProxy-Connection: x\r\nTrailer: X\r\nTE: gzip\r\n", "Max-Forwards: 1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "Connection: ,, \x80,\t,\r\nConnection: host\r\n",
	} {
		f.Add(fields, false)
		f.Add(fields, true)
	}
	f.Fuzz(func(t *testing.T, fields string, trusted bool) {
		config := Config{}
		if trusted {
			config.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}
		}
		h := newHandler(t, config)
		in, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: a.test\r\n" + fields + "\r\n\r\n")))
		if err != nil || in.Host != "a.test" { // the fuzzed line may continue the Host line
			return
		}
		in.RemoteAddr = "[2001:db8::9%eth0]:1234"
		before := in.Header.Clone()
		out := outgoing(h, in)
		if out == nil {
			return
		}
		header := out.Header
		upgraded := len(header["Upgrade"]) > 0
		ours := map[string]bool{"Via": true, "Cdn-Loop": true, "Forwarded": true, "X-Forwarded-For": true, "X-Forwarded-Host": true, "X-Forwarded-Proto": true}
		for _, name := range hopByHop {
			switch {
			case name == "Te" && strings.Join(header[name], "|") == "trailers",
				upgraded && name == "Connection" && strings.Join(header[name], "|") == "Upgrade", upgraded && name == "Upgrade" && strings.Join(header[name], "|") == "websocket":
				ours[name] = true
			case header[name] != nil:
				t.Errorf("%s: %q", name, header[name])
			}
		}
		for _, field := range before["Connection"] {
			for option := range strings.SplitSeq(field, ",") {
				if name := http.CanonicalHeaderKey(strings.TrimSpace(option)); header[name] != nil && !ours[name] {
					t.Errorf("Connection names %q, which is left: %q", name, header[name])
				}
			}
		}
		const peer = "2001:db8::9"
		for name, want := range map[string]string{"Via": "1.1 sleight", "Cdn-Loop": "sleight", "X-Forwarded-For": peer, "Forwarded": `for="[` + peer + `]";host=a.test;proto=` + header.Get("X-Forwarded-Proto")} {
			if got := header[name]; len(got) != 1 || got[0] != want && !strings.HasSuffix(got[0], ", "+want) {
				t.Errorf("%s is %q, and has to end in %q", name, got, want)
			}
			if got := header[name]; !trusted && name != "Via" && name != "Cdn-Loop" && got[0] != want {
				t.Errorf("%s has a stranger's word: %q", name, got)
			}
		}
		if proto := header["X-Forwarded-Proto"]; len(proto) != 1 || proto[0] != "http" && (proto[0] != "https" || !trusted) {
			t.Errorf("X-Forwarded-Proto %q", proto)
		}
		if hosts := header["X-Forwarded-Host"]; len(hosts) != 1 || !trusted && hosts[0] != "a.test" {
			t.Errorf("X-Forwarded-Host %q", hosts)
		}
		for name, values := range header {
			if !trusted && strings.HasPrefix(name, "X-Forwarded-") && !ours[name] {
				t.Errorf("%s is a stranger's: %q", name, values)
			}
			for _, v := range values {
				if strings.ContainsAny(v, "\r\n\x00") {
					t.Errorf("%s: %q", name, v)
				}
			}
		}
		for name := range header {
			if plain := plainName(name); plain != name && (strings.HasPrefix(plain, "X-Forwarded-") || ours[plain]) {
				t.Errorf("%q is a second spelling of the proxy's %q", name, plain)
			}
		}
		const largest = (forwardedElements + 2) * len(`for="[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535", `)
		if list := header["Forwarded"][0]; before["Forwarded"] == nil && len(list) > largest {
			t.Errorf("Forwarded has %d bytes", len(list))
		}
		again := in.Clone(t.Context())
		again.Header = header.Clone()
		if h.checkLoop(again) != ErrLoop {
			t.Errorf("the proxy would not know its request again: %q", header["Cdn-Loop"])
		}
		if list := header["Forwarded"][0]; !balanced(list) {
			t.Errorf("Forwarded %q cannot be read", list)
		}
	})
}

// balanced reports whether all quoted-strings of a list end.
func balanced(list string) bool {
	for list != "" {
		var one string
		if one, list = cutUnquoted(list, ','); !closes(one) {
			return false
		}
	}
	return true
}

func closes(s string) bool {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted && s[i] == '\\':
			i++
		}
	}
	return !quoted
}

func FuzzSection(f *testing.F) {
	for _, fields := range []string{"X: 1\r\n", "Connection: x, Keep-Alive\r\nX: 1\r\nKeep-Alive: 1\r\n", "Set-Cookie: a\r\nIf-Match: *\r\nContent-Length: 1\r\nX : 1\r\n", "X: \x01\r\n"} {
		f.Add(fields)
	}
	f.Fuzz(func(t *testing.T, text string) {
		read := http.Header{}
		for line := range strings.SplitSeq(text, "\r\n") {
			name, value, _ := strings.Cut(line, ":")
			read[http.CanonicalHeaderKey(name)] = append(read[http.CanonicalHeaderKey(name)], value)
		}
		for _, s := range []section{requestHeader, requestTrailer, interimHeader, responseHeader, responseTrailer} {
			h := read.Clone()
			if s.clean(h) != nil {
				continue
			}
			left := h.Clone()
			if err := s.clean(h); err != nil || !maps.EqualFunc(left, h, slices.Equal) {
				t.Errorf("%s: %q, and again %q, %v", s, left, h, err)
			}
			for name, values := range h {
				if !isToken(name) || slices.Contains(hopByHop, name) || (s == requestTrailer || s == responseTrailer) && s.forbids(name) || strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") {
					t.Errorf("%s has %q: %q", s, name, values)
				}
			}
		}
	})
}
