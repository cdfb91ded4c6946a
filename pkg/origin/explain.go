package origin

import (
	"errors"
	"fmt"
	"time"
)

// A State says what a record under a key means for the hosts that the key is for.
type State string

// The states of a [Candidate].
const (
	Absent   State = "absent"   // the store has nothing under the key
	Invalid  State = "invalid"  // it cannot be used, and hides the wildcard's
	Disabled State = "disabled" // it answers as if there were none, and hides the wildcard's
	Expired  State = "expired"  // it counts as absent
	Usable   State = "usable"
)

// A Candidate is one of the keys under which the route of a host may be.
type Candidate struct {
	Key   string
	State State
	Route *Route // nil where State is Absent or Invalid
	Err   error  // an *[InvalidRouteError] where State is Invalid; nil elsewhere

	// Decides says that the look-up ends here, be it with the route or without. Of what comes after it,
	// nothing counts.
	Decides bool
}

// Explanation is a look-up of which one can see how it came about.
type Explanation struct {
	// Candidates are in the order in which they are looked at.
	Candidates []Candidate

	// Route and Err are what [Store.Lookup] returns.
	Route *Route
	Err   error
}

// Explain looks host up as every Store of this package does, and says why the answer is what it
// is. host is a name as hostname.Normalize returns it. find returns what is stored under a key, or
// [ErrNotFound], or an *[InvalidRouteError]; any other error ends the look-up.
func Explain(host string, find func(key string) (*Route, error), now time.Time) (*Explanation, error) {
	var e Explanation
	var found [2]*Stored
	decided := false
	for i, key := range Keys(host) {
		route, err := find(key)
		switch _, invalid := errors.AsType[*InvalidRouteError](err); {
		case err == nil, invalid:
			found[i] = &Stored{route, err}
		case !errors.Is(err, ErrNotFound):
			return nil, fmt.Errorf("origin: look-up of %q: %w", host, err)
		}
		c := Candidate{Key: key, State: found[i].state(now)}
		if found[i] != nil {
			c.Route, c.Err = found[i].Route, found[i].Err
		}
		c.Decides = !decided && found[i].decides(now)
		decided = decided || c.Decides
		e.Candidates = append(e.Candidates, c)
	}
	e.Route, e.Err = InForce(found[0], found[1], now)
	return &e, nil
}

// state says what r means at now. A nil record is what is not there.
func (r *Stored) state(now time.Time) State {
	switch {
	case r == nil:
		return Absent
	case r.Err != nil:
		return Invalid
	case r.Route.expired(now):
		return Expired
	case r.Route.Disabled:
		return Disabled
	}
	return Usable
}

// State says what the route means at now by itself: Usable, Disabled or Expired.
func (r *Route) State(now time.Time) State { return (&Stored{Route: r}).state(now) }
