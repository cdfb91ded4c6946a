package proxy

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// names replaces the origin's names by the client's in the fields of a response that refer to other URLs. The origin's names
// are its Host and its addresses, each with its port. A name that is not exactly one of them stays, and so does text that two
// readers could parse differently. The zero names replaces nothing. It does not change, so it is safe for concurrent use.
type names struct {
	route  *origin.Route
	scheme string // of the client's request
	client string // the authority as the client wrote it
}

// newNames returns names for a response. It computes nothing until a field may have a name of the origin. If client is not a
// valid authority, nothing is replaced.
func newNames(route *origin.Route, clientScheme, client string) names {
	return names{route, clientScheme, client}
}

// rewrite changes the fields of h. It does not change their old slices of values, which may be shared.
func (n names) rewrite(h http.Header) {
	if n.route == nil {
		return
	}
	n.field(h, "Location", n.reference)
	n.field(h, "Content-Location", n.reference)
	n.field(h, "Refresh", n.refresh)
	n.field(h, "Link", n.link)
	n.field(h, "Set-Cookie", n.cookie)
}

func (n names) field(h http.Header, name string, mapped func(string) string) {
	own := false
	for i, v := range h[name] {
		m := mapped(v)
		if m == v {
			continue
		}
		if !own {
			h[name], own = slices.Clone(h[name]), true
		}
		h[name][i] = m
	}
}

// reference maps a URI reference (RFC 3986 section 4.1) that has an authority, and the origin's scheme or no scheme. Browsers
// also find an authority in "https:b.test" and "/\b.test". Those stay, because an origin does not refer to itself that way.
func (n names) reference(v string) string {
	prefix, rest := n.scheme+"://", ""
	switch scheme, after, ok := strings.Cut(v, "://"); {
	case strings.HasPrefix(v, "//"):
		prefix, rest = "//", v[len("//"):]
	case ok && foldEqual(scheme, n.route.Scheme):
		rest = after
	default:
		return v
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	if host, port, ok := splitAuthority(rest[:end], n.route.Scheme); !ok || !n.isOrigin(host, port) {
		return v
	}
	return prefix + n.client + rest[end:]
}

const (
	htmlSpace = "\t\n\f\r " // ASCII whitespace of the HTML standard
	httpSpace = "\t "       // OWS of RFC 9110 section 5.6.3, WSP of RFC 6265
	digits    = "0123456789"
)

// refresh maps the URL in a Refresh field. It parses the field by the "shared declarative refresh steps" of the HTML
// standard, because no RFC defines it.
func (n names) refresh(v string) string {
	rest := strings.TrimLeft(v, htmlSpace)
	if rest == "" || !strings.Contains(digits+".", rest[:1]) {
		return v
	}
	rest = strings.TrimLeft(strings.TrimLeft(rest, digits), digits+".")
	if rest == "" || !strings.Contains(";,"+htmlSpace, rest[:1]) {
		return v
	}
	rest = strings.TrimLeft(rest, htmlSpace)
	if rest != "" && (rest[0] == ';' || rest[0] == ',') {
		rest = strings.TrimLeft(rest[1:], htmlSpace)
	}
	if len(rest) >= len("url") && foldEqual(rest[:len("url")], "url") {
		if after, ok := strings.CutPrefix(strings.TrimLeft(rest[len("url"):], htmlSpace), "="); ok {
			rest = strings.TrimLeft(after, htmlSpace)
		}
	}
	end := len(v)
	if rest != "" && (rest[0] == '"' || rest[0] == '\'') {
		quote := rest[0]
		rest = rest[1:]
		if i := strings.IndexByte(rest, quote); i >= 0 {
			end = len(v) - len(rest) + i
		}
	}
	begin := len(v) - len(rest)
	if m := n.reference(v[begin:end]); m != v[begin:end] {
		return v[:begin] + m + v[end:]
	}
	return v
}

// link maps the target and the anchors of each link-value, parsed as in RFC 8288 appendix B.2. From the first malformed byte
// on, the value stays.
func (n names) link(v string) string {
	e := edit{from: v}
	at := 0
	skip := func(bytes string) {
		at = len(v) - len(strings.TrimLeft(v[at:], bytes))
	}
	until := func(bytes string) (begin, end int) {
		begin, end = at, len(v)
		if i := strings.IndexAny(v[at:], bytes); i >= 0 {
			end = at + i
		}
		at = end
		return begin, end
	}
	next := func(c byte) bool {
		if at < len(v) && v[at] == c {
			at++
			return true
		}
		return false
	}
	for {
		skip(httpSpace + ",")
		if !next('<') {
			return e.done()
		}
		begin, end := until(">")
		if !next('>') {
			return e.done()
		}
		e.replace(begin, end, n.reference(v[begin:end]))
		for skip(httpSpace); next(';'); skip(httpSpace) {
			skip(httpSpace)
			begin, end := until(httpSpace + "=;,")
			anchor := foldEqual(v[begin:end], "anchor")
			skip(httpSpace)
			if !next('=') {
				continue
			}
			skip(httpSpace)
			if next('"') {
				begin, end = at, quotedEnd(v, at)
				at = min(end+1, len(v))
			} else {
				begin, end = until(";,")
				end = begin + len(strings.TrimRight(v[begin:end], httpSpace))
			}
			if anchor {
				e.replace(begin, end, n.reference(v[begin:end])) // an authority with a quoted-pair in it is not the origin's
			}
		}
	}
}

// quotedEnd returns the index of the end of a quoted-string (RFC 9110 section 5.6.4). Its text begins at index at.
func quotedEnd(v string, at int) int {
	for ; at < len(v) && v[at] != '"'; at++ {
		if v[at] == '\\' {
			at++
		}
	}
	return min(at, len(v))
}

// cookie maps the Domain of a cookie (RFC 6265 section 5.2) if it is a host of the origin. The cookie is then for the client's
// host and its subdomains, as it was for the origin's. The Domain of a parent or a subdomain stays: the client's host may
// have no such relative, and a wider Domain would expose the cookie to other hosts. If the client's host is an IP address,
// the attribute is removed: an address has no subdomains, so the cookie means the same without it, and clients differ on a
// Domain that is an address.
func (n names) cookie(v string) string {
	e := edit{from: v}
	for at := strings.IndexByte(v, ';'); at >= 0 && at < len(v); {
		end := len(v)
		if i := strings.IndexByte(v[at+1:], ';'); i >= 0 {
			end = at + 1 + i
		}
		name, value, _ := strings.Cut(v[at+1:end], "=")
		if foldEqual(strings.Trim(name, httpSpace), "domain") {
			value = strings.TrimLeft(value, httpSpace)
			value = strings.TrimPrefix(value, ".")
			begin := end - len(value)
			value = strings.TrimRight(value, httpSpace)
			switch host, ok := n.clientHost(value); {
			case !ok:
			case hostname.IsIP(host):
				e.replace(at, end, "")
			default:
				e.replace(begin, begin+len(value), host)
			}
		}
		at = end
	}
	return e.done()
}

// clientHost returns the client's host, as the client wrote it, if host is one of the origin's.
func (n names) clientHost(host string) (string, bool) {
	client, _, ok := splitAuthority(n.client, n.scheme)
	if !ok || sameHost(host, client) {
		return "", false
	}
	for i := range n.authorities() {
		if own, _, ok := splitAuthority(n.authority(i), n.route.Scheme); ok && sameHost(host, own) {
			return client, n.validClient()
		}
	}
	return "", false
}

// isOrigin reports whether a host and a port are the origin's but not the client's. The client's need no change.
func (n names) isOrigin(host string, port int) bool {
	for i := range n.authorities() {
		own, ownPort, ok := splitAuthority(n.authority(i), n.route.Scheme)
		if ok && port == ownPort && sameHost(host, own) {
			return !n.isClient(host, port) && n.validClient()
		}
	}
	return false
}

// isClient reports whether a host and a port are the client's. The default ports of the two schemes count as equal: an origin
// with TLS may redirect a client from http to https under the client's own name.
func (n names) isClient(host string, port int) bool {
	client, clientPort, ok := splitAuthority(n.client, n.scheme)
	return ok && sameHost(host, client) &&
		(port == clientPort || port == defaultPort(n.route.Scheme) && clientPort == defaultPort(n.scheme))
}

// validClient reports whether the client's authority is valid. An invalid one must not be written into a response.
func (n names) validClient() bool {
	if _, err := hostname.Normalize(n.client); err == nil {
		return true
	}
	_, _, err := hostname.SplitAddress(n.client)
	return err == nil
}

// authorities returns the number of the origin's names, and authority returns one of them.
func (n names) authorities() int { return 1 + len(n.route.Addresses) }

func (n names) authority(i int) string {
	if i == 0 {
		return n.route.HostHeader
	}
	return n.route.Addresses[i-1]
}

// splitAuthority returns the host, with IPv6 in brackets, and the port, which is the scheme's default if the authority has
// no port. It does not check the host; sameHost does.
func splitAuthority(authority, scheme string) (host string, port int, ok bool) {
	i := strings.LastIndexByte(authority, ':')
	if i <= strings.LastIndexByte(authority, ']') || i == len(authority)-1 {
		return strings.TrimSuffix(authority, ":"), defaultPort(scheme), true // an empty port: RFC 3986 section 3.2.3
	}
	text := authority[i+1:]
	if len(text) > len("65535") || strings.Trim(text, digits) != "" {
		return "", 0, false
	}
	port, err := strconv.Atoi(text)
	return authority[:i], port, err == nil
}

func defaultPort(scheme string) int {
	if scheme == "http" {
		return 80
	}
	return 443
}

// sameHost reports whether host and known are the same by the rules of hostname.Normalize. known is valid, so a host that
// differs only in case and the trailing dot is valid too.
func sameHost(host, known string) bool {
	if strings.HasPrefix(known, "[") {
		a, okA := parseIPv6(host)
		b, okB := parseIPv6(known)
		return okA && okB && a == b
	}
	host, known = strings.TrimSuffix(host, "."), strings.TrimSuffix(known, ".")
	return known != "" && foldEqual(host, known)
}

func parseIPv6(bracketed string) (netip.Addr, bool) {
	const longest = "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]"
	if len(bracketed) < len("[::]") || len(bracketed) > len(longest) || bracketed[0] != '[' || bracketed[len(bracketed)-1] != ']' {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(bracketed[1 : len(bracketed)-1])
	return a, err == nil
}

// foldEqual reports whether s equals ascii, without regard to case. It compares the lengths because some Unicode letters fold
// to ASCII, such as the Kelvin sign; they have more bytes.
func foldEqual(s, ascii string) bool { return len(s) == len(ascii) && strings.EqualFold(s, ascii) }

// edit replaces parts of a text, from front to back. It allocates nothing if it replaces nothing.
type edit struct {
	from string
	at   int // the part of from that is in to
	to   strings.Builder
}

func (e *edit) replace(begin, end int, by string) {
	if e.from[begin:end] == by {
		return
	}
	e.to.WriteString(e.from[e.at:begin])
	e.to.WriteString(by)
	e.at = end
}

func (e *edit) done() string {
	if e.at == 0 {
		return e.from
	}
	e.to.WriteString(e.from[e.at:])
	return e.to.String()
}
