package check

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// Status is what a check comes to.
type Status string

// The statuses, from good to bad. Skipped is what could not be tried from here, which says
// nothing of it: an IPv6 address, on a machine that has no IPv6.
const (
	OK      Status = "ok"
	Skipped Status = "skipped"
	Warn    Status = "warn"
	Fail    Status = "fail"
)

// Level is how much a [Finding] matters. A note changes no status.
type Level string

// The levels.
const (
	LevelNote Level = "note"
	LevelWarn Level = "warn"
	LevelFail Level = "fail"
)

// Finding is something to know, and what to do about it.
type Finding struct {
	Level   Level    `json:"level"`
	Code    string   `json:"code"` // stable; docs/check.md lists them
	Address string   `json:"address,omitempty"`
	IPs     []string `json:"ips,omitempty"`
	Message string   `json:"message"`
	Advice  string   `json:"advice,omitempty"`
}

// Millis is a time that something took, in milliseconds in JSON.
type Millis time.Duration

// MarshalJSON writes milliseconds with three digits after the point.
func (m Millis) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", time.Duration(m).Seconds()*1000), nil
}

func took(since time.Time) Millis { return Millis(time.Since(since)) }

// Result is what came of the check of one route. Its form in JSON is documented in docs/check.md, and
// is not changed but by additions.
type Result struct {
	Host       string       `json:"host"`  // the name that was checked
	Route      string       `json:"route"` // the key of the route
	State      origin.State `json:"state"` // usable, disabled, expired or invalid
	Status     Status       `json:"status"`
	Verdict    string       `json:"verdict"`          // in one line
	Advice     string       `json:"advice,omitempty"` // what to do first
	ServerName string       `json:"server_name,omitempty"`
	HostHeader string       `json:"host_header,omitempty"`
	DaysLeft   *int         `json:"days_left"` // of the certificate that ends first; null where none verified
	CheckedAt  time.Time    `json:"checked_at"`
	Took       Millis       `json:"took_ms"`
	Findings   []Finding    `json:"findings"`
	Client     *Client      `json:"client,omitempty"`
	Origins    []Origin     `json:"origins"`
}

// Client is where clients of the host are led to by DNS.
type Client struct {
	CNAME     string   `json:"cname,omitempty"`
	Addresses []string `json:"addresses"`
	LeadsTo   LeadsTo  `json:"leads_to"`
	Error     string   `json:"error,omitempty"`
	Took      Millis   `json:"took_ms"`

	ips []netip.Addr
}

// LeadsTo says where the DNS of a host leads to.
type LeadsTo string

// Where it may lead to.
const (
	ToTarget    LeadsTo = "target"    // to what was said to be the proxy
	ToOrigin    LeadsTo = "origin"    // past the proxy
	ToNowhere   LeadsTo = "nowhere"   // there is no such name, or it has no address
	ToElsewhere LeadsTo = "elsewhere" // which may be the proxy, where nobody said what that is
	ToUnknown   LeadsTo = "unknown"   // DNS did not answer
)

// Origin is one entry of a route's origin.
type Origin struct {
	Address string  `json:"address"` // with its port
	Status  Status  `json:"status"`
	CNAME   string  `json:"cname,omitempty"`
	DNS     *Millis `json:"dns_ms,omitempty"` // absent for an IP address
	Error   string  `json:"error,omitempty"`  // of the look-up
	IPs     []Probe `json:"ips"`

	name   string
	dnsErr error
	left   int // how many addresses were left out
}

// Probe is what came of one IP address.
type Probe struct {
	IP           string        `json:"ip"`
	Status       Status        `json:"status"`
	Error        *Failure      `json:"error,omitempty"`
	Connect      *Millis       `json:"connect_ms,omitempty"`
	Handshake    *Millis       `json:"tls_ms,omitempty"`
	FirstByte    *Millis       `json:"first_byte_ms,omitempty"`
	TLS          *TLS          `json:"tls,omitempty"`
	Certificates []Certificate `json:"certificates,omitempty"` // the origin's own first
	HTTP         *HTTP         `json:"http,omitempty"`

	findings []Finding
	daysLeft *int
	answered bool // there was a connection, or a wrong certificate: the proxy goes on to no other address
}

// Failure is an error as the proxy has it.
type Failure struct {
	Type    string `json:"type"` // RFC 9209, as in the proxy's Proxy-Status
	Message string `json:"message"`
}

// TLS is what was agreed on in the handshake.
type TLS struct {
	Version           string   `json:"version,omitempty"`
	CipherSuite       string   `json:"cipher_suite,omitempty"`
	ALPN              string   `json:"alpn,omitempty"`
	SpeaksHTTP2       *bool    `json:"speaks_http2,omitempty"` // whether it would if the route listed h2 first; absent if not known
	ServerName        string   `json:"server_name"`
	Verified          bool     `json:"verified"`
	ClientCertWanted  bool     `json:"client_cert_wanted"`
	PinsMatched       []string `json:"pins_matched,omitempty"`
	VerificationError string   `json:"verification_error,omitempty"`
}

// HTTP is the answer to the request.
type HTTP struct {
	Protocol string `json:"protocol"`
	Method   string `json:"method"`
	Path     string `json:"path"`
	Status   int    `json:"status"`
	Location string `json:"location,omitempty"`
	Server   string `json:"server,omitempty"`
}

// add takes a finding in, with its sentences bounded and safe for terminals: they have strangers' words.
func (r *Result) add(f Finding) {
	f.Message, f.Advice = sentence(f.Message), sentence(f.Advice)
	r.Findings = append(r.Findings, f)
}

// InForce reports whether the route is what the proxy uses now. One that is disabled or expired is
// checked, but its failure hurts nobody.
func (r *Result) InForce() bool { return r.State == origin.Usable || r.State == origin.Invalid }

// CannotWork reports whether requests through the route would fail for as long as neither it nor the
// origin is changed. An origin that answers with a server error may be having a bad moment; one
// that cannot be reached, or does not prove its name, is not where requests should be sent.
func (r *Result) CannotWork() bool {
	return r.Status == Fail && slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Level == LevelFail && f.Code != codeServerError
	})
}

// judge comes to a conclusion about what was found, by the way that the proxy goes: on to the
// next address where one cannot be reached, but not where one has answered, be it with a certificate
// that does not verify. What is not on that way is worth a warning at most.
func (r *Result) judge(ctx context.Context, c *Checker) {
	decisive, works := -1, false
	for i := range r.Origins {
		o := &r.Origins[i]
		o.conclude()
		if decisive < 0 && (o.works() || o.ends()) {
			decisive, works = i, o.works()
		}
	}
	failed := false
	for i := range r.Origins {
		for _, f := range r.Origins[i].findings() {
			if f.Level == LevelFail && decisive >= 0 && (works || i != decisive) {
				f.Level = LevelWarn
			}
			failed = failed || f.Level == LevelFail
			r.add(f)
		}
		for _, p := range r.Origins[i].IPs {
			r.DaysLeft = sooner(r.DaysLeft, p.daysLeft)
		}
	}
	if decisive < 0 && !failed {
		r.add(Finding{Level: LevelFail, Code: "not_reachable_from_here", Message: "none of the origin's addresses can be reached from this machine",
			Advice: "check from a machine that has IPv6, and see that the proxy has it too"})
	}
	for _, f := range c.clientFindings(ctx, r) {
		r.add(f)
	}
	r.conclude()
}

// conclude sets what follows from the findings, and puts the worst first.
func (r *Result) conclude() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(b.Level.rank(), a.Level.rank()) })
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	r.Status = OK
	if len(r.Findings) > 0 {
		r.Status = r.Findings[0].Level.status()
	}
	if r.Status == OK {
		r.Verdict = r.summary()
		return
	}
	first := r.Findings[0]
	r.Verdict, r.Advice = first.Message, first.Advice
	if where := first.Where(); where != "" {
		r.Verdict += " (at " + where + ")"
	}
}

// Where names the addresses that a finding is about, in short.
func (f Finding) Where() string {
	switch len(f.IPs) {
	case 0:
		return f.Address
	case 1:
		if strings.HasPrefix(strings.Trim(f.Address, "["), f.IPs[0]) {
			return f.Address
		}
		return f.Address + ", " + f.IPs[0]
	}
	return fmt.Sprintf("%s, %s and %d more", f.Address, f.IPs[0], len(f.IPs)-1)
}

// summary says what works.
func (r *Result) summary() string {
	ips, status := 0, 0
	for _, o := range r.Origins {
		for _, p := range o.IPs {
			if p.Status == OK || p.Status == Warn {
				ips++
				if p.HTTP != nil && status == 0 {
					status = p.HTTP.Status
				}
			}
		}
	}
	s := fmt.Sprintf("works at %d %s", ips, plural(ips, "address", "addresses"))
	if r.DaysLeft != nil {
		s += ", certificate for " + moreDays(*r.DaysLeft)
	}
	if status != 0 {
		s += fmt.Sprintf(", HTTP %d", status)
	}
	return s
}

// findings are those of the entry, of which the same about several addresses is one.
func (o *Origin) findings() []Finding {
	var all []Finding
	if o.dnsErr != nil || len(o.IPs) == 0 {
		all = append(all, dnsFinding(o))
	}
	if o.left > 0 {
		all = append(all, Finding{Level: LevelNote, Code: "many_addresses", Message: fmt.Sprintf("%d more addresses of it were not tried", o.left)})
	}
	for _, p := range o.IPs {
		for _, f := range p.findings {
			i := slices.IndexFunc(all, func(other Finding) bool {
				return other.Code == f.Code && other.Level == f.Level && other.Message == f.Message && other.Advice == f.Advice
			})
			if i < 0 {
				i = len(all)
				all = append(all, f)
			}
			all[i].IPs = append(all[i].IPs, p.IP)
		}
	}
	for i := range all {
		all[i].Address = o.Address
	}
	return all
}

// works reports whether requests that come to the entry are answered.
func (o *Origin) works() bool {
	return slices.ContainsFunc(o.IPs, func(p Probe) bool { return p.Status == OK || p.Status == Warn })
}

// ends reports whether the proxy goes on to no other entry although this one does not work.
func (o *Origin) ends() bool {
	return slices.ContainsFunc(o.IPs, func(p Probe) bool { return p.Status == Fail && p.answered })
}

func (o *Origin) conclude() {
	o.Status = Fail
	for i, p := range o.IPs {
		if i == 0 || p.Status.rank() > o.Status.rank() {
			o.Status = p.Status
		}
	}
	if o.Status == Fail && o.works() {
		o.Status = Warn
	}
}

func (s Status) rank() int { return slices.Index([]Status{OK, Skipped, Warn, Fail}, s) }
func (l Level) rank() int  { return slices.Index([]Level{LevelNote, LevelWarn, LevelFail}, l) }

func (l Level) status() Status {
	return map[Level]Status{LevelNote: OK, LevelWarn: Warn, LevelFail: Fail}[l]
}

// sooner returns the lesser, where nil is none.
func sooner(a, b *int) *int {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

// byUrgency orders what fails in force before what warns, and that before the rest; within each,
// by how soon a certificate ends, then by name.
func byUrgency(a, b *Result) int {
	urgency := func(r *Result) int {
		if !r.InForce() {
			return 0
		}
		return r.Status.rank() + 1
	}
	days := func(r *Result) int {
		if r.DaysLeft == nil || r.Status == Fail {
			return 1 << 30
		}
		return *r.DaysLeft
	}
	return cmp.Or(cmp.Compare(urgency(b), urgency(a)), cmp.Compare(days(a), days(b)), cmp.Compare(a.Route, b.Route), cmp.Compare(a.Host, b.Host))
}
