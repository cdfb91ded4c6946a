package proxy

import "strings"

// prefersHTML reports whether a client with these Accept fields prefers a page to JSON (RFC 9110 section 12.5.1). Browsers
// name text/html. Clients that accept everything or send no Accept get JSON. So do clients whose Accept is malformed or
// longer than 4,096 bytes.
func prefersHTML(accept []string) bool {
	const longest = 4096
	rest := strings.Join(accept, ",")
	if len(rest) > longest {
		return false
	}
	page, plainJSON, problemJSON := weight{of: "text/html"}, weight{of: "application/json"}, weight{of: "application/problem+json"}
	for rest != "" {
		var one string
		one, rest = cutUnquoted(rest, ',')
		if one = strings.Trim(one, " \t"); one == "" {
			continue // lists may have empty elements (RFC 9110 section 5.6.1)
		}
		r, ok := parseRange(one)
		if !ok {
			return false
		}
		for _, w := range []*weight{&page, &plainJSON, &problemJSON} {
			w.consider(r)
		}
	}
	return page.q > max(plainJSON.q, problemJSON.q)
}

// mediaRange is one element of an Accept header.
type mediaRange struct {
	kind, subtype string // in lower case
	particular    bool   // has parameters that our types do not have
	q             int    // in thousandths
}

// weight is the client's preference for one media type, from the most specific range that matches.
type weight struct {
	of        string
	q         int
	precision int
}

func (w *weight) consider(r mediaRange) {
	kind, subtype, _ := strings.Cut(w.of, "/")
	precision := 0
	switch {
	case r.particular:
	case r.kind == kind && r.subtype == subtype:
		precision = 3
	case r.kind == kind && r.subtype == "*":
		precision = 2
	case r.kind == "*":
		precision = 1
	}
	if precision > w.precision || precision > 0 && precision == w.precision && r.q > w.q {
		w.q, w.precision = r.q, precision
	}
}

// parseRange parses a range such as text/*;q=0.5. It ignores the parameters after q, which are not the media type's.
func parseRange(s string) (r mediaRange, ok bool) {
	name, rest := cutUnquoted(s, ';')
	kind, subtype, slash := strings.Cut(strings.ToLower(strings.TrimRight(name, " \t")), "/")
	if !slash || !isToken(kind) || !isToken(subtype) || kind == "*" && subtype != "*" {
		return r, false
	}
	r = mediaRange{kind: kind, subtype: subtype, q: 1000}
	weighed := false
	for rest != "" {
		var one string
		one, rest = cutUnquoted(rest, ';')
		if one = strings.Trim(one, " \t"); one == "" {
			continue
		}
		key, value, _ := strings.Cut(one, "=")
		if !isToken(key) || !isToken(value) && !isQuoted(value) {
			return r, false
		}
		switch key = strings.ToLower(key); {
		case weighed:
		case key == "q":
			if r.q, ok = parseQ(value); !ok {
				return r, false
			}
			weighed = true
		case key == "charset" && strings.EqualFold(strings.Trim(value, `"`), "utf-8"):
		default:
			r.particular = true
		}
	}
	return r, true
}

// parseQ parses a weight (RFC 9110 section 12.4.2), and returns it in thousandths.
func parseQ(s string) (int, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(fraction) > 3 {
		return 0, false
	}
	q := 0
	for _, c := range []byte(whole + (fraction + "000")[:3]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		q = q*10 + int(c-'0')
	}
	return q, q <= 1000
}

// cutUnquoted cuts s at the first sep that is not in a quoted string.
func cutUnquoted(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && c == sep:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// isToken reports whether s is a token (RFC 9110 section 5.6.2), such as a field name.
func isToken(s string) bool {
	for i := range len(s) {
		if !inToken[s[i]] {
			return false
		}
	}
	return s != ""
}

var inToken = func() (in [256]bool) {
	for c := '!'; c <= '~'; c++ {
		in[c] = !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	}
	return in
}()

// isQuoted reports whether s is a single quoted-string (RFC 9110 section 5.6.4).
func isQuoted(s string) bool {
	if len(s) < 2 || s[0] != '"' {
		return false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i == len(s)-1
		case c == '\\':
			i++
		case c < ' ' && c != '\t' || c == 0x7f:
			return false
		}
	}
	return false
}
