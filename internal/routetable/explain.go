package routetable

import (
	"errors"
	"fmt"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// A Candidate is one of the keys that the route of a host may be stored under.
type Candidate struct {
	Key   string
	State origin.State
	Route *origin.Route // nil if State is Absent or Invalid
	Err   error         // an *origin.InvalidRouteError if State is Invalid, otherwise nil

	// Decides says that the lookup ends here, with a route or without one. No later candidate counts.
	Decides bool
}

// Explanation is the result of a lookup and the candidates that led to it.
type Explanation struct {
	// Candidates are in the order of the lookup.
	Candidates []Candidate

	// Route and Err are what [origin.Store.Lookup] returns.
	Route *origin.Route
	Err   error
}

// Explain looks host up as the proxy does, and says why the result is what it is. host is a name as hostname.Normalize
// returns it. find returns what is stored under a key, [origin.ErrNotFound], or an *[origin.InvalidRouteError]. Any other
// error ends the lookup.
func Explain(host string, find func(key string) (*origin.Route, error), now time.Time) (*Explanation, error) {
	var e Explanation
	var found [2]*origin.Stored
	decided := false
	for i, key := range origin.Keys(host) {
		route, err := find(key)
		switch _, invalid := errors.AsType[*origin.InvalidRouteError](err); {
		case err == nil, invalid:
			found[i] = &origin.Stored{Route: route, Err: err}
		case !errors.Is(err, origin.ErrNotFound):
			return nil, fmt.Errorf("routetable: lookup of %q: %w", host, err)
		}
		c := Candidate{Key: key, State: found[i].State(now)}
		if found[i] != nil {
			c.Route, c.Err = found[i].Route, found[i].Err
		}
		c.Decides = !decided && c.State.Decides()
		decided = decided || c.Decides
		e.Candidates = append(e.Candidates, c)
	}
	e.Route, e.Err = origin.InForce(found[0], found[1], now)
	return &e, nil
}
