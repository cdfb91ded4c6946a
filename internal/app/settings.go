// Package app turns settings into the one handler that the function and the command run.
package app

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// Settings are what the environment of the function, or the flags of the command, say.
type Settings struct {
	RoutesTable       string         // ROUTES_TABLE: the DynamoDB table; or
	RoutesFile        string         // ROUTES_FILE: a JSON file
	RoutesTTL         time.Duration  // ROUTES_TTL: how long a route is used unasked; zero means not at all
	RoutesMaxStale    time.Duration  // ROUTES_MAX_STALE: how old a route may be that is served while the table cannot be read; zero means not at all
	RoutesMaxHosts    int            // ROUTES_MAX_HOSTS: how many hosts are remembered; zero means 10,000
	WarmHosts         []string       // WARM_HOSTS: looked up and connected to at the start
	AllowCIDRs        []netip.Prefix // ORIGIN_ALLOW_CIDRS: networks allowed although not public
	ForceHTTPS        bool           // FORCE_HTTPS: routes with http:// are refused
	TrustedHostHeader string         // TRUSTED_HOST_HEADER
	TrustedProxies    []netip.Prefix // TRUSTED_PROXIES: networks whose X-Forwarded-* are believed
	LoopID            string         // CDN_LOOP_ID: how the proxy knows its own requests again
	ClientCertsDir    string         // CLIENT_CERTS_DIR: what routes refer to by client_cert; empty means none
	Timeouts          proxy.Timeouts // CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT, RESPONSE_TIMEOUT, IDLE_TIMEOUT, REQUEST_TIMEOUT
	MaxRequestBody    int64          // MAX_REQUEST_BODY, in bytes; zero means no limit
	MaxRequests       int            // MAX_REQUESTS: at a time; zero means what the caller thinks right, else no limit; negative none
	MaxOriginConns    int            // MAX_CONNECTIONS_PER_ORIGIN; zero means no limit
	LogLevel          slog.Level     // LOG_LEVEL

	// MaxIdleConns is how many connections to origins are kept that no request uses, and for how many hosts
	// it is remembered how to reach them, if that is more than usual. No variable says it. Zero means what
	// suits a function, which has 1,024 file descriptors.
	MaxIdleConns int

	// What only the function has a use for.
	Stream       bool          // RESPONSE_MODE: answers are streamed
	FrontTimeout time.Duration // FRONT_TIMEOUT: after which the front gives up; zero means what AWS documents for it
	BasePath     string        // BASE_PATH: taken off the front of paths
	StripStage   bool          // STRIP_STAGE: so is the API's stage
}

// FromEnvironment reads the settings. Its error is one line that says what to set; all
// that is wrong is in it. getenv is os.Getenv or the like. An empty variable is as good
// as none.
func FromEnvironment(getenv func(string) string) (Settings, error) {
	s := Settings{
		RoutesTable:    getenv("ROUTES_TABLE"),
		RoutesFile:     getenv("ROUTES_FILE"),
		RoutesTTL:      30 * time.Second,
		RoutesMaxStale: 24 * time.Hour,
		ForceHTTPS:     true,
		LoopID:         getenv("CDN_LOOP_ID"),
		ClientCertsDir: getenv("CLIENT_CERTS_DIR"),
	}
	var wrong []string
	read := func(name, want string, parse func(string) bool) {
		if v := getenv(name); v != "" && !parse(v) {
			wrong = append(wrong, fmt.Sprintf("%s is %q: set it to %s", name, v, want))
		}
	}
	read("ROUTES_TTL", "a duration such as 30s", notNegative(&s.RoutesTTL))
	read("ROUTES_MAX_STALE", "a duration such as 24h, or 0 for not at all", notNegative(&s.RoutesMaxStale))
	read("ROUTES_MAX_HOSTS", "a number such as 10000", s.setRoutesMaxHosts)
	read("WARM_HOSTS", "hostnames such as one.example.com,two.example.com", s.setWarmHosts)
	read("ORIGIN_ALLOW_CIDRS", "networks such as 10.0.0.0/8,192.168.1.0/24", networks(&s.AllowCIDRs))
	read("TRUSTED_PROXIES", "networks such as 10.0.0.0/8,192.168.1.0/24", networks(&s.TrustedProxies))
	read("CDN_LOOP_ID", "a name of letters, digits, dots, hyphens and underscores", isLoopID)
	for _, t := range []struct {
		name string
		into *time.Duration
	}{
		{"CONNECT_TIMEOUT", &s.Timeouts.Connect}, {"HANDSHAKE_TIMEOUT", &s.Timeouts.Handshake}, {"RESPONSE_TIMEOUT", &s.Timeouts.Response},
		{"IDLE_TIMEOUT", &s.Timeouts.Idle}, {"REQUEST_TIMEOUT", &s.Timeouts.Request},
	} {
		read(t.name, "a duration such as 10s, or 0 for no bound", timeout(t.into))
	}
	read("MAX_REQUEST_BODY", "a size such as 10MB, 512KiB or 1048576, or 0 for no limit", s.setMaxRequestBody)
	read("MAX_REQUESTS", "a number such as 1000, or 0 for no limit", func(v string) bool {
		ok := number(&s.MaxRequests)(v)
		s.MaxRequests = cmp.Or(s.MaxRequests, -1) // whose zero is the default
		return ok
	})
	read("MAX_CONNECTIONS_PER_ORIGIN", "a number such as 100, or 0 for no limit", number(&s.MaxOriginConns))
	read("FORCE_HTTPS", "true or false", boolean(&s.ForceHTTPS))
	read("TRUSTED_HOST_HEADER", "the name of a header, such as X-Forwarded-Host", s.setTrustedHostHeader)
	read("LOG_LEVEL", "debug, info, warn or error", func(v string) bool { return s.LogLevel.UnmarshalText([]byte(v)) == nil })
	read("RESPONSE_MODE", "buffered or stream", s.setResponseMode)
	read("FRONT_TIMEOUT", "a duration such as 60s", s.setFrontTimeout)
	read("BASE_PATH", "a path such as /api", s.setBasePath)
	read("STRIP_STAGE", "true or false", boolean(&s.StripStage))
	if len(wrong) > 0 {
		return Settings{}, errors.New(strings.Join(wrong, "; "))
	}
	return s, nil
}

// notNegative takes a duration as time.ParseDuration reads it.
func notNegative(into *time.Duration) func(string) bool {
	return func(v string) (ok bool) {
		var err error
		*into, err = time.ParseDuration(v)
		return err == nil && *into >= 0
	}
}

// boolean takes what strconv.ParseBool does.
func boolean(into *bool) func(string) bool {
	return func(v string) (ok bool) {
		var err error
		*into, err = strconv.ParseBool(v)
		return err == nil
	}
}

// number takes a number from 0.
func number(into *int) func(string) bool {
	return func(v string) (ok bool) {
		n, err := strconv.Atoi(v)
		*into = n
		return err == nil && n >= 0
	}
}

// setRoutesMaxHosts takes a number from 1.
func (s *Settings) setRoutesMaxHosts(v string) (ok bool) {
	n, err := strconv.Atoi(v)
	s.RoutesMaxHosts = n
	return err == nil && n >= 1
}

// setWarmHosts takes names, separated by commas.
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

// setResponseMode takes the name of a mode.
func (s *Settings) setResponseMode(v string) (ok bool) {
	s.Stream = v == "stream"
	return v == "buffered" || v == "stream"
}

// setFrontTimeout takes a duration that is longer than the margin before it.
func (s *Settings) setFrontTimeout(v string) (ok bool) {
	d, err := time.ParseDuration(v)
	s.FrontTimeout = d
	return err == nil && d >= time.Second
}

// setBasePath takes whole segments, without anything that would have to be encoded.
func (s *Settings) setBasePath(v string) (ok bool) {
	s.BasePath = strings.TrimSuffix(v, "/")
	return strings.HasPrefix(v, "/") && !strings.Contains(v, "//") && madeOf(v, alphanumeric+"-._~!$'()*+,;=:@/")
}

// networks takes networks, separated by commas. One that maps IPv4 into IPv6 would match nothing.
func networks(into *[]netip.Prefix) func(string) bool {
	return func(v string) (ok bool) {
		for part := range strings.SplitSeq(v, ",") {
			p, err := netip.ParsePrefix(strings.TrimSpace(part))
			if err != nil || p.Addr().Is4In6() || p != p.Masked() {
				return false
			}
			*into = append(*into, p)
		}
		return true
	}
}

// timeout takes a duration, and 0 for none.
func timeout(into *time.Duration) func(string) bool {
	return func(v string) (ok bool) {
		d, err := time.ParseDuration(v)
		*into = cmp.Or(d, -1) // whose zero is the default
		return err == nil && d >= 0
	}
}

// setMaxRequestBody takes bytes, or a number of kB, KiB, MB, MiB, GB or GiB.
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

// isLoopID takes a pseudonym of RFC 8586 that needs no quotes.
func isLoopID(v string) bool { return len(v) <= 100 && madeOf(v, alphanumeric+"-._") }

// setTrustedHostHeader takes the name of a header.
func (s *Settings) setTrustedHostHeader(v string) (ok bool) {
	s.TrustedHostHeader = v
	return madeOf(v, alphanumeric+"-_")
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// madeOf reports whether v has no other characters than these.
func madeOf(v, characters string) bool { return strings.Trim(v, characters) == "" }
