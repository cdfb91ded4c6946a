package proxy

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// name is what the proxy calls itself in Via, Proxy-Status and, unless told otherwise, CDN-Loop.
const name = "sleight"

// dropHopByHop takes the fields out that were for the proxy alone. It comes before all that adds any, so
// that a client cannot have those removed by naming them in Connection.
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
		delete(header, "Host") // over HTTP/2 it may come beside :authority; checkFraming has compared them
		if trailers {
			header["Te"] = []string{"trailers"}
		}
		if x.Upgrade {
			// Other protocols are not offered on: clients offer h2c with ordinary requests.
			header["Connection"], header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
		}
		next.ServeHTTP(w, r)
	})
}

// addForwarded says who asks, and through whom. The request's header is its own to change: dropHopByHop has
// made it.
func (h *Handler) addForwarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		if r.Method == http.MethodOptions && r.Header["Max-Forwards"] != nil && answeredHere(w, r) {
			return
		}
		add(r.Header, "Via", strconv.Itoa(r.ProtoMajor)+"."+strconv.Itoa(r.ProtoMinor)+" "+name) // RFC 9110 section 7.6.3
		add(r.Header, "Cdn-Loop", h.config.LoopID)
		h.forwarded(x, r)
		if err := h.checkHeaderBytes(r); err != nil {
			h.Fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// forwarded sets the fields that tell of the client. What a stranger says of who went before is
// replaced, also in what we do not send ourselves: origins believe X-Forwarded-Port or -Prefix from
// whom they believe the others.
func (h *Handler) forwarded(x *exchange, r *http.Request) {
	header := r.Header
	if !x.trusted {
		delete(header, "Forwarded")
		for field := range header {
			if strings.HasPrefix(field, "X-Forwarded-") {
				delete(header, field)
			}
		}
		if len(h.config.TrustedProxies) > 0 && h.config.TrustedHostHeader != "" {
			header.Del(h.config.TrustedHostHeader) // asked has not believed it
		}
	}
	peer := ""
	if x.peer.IsValid() {
		peer = x.peer.String()
	}
	before := header["X-Forwarded-For"]
	if peer != "" && !endsIn(before, peer) { // AWS's fronts have added it already
		add(header, "X-Forwarded-For", peer)
	}
	if len(header["X-Forwarded-Host"]) == 0 {
		header["X-Forwarded-Host"] = []string{x.authority}
	}
	header["X-Forwarded-Proto"] = []string{x.Scheme}

	var list strings.Builder
	if said := header["Forwarded"]; len(said) > 0 && readable(said) {
		list.WriteString(strings.Join(said, ", "))
	} else { // RFC 7239 section 7.4: the same in the other form
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

// quoted returns s as a token, or as a quoted-string where it is none (RFC 9110 section 5.6.4).
func quoted(s string) string {
	if isToken(s) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// endsIn reports whether the last element of a list is s.
func endsIn(fields []string, s string) bool {
	if len(fields) == 0 {
		return false
	}
	last := fields[len(fields)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]) == s
}

// answeredHere counts down Max-Forwards (RFC 9110 section 7.6.2), by which a client asks one
// of the servers on the way, and answers where it is meant for this one.
func answeredHere(w http.ResponseWriter, r *http.Request) bool {
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

// rejectUpgrade refuses WebSockets where the connection to the client is not the server's to give, as
// in Lambda, and those whose route does not offer HTTP/1.1 to its origin.
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

// add appends an element to a list, in one field line: of several, some servers see only one. The
// map is changed, but not the values that were in it.
func add(h http.Header, field, element string) {
	if before := h[field]; len(before) > 0 {
		element = strings.Join(before, ", ") + ", " + element
	}
	h[field] = []string{element}
}

// lists reports whether one of the lists has the token.
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
