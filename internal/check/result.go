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

// Status is the outcome of a check.
type Status string

// The statuses, from good to bad. Skipped means that it could not be tried here, such as an IPv6 address on a machine without IPv6.
const (
	OK      Status = "ok"
	Skipped Status = "skipped"
	Warn    Status = "warn"
	Fail    Status = "fail"
)

// Level is the importance of a [Finding]. A note does not change the status.
type Level string

// The levels.
const (
	LevelNote Level = "note"
	LevelWarn Level = "warn"
	LevelFail Level = "fail"
)

// Finding is a fact for people, with advice.
type Finding struct {
	Level   Level    `json:"level"`
	Code    string   `json:"code"` // must not change; docs/check.md lists the codes
	Address string   `json:"address,omitempty"`
	IPs     []string `json:"ips,omitempty"`
	Message string   `json:"message"`
	Advice  string   `json:"advice,omitempty"`
}

// Millis is a duration. In JSON it is in milliseconds.
type Millis time.Duration

// MarshalJSON writes milliseconds, with three digits after the point.
func (m Millis) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", time.Duration(m).Seconds()*1000), nil
}

func took(since time.Time) Millis { return Millis(time.Since(since)) }

// Result is the result of the check of one route. docs/check.md documents its form in JSON, which changes only by additions.
type Result struct {
	Host       string       `json:"host"`  // the name that was checked
	Route      string       `json:"route"` // the key of the route
	State      origin.State `json:"state"` // usable, disabled, expired or invalid
	Status     Status       `json:"status"`
	Verdict    string       `json:"verdict"`          // one line
	Advice     string       `json:"advice,omitempty"` // what to do first
	ServerName string       `json:"server_name,omitempty"`
	HostHeader string       `json:"host_header,omitempty"`
	DaysLeft   *int         `json:"days_left"` // of the certificate that expires first; null if no chain verified
	CheckedAt  time.Time    `json:"checked_at"`
	Took       Millis       `json:"took_ms"`
	Findings   []Finding    `json:"findings"`
	Client     *ClientDNS   `json:"client,omitempty"`
	Origins    []Origin     `json:"origins"`
}

// ClientDNS is where DNS leads the clients of the host.
type ClientDNS struct {
	CNAME     string   `json:"cname,omitempty"`
	Addresses []string `json:"addresses"`
	LeadsTo   LeadsTo  `json:"leads_to"`
	Error     string   `json:"error,omitempty"`
	Took      Millis   `json:"took_ms"`

	ips []netip.Addr
}

// LeadsTo is a place where the DNS of a host can lead.
type LeadsTo string

// The places.
const (
	ToTarget    LeadsTo = "target"    // one of the names and addresses of the proxy
	ToOrigin    LeadsTo = "origin"    // clients bypass the proxy
	ToNowhere   LeadsTo = "nowhere"   // the name does not exist, or has no address
	ToElsewhere LeadsTo = "elsewhere" // this may be the proxy, if no target was given
	ToUnknown   LeadsTo = "unknown"   // DNS did not answer
)

// Origin is the result for one entry of a route's origin.
type Origin struct {
	Address string  `json:"address"` // with the port
	Status  Status  `json:"status"`
	CNAME   string  `json:"cname,omitempty"`
	DNS     *Millis `json:"dns_ms,omitempty"` // absent for an IP address
	Error   string  `json:"error,omitempty"`  // of the lookup
	IPs     []Probe `json:"ips"`

	name    string
	dnsErr  error
	left    int  // number of addresses that were left out
	refused bool // the proxy refuses http:// before it looks the name up
}

// Probe is the result for one IP address.
type Probe struct {
	IP           string        `json:"ip"`
	Status       Status        `json:"status"`
	Error        *Failure      `json:"error,omitempty"`
	Connect      *Millis       `json:"connect_ms,omitempty"`
	Handshake    *Millis       `json:"tls_ms,omitempty"`
	FirstByte    *Millis       `json:"first_byte_ms,omitempty"`
	TLS          *TLS          `json:"tls,omitempty"`
	Certificates []Certificate `json:"certificates,omitempty"` // the origin's own certificate first
	HTTP         *HTTP         `json:"http,omitempty"`

	findings []Finding
	daysLeft *int
	answered bool // there was a connection or a wrong certificate, so that the proxy tries no other address
}

// Failure is the proxy's error.
type Failure struct {
	Type    string `json:"type"` // the error type of RFC 9209, as in Proxy-Status
	Message string `json:"message"`
}

// TLS is the result of the handshake.
type TLS struct {
	Version           string   `json:"version,omitempty"`
	CipherSuite       string   `json:"cipher_suite,omitempty"`
	ALPN              string   `json:"alpn,omitempty"`
	SpeaksHTTP2       *bool    `json:"speaks_http2,omitempty"` // whether it would agree to h2; absent if that is not known
	ServerName        string   `json:"server_name"`
	Verified          bool     `json:"verified"`
	ClientCertWanted  bool     `json:"client_cert_wanted"`
	PinsMatched       []string `json:"pins_matched,omitempty"`
	VerificationError string   `json:"verification_error,omitempty"`
}

// HTTP is the response.
type HTTP struct {
	Protocol string `json:"protocol"`
	Method   string `json:"method"`
	Path     string `json:"path"`
	Status   int    `json:"status"`
	Location string `json:"location,omitempty"`
	Server   string `json:"server,omitempty"`
}

// add adds a finding. It bounds the sentences and makes them safe for terminals, because they have text from origins.
func (r *Result) add(f Finding) {
	f.Message, f.Advice = sentence(f.Message), sentence(f.Advice)
	r.Findings = append(r.Findings, f)
}

// InForce reports whether the proxy uses the route now. A disabled or expired route is checked too, but its failure harms nobody.
func (r *Result) InForce() bool { return r.State == origin.Usable || r.State == origin.Invalid }

// CannotWork reports whether requests through the route fail until somebody changes the route or the origin. An origin that answers with
// a server error may recover by itself. Requests should not go to an origin that cannot be reached or does not prove its name.
func (r *Result) CannotWork() bool {
	return r.Status == Fail && slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Level == LevelFail && f.Code != codeServerError
	})
}

// judge sets the status from the findings. It follows the proxy's order: the proxy tries the next address if an address cannot be
// reached, and not after an answer, even if the certificate does not verify. Findings about addresses that the proxy would not
// reach are warnings at most.
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
			Advice: "check from a machine that has IPv6, and make sure that the proxy has it too"})
	}
	for _, f := range c.clientFindings(ctx, r) {
		r.add(f)
	}
	r.conclude()
}

// conclude sets the verdict and the advice from the findings, and puts the worst finding first.
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

// Where returns the addresses of a finding, as a short text.
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

// summary returns the verdict of a route that works.
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

// findings returns the findings of the entry. The same finding about several addresses is returned once.
func (o *Origin) findings() []Finding {
	var all []Finding
	switch {
	case o.dnsErr == nil && len(o.IPs) > 0:
	case o.refused:
		all = append(all, plainHTTPRefused)
	default:
		all = append(all, dnsFinding(o))
	}
	if o.left > 0 {
		all = append(all, Finding{Level: LevelNote, Code: "many_addresses", Message: fmt.Sprintf("%d more addresses of the name were not tried", o.left)})
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

// works reports whether the entry answers requests.
func (o *Origin) works() bool {
	return slices.ContainsFunc(o.IPs, func(p Probe) bool { return p.Status == OK || p.Status == Warn })
}

// ends reports whether the entry fails so that the proxy tries no other entry.
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

// sooner returns the smaller number. Nil means no number.
func sooner(a, b *int) *int {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

// byUrgency orders results: routes in force that fail, then warnings, then the rest. In each group the certificate that expires first
// comes first, and then the order is by name.
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
