package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// limitRequests refuses requests beyond Limits.Requests at once. It does not queue them: a waiting request would hold a
// connection and memory too.
func (h *Handler) limitRequests(next http.Handler) http.Handler {
	most := h.config.Limits.Requests
	if most <= 0 {
		return next
	}
	all := &inFlight{most: most, of: map[netip.AddrPort]int{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connection, client := h.countingKeys(r, exchangeOf(r.Context()))
		if err := all.begin(connection, client); err != nil {
			h.Fail(w, r, err)
			return
		}
		defer all.end(connection, client)
		next.ServeHTTP(w, r)
	})
}

// countingKeys returns the keys that a client's requests are counted by: its connection and its address. An unknown key is
// zero. Requests of a trusted proxy are counted by the client that it names, if any, and not as the proxy's own.
func (h *Handler) countingKeys(r *http.Request, x *exchange) (connection, client netip.AddrPort) {
	if !x.trusted {
		return x.Client, clientKey(x.peer)
	}
	fields := r.Header["X-Forwarded-For"]
	if len(fields) == 0 {
		return netip.AddrPort{}, netip.AddrPort{}
	}
	// From the right, because an untrusted client may have written everything to the left of its address.
	rest := fields[len(fields)-1]
	const most = 10 // trusted proxies in a row
	for range most {
		i := strings.LastIndexByte(rest, ',')
		address, err := nodeAddress(strings.TrimSpace(rest[i+1:]))
		if err != nil {
			break
		}
		if !h.trusts(address) {
			return netip.AddrPort{}, clientKey(address)
		}
		if i < 0 {
			break
		}
		rest = rest[:i]
	}
	return netip.AddrPort{}, netip.AddrPort{}
}

// nodeAddress parses an element of X-Forwarded-For. Some proxies add the port.
func nodeAddress(s string) (netip.Addr, error) {
	address, err := netip.ParseAddr(s)
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(s)
		address = withPort.Addr()
	}
	return address.Unmap().WithZone(""), err
}

// clientKey returns the key of a client's address: an IPv4 address, or the /64 of an IPv6 address, because a customer of a
// network has at least a /64.
func clientKey(address netip.Addr) netip.AddrPort {
	if address.Is6() {
		if p, err := address.Prefix(64); err == nil {
			address = p.Addr()
		}
	}
	return netip.AddrPortFrom(address, 0)
}

// inFlight counts the requests in flight. It does not let a client take all places: a connection gets another place if it
// has fewer than half as many as are free, and an address if it has fewer than twice as many as are free. So a single
// connection gets a third of the places, and a single address two thirds. The next client gets the same part of the rest,
// and a client without a place can get the last one. A fixed share would be too large for many clients and too small for
// one. It is safe for concurrent use.
type inFlight struct {
	most int

	mu sync.Mutex
	n  int
	of map[netip.AddrPort]int // by connection, and by address with port 0
}

// begin counts a request. It returns an error that wraps ErrBusy if there is no room.
func (u *inFlight) begin(connection, client netip.AddrPort) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	free := u.most - u.n
	switch {
	case free <= 0:
		return fmt.Errorf("%w: %d are under way, which is the limit", ErrBusy, u.n)
	case isConnection(connection) && 2*u.of[connection] >= free:
		return fmt.Errorf("%w: a connection from %s has %d of the %d that are under way, and the limit is %d", ErrBusy, client.Addr(), u.of[connection], u.n, u.most)
	case isKnown(client) && u.of[client] >= 2*free:
		return fmt.Errorf("%w: the client %s has %d of the %d that are under way, and the limit is %d", ErrBusy, client.Addr(), u.of[client], u.n, u.most)
	}
	u.n++
	u.count(connection, client, 1)
	return nil
}

// end uncounts a request that begin has counted.
func (u *inFlight) end(connection, client netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n--
	u.count(connection, client, -1)
}

func (u *inFlight) count(connection, client netip.AddrPort, n int) {
	if isConnection(connection) {
		u.add(connection, n)
	}
	if isKnown(client) {
		u.add(client, n)
	}
}

func (u *inFlight) add(key netip.AddrPort, n int) {
	if n += u.of[key]; n > 0 {
		u.of[key] = n
	} else {
		delete(u.of, key)
	}
}

// isConnection reports whether the address identifies a connection. Servers that do not listen on a network, such as
// pkg/lambdahttp, set port 0.
func isConnection(address netip.AddrPort) bool { return address.IsValid() && address.Port() != 0 }

func isKnown(client netip.AddrPort) bool { return client.IsValid() }
