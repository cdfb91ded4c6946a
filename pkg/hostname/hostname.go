// Package hostname has the one rule for hostnames. The transport, the routes and the proxy use it, so that an accepted name
// means the same to all of them. If one part checks "A.test:443" and another part reads that as "a.test.", requests get past
// the rules of a proxy.
//
// # Names in Unicode
//
// They are mapped as browsers do it: UTS #46, not transitional, with the bidi rule and the joiner rule, by the version of
// Unicode in Go's own packages. A-labels (xn--...) are sent, compared and stored. [Display] is for people.
//
//   - Case, width and compatibility forms are folded: BÜCHER, full-width letters, the Kelvin sign into k.
//     Ideographic and full-width full stops become dots, and full-width digits become digits. The rules for ASCII apply
//     to the result: ℀ becomes "a/c", which is refused, and so is an IP address in full-width digits.
//   - Ignored characters, such as the soft hyphen and the variation selectors after emoji, are dropped.
//   - ß, ς and the joiners (U+200C, U+200D) stay, as in registries: a name with ß and the one with ss have different
//     owners. Joiners are allowed only in scripts that need them. In other scripts they are invisible.
//   - The capital ẞ is refused. It is ss in some versions of Unicode and ß in others, so the name has two owners.
//   - Emoji and other symbols are allowed, since there are domains of them. Unassigned characters are refused, since
//     their future mapping is unknown.
//   - A label in Unicode has no hyphen at its ends and does not begin with xn--. Underscores are allowed, and so are
//     hyphens at the third and fourth place.
//   - A name with right-to-left text obeys the bidi rule (RFC 5893) in all its labels.
//   - Letters that look like others (the Cyrillic а) are allowed, alone and mixed. Registries decide about such names.
package hostname

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/publicsuffix"
)

// ErrInvalid is wrapped by each error about a name.
var ErrInvalid = errors.New("is not a hostname")

const (
	maxName  = 253 // RFC 1035 section 2.3.4, without the root's dot
	maxLabel = 63
	maxQuote = 80 // bytes of a refused name that an error repeats

	tooLong = "has a label longer than 63 bytes"
)

// Normalize returns the canonical form of the host in an HTTP authority (RFC 9110 section 4.2.3): lower case, A-labels
// (xn--...), no port, and no trailing dot of a fully qualified name. The port may be 1 to 65535 or empty. A canonical name
// is returned unchanged.
//
// Normalize accepts the names of RFC 1123 and names in Unicode. It also accepts underscores, and hyphens at the third and fourth
// place of a label ("r3---sn-x"), since such names are in use. An A-label must decode to a text
// that is encoded as this A-label. Another A-label would be a second name of the same host.
//
// All else is an error, and is not repaired: IP addresses (shortened ones too, such as 127.1, which some resolvers take for
// an address), empty labels, user information, white space, and names that are too long for DNS as A-labels.
func Normalize(authority string) (string, error) {
	// A character has at most four bytes in UTF-8, and takes at least one byte of its A-label.
	if len(authority) > utf8.UTFMax*maxName+len(".:65535") {
		return "", invalid(authority, "longer than 253 bytes")
	}
	name, err := cutPort(authority)
	if err != nil {
		return "", err
	}
	if !isASCII(name) {
		var reason string
		if name, reason = encode(name); reason != "" {
			return "", invalid(authority, reason)
		}
	}
	name = strings.TrimSuffix(name, ".")
	switch {
	case name == "":
		return "", invalid(authority, "empty")
	case len(name) > maxName:
		return "", invalid(authority, "longer than 253 bytes")
	}
	name = strings.ToLower(name)
	last, encoded := "", false
	for label := range strings.SplitSeq(name, ".") {
		if reason := badLabel(label); reason != "" {
			return "", invalid(authority, reason)
		}
		last, encoded = label, encoded || strings.HasPrefix(label, prefix)
	}
	if isNumber(last) {
		return "", invalid(authority, "an IP address, not a name")
	}
	if encoded {
		if _, reason := decode(name); reason != "" {
			return "", invalid(authority, reason)
		}
	}
	return name, nil
}

// ASCII returns an authority as it is forwarded: with its name normalized if that is in Unicode, and otherwise unchanged, with the
// client's case and trailing dot. An authority that [Normalize] refuses is returned unchanged.
func ASCII(authority string) string {
	if isASCII(authority) {
		return authority
	}
	name, err := Normalize(authority)
	if err != nil {
		return authority
	}
	if i := strings.IndexByte(authority, ':'); i >= 0 {
		name += authority[i:]
	}
	return name
}

// IsIP reports whether host, without a port, is an IP address. The address may have the brackets of a URL.
func IsIP(host string) bool {
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if !strings.Contains(host, ":") && (host == "" || host[len(host)-1] < '0' || host[len(host)-1] > '9') {
		return false // most hosts are names, and an error of ParseAddr is expensive
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// Wildcard returns the pattern that covers a normalized name and its siblings, "*.x.com" for "one.x.com". It returns false if
// no pattern covers the name. One label replaces the star (RFC 9525 section 6.3). At least two labels follow the star. They
// must not be a public suffix, as in "*.co.uk", since the names under it have different owners.
//
// Public suffixes are those of registries (the ICANN section of publicsuffix.org). The other suffixes in that list, such as
// "myshopify.com", have one owner, who may want all names under it. For a top-level domain that is not in the list (.test,
// .internal, .corp), two labels after the star are enough.
func Wildcard(name string) (string, bool) {
	_, parent, ok := strings.Cut(name, ".")
	if !ok || !strings.Contains(parent, ".") {
		return "", false
	}
	pattern := "*." + parent
	if isShared(pattern) {
		return "", false
	}
	return pattern, true
}

// NormalizePattern is [Normalize] for the key of a route: a name, or a pattern as [Wildcard] returns it. A port is refused.
func NormalizePattern(pattern string) (string, error) {
	if strings.ContainsAny(pattern, ":[]") {
		return "", invalid(pattern, "has a port or is an IP address")
	}
	rest, star := strings.CutPrefix(pattern, "*.")
	name, err := Normalize(rest)
	switch {
	case err != nil:
		return "", err
	case !star:
		return name, nil
	case !strings.Contains(name, "."):
		return "", invalid(pattern, "a wildcard needs at least two labels after the star")
	case isShared("*." + name):
		return "", invalid(pattern, fmt.Sprintf("names under %q belong to different owners, since it is a public suffix (publicsuffix.org); a wildcard has to be under a name of one owner, as *.example.%[1]s is", name))
	}
	return "*." + name, nil
}

// isShared reports whether the names of a pattern have different owners. It looks up the pattern itself, since a rule of the
// list may have a star too (*.kawasaki.jp). The exceptions of such a rule (!city.kawasaki.jp) have one owner.
func isShared(pattern string) bool {
	suffix, icann := publicsuffix.PublicSuffix(pattern)
	return icann && len(suffix) >= len(pattern)-len("*.")
}

// SplitAddress splits the address of a server: "host", "host:port", "[IPv6]" or "[IPv6]:port". host is a normalized name, or an
// IP address without brackets. port is empty if the address has no port.
func SplitAddress(address string) (host, port string, err error) {
	host = address
	if i := strings.LastIndexByte(address, ':'); i > strings.LastIndexByte(address, ']') {
		host, port = address[:i], address[i+1:]
		if !isPort(port) {
			return "", "", fmt.Errorf("%q: the port has to be a number from 1 to 65535", address)
		}
	}
	inner, open := strings.CutPrefix(host, "[")
	inner, shut := strings.CutSuffix(inner, "]")
	ip, err := netip.ParseAddr(inner)
	switch isIP := err == nil; {
	case open != shut, open && !(isIP && ip.Is6()), isIP && ip.Is6() && !open:
		return "", "", fmt.Errorf("%q: brackets are for IPv6 addresses, and these need them", address)
	case isIP:
		return inner, port, nil
	}
	host, err = Normalize(host)
	return host, port, err
}

// JoinAddress is the inverse of [SplitAddress].
func JoinAddress(host, port string) string {
	switch {
	case port != "":
		return net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		return "[" + host + "]"
	}
	return host
}

func cutPort(authority string) (string, error) {
	if strings.HasPrefix(authority, "[") {
		return "", invalid(authority, "an IP address, not a name")
	}
	name, port, ok := strings.Cut(authority, ":")
	if !ok {
		return name, nil
	}
	if strings.Contains(port, ":") {
		return "", invalid(authority, "an IP address, not a name")
	}
	if port != "" && !isPort(port) { // RFC 3986 section 3.2.3 allows an empty port
		return "", invalid(authority, "the port is not a number from 1 to 65535")
	}
	return name, nil
}

// isPort reports whether s is a port of a server. Port 0 is reserved (RFC 6335 section 6).
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && len(s) <= len("65535")
}

func badLabel(label string) string {
	switch {
	case label == "":
		return "has an empty label"
	case len(label) > maxLabel:
		return tooLong
	case label[0] == '-' || label[len(label)-1] == '-':
		return "has a label that starts or ends with a hyphen"
	}
	for i := range len(label) {
		c := label[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return fmt.Sprintf("has the character %q", c)
		}
	}
	return ""
}

// isNumber reports whether a resolver could take a name that ends in label for an
// IPv4 address (WHATWG URL, "ends in a number").
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return isDigits(label)
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func invalid(name, reason string) error {
	return fmt.Errorf("hostname: %q %w: %s", clip(name), ErrInvalid, reason)
}

func clip(s string) string {
	if len(s) > maxQuote {
		return s[:maxQuote] + "..."
	}
	return s
}
