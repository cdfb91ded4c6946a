package routes

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/proxy"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// An Explanation says which route a host gets, why, and what becomes of its requests. docs/check.md has its form in JSON.
type Explanation struct {
	Host      string      `json:"host"`
	InForce   bool        `json:"in_force"` // requests are forwarded
	Verdict   string      `json:"verdict"`
	Refused   string      `json:"refused,omitempty"` // why requests for such a name are not looked up
	Looked    []Candidate `json:"looked_up"`
	Forwarded *Forwarded  `json:"forwarded,omitempty"`
	Nearest   []string    `json:"nearest,omitempty"` // similar names that have routes
}

// A Candidate is a key that the route of the host may be stored under.
type Candidate struct {
	Key     string       `json:"key"`
	State   origin.State `json:"state"`
	Reason  string       `json:"reason,omitempty"`
	Decides bool         `json:"decides"`
}

// Forwarded says what becomes of a request.
type Forwarded struct {
	Route      string            `json:"route"`
	Scheme     string            `json:"scheme"`
	Addresses  []string          `json:"addresses"` // in the order of the attempts
	ServerName string            `json:"server_name,omitempty"`
	Verified   string            `json:"verified,omitempty"`
	Pins       int               `json:"pins"`
	TLSMin     string            `json:"tls_min,omitempty"`
	ClientCert string            `json:"client_cert,omitempty"`
	Protocols  []string          `json:"protocols"` // offered to the origin, the preferred first
	MaxConns   int               `json:"max_connections,omitempty"`
	Host       string            `json:"host_header"`
	Rewrite    bool              `json:"rewrite"`
	Timeouts   map[string]string `json:"timeouts"`
	ExpiresAt  *time.Time        `json:"expires_at,omitempty"`
	Note       string            `json:"note,omitempty"`
}

// Settings are those of the proxy that an explanation needs.
type Settings struct {
	ForceHTTPS bool
	Timeouts   proxy.Timeouts
}

// Explain looks a host up in a source as the proxy does. It asks no origin. It calls open for the source if the proxy would
// look the host up at all.
func Explain(ctx context.Context, s Settings, asked string, open func() (Source, error)) (*Explanation, error) {
	host, err := hostname.Normalize(asked)
	if err != nil {
		return &Explanation{Host: asked, Looked: []Candidate{}, Refused: err.Error(), Verdict: "requests for such a name are refused before any route is looked up"}, nil
	}
	source, err := open()
	if err != nil {
		return nil, err
	}
	found, _, err := LookUp(ctx, source, host)
	if err != nil {
		return nil, err
	}
	e := &Explanation{Host: host, InForce: found.Route != nil, Looked: make([]Candidate, 0, len(found.Candidates))}
	anything := false
	for _, c := range found.Candidates {
		l := Candidate{Key: c.Key, State: c.State, Decides: c.Decides}
		if invalid, ok := errors.AsType[*origin.InvalidRouteError](c.Err); ok {
			l.Reason = fmt.Sprintf("attribute %s %s", invalid.Attribute, invalid.Reason)
		}
		if c.State == origin.Expired {
			l.Reason = "since " + c.Route.ExpiresAt.UTC().Format(time.RFC3339)
		}
		anything = anything || c.State != origin.Absent
		e.Looked = append(e.Looked, l)
	}
	e.Verdict = verdict(e.Looked, found.Route, host)
	if found.Route != nil {
		e.Forwarded = forward(s, found.Route, host)
		if found.Route.Scheme == "http" && s.ForceHTTPS {
			e.InForce = false
			e.Verdict = fmt.Sprintf("the origin of the route %q is http://, and the proxy refuses that: change it to https://, or set FORCE_HTTPS=false", found.Route.Host)
		}
	} else if !anything {
		if e.Nearest, err = nearest(ctx, source, host); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// verdict says in one line which route the host gets, and why.
func verdict(looked []Candidate, route *origin.Route, host string) string {
	skipped := ""
	for _, l := range looked {
		if l.State == origin.Expired {
			skipped = fmt.Sprintf("; the route %q has expired, and counts as absent", l.Key)
		}
		if !l.Decides {
			continue
		}
		switch {
		case l.State == origin.Invalid:
			return fmt.Sprintf("the route %q is not valid (%s): requests are answered with 500", l.Key, l.Reason) + skipped
		case l.State == origin.Disabled && l.Key == host && hides(looked):
			return fmt.Sprintf("the route %q is disabled, and hides %q: requests are answered as if there were none", l.Key, looked[1].Key) + skipped
		case l.State == origin.Disabled:
			return fmt.Sprintf("the route %q is disabled: requests are answered as if there were none", l.Key) + skipped
		case route != nil && l.Key == host:
			return "the host has a route of its own" + skipped
		}
		return fmt.Sprintf("the wildcard %q covers the host, which has no route of its own", l.Key) + skipped
	}
	return "there is no route for the host: requests are answered with 404, and nothing is dialled" + skipped
}

// hides reports whether a wildcard would serve the host without the host's own route.
func hides(looked []Candidate) bool { return len(looked) > 1 && looked[1].State == origin.Usable }

// forward says what the proxy does with a request, from its own view of the route.
func forward(s Settings, route *origin.Route, host string) *Forwarded {
	target := proxy.Target(route)
	f := &Forwarded{
		Route: route.Host, Scheme: target.Scheme, Host: cmp.Or(target.HostHeader, host), ClientCert: target.ClientCert, Pins: len(target.SPKIPins), Note: route.Note,
		Rewrite: proxy.RewritesNames(route, host), Timeouts: map[string]string{}, Protocols: target.ALPN, MaxConns: target.MaxConns,
	}
	if len(f.Protocols) == 0 {
		f.Protocols = []string{"http/1.1"}
	}
	port := "443"
	if f.Scheme == "http" {
		port = "80"
	}
	for _, a := range target.Addresses {
		if at, p, err := hostname.SplitAddress(a); err == nil && p == "" {
			a = hostname.JoinAddress(at, port)
		}
		f.Addresses = append(f.Addresses, a)
	}
	if f.Scheme == "https" {
		f.ServerName, f.TLSMin = cmp.Or(target.ServerName, host), strings.TrimPrefix(tls.VersionName(route.TLSMin), "TLS ")
		f.Verified = "by the system's roots"
		if route.CAPEM != "" {
			f.Verified = "by the roots of ca_pem alone"
		}
	}
	if !route.ExpiresAt.IsZero() {
		end := route.ExpiresAt.UTC()
		f.ExpiresAt = &end
	}
	timeouts := s.Timeouts.For(route)
	for name, d := range map[string]time.Duration{
		"connect": cmp.Or(timeouts.Connect, sni.DefaultConnectTimeout), "handshake": cmp.Or(timeouts.Handshake, sni.DefaultHandshakeTimeout),
		"response": timeouts.Response, "idle": timeouts.Idle, "request": timeouts.Request,
	} {
		if d > 0 {
			f.Timeouts[name] = d.String()
		} else {
			f.Timeouts[name] = "none"
		}
	}
	return f
}

// maxNames bounds how many routes are compared with a misspelt name, in a table of millions.
const maxNames = 20_000

// nearest returns up to three hosts with routes whose names are similar.
func nearest(ctx context.Context, source Source, host string) ([]string, error) {
	type candidate struct {
		host     string
		distance int
	}
	var all []candidate
	n := 0
	for item, err := range source.All(ctx) {
		if err != nil {
			return nil, err
		}
		if n++; n > maxNames {
			break
		}
		if d := distance(host, item.Host()); d <= max(2, len(host)/5) {
			all = append(all, candidate{item.Host(), d})
		}
	}
	slices.SortFunc(all, func(a, b candidate) int { return cmp.Or(a.distance-b.distance, strings.Compare(a.host, b.host)) })
	var names []string
	for _, a := range all[:min(3, len(all))] {
		names = append(names, a.host)
	}
	return names, nil
}

// distance returns how many letters have to be added, removed or replaced to turn a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
