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

// errCutOff says that an answer of DynamoDB came, and not the whole of it.
var errCutOff = errors.New("the answer is cut off")

// unreadError is an answer that says nothing of the table.
type unreadError struct {
	cause  error // dynamodb.ErrForeign or errCutOff
	status int   // of HTTP; zero if the answer was read, and has what DynamoDB cannot have answered
	why    string
}

func (e *unreadError) Error() string {
	if e.status == 0 {
		return fmt.Sprintf("%v: %s", e.cause, e.why)
	}
	return fmt.Sprintf("%v: status %s, %s", e.cause, strings.TrimSpace(fmt.Sprint(e.status, " ", http.StatusText(e.status))), e.why)
}

func (e *unreadError) Unwrap() error { return e.cause }

// RetryableError tells the SDK whether to make the request again. Each request of a table can be made twice:
// a read changes nothing, and a write holds only for the item that was seen.
func (e *unreadError) RetryableError() bool {
	_, passes := retry.DefaultRetryableHTTPStatusCodes[e.status]
	return passes || errors.Is(e, errCutOff)
}

// readWhole has a request fail with an *unreadError if its answer is not DynamoDB's, or is cut off. The SDK
// takes an empty answer for a success, and a broken one for final. {} is all that DynamoDB says of an item that
// is not there and of a write, and many servers say that to anybody.
func readWhole(o *sdk.Options) { o.HTTPClient = wholeAnswers{o.HTTPClient} }

// wholeAnswers is an HTTP client that reads answers before the SDK does.
type wholeAnswers struct{ client sdk.HTTPClient }

func (c wholeAnswers) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.client.Do(r)
	if err != nil {
		return resp, err
	}
	defer resp.Body.Close()
	success, signed := resp.StatusCode/100 == 2, isSigned(resp.Header)
	foreign := &unreadError{dynamodb.ErrForeign, resp.StatusCode, fmt.Sprintf("its type is %.100q, and it has no request ID", resp.Header.Get("Content-Type"))}
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
	// The SDK reports itself what is wrong with whole JSON.
	if _, whole := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !whole {
		return nil, &unreadError{errCutOff, resp.StatusCode, err.Error()}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// doubt says whether an attempt of a write may have been carried out. The SDK makes more than one, and its error is that of the
// last.
type doubt struct{ atomic.Bool }

// watch has the attempts of a request noted.
func (d *doubt) watch(o *sdk.Options) { o.HTTPClient = doubting{o.HTTPClient, d} }

// doubting is an HTTP client that notes such attempts.
type doubting struct {
	client sdk.HTTPClient
	doubt  *doubt
}

func (c doubting) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.client.Do(r)
	network, failed := errors.AsType[*net.OpError](err)
	unread, foreign := errors.AsType[*unreadError](err)
	switch {
	case failed && network.Op == "dial": // it was not sent
	case foreign && unread.cause == dynamodb.ErrForeign && unread.status/100 == 4:
	case err != nil, resp.StatusCode >= 500:
		c.doubt.Store(true)
	}
	return resp, err
}

// of returns the error of a write that has failed with err.
func (d *doubt) of(err error) error {
	if d.Load() {
		return afterUnknown(&RequestError{}, err)
	}
	return err
}

// isSigned reports whether an answer has a sign of DynamoDB. AWS documents both headers (DynamoDB
// low-level API, response format), and engines of others have at least one.
func isSigned(header http.Header) bool {
	return header.Get("X-Amzn-Requestid") != "" || strings.HasPrefix(header.Get("Content-Type"), "application/x-amz-json")
}

// about returns an error unless item is of the host that was asked about.
func about(host string, item origin.Item) error {
	if got := item.Host(); got != host {
		return &unreadError{cause: dynamodb.ErrForeign, why: fmt.Sprintf("it has an item of %.100q, and %q was asked for", got, host)}
	}
	return nil
}
