package routetable

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"

	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

// RequestError is a failed request to DynamoDB. It says what an operator can do, and unwraps to the SDK's error.
type RequestError struct {
	Table  string
	Action string // as IAM and the API name it, such as "PutItem"
	Kind   ErrorKind
	Reason string // what happened and what to do
	Err    error

	// Unknown says that the request was a write that may have been carried out.
	Unknown bool
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("routetable: table %q: %s: %s", e.Table, e.Action, e.Reason)
}

func (e *RequestError) Unwrap() error { return e.Err }

// ErrorKind says what can be done about a RequestError.
type ErrorKind string

// The kinds of failed requests.
const (
	NoTable       ErrorKind = "no table"       // the name, the region or the account is wrong
	NoCredentials ErrorKind = "no credentials" // there are no credentials, or they are not accepted
	Denied        ErrorKind = "denied"         // a permission is missing
	Throttled     ErrorKind = "throttled"      // the request may succeed later, or slower
	Unreachable   ErrorKind = "unreachable"    // the network failed
	Interrupted   ErrorKind = "interrupted"    // the caller canceled the request
	Refused       ErrorKind = "refused"        // the request is not valid for this table
	Foreign       ErrorKind = "foreign"        // the response is not DynamoDB's
	Failed        ErrorKind = "failed"         // another error
)

// apiError is the SDK's error for a response that is an error.
type apiError interface {
	ErrorCode() string
	ErrorMessage() string
}

// writes are the actions that change an item.
var writes = []string{"PutItem", "DeleteItem"}

// failure returns a *RequestError for the SDK's error of a request. action is the request's name in the API, such as
// "PutItem". Nil stays nil.
func (d *DynamoDB) failure(action string, err error) error {
	if err == nil {
		return nil
	}
	if unlike, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		err = &responseError{cause: dynamodb.ErrForeign, why: unlike.Err.Error()}
	}
	e := &RequestError{Table: d.Table, Action: action, Err: err}
	e.Kind, e.Reason, e.Unknown = d.explain(action, err)
	if e.Unknown = e.Unknown && slices.Contains(writes, action); e.Unknown {
		e.Reason += notKnown
	}
	return e
}

// notKnown is added to the reason of a write that is Unknown.
const notKnown = "; whether it was written is not known, look at the route before you go on"

// explain returns the kind of a failure, what happened and what to do, and whether the request may have been carried out.
func (d *DynamoDB) explain(action string, err error) (kind ErrorKind, reason string, unknown bool) {
	var api apiError
	code, message := "", ""
	if errors.As(err, &api) {
		code, message = api.ErrorCode(), api.ErrorMessage()
	}
	found := dynamodb.KindOf(err)
	answer, answered := errors.AsType[*responseError](err)
	switch {
	case found == dynamodb.Canceled:
		return Interrupted, "was interrupted", true
	case found == dynamodb.Foreign:
		why := err
		if answered {
			why = answer // without the SDK's details of the request
		}
		return Foreign, fmt.Sprintf("%v; check the endpoint of %s (--endpoint-url, AWS_ENDPOINT_URL_DYNAMODB), its port, and the proxies in between (HTTPS_PROXY)", why, d.where()), !answered || answer.status/100 != 4
	case answered:
		times := ""
		if all, ok := errors.AsType[*retry.MaxAttemptsError](err); ok {
			times = fmt.Sprintf(", %d times in a row", all.Attempt)
		}
		return Failed, fmt.Sprintf("%v%s; check what is between here and %s, and try again", answer, times, d.where()), true
	case found == dynamodb.NoTable:
		return NoTable, fmt.Sprintf("there is no such table in %s; check the name, the region (--region, AWS_REGION) and the account (--profile, AWS_PROFILE)", d.where()), false
	case found == dynamodb.NoCredentials:
		_, why, _ := strings.Cut(err.Error(), "get credentials: ")
		return NoCredentials, fmt.Sprintf("no AWS credentials: log in (aws sso login), choose a profile (--profile, AWS_PROFILE), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (%s)", cmp.Or(why, err.Error())), false
	case found == dynamodb.NotAccepted, found == dynamodb.Expired:
		return NoCredentials, fmt.Sprintf("the AWS credentials are not accepted in %s: they have expired, were deactivated, or belong elsewhere; log in again (aws sso login) or choose another profile (%s: %s)", d.where(), code, message), false
	case found == dynamodb.Denied:
		return Denied, fmt.Sprintf("not allowed: the user or role needs the permission dynamodb:%s on the table (%s)", action, message), false
	case found == dynamodb.Throttled:
		return Throttled, fmt.Sprintf("throttled: more is asked of the table than it or the account may take; try again later, or raise its capacity (%s)", code), false
	case found == dynamodb.Invalid:
		return Refused, fmt.Sprintf("refused by DynamoDB: %s%s", strings.TrimSuffix(message, "."), remedy(message, d.Table)), false
	case found == dynamodb.ServerFailure:
		return Failed, fmt.Sprintf("DynamoDB itself has failed in %s (%s: %s); try again in some seconds, and if it goes on, look at the status of the service (https://health.aws.amazon.com)", d.where(), code, message), true
	case found == dynamodb.NoAnswer:
		return Unreachable, fmt.Sprintf("no answer in time from %s; check the network, the region and the endpoint (--endpoint-url, AWS_ENDPOINT_URL_DYNAMODB)", d.where()), true
	case found == dynamodb.Untrusted:
		return Unreachable, fmt.Sprintf("the certificate of %s is not trusted; set AWS_CA_BUNDLE to the authorities of the proxy in between: %v", d.where(), networkCause(err)), true
	case found == dynamodb.NoSuchName, found == dynamodb.Unreachable:
		return Unreachable, fmt.Sprintf("%s cannot be reached; check the network, the region and the endpoint (--endpoint-url, AWS_ENDPOINT_URL_DYNAMODB): %v", d.where(), networkCause(err)), true
	}
	return Failed, err.Error(), true
}

// networkCause returns the error of the network in an error of the SDK, without the method and the URL.
func networkCause(err error) error {
	if request, ok := errors.AsType[*url.Error](err); ok {
		return request.Err
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network
	}
	return err
}

// remedy says what to do about a request that is not valid, if DynamoDB's message shows that. It is empty otherwise.
func remedy(message, table string) string {
	message = strings.ToLower(message)
	says := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(message, part) })
	}
	switch {
	case says("item size"):
		return ", which is 400 KB; shorten its ca_pem or its note"
	case says("does not match the schema", "key schema", "missing the key", "required key", "type mismatch for key", "conditions on the keys"):
		return "; the table has to have the partition key \"host\", a string, and no sort key"
	case says("table/index name", "tablename", "table name") && strings.HasPrefix(table, "arn:"):
		return "; other engines than AWS's may take no ARN for the name of a table: give the name alone (--table, ROUTES_TABLE)"
	case says("table/index name", "tablename", "table name"):
		return "; check the name of the table (--table, ROUTES_TABLE)"
	}
	return ""
}

// where names the region and the endpoint of the client.
func (d *DynamoDB) where() string {
	o := d.Client.Options()
	if o.BaseEndpoint != nil {
		return fmt.Sprintf("region %q at %s", o.Region, *o.BaseEndpoint)
	}
	return fmt.Sprintf("region %q", o.Region)
}
