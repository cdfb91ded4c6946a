package dynamodb

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
)

// A Kind says what a failed request to DynamoDB means. The proxy and the tools give their own advice for each.
type Kind int

// The kinds of failures.
const (
	Other         Kind = iota
	Canceled           // the caller canceled the request
	NoTable            // no table has that name in that account and Region
	NoCredentials      // no credentials were found
	Expired            // the credentials have expired
	NotAccepted        // the credentials are not accepted
	Denied             // a permission is missing
	Throttled          // the request may succeed later, or in smaller parts
	Invalid            // the request is not valid for the table
	ServerFailure      // DynamoDB itself has failed
	Foreign            // the response is not DynamoDB's: [ErrForeign]
	Untrusted          // the server's certificate is of an unknown authority
	NoSuchName         // DNS does not have the name
	NoAnswer           // no response in time
	Unreachable        // no connection, or it broke
)

// kinds has the codes of DynamoDB's errors, and of the AWS services in front of it.
var kinds = map[string]Kind{
	"ResourceNotFoundException":           NoTable,
	"ExpiredTokenException":               Expired,
	"ExpiredToken":                        Expired,
	"UnrecognizedClientException":         NotAccepted,
	"InvalidSignatureException":           NotAccepted,
	"SignatureDoesNotMatch":               NotAccepted,
	"IncompleteSignatureException":        NotAccepted,
	"MissingAuthenticationTokenException": NotAccepted,
	"MissingAuthenticationToken":          NotAccepted,
	"InvalidClientTokenId":                NotAccepted,
	"AccessDeniedException":               Denied,
	"TransactionConflictException":        Throttled, // other writes of the same item: waiting helps too
	"ValidationException":                 Invalid,
	"InternalServerError":                 ServerFailure,
	"InternalServerErrorException":        ServerFailure,
	"InternalFailure":                     ServerFailure,
	"ServiceUnavailable":                  ServerFailure,
	"ServiceUnavailableException":         ServerFailure,
}

// KindOf returns the kind of a request's error. err is not nil.
func KindOf(err error) Kind {
	if kind, ok := kinds[Code(err)]; ok {
		return kind
	}
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, ErrForeign), errors.As(err, new(*smithy.DeserializationError)):
		return Foreign
	case IsThrottled(err):
		return Throttled
	case strings.Contains(err.Error(), "get identity: "): // the SDK has no type for this
		return NoCredentials
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return Untrusted
	case errors.As(err, new(*net.DNSError)):
		return NoSuchName
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errNoAnswer), errors.As(err, &timeout) && timeout.Timeout():
		return NoAnswer
	case Code(err) == "" && errors.As(err, new(net.Error)):
		return Unreachable
	}
	return Other
}

// Code returns the code of an error of DynamoDB, such as "ThrottlingException", and "" for other errors.
func Code(err error) string {
	var coded interface{ ErrorCode() string } // of the SDK's errors
	if errors.As(err, &coded) {
		return coded.ErrorCode()
	}
	return ""
}

// ErrUnprocessed says that DynamoDB left keys of a request unprocessed at each attempt.
var ErrUnprocessed = errors.New("dynamodb: keys left unprocessed (the table or the account is throttled)")

// IsThrottled reports whether a request with this error may succeed later, or in smaller parts.
func IsThrottled(err error) bool {
	return errors.Is(err, ErrUnprocessed) || kinds[Code(err)] == Throttled || throttles.IsErrorThrottle(err).Bool()
}

// IsTransient reports whether the same request may succeed later: the network or the server failed, there was no response in
// time, or it broke off.
func IsTransient(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(net.Error)) || retryables.IsErrorRetryable(err).Bool()
}

// retryables knows the SDK's errors and AWS's codes that are worth another attempt.
var retryables = retry.IsErrorRetryables(retry.DefaultRetryables)

// throttles knows AWS's codes for throttling.
var throttles = retry.IsErrorThrottles(retry.DefaultThrottles)

// tableError says why the table could not be read.
type tableError struct {
	table string
	err   error
}

func (e *tableError) Error() string { return fmt.Sprintf("dynamodb: table %q: %v", e.table, e.err) }
func (e *tableError) Unwrap() error { return e.err }

// Advice says what an operator of the proxy can do. It is empty if that is not known.
func (e *tableError) Advice() string {
	switch KindOf(e.err) {
	case Denied:
		return fmt.Sprintf("allow the proxy's role dynamodb:BatchGetItem on the table %s, and kms:Decrypt if the table has a key of its own", e.table)
	case NoTable:
		return fmt.Sprintf("there is no table %s in this account and Region: correct ROUTES_TABLE or AWS_REGION, or create the table", e.table)
	case NoCredentials:
		return "no AWS credentials were found: give the proxy a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	case Invalid:
		return fmt.Sprintf("DynamoDB refuses the request: the table %s has to have the partition key \"host\" of type S, and no sort key", e.table)
	case Expired:
		return "the credentials have expired: log in again, or give the proxy a role, whose credentials are renewed"
	case NotAccepted:
		return "the credentials are not valid: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and the clock"
	case ServerFailure:
		return "DynamoDB itself fails: look at the AWS Health Dashboard; the proxy tries again by itself"
	case Throttled:
		return throttledAdvice
	case Untrusted:
		return "DynamoDB's certificate is not trusted: set AWS_CA_BUNDLE to the authorities of the proxy in between"
	case NoSuchName:
		return "DynamoDB's name is not found: check AWS_REGION, AWS_ENDPOINT_URL_DYNAMODB and the DNS of the VPC"
	case Canceled, NoAnswer:
		return "DynamoDB does not answer in time: in a VPC, check its endpoint or NAT gateway, security groups and routes"
	case Foreign:
		return "the answer is not DynamoDB's: check AWS_ENDPOINT_URL_DYNAMODB and AWS_ENDPOINT_URL, and the proxies in between"
	case Unreachable:
		return "DynamoDB cannot be reached: in a VPC, check its endpoint or NAT gateway, security groups and routes"
	}
	return ""
}

const throttledAdvice = "the table is throttled: raise its read capacity or limits, or ROUTES_TTL"
