package origin

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
)

var errThrottled = errors.New("keys left unprocessed (the table or the account is throttled)")

// tableError is why the table could not be read.
type tableError struct {
	table string
	err   error
}

func (e *tableError) Error() string { return fmt.Sprintf("origin: table %q: %v", e.table, e.err) }
func (e *tableError) Unwrap() error { return e.err }

// Advice says what an operator can do about it, and nothing where that is not known.
func (e *tableError) Advice() string {
	code := ""
	var coded interface{ ErrorCode() string } // of the SDK's errors
	if errors.As(e.err, &coded) {
		code = coded.ErrorCode()
	}
	switch code {
	case "AccessDeniedException":
		return fmt.Sprintf("allow the proxy's role dynamodb:BatchGetItem on the table %s, and kms:Decrypt where the table has a key of its own", e.table)
	case "ResourceNotFoundException":
		return fmt.Sprintf("there is no table %s in this account and Region: correct ROUTES_TABLE or AWS_REGION, or create the table", e.table)
	case "ExpiredTokenException", "ExpiredToken":
		return "the credentials have expired: log in again, or give the proxy a role, whose credentials are renewed"
	case "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignatureException", "MissingAuthenticationTokenException", "InvalidClientTokenId":
		return "the credentials are not valid: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and the clock"
	case "InternalServerError", "InternalFailure", "ServiceUnavailable", "ServiceUnavailableException":
		return "DynamoDB itself fails: look at the AWS Health Dashboard; it is tried again by itself"
	}
	var timeout net.Error
	var unknown x509.UnknownAuthorityError
	var dns *net.DNSError
	switch {
	case errors.Is(e.err, errThrottled), isThrottle(e.err):
		return throttledAdvice
	case errors.As(e.err, &unknown):
		return "DynamoDB's certificate is not trusted: set AWS_CA_BUNDLE to the authorities of the proxy in between"
	case errors.As(e.err, &dns):
		return "DynamoDB's name is not found: check AWS_REGION, AWS_ENDPOINT_URL_DYNAMODB and the DNS of the VPC"
	case errors.Is(e.err, context.DeadlineExceeded), errors.Is(e.err, context.Canceled), errors.As(e.err, &timeout) && timeout.Timeout(), errors.Is(e.err, errNoAnswer):
		return "DynamoDB does not answer in time: in a VPC, check its endpoint or NAT gateway, security groups and routes"
	case isForeign(e.err):
		return "what answers is not DynamoDB: check AWS_ENDPOINT_URL_DYNAMODB and AWS_ENDPOINT_URL, and the proxies in between"
	case errors.As(e.err, new(*net.OpError)):
		return "DynamoDB cannot be reached: in a VPC, check its endpoint or NAT gateway, security groups and routes"
	}
	return ""
}

const throttledAdvice = "the table is throttled: raise its read capacity or limits, or ROUTES_TTL"
