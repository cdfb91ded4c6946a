package routetable

import (
	"context"
	"errors"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

// maxBatch is the most items that DynamoDB reads in one request.
const maxBatch = 100

// batcher is a table that reads many routes at a time. Each method makes one request.
type batcher interface {
	Table

	// needed returns the level that a change needs. If that is 0, Allows makes no request.
	needed(c Change) (level int, attribute string)

	// readBatch returns the items of up to maxBatch hosts, as far as there are any, and the hosts that it did not
	// read.
	readBatch(ctx context.Context, hosts []string) (found []origin.Item, left []string, err error)

	// readPage returns the page of items that begins at start, and the start of the next page. A nil start is that of
	// the first page. A nil next means that there are no more pages.
	readPage(ctx context.Context, start any) (items []origin.Item, next any, err error)
}

var _ batcher = (*DynamoDB)(nil)

func (d *DynamoDB) readBatch(ctx context.Context, hosts []string) (found []origin.Item, left []string, err error) {
	found, left, err = dynamodb.GetItems(ctx, d.Client, d.Table, hosts, true, checkResponses)
	return found, left, d.failure("BatchGetItem", err)
}

func (d *DynamoDB) readPage(ctx context.Context, start any) ([]origin.Item, any, error) {
	input := &sdk.ScanInput{TableName: &d.Table, ConsistentRead: aws.Bool(true)}
	if key, ok := start.(map[string]types.AttributeValue); ok {
		input.ExclusiveStartKey = key
	}
	out, err := d.Client.Scan(ctx, input, checkResponses)
	if err == nil && out.Items == nil {
		err = &responseError{cause: dynamodb.ErrForeign, why: "it has no list of items"}
	}
	if err != nil {
		return nil, nil, d.failure("Scan", err)
	}
	items := make([]origin.Item, 0, len(out.Items))
	for _, stored := range out.Items {
		if item := dynamodb.Item(stored); item.Host() != LevelKey {
			items = append(items, item)
		}
	}
	if len(out.LastEvaluatedKey) == 0 {
		return items, nil, nil
	}
	return items, out.LastEvaluatedKey, nil
}

// Retrying returns a table for long work. It slows requests down and retries them while they are throttled, until their context
// ends. Requests of t itself would fail. A request under way is not canceled at the end of its context. Retrying
// returns a routes file as it is.
func Retrying(t Table) Table {
	if d, ok := t.(*DynamoDB); ok {
		return newRetrying(&DynamoDB{Client: dynamodb.WithoutRetries(d.Client), Table: d.Table, levels: d.levels})
	}
	return t
}

// retrying is a table whose requests share a pace.
type retrying struct {
	table batcher
	pace  *pace
}

var _ Table = (*retrying)(nil)

func newRetrying(table batcher) *retrying { return &retrying{table, new(pace)} }

func (p *retrying) String() string { return p.table.String() }

// Get implements [Table].
func (p *retrying) Get(ctx context.Context, host string) (item origin.Item, err error) {
	err = p.pace.do(ctx, func(ctx context.Context) error {
		item, err = p.table.Get(ctx, host)
		return err
	})
	return item, err
}

// All implements [Table].
func (p *retrying) All(ctx context.Context) iter.Seq2[origin.Item, error] {
	return inPages(func(start any) (items []origin.Item, next any, err error) {
		err = p.pace.do(ctx, func(ctx context.Context) error {
			items, next, err = p.table.readPage(ctx, start)
			return err
		})
		return items, next, err
	})
}

// Allows implements [Table].
func (p *retrying) Allows(ctx context.Context, c Change) error {
	if level, _ := p.table.needed(c); level == 0 {
		return nil // the pace must not take this for a response of the server
	}
	return p.pace.do(ctx, func(ctx context.Context) error { return p.table.Allows(ctx, c) })
}

// Write implements [Table]. Its error is Unknown if any attempt may have been carried out, unless a later response has the
// item.
func (p *retrying) Write(ctx context.Context, c Change) error {
	var unknown *RequestError
	err := p.pace.do(ctx, func(ctx context.Context) error {
		err := p.table.Write(ctx, c)
		if request, ok := errors.AsType[*RequestError](err); ok && request.Unknown {
			unknown = request
		}
		return err
	})
	return afterUnknown(unknown, err)
}

// afterUnknown returns the error of a write whose last attempt failed with err. If unknown is not nil, an earlier attempt failed
// with it.
func afterUnknown(unknown *RequestError, err error) error {
	_, conflict := errors.AsType[*ConflictError](err)
	last, failed := errors.AsType[*RequestError](err)
	switch {
	case unknown == nil, err == nil, conflict, failed && (last.Unknown || last.Kind == Refused):
		return err
	case failed:
		e := *last
		e.Unknown, e.Reason = true, e.Reason+"; an earlier attempt may have been carried out"+notKnown
		return &e
	}
	e := *unknown
	e.Err = errors.Join(err, unknown.Err)
	return &e
}

// read returns the items of up to maxBatch hosts, as far as there are any.
func (p *retrying) read(ctx context.Context, hosts []string) (map[string]origin.Item, error) {
	all := make(map[string]origin.Item, len(hosts))
	err := p.pace.do(ctx, func(ctx context.Context) error {
		found, left, err := p.table.readBatch(ctx, hosts)
		if err != nil {
			return err
		}
		for _, item := range found {
			all[item.Host()] = item
		}
		if hosts = left; len(left) > 0 {
			return dynamodb.ErrUnprocessed
		}
		return nil
	})
	return all, err
}
