package dynamodb

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// ErrNoCredentials says that the environment has no credentials. The SDK's config package may find some elsewhere.
var ErrNoCredentials = errors.New("dynamodb: no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")

// NewClient returns a client for the environment variables that the Lambda runtime sets, and for those of the SDK that change
// DynamoDB's endpoint. Other sources (profiles, SSO, instance roles) need the SDK's config package, which costs several
// milliseconds of each cold start. getenv is os.Getenv or a replacement. The error is [ErrNoCredentials] or names a variable.
func NewClient(getenv func(string) string) (*dynamodb.Client, error) {
	credentials := aws.Credentials{
		AccessKeyID:     getenv("AWS_ACCESS_KEY_ID"),
		SecretAccessKey: getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken:    getenv("AWS_SESSION_TOKEN"),
		Source:          "environment",
	}
	if !credentials.HasKeys() {
		return nil, ErrNoCredentials
	}
	region := cmp.Or(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION"))
	if region == "" {
		return nil, errors.New("dynamodb: AWS_REGION is not set; set it to the region of the routes table")
	}
	client, err := httpClient(getenv("AWS_CA_BUNDLE"))
	if err != nil {
		return nil, err
	}
	attempts := 0
	if s := getenv("AWS_MAX_ATTEMPTS"); s != "" {
		if attempts, err = strconv.Atoi(s); err != nil || attempts < 1 {
			return nil, fmt.Errorf("dynamodb: AWS_MAX_ATTEMPTS is %q; set it to a whole number from 1", s)
		}
	}
	config := aws.Config{
		Region:      region,
		HTTPClient:  client,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return credentials, nil }),
	}
	endpoint := ""
	if getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") != "true" {
		endpoint = cmp.Or(getenv("AWS_ENDPOINT_URL_DYNAMODB"), getenv("AWS_ENDPOINT_URL"))
	}
	if endpoint != "" {
		if u, err := url.Parse(endpoint); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return nil, fmt.Errorf("dynamodb: AWS_ENDPOINT_URL_DYNAMODB or AWS_ENDPOINT_URL is %q; set it to a URL such as https://dynamodb.eu-west-1.amazonaws.com", endpoint)
		}
		config.BaseEndpoint = &endpoint
	}
	return dynamodb.NewFromConfig(config, ForLookups, func(o *dynamodb.Options) {
		if attempts > 0 {
			o.RetryMaxAttempts = attempts
		}
		if getenv("AWS_USE_FIPS_ENDPOINT") == "true" {
			o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
		}
		if getenv("AWS_USE_DUALSTACK_ENDPOINT") == "true" {
			o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
		}
	}), nil
}

// ForLookups sets options for the lookups of requests: short pauses between attempts, instead of the SDK's up to 20 seconds, and
// attempts that leave time for another one.
//
// It switches the SDK's retry quota off. A store that fails for an hour uses the quota up, and each of its next lookups
// would then have one attempt. The quota is not needed: origin.Cache seldom asks a store that fails,
// and [Store] makes few calls at a time.
func ForLookups(o *dynamodb.Options) {
	o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxBackoff = 200 * time.Millisecond
		o.RateLimiter = ratelimit.None
	})
	if client, ok := o.HTTPClient.(*awshttp.BuildableClient); ok {
		o.HTTPClient = newAttempts(client.GetTransport())
	}
}

// ForCommands sets the timeouts of a client for a command that a person waits for. The SDK waits forever for a server that
// accepts a connection and does not respond.
func ForCommands(o *dynamodb.Options) {
	const (
		connect = 5 * time.Second
		begin   = 5 * time.Second // until a response begins; DynamoDB's begins within milliseconds
		whole   = time.Minute     // for the whole response, over a slow line too
	)
	if c, ok := o.HTTPClient.(*awshttp.BuildableClient); ok {
		o.HTTPClient = c.WithTimeout(whole).
			WithDialerOptions(func(d *net.Dialer) { d.Timeout = connect }).
			WithTransportOptions(func(t *http.Transport) { t.TLSHandshakeTimeout, t.ResponseHeaderTimeout = connect, begin })
	}
}

// WithoutRetries returns a client that leaves retries to its caller, who knows the other requests under way. The client keeps as
// many idle connections as were in use at a time.
func WithoutRetries(client *dynamodb.Client) *dynamodb.Client {
	return dynamodb.New(client.Options(), func(o *dynamodb.Options) {
		o.Retryer = aws.NopRetryer{}
		if c, ok := o.HTTPClient.(*awshttp.BuildableClient); ok {
			o.HTTPClient = c.WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = t.MaxIdleConns })
		}
	})
}

// httpClient returns the SDK's HTTP client. Parsing a bundle of all public authorities takes milliseconds, so the first request
// does it and not the start. A bundle that is unreadable or has no certificate is an error at once.
func httpClient(caBundle string) (aws.HTTPClient, error) {
	if caBundle == "" {
		return newHTTPClient(nil), nil
	}
	bundle, err := os.ReadFile(caBundle)
	if err != nil {
		return nil, fmt.Errorf("dynamodb: AWS_CA_BUNDLE: %w", err)
	}
	if !bytes.Contains(bundle, []byte("-----BEGIN CERTIFICATE-----")) {
		return nil, fmt.Errorf("dynamodb: AWS_CA_BUNDLE: %q holds no certificate", caBundle)
	}
	return lazyClient(sync.OnceValues(func() (aws.HTTPClient, error) {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(bundle) {
			return nil, fmt.Errorf("dynamodb: AWS_CA_BUNDLE: %q holds no certificate that can be read", caBundle)
		}
		return newHTTPClient(roots), nil
	})), nil
}

type lazyClient func() (aws.HTTPClient, error)

func (c lazyClient) Do(r *http.Request) (*http.Response, error) {
	client, err := c()
	if err != nil {
		return nil, err
	}
	return client.Do(r)
}

func newHTTPClient(roots *x509.CertPool) aws.HTTPClient {
	t := awshttp.NewBuildableClient().GetTransport()
	if roots != nil {
		t.TLSClientConfig.RootCAs = roots
	}
	return newAttempts(t)
}
