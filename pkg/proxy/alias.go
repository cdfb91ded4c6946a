package proxy

import (
	"net/http"
	"slices"
	"strings"
)

// ownNames are the fields that the proxy sets or removes in the header of every request, except for X-Forwarded-*, and
// those that pkg/lambdahttp removes, because other Lambda adapters name the caller in them.
var ownNames = append([]string{
	"Via", "Cdn-Loop", "Forwarded", "Max-Forwards", "Host", "Content-Length", "X-Amzn-Request-Context", "X-Amzn-Lambda-Context",
}, hopByHop...)

// isAlias reports whether a server could read name as a field that the proxy sets or removes in section s. CGI (RFC 3875
// section 4.1.18), WSGI, Rack and PHP turn both X-Forwarded-For and X_Forwarded_For into HTTP_X_FORWARDED_FOR. Some turn
// X.Forwarded.For into it too. If a request had both, the client's value might win.
func (h *Handler) isAlias(s section, name string) bool {
	plain := plainName(name)
	if plain == name {
		return false
	}
	hostHeader := http.CanonicalHeaderKey(h.config.TrustedHostHeader)
	return strings.HasPrefix(plain, "X-Forwarded-") || slices.Contains(ownNames, plain) || s == requestTrailer && s.forbids(plain) ||
		plain == plainName(hostHeader) && name != hostHeader
}

// plainName returns name with a hyphen in place of each byte that is not a letter or a digit.
func plainName(name string) string {
	if strings.IndexFunc(name, notAlphanumeric) < 0 {
		return name
	}
	return http.CanonicalHeaderKey(strings.Map(func(c rune) rune {
		if notAlphanumeric(c) {
			return '-'
		}
		return c
	}, name))
}

// notAlphanumeric reports whether c is not a letter, a digit or a hyphen.
func notAlphanumeric(c rune) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-')
}
