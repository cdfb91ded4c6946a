package check

import (
	"crypto/x509"
	"encoding/json"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// Days are those of the certificate that expires first. People who sort by days would see it too late otherwise.
func TestDaysLeftAreOfTheCertificateThatEndsFirst(t *testing.T) {
	t.Parallel()
	probe := func(days int) Probe { return Probe{Status: OK, daysLeft: &days} }
	for _, origins := range [][]Origin{
		{{IPs: []Probe{probe(90), probe(3), probe(60)}}},
		{{IPs: []Probe{probe(90)}}, {IPs: []Probe{{Status: Fail}, probe(3)}}},
		{{IPs: []Probe{probe(3)}}, {IPs: []Probe{probe(90)}}},
	} {
		r := &Result{Host: "one.test", Client: &ClientDNS{LeadsTo: ToElsewhere}, Origins: origins}
		r.judge(t.Context(), &Checker{})
		if r.DaysLeft == nil || *r.DaysLeft != 3 {
			t.Errorf("%v days of %+v", r.DaysLeft, origins)
		}
	}
}

// The status of a route follows from its addresses: the proxy tries the next address if one cannot be reached, and not after an answer.
func TestJudgementGoesTheWayOfTheProxy(t *testing.T) {
	t.Parallel()
	var (
		ok        = Probe{Status: OK}
		aging     = Probe{Status: Warn, findings: []Finding{{Level: LevelWarn, Code: "expires_soon"}}}
		refused   = Probe{Status: Fail, findings: []Finding{{Level: LevelFail, Code: "connection_refused"}}}
		stranger  = Probe{Status: Fail, answered: true, findings: []Finding{{Level: LevelFail, Code: "wrong_name"}}}
		elsewhere = Probe{Status: Skipped, findings: []Finding{{Level: LevelNote, Code: "no_ipv6"}}}
	)
	for _, c := range []struct {
		name    string
		origins [][]Probe
		want    Status
		first   string // code of the first finding
	}{
		{"one works", [][]Probe{{ok}}, OK, ""},
		{"one of two addresses fails", [][]Probe{{ok, refused}}, Warn, "connection_refused"},
		{"one of two shows a wrong certificate", [][]Probe{{stranger, ok}}, Warn, "wrong_name"},
		{"none works", [][]Probe{{refused, refused}}, Fail, "connection_refused"},
		{"the first entry is down", [][]Probe{{refused}, {ok}}, Warn, "connection_refused"},
		{"the second entry is down", [][]Probe{{ok}, {refused}}, Warn, "connection_refused"},
		{"both are down", [][]Probe{{refused}, {refused}}, Fail, "connection_refused"},
		{"the first has a wrong certificate", [][]Probe{{stranger}, {ok}}, Fail, "wrong_name"},
		{"the second has a wrong certificate", [][]Probe{{ok}, {stranger}}, Warn, "wrong_name"},
		{"the first is down, the second wrong", [][]Probe{{refused}, {stranger}, {ok}}, Fail, "wrong_name"},
		{"no IPv6 here", [][]Probe{{ok, elsewhere}}, OK, "no_ipv6"},
		{"nothing but IPv6", [][]Probe{{elsewhere}}, Fail, "not_reachable_from_here"},
		{"no IPv6, and IPv4 fails", [][]Probe{{elsewhere, refused}}, Fail, "connection_refused"},
		{"ends soon", [][]Probe{{aging, ok}}, Warn, "expires_soon"},
		{"no such name", [][]Probe{{}}, Fail, "dns_not_found"},
		{"no such name, then one that works", [][]Probe{{}, {ok}}, Warn, "dns_not_found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Result{Host: "one.test", Client: &ClientDNS{LeadsTo: ToElsewhere}}
			for _, probes := range c.origins {
				o := Origin{IPs: probes}
				if len(probes) == 0 {
					o.dnsErr = &net.DNSError{IsNotFound: true}
				}
				r.Origins = append(r.Origins, o)
			}
			r.judge(t.Context(), &Checker{})
			code := ""
			if len(r.Findings) > 0 {
				code = r.Findings[0].Code
			}
			if r.Status != c.want || code != c.first {
				t.Errorf("%s %q, want %s %q; %+v", r.Status, code, c.want, c.first, r.Findings)
			}
		})
	}
}

// Many machines have no IPv6, and the proxy may have it. Each machine has IPv4.
func TestIPv4AddressWithoutARouteToItFails(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]bool{"192.0.2.1": false, "2001:db8::1": true} {
		f := &facts{ip: netip.MustParseAddr(ip), err: &sni.Error{Type: sni.DestinationIPUnroutable}}
		if got := isElsewhere(f); got != want {
			t.Errorf("%s: not to be judged from here: %v", ip, got)
		}
	}
}

// A certificate that expires soon harms nobody if another chain is valid without it.
func TestTheChainThatLastsLongestCounts(t *testing.T) {
	t.Parallel()
	until := func(days int) *x509.Certificate {
		return &x509.Certificate{NotAfter: time.Unix(0, 0).Add(time.Duration(days) * 24 * time.Hour)}
	}
	for _, chains := range [][][]*x509.Certificate{
		{{until(90), until(5)}, {until(90), until(40), until(300)}},
		{{until(90), until(40), until(300)}, {until(90), until(5)}},
	} {
		if days := daysLeft(endOf(longestLasting(chains)), time.Unix(0, 0)); days != 40 {
			t.Errorf("%d days", days)
		}
	}
	if longestLasting(nil) != nil {
		t.Error("a chain of no chains")
	}
	for _, c := range []struct {
		left time.Duration
		want int
	}{{47 * time.Hour, 1}, {time.Minute, 0}, {-time.Minute, -1}, {-25 * time.Hour, -2}} {
		if got := daysLeft(time.Unix(0, 0).Add(c.left), time.Unix(0, 0)); got != c.want {
			t.Errorf("%v: %d days, want %d", c.left, got, c.want)
		}
	}
}

// Each cause of pkg/sni has a finding with advice.
func TestCausesOfTheTransportAreTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                  string
		err                   sni.Error
		route                 origin.Route
		code, message, advice string
	}{
		{"renegotiation", sni.Error{Type: sni.TLSProtocolError, Err: sni.ErrRenegotiation}, origin.Route{},
			"renegotiation", "asks for TLS renegotiation", "in the first handshake, for the whole site, or offer TLS 1.3; then put a certificate"},
		{"renegotiation, with a client certificate", sni.Error{Type: sni.TLSProtocolError, Err: sni.ErrRenegotiation}, origin.Route{ClientCert: "shop"},
			"renegotiation", "asks for TLS renegotiation", "or offer TLS 1.3"},
		{"PING", sni.Error{Type: sni.ConnectionTerminated, Err: sni.ErrPingTimeout}, origin.Route{}, "ping_timeout", "did not answer an HTTP/2 PING", "leave h2 out of protocols"},
		{"GOAWAY", sni.Error{Type: sni.ConnectionTerminated, Err: &sni.ResetError{GoAway: true, Code: "ENHANCE_YOUR_CALM", Debug: "too \x1b[2Jmuch"}}, origin.Route{},
			"reset", `GOAWAY ENHANCE_YOUR_CALM: "too \x1b[2Jmuch"`, "leave h2 out of protocols"},
		{"RST_STREAM of an origin that has one name", sni.Error{Type: sni.HTTPProtocolError, Err: &sni.ResetError{Code: "PROTOCOL_ERROR"}}, origin.Route{},
			"reset", "RST_STREAM PROTOCOL_ERROR", "the origin's log"},
		{"RST_STREAM of Tomcat", sni.Error{Type: sni.HTTPProtocolError, Err: &sni.ResetError{Code: "PROTOCOL_ERROR"}}, origin.Route{ServerName: "lb.test"},
			"misdirected", "does not serve one.test under the server name lb.test", "use one name as server_name and Host: set host_header to lb.test"},
		{"GOAWAY of Tomcat", sni.Error{Type: sni.ConnectionTerminated, Err: &sni.ResetError{GoAway: true, Code: "PROTOCOL_ERROR"}}, origin.Route{ServerName: "lb.test"},
			"reset", "GOAWAY PROTOCOL_ERROR", "the origin's log"},
		{"HTTP/2 alone", sni.Error{Type: sni.TLSAlertReceived, Alert: noApplicationProtocol, Err: sni.ErrHTTP2Only}, origin.Route{},
			"http2_only", "speaks only HTTP/2", `set protocols to ["h2"]`},
	} {
		c.route.Scheme = "https"
		f := &facts{checker: &Checker{}, host: "one.test", route: &c.route, name: serverName(&c.route, "one.test"), err: &c.err, offered: []string{"http/1.1"}, now: time.Now()}
		all := advise(f)
		if len(all) != 1 || all[0].Code != c.code || all[0].Level != LevelFail || !strings.Contains(all[0].Message, c.message) || !strings.Contains(all[0].Advice, c.advice) {
			t.Errorf("%s: %+v", c.name, all)
		}
	}
}

func TestTimesAreToldInWholeUnits(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "less than a minute", 59 * time.Second: "less than a minute", time.Minute: "1 minute", 10*time.Minute + 30*time.Second: "10 minutes",
		time.Hour: "1 hour", 24*time.Hour - 1: "23 hours", 24 * time.Hour: "1 day", 48*time.Hour - 1: "1 day", 48*time.Hour + 1: "2 days",
	} {
		if got, ago := span(d), span(-d); got != want || ago != want {
			t.Errorf("%v: %q, and %q ago, want %q", d, got, ago, want)
		}
	}
	for days, want := range map[int]string{0: "less than a day more", 1: "1 more day", 2: "2 more days"} {
		if got := moreDays(days); got != want {
			t.Errorf("%d: %q", days, got)
		}
	}
}

// Half a character would be shown as another character. An invalid name would be copied into a command.
func FuzzTextsOfCertificates(f *testing.F) {
	for _, s := range []string{"one.test", "x; rm -rf", strings.Repeat("ü", 200), "\xff\xfe", "\x1b[2J", "http://ca.test/i.crt", "https://[::1]/", "a.test:1", "192.0.2.1"} {
		f.Add(s, 7)
	}
	f.Fuzz(func(t *testing.T, s string, n int) {
		if n < 0 || n > 1<<16 {
			return
		}
		got := cutAt(s, n)
		if len(got) > n+len("...") || utf8.ValidString(s) && !utf8.ValidString(got) || len(s) <= n && got != s {
			t.Errorf("%q cut at %d is %q", s, n, got)
		}
		for _, r := range sentence(s) {
			if !unicode.IsPrint(r) {
				t.Errorf("%q is told as %q", s, sentence(s))
			}
		}
		if name, ok := hostnameOf(s); ok && strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_.", r) }) {
			t.Errorf("%q is proposed as %q", s, name)
		}
		if u := issuerURL([]string{s}); u != "" && (!strings.HasPrefix(u, "http") || strings.ContainsAny(u, " \"<>`\n\x1b")) {
			t.Errorf("%q is told as %q", s, u)
		}
	})
}

// Scripts rely on these names.
func TestFieldsOfTheResultStay(t *testing.T) {
	t.Parallel()
	want := "host route state status verdict advice server_name host_header days_left checked_at took_ms " +
		"findings level code address ips message advice client cname addresses leads_to error took_ms " +
		"origins address status cname dns_ms error ips ip status error type message connect_ms tls_ms first_byte_ms " +
		"tls version cipher_suite alpn speaks_http2 server_name verified client_cert_wanted pins_matched verification_error " +
		"certificates subject names more_names issuer not_before not_after days_left key signature spki_sha256 authority presented verified " +
		"http protocol method path status location server " +
		"summary routes ok warn fail inactive inactive_fail"
	var names []string
	var walk func(reflect.Type)
	walk = func(v reflect.Type) {
		for v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct || v.PkgPath() != reflect.TypeFor[Result]().PkgPath() {
			return
		}
		for f := range v.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				names = append(names, name)
				walk(f.Type)
			} else if f.IsExported() {
				t.Errorf("%s.%s has no name in JSON", v, f.Name)
			}
		}
	}
	walk(reflect.TypeFor[Result]())
	walk(reflect.TypeFor[Summary]())
	names = append(names[:len(names)-6], append([]string{"summary"}, names[len(names)-6:]...)...)
	if got := strings.Join(names, " "); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if b, err := json.Marshal(Millis(1234567)); err != nil || string(b) != "1.235" {
		t.Errorf("%s, %v", b, err)
	}
}
