package lambdahttp

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/awslabs/aws-lambda-go-api-proxy/core"
)

// restAPI is an API Gateway REST API with a Lambda proxy integration. For binary replies
// the API needs the binary media type */*.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
type restAPI struct{}

type restAPIEvent struct {
	event
	HTTPMethod     string              `json:"httpMethod"`
	Path           string              `json:"path"`
	Query          map[string]string   `json:"queryStringParameters"`
	MultiQuery     map[string][]string `json:"multiValueQueryStringParameters"`
	RequestContext *restAPIContext     `json:"requestContext"`
}

type restAPIContext struct {
	events.APIGatewayProxyRequestContext
	ELB json.RawMessage `json:"elb"` // of load balancers, whose events are similar
}

func (restAPI) request(ctx context.Context, payload []byte) (*http.Request, error) {
	var e restAPIEvent
	err := json.Unmarshal(payload, &e)
	switch rc := e.RequestContext; {
	case e.HTTPMethod == "" || e.Version == "2.0":
		return nil, errOtherFront
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	case rc == nil:
		return nil, fmt.Errorf("%w: it has no requestContext", ErrEvent)
	case rc.ELB != nil:
		return nil, fmt.Errorf("%w: Application Load Balancers are not served", ErrEvent)
	}
	rc := e.RequestContext
	if err := checkMethod(e.HTTPMethod); err != nil {
		return nil, err
	}
	headers := e.headers()
	if cookies := headers["Cookie"]; len(cookies) > 1 {
		headers["Cookie"] = []string{strings.Join(cookies, "; ")}
	}
	query := e.query()
	// Encoded, as the client sent it. What it should have encoded too is, since net/url would
	// otherwise take the whole for not encoded, and turn %2F into a slash.
	rawPath := escape(e.Path, inEncodedPath)
	if !strings.HasPrefix(rawPath, "/") {
		rawPath = "/" + rawPath
	}
	path, err := url.PathUnescape(rawPath)
	if err != nil {
		return nil, fmt.Errorf("%w: path: %w", ErrEvent, err)
	}
	r, err := new(core.RequestAccessor).EventToRequestWithContext(ctx, events.APIGatewayProxyRequest{
		Path: "/", HTTPMethod: e.HTTPMethod, RequestContext: rc.APIGatewayProxyRequestContext, StageVariables: e.StageVariables,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	return r, mend(r, &e.event, path, rawPath, query, headers, rc.Identity.SourceIP, rc.DomainName)
}

func (restAPI) reply(a *answer) any {
	return events.APIGatewayProxyResponse{
		StatusCode: a.status, MultiValueHeaders: a.header,
		Body: a.text(), IsBase64Encoded: a.binary,
	}
}

// query builds the query from the decoded maps in which it comes. Their order is lost on
// the way; sorted by name, the same request at least has the same query every time.
func (e *restAPIEvent) query() string {
	many := e.MultiQuery
	if len(many) == 0 {
		many = make(map[string][]string, len(e.Query))
		for name, value := range e.Query {
			many[name] = []string{value}
		}
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(many)) {
		for _, value := range many[name] {
			if b.Len() > 0 {
				b.WriteByte('&')
			}
			b.WriteString(url.QueryEscape(name))
			b.WriteByte('=')
			b.WriteString(url.QueryEscape(value))
		}
	}
	return b.String()
}
