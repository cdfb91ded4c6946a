package proxy

import (
	"net/netip"
	"strings"
)

// forwardedElements is the most elements of a trusted peer's X-Forwarded-For that go into Forwarded.
const forwardedElements = 64

// appendForwardedFor writes the elements of X-Forwarded-For in the form of Forwarded (RFC 7239 section 7.4). It leaves out
// empty elements and the peer's own address. If the list is too long, it writes "for=unknown" and the last elements. Its time
// is linear in the length of the list.
func appendForwardedFor(b *strings.Builder, fields []string, peer string) {
	tooMany := len(fields) - forwardedElements
	for _, field := range fields {
		tooMany += strings.Count(field, ",")
	}
	if tooMany > 0 {
		b.WriteString("for=unknown")
	}
	for _, field := range fields {
		for client := range strings.SplitSeq(field, ",") {
			if tooMany > 0 {
				tooMany--
				continue
			}
			if client = strings.TrimSpace(client); client == "" || client == peer {
				continue
			}
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			b.WriteString("for=")
			b.WriteString(node(client))
		}
	}
}

// node returns client as a node identifier (RFC 7239 section 6): an IP address with or without a port, "unknown", or a name
// that begins with an underscore. It returns "unknown" for other text, such as a hostname, because origins expect an address
// there.
func node(client string) string {
	const longest = len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535")
	if len(client) > longest {
		return "unknown"
	}
	if client[0] == '_' && strings.Trim(client, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == "" {
		return client
	}
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(client, "["), "]")); err == nil {
		switch {
		case ip.Is4() && client[0] != '[':
			return client
		case ip.Is6() && client[0] == '[' && client[len(client)-1] == ']' && ip.Zone() == "":
			return `"` + client + `"`
		case ip.Is6() && client[0] != '[' && ip.Zone() == "":
			return `"[` + client + `]"`
		}
		return "unknown"
	}
	if at, err := netip.ParseAddrPort(client); err == nil && at.Addr().Zone() == "" {
		return `"` + client + `"`
	}
	return "unknown"
}

// quotesClosed reports whether all quoted-strings of a list end. An element that the proxy adds would become a part of an
// open one.
func quotesClosed(fields []string) bool {
	for _, list := range fields {
		for {
			_, text, ok := strings.Cut(list, `"`)
			if !ok {
				break
			}
			end := quotedEnd(text, 0)
			if end == len(text) {
				return false
			}
			list = text[end+1:]
		}
	}
	return true
}
