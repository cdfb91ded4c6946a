package demo

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// trace records the steps of one request of the proxy to its origin.
type trace struct {
	mu        sync.Mutex
	dialled   string // the address in the route
	ip        string
	dns       time.Duration
	connect   time.Duration
	handshake time.Duration
	firstByte time.Duration
	total     time.Duration
	tls       *tls.ConnectionState

	dnsStart, connectStart, connected, sent time.Time
}

// wrap returns a transport that records its request in t. It is for one request.
func (t *trace) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := httptrace.WithClientTrace(r.Context(), t.hooks())
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (t *trace) hooks() *httptrace.ClientTrace {
	at := func(f func(now time.Time)) {
		t.mu.Lock()
		defer t.mu.Unlock()
		f(time.Now())
	}
	return &httptrace.ClientTrace{
		DNSStart:     func(httptrace.DNSStartInfo) { at(func(now time.Time) { t.dnsStart = now }) },
		DNSDone:      func(httptrace.DNSDoneInfo) { at(func(now time.Time) { t.dns = now.Sub(t.dnsStart) }) },
		ConnectStart: func(string, string) { at(func(now time.Time) { t.connectStart = now }) },
		ConnectDone: func(_, address string, err error) {
			at(func(now time.Time) {
				if err == nil {
					t.ip, t.connect, t.connected = address, now.Sub(t.connectStart), now
				}
			})
		},
		TLSHandshakeDone: func(state tls.ConnectionState, err error) {
			at(func(now time.Time) {
				if err == nil {
					t.tls, t.handshake = &state, now.Sub(t.connected)
				}
			})
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { at(func(now time.Time) { t.sent = now }) },
		GotFirstResponseByte: func() { at(func(now time.Time) { t.firstByte = now.Sub(t.sent) }) },
	}
}

// print writes the trace for people.
func (t *trace) print(out io.Writer, asked string, resp *http.Response) {
	t.mu.Lock()
	defer t.mu.Unlock()
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("asked for", "%s", asked)
	if t.ip != "" {
		row("dialled", "%s (%s)", t.dialled, t.ip)
	}
	if t.tls != nil {
		leaf := t.tls.PeerCertificates[0]
		root := t.tls.VerifiedChains[0][len(t.tls.VerifiedChains[0])-1]
		row("SNI sent", "%s", t.tls.ServerName)
		row("verified", "certificate for %s, issued by %q", strings.Join(leaf.DNSNames, ", "), root.Subject.CommonName)
		row("protocol", "%s over %s", protocol(t.tls), tls.VersionName(t.tls.Version))
	}
	row("status", "%s", resp.Status)
	row("time", "DNS %s, connect %s, TLS %s, first byte %s; %s in all", ms(t.dns), ms(t.connect), ms(t.handshake), ms(t.firstByte), ms(t.total))
	table.Flush()
}

func protocol(state *tls.ConnectionState) string {
	if state.NegotiatedProtocol == "h2" {
		return "HTTP/2"
	}
	return "HTTP/1.1"
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
