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
	maxText    = 300     // bytes of one thing that an origin says of itself
	maxMessage = 2000    // bytes of a finding's sentence, which has several
	maxNames   = 8 << 10 // bytes of the names of one certificate, together
	maxChain   = 20      // certificates of one address
	maxBody    = 4 << 10 // bytes of an answer: what says whose error page it is stands at the top
)

// cut shortens what an origin says of itself. A certificate may have 60 KB of it.
func cut(s string) string { return cutAt(s, maxText) }

// cutAt cuts s after at most n bytes, and not within a character.
func cutAt(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// sentence is a text as findings have it: bounded, and safe for terminals.
func sentence(s string) string { return printable.Text(cutAt(s, maxMessage)) }

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// span says how long a time is, in its largest whole unit. The sign does not count.
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

// moreDays says for how long a certificate is valid that has not ended.
func moreDays(left int) string {
	if left < 1 {
		return "less than a day more"
	}
	return fmt.Sprintf("%d more %s", left, plural(left, "day", "days"))
}

// hostnameOf returns a name of a certificate, and false if it is no hostname: strangers make certificates,
// and may put anything there.
func hostnameOf(name string) (string, bool) {
	clean, err := hostname.Normalize(name)
	return clean, err == nil && strings.EqualFold(clean, name) && !hostname.IsIP(clean)
}

// issuerURL returns the first URL of those at which a certificate has its issuer's, and "" if none is one to follow.
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
