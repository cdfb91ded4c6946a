package routetable

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// RequestError is a request to DynamoDB that failed, said so that an operator knows what to do.
// It unwraps to what the SDK says.
type RequestError struct {
	Table  string
	Action string // as IAM and the API name it, such as "PutItem"
	Kind   ErrorKind
	Reason string // what happened and what to do
	Err    error
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("routetable: table %q: %s: %s", e.Table, e.Action, e.Reason)
}

func (e *RequestError) Unwrap() error { return e.Err }

// ErrorKind says what can be done about a RequestError.
type ErrorKind string

// The kinds of failed requests.
const (
	NoTable       ErrorKind = "no table"       // another name, region, account
	NoCredentials ErrorKind = "no credentials" // or ones that are not accepted
	Denied        ErrorKind = "denied"         // a permission is missing
	Throttled     ErrorKind = "throttled"      // later, or slower
	Unreachable   ErrorKind = "unreachable"    // the network
	Interrupted   ErrorKind = "interrupted"    // by whoever called
	Refused       ErrorKind = "refused"        // as no valid request for this table
	Failed        ErrorKind = "failed"         // anything else
)

// apiError is what the SDK makes of an answer that is an error.
type apiError interface {
	ErrorCode() string
	ErrorMessage() string
}

// notAccepted are the codes of errors about credentials that were sent.
var notAccepted = []string{
	"UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "ExpiredToken", "InvalidClientTokenId",
	"MissingAuthenticationTokenException", "MissingAuthenticationToken", "IncompleteSignatureException", "SignatureDoesNotMatch",
}

// writes are the actions of which one does not know what became when they fail without an answer.
var writes = []string{"PutItem", "DeleteItem"}

// failure says what it means that a request to the table failed. Action is the request's
// name in the API, such as "PutItem". Nil stays nil.
func (d *DynamoDB) failure(action string, err error) error {
	if err == nil {
		return nil
	}
	kind, reason := d.explain(action, err)
	return &RequestError{d.Table, action, kind, reason, err}
}

func (d *DynamoDB) explain(action string, err error) (ErrorKind, string) {
	unknown := ""
	if slices.Contains(writes, action) {
		unknown = "; whether it was written is not known, look at the route before you go on"
	}
	var api apiError
	code, message := "", ""
	if errors.As(err, &api) {
		code, message = api.ErrorCode(), api.ErrorMessage()
	}
	var network *net.OpError
	var request *url.Error
	switch {
	case errors.Is(err, context.Canceled):
		return Interrupted, "was interrupted" + unknown
	case code == "ResourceNotFoundException":
		return NoTable, fmt.Sprintf("there is no such table in %s; check the name, the region (--region, AWS_REGION) and the account (--profile, AWS_PROFILE)", d.where())
	case strings.Contains(err.Error(), "get identity: "): // of which the SDK has no type
		_, why, _ := strings.Cut(err.Error(), "get credentials: ")
		return NoCredentials, fmt.Sprintf("no AWS credentials: log in (aws sso login), choose a profile (--profile, AWS_PROFILE), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (%s)", cmp.Or(why, err.Error()))
	case slices.Contains(notAccepted, code):
		return NoCredentials, fmt.Sprintf("the AWS credentials are not accepted in %s: they have expired, were deactivated, or belong elsewhere; log in again (aws sso login) or choose another profile (%s: %s)", d.where(), code, message)
	case code == "AccessDeniedException":
		return Denied, fmt.Sprintf("not allowed: the user or role needs the permission dynamodb:%s on the table (%s)", action, message)
	case throttles.IsErrorThrottle(err).Bool():
		return Throttled, fmt.Sprintf("throttled: more is asked of the table than it or the account may take; try again later, or raise its capacity (%s)", code)
	case code == "ValidationException" && strings.Contains(strings.ToLower(message), "item size"):
		return Refused, fmt.Sprintf("refused by DynamoDB: %s, which is 400 KB; shorten its ca_pem or its note", strings.TrimSuffix(message, "."))
	case code == "ValidationException":
		return Refused, fmt.Sprintf("refused by DynamoDB: %s; the table has to have the partition key \"host\", a string, and no sort key", message)
	case errors.Is(err, origin.ErrForeignAnswer):
		why := err
		if foreign, ok := errors.AsType[*foreignError](err); ok {
			why = foreign // without what the SDK says of it
		}
		return Unreachable, fmt.Sprintf("%v; check the endpoint of %s (--endpoint-url, AWS_ENDPOINT_URL_DYNAMODB) and the proxies in between%s", why, d.where(), unknown)
	case errors.Is(err, context.DeadlineExceeded):
		return Unreachable, fmt.Sprintf("no answer in time from %s; check the network, the region and the endpoint (--endpoint-url, AWS_ENDPOINT_URL_DYNAMODB)%s", d.where(), unknown)
	case code == "" && errors.As(err, &request):
		return Unreachable, fmt.Sprintf("%s cannot be reached; check the network, the region and the endpoint (--endpoint-url, AWS_ENDPOINT_URL_DYNAMODB)%s: %v", d.where(), unknown, request.Err)
	case code == "" && errors.As(err, &network):
		return Unreachable, fmt.Sprintf("the connection to %s failed%s: %v", d.where(), unknown, network)
	}
	return Failed, err.Error() + unknown
}

// where says whom the client asks.
func (d *DynamoDB) where() string {
	o := d.Client.Options()
	if o.BaseEndpoint != nil {
		return fmt.Sprintf("region %q at %s", o.Region, *o.BaseEndpoint)
	}
	return fmt.Sprintf("region %q", o.Region)
}
