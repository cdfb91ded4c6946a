package check

import (
	"net/http"
	"strings"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// Servers such as Tomcat, Jetty, Envoy and ATS refuse a Host that is not the name of the handshake, and
// say so by statuses that others have for much else. This file finds out, and has the advice.

// hostHeader is the Host that was sent.
func (f *facts) hostHeader() string { return hostHeader(f.route, f.host) }

// twoNames reports whether the handshake had another name than the request.
func (f *facts) twoNames() bool { return f.name != "" && f.name != f.hostHeader() }

// oneName is the advice if there are two. The Host stays as it is if the certificate is for it too:
// with another, the origin would make its links of that.
func (f *facts) oneName() string {
	name, host := f.name, f.hostHeader()
	asHost, asName := "set server_name to "+host, "set host_header to "+name
	if host == f.host {
		asHost = "remove server_name, so that the name is " + host
	}
	if name == f.host {
		asName = "remove host_header, so that Host is " + name
	}
	if leaf := f.leaf(); leaf != nil && leaf.VerifyHostname(host) == nil {
		return "make server_name and Host one name: " + asHost + ", which the certificate is for too; or " + asName
	}
	return "make server_name and Host one name: " + asName + "; or " + asHost + ", if the origin has a certificate for that"
}

// oneNameFirst puts that advice before another, if it applies.
func (f *facts) oneNameFirst(advice string) string {
	if !f.twoNames() {
		return advice
	}
	return f.oneName() + "; if it stays, " + advice
}

// knownHost is the advice if the origin may not know the Host.
func (f *facts) knownHost() string {
	if f.route.HostHeader != "" {
		return "correct host_header, or have the customer add " + f.hostHeader()
	}
	return "set host_header, or have the customer add " + f.hostHeader()
}

// knownName is the advice if the origin does not know the name of the handshake.
func (f *facts) knownName() string {
	if f.route.ServerName != "" {
		return "correct server_name"
	}
	return "set server_name to one that it knows"
}

// invalidSNI reports whether Jetty says that its certificate is not for the Host.
func invalidSNI(f *facts) bool {
	return f.response.StatusCode == http.StatusBadRequest && strings.Contains(f.body, "Invalid SNI")
}

// mayRefuseNames reports whether the answer is of a server that refuses two names, and looks like that
// refusal. It may look like that for another reason: whether a request with one name fares better
// decides.
func mayRefuseNames(f *facts) bool {
	if !f.twoNames() || f.err != nil {
		return false
	}
	server := strings.ToLower(f.response.Header.Get("Server"))
	switch f.response.StatusCode {
	case http.StatusBadRequest:
		return strings.Contains(f.body, "HTTP Status 400") // Tomcat's page
	case http.StatusForbidden:
		return strings.HasPrefix(server, "ats/") || server == "ats"
	case http.StatusNotFound: // no route in that filter chain: Envoy's own answer is empty
		return (server == "envoy" || server == "istio-envoy") && f.body == "" && f.response.Header.Get("X-Envoy-Upstream-Service-Time") == ""
	}
	return false
}

// misdirected reports whether the origin refuses the Host under the name of the handshake.
func misdirected(f *facts) bool {
	if hasStatus(http.StatusMisdirectedRequest)(f) || invalidSNI(f) {
		return true
	}
	return mayRefuseNames(f) && f.renamed != nil && f.renamed.err == nil && f.renamed.response.StatusCode != f.response.StatusCode
}

// resetForNames reports whether the origin ended the request by what Tomcat says to two names over HTTP/2.
func resetForNames(f *facts) bool {
	reset := resetOf(f)
	return reset != nil && !reset.GoAway && reset.Code == "PROTOCOL_ERROR" && f.twoNames()
}

func resetOf(f *facts) *sni.ResetError { return causeOf[*sni.ResetError](f) }
