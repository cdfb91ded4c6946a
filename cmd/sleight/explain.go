package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/app"
	"github.com/sleightproxy/sleight/internal/terminal"
	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/proxy"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// explanation is what "sleight explain" tells. docs/check.md has its form in JSON.
type explanation struct {
	Host      string     `json:"host"`
	InForce   bool       `json:"in_force"` // requests are forwarded
	Verdict   string     `json:"verdict"`
	Refused   string     `json:"refused,omitempty"` // why no request for such a name is looked up
	Looked    []lookedUp `json:"looked_up"`
	Forwarded *forwarded `json:"forwarded,omitempty"`
	Nearest   []string   `json:"nearest,omitempty"` // names that there are routes for
}

type lookedUp struct {
	Key     string       `json:"key"`
	State   origin.State `json:"state"`
	Reason  string       `json:"reason,omitempty"`
	Decides bool         `json:"decides"`
}

// forwarded is what becomes of a request.
type forwarded struct {
	Route      string            `json:"route"`
	Scheme     string            `json:"scheme"`
	Addresses  []string          `json:"addresses"` // in the order in which they are tried
	ServerName string            `json:"server_name,omitempty"`
	Verified   string            `json:"verified,omitempty"`
	Pins       int               `json:"pins"`
	TLSMin     string            `json:"tls_min,omitempty"`
	ClientCert string            `json:"client_cert,omitempty"`
	Protocols  []string          `json:"protocols"` // that the origin is offered, the preferred first
	MaxConns   int               `json:"max_connections,omitempty"`
	Host       string            `json:"host_header"`
	Rewrite    bool              `json:"rewrite"`
	Timeouts   map[string]string `json:"timeouts"`
	ExpiresAt  *time.Time        `json:"expires_at,omitempty"`
	Note       string            `json:"note,omitempty"`
}

func newExplain(getenv func(string) string) *cobra.Command {
	tables := tableFlags{getenv: getenv}
	var output format
	c := &cobra.Command{
		Use:   "explain HOST",
		Short: "Say which route a host gets, why, and what becomes of its requests",
		Long: `Says which route of --table or --routes a request for HOST gets, and why: its own, that of a
wildcard, none because one is disabled, has expired or is not valid, or because the name is
refused. And what becomes of the request: what is dialled, in which order, what TLS names and
verifies, which protocols the origin is offered, what is sent as Host, which timeouts hold.
Nothing is dialled: sleight check does that.

Settings of the proxy are read from its variables, and may be given as flags.
The exit status is 1 where no route is in force for HOST.`,
		Example: `  sleight explain one.spec-trust.com --table routes
  sleight explain one.spec-trust.com --routes routes.json -o json`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: tables.completeHosts(false),
		RunE: func(c *cobra.Command, args []string) error {
			settings, _, err := proxySettings(c.Flags(), getenv)
			if err != nil {
				return err
			}
			e, source, err := explain(c.Context(), &tables, settings, args[0])
			if err != nil {
				return cmp.Or(c.Context().Err(), err)
			}
			t := newTerminal(c)
			if err := output.print(t, e, func() { showExplanation(t, e, source) }); err != nil {
				return err
			}
			if !e.InForce {
				return fmt.Errorf("no route is in force for %.80q", args[0])
			}
			return nil
		},
	}
	tables.add(c.Flags())
	addProxyFlags(c)
	addOutput(c, &output)
	completeTables(c)
	return c
}

// explain looks HOST up as the proxy does. source is nil where the name is refused before.
func explain(ctx context.Context, tables *tableFlags, s app.Settings, asked string) (*explanation, routeSource, error) {
	host, err := hostname.Normalize(asked)
	if err != nil {
		return &explanation{Host: asked, Looked: []lookedUp{}, Refused: err.Error(), Verdict: "requests for such a name are refused before any route is looked up"}, nil, nil
	}
	source, err := tables.openSource(ctx)
	if err != nil {
		return nil, nil, err
	}
	found, _, err := lookUp(ctx, source, host)
	if err != nil {
		return nil, nil, err
	}
	e := &explanation{Host: host, InForce: found.Route != nil, Looked: make([]lookedUp, 0, len(found.Candidates))}
	anything := false
	for _, c := range found.Candidates {
		l := lookedUp{Key: c.Key, State: c.State, Decides: c.Decides}
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
			e.Verdict = fmt.Sprintf("the route %q has http://, which the proxy refuses: make it https://, or set FORCE_HTTPS=false", found.Route.Host)
		}
	} else if !anything {
		if e.Nearest, err = nearest(ctx, source, host); err != nil {
			return nil, nil, err
		}
	}
	return e, source, nil
}

// verdict says in one line which route it is, and why.
func verdict(looked []lookedUp, route *origin.Route, host string) string {
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

// hides reports whether a wildcard would have served, had the host's own route not decided.
func hides(looked []lookedUp) bool { return len(looked) > 1 && looked[1].State == origin.Usable }

// forward says what becomes of a request, by what the proxy makes of the route.
func forward(s app.Settings, route *origin.Route, host string) *forwarded {
	target := proxy.Target(route)
	f := &forwarded{
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

// maxNames bounds how many routes are looked at for names that are near: a table of millions is not
// read for a misspelt one.
const maxNames = 20_000

// nearest returns the hosts with routes that one may have meant.
func nearest(ctx context.Context, source routeSource, host string) ([]string, error) {
	type near struct {
		host     string
		distance int
	}
	var all []near
	n := 0
	for item, err := range source.All(ctx) {
		if err != nil {
			return nil, err
		}
		if n++; n > maxNames {
			break
		}
		if d := distance(host, item.Host()); d <= max(2, len(host)/5) {
			all = append(all, near{item.Host(), d})
		}
	}
	slices.SortFunc(all, func(a, b near) int { return cmp.Or(a.distance-b.distance, strings.Compare(a.host, b.host)) })
	var names []string
	for _, a := range all[:min(3, len(all))] {
		names = append(names, a.host)
	}
	return names, nil
}

// distance counts the letters to add, remove or replace to make b of a (Levenshtein).
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

// spoken names the protocols of a route for people.
func spoken(protocols []string) string {
	var names []string
	for _, p := range protocols {
		names = append(names, map[string]string{"http/1.1": "HTTP/1.1", "h2": "HTTP/2"}[p])
	}
	switch {
	case len(protocols) > 1:
		return strings.Join(names, " or ") + ", offered in this order, of which the origin chooses; WebSockets over HTTP/1.1"
	case protocols[0] == "h2":
		return "HTTP/2 alone; WebSockets are refused"
	}
	return names[0]
}

// showExplanation shows a person the explanation.
func showExplanation(t *terminal.Terminal, e *explanation, source routeSource) {
	word, style := "no", terminal.Bad
	if e.InForce {
		word, style = "yes", terminal.Good
	}
	fmt.Fprintf(t.Out, "%-9s %s\n", "host", t.Styled(terminal.Strong, e.Host))
	fmt.Fprintf(t.Out, "%-9s %s: %s\n", "in force", t.Styled(style, word), t.Wrap(10, e.Verdict))
	field := func(name, v string) { showField(t, name, v) }
	if e.Refused != "" {
		field("refused", e.Refused)
		return
	}
	field("routes", source.String())
	rows := make([][]string, 0, len(e.Looked))
	for _, l := range e.Looked {
		decides := ""
		if l.Decides {
			decides = "decides"
		}
		found := string(l.State)
		if l.Reason != "" {
			found += " " + l.Reason
		}
		rows = append(rows, []string{terminal.Safe(l.Key), decides, terminal.Safe(found)})
	}
	fmt.Fprintln(t.Out)
	t.Table([]string{"looked up", "", "found"}, rows)
	fmt.Fprintln(t.Out)
	if len(e.Nearest) > 0 {
		field("nearest", strings.Join(e.Nearest, ", "))
	}
	f := e.Forwarded
	if f == nil {
		return
	}
	for i, a := range f.Addresses {
		name := "dialled"
		if i > 0 {
			name = "   then"
		}
		field(name, a)
	}
	if f.Scheme == "https" {
		field("named", f.ServerName+" (SNI)")
		verified := fmt.Sprintf("for %s, %s, TLS %s or later", f.ServerName, f.Verified, f.TLSMin)
		switch {
		case f.Pins == 1:
			verified += ", the pinned key in the chain"
		case f.Pins > 1:
			verified += fmt.Sprintf(", one of %d pinned keys in the chain", f.Pins)
		}
		field("verified", verified)
		if f.ClientCert != "" {
			field("shows", fmt.Sprintf("the client certificate %q, where the origin asks", f.ClientCert))
		}
	} else {
		field("verified", "nothing: plain HTTP")
	}
	field("spoken", spoken(f.Protocols))
	if f.MaxConns > 0 {
		field("at most", count(f.MaxConns, "connection")+" to the origin, beyond which requests wait")
	}
	field("Host", f.Host)
	rewrite := "the origin's names in answers stay as they are"
	if f.Rewrite {
		rewrite = "the origin's names in answers become the client's"
	}
	field("rewrite", rewrite)
	field("timeouts", fmt.Sprintf("connect %s, TLS %s, answer %s, idle %s, whole %s", f.Timeouts["connect"], f.Timeouts["handshake"], f.Timeouts["response"], f.Timeouts["idle"], f.Timeouts["request"]))
	if f.ExpiresAt != nil {
		field("expires", f.ExpiresAt.Format(time.RFC3339))
	}
	if f.Note != "" {
		field("note", f.Note)
	}
}
