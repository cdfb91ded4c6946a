package lambdahttp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/awslabs/aws-lambda-go-api-proxy/core"
)

// httpAPI is an API Gateway HTTP API with payload format 2.0.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
type httpAPI struct{}

type httpAPIEvent struct {
	event
	RawPath        string                                `json:"rawPath"`
	RawQueryString string                                `json:"rawQueryString"`
	Cookies        []string                              `json:"cookies"`
	RequestContext events.APIGatewayV2HTTPRequestContext `json:"requestContext"`
}

func (httpAPI) request(ctx context.Context, payload []byte) (*http.Request, error) {
	var e httpAPIEvent
	err := json.Unmarshal(payload, &e)
	switch {
	case e.Version != "2.0":
		return nil, errOtherFront
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	rc := e.RequestContext
	if strings.Contains(rc.DomainName, ".lambda-url.") {
		// Its events look the same, but their path is encoded.
		return nil, fmt.Errorf("%w: function URLs are not served", ErrEvent)
	}
	if err := checkMethod(rc.HTTP.Method); err != nil {
		return nil, err
	}
	headers := e.headers()
	if len(e.Cookies) > 0 {
		headers["Cookie"] = []string{strings.Join(e.Cookies, "; ")} // one line: RFC 6265 section 5.4
	}
	r, err := new(core.RequestAccessorV2).EventToRequestWithContext(ctx, events.APIGatewayV2HTTPRequest{
		RawPath: "/", RequestContext: rc, StageVariables: e.StageVariables,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	path := e.RawPath
	if path == "" {
		path = rc.HTTP.Path
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	// HTTP APIs decode the path before they invoke the function. Which characters the client
	// had encoded is lost; an encoded slash (%2F) for instance arrives as a plain one. What
	// needs no encoding stays, as clients mostly send it so. The query is the client's.
	rawPath, query := escape(path, inPath), escape(e.RawQueryString, inQuery)
	return r, mend(r, &e.event, path, rawPath, query, headers, rc.HTTP.SourceIP, rc.DomainName)
}

func (httpAPI) reply(a *answer) any {
	headers := make(map[string]string, len(a.header))
	var cookies []string
	for name, values := range a.header {
		if name == "Set-Cookie" {
			cookies = values // a list of its own: commas occur in cookies, so they cannot be joined
			continue
		}
		headers[name] = strings.Join(values, ",")
	}
	return events.APIGatewayV2HTTPResponse{
		StatusCode: a.status, Headers: headers, Cookies: cookies,
		Body: a.text(), IsBase64Encoded: a.binary,
	}
}
