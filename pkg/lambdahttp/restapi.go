package lambdahttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/awslabs/aws-lambda-go-api-proxy/core"

	"github.com/sleightproxy/sleight/pkg/uri"
)

// restAPI is an API Gateway REST API with a Lambda proxy integration. Its events are the same for buffered and for streamed replies.
// For binary replies that are not streamed, the API needs the binary media type */*.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
type restAPI struct {
	context events.APIGatewayProxyRequestContext
}

type restAPIContext struct {
	events.APIGatewayProxyRequestContext
	ELB *events.ELBContext `json:"elb"` // of load balancers: their events are similar
}

// isREST reports whether the context is that of a REST API. Some emulators send version 1.0 with it, as HTTP APIs do. The resource of
// an HTTP API is null or a route's key ("$default", "GET /x"). The resource of a REST API is an identifier. A nil context is
// not that of a REST API.
func (c *restAPIContext) isREST() bool {
	return c != nil && c.ResourceID != "" && !strings.ContainsFunc(c.ResourceID, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

func (f restAPI) request(e *event) (*parts, error) {
	query, err := e.query(uri.EscapeDecodedParameter)
	if err != nil {
		return nil, err
	}
	return &parts{
		method: e.HTTPMethod,
		// The path is encoded, as the client sent it. Characters that the client should have encoded are encoded here.
		// Otherwise net/url would take the path for one without encoding, and turn %2F into a slash.
		path:    uri.EscapePath(e.Path),
		query:   query,
		headers: e.headers(),
		domain:  f.context.DomainName,
		client:  f.context.Identity.SourceIP,
		tls:     true,
		stage:   f.context.Stage,
		began:   time.UnixMilli(f.context.RequestTimeEpoch),
		make: func(ctx context.Context, domain string) (*http.Request, error) {
			f.context.DomainName = domain
			return new(core.RequestAccessor).EventToRequestWithContext(ctx, events.APIGatewayProxyRequest{
				Path: "/", HTTPMethod: http.MethodGet, RequestContext: f.context, StageVariables: e.StageVariables,
			})
		},
	}, nil
}

type multiHead struct {
	StatusCode        int                 `json:"statusCode"`
	StatusDescription string              `json:"statusDescription,omitempty"`
	Headers           map[string]string   `json:"headers,omitempty"`
	MultiValueHeaders map[string][]string `json:"multiValueHeaders,omitempty"`
	Cookies           []string            `json:"cookies,omitempty"`
	IsBase64Encoded   bool                `json:"isBase64Encoded,omitempty"`
}

func (restAPI) head(a *answer) any {
	return multiHead{StatusCode: a.status, MultiValueHeaders: a.header, IsBase64Encoded: a.binary}
}

// prelude has cookies in a list of their own, as in API Gateway's documentation of streaming.
func (restAPI) prelude(a *answer) any {
	h := multiHead{StatusCode: a.status, MultiValueHeaders: a.header, Cookies: a.header["Set-Cookie"]}
	if h.Cookies != nil {
		h.MultiValueHeaders = maps.Clone(a.header)
		delete(h.MultiValueHeaders, "Set-Cookie")
	}
	return h
}

// limits has the timeout of REST APIs, 29 seconds unless the quota was raised.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
func (restAPI) limits() limits {
	return limits{reply: maxReply, timeout: 29 * time.Second, streams: true}
}

// query returns the query from the maps in the events of REST APIs and load balancers.
func (e *event) query(encode func(string) string) (string, error) {
	var many map[string][]string
	if err := unmarshal(e.MultiQuery, &many); err != nil {
		return "", err
	}
	if len(many) == 0 {
		var single map[string]string
		if err := unmarshal(e.Query, &single); err != nil {
			return "", err
		}
		many = make(map[string][]string, len(single))
		for name, value := range single {
			many[name] = []string{value}
		}
	}
	return joinQuery(many, encode), nil
}

// joinQuery returns a query with the parameters. The event does not have their order. They are sorted by name, so that the same request
// always has the same query.
func joinQuery(many map[string][]string, encode func(string) string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(many)) {
		for _, value := range many[name] {
			if b.Len() > 0 {
				b.WriteByte('&')
			}
			b.WriteString(encode(name))
			b.WriteByte('=')
			b.WriteString(encode(value))
		}
	}
	return b.String()
}

// unmarshal reads a part of an event. The part may be missing.
func unmarshal(part json.RawMessage, into any) error {
	if len(part) == 0 {
		return nil
	}
	err := json.Unmarshal(part, into)
	if unlike, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%w: query: a JSON %s is where none belongs", ErrEvent, kind(unlike))
	}
	if err != nil {
		return fmt.Errorf("%w: query: %w", ErrEvent, err)
	}
	return nil
}
