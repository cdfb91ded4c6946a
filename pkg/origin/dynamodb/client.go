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

// ErrNoCredentials is what [NewClient] returns where the environment holds no
// credentials of its own. A program for people then asks the SDK's config package.
var ErrNoCredentials = errors.New("dynamodb: no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")

// NewClient builds a client from the environment variables that the Lambda
// runtime sets, and those of the SDK that change where DynamoDB is found. Other sources
// (profiles, SSO, instance roles) need the SDK's config package, which costs several
// milliseconds of every cold start. getenv is os.Getenv or the like.
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

// ForLookups sets what a look-up needs that somebody waits for: short pauses between
// attempts, instead of the SDK's up to 20 seconds, and attempts that leave time for another. A
// store that failed for an hour has used up what the SDK keeps for retries, and its next look-ups
// would have one attempt each; so that is switched off: origin.Cache asks a store that fails rarely,
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

// ForCommands sets the times of a client for a command that somebody waits for. By itself the SDK waits without end for a
// server that takes a connection and says nothing.
func ForCommands(o *dynamodb.Options) {
	const (
		connect = 5 * time.Second
		begin   = 5 * time.Second // until a response begins: DynamoDB's does within milliseconds
		whole   = time.Minute     // for all of it, over a line however slow
	)
	if c, ok := o.HTTPClient.(*awshttp.BuildableClient); ok {
		o.HTTPClient = c.WithTimeout(whole).
			WithDialerOptions(func(d *net.Dialer) { d.Timeout = connect }).
			WithTransportOptions(func(t *http.Transport) { t.TLSHandshakeTimeout, t.ResponseHeaderTimeout = connect, begin })
	}
}

// WithoutRetries returns a client that leaves retries to its caller, who knows of the other requests that are being made,
// and that keeps as many idle connections as are used at a time.
func WithoutRetries(client *dynamodb.Client) *dynamodb.Client {
	return dynamodb.New(client.Options(), func(o *dynamodb.Options) {
		o.Retryer = aws.NopRetryer{}
		if c, ok := o.HTTPClient.(*awshttp.BuildableClient); ok {
			o.HTTPClient = c.WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = t.MaxIdleConns })
		}
	})
}

// httpClient returns the client below the SDK's. Reading a bundle of all public
// authorities takes milliseconds, so that is put off from the start to the first request;
// whether it can be read at all is told at once.
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
