package hostname

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const prefix = "xn--" // of A-labels

// profile maps and checks as browsers do (WHATWG URL, domain to ASCII, not strict). [badLabel] checks hyphens, ASCII characters and
// lengths, since it has better errors and allows underscores.
var profile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.CheckHyphens(false), idna.StrictDomainName(false), idna.BidiRule())

// anyDirection is profile without the bidi rule (RFC 5893). It shows whether a name breaks that rule.
var anyDirection = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.CheckHyphens(false), idna.StrictDomainName(false))

// Display returns a name or a pattern as people read it: "bücher.example" for "xn--bcher-kva.example". A name that is not
// canonical stays as it is, so that [NormalizePattern] always returns the displayed name. Letters of different scripts look
// alike. If people decide by the displayed name, they need to see the A-labels too.
func Display(name string) string {
	if _, err := NormalizePattern(name); err != nil {
		return name
	}
	rest, star := strings.CutPrefix(name, "*.")
	text, reason := decode(rest)
	switch {
	case reason != "": // not in canonical form
		return name
	case star:
		return "*." + text
	}
	return text
}

// encode maps a name in Unicode, and returns it with A-labels. The rules for ASCII have yet to be applied.
func encode(name string) (encoded, reason string) {
	switch {
	case !utf8.ValidString(name):
		return "", "is not in UTF-8"
	case strings.Contains(name, "ẞ"):
		return "", "has the letter ẞ, which is ss to some and ß to others; write the one that is meant"
	}
	text, err := profile.ToUnicode(name)
	if err != nil {
		return "", explain(name, err)
	}
	for label := range strings.SplitSeq(text, ".") {
		if utf8.RuneCountInString(label) > maxLabel { // the time of encoding is quadratic
			return "", tooLong
		}
	}
	if encoded, err = profile.ToASCII(text); err != nil {
		return "", explain(text, err)
	}
	return encoded, ""
}

// decode is the inverse of encode. It checks that the text of each A-label is encoded as that A-label.
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

// hyphenated reports whether a label in Unicode begins with xn--, or has a hyphen at its ends.
func hyphenated(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if strings.HasPrefix(label, prefix) || !isASCII(label) && (label[0] == '-' || label[len(label)-1] == '-') {
			return true
		}
	}
	return false
}

// explain says why [profile] refuses a name.
func explain(name string, err error) string {
	if _, other := anyDirection.ToUnicode(name); err != nil && other == nil {
		return "mixes directions of writing in a way that no name may (RFC 5893, the bidi rule: a name with right-to-left text has no label that begins with a digit, among others)"
	}
	if err == nil {
		err = errors.New("idna: not encoded uniquely")
	}
	why := strings.TrimPrefix(err.Error(), "idna: ")
	if strings.ContainsAny(name, "\u200c\u200d") && !strings.Contains(why, "rune") {
		why += " (a zero-width joiner belongs only where the script needs it)"
	}
	return "is not an internationalized name (UTS #46): " + clip(why)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
