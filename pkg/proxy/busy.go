package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// limitRequests refuses requests beyond Limits.Requests at once. A request that waits would hold a
// connection and memory too, and a client that has its share can wait itself.
func (h *Handler) limitRequests(next http.Handler) http.Handler {
	most := h.config.Limits.Requests
	if most <= 0 {
		return next
	}
	all := &underWay{most: most, of: map[netip.AddrPort]int{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connection, client := h.counted(r, exchangeOf(r.Context()))
		if err := all.begin(connection, client); err != nil {
			h.Fail(w, r, err)
			return
		}
		defer all.end(connection, client)
		next.ServeHTTP(w, r)
	})
}

// counted returns by what the requests of a client are counted: by its connection and by its address.
// A trusted proxy has no share of its own: its client counts, if it names one. An address that is not
// known is zero.
func (h *Handler) counted(r *http.Request, x *exchange) (connection, client netip.AddrPort) {
	if !x.trusted {
		return x.Client, clientKey(x.peer)
	}
	fields := r.Header["X-Forwarded-For"]
	if len(fields) == 0 {
		return netip.AddrPort{}, netip.AddrPort{}
	}
	// From the right, since a stranger may have written all that is to the left of its own address.
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

// nodeAddress reads an element of X-Forwarded-For. Some proxies add the port.
func nodeAddress(s string) (netip.Addr, error) {
	address, err := netip.ParseAddr(s)
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(s)
		address = withPort.Addr()
	}
	return address.Unmap().WithZone(""), err
}

// clientKey returns what a client is counted by: an IPv4 address, or the /64 of an IPv6 address, which
// is what one customer of a network has at least.
func clientKey(address netip.Addr) netip.AddrPort {
	if address.Is6() {
		if p, err := address.Prefix(64); err == nil {
			address = p.Addr()
		}
	}
	return netip.AddrPortFrom(address, 0)
}

// underWay counts the requests that are under way. It lets no client take all places: a connection gets
// one as long as it has fewer than half as many as are free, and an address as long as it has fewer than
// twice as many as are free. So one connection alone gets a third of the places, and one address two
// thirds. The next one gets the same part of the rest, and a client without a place gets the last one. A
// fixed share would be too large for many clients, and too small for one.
type underWay struct {
	most int

	mu sync.Mutex
	n  int
	of map[netip.AddrPort]int // by connection, and by address with port 0
}

// begin counts a request, or returns why there is no room for it, which wraps ErrBusy.
func (u *underWay) begin(connection, client netip.AddrPort) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	free := u.most - u.n
	switch {
	case free <= 0:
		return fmt.Errorf("%w: %d are under way, which is the limit", ErrBusy, u.n)
	case one(connection) && 2*u.of[connection] >= free:
		return fmt.Errorf("%w: a connection from %s has %d of the %d that are under way, and the limit is %d", ErrBusy, client.Addr(), u.of[connection], u.n, u.most)
	case known(client) && u.of[client] >= 2*free:
		return fmt.Errorf("%w: the client %s has %d of the %d that are under way, and the limit is %d", ErrBusy, client.Addr(), u.of[client], u.n, u.most)
	}
	u.n++
	u.count(connection, client, 1)
	return nil
}

// end takes back what begin has counted.
func (u *underWay) end(connection, client netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n--
	u.count(connection, client, -1)
}

func (u *underWay) count(connection, client netip.AddrPort, n int) {
	if one(connection) {
		u.add(connection, n)
	}
	if known(client) {
		u.add(client, n)
	}
}

func (u *underWay) add(key netip.AddrPort, n int) {
	if n += u.of[key]; n > 0 {
		u.of[key] = n
	} else {
		delete(u.of, key)
	}
}

// one reports whether the address is that of one connection. Servers that are no network's tell port 0.
func one(connection netip.AddrPort) bool { return connection.IsValid() && connection.Port() != 0 }

func known(client netip.AddrPort) bool { return client.IsValid() }
