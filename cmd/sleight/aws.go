package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/logging"
	"github.com/spf13/pflag"

	"github.com/sleightproxy/sleight/pkg/origin/dynamodb"
)

// awsFlags say where DynamoDB is. They have the names that the AWS CLI uses.
type awsFlags struct {
	region, profile, endpoint string
}

func (a *awsFlags) add(f *pflag.FlagSet) {
	f.StringVar(&a.region, "region", "", "AWS `region` of the table (AWS_REGION, or the profile's)")
	f.StringVar(&a.profile, "profile", "", "`name` of the AWS profile (AWS_PROFILE)")
	f.StringVar(&a.endpoint, "endpoint-url", "", "`URL` of DynamoDB, if it is not AWS's (AWS_ENDPOINT_URL_DYNAMODB)")
}

// config returns the configuration that the AWS CLI would use.
func (a *awsFlags) config(ctx context.Context) (aws.Config, error) {
	// The SDK logs a warning for each response without a checksum. All that matters is returned as an error.
	load := []func(*config.LoadOptions) error{config.WithLogger(logging.Nop{})}
	if a.region != "" {
		load = append(load, config.WithRegion(a.region))
	}
	if a.profile != "" {
		load = append(load, config.WithSharedConfigProfile(a.profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return cfg, fmt.Errorf("AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return cfg, errors.New("no AWS region: give --region, set AWS_REGION, or choose a profile that has one")
	}
	return cfg, nil
}

func (a *awsFlags) client(ctx context.Context, options ...func(*sdk.Options)) (*sdk.Client, error) {
	cfg, err := a.config(ctx)
	if err != nil {
		return nil, err
	}
	if a.endpoint != "" {
		options = append(options, func(o *sdk.Options) { o.BaseEndpoint = aws.String(a.endpoint) })
	}
	client := sdk.NewFromConfig(cfg, options...)
	if endpoint := client.Options().BaseEndpoint; endpoint != nil {
		return client, a.checkEndpoint(*endpoint)
	}
	return client, nil
}

// checkEndpoint refuses an endpoint that is not a URL, before the SDK does so in terms of URIs and schemes.
func (a *awsFlags) checkEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	switch {
	case err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "":
		return nil
	case endpoint == a.endpoint:
		return usageError{fmt.Errorf("--endpoint-url is %q: it has to be a URL that begins with http:// or https://, such as http://127.0.0.1:8000", endpoint)}
	}
	return usageError{fmt.Errorf("the endpoint of DynamoDB is %q, by AWS_ENDPOINT_URL_DYNAMODB, AWS_ENDPOINT_URL or the AWS profile: it has to be a URL that begins with http:// or https://, such as http://127.0.0.1:8000", endpoint)}
}

// lastingClient returns a client for a process that may live for months.
func (a *awsFlags) lastingClient(ctx context.Context) (*sdk.Client, error) {
	return a.client(ctx, dynamodb.ForLookups, func(o *sdk.Options) {
		o.Credentials = &lastingCredentials{load: a.config, sdk: o.Credentials, at: time.Now()}
	})
}

// keysPeriod is for how long the keys in a file are used before the file is read again.
const keysPeriod = time.Minute

// lastingCredentials are the SDK's credentials, except for keys in a file. The SDK reads a file once. Temporary keys expire and are
// replaced in the file, and a process that serves for days has to notice. The SDK renews all other kinds by itself. It is safe
// for concurrent use.
type lastingCredentials struct {
	load func(context.Context) (aws.Config, error)

	mu  sync.Mutex
	sdk aws.CredentialsProvider
	at  time.Time // when sdk was loaded
}

// Retrieve implements [aws.CredentialsProvider].
func (l *lastingCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	sdk, old := l.current()
	c, err := sdk.Retrieve(ctx)
	if !old || err == nil && !strings.HasPrefix(c.Source, "SharedConfigCredentials") {
		return c, err
	}
	cfg, err := l.load(ctx)
	if err != nil {
		return c, err
	}
	l.mu.Lock()
	l.sdk, l.at = cfg.Credentials, time.Now()
	l.mu.Unlock()
	return cfg.Credentials.Retrieve(ctx)
}

// current returns the SDK's credentials, and reports whether they were loaded long ago.
func (l *lastingCredentials) current() (aws.CredentialsProvider, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sdk, time.Since(l.at) >= keysPeriod
}
