package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/internal/terminal"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// state is the state of a route at a time. Its words have the same meaning without their colour.
type state struct {
	name  string // enabled, disabled, expired or invalid
	text  string
	style terminal.Style
}

const (
	enabled  = "enabled"
	disabled = "disabled"
	expired  = "expired"
	invalid  = "invalid"
)

// soon is how long before its end a route gets a colour.
const soon = 7 * 24 * time.Hour

func stateOf(item origin.Item, now time.Time) state {
	route, err := item.Route()
	if err != nil {
		return unusable(err)
	}
	left := route.ExpiresAt.Sub(now)
	switch is := route.State(now); {
	case is == origin.Expired:
		return state{expired, fmt.Sprintf("expired %s ago", inWords(-left)), terminal.Warning}
	case is == origin.Disabled:
		return state{disabled, disabled, terminal.Warning}
	case !route.ExpiresAt.IsZero() && left < soon:
		return state{enabled, "expires in " + inWords(left), terminal.Warning}
	case !route.ExpiresAt.IsZero():
		return state{enabled, "expires in " + inWords(left), terminal.Good}
	}
	return state{enabled, enabled, terminal.Good}
}

// unusable returns the state of an invalid route.
func unusable(err error) state {
	reason := err.Error()
	if e, ok := errors.AsType[*origin.InvalidRouteError](err); ok {
		reason = fmt.Sprintf("attribute %q %s", e.Attribute, e.Reason)
	}
	return state{invalid, "INVALID: " + reason, terminal.Bad}
}

// inWords returns a duration in its largest unit, rounded down, so that it never promises more time than there is.
func inWords(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{365 * 24 * time.Hour, "y"}, {24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if d >= 2*unit.of {
			return fmt.Sprintf("%d %s", d/unit.of, unit.name)
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// valueText returns the value of an attribute in one line.
func valueText(name string, v any) string {
	switch v := v.(type) {
	case string:
		if name == "ca_pem" {
			if all, ok := certificates(v); ok {
				return strings.Join(all, "; ")
			}
		}
		if v == "" || strings.ContainsFunc(v, func(c rune) bool { return !unicode.IsPrint(c) }) || strings.TrimSpace(v) != v {
			return fmt.Sprintf("%q", v)
		}
		return v
	case json.Number:
		if n, err := v.Int64(); err == nil && name == "expires_at" && n > 0 && n < 1<<37 {
			return fmt.Sprintf("%s (%s)", v, time.Unix(n, 0).UTC().Format(time.RFC3339))
		}
		return v.String()
	case origin.StringSet:
		var all []string
		for _, s := range slices.Sorted(slices.Values(v)) {
			all = append(all, valueText(name, s))
		}
		return strings.Join(all, ", ")
	case []any:
		var all []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return exactText(v)
			}
			all = append(all, valueText(name, s))
		}
		if len(all) > 0 {
			return strings.Join(all, ", ")
		}
	}
	return exactText(v)
}

// exactText returns a value in JSON.
func exactText(v any) string {
	b, err := origin.Item{"v": v}.MarshalJSON()
	if err != nil {
		return "(of a type that JSON does not have)"
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(b), `{"v":`), "}")
}

// certificates describes the certificates in a PEM, and returns false if it has anything else.
func certificates(text string) (all []string, ok bool) {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return all, len(all) > 0 && strings.TrimSpace(string(rest)) == ""
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, false
		}
		all = append(all, fmt.Sprintf("%s until %s", cert.Subject, cert.NotAfter.UTC().Format(time.DateOnly)))
	}
}

// difference is an attribute that differs between two items. old or new is "" if the item lacks it.
type difference struct{ name, old, new string }

func differences(before, after origin.Item) []difference {
	var all []difference
	for _, name := range routetable.Difference(before, after) {
		d := difference{name: name}
		old, had := before[name]
		now, has := after[name]
		if had {
			d.old = valueText(name, old)
		}
		if has {
			d.new = valueText(name, now)
		}
		if had && has && d.old == d.new { // of different types, or different certificates for the same names
			if d.old, d.new = exactText(old), exactText(now); name == "ca_pem" {
				d.old, d.new = valueText(name, old)+fingerprint(old), valueText(name, now)+fingerprint(now)
			}
		}
		all = append(all, d)
	}
	return all
}

func fingerprint(v any) string {
	return fmt.Sprintf(" (SHA-256 of the text %.8x)", sha256.Sum256([]byte(fmt.Sprint(v))))
}

// printDifferences writes the differences, attribute by attribute.
func printDifferences(t *terminal.Terminal, before, after origin.Item) {
	for _, d := range differences(before, after) {
		if d.old != "" {
			fmt.Fprintf(t.Out, "  %s\n", t.Styled(terminal.Bad, "- "+d.name+": "+d.old))
		}
		if d.new != "" {
			fmt.Fprintf(t.Out, "  %s\n", t.Styled(terminal.Good, "+ "+d.name+": "+d.new))
		}
	}
}
