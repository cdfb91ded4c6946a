// Package dynamodb has the routes table: a store that reads it for the proxy, the items of the table as items of package
// origin, and what tools and the proxy both need to know of the service: clients, throttling, and what its errors mean.
package dynamodb

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// Store is an origin.Store that reads the routes table. Reads are eventually consistent: a change is usually seen within
// a second, for half the price. It is safe for concurrent use.
//
// At most four calls are made at a time. Lookups that wait for their turn share the next call, up to fifty of them;
// nothing else makes them wait. Both fields are needed, and must not change after the first lookup.
type Store struct {
	Client BatchGetter // should be tuned by [ForLookups]; a client of [NewClient] is
	Table  string      // the name of the table, or its ARN

	mu      sync.Mutex
	calls   int         // how many are being made
	waiting []*question // for one of them to end, in order
}

// BatchGetter is the one call that the store makes; *dynamodb.Client has it.
type BatchGetter interface {
	BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
}

var (
	_ origin.Store = (*Store)(nil)
	_ BatchGetter  = (*dynamodb.Client)(nil)
)

// Lookup implements origin.Store. It reads the host's item and its wildcard's in one round trip.
func (d *Store) Lookup(ctx context.Context, host string) (*origin.Route, error) {
	q := &question{ctx: ctx, names: origin.Keys(host), done: make(chan struct{})}
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
