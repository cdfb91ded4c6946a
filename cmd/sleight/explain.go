package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/printable"
	"github.com/sleightproxy/sleight/internal/routes"
	"github.com/sleightproxy/sleight/internal/terminal"
)

func newExplain(getenv func(string) string) *cobra.Command {
	tables := tableFlags{getenv: getenv}
	var output format
	c := &cobra.Command{
		Use:   "explain HOST",
		Short: "Say which route a host gets, why, and what happens to its requests",
		Long: `Says which route of --table or --routes a request for HOST gets, and why: its own, that of a
wildcard, or none, because the route is disabled, has expired or is not valid, or because the
name is refused. Also says what happens to the request: which addresses are dialled in which
order, which name TLS sends and verifies, which protocols the origin is offered, which Host is
sent, which timeouts hold. Nothing is dialled: sleight check does that.

The settings of the proxy come from its variables and from flags.
The exit status is 1 if no route is in force for HOST.`,
		Example: `  sleight explain one.spec-trust.com --table routes
  sleight explain one.spec-trust.com --routes routes.json -o json`,
		Annotations:       map[string]string{permissions: "dynamodb:GetItem; dynamodb:Scan if HOST has no route"},
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: tables.completeHosts(false),
		RunE: func(c *cobra.Command, args []string) error {
			settings, _, err := proxySettings(c.Flags(), getenv)
			if err != nil {
				return err
			}
			var source routes.Source // nil if the name is refused before any route is looked up
			e, err := routes.Explain(c.Context(), routes.Settings{ForceHTTPS: settings.ForceHTTPS, Timeouts: settings.Timeouts}, args[0], func() (routes.Source, error) {
				var err error
				source, err = tables.openSource(c.Context())
				return source, err
			})
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

// spoken lists the protocols of a route for people.
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
func showExplanation(t *terminal.Terminal, e *routes.Explanation, source routes.Source) {
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
		rows = append(rows, []string{printable.Text(l.Key), decides, printable.Text(found)})
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
