package check

import (
	"net/http"
	"strings"

	"github.com/sleightproxy/sleight/pkg/sni"
)

// Servers such as Tomcat, Jetty, Envoy and ATS refuse a Host that is not the name of the handshake. Their statuses for that have other
// meanings in other servers. This file finds out the cause, and has the advice.

// hostHeader returns the Host that was sent.
func (f *facts) hostHeader() string { return hostHeader(f.route, f.host) }

// twoNames reports whether the handshake and the request had different names.
func (f *facts) twoNames() bool { return f.name != "" && f.name != f.hostHeader() }

// oneName is the advice if there are two names. If the certificate is for the Host too, the Host stays, because the origin would make
// its links with another Host.
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
		return "use one name as server_name and Host: " + asHost + ", because the certificate is for that name too; or " + asName
	}
	return "use one name as server_name and Host: " + asName + "; or " + asHost + ", if the origin has a certificate for it"
}

// oneNameFirst puts the advice of oneName before other advice, if it applies.
func (f *facts) oneNameFirst(advice string) string {
	if !f.twoNames() {
		return advice
	}
	return f.oneName() + "; if that does not help, " + advice
}

// knownHost returns the advice for an origin that may not know the Host.
func (f *facts) knownHost() string {
	if f.route.HostHeader != "" {
		return "correct host_header, or have the customer add " + f.hostHeader()
	}
	return "set host_header, or have the customer add " + f.hostHeader()
}

// knownName returns the advice for an origin that does not know the name of the handshake.
func (f *facts) knownName() string {
	if f.route.ServerName != "" {
		return "correct server_name"
	}
	return "set server_name to a name that it knows"
}

// invalidSNI reports whether Jetty says that its certificate is not for the Host.
func invalidSNI(f *facts) bool {
	return f.response.StatusCode == http.StatusBadRequest && strings.Contains(f.body, "Invalid SNI")
}

// mayRefuseNames reports whether the response looks like the refusal of two names, by a server that refuses them. It may have another
// cause: a request with one name decides.
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

// misdirected reports whether the origin refuses the Host on a connection with this server name.
func misdirected(f *facts) bool {
	if hasStatus(http.StatusMisdirectedRequest)(f) || invalidSNI(f) {
		return true
	}
	return mayRefuseNames(f) && f.renamed != nil && f.renamed.err == nil && f.renamed.response.StatusCode != f.response.StatusCode
}

// resetForNames reports whether the origin reset the request as Tomcat does for two names over HTTP/2.
func resetForNames(f *facts) bool {
	reset := resetOf(f)
	return reset != nil && !reset.GoAway && reset.Code == "PROTOCOL_ERROR" && f.twoNames()
}

func resetOf(f *facts) *sni.ResetError { return causeOf[*sni.ResetError](f) }
