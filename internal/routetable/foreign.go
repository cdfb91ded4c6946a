package routetable

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// foreignError says that a request was answered with success, but not by DynamoDB. The SDK does not
// repeat the request for it.
type foreignError struct{ why string }

func (e *foreignError) Error() string        { return fmt.Sprintf("%v: %s", origin.ErrForeignAnswer, e.why) }
func (e *foreignError) Unwrap() error        { return origin.ErrForeignAnswer }
func (e *foreignError) RetryableError() bool { return false }

// signed has a request fail whose success is not DynamoDB's. {} is all that DynamoDB says of an item that
// is not there and of a write, and many servers say that to anybody.
func signed(o *dynamodb.Options) { o.HTTPClient = signedOnly{o.HTTPClient} }

// signedOnly is an HTTP client that takes no success without a sign of DynamoDB. AWS documents both of
// its headers (DynamoDB low-level API, response format), and engines of others have at least one.
type signedOnly struct{ client dynamodb.HTTPClient }

func (c signedOnly) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.client.Do(r)
	if err != nil || resp.StatusCode < 200 || resp.StatusCode > 299 {
		return resp, err
	}
	kind := resp.Header.Get("Content-Type")
	if strings.HasPrefix(kind, "application/x-amz-json-1.0") || resp.Header.Get("X-Amzn-Requestid") != "" {
		return resp, nil
	}
	resp.Body.Close()
	return nil, &foreignError{fmt.Sprintf("it has the type %.100q, and no number of a request", kind)}
}

// about returns an error unless item is of the host that was asked about.
func about(host string, item origin.Item) error {
	if got := item.Host(); got != host {
		return &foreignError{fmt.Sprintf("it has an item of %.100q, and %q was asked for", got, host)}
	}
	return nil
}
