package routetable

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

// errTruncated says that DynamoDB's response broke off.
var errTruncated = errors.New("the answer is cut off")

// responseError is a response that says nothing about the table.
type responseError struct {
	cause  error // dynamodb.ErrForeign or errTruncated
	status int   // of HTTP; zero if the SDK read the response, but its content cannot be DynamoDB's
	why    string
}

func (e *responseError) Error() string {
	if e.status == 0 {
		return fmt.Sprintf("%v: %s", e.cause, e.why)
	}
	return fmt.Sprintf("%v: status %s, %s", e.cause, strings.TrimSpace(fmt.Sprint(e.status, " ", http.StatusText(e.status))), e.why)
}

func (e *responseError) Unwrap() error { return e.cause }

// RetryableError tells the SDK whether to retry the request. Each request of a table can be repeated: a read changes nothing,
// and a write has the condition that the item is as it was read.
func (e *responseError) RetryableError() bool {
	_, transient := retry.DefaultRetryableHTTPStatusCodes[e.status]
	return transient || errors.Is(e, errTruncated)
}

// checkResponses makes a request fail with a *responseError if its response is not DynamoDB's, or breaks off. The SDK takes an
// empty response for a success, and does not retry after a truncated one. DynamoDB's response to a write, or for an
// item that does not exist, is {}, and many other servers respond with that.
func checkResponses(o *sdk.Options) { o.HTTPClient = checkingClient{o.HTTPClient} }

// checkingClient is an HTTP client that reads responses before the SDK does.
type checkingClient struct{ client sdk.HTTPClient }

func (c checkingClient) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.client.Do(r)
	if err != nil {
		return resp, err
	}
	defer resp.Body.Close()
	success, signed := resp.StatusCode/100 == 2, isSigned(resp.Header)
	foreign := &responseError{dynamodb.ErrForeign, resp.StatusCode, fmt.Sprintf("its type is %.100q, and it has no request ID", resp.Header.Get("Content-Type"))}
	if success && !signed {
		return nil, foreign
	}
	body, err := io.ReadAll(resp.Body)
	var failure struct { // as the SDK reads it
		Type string `json:"__type"`
		Code any
	}
	if err == nil {
		err = json.Unmarshal(body, &failure)
	}
	if code, _ := failure.Code.(string); !signed && failure.Type == "" && code == "" {
		return nil, foreign
	}
	// The SDK itself reports faults of whole JSON.
	if _, whole := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !whole {
		return nil, &responseError{errTruncated, resp.StatusCode, err.Error()}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// attempts tracks the SDK's attempts of a write. The SDK's error is that of the last attempt, and an earlier one may have been
// carried out.
type attempts struct{ unknown atomic.Bool }

// track is an option of a request.
func (a *attempts) track(o *sdk.Options) { o.HTTPClient = trackingClient{o.HTTPClient, a} }

// trackingClient is an HTTP client that notes an attempt whose outcome is unknown.
type trackingClient struct {
	client   sdk.HTTPClient
	attempts *attempts
}

func (c trackingClient) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.client.Do(r)
	network, failed := errors.AsType[*net.OpError](err)
	response, failedResponse := errors.AsType[*responseError](err)
	switch {
	case failed && network.Op == "dial": // the request was not sent
	case failedResponse && response.cause == dynamodb.ErrForeign && response.status/100 == 4:
	case err != nil, resp.StatusCode >= 500:
		c.attempts.unknown.Store(true)
	}
	return resp, err
}

// failure returns the error of a write that has failed with err.
func (a *attempts) failure(err error) error {
	if a.unknown.Load() {
		return afterUnknown(&RequestError{}, err)
	}
	return err
}

// isSigned reports whether a response has a header of DynamoDB. AWS documents both (DynamoDB low-level API, response format).
// Other engines have at least one.
func isSigned(header http.Header) bool {
	return header.Get("X-Amzn-Requestid") != "" || strings.HasPrefix(header.Get("Content-Type"), "application/x-amz-json")
}

// checkHost returns an error unless item is that of the requested host.
func checkHost(host string, item origin.Item) error {
	if got := item.Host(); got != host {
		return &responseError{cause: dynamodb.ErrForeign, why: fmt.Sprintf("it has an item of %.100q, and %q was asked for", got, host)}
	}
	return nil
}
