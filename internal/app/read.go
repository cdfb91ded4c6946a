package app

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

// A reader sets a field of the Settings to a value, and reports whether the value is a proper one.
type reader = func(*Settings, string) bool

func text(field func(*Settings) *string) reader {
	return func(s *Settings, v string) bool {
		*field(s) = v
		return true
	}
}

// notNegative reads a duration as time.ParseDuration does.
func notNegative(field func(*Settings) *time.Duration) reader {
	return func(s *Settings, v string) bool {
		d, err := time.ParseDuration(v)
		*field(s) = d
		return err == nil && d >= 0
	}
}

// timeout reads a duration, and 0 as no bound.
func timeout(field func(*Settings) *time.Duration) reader {
	return func(s *Settings, v string) bool {
		d, err := time.ParseDuration(v)
		*field(s) = cmp.Or(d, -1) // whose zero is the default
		return err == nil && d >= 0
	}
}

// boolean reads what strconv.ParseBool does.
func boolean(field func(*Settings) *bool) reader {
	return func(s *Settings, v string) bool {
		b, err := strconv.ParseBool(v)
		*field(s) = b
		return err == nil
	}
}

// number reads a number from 0.
func number(field func(*Settings) *int) reader {
	return func(s *Settings, v string) bool {
		n, err := strconv.Atoi(v)
		*field(s) = n
		return err == nil && n >= 0
	}
}

// networks reads networks, separated by commas. It refuses one that maps IPv4 into IPv6, which would match nothing.
func networks(field func(*Settings) *[]netip.Prefix) reader {
	return func(s *Settings, v string) bool {
		for part := range strings.SplitSeq(v, ",") {
			p, err := netip.ParsePrefix(strings.TrimSpace(part))
			if err != nil || p.Addr().Is4In6() || p != p.Masked() {
				return false
			}
			*field(s) = append(*field(s), p)
		}
		return true
	}
}

// setMaxRequests reads a number from 0, and 0 as no limit.
func (s *Settings) setMaxRequests(v string) (ok bool) {
	n, err := strconv.Atoi(v)
	s.MaxRequests = cmp.Or(n, -1) // whose zero is the default
	return err == nil && n >= 0
}

// setRoutesMaxHosts reads a number from 1.
func (s *Settings) setRoutesMaxHosts(v string) (ok bool) {
	n, err := strconv.Atoi(v)
	s.RoutesMaxHosts = n
	return err == nil && n >= 1
}

// setWarmHosts reads hostnames, separated by commas.
func (s *Settings) setWarmHosts(v string) (ok bool) {
	for part := range strings.SplitSeq(v, ",") {
		host, err := hostname.Normalize(strings.TrimSpace(part))
		if err != nil {
			return false
		}
		if !slices.Contains(s.WarmHosts, host) {
			s.WarmHosts = append(s.WarmHosts, host)
		}
	}
	return true
}

// setResponseMode reads the name of a mode.
func (s *Settings) setResponseMode(v string) (ok bool) {
	s.Stream = v == "stream"
	return v == "buffered" || v == "stream"
}

// setFrontTimeout reads a duration that is longer than what is kept for the reply.
func (s *Settings) setFrontTimeout(v string) (ok bool) {
	d, err := time.ParseDuration(v)
	s.FrontTimeout = d
	return err == nil && d >= time.Second
}

// setBasePath reads whole segments, without anything that would have to be encoded.
func (s *Settings) setBasePath(v string) (ok bool) {
	s.BasePath = strings.TrimSuffix(v, "/")
	return strings.HasPrefix(v, "/") && !strings.Contains(v, "//") && madeOf(v, alphanumeric+"-._~!$'()*+,;=:@/")
}

// setMaxRequestBody reads bytes, or a number of kB, KiB, MB, MiB, GB or GiB.
func (s *Settings) setMaxRequestBody(v string) (ok bool) {
	digits := strings.TrimRight(v, "kKMGiB")
	factor, ok := map[string]int64{"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "KiB": 1 << 10, "MB": 1e6, "MiB": 1 << 20, "GB": 1e9, "GiB": 1 << 30}[v[len(digits):]]
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n < 0 || !ok || n > math.MaxInt64/factor {
		return false
	}
	s.MaxRequestBody = n * factor
	return true
}

// setLoopID reads a pseudonym of RFC 8586 that needs no quotes.
func (s *Settings) setLoopID(v string) (ok bool) {
	const most = 100
	s.LoopID = v
	return len(v) <= most && madeOf(v, alphanumeric+"-._")
}

// setTrustedHostHeader reads the name of a header.
func (s *Settings) setTrustedHostHeader(v string) (ok bool) {
	s.TrustedHostHeader = v
	return madeOf(v, alphanumeric+"-_")
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// madeOf reports whether v has no other characters than these.
func madeOf(v, characters string) bool { return strings.Trim(v, characters) == "" }
