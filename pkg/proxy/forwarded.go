package proxy

import (
	"net/netip"
	"strings"
)

// forwardedElements bounds how many elements of a trusted peer's X-Forwarded-For are put into Forwarded.
const forwardedElements = 64

// appendForwardedFor writes a list of X-Forwarded-For in the form of Forwarded (RFC 7239 section 7.4). It leaves
// out empty elements and the address of the peer itself. It takes time in proportion to the list. If the
// list is too long, it writes "for=unknown" and the last elements.
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

// node returns client as a node identifier of RFC 7239 section 6: an IP address, with or without a port,
// "unknown", or a name that begins with an underscore. It returns "unknown" for anything else, such as a
// hostname: origins look for an address there, and should not find a stranger's text.
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

// readable reports whether all quoted-strings of a list end. If one did not, an element that the proxy adds would
// become a part of it.
func readable(fields []string) bool {
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
