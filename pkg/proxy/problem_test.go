package proxy

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// causes has errors, and the name of the row that is for each.
var causes = []struct {
	err  error
	name string
}{
	{fmt.Errorf("%w: %w", ErrClientGone, context.Canceled), "client-gone"},
	{&HookError{Err: errors.New("odd")}, "hook-failed"},
	{&HookError{Status: 503, Err: ErrResponseTooLarge}, "hook-failed"},
	{&badHostError{errors.New("odd")}, "bad-host"},
	{ErrBadRequest, "bad-request"},
	{ErrInvocation, "unsupported-event"},
	{ErrMethod, "method-not-allowed"},
	{ErrURLTooLong, "url-too-long"},
	{&RequestTooLargeError{ErrURLTooLong, 8192}, "url-too-long"},
	{ErrHeaderTooLarge, "request-header-too-large"},
	{&RequestTooLargeError{ErrHeaderTooLarge, 8192}, "request-header-too-large"},
	{ErrTooManyFields, "too-many-request-headers"},
	{&RequestTooLargeError{ErrTooManyFields, 256}, "too-many-request-headers"},
	{ErrBodyTooLarge, "request-body-too-large"},
	{&RequestTooLargeError{ErrBodyTooLarge, 8192}, "request-body-too-large"},
	{fmt.Errorf("%w: its body: %w", ErrBadRequest, &http.MaxBytesError{Limit: 8192}), "request-body-too-large"},
	{ErrBusy, "busy"},
	{fmt.Errorf("%w: its body: %w", ErrBadRequest, ErrSlowBody), "request-body-timeout"},
	{ErrUpgrade, "upgrade-unsupported"},
	{ErrUpgradeProtocol, "upgrade-not-in-route"},
	{ErrUpgradeMismatch, "wrong-upgrade"},
	{failed(sni.HTTPUpgradeFailed, ""), "wrong-upgrade"},
	{ErrLoop, "loop"},
	{&lookupError{"a.test", origin.ErrNotFound}, "unknown-host"},
	{&sni.Error{Type: sni.ProxyInternalError, Err: fmt.Errorf("translate: %w", origin.ErrNotFound)}, "unknown-host"},
	{&lookupError{"a.test", &origin.InvalidRouteError{Host: "a.test", Attribute: "origin", Reason: "is odd"}}, "invalid-route"},
	{&lookupError{"a.test", errors.New("down")}, "routes-unavailable"},
	{&lookupError{"a.test", context.DeadlineExceeded}, "routes-unavailable"},
	{ErrIncompleteResponse, "incomplete-response"},
	{fmt.Errorf("%w: %w", ErrIncompleteResponse, failed(sni.ConnectionTerminated, "")), "incomplete-response"},
	{ErrResponseTooLarge, "response-too-large"},
	{&ResponseTooLargeError{8192}, "response-too-large"},
	{ErrResponseHeaderTooLarge, "response-header-too-large"},
	{ErrResponseStalled, "origin-stalled"},
	{ErrUploadStalled, "upload-stalled"},
	{fmt.Errorf("%w: %w", ErrTimeout, failed(sni.HTTPResponseTimeout, "")), "time-budget"},
	{context.DeadlineExceeded, "origin-timeout"},
	{failed(sni.DNSError, ""), "origin-dns-error"},
	{failed(sni.DNSTimeout, ""), "origin-dns-timeout"},
	{failed(sni.DestinationIPProhibited, ""), "origin-address-prohibited"},
	{failed(sni.DestinationIPUnroutable, ""), "origin-unroutable"},
	{failed(sni.ConnectionRefused, ""), "origin-refused"},
	{failed(sni.ConnectionTerminated, ""), "origin-closed"},
	{failed(sni.ConnectionLimitReached, ""), "origin-connection-limit"},
	{caused(sni.ConnectionLimitReached, sni.ErrConnLimit), "origin-connection-limit"},
	{caused(sni.ProxyInternalError, sni.ErrNoDescriptors), "no-file-descriptors"},
	{caused(sni.TLSProtocolError, sni.ErrRenegotiation), "origin-renegotiates"},
	{caused(sni.HTTPProtocolError, sni.ErrHTTP2Only), "origin-http2-only"},
	{&sni.Error{Type: sni.TLSAlertReceived, Alert: noApplicationProtocol, Err: sni.ErrHTTP2Only}, "origin-http2-only"},
	{&sni.Error{Type: sni.TLSAlertReceived, Alert: noApplicationProtocol, Err: errors.New("no")}, "origin-no-common-protocol"},
	{caused(sni.ConnectionTerminated, sni.ErrPingTimeout), "origin-ping-timeout"},
	{caused(sni.ConnectionTerminated, &sni.ResetError{Code: "ENHANCE_YOUR_CALM", GoAway: true}), "origin-reset"},
	{caused(sni.HTTPProtocolError, &sni.ResetError{Code: "PROTOCOL_ERROR"}), "origin-reset"},
	{fmt.Errorf("%w: %w", ErrIncompleteResponse, caused(sni.ConnectionTerminated, &sni.ResetError{Code: "CANCEL"})), "incomplete-response"},
	{failed(sni.ConnectionTimeout, ""), "origin-connect-timeout"},
	{failed(sni.TLSProtocolError, ""), "origin-tls-error"},
	{failed(sni.TLSAlertReceived, ""), "origin-tls-alert"},
	{failed(sni.HTTPRequestError, ""), "unsendable-request"},
	{failed(sni.HTTPResponseTimeout, ""), "origin-timeout"},
	{failed(sni.HTTPProtocolError, ""), "origin-protocol-error"},
	{failed(sni.HTTPResponseHeaderSectionSize, ""), "response-header-too-large"},
	{failed(sni.ProxyConfigurationError, ""), "unusable-route"},
	{failed(sni.ProxyInternalError, ""), "proxy-fault"},
	{failed(sni.TLSCertificateError, ""), "invalid-certificate"},
	{failed(sni.TLSCertificateError, sni.Expired), "expired-certificate"},
	{failed(sni.TLSCertificateError, sni.NotYetValid), "premature-certificate"},
	{failed(sni.TLSCertificateError, sni.UnknownAuthority), "untrusted-certificate"},
	{failed(sni.TLSCertificateError, sni.WrongName), "wrong-certificate-name"},
	{failed(sni.TLSCertificateError, sni.WrongUsage), "wrong-certificate-usage"},
	{failed(sni.TLSCertificateError, sni.NameConstraint), "constrained-certificate"},
	{failed(sni.TLSCertificateError, sni.WeakKey), "weak-certificate-key"},
	{failed(sni.TLSCertificateError, sni.InsecureSignature), "insecure-certificate-signature"},
	{failed(sni.TLSCertificateError, sni.PinMismatch), "pin-mismatch"},
	{failed(sni.TLSCertificateError, sni.Malformed), "malformed-certificate"},
	{failed(sni.TLSCertificateError, sni.Invalid), "invalid-certificate"},
	{errNoResponse, "origin-timeout"},
	{ErrSlowClient, "client-too-slow"},
	{ErrWebSocketIdle, "websocket-idle"},
	{errors.New("boom"), "proxy-fault"},
	{context.Canceled, "proxy-fault"}, // although the client has not gone
}

// failed returns an error of pkg/sni with a timeout as its cause. Its type says more.
func failed(errorType sni.ErrorType, reason sni.CertificateReason) error {
	err := context.DeadlineExceeded
	if reason != "" {
		err = &sni.CertificateError{Reason: reason, Err: errors.New("secret")}
	}
	return &sni.Error{Type: errorType, ServerName: "a.test", Err: err}
}

// caused returns an error of pkg/sni whose cause says more than its type.
func caused(errorType sni.ErrorType, cause error) error {
	return &sni.Error{Type: errorType, ServerName: "a.test", Err: fmt.Errorf("exchange: %w", cause)}
}

// If a client repeats a POST at once, the origin must not process it twice.
func TestRetryAtOnceNeedsAnUnprocessedRequest(t *testing.T) {
	t.Parallel()
	for _, p := range problems {
		if p.retry == retryNow {
			t.Errorf("%s says %q of every request", p.name, p.retry)
		}
	}
	said := 0
	for _, c := range causes {
		e, ok := errors.AsType[*sni.Error](c.err)
		if !ok {
			continue
		}
		unprocessed := *e
		unprocessed.Unprocessed = true
		before, after := answerTo("a.test", e), answerTo("a.test", fmt.Errorf("wrapped: %w", &unprocessed))
		switch {
		case before.retry != before.problem.retry:
			t.Errorf("%v: %q, although it may have been carried out", e, before.retry)
		case before.retry == retryIfSafe && after.retry != retryNow, before.retry != retryIfSafe && after.retry != before.retry:
			t.Errorf("%v: %q, and %q if it was not carried out", e, before.retry, after.retry)
		case after.retry == retryNow:
			said++
		}
	}
	if said == 0 {
		t.Error("no cause is one to try again at once")
	}
}

// The text of a GOAWAY may be about another client's request. Only the log has it.
func TestClientsSeeOnlyTheCodeOfAReset(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{"ENHANCE_YOUR_CALM": "ENHANCE_YOUR_CALM", "PROTOCOL_ERROR": "PROTOCOL_ERROR", "": "unknown", "<b>": "unknown", "{host}": "unknown"} {
		a := answerTo("a.test", caused(sni.ConnectionTerminated, &sni.ResetError{GoAway: true, Code: code, Debug: "cookie: sid=1"}))
		if body := a.json("id"); a.name != "origin-reset" || !strings.Contains(body, "with the error "+want+".") || strings.Contains(body, "sid") {
			t.Errorf("%q: %s", code, body)
		}
	}
}

func TestEachCauseHasItsRowAndEachRowACause(t *testing.T) {
	t.Parallel()
	reached := map[string]bool{}
	for _, c := range causes {
		for _, err := range []error{c.err, fmt.Errorf("wrapped: %w", c.err), errors.Join(errors.New("and"), c.err)} {
			if got := answerTo("a.test", err); got.name != c.name {
				t.Errorf("%v leads to %s, want %s", err, got.name, c.name)
			}
		}
		reached[c.name] = true
	}
	for _, p := range problems {
		if !reached[p.name] {
			t.Errorf("no error leads to %s", p.name)
		}
	}
}

// constants returns the values of the exported constants of a type in pkg/sni, by name.
func constants(t *testing.T, typeName string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, f := range parsed(t, "../sni") {
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.ValueSpec)
			if !ok || len(s.Values) != 1 {
				return true
			}
			literal, isLiteral := s.Values[0].(*ast.BasicLit)
			if id, ok := s.Type.(*ast.Ident); ok && id.Name == typeName && isLiteral {
				value, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				all[s.Names[0].Name] = value
			}
			return true
		})
	}
	if len(all) < 5 {
		t.Fatalf("only %d constants of type %s were found", len(all), typeName)
	}
	return all
}

func parsed(t *testing.T, dir string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatal(err, names)
	}
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// A new type or reason of pkg/sni needs a row of its own, and must not become a fault of the proxy.
func TestEveryTypeAndReasonOfTheTransportHasARow(t *testing.T) {
	t.Parallel()
	for name, value := range constants(t, "ErrorType") {
		got := answerTo("a.test", failed(sni.ErrorType(value), ""))
		if (got.name == "proxy-fault") != (value == string(sni.ProxyInternalError)) {
			t.Errorf("sni.%s leads to %s", name, got.name)
		}
		if string(got.errorType) != value {
			t.Errorf("sni.%s is told as %s", name, got.errorType)
		}
	}
	seen := map[string]string{}
	for name, value := range constants(t, "CertificateReason") {
		got := answerTo("a.test", failed(sni.TLSCertificateError, sni.CertificateReason(value)))
		if (got.name == "invalid-certificate") != (value == string(sni.Invalid)) || seen[got.name] != "" {
			t.Errorf("sni.%s leads to %s, as does %q", name, got.name, seen[got.name])
		}
		seen[got.name] = name
	}
}

func TestEveryExportedCauseHasARow(t *testing.T) {
	t.Parallel()
	known := map[string]error{
		"ErrBadRequest": ErrBadRequest, "ErrInvocation": ErrInvocation, "ErrMethod": ErrMethod, "ErrURLTooLong": ErrURLTooLong, "ErrHeaderTooLarge": ErrHeaderTooLarge, "ErrBodyTooLarge": ErrBodyTooLarge,
		"ErrSlowBody": ErrSlowBody, "ErrUpgrade": ErrUpgrade, "ErrUpgradeProtocol": ErrUpgradeProtocol, "ErrUpgradeMismatch": ErrUpgradeMismatch, "ErrLoop": ErrLoop, "ErrIncompleteResponse": ErrIncompleteResponse,
		"ErrResponseTooLarge": ErrResponseTooLarge, "ErrResponseHeaderTooLarge": ErrResponseHeaderTooLarge, "ErrResponseStalled": ErrResponseStalled, "ErrUploadStalled": ErrUploadStalled,
		"ErrTimeout": ErrTimeout, "ErrClientGone": ErrClientGone, "ErrSlowClient": ErrSlowClient, "ErrTooManyFields": ErrTooManyFields, "ErrWebSocketIdle": ErrWebSocketIdle, "ErrBusy": ErrBusy,
	}
	found := 0
	for _, f := range parsed(t, ".") {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				name := s.(*ast.ValueSpec).Names[0].Name
				if !strings.HasPrefix(name, "Err") {
					continue
				}
				found++
				if err := known[name]; err == nil {
					t.Errorf("%s is not in this test", name)
				} else if got := answerTo("", err).name; got == "proxy-fault" {
					t.Errorf("%s has no row", name)
				}
			}
		}
	}
	if found != len(known) {
		t.Errorf("%d causes were found, want %d", found, len(known))
	}
}

// recommended are the statuses that RFC 9209 section 2.3 recommends; 4 stands for any 4xx.
var recommended = map[sni.ErrorType]int{
	sni.DNSTimeout: 504, sni.DNSError: 502, destinationNotFound: 500, sni.DestinationIPProhibited: 502, sni.DestinationIPUnroutable: 502,
	sni.ConnectionRefused: 502, sni.ConnectionTerminated: 502, sni.ConnectionTimeout: 504, connectionWriteTimeout: 504, sni.ConnectionLimitReached: 503,
	sni.TLSProtocolError: 502, sni.TLSCertificateError: 502, sni.TLSAlertReceived: 502, sni.HTTPRequestError: 4, httpRequestDenied: 403,
	httpResponseIncomplete: 502, sni.HTTPResponseHeaderSectionSize: 502, httpResponseBodySize: 502, sni.HTTPResponseTimeout: 504, httpUpgradeFailed: 502,
	sni.HTTPProtocolError: 502, sni.ProxyInternalError: 500, sni.ProxyConfigurationError: 500, proxyLoopDetected: 502,
}

func TestRowsAreComplete(t *testing.T) {
	t.Parallel()
	deviate := []string{"busy", "unknown-host", "method-not-allowed", "upgrade-unsupported", "upgrade-not-in-route", "routes-unavailable", "no-file-descriptors"} // the table says why
	kebab := regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)*$`)
	names, texts := map[string]bool{}, map[string]string{}
	for _, p := range problems {
		if !kebab.MatchString(p.name) || names[p.name] {
			t.Errorf("the name %q is not one, or not its own", p.name)
		}
		names[p.name] = true
		if other := texts[p.happened]; other != "" {
			t.Errorf("%s and %s say the same", p.name, other)
		}
		texts[p.happened] = p.name
		for _, s := range []string{p.happened, p.next, p.usually} {
			if !strings.HasSuffix(s, ".") || strings.Contains(strings.NewReplacer("{host}", "", "{limit}", "", "{code}", "").Replace(s), "{") {
				t.Errorf("%s: not a sentence: %q", p.name, s)
			}
		}
		if p.title == "" || len(p.title) > 40 || p.retry == "" || p.fix == "" || p.cause == nil {
			t.Errorf("%s is not whole: %+v", p.name, p)
		}
		if p.after != 0 && p.retry != retryLater {
			t.Errorf("%s has Retry-After %v, and says %q", p.name, p.after, p.retry)
		}
		if p.status == 0 { // there is no response
			if p.errorType != "" || !slices.Contains([]string{"client-gone", "client-too-slow", "websocket-idle"}, p.name) {
				t.Errorf("%s would be answered", p.name)
			}
			continue
		}
		want, ok := recommended[p.errorType]
		fits := p.status == want || want == 4 && p.status/100 == 4
		if !ok || fits == slices.Contains(deviate, p.name) {
			t.Errorf("%s: status %d with %q, for which RFC 9209 has %d", p.name, p.status, p.errorType, want)
		}
		if http.StatusText(p.status) == "" {
			t.Errorf("%s: %d is no status", p.name, p.status)
		}
	}
}

func TestTextsNameHostAndLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host string
		err  error
		want string
	}{
		{"a.test", &ResponseTooLargeError{6 << 20}, "of a.test is larger than 6 MiB,"},
		{"", ErrResponseTooLarge, "of that host is larger than the limit,"},
		{"{limit}", &ResponseTooLargeError{6 << 20}, "of {limit} is larger"}, // a placeholder in a value stays
		{"a.test", &RequestTooLargeError{ErrBodyTooLarge, 10_000_000}, "body is larger than 10 MB."},
		{"a.test", &RequestTooLargeError{ErrURLTooLong, 8000}, "URL is longer than 8000 bytes."},
		{"a.test", &RequestTooLargeError{ErrHeaderTooLarge, 64 << 10}, "headers are larger than 64 KiB."},
		{"a.test", &http.MaxBytesError{Limit: 1_050_000}, "larger than 1.05 MB."},
		{"a.test", &ResponseTooLargeError{6_291_556}, "larger than 6.29 MB,"},
		{"a.test", &ResponseTooLargeError{9_999_999}, "larger than 9.99 MB,"}, // not 10
		{"a.test", &ResponseTooLargeError{-1}, "larger than the limit,"},
	} {
		if got := answerTo(c.host, c.err); !strings.Contains(got.detail, c.want) {
			t.Errorf("%v: %q, want %q", c.err, got.detail, c.want)
		}
	}
}
