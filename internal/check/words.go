package check

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sleightproxy/sleight/internal/printable"
	"github.com/sleightproxy/sleight/pkg/hostname"
)

const (
	maxText    = 300     // bytes of one text from an origin
	maxMessage = 2000    // bytes of a finding's sentence, which may have several of these texts
	maxNames   = 8 << 10 // bytes of all names of one certificate
	maxChain   = 20      // certificates of one address
	maxBody    = 4 << 10 // bytes of a response; the service is named at the top of its error page
)

// cut shortens a text from an origin. A certificate can have 60 KB of text.
func cut(s string) string { return cutAt(s, maxText) }

// cutAt cuts s after at most n bytes, between characters.
func cutAt(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// sentence returns a text for findings: bounded, and safe for terminals.
func sentence(s string) string { return printable.Text(cutAt(s, maxMessage)) }

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// span returns the length of a duration in its largest whole unit, without the sign.
func span(d time.Duration) string {
	for _, unit := range []struct {
		is        time.Duration
		one, many string
	}{{24 * time.Hour, "day", "days"}, {time.Hour, "hour", "hours"}, {time.Minute, "minute", "minutes"}} {
		if n := int(d.Abs() / unit.is); n > 0 {
			return fmt.Sprintf("%d %s", n, plural(n, unit.one, unit.many))
		}
	}
	return "less than a minute"
}

// moreDays returns the text for the time that a certificate is still valid.
func moreDays(left int) string {
	if left < 1 {
		return "less than a day more"
	}
	return fmt.Sprintf("%d more %s", left, plural(left, "day", "days"))
}

// hostnameOf returns a name of a certificate, and false if it is not a hostname. A certificate can have any text there.
func hostnameOf(name string) (string, bool) {
	clean, err := hostname.Normalize(name)
	return clean, err == nil && strings.EqualFold(clean, name) && !hostname.IsIP(clean)
}

// issuerURL returns the first usable URL of the issuer's certificate, or "".
func issuerURL(said []string) string {
	for _, s := range said {
		if u, err := url.Parse(s); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && len(s) <= maxText {
			if _, ok := hostnameOf(u.Hostname()); ok {
				return u.String()
			}
		}
	}
	return ""
}
