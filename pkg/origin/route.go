// Package origin knows the origin servers of hosts: it has the routes, a store for them, and a cache in front of a store. It
// knows no HTTP requests.
//
// A writer of the store decides where the traffic goes. The origin must still show a certificate for the host,
// unless the route brings its own roots. Items are therefore read strictly: an attribute that is misspelt, of the wrong
// type or without effect makes its route invalid. A route never falls back to something weaker.
package origin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

// Route says how requests for a host are forwarded. Requests share a Route, so it must not be changed.
type Route struct {
	// Host is the key: a name as hostname.Normalize returns it, or a pattern "*.x.com" that covers one label.
	Host string

	// Scheme is "https" or "http", for all Addresses.
	Scheme string

	// Addresses are tried in order when a connection is made: "host" or "host:port". There is at least one.
	Addresses []string

	// ServerName is sent as SNI and verified. Empty means the host that the client asked for.
	ServerName string

	// HostHeader is the Host that the origin gets. Empty means the client's.
	HostHeader string

	// CAPEM holds the roots to trust for this route, and only these. Empty means the system's.
	CAPEM string

	// SPKIPins are SHA-256 hashes of public keys. Empty means no pinning.
	SPKIPins [][32]byte

	// ClientCert names the client certificate for the origin. Empty means none.
	ClientCert string

	// TLSMin is the lowest TLS version, as in crypto/tls.
	TLSMin uint16

	// Protocols are offered to the origin, the preferred first: "http/1.1" and "h2", names of ALPN (RFC
	// 7301). Empty means "http/1.1" alone. With Scheme "http" they have no effect.
	Protocols []string

	// MaxConnections bounds the connections of this process to the origin, for each server name. 0 means
	// the proxy's own bound, if it has one.
	MaxConnections int

	// Rewrite says whether names of the origin in its responses (Location, Content-Location,
	// Refresh, Link, Set-Cookie's Domain) become the client's. Nil means that they do if HostHeader
	// differs from the host that the client asked for.
	Rewrite *bool

	// Timeouts override the proxy's own.
	Timeouts Timeouts

	// Disabled answers as if there were no route, and hides a wildcard's.
	Disabled bool

	// ExpiresAt is the end of the route, in whole seconds. Zero means never.
	ExpiresAt time.Time

	// Version, UpdatedAt, UpdatedBy and Note are for the tools that edit routes.
	Version   int64
	UpdatedAt string
	UpdatedBy string
	Note      string
}

// Timeouts bound the parts of a request. Zero means the proxy's own.
type Timeouts struct {
	Connect   time.Duration // TCP to one address, with DNS
	Handshake time.Duration // TLS
	Response  time.Duration // from the end of the request to the beginning of the response
	Idle      time.Duration // silence in the middle of a body, in either direction
	Request   time.Duration // the whole
}

// State says what the route means at now by itself: [Usable], [Disabled] or [Expired].
func (r *Route) State(now time.Time) State { return (&Stored{Route: r}).State(now) }

// expired reports whether the route has expired at now, by the wall clock.
func (r *Route) expired(now time.Time) bool {
	return !r.ExpiresAt.IsZero() && !now.Round(0).Before(r.ExpiresAt)
}

// Store finds routes. Implementations are safe for concurrent use, and return within the context's deadline. A store may
// be eventually consistent. Reads are not repeatable.
type Store interface {
	// Lookup returns the route in force for host, a name as hostname.Normalize returns it: the
	// host's own route, or the one of its wildcard. The error is [ErrNotFound] if it has no route or a
	// disabled one, an *[InvalidRouteError] if the route cannot be used, and any other if the store
	// does not know. The caller must not change the route.
	Lookup(ctx context.Context, host string) (*Route, error)
}

// ErrNotFound says for certain that a host has no route.
var ErrNotFound = errors.New("origin: host has no route")

// InvalidRouteError says which attribute makes a route unusable. It affects the hosts
// of that route alone.
type InvalidRouteError struct {
	Host      string // the key of the route
	Attribute string
	Reason    string // for an operator
}

func (e *InvalidRouteError) Error() string {
	return fmt.Sprintf("origin: route %q: attribute %q %s", e.Host, e.Attribute, e.Reason)
}

// isAnswer reports whether a lookup with this error, or with nil, is certain. Any other error means that the store does not
// know.
func isAnswer(err error) bool {
	_, invalid := errors.AsType[*InvalidRouteError](err)
	return err == nil || invalid || errors.Is(err, ErrNotFound)
}

// Stored is what a store holds under one key: a route, or an *[InvalidRouteError].
type Stored struct {
	Route *Route // nil if Err is not
	Err   error
}

// State says what a stored route means for the hosts of its key.
type State string

// The states.
const (
	Absent   State = "absent"   // the store has nothing under the key
	Invalid  State = "invalid"  // it cannot be used, and hides the wildcard's
	Disabled State = "disabled" // it answers as if there were no route, and hides the wildcard's
	Expired  State = "expired"  // it counts as absent
	Usable   State = "usable"
)

// State says what s means at now. Nil is [Absent].
func (s *Stored) State(now time.Time) State {
	switch {
	case s == nil:
		return Absent
	case s.Err != nil:
		return Invalid
	case s.Route.expired(now):
		return Expired
	case s.Route.Disabled:
		return Disabled
	}
	return Usable
}

// Decides reports whether a stored route in this state settles the lookup, so that the host's wildcard is ignored.
func (s State) Decides() bool { return s != Absent && s != Expired }

// InForce returns the route in force if exact is stored under a host and wildcard under the host's wildcard. Nil means
// that nothing is stored there. An expired route counts as absent. A disabled or invalid one hides the wildcard's: a
// wildcard must not override what was set for one of its hosts. The error is [ErrNotFound] or an *[InvalidRouteError].
func InForce(exact, wildcard *Stored, now time.Time) (*Route, error) {
	s := exact
	if !s.State(now).Decides() {
		s = wildcard
	}
	switch s.State(now) {
	case Usable:
		return s.Route, nil
	case Invalid:
		return nil, s.Err
	}
	return nil, ErrNotFound
}

// Keys returns the keys that the route of a host may be stored under: the host, and its wildcard if there is one. host is
// a name as hostname.Normalize returns it.
func Keys(host string) []string {
	if pattern, ok := hostname.Wildcard(host); ok {
		return []string{host, pattern}
	}
	return []string{host}
}
