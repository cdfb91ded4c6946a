package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// attributeFlags are the attributes of a route as flags.
type attributeFlags struct {
	c        *cobra.Command
	origins  []string
	pins     []string
	offered  []string
	most     int64
	texts    map[string]*string // by attribute
	expires  string
	caFile   string
	rewrite  bool
	enabled  bool
	disabled bool
}

func (a *attributeFlags) add(c *cobra.Command) {
	a.c, a.texts = c, map[string]*string{}
	f := c.Flags()
	f.StringSliceVar(&a.origins, "origin", nil, "`address` to connect to: host, host:port or https://host:port; may be repeated, and is then tried in that order")
	text := func(attribute, usage string) {
		a.texts[attribute] = f.String(flagName(attribute), "", usage)
	}
	text("server_name", "`name` to send as SNI and to verify, where it is not the host")
	text("host_header", "`name` to send as Host, where it is not the client's")
	f.StringVar(&a.caFile, "ca-file", "", "`file` in PEM with the roots to trust for this route, and only these (ca_pem); - is standard input")
	text("ca_pem", "the same `text` itself")
	f.StringSliceVar(&a.pins, "pin", nil, "base64 of the SHA-256 of a public key that is allowed, `HASH`; may be repeated, all are replaced (spki_pins)")
	text("client_cert", "`name` of the client certificate to show")
	text("tls_min", "lowest TLS `version`: 1.2 or 1.3")
	f.StringSliceVar(&a.offered, "protocols", nil, "`list` of the protocols to offer the origin, the preferred first, such as h2,http/1.1; without it HTTP/1.1 alone")
	f.Int64Var(&a.most, "max-connections", 0, "at most `N` connections to the origin, beyond which requests wait")
	f.BoolVar(&a.rewrite, "rewrite", false, "whether names of the origin in its answers become the client's")
	for _, part := range []struct{ name, of string }{
		{"connect", "to connect to one address"}, {"handshake", "of a TLS handshake"}, {"response", "until an answer begins"},
		{"idle", "that nothing may move in a body"}, {"request", "of a request as a whole"},
	} {
		text(part.name+"_timeout", "`duration` "+part.of+", such as 5s")
	}
	f.BoolVar(&a.enabled, "enabled", false, "whether the route is in force (enabled)")
	f.BoolVar(&a.disabled, "disabled", false, "the opposite of --enabled")
	f.StringVar(&a.expires, "expires-at", "", "`time` when the route ceases to be: RFC 3339, seconds since 1970, or from now on such as +48h or +30d")
	text("note", "`text` for people")
	completeValues(c, map[string][]string{"tls-min": {"1.2", "1.3"}, "protocols": protocolLists}, map[string][]string{"ca-file": {"pem", "crt", "cer"}},
		"origin", "server-name", "host-header", "ca-pem", "pin", "client-cert", "max-connections", "expires-at", "note",
		"connect-timeout", "handshake-timeout", "response-timeout", "idle-timeout", "request-timeout")
}

// protocolLists are all values of the attribute protocols, for completion.
var protocolLists = []string{"http/1.1", "h2,http/1.1", "h2", "http/1.1,h2"}

func flagName(attribute string) string { return strings.ReplaceAll(attribute, "_", "-") }

// given returns the attributes that the flags say, which are not looked at yet.
func (a *attributeFlags) given(now time.Time) (origin.Item, error) {
	changed := a.c.Flags().Changed
	item := origin.Item{}
	for attribute, v := range a.texts {
		if changed(flagName(attribute)) {
			if !utf8.ValidString(*v) {
				return nil, usageError{fmt.Errorf("--%s is %q, which is not UTF-8", flagName(attribute), *v)}
			}
			item[attribute] = *v
		}
	}
	if changed("origin") {
		item["origin"] = listOrOne(a.origins)
	}
	if changed("pin") {
		pins := slices.Sorted(slices.Values(a.pins))
		item["spki_pins"] = origin.StringSet(slices.Compact(pins))
	}
	if changed("protocols") {
		item["protocols"] = list(a.offered)
	}
	if changed("max-connections") {
		item["max_connections"] = json.Number(strconv.FormatInt(a.most, 10))
	}
	if changed("ca-file") {
		if changed("ca-pem") {
			return nil, usageError{errors.New("--ca-file and --ca-pem are both given: give one of them")}
		}
		b, err := readInput(a.c, a.caFile, maxDocument)
		if err != nil {
			return nil, usageError{fmt.Errorf("--ca-file: %w", err)}
		}
		item["ca_pem"] = string(b)
	}
	if changed("rewrite") {
		item["rewrite"] = a.rewrite
	}
	switch {
	case changed("enabled") && changed("disabled"):
		return nil, usageError{errors.New("--enabled and --disabled are both given: give one of them")}
	case changed("enabled"):
		item["enabled"] = a.enabled
	case changed("disabled"):
		item["enabled"] = !a.disabled
	}
	if changed("expires-at") {
		at, err := parseExpiry(a.expires, now)
		if err != nil {
			return nil, usageError{fmt.Errorf("--expires-at %w", err)}
		}
		if !at.After(now) {
			return nil, usageError{fmt.Errorf("--expires-at %q is in the past (%s): to end a route now, use \"routes disable\" or \"routes rm\"", a.expires, at.UTC().Format(time.RFC3339))}
		}
		item["expires_at"] = epoch(at)
	}
	return item, nil
}

func listOrOne(all []string) any {
	if len(all) == 1 {
		return all[0]
	}
	return list(all)
}

// list is the attribute's value for several texts.
func list(all []string) []any {
	values := make([]any, 0, len(all))
	for _, s := range all {
		values = append(values, s)
	}
	return values
}

func epoch(t time.Time) json.Number { return json.Number(strconv.FormatInt(t.Unix(), 10)) }

// parseExpiry reads seconds since 1970, RFC 3339, or a duration from now that begins with a plus. Fractions
// of a second are cut off.
func parseExpiry(s string, now time.Time) (time.Time, error) {
	if rest, ok := strings.CutPrefix(s, "+"); ok {
		d, err := parseDays(rest)
		if err != nil {
			return time.Time{}, fmt.Errorf("%.60q: after the plus there has to be a duration such as 90m, 48h or 30d", s)
		}
		return now.Add(d), nil
	}
	if strings.Trim(s, "0123456789") == "" && s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n >= 100_000_000_000 {
			return time.Time{}, fmt.Errorf("%.60q has to be in seconds since 1970 (not milliseconds)", s)
		}
		return time.Unix(n, 0), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%.60q has to be a time such as 2030-01-31T12:00:00Z, seconds since 1970, or a duration from now such as +48h", s)
	}
	return t, nil
}

const maxDays = 100 * 366

// parseDays is time.ParseDuration, with days alone as well, such as "30d". It has to be positive.
func parseDays(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 32); err == nil && n > maxDays {
			err = errors.New("too many days")
		}
		d = time.Duration(n) * 24 * time.Hour
	}
	if err == nil && d <= 0 {
		err = errors.New("not positive")
	}
	return d, err
}
