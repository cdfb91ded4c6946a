package routetable

import (
	"context"
	"fmt"
	"io"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// Checked is what is known of a routes document that was read to its end.
type Checked struct {
	Routes  int
	Hosts   map[string]int // where in the list each is first, from 1
	Invalid int            // how many routes cannot be used, where that is allowed

	// Problems are why it cannot be imported: the first maxProblems, and how many there are.
	Problems []error
	Count    int
}

const maxProblems = 20

// Check reads a routes document, and finds all that is wrong with it, up to where it is no routes document any
// more. Its memory is for the hosts alone. Routes that cannot be used are problems unless
// asIs, in which case their hosts are looked at alone. The error is ctx's.
func Check(ctx context.Context, r io.Reader, asIs bool) (*Checked, error) {
	c := &Checked{Hosts: map[string]int{}}
	problem := func(format string, args ...any) {
		if c.Count++; len(c.Problems) < maxProblems {
			c.Problems = append(c.Problems, fmt.Errorf(format, args...))
		}
	}
	for item, err := range origin.Items(r) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			problem("%w", err)
			return c, nil
		}
		c.Routes++
		host := item.Host()
		if _, err := item.Route(); err != nil {
			c.Invalid++
			if !asIs || host == "" { // without a key there is no item
				problem("route %d of the list: %w", c.Routes, err)
			}
		}
		if host == "" {
			continue
		}
		if first, twice := c.Hosts[host]; twice {
			problem("route %d of the list: host %q is there already, as route %d", c.Routes, host, first)
			continue
		}
		c.Hosts[host] = c.Routes
	}
	return c, nil
}
