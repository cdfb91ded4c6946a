package proxy

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// name is what the proxy calls itself in Via, Proxy-Status and, unless told otherwise, CDN-Loop.
const name = "sleight"

// hopByHop are the fields that are for the next hop alone (RFC 9110 section 7.6.1), whether or not
// Connection names them.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// endToEnd takes the fields out that were for the proxy alone. It comes before all that adds any, so
// that a client cannot have those removed by naming them in Connection.
func (h *Handler) endToEnd(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		header := maps.Clone(r.Header)
		if header == nil {
			header = http.Header{}
		}
		r.Header = header
		trailers := lists(header["Te"], "trailers")
		x.upgrade = r.ProtoMajor == 1 && r.ProtoMinor > 0 && lists(header["Connection"], "upgrade") && lists(header["Upgrade"], "websocket")
		for _, field := range header["Connection"] {
			for option := range strings.SplitSeq(field, ",") {
				header.Del(strings.TrimSpace(option))
			}
		}
		for _, name := range hopByHop {
			delete(header, name)
		}
		if trailers {
			header["Te"] = []string{"trailers"}
		}
		if x.upgrade {
			// Other protocols are not offered on: clients offer h2c with ordinary requests.
			header["Connection"], header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
		}
		next.ServeHTTP(w, r)
	})
}

// introduce says who asks, and through whom. The request's header is its own to change: endToEnd has
// made it.
func (h *Handler) introduce(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		if r.Method == http.MethodOptions && r.Header["Max-Forwards"] != nil && answeredHere(w, r) {
			return
		}
		add(r.Header, "Via", strconv.Itoa(r.ProtoMajor)+"."+strconv.Itoa(r.ProtoMinor)+" "+name) // RFC 9110 section 7.6.3
		add(r.Header, "Cdn-Loop", h.config.LoopID)
		x.forwarded(r)
		next.ServeHTTP(w, r)
	})
}

// forwarded sets the fields that tell of the client. What a stranger says of who went before is
// replaced, also in what we do not send ourselves: origins believe X-Forwarded-Port or -Prefix from
// whom they believe the others.
func (x *exchange) forwarded(r *http.Request) {
	x.scheme = "http"
	if r.TLS != nil {
		x.scheme = "https"
	}
	header := r.Header
	if !x.trusted {
		delete(header, "Forwarded")
		for field := range header {
			if strings.HasPrefix(field, "X-Forwarded-") {
				delete(header, field)
			}
		}
	} else if said := header["X-Forwarded-Proto"]; len(said) == 1 && (said[0] == "https" || said[0] == "http") {
		x.scheme = said[0]
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
	header["X-Forwarded-Proto"] = []string{x.scheme}
	if len(header["Forwarded"]) == 0 { // RFC 7239 section 7.4: the same in the other form
		for _, field := range before {
			for client := range strings.SplitSeq(field, ",") {
				if client = strings.TrimSpace(client); client != "" && client != peer {
					add(header, "Forwarded", "for="+node(client))
				}
			}
		}
	}
	element := "host=" + quoted(x.authority) + ";proto=" + x.scheme
	if peer != "" {
		element = "for=" + node(peer) + ";" + element
	}
	add(header, "Forwarded", element)
}

// node returns a node identifier of RFC 7239 section 6.
func node(address string) string {
	if strings.Contains(address, ":") && !strings.HasPrefix(address, "[") && strings.Count(address, ":") > 1 {
		address = "[" + address + "]"
	}
	return quoted(address)
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

// switchOver refuses WebSockets where the connection to the client is not the server's to give, as
// in Lambda, and those whose route does not offer HTTP/1.1 to its origin.
func (h *Handler) switchOver(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		if x.upgrade && !hijackable(w) {
			h.Fail(w, r, ErrUpgrade)
			return
		}
		if x.upgrade && !offersHTTP1(x.route) {
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
