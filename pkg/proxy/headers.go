package proxy

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// name is the proxy's name in Via, in Proxy-Status and, by default, in CDN-Loop.
const name = "sleight"

// dropHopByHop copies the header and removes the fields for the proxy alone. It comes before the handlers that add fields, so
// that a client cannot remove those by naming them in Connection.
func (h *Handler) dropHopByHop(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		header := maps.Clone(r.Header)
		if header == nil {
			header = http.Header{}
		}
		r.Header = header
		trailers := lists(header["Te"], "trailers")
		if err := h.passRequest(requestHeader, header); err != nil {
			h.Fail(w, r, err)
			return
		}
		if x.body != nil && x.body.trailer.err != nil {
			h.Fail(w, r, x.body.trailer.err)
			return
		}
		delete(header, "Host") // HTTP/2 allows it beside :authority; checkFraming has compared them
		if trailers {
			header["Te"] = []string{"trailers"}
		}
		if x.Upgrade {
			// Other protocols are removed: some clients offer h2c with each request.
			header["Connection"], header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
		}
		next.ServeHTTP(w, r)
	})
}

// addForwarded adds the fields about the client and the proxies. It changes the header that dropHopByHop has copied.
func (h *Handler) addForwarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		if r.Method == http.MethodOptions && r.Header["Max-Forwards"] != nil && countMaxForwards(w, r) {
			return
		}
		add(r.Header, "Via", strconv.Itoa(r.ProtoMajor)+"."+strconv.Itoa(r.ProtoMinor)+" "+name) // RFC 9110 section 7.6.3
		add(r.Header, "Cdn-Loop", h.config.LoopID)
		h.setForwarded(x, r)
		if err := h.checkHeaderBytes(r); err != nil {
			h.Fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// setForwarded sets the fields about the client. It removes those that an untrusted client has set, also fields that the proxy
// does not set, such as X-Forwarded-Port: an origin that trusts the proxy would trust them too.
func (h *Handler) setForwarded(x *exchange, r *http.Request) {
	header := r.Header
	if !x.trusted {
		delete(header, "Forwarded")
		for field := range header {
			if strings.HasPrefix(field, "X-Forwarded-") {
				delete(header, field)
			}
		}
		if len(h.config.TrustedProxies) > 0 && h.config.TrustedHostHeader != "" {
			header.Del(h.config.TrustedHostHeader) // requestedHost has ignored it
		}
	}
	peer := ""
	if x.peer.IsValid() {
		peer = x.peer.String()
	}
	before := header["X-Forwarded-For"]
	if peer != "" && !lastElementIs(before, peer) { // AWS's fronts add it themselves
		add(header, "X-Forwarded-For", peer)
	}
	if len(header["X-Forwarded-Host"]) == 0 {
		header["X-Forwarded-Host"] = []string{x.authority}
	}
	header["X-Forwarded-Proto"] = []string{x.Scheme}

	var list strings.Builder
	if said := header["Forwarded"]; len(said) > 0 && quotesClosed(said) {
		list.WriteString(strings.Join(said, ", "))
	} else { // RFC 7239 section 7.4: convert X-Forwarded-For
		appendForwardedFor(&list, before, peer)
	}
	if list.Len() > 0 {
		list.WriteString(", ")
	}
	if peer != "" {
		list.WriteString("for=" + node(peer) + ";")
	}
	list.WriteString("host=" + quoted(x.authority) + ";proto=" + x.Scheme)
	header["Forwarded"] = []string{list.String()}
}

// quoted returns s as a token if it is one, and as a quoted-string otherwise (RFC 9110 section 5.6.4).
func quoted(s string) string {
	if isToken(s) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// lastElementIs reports whether the last element of a list is s.
func lastElementIs(fields []string, s string) bool {
	if len(fields) == 0 {
		return false
	}
	last := fields[len(fields)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]) == s
}

// countMaxForwards counts down Max-Forwards (RFC 9110 section 7.6.2). If it is 0, the request is for this proxy:
// countMaxForwards responds, and returns true.
func countMaxForwards(w http.ResponseWriter, r *http.Request) bool {
	n, err := strconv.ParseUint(r.Header.Get("Max-Forwards"), 10, 31)
	if err != nil {
		return false
	}
	if n == 0 {
		w.Header().Set("Allow", allowedMethods)
		w.WriteHeader(http.StatusNoContent)
		return true
	}
	r.Header["Max-Forwards"] = []string{strconv.FormatUint(n-1, 10)}
	return false
}

// rejectUpgrade refuses WebSockets if the client's connection cannot be hijacked, as in Lambda, or if the route does not allow
// HTTP/1.1 to the origin.
func (h *Handler) rejectUpgrade(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		if x.Upgrade && !hijackable(w) {
			h.Fail(w, r, ErrUpgrade)
			return
		}
		if x.Upgrade && !offersHTTP1(x.Route) {
			h.Fail(w, r, ErrUpgradeProtocol)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// add appends an element to a list, and joins the list into a single field line, because some servers read only one line. It
// changes the map, but not the old values in it.
func add(h http.Header, field, element string) {
	if before := h[field]; len(before) > 0 {
		element = strings.Join(before, ", ") + ", " + element
	}
	h[field] = []string{element}
}

// lists reports whether a field has the token.
func lists(fields []string, token string) bool {
	for _, field := range fields {
		for element := range strings.SplitSeq(field, ",") {
			if strings.EqualFold(strings.TrimSpace(element), token) {
				return true
			}
		}
	}
	return false
}
