// Package hostname holds the one rule for what a hostname is. The transport, the
// routes and the proxy all use it, so that a name that one of them accepts means
// the same to the others: a check on "A.test:443" that another part reads as
// "a.test." is how requests get past a proxy's rules.
//
// # Names in Unicode
//
// They are mapped as browsers do it: UTS #46, not transitional, with the bidi and the joiner rule, by the
// version of Unicode that Go's own packages have. What is sent, compared and kept is the A-label
// (xn--...); [Display] is for people.
//
//   - Case, width and compatibility forms are folded: BÜCHER, full-width letters, the Kelvin sign into k.
//     The ideographic and full-width full stops become dots, full-width digits digits. The rules for ASCII
//     are for what comes of it: ℀ is "a/c" and refused, and so is an IP address in full-width digits.
//   - Ignored characters, such as the soft hyphen and the variation selectors after emoji, are dropped.
//   - ß, ς and the joiners (U+200C, U+200D) stay, as registries have them: the name with ß has another
//     owner than the one with ss. Joiners are allowed where a script needs them; elsewhere nobody sees them.
//   - The capital ẞ is refused. It is ss by some versions of Unicode, ß by others, and so of two owners.
//   - Emoji and other symbols are allowed, since there are domains of them. Characters that are not
//     assigned are not: what they will be mapped to is not known.
//   - A label in Unicode has no hyphen at its ends and does not begin with xn--. Hyphens at the
//     third and fourth place are allowed, and underscores.
//   - A name with right-to-left text keeps to the bidi rule (RFC 5893) in all its labels.
//   - Letters that look like others (the Cyrillic а) are allowed, alone and mixed: telling who may have
//     them is up to the registries.
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

// ErrInvalid is wrapped by every error about a name.
var ErrInvalid = errors.New("is not a hostname")

const (
	maxName  = 253 // RFC 1035 section 2.3.4, without the root's dot
	maxLabel = 63
	maxQuote = 80 // bytes of a refused name that an error repeats

	tooLong = "has a label longer than 63 bytes"
)

// Normalize returns the canonical form of the host in an HTTP authority (RFC 9110
// section 4.2.3): lower case, A-labels (xn--...), without port, without the trailing dot of
// a fully qualified name. Normalizing twice changes nothing. A port is one of TCP, 1 to 65535, or empty.
//
// It accepts the names of RFC 1123, names in Unicode, and what works beside them: underscores, and
// hyphens at the third and fourth place of a label ("r3---sn-x"). A-labels are checked: one that does
// not decode is no name, and one that nothing is encoded as would be a second name for somebody.
//
// Everything else is refused rather than repaired: IP addresses (also shortened ones
// such as 127.1, which some resolvers take for an address), empty labels, user information,
// white space, names that are longer than DNS can have them as A-labels.
func Normalize(authority string) (string, error) {
	// Each character of a name in Unicode, of four bytes at most, takes one of its A-labels' or more.
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

// ASCII returns an authority that [Normalize] accepts, as it is sent on: with the name normalized
// where that is in Unicode, else as it is, since the client's case and trailing dot are
// its own matter. What Normalize does not accept is returned as it is.
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

// IsIP reports whether host, without port, is an IP address, with or without the
// brackets that a URL puts around IPv6.
func IsIP(host string) bool {
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if !strings.Contains(host, ":") && (host == "" || host[len(host)-1] < '0' || host[len(host)-1] > '9') {
		return false // most are names, and an error costs more than a look
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// Wildcard returns the pattern that covers a normalized name together with its
// siblings, "*.x.com" for "one.x.com", and false for a name that no pattern covers:
// one label replaces the star (RFC 9525 section 6.3), at least two have to follow, and they
// must not be a public suffix, as in "*.co.uk", under which names have different owners.
//
// Public suffixes are the ones of registries (publicsuffix.org, its ICANN section). The others of that
// list, such as "myshopify.com", have one owner, who may well want all names under it. Names under top-level
// domains that are not in the list (.test, .internal, .corp) are covered with two labels.
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

// NormalizePattern is [Normalize] for the key of a route: a name, or a pattern as
// [Wildcard] returns it. A port is refused.
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

// isShared reports whether the names that a pattern covers have different owners. Asked about the
// pattern, the list also knows where a rule covers what the star stands for (*.kawasaki.jp); its
// exceptions (!city.kawasaki.jp) are names of one owner.
func isShared(pattern string) bool {
	suffix, icann := publicsuffix.PublicSuffix(pattern)
	return icann && len(suffix) >= len(pattern)-len("*.")
}

// SplitAddress reads where a server listens: "host", "host:port", "[IPv6]" or
// "[IPv6]:port". The host is a normalized name, or an IP address without brackets; the
// port is empty where the address has none.
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

// isPort reports whether s is a port that a server can listen on. 0 is none (RFC 6335 section 6).
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
