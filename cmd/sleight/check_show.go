package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/internal/check"
	"github.com/sleightproxy/sleight/internal/printable"
	"github.com/sleightproxy/sleight/internal/terminal"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// mark returns a status as a word, which has the same meaning without colours.
func mark(t *terminal.Terminal, s check.Status) string {
	switch s {
	case check.OK:
		return t.Styled(terminal.Good, "ok")
	case check.Warn:
		return t.Styled(terminal.Warning, "warn")
	case check.Fail:
		return t.Styled(terminal.Bad, "FAIL")
	}
	return t.Styled(terminal.Faint, "skip")
}

// indent is the column of the text of findings.
const indent = 6

// showResult shows a person the check of one route.
func showResult(t *terminal.Terminal, r *check.Result, source string) {
	line := func(format string, args ...any) { fmt.Fprintf(t.Out, format+"\n", args...) }
	line("%s %s", padded(mark(t, r.Status), r.Status), t.Styled(terminal.Strong, r.Host))
	if r.Status == check.OK {
		line("      %s", t.Wrap(indent, r.Verdict))
	}
	showFindings(t, r)
	if !r.InForce() {
		line("      %s", t.Wrap(indent, fmt.Sprintf("the route is %s: a failure does not count, unless --fail-inactive is given", r.State)))
	}
	line("")
	field := func(name, v string) { showField(t, name, v) }
	field("route", fmt.Sprintf("%s of %s", r.Route, source))
	if r.Client != nil {
		field("clients", clients(r)+", DNS "+milliseconds(&r.Client.Took))
	}
	if r.ServerName != "" {
		field("named", fmt.Sprintf("%s (SNI, verified), Host %s", r.ServerName, r.HostHeader))
	} else if r.HostHeader != "" {
		field("named", fmt.Sprintf("Host %s, without TLS", r.HostHeader))
	}
	for i := range r.Origins {
		showOrigin(t, &r.Origins[i])
	}
	showChains(t, r)
}

// showField shows one named field.
func showField(t *terminal.Terminal, name, v string) {
	fmt.Fprintf(t.Out, "%-9s %s\n", name, t.Wrap(10, v))
}

// padded pads a mark to the width of the longest one, four letters, and a blank.
func padded(marked string, s check.Status) string {
	if s == check.OK {
		return marked + "   "
	}
	return marked + " "
}

// clients says where DNS leads clients.
func clients(r *check.Result) string {
	where := strings.Join(r.Client.Addresses, ", ")
	if len(r.Client.Addresses) > 3 {
		where = fmt.Sprintf("%s and %d more", strings.Join(r.Client.Addresses[:3], ", "), len(r.Client.Addresses)-3)
	}
	if r.Client.CNAME != "" {
		where = r.Client.CNAME + " (" + where + ")"
	}
	switch r.Client.LeadsTo {
	case check.ToTarget:
		return where + ": the proxy"
	case check.ToOrigin:
		return where + ": the origin, past the proxy"
	case check.ToElsewhere:
		return where + "; give --target to find out whether that is the proxy"
	}
	return r.Client.Error
}

// showOrigin shows the addresses of one entry, and the milliseconds of each phase.
func showOrigin(t *terminal.Terminal, o *check.Origin) {
	title := o.Address
	if o.CNAME != "" {
		title += " = " + o.CNAME
	}
	if o.DNS != nil {
		title += ", DNS " + milliseconds(o.DNS)
	}
	if o.Error != "" {
		title += ": " + o.Error
	}
	fmt.Fprintln(t.Out)
	showField(t, "origin", title)
	if len(o.IPs) == 0 {
		return
	}
	rows := make([][]string, 0, len(o.IPs))
	for _, p := range o.IPs {
		rows = append(rows, []string{mark(t, p.Status), p.IP, milliseconds(p.Connect), milliseconds(p.Handshake), milliseconds(p.FirstByte), printable.Text(protocol(&p))})
	}
	t.Table([]string{"", "address", "connect", "TLS", "answer", "HTTP"}, rows)
}

// protocol says which protocol was spoken and what the response was, or why there was no response.
func protocol(p *check.Probe) string {
	var said []string
	if p.HTTP != nil {
		said = append(said, strconv.Itoa(p.HTTP.Status), p.HTTP.Protocol)
	} else if p.Error != nil {
		said = append(said, p.Error.Type)
	}
	if p.TLS != nil && p.TLS.Version != "" && p.HTTP != nil {
		said = append(said, p.TLS.Version, strings.TrimPrefix(p.TLS.CipherSuite, "TLS_"))
		if p.TLS.ALPN != "" {
			said = append(said, "ALPN "+p.TLS.ALPN)
		}
		if http2 := p.TLS.SpeaksHTTP2; http2 != nil && *http2 && p.TLS.ALPN != "h2" {
			said = append(said, "(h2 on offer)")
		}
	}
	return strings.Join(said, " ")
}

func milliseconds(m *check.Millis) string {
	if m == nil {
		return "-"
	}
	return strconv.FormatFloat(time.Duration(*m).Seconds()*1000, 'f', 1, 64) + " ms"
}

// showChains shows each chain once, with the addresses that have sent it.
func showChains(t *terminal.Terminal, r *check.Result) {
	type group struct {
		chain []check.Certificate
		tls   *check.TLS
		ips   []string
	}
	var groups []*group
	for _, o := range r.Origins {
		for _, p := range o.IPs {
			if len(p.Certificates) == 0 {
				continue
			}
			i := slices.IndexFunc(groups, func(g *group) bool {
				return g.tls.Verified == p.TLS.Verified && slices.EqualFunc(g.chain, p.Certificates, func(a, b check.Certificate) bool {
					return a.Pin == b.Pin && a.NotAfter.Equal(b.NotAfter) && a.Subject == b.Subject && slices.Equal(a.Names, b.Names)
				})
			})
			if i < 0 {
				i = len(groups)
				groups = append(groups, &group{chain: p.Certificates, tls: p.TLS})
			}
			groups[i].ips = append(groups[i].ips, p.IP)
		}
	}
	for _, g := range groups {
		at := ""
		if len(groups) > 1 {
			at = " at " + g.ips[0]
			if len(g.ips) > 1 {
				at += fmt.Sprintf(" and %d more", len(g.ips)-1)
			}
		}
		verified := t.Styled(terminal.Good, "verified")
		if !g.tls.Verified {
			verified = t.Styled(terminal.Bad, "NOT verified")
			if why := g.tls.VerificationError; why != "" {
				verified += ": " + t.Wrap(10, why)
			}
		}
		fmt.Fprintf(t.Out, "\nchain%s     %s\n", at, verified)
		t.Tree(trees(t, g.chain, g.tls)...)
	}
}

// trees puts the issuer of each certificate below it, and the certificates that issue no other one beside.
func trees(t *terminal.Terminal, chain []check.Certificate, state *check.TLS) []terminal.Tree {
	used := make([]bool, len(chain))
	var grow func(i int) terminal.Tree
	grow = func(i int) terminal.Tree {
		used[i] = true
		c := chain[i]
		node := terminal.Tree{Text: t.Styled(terminal.Strong, short(c.Subject)) + describe(t, &c)}
		if len(c.Names) > 0 {
			names := c.Names
			more := ""
			if len(names) > 4 {
				names = names[:4]
			}
			if left := len(c.Names) - len(names) + c.MoreNames; left > 0 {
				more = fmt.Sprintf(" and %d more", left)
			}
			node.Sub = append(node.Sub, terminal.Tree{Text: printable.Text("names " + strings.Join(names, ", ") + more)})
		}
		node.Sub = append(node.Sub, terminal.Tree{Text: printable.Text(fmt.Sprintf("key %s, signature %s", c.Key, c.Signature))})
		pin := "pin " + c.Pin
		if slices.Contains(state.PinsMatched, c.Pin) {
			pin += " (pinned)"
		}
		node.Sub = append(node.Sub, terminal.Tree{Text: pin})
		if c.Subject == c.Issuer {
			return node
		}
		next := slices.IndexFunc(chain, func(o check.Certificate) bool { return o.Authority && o.Subject == c.Issuer })
		if next < 0 || used[next] {
			node.Sub = append(node.Sub, terminal.Tree{Text: "signed by " + t.Styled(terminal.Warning, short(c.Issuer)) + ", which is not sent"})
			return node
		}
		issuer := grow(next)
		issuer.Text = "signed by " + issuer.Text
		node.Sub = append(node.Sub, issuer)
		return node
	}
	all := []terminal.Tree{grow(0)}
	for i := range chain {
		if !used[i] {
			tree := grow(i)
			tree.Text += ", also sent"
			all = append(all, tree)
		}
	}
	return all
}

func short(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "..."
	}
	return s
}

// describe says for how long a certificate is valid, and who has issued it.
func describe(t *terminal.Terminal, c *check.Certificate) string {
	style, end := terminal.Plain, fmt.Sprintf("%d days left", c.DaysLeft)
	switch c.DaysLeft {
	case 0:
		end = "less than a day left"
	case 1:
		end = "1 day left"
	}
	switch {
	case c.DaysLeft < 0:
		style, end = terminal.Bad, "EXPIRED"
	case c.DaysLeft < 14:
		style = terminal.Warning
	}
	s := fmt.Sprintf(", %s (%s)", t.Styled(style, end), c.NotAfter.Format(time.DateOnly))
	if !c.Presented {
		s += ", trusted here"
	}
	return s
}

// showFindings lists the findings, with advice.
func showFindings(t *terminal.Terminal, r *check.Result) {
	for _, f := range r.Findings {
		style, word := terminal.Faint, "note"
		switch f.Level {
		case check.LevelFail:
			style, word = terminal.Bad, "FAIL"
		case check.LevelWarn:
			style, word = terminal.Warning, "warn"
		}
		where := f.Where()
		if where != "" {
			where += ": "
		}
		fmt.Fprintf(t.Out, "%s  %s\n", t.Styled(style, word), t.Wrap(indent, where+f.Message))
		if f.Advice != "" {
			fmt.Fprintf(t.Out, "      %s\n", t.Wrap(indent+3, "-> "+f.Advice))
		}
	}
}

// showReport shows a person the checks of many routes.
func showReport(t *terminal.Terminal, r *check.Report, source string, verbose bool) {
	rows := make([][]string, 0, len(r.Routes))
	for _, one := range r.Routes {
		days, what := "-", one.Verdict
		if one.DaysLeft != nil {
			days = strconv.Itoa(*one.DaysLeft)
		}
		switch one.State {
		case origin.Disabled, origin.Expired:
			what = "(" + string(one.State) + ") " + what
		}
		rows = append(rows, []string{mark(t, one.Status), printable.Text(one.Route), days, printable.Text(what)})
	}
	if len(rows) > 0 {
		t.Table([]string{"", "route", "days", "verdict"}, rows)
	}
	if verbose {
		for _, one := range r.Routes {
			fmt.Fprintln(t.Out)
			showResult(t, one, source)
		}
	}
	fmt.Fprintf(t.Out, "\n%s\n", t.Wrap(0, summaryLine(r.Summary, source)))
}

func summaryLine(s check.Summary, source string) string {
	line := fmt.Sprintf("%s: %d FAIL, %d warn, %d ok", count(s.Routes, "route"), s.Fail, s.Warn, s.OK)
	if s.Inactive > 0 {
		line += fmt.Sprintf("; %d disabled or expired", s.Inactive)
		if s.InactiveFail > 0 {
			line += fmt.Sprintf(", which do not count (%d of them fail)", s.InactiveFail)
		}
	}
	return line + "; in " + source
}
