// Package origin knows which origin server belongs to which host: the routes, where
// they are stored, and the cache in front. It knows nothing of HTTP requests.
//
// Who may write to a store decides where a host's traffic goes, though not whose
// certificate it has to show unless the route also brings its own roots. Items are
// therefore read strictly: an attribute that is misspelt, of the wrong type or not
// acted upon makes its route invalid. It never falls back to something weaker.
package origin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
)

// Route says how requests for a host are forwarded. A Route is not changed once made,
// so that requests may share it.
type Route struct {
	// Host is the key: a name as hostname.Normalize returns it, or a pattern "*.x.com"
	// that covers one label.
	Host string

	// Scheme is "https" or "http", for all Addresses.
	Scheme string

	// Addresses are tried in order when a connection is made: "host" or "host:port". At
	// least one.
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

	// Rewrite says whether names of the origin in its answers (Location, Content-Location,
	// Refresh, Link, Set-Cookie's Domain) become the client's. Nil means: where HostHeader
	// differs from the host that the client asked for.
	Rewrite *bool

	// Timeouts override the proxy's own.
	Timeouts Timeouts

	// Disabled routes answer as if there were none, and hide a wildcard's.
	Disabled bool

	// ExpiresAt is when the route ceases to be, in whole seconds. Zero means never.
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
	Response  time.Duration // from when the request was sent to the beginning of the answer
	Idle      time.Duration // silence in the middle of a body, in either direction
	Request   time.Duration // the whole
}

// expired reports whether the route has ceased to be at now, by the wall clock.
func (r *Route) expired(now time.Time) bool {
	return !r.ExpiresAt.IsZero() && !now.Round(0).Before(r.ExpiresAt)
}

// Store finds routes. Implementations are safe for concurrent use and keep to the
// context's deadline. A store may be eventually consistent; reads are not repeatable.
type Store interface {
	// Lookup returns the route in force for host, a name as hostname.Normalize returns it:
	// its own, else the one of its wildcard. The error is [ErrNotFound] where there is none
	// (or it is disabled), an *[InvalidRouteError] where the route cannot be used, and any
	// other where the store cannot tell. The caller must not change the route.
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

// isAnswer reports whether the error of a look-up, or that there is none, is for certain: a store that
// cannot tell has another one.
func isAnswer(err error) bool {
	_, invalid := errors.AsType[*InvalidRouteError](err)
	return err == nil || invalid || errors.Is(err, ErrNotFound)
}

// Stored is what a store holds under one key: a route, or an *[InvalidRouteError].
type Stored struct {
	Route *Route // nil if Err is not
	Err   error
}

// InForce returns the route in force if exact is stored under a host and wildcard under the host's wildcard; nil means
// that nothing is stored there. An expired route counts as absent. A disabled or invalid one hides the wildcard's: its
// parent must not undo what was set for a host. The error is [ErrNotFound] or an *[InvalidRouteError].
func InForce(exact, wildcard *Stored, now time.Time) (*Route, error) {
	r := exact
	if !r.decides(now) {
		r = wildcard
	}
	switch {
	case !r.decides(now):
		return nil, ErrNotFound
	case r.Err != nil:
		return nil, r.Err
	case r.Route.Disabled:
		return nil, ErrNotFound
	}
	return r.Route, nil
}

// decides reports whether r counts, whatever else is stored for the host.
func (r *Stored) decides(now time.Time) bool {
	return r != nil && (r.Err != nil || !r.Route.expired(now))
}

// Keys returns the keys that the route of a host may be stored under: the host, and its wildcard if there is one. host is
// a name as hostname.Normalize returns it.
func Keys(host string) []string {
	if pattern, ok := hostname.Wildcard(host); ok {
		return []string{host, pattern}
	}
	return []string{host}
}
