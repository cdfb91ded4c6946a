package hostname

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const prefix = "xn--" // of A-labels

// profile maps and checks as browsers do (WHATWG URL, domain to ASCII, not strict): hyphens, ASCII
// characters and lengths are left to [badLabel], which says more and allows underscores.
var profile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.CheckHyphens(false), idna.StrictDomainName(false), idna.BidiRule())

// anyDirection is profile without the bidi rule (RFC 5893), to find out whether it is what a name breaks.
var anyDirection = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.CheckHyphens(false), idna.StrictDomainName(false))

// Display returns a name, or a pattern, as a person reads it: "bücher.example" for
// "xn--bcher-kva.example". What [NormalizePattern] would not give back for it, or does not accept, stays as
// it is. Letters of different scripts look alike (аpple.com may begin in Cyrillic), so where a decision
// depends on it, the A-labels have to be shown too.
//
// What becomes of names in Unicode:
//   - Case, width and compatibility forms are folded: "BÜCHER", full-width letters, the Kelvin sign for
//     k. So are other full stops, such as the ideographic one, into the dot. What then is not in
//     letters, digits, hyphens and underscores (℀ is "a/c"), or is an IP address, is refused.
//   - Ignored characters, as the soft hyphen and the variation selectors after emoji, are dropped.
//   - ß, ς and the joiners (U+200C, U+200D) stay, as registries have them: a name with ß is not the
//     one with ss. Joiners are refused but where a script needs them, elsewhere they are invisible.
//   - ẞ, the capital one, is refused: some versions of Unicode make it ss, others ß.
//   - Emoji and other symbols are allowed, since there are domains of them; unassigned characters are not.
//   - A label in Unicode has no hyphen at its ends, and does not begin with xn--.
//   - Names with text that is written from right to left keep to the bidi rule (RFC 5893), with all their labels.
func Display(name string) string {
	rest, star := strings.CutPrefix(name, "*.")
	canonical, err := NormalizePattern(name)
	if err != nil || canonical != name {
		return name
	}
	text, reason := decode(rest)
	switch {
	case reason != "": // cannot be: it is canonical
		return name
	case star:
		return "*." + text
	}
	return text
}

// encode returns a name in Unicode mapped, with A-labels. What it returns has yet to pass the
// rules for ASCII.
func encode(name string) (encoded, reason string) {
	switch {
	case !utf8.ValidString(name):
		return "", "is not in UTF-8"
	case strings.Contains(name, "ẞ"):
		return "", "has the letter ẞ, which is ss to some and ß to others; write the one that is meant"
	}
	encoded, err := profile.ToASCII(name)
	if err != nil {
		return "", explain(name, err)
	}
	return encoded, ""
}

// decode is the inverse of encode. It checks A-labels: all that are there must be what their
// text is encoded as.
func decode(name string) (text, reason string) {
	text, err := profile.ToUnicode(name)
	if err == nil && !hyphenated(text) {
		if again, err := profile.ToASCII(text); err == nil && again == name {
			return text, ""
		}
	}
	for label := range strings.SplitSeq(name, ".") {
		rest, ok := strings.CutPrefix(label, prefix)
		if !ok {
			continue
		}
		text, err := idna.Punycode.ToUnicode(label)
		switch {
		case err != nil || rest == "" || isASCII(text):
			return "", fmt.Sprintf("has the label %q, which looks like an A-label and does not decode", label)
		case hyphenated(text):
			return "", fmt.Sprintf("has the label %q, which stands for %+q: such a label has no hyphen at its ends and does not begin with xn--", label, clip(text))
		}
		again, err := profile.ToASCII(text)
		switch {
		case err != nil:
			return "", fmt.Sprintf("has the label %q, which stands for %+q and %s", label, clip(text), explain(text, err))
		case again != label:
			return "", fmt.Sprintf("has the label %q, which stands for %+q, and that is written as %q", label, clip(text), clip(again))
		}
	}
	return "", explain(name, err)
}

// hyphenated reports whether a label in Unicode has hyphens where it must not.
func hyphenated(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if strings.HasPrefix(label, prefix) || !isASCII(label) && (label[0] == '-' || label[len(label)-1] == '-') {
			return true
		}
	}
	return false
}

// explain says why [profile] does not take a name.
func explain(name string, err error) string {
	if _, other := anyDirection.ToASCII(name); err != nil && other == nil {
		return "mixes directions of writing as no name may (RFC 5893, the bidi rule: a name with right-to-left text has no label that begins with a digit, among others)"
	}
	if err == nil {
		err = errors.New("idna: not encoded uniquely")
	}
	why := strings.TrimPrefix(err.Error(), "idna: ")
	if strings.ContainsAny(name, "\u200c\u200d") && !strings.Contains(why, "rune") {
		why += " (a zero-width joiner belongs only where the script needs it)"
	}
	return "is no internationalized name (UTS #46): " + clip(why)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
