// Package dynamodb has the routes table. It has a store that reads the table for the proxy, and converts items of the table to
// items of package origin. For the proxy and the tools, it has clients of DynamoDB, and the meaning of DynamoDB's errors.
package dynamodb

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// Store is an origin.Store that reads the routes table. Reads are eventually consistent: a change is usually seen within
// a second, at half the price. A Store is safe for concurrent use.
//
// It makes at most four calls at a time. Further lookups wait for the end of a call, and then share the next one, up to fifty
// lookups in a call. Both fields are required, and must not change after the first lookup.
type Store struct {
	Client BatchGetter // with the options of [ForLookups], as a client of [NewClient] has them
	Table  string      // the name of the table, or its ARN

	mu      sync.Mutex
	calls   int       // under way
	waiting []*lookup // for the end of a call, in order
}

// BatchGetter is the one method that the store calls. *dynamodb.Client implements it.
type BatchGetter interface {
	BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
}

var (
	_ origin.Store = (*Store)(nil)
	_ BatchGetter  = (*dynamodb.Client)(nil)
)

// Lookup implements origin.Store. It reads the host's item and its wildcard's in one round trip.
func (d *Store) Lookup(ctx context.Context, host string) (*origin.Route, error) {
	q := &lookup{ctx: ctx, names: origin.Keys(host), done: make(chan struct{})}
	d.mu.Lock()
	d.waiting = append(d.waiting, q)
	if d.calls < maxCalls {
		d.next()
	}
	d.mu.Unlock()
	select {
	case <-q.done:
		return q.route, q.err
	case <-ctx.Done():
		d.leave(q)
		return nil, &tableError{d.Table, ctx.Err()}
	}
}
